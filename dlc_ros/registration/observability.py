"""Along which directions two clouds do not determine the pose: planes, corridors, spheres."""

import numpy as np

from dlc_ros.registration.se3 import (
    compose,
    exp_se3,
    inverse,
    log_se3,
    make_transform,
    transform_points,
)
from dlc_ros.registration.surface import sample

# Directions of which the planes resist a smaller share than this are tried; noise of half a
# pitch makes a sphere seem to resist a tenth of a turn.
_SUSPECT = 0.2
_STANDARD_ERRORS = 3.0
# Length of a slide in fine correspondence distances: well beyond noise and pitch.
_SLIDE = 2.0
_SAMPLES = 1_000
# Share of the points that must hold a direction for it to be determined at all.
LEAST_SUPPORT = 0.003


def free_directions(target, source, found, support=LEAST_SUPPORT):
    """
    Small motions of the source that leave the two surfaces on each other.

    The Hessian names the suspects: motions of which the planes resist a small share. Noisy
    normals lend each some resistance that is not there, so every suspect is tried: the source
    slides a finite way along it, and it is free if the distances to the planes of the points
    that are nearest *there* do not rise: their mean square by less than ``support`` times the
    square of the slide, beyond chance.

    :param target: :class:`Surface`.
    :param source: :class:`Surface`, its origin at its centroid.
    :param found: :class:`Agreement` at the pose.
    :param support: share of the points that must hold a direction, 0..1.
    :returns: (6, k) columns, screws ``v w`` about the source's origin along target axes, each
        moving the inliers by 1 m root mean square and orthogonal to the others in that sense;
        k is 6 without enough inliers.
    """
    factor = np.linalg.inv(_whitening(found)).T
    if found.inliers < 6:
        return factor
    resistance, vectors = np.linalg.eigh(factor.T @ (found.hessian / found.inliers) @ factor)
    screws = factor @ vectors
    free = [i for i in range(6) if resistance[i] < _SUSPECT]
    free = [i for i in free if _slides(target, source, found, screws[:, i], support)]
    return screws[:, free]


def _whitening(found):
    """Lower (6, 6) L with ``|L^T x|`` the root mean square motion of the inliers for screw x."""
    motion = found.motion / max(found.inliers, 1.0)
    lengths = np.sqrt(np.maximum(np.diag(motion), found.distance**2 * 1e-6))
    # Points on a thin rod hardly move when it turns about itself: a floor keeps that invertible.
    return np.linalg.cholesky(motion + 1e-9 * np.diag(lengths**2))


def _slides(target, source, found, screw, support):
    """Whether the source moves both ways along a screw (1 m) without leaving the target."""
    points = source.points[sample(len(source), _SAMPLES)]
    step = _SLIDE * found.distance

    def cost(transform):
        moved = transform_points(transform, points)
        indices, distances = target.nearest(moved)
        gaps = moved - target.points[indices]
        planes = np.einsum('ij,ij->i', gaps, target.normals[indices])
        return np.minimum(planes**2, step**2), distances < found.distance

    here, near = cost(found.transform)
    rise = np.concatenate(
        [
            (cost(_moved(found.transform, sign * step * screw))[0] - here)[near] / step**2
            for sign in (1.0, -1.0)
        ]
    )
    chance = _STANDARD_ERRORS * rise.std() / np.sqrt(max(len(rise), 1))
    return bool(rise.mean() < support + chance)


def _moved(transform, screw):
    """Pose after a screw motion along target axes about the source's origin."""
    here = make_transform(translation=transform[:3, 3])
    return compose(here, exp_se3(screw), inverse(here), transform)


def unexplained_motion(found, other, free):
    """
    Root mean square motion of the inliers between two poses, beyond the free directions.

    :param found: :class:`Agreement` at the first pose.
    :param other: (4, 4) second pose ``T_target_source``.
    :param free: (6, k) of :func:`free_directions` at the first pose.
    :returns: float [m]; 0 if sliding along free directions alone leads from one to the other.
    """
    here = make_transform(translation=found.transform[:3, 3])
    screw = log_se3(compose(inverse(here), other, inverse(found.transform), here))
    whitening = _whitening(found).T
    motion, basis = whitening @ screw, whitening @ free
    return float(np.linalg.norm(motion - basis @ (basis.T @ motion)))


def resisted(found, free):
    """
    Hessian of an agreement without the information that noise feigns along free directions.

    :param found: :class:`Agreement`.
    :param free: (6, k) of :func:`free_directions`.
    :returns: (6, 6) symmetric, zero along the free directions.
    """
    if free.shape[1] == 0:
        return found.hessian
    whitening = _whitening(found)
    basis = whitening.T @ free
    keep = np.eye(6) - basis @ basis.T
    across = np.linalg.inv(whitening).T @ keep @ whitening.T
    return across.T @ found.hessian @ across
