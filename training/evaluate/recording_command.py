"""``dlc-eval recording`` on the command line."""

import json
from importlib import import_module
from pathlib import Path

import yaml

from dlc_ros.errors import DlcError, ParameterError, missing_package
from dlc_training.evaluate.arguments import writable_file


def add_arguments(parser):
    """Arguments of ``dlc-eval recording``."""
    parser.add_argument('bag', metavar='BAG', help='rosbag2 folder, .mcap, .db3 or .bag')
    parser.add_argument('--topic', help='of the clouds (default: the only one)')
    parser.add_argument('--rate', type=float, default=0.2, help='of playing (default %(default)g)')
    parser.add_argument(
        '--mode',
        choices=('map', 'object'),
        default='map',
        help='where the sensor is in the reference, or where the reference is (default map)',
    )
    parser.add_argument(
        '--degrees', type=float, default=40.0, help='the reference is turned (default %(default)g)'
    )
    parser.add_argument(
        '--metres', type=float, default=0.3, help='and shifted by this (default %(default)g)'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the directions of both')
    parser.add_argument(
        '-p',
        '--param',
        metavar='NAME=VALUE',
        action='append',
        default=[],
        help='a parameter of the node; may be repeated',
    )
    parser.add_argument(
        '--out',
        type=writable_file,
        metavar='FILE',
        help='write every cloud and its error as JSON',
    )


def run(options):
    """Play, print the table; exit code 0 if what is asked of a recording was reached, else 1."""
    recording = node_tools('recording')
    changes = {}
    for text in options.param:
        name, separator, value = text.partition('=')
        if not separator:
            raise ParameterError(f'-p {text}: write it as NAME=VALUE')
        *groups, leaf = name.split('.')
        place = changes
        for group in groups:
            place = place.setdefault(group, {})
        place[leaf] = yaml.safe_load(value)
    outcome = recording.play_through_node(
        options.bag,
        recording.known_move(options.degrees, options.metres, options.seed),
        options.rate,
        options.topic,
        options.mode,
        changes,
    )
    print(outcome.table())
    if options.out:
        path = Path(options.out)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(outcome.to_json()) + '\n', encoding='utf-8')
    return 0 if outcome.passed else 1


def node_tools(name):
    """
    A module of the evaluation that drives a node.

    :raises DlcError: what it needs besides the evaluation is not installed.
    """
    try:
        return import_module(f'dlc_training.evaluate.{name}')
    except ModuleNotFoundError as error:
        raise DlcError(missing_package(error, 'dds,eval')) from None
