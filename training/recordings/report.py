"""What came of it: one sentence whether to deploy, one HTML page with its pictures inside."""

import base64
import html
from io import BytesIO
from pathlib import Path

import numpy as np

from dlc_training.evaluate.statistics import paired_difference, wilson_interval
from dlc_training.recordings.files import write_whole

# Points of success on generated shapes that new weights may lose.
FORGETTING = 1.0
# Neighbouring scans see the same: so many of them are one cluster of the bootstrap, which needs
# some of those; fewer scans than this tell nothing.
_CLUSTER, _FEWEST_CLUSTERS, _FEWEST_SCANS = 10, 12, 24


def compare(old, new, clusters=None):
    """
    Success of two weights on the same problems.

    :param old: (N,) bool; ``new`` (N,) bool.
    :param clusters: (N,) labels of what is not independent.
    :return: dict with the shares, their intervals, the difference and its interval, in points.
    """
    difference, low, high = paired_difference(new, old, clusters)
    return {
        'count': len(old),
        'old': 100 * float(np.mean(old)),
        'new': 100 * float(np.mean(new)),
        'old_interval': [100 * v for v in wilson_interval(int(np.sum(old)), len(old))],
        'new_interval': [100 * v for v in wilson_interval(int(np.sum(new)), len(new))],
        'difference': 100 * difference,
        'interval': [100 * low, 100 * high],
    }


def clusters_of(count):
    """Labels (count,) of runs of neighbouring scans."""
    return np.arange(count) // max(1, min(_CLUSTER, count // _FEWEST_CLUSTERS))


def verdict(held_out, windows, benchmark, is_truth):
    """
    One sentence whether to deploy.

    What counts is a clear gain: in the search of the whole reference, or, where that finds as
    many scans as before, in windows, where the network answers alone.

    :param held_out: what :func:`compare` says of the held-out part, searched for everywhere.
    :param windows: the same, turned anyhow, in the part of the reference about them.
    :param benchmark: the same of generated shapes, or None if it was not run.
    :param is_truth: whether the held-out poses were measured, not made from the clouds.
    :return: (whether to deploy, the sentence).
    """
    score = f'place {_score(held_out)}'
    alone = f'; turned anyhow, in the part of the reference about them, {_score(windows)}'
    caveat = ''
    if not is_truth:
        caveat = '; the held-out poses were made from the clouds themselves, so this is no truth'
    if held_out['count'] < _FEWEST_SCANS:
        return False, (
            f'Keep the old weights: {held_out["count"]} held-out scans are too few to tell, the '
            f'new ones {score}{caveat}.'
        )
    as_many = held_out['difference'] >= 0 and windows['interval'][0] > 0
    if held_out['interval'][0] > 0 or as_many:
        lost = 0.0 if benchmark is None else -benchmark['difference']
        if lost <= FORGETTING:
            return True, f'Deploy the new weights: they {score}{alone}{caveat}.'
        how = 'clearly' if benchmark['interval'][1] < 0 else 'by a difference that may be chance'
        return False, (
            f'Deploy the new weights only where this recording is typical: they {score}{alone}, '
            f'but lose {lost:.1f} points on generated shapes ({how}){caveat}.'
        )
    if held_out['interval'][1] < 0:
        return False, f'Keep the old weights: the new ones {score}{alone}{caveat}.'
    return (
        False,
        f'Keep the old weights: no gain could be shown, the new ones {score}{alone}{caveat}.',
    )


def _score(compared):
    low, high = compared['interval']
    return (
        f'{compared["new"]:.0f} % of {compared["count"]} held-out scans against '
        f'{compared["old"]:.0f} % before ({compared["difference"]:+.0f} points, 95 % interval '
        f'{low:+.0f} to {high:+.0f})'
    )


