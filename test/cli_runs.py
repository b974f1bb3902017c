"""``dlc-ros`` in the process of a test, and a pair of clouds for it."""

import numpy as np
from wire import room

from dlc_ros import cli
from dlc_ros.files import write_cloud
from dlc_ros.registration.se3 import exp_so3, inverse, make_transform, transform_points

TARGET_FROM_SOURCE = make_transform(exp_so3([0.02, -0.03, 0.06]), [0.05, -0.04, 0.02])


def write_pair(folder):
    """Write ``source.npy`` and ``target.npy``, which TARGET_FROM_SOURCE joins."""
    source = transform_points(inverse(TARGET_FROM_SOURCE), room(5000, 11).astype(np.float64))
    write_cloud(folder / 'target.npy', room())
    write_cloud(folder / 'source.npy', source)


def run(capsys, *arguments):
    """Exit code, stdout and stderr of the command line in this process."""
    try:
        code = cli.main([str(argument) for argument in arguments])
    except SystemExit as error:  # argparse ends the program by itself
        code = error.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def assert_mistake(capsys, arguments, words):
    """That the command line says these words in its one line and ends with exit code 2."""
    code, out, err = run(capsys, *arguments)
    assert code == 2 and out == ''
    assert words in err and len(err.splitlines()) == 1, err
