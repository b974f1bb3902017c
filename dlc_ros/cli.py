"""
``dlc-ros``: register two files, run the node, play a recording, run the demo.

A user's mistake is one line on stderr and exit code 2. Everything heavy is imported by the
command that needs it, see :mod:`dlc_ros.commands`.
"""

import sys

from dlc_ros import __version__
from dlc_ros.command_line import DONE, INTERRUPTED, MISTAKE, Parser
from dlc_ros.commands import demo, play, register, run
from dlc_ros.errors import DlcError, missing_package

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
    if rest and options.command is not demo.run:
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
        return DONE


def _parser():
    parser = Parser(
        prog='dlc-ros',
        description='Where a point cloud lies in another, in files or live on ROS 2 topics.',
        epilog='Exit codes: 0 done, 1 registration not accepted, 2 a mistake in the input '
        '(one line on stderr says which), 130 stopped by Ctrl-C.',
    )
    parser.add_argument('--version', action='version', version=f'dlc-ros {__version__}')
    commands = parser.add_subparsers(title='commands', metavar='COMMAND', required=True)
    for command in (register, run, play, demo):
        command.add(commands)
    return parser


if __name__ == '__main__':
    sys.exit(main())
