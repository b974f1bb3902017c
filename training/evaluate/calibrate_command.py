"""``dlc-eval calibrate`` and ``calibrate-places``: the gate's constants, what they are worth."""

from pathlib import Path

from dlc_ros.errors import DlcError
from dlc_ros.registration.confidence import Model
from dlc_ros.registration.weights import default_weights_path, save_confidence
from dlc_training.evaluate import place_calibration
from dlc_training.evaluate.calibration import (
    GEOMETRY,
    LEARNED,
    collect,
    fit_model,
    halves,
    trade_off,
    widths,
)
from dlc_training.evaluate.negatives import KINDS
from dlc_training.evaluate.page import write_result
from dlc_training.evaluate.pair_command import check_weights, provenance
from dlc_training.evaluate.report import grid
from dlc_training.evaluate.runner import Runner


def run_calibration(options):
    """
    Collect examples, refit, print constants and tables, write ``result.json``.

    :param options: parsed arguments: ``weights``, ``shapes``, ``pairs``, ``negatives``,
        ``false_rejects``, ``write``, ``out``, ``jobs``, ``quiet`` and ``command_line``.
    :return: exit code.
    """
    check_weights(options.weights)
    with Runner(options.jobs, Path(options.out) / 'cache', options.quiet) as runner:
        examples, distances = collect(
            runner, options.weights, options.shapes, options.pairs, options.negatives
        )
    allowed = options.false_rejects / 100
    content = {
        'kind': 'calibration',
        'title': 'calibration of the gate',
        **provenance(options),
        'models': {},
        'trade_off': {},
    }
    lines = []
    for label, names in (('learned', LEARNED), ('geometric', GEOMETRY)):
        model = fit_model(examples, names, allowed)
        rows = trade_off(examples, halves(examples, names, allowed))
        content['models'][label] = model.as_card()
        content['trade_off'][label] = rows
        numbers = (f'{name} {value:.2f}' for name, value in model.as_card().items())
        lines.append(f'{label}: {", ".join(numbers)}')
    lines.append(
        f'A confidence of one half rejects {options.false_rejects:g} % of the right answers.'
        ' Below: pairs judged by a fit to the other half of the pairs.'
    )
    for label, rows in content['trade_off'].items():
        lines += ['', f'{label}, answers only:', '', *_table(rows)]
    content['covariance'] = widths(distances)
    lines += ['', 'covariance of right answers, chi2_6 at 95 %:', '', *_covariances(content)]
    content['text'] = '\n'.join(lines)
    print(content['text'])
    write_result(Path(options.out), content)
    if options.write:
        path = Path(options.weights or default_weights_path())
        try:
            model = Model.from_card(content['models']['learned'])
        except ValueError as error:
            raise DlcError(
                f'{path}: not written, the constants make no sense ({error});'
                ' give more --pairs and --negatives'
            ) from None
        save_confidence(path, model)
        print(f'\nlearned: written into the model card of {path}')
    return 0


def run_place_calibration(options):
    """
    The same for scans that are searched for in places, whose constants depend on no weights.

    :param options: parsed arguments: ``weights``, ``pairs``, ``false_rejects``, ``out``, ``jobs``,
        ``quiet`` and ``command_line``.
    :return: exit code.
    """
    check_weights(options.weights)
    if options.pairs < 2:
        raise DlcError(
            f'--pairs {options.pairs}: give 2 or more, of which each half judges the other'
        )
    with Runner(options.jobs, Path(options.out) / 'cache', options.quiet) as runner:
        examples = place_calibration.collect(runner, options.weights, options.pairs)
    settings = place_calibration.TERMS, options.false_rejects / 100, (place_calibration.FOREIGN,)
    model = fit_model(examples, *settings)
    rows = trade_off(examples, halves(examples, *settings), settings[-1])
    numbers = (f'{name} {value:.2f}' for name, value in model.as_card().items())
    answers = [e for e in examples if e.answer and e.kind != place_calibration.FOREIGN]
    text = '\n'.join(
        [
            f'places: {", ".join(numbers)}',
            f'{sum(e.right for e in answers)} of {len(answers)} answers are right. A confidence'
            f' of one half rejects {options.false_rejects:g} % of these. Below: places judged by a'
            ' fit to the other half of them.',
            '',
            *_table(rows, settings[-1]),
        ]
    )
    print(text)
    content = {
        'kind': 'calibration',
        'title': 'calibration of the gate in places',
        **provenance(options),
        'models': {'places': model.as_card()},
        'trade_off': {'places': rows},
        'text': text,
    }
    write_result(Path(options.out), content)
    return 0


def _table(rows, kinds=KINDS):
    head = ['min_confidence', 'right rejected', 'wrong of clear accepted']
    head += [f'{kind} accepted' for kind in kinds]
    lines = [
        [
            f'{row["min_confidence"]:g}',
            _percent(row['false_rejects']),
            _percent(row['wrong_accepted']),
            *(f'{row[kind][0]} of {row[kind][1]}' for kind in kinds),
        ]
        for row in rows
    ]
    return grid([head, *lines])


def _covariances(content):
    head = ['stratum', 'right answers', 'inside 95 % ellipsoid', 'variances are short by']
    lines = [
        [name, str(row['of']), _percent(row['inside']), f'{row["factor"]:.2f}']
        for name, row in content['covariance'].items()
    ]
    return grid([head, *lines])


def _percent(share):
    return '-' if share is None else f'{100 * share:.1f} %'
