"""``dlc-eval rejection`` from the command line: tables and files."""

from pathlib import Path

from dlc_training.evaluate import rejection
from dlc_training.evaluate.page import percent, write_result
from dlc_training.evaluate.pair_command import check_weights, provenance
from dlc_training.evaluate.report import grid, percent_of
from dlc_training.evaluate.runner import Runner
from dlc_training.evaluate.shapes import open_shapes
from dlc_training.evaluate.statistics import wilson_interval


def run_rejection(options):
    """
    Measure, print, write ``result.json`` and ``report.html``.

    :param options: parsed arguments: ``weights``, ``shapes``, ``seed``, ``negatives``, ``pairs``,
        ``out``, ``jobs``, ``quiet`` and ``command_line``.
    :return: exit code.
    """
    check_weights(options.weights)
    shapes = open_shapes(options.shapes, options.seed)
    with Runner(options.jobs, Path(options.out) / 'cache', options.quiet) as runner:
        found = rejection.measure(
            runner, shapes, options.weights, options.seed, options.negatives, options.pairs
        )
    summary = rejection.summarise(found)
    text = table(summary)
    print(text)
    content = {
        'kind': 'rejection',
        'title': f'rejection, shapes {shapes.label}, seed {options.seed}',
        'summary_line': 'What is turned away, what is not, and whether covariances are honest.',
        'facts': _facts(summary),
        'text': text,
        **provenance(options),
        'summary': summary,
        'answers': found,
    }
    write_result(Path(options.out), content)
    return 0


def table(summary):
    """Text of :func:`~dlc_training.evaluate.rejection.summarise`, Markdown."""
    lines = ['pairs without an answer (ACCEPTED or DEGENERATE counts as accepted):', '']
    rows = [
        [row['kind'], _of(row, 'accepted'), _number(row['highest confidence'])]
        for row in summary['negatives']
    ]
    lines += grid([['kind', 'accepted % [95 %]', 'highest confidence'], *rows])
    head = ['kind', 'DEGENERATE %', 'directions within 10 deg %', 'std along', 'std across']
    rows = [
        [
            row['kind'],
            _of(row, 'said so'),
            _of(row, 'right directions'),
            f'{row["along"]:.2f}',
            f'{row["across"]:.3f}',
        ]
        for row in summary['degenerate']
    ]
    lines += ['', 'pairs that slide; standard deviations in radii:', '', *grid([head, *rows])]
    rows = [[row['kind'], _of(row, 'said so'), _of(row, 'used')] for row in summary['ambiguous']]
    lines += ['', 'pairs with several answers:', '']
    lines += grid([['kind', 'AMBIGUOUS %', 'used all the same %'], *rows])
    head = [
        'stratum',
        'right %',
        'right ones rejected %',
        'wrong ones used',
        'inside 95 % ellipsoid %',
        'spread',
    ]
    rows = [
        [
            row['kind'],
            _of(row, 'right'),
            _of(row, 'false rejects', 'right'),
            f'{row["wrong used"]} of {row["of"] - row["right"]}',
            _of(row, 'inside', 'trusted'),
            _number(row['spread'], '.4f'),
        ]
        for row in summary['good']
    ]
    lines += ['', 'clear pairs; spread is the geometric mean of the six standard deviations:', '']
    lines += grid([head, *rows])
    kinds = list(summary['trade_off'][0]['accepted'])
    head = ['min_confidence', 'right ones rejected %', 'wrong ones used', *kinds]
    rows = [
        [
            f'{row["min_confidence"]:g}',
            _of(row, 'false rejects', 'right'),
            f'{row["wrong used"]} of {row["wrong"]}',
            *('{} of {}'.format(*row['accepted'][kind]) for kind in kinds),
        ]
        for row in summary['trade_off']
    ]
    lines += [
        '',
        'what a threshold is worth:',
        '',
    ]
    return '\n'.join([*lines, *grid([head, *rows])])


def _of(row, key, whole='of'):
    hits, of = row[key], row[whole]
    return percent_of({'hits': hits, 'of': of, 'interval': wilson_interval(hits, of)})


def _number(value, form='.2f'):
    return '-' if value is None else f'{value:{form}}'


def _facts(summary):
    passed = sum(row['accepted'] for row in summary['negatives'])
    tried = sum(row['of'] for row in summary['negatives'])
    rejects = sum(row['false rejects'] for row in summary['good'])
    right = sum(row['right'] for row in summary['good'])
    inside = sum(row['inside'] for row in summary['good'])
    trusted = sum(row['trusted'] for row in summary['good'])
    return [
        (f'{passed} of {tried}', 'hard negatives accepted'),
        (percent(rejects / right if right else None), 'of right answers rejected'),
        (percent(inside / trusted if trusted else None), 'of truths inside the 95 % ellipsoid'),
    ]
