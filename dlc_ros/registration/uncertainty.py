"""How far a refined pose may be off: the noise of matched points, and the covariance."""

import numpy as np

from dlc_ros.registration.observability import resisted
from dlc_ros.registration.se3 import covariance_from_hessian

# Constants of the covariance, fitted to the errors of ten strata of pairs (`dlc-eval calibrate`):
# crops of solids, clean, noisy, sparse and dense; views, fragments, rooms and scans of places.
# Points of the reduced clouds that share one independent error, at least: a target plane is fitted
# to its neighbours and serves all source points near it. Where the residuals show more, more.
CORRELATION = 2.0
# Error that no number of points averages out (edges, normals of the target), in pitches of it:
# standard deviation of the shift, and of the arc of a turn at the source's radius. What the
# roughness does not explain of the residual, by more than this share of it, is such error too: a
# map that is bent, things that moved. At most so many pitches.
_COMMON = 0.02
_UNEXPLAINED = 0.1
_EXPLAINED = 0.75
_MOST_COMMON = 0.1
# Noise beside the pitch, from which it turns normals and nearest points rather than averages out.
_BLUR = 0.45
# How much larger than the residual the noise may be that choosing the nearest point hid from it.
_HIDDEN = 1.5


def plane_spread(found, target, source, radius):
    """
    Standard deviation of the plane distances of matched points [m], > 0.

    :param found: :class:`Agreement`.
    :param target: :class:`Surface`.
    :param source: :class:`Surface`.
    :param radius: of the reference [m].
    """
    # Choosing the nearest point hides some noise from the residual; the roughness still shows
    # it, that of the denser cloud, but what it shows is curvature too.
    rough = np.sqrt(2.0) * min(target.roughness, source.roughness)
    residual = found.residual if np.isfinite(found.residual) else rough
    return max(residual, min(rough, _HIDDEN * residual), 1e-6 * radius)


def pose_covariance(found, free, target, source, radius):
    """
    Covariance of a pose between the local frames.

    :param found: :class:`Agreement` at the pose.
    :param free: (6, k) of :func:`dlc_ros.registration.observability.free_directions`.
    :param target: :class:`Surface`.
    :param source: :class:`Surface`.
    :param radius: of the reference [m]; along a free direction the pose is known to about this.
    :returns: (6, 6), order x y z roll pitch yaw, target axes.
    """
    spread = plane_spread(found, target, source, radius)
    # What moved lies off its place too, but only noise blurs the target.
    noise = min(spread, np.sqrt(2.0) * target.roughness)
    spread *= 1.0 + (noise / target.pitch / _BLUR) ** 3
    limits = np.repeat([radius, np.pi / np.sqrt(3.0)], 3)
    random = covariance_from_hessian(
        resisted(found, free), spread**2, limits, correlation=max(CORRELATION, found.correlation)
    )
    common = _common_error(found, target, source)
    return random + np.diag(np.repeat([common, common / source.radius], 3) ** 2)


def _common_error(found, target, source):
    """Standard deviation of what no number of points averages out [m]."""
    rough = np.hypot(target.roughness, source.roughness)
    residual = found.residual if np.isfinite(found.residual) else 0.0
    excess = max(residual / max(rough, 1e-9 * target.pitch) - _EXPLAINED, 0.0)
    return min(_COMMON + _UNEXPLAINED * excess, _MOST_COMMON) * target.pitch
