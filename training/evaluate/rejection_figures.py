"""Pictures of rejection and calibration."""

import numpy as np

from dlc_training.evaluate.figures import SOFT, new_figure
from dlc_training.evaluate.statistics import wilson_interval

_BLUE, _RED = '#1859b7', '#d55e00'


def draw(content):
    """Pictures of a result of kind ``rejection``: list of (figure, caption)."""
    return [_confidences(content['answers']), _calibration(content['summary'])]


def _confidences(answers):
    groups = {
        **{f'{kind} (no answer)': ([r['confidence'] for r in rows if not r['right']], _RED)
           for kind, rows in answers['negatives'].items()},
        **{f'{stratum}, right answers': ([r['confidence'] for r in rows if r['right']], _BLUE)
           for stratum, rows in answers['good'].items()},
    }  # fmt: skip
    groups = {label: group for label, group in groups.items() if group[0]}
    figure, axes = new_figure(9.5, 0.36 * len(groups) + 1.2)
    rng = np.random.default_rng(0)
    for place, (values, shade) in enumerate(reversed(groups.values())):
        height = place + rng.uniform(-0.28, 0.28, len(values))
        axes.scatter(values, height, s=6, color=shade, alpha=0.35, lw=0)
        axes.plot([np.median(values)] * 2, (place - 0.36, place + 0.36), color='#1d2733', lw=2)
    axes.axvline(0.5, color=SOFT, ls=':', lw=1)
    axes.set(yticks=range(len(groups)), yticklabels=list(reversed(groups)), xlim=(-0.01, 1.01),
             xlabel='confidence')  # fmt: skip
    axes.grid(False, axis='y')
    return figure, (
        'Confidence of every answer: to pairs that have none (orange, should be left of the '
        'threshold) and of right answers (blue, should be right of it). Bars: medians.'
    )


def _calibration(summary):
    figure, (left, right) = new_figure(9.5, 3.4, 1, 2)
    rows = [row for row in summary['good'] if row['trusted']]
    places = np.arange(len(rows))
    rates = np.array([100 * row['inside'] / row['trusted'] for row in rows])
    limits = 100 * np.array([wilson_interval(row['inside'], row['trusted']) for row in rows])
    left.axhspan(93, 97, color=_BLUE, alpha=0.12, lw=0)
    left.errorbar(places, rates, np.abs(limits.T - rates), fmt='o', color=_BLUE, capsize=3)
    left.set(ylabel='truths inside the 95 % ellipsoid [%]', ylim=(0, 103))
    right.bar(places, [row['spread'] for row in rows], color=_BLUE, width=0.6, zorder=2)
    right.set(ylabel='mean standard deviation [radii, rad]')
    for axes in (left, right):
        axes.set(xticks=places)
        axes.set_xticklabels([row['kind'] for row in rows], rotation=20)
        axes.grid(False, axis='x')
    return figure, (
        'Whether covariances are honest in every stratum (wanted: the band of 93 to 97 %), and '
        'how wide they are: one constant wide covariance would show as equal bars.'
    )


def draw_calibration(content):
    """Pictures of a result of kind ``calibration``: list of (figure, caption)."""
    figure, axes = new_figure(8.5, 3.8)
    for shade, (label, rows) in zip((_BLUE, _RED), content['trade_off'].items(), strict=False):
        right, wrong = [], []
        for row in rows:
            kinds = [value for value in row.values() if isinstance(value, list)]
            accepted, tried = np.sum(kinds, axis=0)
            right.append(100 * (row['false_rejects'] or 0.0))
            wrong.append(100 * accepted / max(tried, 1))
        axes.plot(right, wrong, 'o-', ms=4, lw=2, color=shade, label=label.strip('_').lower())
        for row, x, y in zip(rows, right, wrong, strict=True):
            if row['min_confidence'] in (0.3, 0.5, 0.8, 0.95):
                axes.annotate(f' {row["min_confidence"]:g}', (x, y), fontsize=8, color=shade)
    axes.set(xlabel='right answers rejected [%]', ylabel='pairs without an answer accepted [%]',
             xlim=(0, None), ylim=(0, None))  # fmt: skip
    axes.legend(fontsize=9)
    return [
        (
            figure,
            'What each min_confidence turns away and lets pass, with a predictor and without; '
            'pairs judged by a fit to the other half.',
        )
    ]
