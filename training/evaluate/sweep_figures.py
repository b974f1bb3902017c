"""Pictures of sweeps: one panel for each property."""

import numpy as np

from dlc_training.evaluate.figures import colours, new_figure


def draw(content):
    """Pictures of a result of kind ``sweeps``: list of (figure, caption)."""
    curves = content['curves']
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure, axes = new_figure(10.5, 3.1 * rows + 0.5, rows, columns, squeeze=False, sharey=True)
    shades = colours(content['labels'])
    places = list(axes.flat)
    for place, curve in zip(places, curves.values(), strict=False):
        steps = np.arange(len(curve['values']))
        for name, shares in curve['methods'].items():
            rates = [100 * share['hits'] / max(share['of'], 1) for share in shares]
            low, high = 100 * np.array([share['interval'] for share in shares]).T
            width = 2.6 if name == 'dlc_ros' else 1.4
            place.plot(steps, rates, 'o-', ms=3.5, lw=width, color=shades[name],
                       label=content['labels'][name])  # fmt: skip
            if name == 'dlc_ros':
                place.fill_between(steps, low, high, color=shades[name], alpha=0.14, lw=0)
        place.set(xlabel=curve['label'], ylim=(-2, 103), xticks=steps,
                  xticklabels=[f'{value:g}' for value in curve['values']])  # fmt: skip
    for place in places[len(curves) :]:
        place.set_axis_off()
    for line in axes:
        line[0].set_ylabel('success [%]')
    handles = places[0].get_legend_handles_labels()
    figure.legend(*handles, loc='outside lower center', ncols=4, fontsize=9)
    return [
        (
            figure,
            'Success of so3-crop when one property changes and all others stay; the same shapes '
            'and rotations at every value. Shaded: 95 % intervals of dlc_ros.',
        )
    ]
