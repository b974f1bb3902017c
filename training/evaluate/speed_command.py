"""``dlc-eval speed`` on the command line."""

from dlc_ros.errors import ParameterError
from dlc_training.evaluate.arguments import add_pairs, add_weights, at_least
from dlc_training.evaluate.recording_command import node_tools


def add_arguments(parser):
    """Arguments of ``dlc-eval speed``."""
    add_weights(parser)
    parser.add_argument('--pairs', type=at_least(2), default=20, help='repetitions (default 20)')
    add_pairs(parser, '--clouds', 'clouds of the memory check', 2000)
    parser.add_argument(
        '--only',
        choices=('library', 'node', 'adapters'),
        help='one half of the table (default: both), or dlc-ros run and --node in turns',
    )
    parser.add_argument(
        '--node',
        metavar='COMMAND',
        help='start this node instead of dlc-ros run; {params} stands for its parameter file',
    )
    parser.add_argument(
        '--seconds', type=at_least(1), default=30, help='of driving (default %(default)s)'
    )


def run(options):
    """Measure and print, row by row."""
    from dlc_training.evaluate import speed
    from dlc_training.evaluate.pair_command import check_weights

    check_weights(options.weights)
    if options.only == 'adapters' and not options.node:
        raise ParameterError('--only adapters compares dlc-ros run with another node: give --node')
    rows = []
    if options.only in (None, 'library'):
        rows += speed.measure(options.weights, options.pairs, options.clouds)
    if options.only == 'adapters':
        node_speed = node_tools('node_speed')
        rows += node_speed.compare(options.node, options.weights, options.seconds)
    elif options.only != 'library':
        node_speed = node_tools('node_speed')
        rows += node_speed.measure(options.weights, options.seconds, command=options.node)
    for what, value, unit, limit in rows:
        bound = '' if limit is None else f'  (at most {limit})'
        print(f'{what:55} {value:9.1f} {unit}{bound}')
    return 0
