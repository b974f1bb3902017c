"""The last steps of a refinement: symmetric point-to-plane ICP, in both directions, robust."""

import numpy as np

from dlc_ros.registration.misfit import typical_deviation
from dlc_ros.registration.se3 import exp_so3, inverse, transform_points
from dlc_ros.registration.surface import sample

# Matches follow the points, so that a step leaves a share of the way: it is made so much longer.
_RELAXED = 1.5
# A step ends it that changes the residuals by less than their noise, all of them together.
_SETTLED = 0.5
# Target points that are matched to the source, at most, and no more than it has points. The
# source's are all matched to the target.
_REVERSE = 2_500
# Residuals beyond this many of their standard deviations lose their weight (Geman-McClure).
_OUTLYING = 3.0
# No match is more exact than this share of the pitch: on clean clouds planes alone would count.
EXACT = 0.02
# Normals of a match that differ by more than 60 degrees are of two faces.
_ALIKE = 0.5
# A target point farther from the plane of the target under its match than this share of the
# correspondence distance lies on another sheet: the back of a plate.
_SHEET = 0.5
# Damping, as a share of the points: what fewer planes resist, noise of normals would decide.
_DAMPING = 5e-4


def symmetric_icp(target, source, init, distance, iterations):
    """
    Refine a pose that is good to about the spacing of the points.

    The distance of a match is measured along the mean of both normals, which is exact where the
    surface is curved between the points, while the plane of one of them is off by its sagitta (S.
    Rusinkiewicz, "A symmetric objective function for ICP", ACM Transactions on Graphics 2019).
    Both clouds' points look for their nearest in the other, so that the noise of each counts once
    as a place and once as a plane.

    :param target: :class:`Surface`.
    :param source: :class:`Surface`, its origin at its centroid.
    :param init: (4, 4) ``T_target_source`` to start from.
    :param distance: correspondence distance [m].
    :param iterations: steps at most; many only follow the noise.
    :returns: (4, 4) float64 ``T_target_source``; steps; whether they ended by themselves. Where
        nothing matches that is ``init``, 0 and False.
    """
    pose = np.array(init, dtype=np.float64)
    scale = np.repeat([1.0, 1.0 / source.radius], 3)
    matches = _Matches(target, source, pose, distance)
    for used in range(iterations):
        levers, offsets, normals, own = matches.at(pose)
        if not own:
            return pose, used, False
        residuals = np.einsum('ij,ij->i', offsets, normals)
        jacobian = np.hstack([normals, np.cross(levers, normals)]) * scale
        # The source's own matches tell the noise; target points that it does not reach do not.
        spread = max(typical_deviation(residuals[:own]), EXACT * max(target.pitch, source.pitch))
        weights = (1.0 + (residuals / (_OUTLYING * spread)) ** 2) ** -2
        weighted = jacobian * weights[:, None]
        hessian = weighted.T @ jacobian
        damped = hessian + _DAMPING * len(residuals) * np.eye(6)
        gradient = weighted.T @ residuals
        step = -np.linalg.solve(damped, gradient)
        pose = _moved(pose, _RELAXED * scale * step)
        if -gradient @ step < _SETTLED * spread**2:
            return pose, used + 1, True
    return pose, iterations, False


class _Matches:
    """Nearest points of two surfaces, either way."""

    def __init__(self, target, source, pose, distance):
        self._target, self._source, self._distance = target, source, distance
        back = transform_points(inverse(pose), target.points)
        reach = np.sqrt(np.square(source.points).sum(axis=1).max()) + distance
        reached = np.flatnonzero(np.square(back).sum(axis=1) <= reach**2)
        self._reverse = reached[sample(len(reached), min(len(source), _REVERSE))]

    def at(self, pose):
        """
        Match both clouds at a pose.

        :returns: of M matches the source points from the source's origin (M, 3), the same from
            the target points (M, 3), the mean normals (M, 3), target axes; and how many of them,
            those that come first, are nearest to a source point.
        """
        target, source, limit = self._target, self._source, self._distance
        moved = transform_points(pose, source.points)
        under, forward = target.nearest(moved, limit)
        over, backward = source.nearest(
            transform_points(inverse(pose), target.points[self._reverse]), limit
        )
        sheet = target.points[self._reverse] - target.points[under[over]]
        heights = np.einsum('ij,ij->i', sheet, target.normals[under[over]])
        near = (backward < limit) & (np.abs(heights) < _SHEET * limit)
        own = np.flatnonzero(forward < limit)
        of_source = np.concatenate([own, over[near]])
        of_target = np.concatenate([under[own], self._reverse[near]])
        normals = source.normals[of_source] @ pose[:3, :3].T
        cosines = np.einsum('ij,ij->i', normals, target.normals[of_target])
        normals = 0.5 * (target.normals[of_target] + np.sign(cosines)[:, None] * normals)
        alike = np.abs(cosines) > _ALIKE
        of_source, of_target = of_source[alike], of_target[alike]
        points = moved[of_source]
        return (
            points - pose[:3, 3],
            points - target.points[of_target],
            normals[alike],
            int(alike[: len(own)].sum()),
        )


def _moved(pose, step):
    """A pose (4, 4) moved by a step (6,): shift, and turn about the source's origin."""
    moved = pose.copy()
    moved[:3, :3] = exp_so3(step[3:]) @ pose[:3, :3]
    moved[:3, 3] += step[:3]
    return moved
