"""Pairs whose pose is not determined, and by which motions: planes, corridors, pipes, balls."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from dlc_training.evaluate.pair import apply, jitter, pose

_POINTS = 2000
_X, _Y, _Z = np.eye(3)


@dataclass(frozen=True)
class Degenerate:
    """
    Two clouds that slide on each other.

    :param source: (n, 3) float32.
    :param target: (m, 3) float32.
    :param truth: (4, 4) ``T_target_source``; one of many.
    :param shifts: (k, 3) unit directions of the free shifts, target frame.
    :param turns: (j, 3) unit axes of the free turns, all through ``centre``, target frame.
    :param centre: (3,).
    """

    source: np.ndarray
    target: np.ndarray
    truth: np.ndarray
    shifts: np.ndarray
    turns: np.ndarray
    centre: np.ndarray

    def screws(self, transform):
        """
        Free motions (6, k) at a pose, in the order and axes of its covariance.

        A turn about an axis through ``centre`` moves the translation t as well, by
        ``axis x (t - centre)``.
        """
        columns = [np.concatenate([shift, np.zeros(3)]) for shift in self.shifts]
        arm = transform[:3, 3] - self.centre
        columns += [np.concatenate([np.cross(axis, arm), axis]) for axis in self.turns]
        return np.array(columns).T


def draw_degenerate(kind, index, seed):
    """
    Draw pair ``index`` of a kind: two samplings, noise 0.01, turned and shifted at random.

    :param kind: key of :data:`KINDS`.
    :return: :class:`Degenerate`.
    """
    rng = np.random.default_rng([seed, 9, list(KINDS).index(kind), index])
    source, target, shifts, turns = KINDS[kind](rng)
    place = pose(Rotation.random(random_state=rng).as_matrix(), rng.uniform(-0.5, 0.5, 3))
    motion = pose(Rotation.random(random_state=rng).as_matrix(), rng.uniform(-0.5, 0.5, 3))
    return Degenerate(
        source=jitter(apply(motion, source), rng).astype(np.float32),
        target=jitter(apply(place, target), rng).astype(np.float32),
        truth=place @ np.linalg.inv(motion),
        shifts=np.reshape(shifts, (-1, 3)) @ place[:3, :3].T,
        turns=np.reshape(turns, (-1, 3)) @ place[:3, :3].T,
        centre=place[:3, 3],
    )


def _plane(rng):
    source, target = (
        np.column_stack([rng.uniform(-half, half, (_POINTS, 2)), np.zeros(_POINTS)])
        for half in (0.7, 1.2)
    )
    return source, target, (_X, _Y), (_Z,)


def _corridor(rng):
    width, height = rng.uniform(0.3, 0.6), rng.uniform(0.4, 0.8)

    def section(half):
        side = rng.integers(3, size=_POINTS)
        across = rng.uniform(-width, width, _POINTS)
        up = rng.uniform(0, height, _POINTS)
        y = np.where(side == 0, across, np.where(side == 1, -width, width))
        return np.column_stack(
            [rng.uniform(-half, half, _POINTS), y, np.where(side == 0, 0.0, up) - height / 3]
        )

    return section(1.0), section(2.0), (_X,), ()


def _pipe(rng):
    radius = rng.uniform(0.2, 0.5)

    def section(half):
        turn = rng.uniform(0, 2 * np.pi, _POINTS)
        return np.column_stack(
            [rng.uniform(-half, half, _POINTS), radius * np.cos(turn), radius * np.sin(turn)]
        )

    return section(0.7), section(1.2), (_X,), (_X,)


def _ball(rng):
    clouds = rng.normal(size=(2, _POINTS, 3))
    clouds *= 0.8 / np.linalg.norm(clouds, axis=2, keepdims=True)
    return *clouds, (), (_X, _Y, _Z)


def _cone(rng):
    low, high = rng.uniform(0.5, 0.8), rng.uniform(0.15, 0.35)

    def surface():
        turn, at = rng.uniform(0, 2 * np.pi, _POINTS), rng.uniform(size=_POINTS)
        lid = rng.uniform(size=_POINTS) < 0.3
        radius = np.where(lid, low * np.sqrt(at), low + (high - low) * at)
        height = np.where(lid, 0.0, at) - 0.4
        return np.column_stack([radius * np.cos(turn), radius * np.sin(turn), height])

    return surface(), surface(), (), (_Z,)


def _rail(rng):
    """An extruded profile of unequal legs: it slides and does nothing else."""
    corners = np.array([(0.0, 0.0), (0.6, 0.0), (0.6, 0.15), (0.2, 0.4), (0.0, 0.9), (0.0, 0.0)])
    corners = (corners - corners.mean(0)) * rng.uniform(0.8, 1.2)
    steps = np.diff(corners, axis=0)
    lengths = np.linalg.norm(steps, axis=1)

    def section(half):
        edge = rng.choice(len(steps), _POINTS, p=lengths / lengths.sum())
        at = corners[edge] + rng.uniform(size=(_POINTS, 1)) * steps[edge]
        return np.column_stack([rng.uniform(-half, half, _POINTS), at])

    return section(0.8), section(1.4), (_X,), ()


KINDS = {
    'plane': _plane,
    'corridor': _corridor,
    'pipe': _pipe,
    'ball': _ball,
    'cone': _cone,
    'rail': _rail,
}
