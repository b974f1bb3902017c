"""Pictures of a report: where was trained and judged, how large the errors were, the loss."""

import numpy as np

_NAMES = ('old weights', 'new weights')
# Pixels along the longer side of the reference's plan.
_PLAN = 400
# Longer side of a panel and the least width that holds its title [inch].
_SIDE, _WIDTH = 5.0, 3.8


class Plan:
    """
    The reference seen along the axis of its least extent: a building from above, whatever is up.

    :param reference: (M, 3) [m]. What stands upright to the plan (walls) shows dark.
    """

    def __init__(self, reference):
        self._axes = np.sort(np.argsort(np.ptp(reference, axis=0))[1:])
        points = reference[:, self._axes]
        low, high = points.min(0), points.max(0)
        edge = max(float((high - low).max()) / _PLAN, 1e-6)
        bins = np.maximum(np.ceil((high - low) / edge).astype(int), 1)
        counts, *_ = np.histogram2d(*points.T, bins=bins, range=np.stack([low, high], 1))
        self._image, self._extent = np.log1p(counts.T), (low[0], high[0], low[1], high[1])
        self.low, self.high = low, high

    def at(self, places):
        """The (N, 2) of places (N, 3) that are shown."""
        return places[:, self._axes]

    def around(self, places, margin):
        """Corners (2,), (2,) of what is shown of the neighbourhood of places (N, 3)."""
        low, high = self.at(places).min(0), self.at(places).max(0)
        # No more than the reference, but always the places: a sensor may stand outside of it.
        rim = 0.1 * margin
        return (
            np.minimum(np.maximum(low - margin, self.low), low - rim),
            np.maximum(np.minimum(high + margin, self.high), high + rim),
        )

    def draw(self, axes, low, high):
        axes.imshow(
            self._image, cmap='Greys', extent=self._extent, origin='lower', alpha=0.6,
            interpolation='nearest',
        )  # fmt: skip
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect='equal')
        across, along = ('xyz'[axis] + ' [m]' for axis in self._axes)
        axes.set(xlabel=across, ylabel=along)


def split_picture(places, split, dropped, reference):
    """
    The way: what was trained on, held out, dropped.

    :param places: (N, 3) of the sensor; ``dropped`` numbers of scans.
    :param split: :class:`~dlc_training.recordings.split.Split`.
    :param reference: (M, 3).
    """
    plan = Plan(reference)
    shown = plan.at(places[split.train | split.held_out])
    low, high = np.minimum(plan.low, shown.min(0)), np.maximum(plan.high, shown.max(0))
    figure, panels = _panels(1, 1, high - low, 2 * _SIDE)
    axes = panels[0, 0]
    plan.draw(axes, low, high)
    groups = (
        (split.train, '.', 'C0', 'trained on'),
        (split.held_out, '.', 'C1', 'held out'),
        (dropped, 'x', 'C3', 'dropped'),
    )
    for which, marker, colour, label in groups:
        if len(places[which]):
            axes.plot(*plan.at(places[which]).T, marker, ms=4, color=colour, label=label)
    _legend(figure, axes)
    return figure


def outcome_picture(places, reference, judged, margin):
    """
    Which held-out scans each weights placed right, and which of those answers the gate accepted.

    :param places: (N, 3) of the sensor.
    :param judged: dict problem -> the judgements of the old and of the new weights.
    :param margin: shown about the held-out places [m].
    """
    plan = Plan(reference)
    numbers = np.array(next(iter(judged.values()))[0]['number'], int)
    low, high = plan.around(places[numbers], margin)
    figure, panels = _panels(len(judged), len(_NAMES), high - low, _SIDE)
    for row, (problem, both) in zip(panels, judged.items(), strict=True):
        for axes, name, found in zip(row, _NAMES, both, strict=True):
            plan.draw(axes, low, high)
            right, accepted = (np.array(found[k], bool) for k in ('success', 'accepted'))
            where = plan.at(places[numbers])
            for which, marker, colour, filled, label in (
                (right & accepted, 'o', 'C2', True, 'right, accepted'),
                (right & ~accepted, 'o', 'C2', False, 'right, not accepted'),
                (~right & ~accepted, 'x', 'C1', True, 'wrong, not accepted'),
                (~right & accepted, 'X', 'C3', True, 'wrong, accepted'),
            ):
                axes.plot(
                    *where[which].T, marker, ms=5, color=colour, label=label, ls='',
                    mfc=colour if filled else 'none',
                )  # fmt: skip
            axes.set_title(f'{problem}, {name}: {right.sum()} of {len(right)}', fontsize='medium')
    _legend(figure, panels[0, 0])
    return figure


def error_picture(judged, limits):
    """
    Cumulative errors of the held-out scans for both weights.

    :param judged: dict problem -> the judgements of the old and of the new weights.
    :param limits: rotation [deg] and translation [m] within which a scan is placed right.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3 * len(judged)), layout='constrained')
    columns = (
        ('rotation_deg', 'rotation error [deg]'),
        ('translation_m', 'translation error [m]'),
    )
    panels = figure.subplots(len(judged), len(columns), squeeze=False, sharey=True)
    for row, (problem, both) in zip(panels, judged.items(), strict=True):
        for axes, (column, label), limit in zip(row, columns, limits, strict=True):
            # Where the curves are the same, both can be seen.
            for name, found, style in zip(_NAMES, both, ('-', '--'), strict=True):
                errors = np.sort(np.array(found[column], float))
                share = 100 * np.arange(1, len(errors) + 1) / len(errors)
                known = np.isfinite(errors)
                axes.step(
                    np.maximum(errors[known], 1e-4), share[known], style, where='post',
                    label=name, lw=1.8,
                )  # fmt: skip
            axes.axvline(limit, color='k', lw=0.8, ls=':')
            axes.set(xscale='log', ylim=(0, 102), title=problem)
            axes.grid(alpha=0.3)
            axes.set(xlabel=label)
        row[0].set(ylabel='scans [%]')
    panels[0, 0].legend(fontsize='small')
    return figure


def loss_picture(records):
    """
    The loss over the steps.

    :param records: dicts of the training log with ``step`` and ``loss``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3), layout='constrained')
    axes = figure.subplots()
    steps = [record['step'] for record in records]
    for name, label in (
        ('loss', 'all of it'),
        ('match', 'descriptors'),
        ('pose', 'pose of every iteration'),
    ):
        axes.plot(steps, [record.get(name, np.nan) for record in records], '.-', lw=1, label=label)
    axes.set(xlabel='step', ylabel='loss', ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(fontsize='small')
    return figure


def _panels(rows, columns, extent, side):
    """A figure whose panels have the shape of what they show."""
    from matplotlib.figure import Figure

    width, height = side * np.maximum(extent / max(extent.max(), 1e-6), 0.2)
    size = max(width, _WIDTH) * columns, (height + 0.6) * rows + 0.4
    figure = Figure(figsize=size, layout='constrained')
    return figure, figure.subplots(rows, columns, squeeze=False)


def _legend(figure, axes):
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=len(labels), fontsize='small')
