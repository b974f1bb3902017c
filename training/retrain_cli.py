"""``dlc-retrain``: a recording in; weights, a report and a verdict out."""

import shlex
import sys

from dlc_ros.command_line import Parser, number
from dlc_ros.registration.units import LARGEST_UNIT, LEAST_UNIT
from dlc_training.command_line import add_run, end_process, exit_code


def main(arguments=None):
    """Run the command; returns the exit code (0 done, 2 a user's mistake, 130 interrupted)."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ['simulate']:
        from dlc_training.recordings.commands import simulate

        return simulate(arguments[1:])
    if arguments[:1] == ['ingest']:
        from dlc_training.recordings.commands import ingest

        return ingest(arguments[1:])
    options = _parser().parse_args(arguments)
    options.command_line = shlex.join(['dlc-retrain', *arguments])
    return exit_code(lambda: _run(options), 'dlc-retrain', options.out)


def _run(options):
    from dlc_training.recordings.retrain import run  # needs the extra, which --help does without

    return run(options)


def _parser():
    parser = Parser(
        prog='dlc-retrain',
        description='Fine-tune the pose predictor on your own recordings, and say whether that '
        'helped. Run it again with the same --out to go on after an interruption.',
        epilog='"dlc-retrain simulate --out DIR" records a simulated robot to try this on; '
        '"dlc-retrain ingest" measures how fast recordings are read.',
    )
    what = parser.add_argument_group('what to learn from')
    what.add_argument(
        '--bag',
        nargs='+',
        required=True,
        metavar='BAG',
        help='rosbag2 folders, .mcap, .db3 or .bag files, or folders of those',
    )
    what.add_argument('--topic', metavar='NAME', help='cloud topic; needed if there are several')
    what.add_argument(
        '--reference',
        metavar='FILE',
        help='map or model (ply, pcd, ...); left out: a map is built',
    )
    what.add_argument(
        '--reference-unit',
        type=number(LEAST_UNIT, LARGEST_UNIT, f'number from {LEAST_UNIT:g} to {LARGEST_UNIT:g}'),
        metavar='METRES',
        help='length of the unit of that file, 0.001 for millimetres (default: 1, and what looks '
        'like millimetres is refused)',
    )
    truth = parser.add_argument_group('where the poses come from; left out: /tf, topics, odometry')
    truth.add_argument('--trajectory', default='', metavar='FILE', help='TUM or KITTI file')
    truth.add_argument(
        '--trajectory-frame',
        default='',
        metavar='FRAME',
        help='whose poses these are; left out: the sensor',
    )
    truth.add_argument(
        '--fixed-frame',
        default='',
        metavar='FRAME',
        help='frame of /tf to take poses in; left out: map, then odom',
    )
    truth.add_argument(
        '--initial-pose', metavar='FILE', help='4x4 pose of the first cloud in the reference'
    )
    scans = parser.add_argument_group('scans')
    scans.add_argument(
        '--point-times',
        choices=('auto', 'start', 'end', 'off'),
        default='auto',
        help='where in a scan its stamp lies; off: no deskewing',
    )
    scans.add_argument(
        '--body-reach',
        type=float,
        default=1.0,
        metavar='M',
        help='the robot itself is seen no farther away (default 1)',
    )
    scans.add_argument(
        '--most-scans',
        type=int,
        default=3000,
        metavar='N',
        help='kept of the recording (default 3000)',
    )
    held = parser.add_argument_group('what is held out')
    held.add_argument(
        '--hold-out',
        choices=('auto', 'time', 'place'),
        default='auto',
        help='the end of the time or of the way; auto: of the way if there is one',
    )
    held.add_argument('--share', type=float, default=0.25, metavar='S', help='default 0.25')
    held.add_argument(
        '--judge-scans',
        type=int,
        default=150,
        metavar='N',
        help='held-out scans that are registered (default 150)',
    )
    held.add_argument(
        '--benchmark-pairs',
        type=int,
        default=25,
        metavar='N',
        help='pairs a bin of the shipped benchmark; 0 leaves it out (default 25)',
    )
    held.add_argument(
        '--judge-truth',
        default='',
        metavar='FILE',
        help='TUM or KITTI file of measured sensor poses in the reference, for judging alone',
    )
    train = parser.add_argument_group('training')
    train.add_argument(
        '--weights',
        default='',
        metavar='FILE',
        help='to start from; left out: those of the package; none: random',
    )
    add_run(train, ('dlc', 'none'), 'dlc')
    train.add_argument(
        '--steps',
        type=int,
        default=0,
        metavar='N',
        help='optimiser steps (default 400, or 7000 from random weights)',
    )
    train.add_argument(
        '--set',
        nargs='+',
        default=[],
        metavar='key=value',
        dest='overrides',
        help='settings of dlc-train, e.g. optimiser.rate=1e-4',
    )
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='show what would be used and how long it takes; writes nothing',
    )
    parser.add_argument('--quiet', action='store_true', help='no progress bars')
    return parser


if __name__ == '__main__':
    end_process(main())
