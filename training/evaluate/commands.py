"""The commands of ``dlc-eval``; each imports what it needs when it runs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dlc_training.evaluate import recording_command, speed_command
from dlc_training.evaluate.arguments import (
    add_methods,
    add_out,
    add_pairs,
    add_seed,
    add_shapes,
    add_weights,
    add_work,
    at_least,
    percent,
    writable_file,
)
from dlc_training.evaluate.methods import METHODS
from dlc_training.evaluate.protocols import PROTOCOLS
from dlc_training.evaluate.sweeps import CURVES
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
            'files', 'Two recorded clouds, the source rotated at random.', _files_arguments, _files
        ),
        Command(
            'rejection',
            'False accepts, degenerate and ambiguous pairs, false rejects, covariances.',
            _rejection_arguments,
            _rejection,
        ),
        Command(
            'sweeps',
            'Success against noise, outliers, overlap, density and number of points.',
            _sweeps_arguments,
            _sweeps,
        ),
        Command('report', 'One HTML page of several results.', _report_arguments, _report),
        Command(
            'calibrate',
            "Refit the gate's constants for given weights; prints them and what they are worth.",
            _calibrate_arguments,
            _calibrate,
        ),
        Command(
            'calibrate-places',
            'The same for scans that are searched for in places; they depend on no weights.',
            _calibrate_places_arguments,
            _calibrate_places,
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
    _add_explain(parser)
    add_work(parser, f'results/eval/{name}')


def _add_explain(parser):
    parser.add_argument(
        '--explain',
        action='store_true',
        help='tell of every failure whether the truth was proposed, and what outvoted it',
    )


def _pairs(options, name):
    from dlc_training.evaluate.pair_command import run_protocol

    protocol = PROTOCOLS[name]
    shapes = protocol.shapes(options.shapes, options.seed)
    pairs = protocol.pairs(shapes, options.pairs_per_bin, options.seed)
    run_protocol(options, name, protocol, shapes, pairs)
    return 0


def _files_arguments(parser):
    parser.add_argument('source', help='cloud that is moved (ply, pcd, npy, bin, ...)')
    parser.add_argument('target', help='cloud that it is registered to')
    parser.add_argument('truth', help='text file of T_target_source, 4 x 4')
    add_pairs(parser, '--rotations', 'random rotations of the source', 50)
    parser.add_argument(
        '--success',
        nargs=2,
        type=at_least(0.0, float),
        metavar=('DEG', 'METRES'),
        help="default: 5 deg and 5 %% of the reference's diameter",
    )
    parser.add_argument(
        '--unit',
        type=at_least(1e-6, float),
        metavar='METRES',
        help="length that peers' options take for an object's radius (default: half the "
        'root mean square radius of the reference)',
    )
    add_seed(parser)
    add_weights(parser)
    add_methods(parser, METHODS)
    _add_explain(parser)
    add_work(parser, 'results/eval/files')


def _files(options):
    from dlc_training.evaluate.pair_command import run_protocol
    from dlc_training.evaluate.recorded import Recorded

    clouds = Recorded(options.source, options.target, options.truth)
    protocol = clouds.protocol(options.rotations, options.success, options.unit)
    run_protocol(options, 'files', protocol, clouds, protocol.pairs(clouds, 1, options.seed))
    return 0


def _rejection_arguments(parser):
    add_shapes(parser)
    add_pairs(parser, '--negatives', 'pairs of each of four kinds without an answer', 750)
    add_pairs(parser, '--pairs', 'pairs of each degenerate kind and each stratum', 100)
    add_seed(parser)
    add_weights(parser)
    add_work(parser, 'results/eval/rejection')


def _rejection(options):
    from dlc_training.evaluate.rejection_command import run_rejection

    return run_rejection(options)


def _sweeps_arguments(parser):
    add_shapes(parser)
    parser.add_argument('--only', nargs='+', choices=CURVES, default=tuple(CURVES), metavar='NAME',
                        help=f'of {", ".join(CURVES)} (default all)')  # fmt: skip
    add_pairs(parser, '--pairs', 'pairs at each value', 50)
    add_seed(parser)
    add_weights(parser)
    add_methods(parser, METHODS)
    add_work(parser, 'results/eval/sweeps')


def _sweeps(options):
    from dlc_training.evaluate.sweep_command import run_sweeps

    return run_sweeps(options)


def _report_arguments(parser):
    parser.add_argument('results', nargs='+', metavar='RESULT.json', help='in the order wanted')
    parser.add_argument(
        '--out',
        type=writable_file,
        default='report.html',
        metavar='FILE',
        help='default %(default)s',
    )


def _report(options):
    from dlc_training.evaluate.page import page, read_result
    from dlc_training.evaluate.runner import write_text

    write_text(options.out, page([read_result(path) for path in options.results]))
    print(options.out)
    return 0


def _landscape_arguments(parser):
    add_shapes(parser)
    add_pairs(parser, '--pairs', 'pairs of so3-crop')
    add_seed(parser)
    add_weights(parser)
    parser.add_argument(
        '--without',
        metavar='FILE',
        help='weights trained without DLC, measured on the same pairs beside the others',
    )
    add_out(parser, 'results/eval/landscape')


def _landscape(options):
    from dlc_training.evaluate.landscape_command import run_landscape

    return run_landscape(options)


def _calibrate_arguments(parser):
    add_shapes(parser)
    add_weights(parser)
    add_pairs(parser, '--pairs', 'pairs of each stratum', 60)
    add_pairs(parser, '--negatives', 'pairs of each kind without an answer', 120)
    _add_false_rejects(parser)
    parser.add_argument(
        '--write',
        action='store_true',
        help="write the constants into the weights' model card, where the gate reads them",
    )
    add_work(parser, 'results/eval/calibrate')


def _add_false_rejects(parser):
    parser.add_argument(
        '--false-rejects',
        type=percent,
        default=10.0,
        metavar='PERCENT',
        help='of the right answers that a confidence of one half rejects (default %(default)s)',
    )


def _calibrate_places_arguments(parser):
    add_weights(parser)
    add_pairs(parser, '--pairs', 'pairs of places of each kind', 6)
    _add_false_rejects(parser)
    add_work(parser, 'results/eval/calibrate-places')


def _calibrate_places(options):
    from dlc_training.evaluate.calibrate_command import run_place_calibration

    return run_place_calibration(options)


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
