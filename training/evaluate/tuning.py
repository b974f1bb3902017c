"""
Sweeps of the baselines' options, on shapes that no result is reported for.

``dlc-eval tune fgr`` prints success for every variant of one baseline, ``dlc-eval tune fpfh`` the
share of right matches for every variant of the features, which differ by less than a success rate
of some dozen pairs can show. The best are the defaults of ``baselines.py``.
"""

import time
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np

from dlc_training.evaluate import baselines, report
from dlc_training.evaluate.baselines import (
    FgrOptions,
    FpfhOptions,
    GicpOptions,
    KissOptions,
    RansacOptions,
    StartsOptions,
)
from dlc_training.evaluate.pair import apply
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


# Limits on the neighbours that the radii alone decide.
_WIDE = FpfhOptions(normal_neighbours=100, feature_neighbours=400, mutual=True)
_MUTUAL = FpfhOptions(mutual=True)
_FEATURES = [
    *_variants(
        replace(_WIDE, orientation='tangent-plane'),
        normal_radius=(0.15, 0.2, 0.25),
        feature_radius=(0.25, 0.35, 0.5),
    ),
    *_variants(
        replace(_WIDE, normal_radius=0.2),
        orientation=('away', 'none'),
        feature_radius=(0.35, 0.5),
    ),
    *_variants(
        _WIDE,
        normal_radius=(0.25, 0.3),
        feature_radius=(0.5, 0.7),
    ),
]
SWEEPS = {
    'fgr': (
        baselines.fgr,
        [
            *(
                FgrOptions(fpfh=fpfh)
                for fpfh in (
                    *_variants(
                        FpfhOptions(),
                        normal_neighbours=(15, 20, 30, 50),
                        feature_neighbours=(100, 150, 200, 300),
                        mutual=(True, False),
                    ),
                    replace(_WIDE, mutual=False),
                    *_variants(FpfhOptions(orientation='tangent-plane'), mutual=(True, False)),
                )
            ),
            *_variants(FgrOptions(), distance=(0.03, 0.1)),
            *_variants(FgrOptions(), tuples=(3000, 10_000)),
        ],
    ),
    'ransac': (
        baselines.ransac,
        [
            *_variants(RansacOptions(), distance=(0.05, 0.08, 0.12), edge_similarity=(0.8, 0.9)),
            RansacOptions(iterations=20_000),
            *(RansacOptions(iterations=n, fpfh=_MUTUAL) for n in (20_000, 100_000)),
        ],
    ),
    'gicp': (
        baselines.gicp,
        _variants(
            GicpOptions(),
            coarse=((0.5, 0.2, 0.08), (1.0, 0.5, 0.2, 0.08), (0.3, 0.1), (0.2, 0.08)),
            neighbours=(10, 20),
        ),
    ),
    'kiss': (
        baselines.kiss,
        _variants(
            KissOptions(),
            voxel_size=(0.05, 0.06, 0.08, 0.1),
            normal_gain=(3.0, 4.0),
            feature_gain=(5.0, 6.0, 8.0),
        ),
    ),
    'starts': (
        baselines.starts,
        _variants(
            StartsOptions(),
            distances=((0.5, 0.2), (0.3, 0.1), (0.2, 0.08)),
            inlier_distance=(0.03, 0.05, 0.1),
            points=(400, 1500),
        ),
    ),
}
RIGHT_MATCH = 0.1


def tune(sweep, protocol, shapes, pairs_per_bin, jobs, cache, quiet=False):
    """
    Print success, or the share of right matches, of every variant.

    :param sweep: key of :data:`SWEEPS`, or ``fpfh``.
    :param protocol: name of a protocol.
    :param shapes: as for ``dlc-eval --shapes``; generated ones are of :data:`TUNING_SEED`.
    :param pairs_per_bin: as for the protocol.
    :param jobs: worker processes.
    :param cache: folder for what is kept.
    :param quiet: no progress bars.
    """
    shapes = open_shapes(shapes, TUNING_SEED)
    protocol = PROTOCOLS[protocol]
    pairs = list(protocol.pairs(shapes, pairs_per_bin, TUNING_SEED))
    with Runner(jobs, cache, quiet) as runner:
        groups, ambiguous = runner.judge(protocol, shapes, pairs, digest_of(pairs))
        clear = ~np.array(ambiguous, bool)
        print(f'{clear.sum()} clear pairs of {len(pairs)}', flush=True)
        if sweep == 'fpfh':
            _tune_features(runner, [p for p, c in zip(pairs, clear, strict=True) if c])
            return
        function, variants = SWEEPS[sweep]
        for variant in dict.fromkeys(variants):
            method = partial(function, options=variant)
            tasks = [(method, pair.source, pair.target, pair.prior) for pair in pairs]
            answers = runner.map('pairs', timed, tasks)
            scores = report.score(protocol, pairs, groups, answers)
            success = 100 * np.array(scores['success'])[clear].mean()
            cpu_ms = np.mean(scores['cpu_ms'])
            print(f'success {success:5.1f} %, {cpu_ms:4.0f} ms  {variant}', flush=True)


def _tune_features(runner, pairs):
    for variant in _FEATURES:
        tasks = [(pair, variant) for pair in pairs]
        right, count, cpu_ms = np.mean(runner.map('pairs', right_matches, tasks), axis=0)
        print(
            f'right {100 * right:4.1f} % of {count:4.0f} matches, {cpu_ms:4.0f} ms  {variant}',
            flush=True,
        )


def right_matches(pair, options):
    """Share of right matches of a pair, number of matches, CPU milliseconds."""
    start = time.process_time()
    _, _, matches = baselines.fpfh_matches(pair.source, pair.target, options)
    spent = 1e3 * (time.process_time() - start)
    rows = np.asarray(matches)
    gap = apply(pair.truth, pair.source[rows[:, 0]]) - pair.target[rows[:, 1]]
    return np.mean(np.linalg.norm(gap, axis=1) < RIGHT_MATCH), len(rows), spent
