"""``dlc-eval``: the protocols with all methods on the same pairs, and what else is measured."""

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
from dlc_training.evaluate.tuning import SWEEPS, tune

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
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    for name, protocol in PROTOCOLS.items():
        command = commands.add_parser(name, help=protocol.draw.__doc__.strip().splitlines()[0])
        command.set_defaults(command=_protocol, protocol=name)
        _add_shapes(command, f'pairs in each of the {protocol.drawn_bins} bin(s) that are drawn')
        command.add_argument(
            '--seed', type=_at_least(0), default=0, help='of shapes and pairs (default 0)'
        )
        command.add_argument('--weights', metavar='FILE', help='default: those of the package')
        command.add_argument(
            '--methods', nargs='+', metavar='NAME', help=f'default all: {", ".join(METHODS)}'
        )
        _add_work(command, f'results/eval/{name}')
    command = commands.add_parser('tune', help="Sweep one baseline's options on other shapes.")
    command.set_defaults(command=_tune)
    command.add_argument('sweep', choices=('fpfh', *SWEEPS))
    command.add_argument('--protocol', choices=PROTOCOLS, default='so3-crop')
    _add_shapes(command, 'pairs in each bin')
    _add_work(command, 'results/eval/tune')
    command = commands.add_parser('landscape', help='Basin and rays of the predictor energy.')
    command.set_defaults(command=_landscape)
    command.add_argument('--shapes', default='generated', metavar='generated|FILE.npz')
    command.add_argument('--pairs', type=_at_least(1), default=100, help='default 100')
    command.add_argument('--seed', type=_at_least(0), default=0, help='default 0')
    command.add_argument('--weights', metavar='FILE', help='default: those of the package')
    command.add_argument('--out', default='results/eval/landscape', metavar='DIR')
    command = commands.add_parser('speed', help='CPU time and memory of what a robot waits for.')
    command.set_defaults(command=_speed)
    command.add_argument('--weights', metavar='FILE', help='default: those of the package')
    command.add_argument('--pairs', type=_at_least(2), default=20, help='repetitions (default 20)')
    command.add_argument(
        '--clouds', type=_at_least(1), default=2000, help='of the memory check (default 2000)'
    )
    return parser


def _add_shapes(command, meaning):
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
        help=f'{meaning} (default 100)',
    )


def _add_work(command, folder):
    command.add_argument(
        '--out', default=folder, metavar='DIR', help='folder of the results (default %(default)s)'
    )
    command.add_argument('--jobs', type=_at_least(1), default=1, help='worker processes')
    command.add_argument('--quiet', action='store_true', help='no progress bars')


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


def _tune(options):
    tune(
        options.sweep,
        options.protocol,
        options.shapes,
        options.pairs_per_bin,
        options.jobs,
        Path(options.out) / 'cache',
        options.quiet,
    )
    return 0


def _landscape(options):
    _check_weights(options.weights)
    from dlc_training.evaluate.landscape import measure_basin, measure_rays

    shapes = open_shapes(options.shapes, options.seed)
    arguments = (options.weights, shapes, options.pairs, options.seed)
    basin, rays = measure_basin(*arguments), measure_rays(*arguments)
    for cell in basin['cells']:
        print(
            f'{cell["angle_deg"]:4} deg, {cell["length"]:4.2f} units: '
            f'{100 * cell["share"]:5.1f} % [{100 * cell["low"]:.0f}, {100 * cell["high"]:.0f}]'
        )
    print(f'radius at which 95 % reach the truth: {basin["radius_deg"]} deg')
    for row in rays:
        print(
            f'beta {row["beta"]:6g}: {100 * row["rising"]:5.1f} % of rays rise, '
            f'{100 * row["satisfied"]:5.1f} % of hinges hold'
        )
    content = {
        'command': options.command_line,
        'weights_sha256': weights_sha256(options.weights),
        'basin': basin,
        'rays': rays,
    }
    write_text(Path(options.out) / 'result.json', json.dumps(content))
    return 0


def _speed(options):
    _check_weights(options.weights)
    from dlc_training.evaluate.speed import measure

    for what, value, unit, limit in measure(options.weights, options.pairs, options.clouds):
        bound = '' if limit is None else f'  (at most {limit})'
        print(f'{what:55} {value:9.1f} {unit}{bound}')
    return 0


def _check_weights(path):
    """Stop before the work, not in the middle of it."""
    from dlc_ros.registration.weights import load_weights

    load_weights(path)


if __name__ == '__main__':
    sys.exit(main())
