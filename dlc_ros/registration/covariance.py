"""
Covariances of rigid transforms: how they move with the frames, and what a Hessian makes of them.

The uncertainty of ``T_target_source`` is the 6-vector ``x y z roll pitch yaw`` of small errors
along the target's fixed axes, as in ROS (``geometry_msgs/PoseWithCovariance``, REP-103): with
``v`` the first three and ``w`` the last three,

    R_true = exp(w) R,    t_true = t + v

so the rotation turns the source about its own origin. Formulas: J. Sola et al., "A micro Lie
theory for state estimation in robotics", arXiv 1812.01537, for the product group SO(3) x R^3.
"""

import numpy as np

from dlc_ros.registration.se3 import skew


def covariance_of_inverse(transform, covariance):
    """
    Covariance of ``inverse(transform)``.

    :param transform: (4, 4) ``T_a_b``.
    :param covariance: (6, 6) of ``T_a_b``, along the axes of ``a``.
    :returns: (6, 6) of ``T_b_a``, along the axes of ``b``.

    From ``R^T exp(-w) = exp(-R^T w) R^T``: the rotation error turns into the other frame, and it
    swings the translation by the lever ``t``.
    """
    rotation, translation = np.asarray(transform)[:3, :3], np.asarray(transform)[:3, 3]
    jacobian = np.zeros((6, 6))
    jacobian[:3, :3] = jacobian[3:, 3:] = -rotation.T
    jacobian[:3, 3:] = -rotation.T @ skew(translation)
    return symmetric(jacobian @ covariance @ jacobian.T)


def compose_jacobians(transform_ab, transform_bc):
    """
    How small errors of two transforms move the error of their product.

    :param transform_ab: (4, 4) ``T_a_b``.
    :param transform_bc: (4, 4) ``T_b_c``.
    :returns: two (6, 6): d error(T_a_c) / d error(T_a_b) and / d error(T_b_c).
    """
    rotation = np.asarray(transform_ab)[:3, :3]
    lever = np.eye(6)
    lever[:3, 3:] = -skew(rotation @ np.asarray(transform_bc)[:3, 3])
    turn = np.zeros((6, 6))
    turn[:3, :3] = turn[3:, 3:] = rotation
    return lever, turn


def covariance_of_compose(transform_ab, covariance_ab, transform_bc, covariance_bc=None):
    """
    Covariance of ``compose(T_a_b, T_b_c)`` for independent errors; None stands for none.

    Moves a covariance through a change of frame: ``covariance_of_compose(T_new_old, None, T, C)``
    re-expresses it in another target frame, ``covariance_of_compose(T, C, T_old_new)`` makes it
    that of another source frame (with the lever arm).

    :param transform_ab: (4, 4) ``T_a_b``.
    :param covariance_ab: (6, 6) along the axes of ``a``, or None.
    :param transform_bc: (4, 4) ``T_b_c``.
    :param covariance_bc: (6, 6) along the axes of ``b``, or None.
    :returns: (6, 6) of ``T_a_c``, along the axes of ``a``.
    """
    lever, turn = compose_jacobians(transform_ab, transform_bc)
    total = np.zeros((6, 6))
    if covariance_ab is not None:
        total += lever @ covariance_ab @ lever.T
    if covariance_bc is not None:
        total += turn @ covariance_bc @ turn.T
    return symmetric(total)


def covariance_from_hessian(hessian, residual_variance, limits, correlation=1.0):
    """
    Covariance of a least-squares pose from the Gauss-Newton Hessian of its residuals.

    ``H = sum J^T J`` over unit-weight residuals [m] is only the *shape* of the information. It
    becomes information by the residual's variance, and by ``correlation``: neighbouring points
    share the error of one surface patch, so N residuals hold only N / correlation independent
    ones. A broad prior with standard deviations ``limits`` is added, so that a direction in which
    H is zero comes out as wide as what is possible at all, and the result is never singular.

    :param hessian: (6, 6) in the order and axes of the covariance.
    :param residual_variance: variance of one residual [m^2], > 0.
    :param limits: (6,) largest standard deviations [m, m, m, rad, rad, rad], > 0.
    :param correlation: number of residuals that share one independent error, > 0.
    :returns: (6, 6) symmetric positive definite.
    """
    limits = np.asarray(limits, dtype=np.float64)
    information = np.asarray(hessian) / (residual_variance * correlation)
    # Inverted in units of the limits: metres and radians then compare, and the sum is at least
    # the identity, whatever rounding makes of very sure directions beside unsure ones.
    scaled = symmetric(information) * np.outer(limits, limits) + np.eye(6)
    values, axes = np.linalg.eigh(scaled)
    inverted = (axes / np.maximum(values, 1.0)) @ axes.T
    return symmetric(inverted) * np.outer(limits, limits)


def symmetric(matrix):
    """Half the sum of a square matrix and its transpose: rounding must not tilt a covariance."""
    return 0.5 * (matrix + matrix.T)
