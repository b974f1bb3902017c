"""``dlc-eval speed`` on the command line."""

from dlc_training.evaluate.arguments import add_pairs, add_weights, at_least
from dlc_training.evaluate.recording_command import node_tools


def add_arguments(parser):
    """Arguments of ``dlc-eval speed``."""
    add_weights(parser)
    parser.add_argument('--pairs', type=at_least(2), default=20, help='repetitions (default 20)')
    add_pairs(parser, '--clouds', 'clouds of the memory check', 2000)
    parser.add_argument(
        '--only', choices=('library', 'node'), help='one half of the table (default: both)'
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
    rows = []
    if options.only != 'node':
        rows += speed.measure(options.weights, options.pairs, options.clouds)
    if options.only != 'library':
        node_speed = node_tools('node_speed')
        rows += node_speed.measure(options.weights, options.seconds, command=options.node)
    for what, value, unit, limit in rows:
        bound = '' if limit is None else f'  (at most {limit})'
        print(f'{what:55} {value:9.1f} {unit}{bound}')
    return 0
