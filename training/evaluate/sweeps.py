"""``dlc-eval sweeps``: success against one property of the clouds at a time, peers included."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dlc_training.evaluate import report
from dlc_training.evaluate.crops import SO3_BINS, CropOptions, so3_crop_pair
from dlc_training.evaluate.methods import METHODS, choose, fingerprint
from dlc_training.evaluate.protocols import PROTOCOLS
from dlc_training.evaluate.runner import digest_of
from dlc_training.evaluate.statistics import wilson_interval


@dataclass(frozen=True)
class Curve:
    """
    One property.

    :param label: of the property, for people.
    :param values: that it takes, in order.
    :param options: value -> :class:`CropOptions`.
    """

    label: str
    values: tuple
    options: Callable


CURVES = {
    'noise': Curve(
        'noise, standard deviation [radii]',
        (0.0, 0.01, 0.02, 0.03, 0.05),
        lambda value: CropOptions(sigma=value),
    ),
    'outliers': Curve(
        'share of foreign points',
        (0.0, 0.1, 0.2, 0.3, 0.5),
        lambda value: CropOptions(foreign=value),
    ),
    'overlap': Curve(
        'share of the shape that each crop keeps',
        (1.0, 0.9, 0.8, 0.7, 0.6, 0.5),
        lambda value: CropOptions(keep=value),
    ),
    'density': Curve(
        "target's points for one of the source",
        (1, 2, 5, 10),
        lambda value: CropOptions(source_samples=2048 // value),
    ),
    'points': Curve(
        'points of each sampling',
        (400, 800, 2048, 5000, 16_000),
        lambda value: CropOptions(source_samples=value, target_samples=value),
    ),
}


def measure(runner, shapes, names, settings, only, pairs, seed):
    """
    Success of every method at every value.

    The same shapes, crops and rotations at each value, so that a curve shows the property alone.

    :param runner: :class:`~dlc_training.evaluate.runner.Runner`.
    :param shapes: see :func:`~dlc_training.evaluate.shapes.open_shapes`.
    :param names: methods, or None for all.
    :param settings: :class:`~dlc_training.evaluate.methods.Settings`.
    :param only: keys of :data:`CURVES`.
    :param pairs: number of pairs at each value.
    :return: JSON-able dict curve -> ``label``, ``values`` and ``methods``: name -> list of
        ``hits``, ``of``, ``interval``, one a value, over the pairs whose truth is clear; names
        and notes as of :func:`choose`.
    """
    protocol = PROTOCOLS['so3-crop']
    names, notes = choose(names)
    found = {}
    for key in only:
        curve = CURVES[key]
        rows = {name: [] for name in names}
        for value in curve.values:
            drawn = [
                so3_crop_pair(
                    shapes, index, seed, 1, curve.options(value), SO3_BINS[index % len(SO3_BINS)]
                )
                for index in range(pairs)
            ]
            digest = digest_of(drawn)
            groups, ambiguous = runner.judge(protocol, shapes, drawn, digest)
            clear = ~np.array(ambiguous, bool)
            for name in names:
                kept = f'{fingerprint(name, settings)[:12]}{digest[:12]}'
                method = METHODS[name].make(settings)
                answers = runner.run(f'{name}, {key} {value:g}', method, drawn, kept)
                scores = report.score(protocol, drawn, groups, answers)
                solved = np.array(scores['success'], bool)[clear]
                rows[name].append(
                    {
                        'hits': int(solved.sum()),
                        'of': len(solved),
                        'interval': wilson_interval(int(solved.sum()), len(solved)),
                    }
                )
        found[key] = {'label': curve.label, 'values': list(curve.values), 'methods': rows}
    return found, names, notes


def table(curves, labels):
    """Text of the curves, for a terminal and for a Markdown page."""
    lines = []
    for curve in curves.values():
        rows = [
            [labels[name], *(report.percent_of(share) for share in shares)]
            for name, shares in curve['methods'].items()
        ]
        head = ['method', *(f'{value:g}' for value in curve['values'])]
        lines += [f'success % [95 %] by {curve["label"]}:', '', *report.grid([head, *rows]), '']
    return '\n'.join(lines)
