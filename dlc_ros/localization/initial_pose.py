"""A pose that an operator gave: what is checked and what is added to it."""

import numpy as np

from dlc_ros.errors import ParameterError, TransformUnavailable
from dlc_ros.registration.covariance import symmetric
from dlc_ros.registration.se3 import is_rigid


def near(lookup, target, source, stamp_ns):
    """Look up at the stamp, else the latest: what a hand points at is not exact to a tick."""
    try:
        return lookup(target, source, stamp_ns or 0)
    except TransformUnavailable:
        return lookup(target, source, 0)


def checked_covariance(frame_id, pose, covariance, growth):
    """
    Check a pose that an operator gave and complete its covariance.

    :param frame_id: frame of the pose.
    :param pose: (4, 4).
    :param covariance: (6, 6); an axis without a variance (RViz leaves z, roll and pitch so) gets
        that of ``growth``.
    :param growth: :class:`~dlc_ros.localization.declarations.PriorGrowth`.
    :returns: (6, 6) positive definite.
    :raises ParameterError: no frame, not rigid, or not a covariance.
    """
    if not frame_id:
        raise ParameterError('it names no frame')
    if not is_rigid(pose):
        raise ParameterError('it is not a rigid transform with a unit quaternion')
    covariance = np.asarray(covariance, dtype=np.float64)
    with np.errstate(over='ignore'):
        finite = covariance.shape == (6, 6) and np.isfinite(covariance + covariance.T).all()
    if not finite:
        raise ParameterError('its covariance is not a finite 6x6 matrix')
    covariance = symmetric(covariance)
    default = np.repeat([growth.initial_translation, growth.initial_rotation], 3) ** 2
    covariance += np.diag(np.where(np.diag(covariance) == 0.0, default, 0.0))
    if np.linalg.eigvalsh(covariance)[0] <= 0.0:
        raise ParameterError('its covariance is not positive definite')
    return covariance
