"""The commands of ``dlc-eval``; each imports what it needs when it runs."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dlc_training.evaluate import recording_command, speed_command
from dlc_training.evaluate.arguments import (
    add_methods,
    add_pairs,
    add_seed,
    add_shapes,
    add_weights,
    add_work,
    at_least,
)
from dlc_training.evaluate.methods import METHODS
from dlc_training.evaluate.protocols import PROTOCOLS
from dlc_training.evaluate.runner import write_text
from dlc_training.evaluate.tuning import SWEEPS


@dataclass(frozen=True)
class Command:
    """
    One command.

    :param name: as it is typed.
    :param summary: one line for ``--help``.
    :param add_arguments: adds its arguments to a parser.
    :param run: takes the parsed arguments, returns the exit code.
    """

    name: str
    summary: str
    add_arguments: Callable
    run: Callable

    def configure(self, parser):
        """Give the parser this command's arguments and what to run."""
        self.add_arguments(parser)
        parser.set_defaults(run=self.run)


def every():
    """Every command, in the order of ``--help``."""
    pairs = [
        Command(
            name,
            protocol.summary,
            partial(_pair_arguments, name=name),
            partial(_pairs, name=name),
        )
        for name, protocol in PROTOCOLS.items()
    ]
    return [
        *pairs,
        Command('landscape', 'Basin and rays of the energy.', _landscape_arguments, _landscape),
        Command(
            'calibrate',
            "Refit the gate's constants for given weights; prints them and what they are worth.",
            _calibrate_arguments,
            _calibrate,
        ),
        Command(
            'speed',
            'CPU time, latency and memory of what a robot waits for.',
            speed_command.add_arguments,
            speed_command.run,
        ),
        Command(
            'recording',
            'A recording of a sensor that stands still, through the node over DDS.',
            recording_command.add_arguments,
            recording_command.run,
        ),
        Command('tune', "Sweep one baseline's options on other shapes.", _tune_arguments, _tune),
    ]


def _pair_arguments(parser, name):
    add_shapes(parser)
    bins = PROTOCOLS[name].drawn_bins
    add_pairs(parser, '--pairs-per-bin', f'pairs in each of the {bins} bin(s) that are drawn')
    add_seed(parser)
    add_weights(parser)
    add_methods(parser, METHODS)
    parser.add_argument(
        '--explain',
        action='store_true',
        help='tell of every failure whether the truth was proposed, and what outvoted it',
    )
    add_work(parser, f'results/eval/{name}')


def _pairs(options, name):
    from dlc_training.evaluate.pair_command import run_protocol

    protocol = PROTOCOLS[name]
    shapes = protocol.shapes(options.shapes, options.seed)
    pairs = list(protocol.pairs(shapes, options.pairs_per_bin, options.seed))
    run_protocol(options, name, protocol, shapes, pairs)
    return 0


def _landscape_arguments(parser):
    add_shapes(parser)
    add_pairs(parser, '--pairs', 'pairs of so3-crop')
    add_seed(parser)
    add_weights(parser)
    parser.add_argument('--out', default='results/eval/landscape', metavar='DIR')


def _landscape(options):
    from dlc_training.evaluate.landscape import measure_basin, measure_rays
    from dlc_training.evaluate.pair_command import check_weights, provenance
    from dlc_training.evaluate.shapes import open_shapes

    check_weights(options.weights)
    shapes = open_shapes(options.shapes, options.seed)
    arguments = (options.weights, shapes, options.pairs, options.seed)
    basin, rays = measure_basin(*arguments), measure_rays(*arguments)
    for cell in basin['cells']:
        print(
            f'{cell["angle_deg"]:4} deg, {cell["length"]:4.2f} units: '
            f'{100 * cell["share"]:5.1f} % [{100 * cell["low"]:.0f}, {100 * cell["high"]:.0f}]'
        )
    print(f'radius at which 95 % reach the truth: {basin["radius_deg"]} deg')
    for row in rays:
        print(
            f'beta {row["beta"]:6g}: {100 * row["rising"]:5.1f} % of rays rise, '
            f'{100 * row["satisfied"]:5.1f} % of hinges hold'
        )
    content = {'kind': 'landscape', **provenance(options), 'basin': basin, 'rays': rays}
    write_text(Path(options.out) / 'result.json', json.dumps(content))
    return 0


def _calibrate_arguments(parser):
    add_shapes(parser)
    add_weights(parser)
    add_pairs(parser, '--pairs', 'pairs of each stratum', 80)
    add_pairs(parser, '--negatives', 'pairs of each kind without an answer', 150)
    parser.add_argument(
        '--false-rejects',
        type=at_least(0.0, float),
        default=4.0,
        metavar='PERCENT',
        help='of the right answers that a confidence of one half rejects (default %(default)s)',
    )
    add_work(parser, 'results/eval/calibrate')


def _calibrate(options):
    from dlc_training.evaluate.calibrate_command import run_calibration

    return run_calibration(options)


def _tune_arguments(parser):
    parser.add_argument('sweep', choices=('fpfh', *SWEEPS))
    parser.add_argument('--protocol', choices=PROTOCOLS, default='so3-crop')
    add_shapes(parser)
    add_pairs(parser, '--pairs-per-bin', 'pairs in each bin')
    add_work(parser, 'results/eval/tune')


def _tune(options):
    from dlc_training.evaluate.tuning import tune

    tune(
        options.sweep,
        options.protocol,
        options.shapes,
        options.pairs_per_bin,
        options.jobs,
        Path(options.out) / 'cache',
        options.quiet,
    )
    return 0
