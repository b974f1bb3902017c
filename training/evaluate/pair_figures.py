"""Pictures of a protocol of pairs: success by bin, errors, confidence, time."""

import numpy as np

from dlc_training.evaluate.figures import SOFT, colours, new_figure
from dlc_training.evaluate.report import ORACLE


def draw(content):
    """Pictures of a result of kind ``pairs``: list of (figure, caption)."""
    drawn = [_success(content), _errors(content)]
    if 'confidence' in content['scores'].get('dlc_ros', {}):
        drawn.append(_confidence(content))
    drawn.append(_time(content))
    return drawn


def _style(name):
    if name == ORACLE:
        return {'lw': 1.2, 'ls': ':', 'zorder': 2}
    return {'lw': 2.6, 'zorder': 3} if name == 'dlc_ros' else {'lw': 1.5, 'zorder': 2}


def _success(content):
    figure, axes = new_figure(9.5, 4.4)
    shades = colours(content['methods'])
    edges = list(next(iter(content['methods'].values()))['success_by_bin'])
    places = np.arange(len(edges))
    for name, row in content['methods'].items():
        shares = [row['success_by_bin'][edge] for edge in edges]
        # A bin without a clear pair is a gap, not a failure.
        rates = np.array([100 * s['hits'] / s['of'] if s['of'] else np.nan for s in shares])
        low, high = 100 * np.array([s['interval'] for s in shares]).T
        label = f'{content["labels"].get(name, name)}  {_overall(row)}'
        axes.plot(places, rates, marker='o', ms=4, color=shades[name], label=label, **_style(name))
        if name == 'dlc_ros':
            axes.fill_between(
                places, low, high, np.isfinite(rates), color=shades[name], alpha=0.14, lw=0
            )
    axes.set(
        xlabel=content['bin_label'],
        ylabel='success [%]',
        ylim=(-2, 103),
        xticks=places,
        xticklabels=edges,
    )
    figure.legend(loc='outside right center', fontsize=9)
    return figure, (
        f'Success ({content["success"][0]:g} deg and {content["success"][1]:g} '
        f'{content["length_unit"] or "radii"}) by {content["bin_label"]}, over the pairs with one '
        'true pose; shaded: Wilson 95 % intervals of dlc_ros; beside each name: over all bins.'
    )


def _overall(row):
    share = row['success']
    return f'{100 * share["hits"] / share["of"]:.0f} %' if share['of'] else '-'


def _errors(content):
    figure, (turn, shift) = new_figure(9.5, 3.8, 1, 2)
    clear = ~np.array([pair['ambiguous'] for pair in content['pairs']], bool)
    shades = colours(content['scores'])
    for name, columns in content['scores'].items():
        label = content['labels'].get(name, name)
        for axes, key, floor in ((turn, 'rre_deg', 1e-2), (shift, 'rte', 1e-4)):
            errors = np.sort(np.array(columns[key], float)[clear])
            share = 100 * (np.arange(len(errors)) + 1) / max(len(errors), 1)
            axes.step(
                np.maximum(errors, floor), share, where='post', color=shades[name], label=label,
                **_style(name),
            )  # fmt: skip
    unit = content['length_unit'] or 'radii'
    for axes, limits, name in (
        (turn, (0.02, 180.0), 'rotation error [deg]'),
        (shift, (2e-4, None), f'translation error [{unit}]'),
    ):
        axes.set(xscale='log', xlim=limits, ylim=(0, 102), xlabel=name, ylabel='% of pairs below')
    for axes, index in ((turn, 0), (shift, 1)):
        for limit, dash in ((content['success'][index], '-'), (content['strict'][index], ':')):
            axes.axvline(limit, color=SOFT, lw=0.9, ls=dash, zorder=1)
    figure.legend(*turn.get_legend_handles_labels(), loc='outside lower center', ncols=4,
                  fontsize=9)  # fmt: skip
    return figure, (
        'Errors of all clear pairs, sorted: the height at a limit is the recall there. Lines: the '
        'limit of success, dotted the strict one.'
    )


