"""The part of a large reference that one cloud can see: what the predictor is shown of it."""

import numpy as np

from dlc_ros.registration.cloud import centroid
from dlc_ros.registration.se3 import transform_points

# Share of a cloud's points that lie within its reach; what few see far away makes no window.
_WITHIN = 0.95
# Radius of a window in reaches: what a cloud sees, and a margin for a pose that is a little off.
_MARGIN = 1.1


def window_radius(cloud):
    """
    Radius of the window for a cloud.

    :param cloud: (N, 3) [m].
    :returns: float [m]: a little more than the distance from the centroid within which 95 % of
        the points lie.
    """
    distances = np.linalg.norm(cloud - centroid(cloud), axis=1)
    return float(_MARGIN * np.quantile(distances, _WITHIN))


def window(reference, centre, radius):
    """
    Which points of a reference lie in a window.

    :param reference: (M, 3) [m].
    :param centre: (3,) of the ball [m], the reference's frame.
    :param radius: of the ball [m].
    :returns: (M,) bool.
    """
    offsets = reference - centre
    return np.einsum('ij,ij->i', offsets, offsets) < radius * radius


def window_at(reference, cloud, transform):
    """
    Which points of a reference lie in the window of a cloud at a pose.

    :param reference: (M, 3) [m].
    :param cloud: (N, 3) [m], source frame.
    :param transform: (4, 4) ``T_reference_source``.
    :returns: (M,) bool: points within :func:`window_radius` of where the cloud's centroid lies.
    """
    centre = transform_points(transform, centroid(cloud)[None])[0]
    return window(reference, centre, window_radius(cloud))
