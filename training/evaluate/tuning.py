"""
Sweeps of the baselines' options, on shapes that no result is reported for.

``python -m dlc_training.evaluate.tuning fgr`` prints success for every variant of one baseline;
the best ones are the defaults of ``baselines.py``.
"""

import argparse
import sys
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np

from dlc_ros.errors import DlcError
from dlc_training.evaluate import baselines, report
from dlc_training.evaluate.baselines import (
    FgrOptions,
    FpfhOptions,
    GicpOptions,
    KissOptions,
    RansacOptions,
    StartsOptions,
)
from dlc_training.evaluate.protocols import PROTOCOLS
from dlc_training.evaluate.runner import Runner, digest_of, timed
from dlc_training.evaluate.shapes import open_shapes

TUNING_SEED = 1000  # evaluations count up from 0: none shares a generated shape with this one


def _variants(base, **values):
    """``base`` with every combination of ``values``."""
    return [
        replace(base, **dict(zip(values, chosen, strict=True)))
        for chosen in product(*values.values())
    ]


_FEATURES = _variants(
    FpfhOptions(),
    orientation=('tangent-plane', 'away', 'none'),
    normal_radius=(0.1, 0.15, 0.2),
    feature_radius=(0.25, 0.35, 0.5),
)
SWEEPS = {
    'gicp': (
        baselines.gicp,
        _variants(
            GicpOptions(),
            coarse=((0.5, 0.2, 0.08), (1.0, 0.5, 0.2, 0.08), (0.3, 0.1), (0.2, 0.08)),
            neighbours=(10, 20),
        ),
    ),
    'fpfh': (baselines.fgr, [FgrOptions(fpfh=fpfh) for fpfh in _FEATURES]),
    'fgr': (
        baselines.fgr,
        _variants(FgrOptions(), distance=(0.03, 0.05, 0.1), tuples=(1000, 5000))
        + [
            FgrOptions(fpfh=fpfh)
            for fpfh in _variants(
                FpfhOptions(), feature_neighbours=(100, 200, 400), mutual=(True, False)
            )
        ],
    ),
    'ransac': (
        baselines.ransac,
        _variants(
            RansacOptions(),
            distance=(0.05, 0.08, 0.12),
            iterations=(20_000, 100_000),
            edge_similarity=(0.8, 0.9),
        ),
    ),
    'kiss': (
        baselines.kiss,
        _variants(
            KissOptions(),
            voxel_size=(0.03, 0.05, 0.07, 0.1),
            normal_gain=(2.0, 3.0, 4.0),
            feature_gain=(5.0, 7.0, 9.0),
        ),
    ),
    'starts': (
        baselines.starts,
        _variants(
            StartsOptions(),
            distances=((0.5, 0.2), (0.3, 0.1), (0.2, 0.08)),
            points=(200, 400),
            inlier_distance=(0.05, 0.1),
        ),
    ),
}


def main(argv=None):
    """Run one sweep; returns the exit code."""
    parser = argparse.ArgumentParser(prog='python -m dlc_training.evaluate.tuning')
    parser.add_argument('sweep', choices=SWEEPS)
    parser.add_argument('--protocol', choices=PROTOCOLS, default='so3-crop')
    parser.add_argument('--shapes', default='generated')
    parser.add_argument('--pairs-per-bin', type=int, default=10)
    parser.add_argument('--seed', type=int, default=TUNING_SEED)
    parser.add_argument('--jobs', type=int, default=1)
    parser.add_argument('--cache', default='results/tuning', help='for results to keep')
    options = parser.parse_args(argv)
    try:
        _sweep(options)
    except DlcError as error:
        print(f'tuning: {error}', file=sys.stderr)
        return 2
    return 0


def _sweep(options):
    function, variants = SWEEPS[options.sweep]
    shapes = open_shapes(options.shapes, options.seed)
    protocol = PROTOCOLS[options.protocol]
    pairs = list(protocol.pairs(shapes, options.pairs_per_bin, options.seed))
    with Runner(options.jobs, options.cache) as runner:
        groups, ambiguous = runner.judge(shapes, pairs, digest_of(pairs))
        clear = ~np.array(ambiguous, bool)
        print(f'{clear.sum()} clear pairs of {len(pairs)}; success %, CPU ms, options', flush=True)
        for variant in dict.fromkeys(variants):
            method = partial(function, options=variant)
            tasks = [(method, pair.source, pair.target, pair.prior) for pair in pairs]
            answers = runner.map('pairs', timed, tasks)
            scores = report.score(pairs, groups, answers, with_chamfer=False)
            success = 100 * np.array(scores['success'])[clear].mean()
            print(f'{success:5.1f} {np.mean(scores["cpu_ms"]):5.0f}  {variant}', flush=True)


if __name__ == '__main__':
    sys.exit(main())
