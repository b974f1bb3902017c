"""Partial views whose truth is ambiguous: from another pose the sensor would see the same."""

import numpy as np
from scipy.spatial import cKDTree

from dlc_training.evaluate.ambiguity import (
    FINE_DISTANCE,
    START_DISTANCE,
    START_POINTS,
    TOLERANCE,
    IsWrong,
    turned_starts,
    weak_directions,
)
from dlc_training.evaluate.baselines import GicpOptions, PreparedGicp
from dlc_training.evaluate.pair import apply
from dlc_training.evaluate.partial_view import visible

REFINED_STARTS = 8
_NOISE = 0.008  # along the ray: the middle of what the protocol draws


def is_ambiguous_view(pair, group):
    """
    Whether a wrong pose would show the sensor what it saw.

    What would be seen of the noise-free shape follows from hidden point removal. A pose explains
    the view when its view and that at the truth, of independent samples, lie as near to each
    other, both ways, as two such views at the truth do: 95th and 99th percentile of the distances
    within 1.15 and 1.3 times. Candidates are those of
    :func:`~dlc_training.evaluate.ambiguity.is_ambiguous`.

    :param pair: :class:`~dlc_training.evaluate.pair.Pair` whose sensor is the source's origin.
    :param group: symmetry group of its shape.
    """
    views = _Views(pair)
    wrong = IsWrong(pair, group)
    seen = views.first
    centre = apply(pair.truth, seen).mean(0)
    few = seen[:: max(1, len(seen) // START_POINTS)]
    rough = PreparedGicp(few, pair.clean, GicpOptions(iterations=15))
    ends = []
    for turn in turned_starts(pair.shape_pose[:3, :3], centre):
        T = rough.refine(turn @ pair.truth, (START_DISTANCE,))
        if wrong(T):
            ends.append((views.misfit(T), T))
    ends.sort(key=lambda end: end[0])
    candidates = [rough.refine(T, (FINE_DISTANCE,)) for _, T in ends[:REFINED_STARTS]]
    candidates += [
        rough.refine(T, (FINE_DISTANCE,)) for T in weak_directions(rough, pair.truth, centre)
    ]
    return any(wrong(T) and views.explained(T) for T in candidates)


class _Views:
    """What an eye at the source's origin sees of the shape at a pose."""

    def __init__(self, pair):
        # Independent halves, so that the same view twice does not agree by sharing samples.
        self._halves = pair.clean[::2].astype(float), pair.clean[1::2].astype(float)
        self._tree = cKDTree(pair.clean)
        self._rng = np.random.default_rng(pair.index)
        self.first = self._view(0, pair.truth)
        self._first_tree = cKDTree(self.first)
        self._limits = TOLERANCE[:2] * self._percentiles(self._view(1, pair.truth))

    def _view(self, half, T):
        points = apply(np.linalg.inv(T), self._halves[half])
        seen = points[visible(points)]
        away = _NOISE * self._rng.normal(size=(len(seen), 1))
        return seen * (1 + away / np.linalg.norm(seen, axis=1, keepdims=True))

    def _percentiles(self, view):
        there = self._first_tree.query(view)[0]
        back = cKDTree(view).query(self.first)[0]
        return np.maximum(np.percentile(there, (95, 99)), np.percentile(back, (95, 99)))

    def misfit(self, T):
        """How far the view lies from the shape at a pose, mean over some of its points."""
        return self._tree.query(apply(T, self.first[::4]))[0].mean()

    def explained(self, T):
        """Whether the pose shows the eye the same."""
        view = self._view(1, T)
        return len(view) > 0 and bool((self._percentiles(view) <= self._limits).all())
