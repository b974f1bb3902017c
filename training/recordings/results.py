"""The report of one run: tables, pictures and notes from what was measured."""

import json

from dlc_training.recordings import report
from dlc_training.recordings.files import write_json
from dlc_training.recordings.judge import success_limits


def write_results(out, options, prepared, summary, held_out):
    """
    Write ``report.html`` and ``report.json``.

    :param prepared: :class:`~dlc_training.recordings.preparation.Prepared`.
    :param summary: what :func:`dlc_training.recordings.report.compare` says of both parts, and
        the verdict.
    :param held_out: judgements of the old and of the new weights.
    """
    limits = success_limits(prepared.median_range)
    head = ('on', 'problems', 'old weights', 'new weights', 'difference', '95 % interval')
    rows = [
        head,
        _row(
            f'held-out scans, start unknown, within {limits[0]:g} deg / {limits[1]:.2g} m',
            summary['held_out'],
        ),
    ]
    found = [f'{seen["accepted"]}, {seen["right"]}' for seen in summary['gate'].values()]
    count = summary['held_out']['count']
    rows.append(('accepted by the gate, and of these right', count, *found, '', ''))
    rows.append(
        _row(
            'the same, turned anyhow, in the part of the reference about them', summary['windows']
        )
    )
    if summary['benchmark']:
        rows.append(_row('generated shapes (so3-crop)', summary['benchmark']))
    records = [json.loads(line) for line in (out / 'run' / 'log.jsonl').read_text().splitlines()]
    places = prepared.labels.poses[:, :3, 3]
    pictures = [
        (
            'Where',
            report.plan_picture(
                places, prepared.split, prepared.dropped, prepared.labels.reference, held_out
            ),
        ),
        ('Errors of the held-out scans', report.error_picture(held_out, limits)),
        ('Loss', report.loss_picture(records)),
    ]
    tables = [('Result', rows), ('What was used', [('what', 'value'), *prepared.facts])]
    notes = list(prepared.notes)
    if not summary['held_out_is_truth']:
        notes.insert(
            0,
            'The held-out poses were made from the clouds themselves: the score is not a truth. '
            'Give measured poses with --judge-truth or --trajectory for one.',
        )
    notes.append(f'Command: {options.command_line}')
    report.write_report(
        out / 'report.html',
        'Retraining on a recording',
        summary['verdict'],
        tables,
        pictures,
        notes,
    )
    write_json(out / 'report.json', summary)


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
