"""``dlc-retrain simulate`` and ``dlc-retrain ingest`` on the command line."""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from dlc_ros.command_line import INTERRUPTED, MISTAKE, Parser
from dlc_ros.errors import DlcError, missing_package
from dlc_training.command_line import EXTRA
from dlc_training.recordings.files import unwritable

# What does the work is imported where it begins: it needs the extra, which --help does without.


def simulate(arguments):
    """``dlc-retrain simulate``: returns the exit code (0 done, 2 a user's mistake)."""
    prog = 'dlc-retrain simulate'
    parser = Parser(
        prog=prog,
        description='Record a simulated robot in a generated building, to try dlc-retrain on.',
    )
    parser.add_argument('--out', metavar='DIR', required=True, help='folder to make')
    parser.add_argument('--seed', type=int, default=0, help='of everything (default 0)')
    parser.add_argument('--rooms', type=int, default=8, help='an even number (default 8)')
    parser.add_argument('--laps', type=int, default=1, help='rounds of the robot (default 1)')
    parser.add_argument('--people', type=int, default=3, help='who walk about (default 3)')
    parser.add_argument(
        '--truth',
        choices=('odometry', 'map', 'none'),
        default='odometry',
        help='what /tf holds: drifting odometry, exact poses in the map, nothing',
    )
    options = parser.parse_args(arguments)
    if options.rooms < 2 or options.rooms % 2 or min(options.laps, options.people + 1) < 1:
        print(f'{prog}: --rooms is even and >= 2, --laps >= 1, --people >= 0', file=sys.stderr)
        return MISTAKE
    return _exit_code(lambda: _simulate(options), prog, options.out)


def _simulate(options):
    from dlc_training.recordings.simulate import simulate

    recording = simulate(
        options.out, options.seed, options.rooms, options.truth, options.laps, options.people
    )
    folder = Path(options.out)
    print(
        f'{recording}: the recording\n{folder}/reference.ply: the map\n'
        f'{folder}/truth.tum: true poses, for judging only'
    )
    return 0


def ingest(arguments):
    """``dlc-retrain ingest``: prints rates and peak memory; returns the exit code."""
    prog = 'dlc-retrain ingest'
    parser = Parser(
        prog=prog,
        description='Write recordings of 131,072-point clouds (uncompressed mcap, 2.9 MB each) '
        'and measure how they are read: CPU time, wall time, peak memory.',
    )
    parser.add_argument(
        '--megabytes', type=int, default=300, help='of the shorter recording (default 300)'
    )
    parser.add_argument(
        '--longer', type=int, default=10, help='how many times as long the other is (default 10)'
    )
    parser.add_argument(
        '--out', metavar='DIR', help='where to write; left out: a temporary folder'
    )
    parser.add_argument('--bag', help=argparse.SUPPRESS)
    parser.add_argument('--every', type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    return _exit_code(lambda: _ingest(options), prog, options.out or 'here')


def _ingest(options):
    from dlc_training.recordings.ingest import compare, measure

    if options.bag:
        measure(options.bag, options.every)
        return 0
    with TemporaryDirectory(dir=options.out) as folder:
        return compare(Path(folder), options.megabytes, options.longer)


def _exit_code(act, prog, folder):
    """Do what a command does; what goes wrong is one line."""
    try:
        return act()
    except ModuleNotFoundError as error:
        print(f'{prog}: {missing_package(error, EXTRA)}', file=sys.stderr)
    except DlcError as error:
        print(f'{prog}: {error}', file=sys.stderr)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return INTERRUPTED
    except OSError as error:  # in the middle of a recording
        print(f'{prog}: {unwritable(folder, error)}', file=sys.stderr)
    return MISTAKE
