"""``dlc-ros run``: the localizer node without a ROS 2 installation."""

import logging
import signal

from dlc_ros.command_line import DONE, INTERRUPTED, MISTAKE
from dlc_ros.commands.stopping import until_signal
from dlc_ros.errors import ParameterError


def add(commands):
    """Add the command to the parsers of ``dlc-ros``."""
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
    command.set_defaults(command=run)


def run(options):
    """Run the node until it is told to end; gives the exit code."""
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

    with until_signal() as stopped:
        with LocalizerNode(parameters, *names, sim_time) as node:
            if node.problems and (parameters.reference or parameters.objects.references):
                return MISTAKE  # the node has logged what is wrong
            node.run(stopped)
    return INTERRUPTED if stopped.signal == signal.SIGINT else DONE


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
