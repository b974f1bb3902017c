"""How far a refined pose may be off: the noise of matched points, and the covariance."""

import numpy as np

from dlc_ros.registration.covariance import covariance_from_hessian
from dlc_ros.registration.observability import resisted
from dlc_ros.registration.symmetric import EXACT

# Constants of the covariance, fitted to the errors of ten strata of pairs (`dlc-eval calibrate`):
# crops of solids, clean, noisy, sparse and dense; views, fragments, rooms and scans of places.
# Points of the reduced clouds that share one independent error, at least: those of both clouds
# are matched, along the mean of two normals, so it may be less than one. Where the residuals show
# more, more, but for the other direction's part of it.
_SHARING = 0.5
_SHOWN = 0.6
# Error that no number of points averages out, standard deviation of the shift, and of the arc of a
# turn at the source's radius. What few large residuals add to those of most points, beyond what
# edges leave of it, in pitches: a map that is bent, things that moved. The share of it.
_EDGES = 0.07
_UNEXPLAINED = 0.7
# By how much whole regions lie off the surface: the share of it.
_SYSTEMATIC = 0.35
# What roughens the target but not the source, beyond what so many pitches explain: the other side
# of a thin wall, of which a view shows one, and which the pose may be off by.
_ROUGHER = 0.22
# Noise beside the pitch, from which it turns normals and nearest points rather than averages out.
_BLUR = 0.45
# How much larger than the residual the noise may be that choosing the nearest point hid from it.
_HIDDEN = 1.5


def plane_spread(found, target, source):
    """
    Standard deviation of the plane distances of matched points [m], > 0.

    :param found: :class:`Agreement`.
    :param target: :class:`Surface`.
    :param source: :class:`Surface`.
    """
    # Choosing the nearest point hides some noise from the residual; the roughness still shows
    # it, that of the denser cloud, but what it shows is curvature too.
    rough = np.sqrt(2.0) * min(target.roughness, source.roughness)
    residual = found.residual if np.isfinite(found.residual) else rough
    # A cloud on itself leaves no residual, but the refinement ends before it is as exact.
    resolved = EXACT * max(target.pitch, source.pitch)
    return max(residual, min(rough, _HIDDEN * residual), resolved)


def pose_covariance(found, free, target, source, radius, coarse=None):
    """
    Covariance of a pose between the local frames.

    :param found: :class:`Agreement` at the pose.
    :param free: (6, k) of :func:`dlc_ros.registration.observability.free_directions`.
    :param target: :class:`Surface`.
    :param source: :class:`Surface`.
    :param radius: of the reference [m]; along a free direction the pose is known to about this.
    :param coarse: the two thinned :class:`Surface`, target and source, on which candidates of a
        thing competed; None where its sides were told apart.
    :returns: (6, 6), order x y z roll pitch yaw, target axes.
    """
    spread = plane_spread(found, target, source)
    # What moved lies off its place too, but only noise blurs the target.
    noise = min(spread, np.sqrt(2.0) * target.roughness)
    spread *= 1.0 + (noise / target.pitch / _BLUR) ** 3
    limits = np.repeat([radius, np.pi / np.sqrt(3.0)], 3)
    random = covariance_from_hessian(
        resisted(found, free, source),
        spread**2,
        limits,
        correlation=max(_SHARING, _SHOWN * found.correlation),
    )
    common = _common_error(found, target, source)
    if coarse is not None:
        # A sheet that is too thin for these may have been taken for its other side.
        common = max(common, _sheet(*coarse))
    return random + np.diag(np.repeat([common, common / source.radius], 3) ** 2)


def _common_error(found, target, source):
    """Standard deviation of what no number of points averages out [m]."""
    if not np.isfinite(found.residual):
        return 0.0
    few = np.sqrt(max(found.residual**2 - found.typical_residual**2, 0.0))
    unexplained = _UNEXPLAINED * max(few - _EDGES * target.pitch, 0.0)
    sheet = _sheet(target, source)
    return np.sqrt(unexplained**2 + (_SYSTEMATIC * found.systematic) ** 2 + sheet**2)


def _sheet(target, source):
    """Deviation of the two sides of thin walls, both within the roughness of the target [m]."""
    rougher = target.roughness**2 - source.roughness**2 - (_ROUGHER * target.pitch) ** 2
    return np.sqrt(max(rougher, 0.0))
