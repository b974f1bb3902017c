"""``dlc-ros demo``: the demo with its own options, which :mod:`dlc_ros.demo` parses."""

from importlib import import_module


def add(commands):
    """Add the command to the parsers of ``dlc-ros``."""
    command = commands.add_parser(
        'demo', add_help=False, help='simulated camera, node and checker: a table, a picture'
    )
    command.set_defaults(command=run)


def run(options):
    """Run the demo with what else was given, ``options.rest``; gives the exit code."""
    return import_module('dlc_ros.demo.run').main(options.rest)
