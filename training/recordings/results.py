"""The report of one run: tables, pictures and notes from what was measured."""

import json
from collections import Counter

from dlc_training.recordings import pictures
from dlc_training.recordings.files import write_json
from dlc_training.recordings.judge import success_limits
from dlc_training.recordings.report import write_report

# The two problems that every held-out scan is.
EVERYWHERE, NEARBY = 'whole reference', 'part about the scan'


def write_results(out, options, prepared, summary, judged, places):
    """
    Write ``report.html`` and ``report.json``.

    :param prepared: :class:`~dlc_training.recordings.preparation.Prepared`.
    :param summary: what :func:`dlc_training.recordings.verdict.compare` says of all parts, and
        the verdict.
    :param judged: dict of :data:`EVERYWHERE` and :data:`NEARBY` -> judgements of the old and of
        the new weights.
    :param places: (N, 3) of the sensor in the reference [m].
    """
    limits = success_limits(prepared.median_range)
    tables = [
        ('Result', _result_rows(summary, judged[EVERYWHERE], limits)),
        ('What was used', [('what', 'value'), *prepared.facts]),
    ]
    records = [json.loads(line) for line in (out / 'run' / 'log.jsonl').read_text().splitlines()]
    reference = prepared.labels.reference
    known = 'In the whole reference the sensor is known to stand upright.'
    if not summary['upright']:
        known = 'Nothing is known of the attitude in the whole reference.'
    shown = [
        (
            'What was trained on',
            'Places of the sensor on a plan of the reference.',
            pictures.split_picture(places, prepared.split, prepared.dropped, reference),
        ),
        (
            'Held-out scans',
            f'Right: within {limits[0]:g} deg and {limits[1]:.2g} m. {known} In the part about '
            'the scan nothing is known of its attitude, and the network answers alone. A robot '
            'uses accepted answers only.',
            pictures.outcome_picture(places, reference, judged, prepared.median_range),
        ),
        (
            'Errors of the held-out scans',
            'Share of scans with an error of at most that; dotted: what counts as right.',
            pictures.error_picture(judged, limits),
        ),
        (
            'Loss',
            'Of single batches of the training, generated pairs among them: it varies with what '
            'is in them.',
            pictures.loss_picture(records),
        ),
    ]
    notes = list(prepared.notes)
    if summary['held_out_caveat']:
        notes.insert(
            0,
            f'The score is not a truth: {summary["held_out_caveat"]}. '
            'Give measured poses with --judge-truth or --trajectory for one.',
        )
    notes.append(f'Command: {options.command_line}')
    write_report(
        out / 'report.html', 'Retraining on a recording', summary['verdict'], tables, shown, notes
    )
    write_json(out / 'report.json', summary)


def _result_rows(summary, everywhere, limits):
    alone = summary['wrong_in_windows']
    within = f'{limits[0]:g} deg / {limits[1]:.2g} m'
    rows = [
        ('', 'problems', 'old weights', 'new weights', 'difference [points]', '95 % interval'),
        _row(f'held-out scans in the whole reference, within {within}', summary['held_out']),
        _row('of these accepted by the gate as well', summary['accepted']),
        _wrong('wrong answers that the gate accepted', summary['held_out'], summary['wrong']),
        ('what the gate says of the others', '', *map(_said, everywhere), '', ''),
        _row('held-out scans in the part of the reference about them', summary['windows']),
        _wrong('wrong answers there that the gate accepted', summary['windows'], alone),
    ]
    if summary['benchmark']:
        rows.append(_row('generated shapes (so3-crop): what was forgotten', summary['benchmark']))
    return rows


def _wrong(name, compared, counts):
    return (name, compared['count'], counts['old'], counts['new'], '', '')


def _said(judged):
    """Statuses of the answers that were not accepted, in words."""
    found = Counter(
        s for s, ok in zip(judged['status'], judged['accepted'], strict=True) if not ok
    )
    return ', '.join(f'{count} {status.lower()}' for status, count in found.most_common()) or '-'


def _row(name, compared):
    def share(which):
        low, high = compared[f'{which}_interval']
        return f'{compared[which]:.1f} % [{low:.0f}, {high:.0f}]'

    low, high = compared['interval']
    return (
        name,
        compared['count'],
        share('old'),
        share('new'),
        f'{compared["difference"]:+.1f}',
        f'{low:+.1f} to {high:+.1f}',
    )
