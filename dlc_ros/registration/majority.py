"""What most of the points say about a pose, where one thing contradicts what is believed of it."""

from typing import NamedTuple

import numpy as np

from dlc_ros.registration.se3 import exp_so3, transform_points
from dlc_ros.registration.surface import sample

_SAMPLES = 1_500
# Points that share one independent error: a target plane serves all source points near it.
_SHARING = 2.0
_STEPS = 10
_REWEIGHTINGS = 12
# Distance from a subspace [1, unit motions] below which rows of noisy normals count as in it.
_IN_SUBSPACE = 0.02
# Sine of the angle to the surface from which a motion counts as held by a point: noisy normals
# of a plane lend it less.
_HOLDS = 0.3
# Largest share of the points that may hold a motion which most points leave open.
_FEW = 0.4
# The few are one thing when all lie this near to their middle, in radii of the cloud, but for this
# share of them and of all points: those have a bad normal.
_ONE_THING = 0.5
_STRAY = 0.2, 0.02
# By how much fewer of the others may fit the prior than the pose that contradicts it: share of
# them that neighbouring surfaces swallow, and by chance.
_SWALLOWED = 0.03
_STANDARD_ERRORS = 3.0


class Majority(NamedTuple):
    """
    Answer of :func:`majority`.

    :param transform: (4, 4) ``T_target_source``.
    :param free: (6, k) screws ``v w`` about the source's origin along target axes, each moving
        the points by 1 m root mean square, that most points leave open.
    :param held: share of the points that hold some of them, 0..1.
    """

    transform: np.ndarray
    free: np.ndarray
    held: float


def majority(target, source, prior, contradicting, distance, spread):
    """
    Pose by the points that agree on which motions are open, and by the prior along these.

    A floor leaves three motions open, one thing that stands on it holds them: whether the thing
    moved or the sensor did, no cloud tells, only what is known beforehand. So the prior wins if
    what holds the open motions is few points in one place (several things do not move alike), and
    if the others fit the prior as well as the pose that contradicts it (an object that moved as a
    whole takes its borders along).

    The open motions are found by robust principal components: the rows of the point-to-plane
    Jacobian of most points lie in the subspace that they hold, and the rows of the few are
    outliers of it, found by reweighting (least absolute distances from the subspace: G. Lerman
    and T. Maunu, "An Overview of Robust Subspace Recovery", 2018).

    :param target: :class:`Surface`.
    :param source: :class:`Surface`, its origin at its centroid.
    :param prior: :class:`PosePrior`.
    :param contradicting: (4, 4) the pose that all points together lead to.
    :param distance: correspondence distance [m].
    :param spread: standard deviation of the plane distance of a point [m].
    :returns: :class:`Majority`, or None where it is no such case.
    """
    points = source.points[sample(len(source), _SAMPLES)]
    weight = len(source) / len(points) / (_SHARING * spread**2)
    belief = np.linalg.inv(prior.belief)
    transform, opened = prior.transform, None
    for number in range(_STEPS):
        match = _Match(target, points, transform, distance)
        if match.near.sum() < 6:
            return None
        if number < 2:
            opened = _open_motions(match)
            if opened is None:
                return None
        many = ~match.holding(opened.screws)
        # Noisy normals of many points feign information about the open motions: none is taken.
        rows = match.rows[many] @ opened.across
        gaps = match.gaps[many]
        force = weight * rows.T @ gaps + belief @ prior.error(transform)
        step = -np.linalg.solve(weight * rows.T @ rows + belief, force)
        transform = transform.copy()
        transform[:3, :3] = exp_so3(step[3:]) @ transform[:3, :3]
        transform[:3, 3] += step[:3]
        if np.linalg.norm(step[:3]) + source.radius * np.linalg.norm(step[3:]) < 1e-3 * distance:
            break
    rival = _Match(target, points, contradicting, distance)
    few = rival.levers[rival.holding(opened.screws)]
    if len(few):
        away = np.linalg.norm(few - np.median(few, axis=0), axis=1)
        stray = np.count_nonzero(away > _ONE_THING * source.radius)
        if stray > max(_STRAY[0] * len(few), _STRAY[1] * len(points)):
            return None
    match = _Match(target, points, transform, distance)
    many = [np.count_nonzero(~m.holding(opened.screws)) for m in (match, rival)]
    lost = many[1] - many[0]
    if lost > _SWALLOWED * many[1] + _STANDARD_ERRORS * np.sqrt(max(lost, 1)):
        return None
    return Majority(transform, opened.screws, len(few) / max(len(rival.levers), 1))


class _Match:
    """Points at a pose and their nearest points of a target: plane distances, Jacobian rows."""

    def __init__(self, target, points, transform, distance):
        moved = transform_points(transform, points)
        indices, away = target.nearest(moved, distance)
        self.near = away < distance
        moved, indices = moved[self.near], indices[self.near]
        normals = target.normals[indices]
        self.gaps = np.einsum('ij,ij->i', moved - target.points[indices], normals)
        self.levers = moved - transform[:3, 3]
        self.rows = np.hstack([normals, np.cross(self.levers, normals)])

    def motions(self, screws):
        """(N, 3, k) of the points for screws (6, k)."""
        turns = np.cross(screws[3:].T[None], self.levers[:, None])
        return (screws[:3].T[None] + turns).transpose(0, 2, 1)

    def holding(self, screws):
        """Which points (N,) do not slide along their surface for all screws (6, k)."""
        lengths = np.linalg.norm(self.motions(screws), axis=1)
        return (np.abs(self.rows @ screws) > _HOLDS * lengths).any(axis=1)


class _Open(NamedTuple):
    """Open motions: screws (6, k), and the projection (6, 6) that drops them from any motion."""

    screws: np.ndarray
    across: np.ndarray


def _open_motions(match):
    """Motions, 1 m root mean square each, that most points leave open; None without."""
    motions = match.motions(np.eye(6))
    scatter = np.einsum('nij,nik->jk', motions, motions) / len(motions)
    scatter += 1e-9 * np.trace(scatter) * np.eye(6)
    factor = np.linalg.inv(np.linalg.cholesky(scatter)).T
    rows = match.rows @ factor
    for count in (5, 4, 3, 2, 1):
        basis = _robust_complement(rows, count)
        screws = factor @ basis
        if match.holding(screws).mean() <= _FEW:
            return _Open(screws, np.eye(6) - screws @ basis.T @ np.linalg.inv(factor))
    return None


def _robust_complement(rows, count):
    """Basis (6, count) across the subspace that rows (N, 6) are least away from."""
    weights = np.ones(len(rows))
    for _ in range(_REWEIGHTINGS):
        basis = np.linalg.eigh((weights[:, None] * rows).T @ rows)[1][:, :count]
        weights = 1.0 / np.maximum(np.linalg.norm(rows @ basis, axis=1), _IN_SUBSPACE)
    return basis
