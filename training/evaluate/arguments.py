"""Arguments that several commands of ``dlc-eval`` share."""

import argparse
from pathlib import Path

from dlc_training.command_line import try_place


def at_least(least, kind=int):
    """Argument type: a number not below ``least``."""

    def number(text):
        value = kind(text)
        if not value >= least:
            raise ValueError
        return value

    number.__name__ = f'number >= {least}'
    return number


def percent(text):
    """Argument type: a number in 0..100."""
    value = float(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f'{text} is not within 0..100')
    return value


def writable_folder(text):
    """Argument type: a folder that is there or can be made; it is not made yet."""
    return _writable(text, Path(text))


def writable_file(text):
    """Argument type: a file that can be written; it is not made yet."""
    if Path(text).is_dir():
        raise argparse.ArgumentTypeError(f'{text} is a directory; name a file')
    return _writable(text, Path(text).parent)


def _writable(text, folder):
    """``text``, if something can be made in a folder or where that would be made."""
    try:
        try_place(folder)
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f'{text} cannot be written ({error.strerror or error})'
        ) from None
    return text


def add_seed(command):
    """``--seed``."""
    command.add_argument(
        '--seed', type=at_least(0), default=0, help='of shapes and pairs (default 0)'
    )


def add_weights(command):
    """``--weights``."""
    command.add_argument('--weights', metavar='FILE', help='default: those of the package')


def add_shapes(command):
    """``--shapes``."""
    command.add_argument(
        '--shapes',
        default='generated',
        metavar='generated|FILE.npz',
        help='generated solids that were never trained on, or a file with "points" '
        '(shapes, samples, 3 or more) within the unit sphere',
    )


def add_pairs(command, name, meaning, default=100):
    """``--pairs`` or ``--pairs-per-bin``."""
    command.add_argument(
        name,
        type=at_least(1),
        default=default,
        metavar='N',
        help=f'{meaning} (default %(default)s)',
    )


def add_methods(command, methods):
    """``--methods``, of a dict of :class:`~dlc_training.evaluate.methods.Method` by name."""
    names = [f'({name})' if method.asked else name for name, method in methods.items()]
    command.add_argument(
        '--methods',
        nargs='+',
        metavar='NAME',
        help=f'default all that are not in brackets: {", ".join(names)}',
    )


def add_out(command, folder):
    """``--out``."""
    command.add_argument(
        '--out',
        type=writable_folder,
        default=folder,
        metavar='DIR',
        help='folder of the results (default %(default)s)',
    )


def add_work(command, folder):
    """``--out``, ``--jobs`` and ``--quiet``."""
    add_out(command, folder)
    command.add_argument('--jobs', type=at_least(1), default=1, help='worker processes')
    command.add_argument('--quiet', action='store_true', help='no progress bars')
