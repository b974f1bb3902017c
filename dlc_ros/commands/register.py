"""``dlc-ros register``: two point cloud files in, a transform out."""

import json
import math
import os
import sys
from dataclasses import replace

from dlc_ros.command_line import DONE, number
from dlc_ros.errors import FileError, ParameterError
from dlc_ros.registration.units import LARGEST_UNIT, LEAST_UNIT, with_unit_option

NOT_ACCEPTED = 1


def add(commands):
    """Add the command to the parsers of ``dlc-ros``."""
    command = commands.add_parser(
        'register',
        help='register two point cloud files',
        description='Find the transform that maps SOURCE into the frame of TARGET. Files: ply, '
        'pcd, xyz, csv, npy, npz, KITTI .bin, or a mesh (ply, stl, obj, off, gltf); metres, '
        'TARGET also in what --target-unit tells. A scan in a map is found far more reliably with '
        '--upright. Exit code 0 if the result is accepted, 1 if not, 2 for a mistake in the '
        'input.',
    )
    command.add_argument('source', metavar='SOURCE', help='cloud to move')
    command.add_argument('target', metavar='TARGET', help='cloud that stays')
    command.add_argument(
        '--target-unit',
        type=number(LEAST_UNIT, LARGEST_UNIT, f'number from {LEAST_UNIT:g} to {LARGEST_UNIT:g}'),
        default=1.0,
        metavar='METRES',
        help="length of the unit of TARGET's file, 0.001 for a CAD model in millimetres (default: "
        '%(default)g)',
    )
    command.add_argument('--init', metavar='FILE', help='4x4 text file: guess of the transform')
    command.add_argument(
        '--init-std',
        nargs=2,
        type=number(0.0, math.inf, 'number from 0 on'),
        metavar=('METRES', 'DEGREES'),
        help='how far that guess may be off: standard deviations of the middle of SOURCE along '
        'each axis, and of the turn about each (default: 0.3 radii of TARGET, 30 deg)',
    )
    command.add_argument(
        '--upright',
        action='store_true',
        help='both have their z axes up, to a few degrees, and SOURCE was seen from near its '
        'origin: a LiDAR scan in a map; every place and yaw is searched',
    )
    command.add_argument(
        '--viewpoint',
        nargs=3,
        type=number(-math.inf, math.inf, 'number'),
        metavar=('X', 'Y', 'Z'),
        help='where SOURCE was seen from, in its frame [m]: a pose is wrong that puts TARGET '
        'where the sensor looked through (default: not known; with --upright the origin)',
    )
    command.add_argument(
        '--min-confidence',
        type=number(0.0, 1.0, 'number from 0 to 1'),
        metavar='SHARE',
        help='below which the result is not accepted, 0 to 1 (default: 0.5)',
    )
    command.add_argument('--weights', metavar='FILE', help='instead of the ones in the package')
    command.add_argument('--json', action='store_true', help='print one JSON object')
    command.set_defaults(command=run)


def run(options):
    """Register SOURCE to TARGET and print the answer; gives the exit code."""
    from dlc_ros.files import read_cloud, read_transform
    from dlc_ros.registration.cloud import validate_cloud

    if options.init_std and not options.init:
        raise ParameterError('--init-std tells how sure --init is; give --init FILE as well')
    # Named by their files, and before the weights are loaded.
    source = validate_cloud(read_cloud(options.source), name=options.source)
    target = validate_cloud(read_cloud(options.target, options.target_unit), name=options.target)
    init = read_transform(options.init) if options.init else None
    from dlc_ros.registration.options import RegistrationOptions
    from dlc_ros.registration.registrar import Registrar

    registrar = Registrar(target, options.weights, RegistrationOptions(upright=options.upright))
    spread = _spread(source, init, *options.init_std) if options.init_std else None
    result = registrar.register(
        source, init, spread, options.viewpoint, min_confidence=options.min_confidence
    )
    reason = with_unit_option(result.reason, 'give --target-unit', options.target_unit)
    result = replace(result, reason=reason)
    _answer(_json(result) if options.json else _text(result))
    return DONE if result.accepted else NOT_ACCEPTED


def _spread(source, init, metres, degrees):
    """
    (6, 6) covariance of ``init`` from standard deviations at the middle of the source.

    Given at the source's origin, a turn would swing a cloud that lies far from it anywhere.
    """
    import numpy as np

    from dlc_ros.registration.cloud import LocalFrame
    from dlc_ros.registration.covariance import covariance_of_compose
    from dlc_ros.registration.se3 import compose, inverse

    middle = LocalFrame.of(source).transform
    deviations = np.repeat([metres, math.radians(degrees)], 3)
    at_middle = np.diag(deviations**2)
    return covariance_of_compose(compose(init, middle), at_middle, inverse(middle))


def _answer(text):
    """Print now: at the interpreter's end nobody could say that it did not arrive."""
    try:
        print(text, flush=True)
    except OSError as error:
        # What is left in the buffer would be tried again at the end, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # else its reader has enough, as head does
            raise FileError(f'standard output cannot be written: {error.strerror}') from None


def _json(result):
    return json.dumps(
        {
            'T_target_source': result.transform.tolist(),
            'accepted': result.accepted,
            'status': result.status.value,
            'reason': result.reason,
            'confidence': _finite(result.confidence),
            'covariance': [[_finite(value) for value in row] for row in result.covariance],
            'inlier_fraction': result.inlier_fraction,
            'residual_m': _finite(result.residual),
            'alternatives': [pose.tolist() for pose in result.alternatives],
            'free_directions': result.free_directions.T.tolist(),
            'stages_ms': {name: _finite(value) for name, value in result.stages.items()},
        }
    )


def _finite(value):
    """JSON knows neither NaN nor infinity."""
    value = float(value)
    return value if math.isfinite(value) else None


def _text(result):
    rows = '\n'.join(' '.join(f'{value: .9f}' for value in row) for row in result.transform)
    total = sum(result.stages.values())
    return (
        f'{result.status.value}: {result.reason}\n'
        f'confidence {result.confidence:.2f}, {total:.0f} ms, T_target_source:\n{rows}'
    )