def write_report(path, title, sentence, tables, pictures, notes):
    """
    Write the page.

    :param tables: list of (heading, rows), each row a list of cells, the first row the heading's.
    :param pictures: list of (caption, matplotlib Figure).
    :param notes: list of sentences.
    :raises FileError: it cannot be written.
    """
    out = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        f'<title>{html.escape(title)}</title><style>',
        'body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}',
        'table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;',
        'padding:.3em .7em;text-align:left}.verdict{font-size:1.25em;padding:.8em 1em;',
        'background:#eef3fa;border-left:5px solid #36c}img{max-width:100%}</style></head><body>',
        f'<h1>{html.escape(title)}</h1><p class="verdict">{html.escape(sentence)}</p>',
    ]
    for heading, rows in tables:
        out.append(f'<h2>{html.escape(heading)}</h2><table>')
        for number, row in enumerate(rows):
            tag = 'th' if number == 0 else 'td'
            cells = ''.join(f'<{tag}>{html.escape(str(cell))}</{tag}>' for cell in row)
            out.append(f'<tr>{cells}</tr>')
        out.append('</table>')
    for caption, figure in pictures:
        data = base64.b64encode(_png(figure)).decode()
        out.append(f'<h2>{html.escape(caption)}</h2>')
        out.append(f'<img alt="{html.escape(caption)}" src="data:image/png;base64,{data}">')
    if notes:
        out.append('<h2>Notes</h2><ul>')
        out += [f'<li>{html.escape(note)}</li>' for note in notes]
        out.append('</ul>')
    out.append('</body></html>')
    write_whole(Path(path), lambda file: file.write('\n'.join(out).encode()))


def plan_picture(places, split, dropped, reference, held_out, names=('old', 'new')):
    """
    The way from above: what was trained on, held out, dropped; where each weights failed.

    :param places: (N, 3) of the sensor; ``dropped`` numbers of scans.
    :param split: :class:`~dlc_training.recordings.split.Split`.
    :param reference: (M, 3).
    :param held_out: the judgements of the old and of the new weights.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout='constrained')
    stride = max(1, len(reference) // 20_000)
    # Seen along the axis of the least extent: from above in a building, whatever axis is up.
    shown = np.sort(np.argsort(np.ptp(reference, axis=0))[1:])
    across, along = ('xyz'[axis] + ' [m]' for axis in shown)
    panels = figure.subplots(1, 1 + len(held_out))
    for axes in panels:
        axes.plot(*reference[::stride, shown].T, ',', color='#999')
        axes.set_aspect('equal')
        axes.set(xlabel=across)
    groups = (
        (split.train, '.', 'C0', 'trained on'),
        (split.held_out, '.', 'C1', 'held out'),
        (dropped, 'x', 'C3', 'dropped'),
    )
    for which, marker, colour, label in groups:
        panels[0].plot(*places[which][:, shown].T, marker, ms=3, color=colour, label=label)
    panels[0].set(title='split', ylabel=along)
    panels[0].legend(fontsize='small')
    for axes, name, judged in zip(panels[1:], names, held_out, strict=True):
        hit = np.array(judged['success'], bool)
        where = places[np.array(judged['number'], int)][:, shown]
        axes.plot(*where[hit].T, '.', ms=5, color='C2', label='right')
        axes.plot(*where[~hit].T, 'x', ms=5, color='C3', label='wrong')
        axes.set(title=f'held out, {name} weights: {100 * hit.mean():.0f} % right')
        axes.legend(fontsize='small')
    return figure


def error_picture(held_out, limits, names=('old', 'new')):
    """Cumulative errors of the held-out scans for both weights."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout='constrained')
    columns = (
        ('rotation_deg', 'rotation error [deg]'),
        ('translation_m', 'translation error [m]'),
    )
    for axes, (column, label), limit in zip(figure.subplots(1, 2), columns, limits, strict=True):
        for name, judged in zip(names, held_out, strict=True):
            errors = np.sort(np.array(judged[column], float))
            share = 100 * np.arange(1, len(errors) + 1) / len(errors)
            axes.step(np.maximum(errors, 1e-3), share, where='post', label=f'{name} weights')
        axes.axvline(limit, color='k', lw=0.8, ls=':')
        axes.set(xscale='log', xlabel=label, ylabel='scans [%]', ylim=(0, 102))
        axes.grid(alpha=0.3)
        axes.legend(fontsize='small')
    return figure


def loss_picture(records):
    """
    The loss over the steps.

    :param records: dicts of the training log with ``step`` and ``loss``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout='constrained')
    axes = figure.subplots()
    steps = [record['step'] for record in records]
    for name in ('loss', 'match', 'pose'):
        values = [record.get(name, np.nan) for record in records]
        axes.plot(steps, values, lw=1, label=name)
    axes.set(xlabel='step', ylabel='loss')
    axes.grid(alpha=0.3)
    axes.legend(fontsize='small')
    return figure


def _png(figure):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