def _confidence(content):
    figure, (left, right) = new_figure(9.5, 3.4, 1, 2)
    columns = content['scores']['dlc_ros']
    clear = ~np.array([pair['ambiguous'] for pair in content['pairs']], bool)
    sure = np.array([c if c is not None else 0.0 for c in columns['confidence']])[clear]
    solved = np.array(columns['success'], bool)[clear]
    bins = np.linspace(0, 1, 21)
    left.hist([sure[solved], sure[~solved]], bins, stacked=True, color=['#1859b7', '#d55e00'],
              label=['right', 'wrong'])  # fmt: skip
    left.set(xlabel='confidence', ylabel='pairs', title='what the gate says of each answer')
    left.legend(fontsize=9)
    thresholds = np.unique(np.concatenate([sure, [0.0, 0.5]]))
    accepted = np.array([np.sum(sure >= t) / max(len(sure), 1) for t in thresholds])
    wrong = np.array([np.sum((sure >= t) & ~solved) / max((sure >= t).sum(), 1)
                      for t in thresholds])  # fmt: skip
    right.plot(100 * accepted, 100 * wrong, color='#1859b7', lw=2)
    at = np.searchsorted(thresholds, 0.5)
    right.plot(100 * accepted[at], 100 * wrong[at], 'o', color='#1859b7')
    right.annotate(' min_confidence 0.5', (100 * accepted[at], 100 * wrong[at]), fontsize=9,
                   va='bottom', ha='right')  # fmt: skip
    right.set(xlabel='answers that pass [%]', ylabel='wrong among them [%]', ylim=(0, None),
              title='what a threshold buys')  # fmt: skip
    return figure, (
        'The confidence of right and wrong answers to clear pairs, and the trade-off that an '
        'operator chooses with min_confidence.'
    )


def _time(content):
    staged = [row for row in content['scores'].get('dlc_ros', {}).get('stages', []) if row]
    names = [name for name in content['scores'] if content['scores'][name].get('cpu_ms')]
    height = 0.45 * len(names) + (2.6 if staged else 1.4)
    if staged:
        ratios = {'height_ratios': [len(names), 2]}
        figure, axes = new_figure(9.5, height, 2, gridspec_kw=ratios)
    else:
        figure, axes = new_figure(9.5, height)
    top = axes[0] if staged else axes
    shades = colours(names)
    for place, name in enumerate(reversed(names)):
        low, middle, high = np.quantile(content['scores'][name]['cpu_ms'], (0.05, 0.5, 0.95))
        top.barh(place, middle, color=shades[name], height=0.6, zorder=2)
        top.plot((low, high), (place, place), color='#1d2733', lw=1.2, zorder=3)
        top.text(high, place, f'  {middle:.0f} ms', va='center', fontsize=9)
    top.set(
        yticks=range(len(names)),
        yticklabels=[content['labels'].get(name, name) for name in reversed(names)],
        xlabel='CPU time of a pair, one thread [ms]: median, and 5 to 95 %',
    )
    top.grid(False, axis='y')
    if staged:
        _stages(axes[1], staged)
    return figure, (
        'CPU time of a pair from raw clouds to the pose; below, where the registrar spends it '
        '(wall time, medians).'
    )


def _stages(axes, staged):
    palette = ('#c6d6ec', '#9dbbe0', '#5c8fd0', '#1859b7', '#0d376f', '#8c8c8c')
    start = 0.0
    for number, name in enumerate(staged[0]):
        value = float(np.median([row.get(name, 0.0) for row in staged]))
        axes.barh(0, value, left=start, color=palette[number % len(palette)], height=0.5, zorder=2,
                  label=f'{name} {value:.0f} ms')  # fmt: skip
        start += value
    axes.set(yticks=[], ylim=(-0.5, 0.5), xlabel='stages of dlc_ros [ms]')
    axes.legend(
        ncols=6, loc='lower left', bbox_to_anchor=(0.0, 0.95), handlelength=1, columnspacing=1.2
    )
    axes.grid(False, axis='y')
