"""``dlc-eval``: repeat a protocol with all methods on the same pairs."""

import argparse
import json
import platform
import shlex
import sys
from pathlib import Path

from dlc_ros.errors import DlcError
from dlc_training.evaluate import report
from dlc_training.evaluate.methods import (
    METHODS,
    OURS,
    PEERS,
    Settings,
    choose,
    fingerprint,
    versions,
    weights_sha256,
)
from dlc_training.evaluate.protocols import PROTOCOLS
from dlc_training.evaluate.runner import Runner, digest_of, write_text
from dlc_training.evaluate.shapes import open_shapes

MISTAKE, INTERRUPTED = 2, 130


def main(argv=None):
    """
    Run the command line.

    :param argv: arguments without the program's name; None takes ``sys.argv``.
    :return: exit code: 0 done, 2 a user's mistake, 130 interrupted.
    """
    options = _parser().parse_args(argv)
    options.command_line = shlex.join(['dlc-eval', *(sys.argv[1:] if argv is None else argv)])
    try:
        return options.command(options)
    except DlcError as error:
        print(f'dlc-eval: {error}', file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print('interrupted; the same command goes on with the unfinished method', file=sys.stderr)
        return INTERRUPTED


class _Parser(argparse.ArgumentParser):
    """Tells a mistake in one line, without the usage, which ``--help`` shows."""

    def error(self, message):
        self.exit(MISTAKE, f'{self.prog}: {message}; see {self.prog} --help\n')


def _at_least(least):
    def number(text):
        value = int(text)
        if value < least:
            raise ValueError
        return value

    number.__name__ = f'number >= {least}'
    return number


def _parser():
    parser = _Parser(
        prog='dlc-eval',
        description='Measure registration as the protocols say: all methods on the same pairs.',
    )
    commands = parser.add_subparsers(required=True, metavar='PROTOCOL')
    for name, protocol in PROTOCOLS.items():
        command = commands.add_parser(name, help=protocol.draw.__doc__.strip().splitlines()[0])
        command.set_defaults(command=_protocol, protocol=name)
        command.add_argument(
            '--shapes',
            default='generated',
            metavar='generated|FILE.npz',
            help='generated solids that were never trained on, or a file with "points" '
            '(shapes, samples, 3 or more) within the unit sphere',
        )
        command.add_argument(
            '--pairs-per-bin',
            type=_at_least(1),
            default=100,
            metavar='N',
            help=f'pairs in each of {protocol.drawn_bins} bin(s) that are drawn (default 100)',
        )
        command.add_argument('--seed', type=_at_least(0), default=0, help='default 0')
        command.add_argument('--weights', metavar='FILE', help='default: those of the package')
        command.add_argument(
            '--methods', nargs='+', metavar='NAME', help=f'default all: {", ".join(METHODS)}'
        )
        command.add_argument(
            '--out',
            default=f'results/eval/{name}',
            metavar='DIR',
            help='for the JSON file, the picture and kept results (default %(default)s)',
        )
        command.add_argument('--jobs', type=_at_least(1), default=1, help='worker processes')
        command.add_argument('--quiet', action='store_true', help='no progress bars')
    return parser


def _protocol(options):
    protocol = PROTOCOLS[options.protocol]
    out = Path(options.out)
    settings = Settings(options.weights, out / 'cache')
    names, notes = choose(options.methods)
    if any(name.startswith(OURS) for name in names):
        _check_weights(options.weights)
    shapes = open_shapes(options.shapes, options.seed)
    pairs = list(protocol.pairs(shapes, options.pairs_per_bin, options.seed))
    pairs_digest = digest_of(pairs)
    with Runner(options.jobs, settings.folder, options.quiet) as runner:
        groups, ambiguous = runner.judge(shapes, pairs, pairs_digest)
        scores = {}
        for name in names:
            method = METHODS[name].make(settings)
            key = f'{fingerprint(name, settings)[:12]}{pairs_digest[:12]}'
            answers = runner.run(name, method, pairs, key)
            scores[name] = report.score(pairs, groups, answers, protocol.with_chamfer)
    summary = report.summarise(scores, pairs, ambiguous, OURS, PEERS)
    labels = {name: METHODS[name].label for name in names}
    title = (
        f'{options.protocol}, shapes {shapes.label}, '
        f'{options.pairs_per_bin} pairs a bin, seed {options.seed}'
    )
    print('\n'.join([title, *notes, report.table(summary, labels, protocol.bin_label)]))
    content = {
        'command': options.command_line,
        'protocol': options.protocol,
        'shapes': shapes.label,
        'pairs_per_bin': options.pairs_per_bin,
        'seed': options.seed,
        'weights': options.weights or 'package',
        'weights_sha256': weights_sha256(options.weights),
        'pairs_sha256': pairs_digest,
        'versions': {'python': platform.python_version(), **versions()},
        'machine': platform.machine(),
        **summary,
        'pairs': [
            {
                'bin': pair.bin,
                'shape': shapes.name(pair.shape),
                'symmetry': groups[pair.shape].label,
                'ambiguous': flag,
            }
            for pair, flag in zip(pairs, ambiguous, strict=True)
        ],
        'scores': scores,
    }
    write_text(out / 'result.json', json.dumps(content, allow_nan=True))
    report.picture(out / 'success.png', summary, labels, protocol.bin_label, title)
    print(f'\n{out}/result.json, {out}/success.png')
    return 0


def _check_weights(path):
    """Stop before the work, not in the middle of it."""
    from dlc_ros.registration.weights import load_weights

    load_weights(path)


if __name__ == '__main__':
    sys.exit(main())
