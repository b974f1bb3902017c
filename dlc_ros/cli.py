"""
``dlc-ros``: register two files, run the node, play a recording, run the demo.

A user's mistake is one line on stderr and exit code 2. Everything heavy is imported by the
command that needs it.
"""

import argparse
import json
import logging
import math
import os
import signal
import sys
import threading
from contextlib import contextmanager
from importlib import import_module

from dlc_ros import __version__
from dlc_ros.command_line import INTERRUPTED, MISTAKE, Parser
from dlc_ros.errors import DlcError, FileError, ParameterError, missing_package

ACCEPTED, NOT_ACCEPTED = 0, 1
# Which extra brings a package.
_EXTRAS = {'cyclonedds': 'dds', 'rosbags': 'dds', 'open3d': 'open3d', 'matplotlib': 'demo'}


def main(argv=None):
    """
    Run the command line.

    :param argv: arguments without the program's name; None takes ``sys.argv``.
    :returns: exit code.
    """
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    if rest and options.command is not _demo:
        parser.error(f'unknown arguments: {" ".join(rest)}')
    options.rest = rest
    try:
        return options.command(options)
    except DlcError as error:
        print(f'dlc-ros: {error}', file=sys.stderr)
        return MISTAKE
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or '').split('.')[0])
        print(f'dlc-ros: {missing_package(error, extra)}', file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left, as head does
        sys.stderr.close()
        return ACCEPTED


def _parser():
    parser = Parser(
        prog='dlc-ros',
        description='Where a point cloud lies in another, in files or live on ROS 2 topics.',
        epilog='Exit codes: 0 done, 1 registration not accepted, 2 a mistake in the input '
        '(one line on stderr says which), 130 stopped by Ctrl-C.',
    )
    parser.add_argument('--version', action='version', version=f'dlc-ros {__version__}')
    commands = parser.add_subparsers(title='commands', metavar='COMMAND', required=True)
    _add_register(commands)
    _add_run(commands)
    _add_play(commands)
    demo = commands.add_parser(
        'demo', add_help=False, help='simulated camera, node and checker: a table, a picture'
    )
    demo.set_defaults(command=_demo)
    return parser


def _add_register(commands):
    command = commands.add_parser(
        'register',
        help='register two point cloud files',
        description='Find the transform that maps SOURCE into the frame of TARGET. Files: ply, '
        'pcd, xyz, csv, npy, npz, KITTI .bin, or a mesh (ply, stl, obj, off, gltf); metres. A '
        'scan in a map is found far more reliably with --upright. Exit code 0 if the result is '
        'accepted, 1 if not, 2 for a mistake in the input.',
    )
    command.add_argument('source', metavar='SOURCE', help='cloud to move')
    command.add_argument('target', metavar='TARGET', help='cloud that stays')
    command.add_argument('--init', metavar='FILE', help='4x4 text file: guess of the transform')
    command.add_argument(
        '--init-std',
        nargs=2,
        type=_number(0.0, math.inf, 'number from 0 on'),
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
        type=_number(-math.inf, math.inf, 'number'),
        metavar=('X', 'Y', 'Z'),
        help='where SOURCE was seen from, in its frame [m]: a pose is wrong that puts TARGET '
        'where the sensor looked through (default: not known; with --upright the origin)',
    )
    command.add_argument(
        '--min-confidence',
        type=_number(0.0, 1.0, 'number from 0 to 1'),
        metavar='SHARE',
        help='below which the result is not accepted, 0 to 1 (default: 0.5)',
    )
    command.add_argument('--weights', metavar='FILE', help='instead of the ones in the package')
    command.add_argument('--json', action='store_true', help='print one JSON object')
    command.set_defaults(command=_register)


def _add_run(commands):
    command = commands.add_parser(
        'run',
        help='run the localizer node, without a ROS 2 installation',
        description='Localizer node on ROS 2 topics over Cyclone DDS. Ctrl-C ends it.',
        epilog='Begin with a file of config/ (installed as share/dlc_ros/config): dlc-ros run '
        '--params config/indoor_lidar.yaml -p reference=map.pcd -p topics.points=/lidar/points',
    )
    command.add_argument(
        '--params', metavar='FILE', help='ROS 2 parameter file (docs/parameters.md)'
    )
    command.add_argument(
        '-p',
        '--param',
        metavar='NAME=VALUE',
        action='append',
        default=[],
        help='set one parameter, use_sim_time too; wins over the file; may be repeated',
    )
    command.add_argument('--name', default='localizer', help='node name (default: %(default)s)')
    command.add_argument(
        '--namespace',
        default='/',
        help='of the node and its relative topics (default: %(default)s)',
    )
    command.add_argument(
        '--log-level',
        default='info',
        choices=('debug', 'info', 'warning', 'error'),
        help='default: %(default)s',
    )
    command.set_defaults(command=_run)


def _add_play(commands):
    command = commands.add_parser(
        'play',
        help='publish a recording on ROS 2 topics',
        description='Publish a rosbag2 folder, .mcap, .db3 or ROS 1 .bag file, as recorded.',
    )
    command.add_argument('bag', metavar='BAG', help='recording')
    command.add_argument('--rate', type=float, default=1.0, help='speed (default: %(default)g)')
    command.add_argument(
        '--topic',
        metavar='TOPIC',
        action='append',
        help='play this one; may be repeated (default: all)',
    )
    command.add_argument('--loop', action='store_true', help='begin again at the end')
    command.add_argument(
        '--clock',
        action='store_true',
        help="publish the bag's time on /clock, for a node with use_sim_time",
    )
    command.add_argument(
        '--drop-parent',
        default='',
        metavar='FRAME',
        help='leave out transforms with this parent: "map" plays a recording without its own '
        'map -> odom',
    )
    command.add_argument(
        '--wait',
        type=float,
        default=10.0,
        metavar='SECONDS',
        help='how long to wait for a subscriber before playing (default: %(default)g)',
    )
    command.add_argument(
        '--domain', type=int, metavar='ID', help='DDS domain (default: ROS_DOMAIN_ID, else 0)'
    )
    command.add_argument(
        '--interface',
        default='',
        metavar='NAME',
        help='network interface, e.g. lo (default: what Cyclone DDS chooses)',
    )
    command.set_defaults(command=_play)


def _register(options):
    from dlc_ros.files import read_cloud, read_transform
    from dlc_ros.registration.cloud import validate_cloud

    if options.init_std and not options.init:
        raise ParameterError('--init-std tells how sure --init is; give --init FILE as well')
    # Named by their files, and before the weights are loaded.
    source, target = (
        validate_cloud(read_cloud(path), name=path) for path in (options.source, options.target)
    )
    init = read_transform(options.init) if options.init else None
    from dlc_ros.registration.options import RegistrationOptions
    from dlc_ros.registration.registrar import Registrar

    registrar = Registrar(target, options.weights, RegistrationOptions(upright=options.upright))
    spread = _spread(source, init, *options.init_std) if options.init_std else None
    result = registrar.register(
        source, init, spread, options.viewpoint, min_confidence=options.min_confidence
    )
    _answer(_json(result) if options.json else _text(result))
    return ACCEPTED if result.accepted else NOT_ACCEPTED


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


def _number(least, most, said):
    """Argument type: a finite number from ``least`` to ``most``; ``said`` names what is asked."""

    def number(text):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (least <= value <= most and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f'{text!r} is no {said}')
        return value

    return number


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


def _run(options):
    from dlc_ros.node.blas import one_blas_thread

    one_blas_thread()
    from dlc_ros.localization.parameters import from_flat, load_yaml, read_yaml

    overrides = dict(_parse_parameter(text) for text in options.param)
    names = (options.name, options.namespace)
    given = read_yaml(options.params, *names) if options.params else {}
    sim_time = overrides.pop('use_sim_time', given.get('use_sim_time', False))
    if not isinstance(sim_time, bool):
        raise ParameterError(f'use_sim_time = {sim_time!r}: expected bool')
    if options.params:
        parameters = load_yaml(options.params, overrides, *names)
    else:
        parameters = from_flat(overrides)
    logging.basicConfig(
        level=options.log_level.upper(), format='[%(levelname)s] [%(name)s]: %(message)s'
    )
    from dlc_ros.node.dds.localizer_node import LocalizerNode

    with _until_signal() as stopped:
        with LocalizerNode(parameters, *names, sim_time) as node:
            if node.problems and (parameters.reference or parameters.objects.references):
                return MISTAKE  # the node has logged what is wrong
            node.run(stopped)
    return INTERRUPTED if stopped.signal == signal.SIGINT else ACCEPTED


def _parse_parameter(text):
    """``name=value`` or ``name:=value``, the value as YAML writes it."""
    import yaml

    name, separator, value = text.partition('=')
    if not separator or not name.rstrip(':'):
        raise ParameterError(f'-p {text}: write it as NAME=VALUE')
    try:
        return name.rstrip(':').strip(), yaml.safe_load(value) if value else ''
    except yaml.YAMLError:
        raise ParameterError(f'-p {text}: the value is not valid YAML') from None


def _play(options):
    from dlc_ros.node.bag import Bag
    from dlc_ros.node.dds.participant import Participant
    from dlc_ros.node.play import Player

    logging.basicConfig(format='[%(levelname)s] [%(name)s]: %(message)s')
    with _until_signal() as stopped, Bag(options.bag) as bag:
        participant = Participant(
            'dlc_ros_player', domain_id=options.domain, interface=options.interface
        )
        with participant:
            player = Player(
                bag,
                participant,
                options.topic,
                options.rate,
                options.clock,
                options.drop_parent,
            )
            _say(
                f'{bag.duration_ns * 1e-9:.1f} s of {", ".join(player.topics) or "nothing"} '
                f'at rate {options.rate:g}'
            )
            if not player.wait_for_subscribers(options.wait, stopped) and not stopped.is_set():
                _say(f'nobody subscribed within {options.wait:g} s; playing all the same')
            while not stopped.is_set():
                sent = player.play(stopped)
                _say(f'{sent} messages sent')
                if not options.loop or not sent:
                    break
    return INTERRUPTED if stopped.signal == signal.SIGINT else ACCEPTED


def _say(text):
    print(f'dlc-ros play: {text}', file=sys.stderr, flush=True)


def _demo(options):
    return import_module('dlc_ros.demo.run').main(options.rest)


@contextmanager
def _until_signal():
    """Event that is set by SIGINT or SIGTERM; ``event.signal`` is the first that came, or None."""
    event = threading.Event()
    event.signal = None

    def on_signal(number, _frame):
        event.signal = event.signal or number
        event.set()

    previous = {n: signal.signal(n, on_signal) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


if __name__ == '__main__':
    sys.exit(main())
