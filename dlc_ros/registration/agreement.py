"""How well two surfaces agree at a pose: what candidates are ranked and judged by."""

from dataclasses import dataclass

import numpy as np

from dlc_ros.registration.misfit import (
    correlation,
    regions,
    systematic_misfit,
    typical_deviation,
)
from dlc_ros.registration.se3 import inverse, skew, transform_points
from dlc_ros.registration.surface import sample

# Points of either cloud that are compared; more only cost time.
_SAMPLES = 2_500
# Share of the pitch by which samples of one noise-free surface may miss each other's planes.
_DISCRETE = 0.2
# Points beside a surface: farther from its planes than this, nearer to its points than that, in
# correspondence distances.
_BESIDE, _NEARBY = 0.5, 2.0
# Points around a surface, of which those on it make the contrast: nearer than this, likewise.
_AROUND = 3.0


@dataclass(frozen=True)
class Agreement:
    """
    Evidence at one pose.

    :param transform: (4, 4) ``T_target_source`` it belongs to.
    :param score: 0..1; mean over both clouds' points of ``1 - (d / distance)^2``, cut at 0,
        with d the distance to the other cloud.
    :param qualities: (M,) those terms one by one, forward then backward, the same points for
        every pose of a pair: two poses are compared point by point.
    :param compared: how many of them are the source's, those that come first.
    :param inlier_fraction: share of source points within ``distance`` of the target.
    :param reverse_fraction: share of those target points that the source's extent reaches (a
        ball about its centroid) which are within ``distance`` of the source, 0..1.
    :param contrast: points within ``distance`` as a share of those within three times that, both
        ways; at a right pose points lie on the surface or, past its border, far from it.
    :param residual: root mean square point-to-plane distance of the source's inliers [m]; NaN
        without inliers.
    :param typical_residual: standard deviation of most of these distances, by their median [m]: at
        a right pose a few are large, where something moved, at a wrong one all; NaN likewise.
    :param expected_residual: what the roughness of the two clouds alone would leave [m].
    :param normal_agreement: mean |cosine| between the normals of matched points, 0..1.
    :param systematic: by how much whole regions of the inliers lie off the planes, see
        :func:`dlc_ros.registration.misfit.systematic_misfit` [m]; NaN likewise.
    :param correlation: how many inliers share one error,
        :func:`dlc_ros.registration.misfit.correlation`; 0 where that cannot be told.
    :param hovering: share of the source's points beside the other surface though near it: the
        nearest point is within twice ``distance``, its plane farther than half of it, 0..1.
    :param hold: smallest share of a motion that the planes of the matched points resist, with
        turns measured at the source's radius, 0..1; a scrap of surface matches anywhere.
    :param hessian: (6, 6) ``sum J^T J`` of the point-to-plane residuals of the inliers, scaled
        to all source points; order x y z roll pitch yaw, target axes, error convention of
        :mod:`dlc_ros.registration.covariance`.
    :param motion: (6, 6) the same for the inliers' motion itself instead of its part along the
        normals, so ``x^T hessian x / x^T motion x`` is the share of a motion that planes resist.
    :param inliers: how many source points are inliers, scaled likewise.
    :param distance: the fine correspondence distance [m].
    """

    transform: np.ndarray
    score: float
    qualities: np.ndarray
    compared: int
    inlier_fraction: float
    reverse_fraction: float
    contrast: float
    residual: float
    typical_residual: float
    expected_residual: float
    normal_agreement: float
    systematic: float
    correlation: float
    hovering: float
    hold: float
    hessian: np.ndarray
    motion: np.ndarray
    inliers: float
    distance: float

    @property
    def residual_ratio(self):
        """Residual in units of what the clouds' roughness explains; about 1 at a right pose."""
        return self.residual / self.expected_residual


def agreement(target, source, transform, distance):
    """
    Compare two surfaces at a pose, in both directions.

    :param target: :class:`Surface`.
    :param source: :class:`Surface`, its origin at its centroid.
    :param transform: (4, 4) ``T_target_source``.
    :param distance: fine correspondence distance [m].
    :returns: :class:`Agreement`.
    """
    every = sample(len(source), _SAMPLES)
    moved = transform_points(transform, source.points[every])
    far = max(_NEARBY, _AROUND) * distance
    indices, forward = target.nearest(moved, far)
    near = forward < distance
    heights = np.einsum('ij,ij->i', moved - target.points[indices], target.normals[indices])
    normals, residuals = target.normals[indices[near]], heights[near]
    beside = (np.abs(heights) > _BESIDE * distance) & (forward < _NEARBY * distance)
    levers = moved[near] - transform[:3, 3]
    jacobian = np.hstack([normals, np.cross(levers, normals)])
    cosines = np.einsum('ij,ij->i', source.normals[every][near] @ transform[:3, :3].T, normals)

    back = transform_points(inverse(transform), target.points[sample(len(target), _SAMPLES)])
    _, backward = source.nearest(back, far)
    reach = np.square(source.points).sum(axis=1).max()
    reached = np.square(back).sum(axis=1) <= reach

    qualities = np.concatenate([_quality(forward, distance), _quality(backward, distance)])
    close = near.mean() + (backward < distance).mean()
    around = (forward < _AROUND * distance).mean() + (backward < _AROUND * distance).mean()
    weight = len(source) / len(moved)
    count = int(near.sum())
    labels = regions(levers) if count else None
    return Agreement(
        transform=transform,
        score=0.5 * float(qualities[: len(moved)].mean() + qualities[len(moved) :].mean()),
        qualities=qualities,
        compared=len(moved),
        inlier_fraction=float(near.mean()),
        reverse_fraction=float((backward[reached] < distance).mean()) if reached.any() else 0.0,
        contrast=float(close / max(around, 1e-12)),
        residual=float(np.sqrt(np.mean(residuals**2))) if count else float('nan'),
        typical_residual=typical_deviation(residuals) if count else np.nan,
        expected_residual=expected_residual(target, source),
        normal_agreement=float(np.abs(cosines).mean()) if count else 0.0,
        systematic=systematic_misfit(labels, residuals, normals) if count else np.nan,
        correlation=correlation(labels, residuals, jacobian) if count else 0.0,
        hovering=float(beside.mean()),
        hold=_hold(jacobian, source.radius),
        hessian=weight * (jacobian.T @ jacobian),
        motion=weight * _motion(levers),
        inliers=weight * count,
        distance=distance,
    )


def _hold(jacobian, radius):
    """Smallest eigenvalue of the mean ``J^T J`` of rows (N, 6), turns in units of 1 / radius."""
    rows = jacobian / np.repeat([1.0, radius], 3)
    return float(max(np.linalg.eigvalsh(rows.T @ rows)[0], 0.0) / max(len(rows), 1))


def _motion(levers):
    """(6, 6) ``sum J^T J`` of ``v + w x lever`` with respect to v and w."""
    total = skew(levers.sum(axis=0))
    moments = levers.T @ levers
    inertia = np.trace(moments) * np.eye(3) - moments
    return np.block([[len(levers) * np.eye(3), -total], [total, inertia]])


def expected_residual(target, source):
    """Point-to-plane distance that roughness and pitch of two clouds of one surface leave [m]."""
    pitch = max(target.pitch, source.pitch)
    return float(np.sqrt(target.roughness**2 + source.roughness**2 + (_DISCRETE * pitch) ** 2))


def _quality(distances, limit):
    """Epanechnikov kernel of distances: 1 at 0, 0 from ``limit`` on."""
    return np.maximum(0.0, 1.0 - (distances / limit) ** 2)
