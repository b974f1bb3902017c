"""``dlc-eval``: the protocols with all methods on the same pairs, and what else is measured."""

import shlex
import sys

from dlc_ros.command_line import INTERRUPTED, MISTAKE, Parser
from dlc_ros.errors import DlcError, missing_package


def main(argv=None):
    """
    Run the command line.

    :param argv: arguments without the program's name; None takes ``sys.argv``.
    :return: exit code: 0 done, 2 a user's mistake, 130 interrupted.
    """
    try:
        options = _parser().parse_args(argv)
        words = sys.argv[1:] if argv is None else argv
        options.command_line = shlex.join(['dlc-eval', *words])
        return options.run(options)
    except ModuleNotFoundError as error:
        print(f'dlc-eval: {missing_package(error, "eval")}', file=sys.stderr)
        return MISTAKE
    except DlcError as error:
        print(f'dlc-eval: {error}', file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print('interrupted; the same command goes on with the unfinished method', file=sys.stderr)
        return INTERRUPTED


def _parser():
    from dlc_training.evaluate import commands  # torch: seconds in which Ctrl-C may come

    parser = Parser(
        prog='dlc-eval',
        description='Measure registration as the protocols say: all methods on the same pairs.',
    )
    added = parser.add_subparsers(required=True, metavar='COMMAND')
    for command in commands.every():
        # argparse formats a help text, but not a description.
        text = command.summary
        parsed = added.add_parser(command.name, help=text.replace('%', '%%'), description=text)
        command.configure(parsed)
    return parser


if __name__ == '__main__':
    sys.exit(main())
