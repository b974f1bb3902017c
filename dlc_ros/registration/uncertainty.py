"""How far a refined pose may be off: the noise of matched points, and the covariance."""

import numpy as np

from dlc_ros.registration.observability import resisted
from dlc_ros.registration.se3 import covariance_from_hessian

# Constants of the covariance, fitted to the errors of twelve kinds of pairs: solids with noise of
# 0.07 to 0.8 pitches, rooms of 4,000 to 130,000 points; 88 to 100 % of each lay within its 95 %.
# Points of the reduced clouds that share one independent error: a target plane is fitted to its
# neighbours and serves all source points near it.
CORRELATION = 2.0
# Error that no number of points averages out (edges, normals of the target), in pitches of it:
# standard deviation of the shift, and of the arc of a turn at the source's radius.
_COMMON = 0.02
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
        resisted(found, free), spread**2, limits, correlation=CORRELATION
    )
    common = _COMMON * target.pitch
    return random + np.diag(np.repeat([common, common / source.radius], 3) ** 2)
