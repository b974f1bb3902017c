"""What the commands that train share: their folder, their objective, and how they end."""

import argparse
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from dlc_ros.command_line import INTERRUPTED, MISTAKE
from dlc_ros.errors import DlcError, missing_package

EXTRA = 'training'  # brings all that these commands need


def add_run(parser, objectives, default=None):
    """
    ``--out`` and ``--objective``.

    :param objectives: names to choose from; ``default`` the one of a command that names none.
    """
    parser.add_argument(
        '--out', type=_named, metavar='DIR', required=True, help='folder of the run'
    )
    parser.add_argument(
        '--objective', choices=objectives, default=default, help='short for objective.name=...'
    )


def _named(text):
    """Argument type: a name; an empty one, of a variable that is not set, means no folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError('the name is empty; name a folder')
    return text


def try_place(folder):
    """
    Find out whether something can be made in a folder, or where that would be made.

    Permissions do not tell: root may write anywhere, and nobody to some file systems.

    :raises OSError: it cannot.
    """
    folder = Path(folder)
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    with TemporaryDirectory(dir=there):
        pass


def exit_code(act, prog, out):
    """
    Do what a command does; what goes wrong is one line.

    :param act: function without arguments that returns an exit code.
    :param prog: name of the command; ``out`` its folder.
    :return: that code; 2 after a user's mistake, 130 after an interruption.
    """
    try:
        return act()
    except KeyboardInterrupt:
        said = 'interrupted'
    except ModuleNotFoundError as error:
        print(f'{prog}: {missing_package(error, EXTRA)}', file=sys.stderr)
        return MISTAKE
    except DlcError as error:
        from dlc_training.engine import Interrupted  # torch, which --help does without

        if not isinstance(error, Interrupted):
            print(f'{prog}: {error}', file=sys.stderr)
            return MISTAKE
        said = str(error)
    print(f'{said}; the same command continues in {out}', file=sys.stderr)
    return INTERRUPTED


def end_process(code):
    """
    End one of several processes at once, a single one as usual.

    The threads of gloo may outlive their group with the last tensors in hand, and abort a process
    whose interpreter is being taken apart when they let go of them.

    :param code: exit code of the process.
    """
    if int(os.environ.get('WORLD_SIZE', 1)) == 1:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
