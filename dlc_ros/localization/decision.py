"""Which estimates may change what the robot believes, and by how much."""

from dataclasses import dataclass

import numpy as np

from dlc_ros.registration.covariance import covariance_of_compose
from dlc_ros.registration.result import Status
from dlc_ros.registration.se3 import compose, exp_so3, inverse, is_rigid, log_so3, make_transform

# Chi-square quantile, 6 degrees of freedom, 99 %: a pose inside is what the prior expects.
_EXPECTED = 16.81
# Twice as far as the quantile of 99.99 %: a pose outside is not the one that was followed.
_IMPLAUSIBLE = 4.0 * 27.86


@dataclass(frozen=True)
class Prior:
    """
    What is believed before a cloud is looked at.

    :param transform: (4, 4) ``T_reference_source``.
    :param covariance: (6, 6) of it, as in :class:`dlc_ros.Registration`, positive definite.
    """

    transform: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class Decision:
    """
    The pose to use, or why there is none.

    :param accepted: whether there is a pose.
    :param reason: one sentence for a person.
    :param transform: (4, 4) ``T_reference_source``, or None.
    :param covariance: (6, 6) of it, or None.
    """

    accepted: bool
    reason: str
    transform: np.ndarray = None
    covariance: np.ndarray = None


def decide(registration, prior=None, reach=None):
    """
    Turn a registration into a pose that may be used, or a refusal.

    - ACCEPTED is used as it is, REJECTED never.
    - What lies far outside of the ellipsoid of ``reach`` is refused, however well it fits: beside
      a prior nobody looks for look-alikes, a global search does.
    - DEGENERATE is used only where the clouds determine it: along the free directions the prior
      is kept, with its covariance. Without a prior nothing is known there: refused.
    - AMBIGUOUS is used only if the prior expects exactly one of the candidates: one inside its
      99 % ellipsoid, all others outside. Otherwise refused.

    :param registration: :class:`dlc_ros.Registration`.
    :param prior: :class:`Prior` or None.
    :param reach: :class:`Prior` of where the source can have got to, where that is more than
        the prior says (it rested, but may have begun to move); None is the prior.
    :returns: :class:`Decision`.
    """
    status = registration.status
    if status is Status.REJECTED:
        return Decision(False, registration.reason)
    if not is_rigid(registration.transform) or not np.isfinite(registration.covariance).all():
        return Decision(False, 'the registration gave no finite rigid transform')
    if status is Status.ACCEPTED:
        decision = Decision(
            True, registration.reason, registration.transform, registration.covariance
        )
        return decision if prior is None else _refused_if_far(decision, reach or prior)
    if prior is None:
        return Decision(False, f'{registration.reason}; and there is no prior pose to decide it')
    if status is Status.DEGENERATE:
        return _refused_if_far(_keep_prior_where_free(registration, prior), reach or prior)
    return _choose_by_prior(registration, prior)


def error_between(transform, reference):
    """
    Small error that leads from one transform to another, in the covariance's order and axes.

    :param transform: (4, 4) ``T_a_b``.
    :param reference: (4, 4) ``T_a_b`` that it is compared with.
    :returns: (6,) ``e`` with ``transform == moved(reference, e)``.
    """
    rotation = transform[:3, :3] @ reference[:3, :3].T
    return np.concatenate([transform[:3, 3] - reference[:3, 3], log_so3(rotation)])


def moved(transform, error):
    """
    Transform with a small error added: ``exp(w) R`` and ``t + v``.

    :param transform: (4, 4) ``T_a_b``.
    :param error: (6,) x y z [m] roll pitch yaw [rad], along the axes of ``a``.
    :returns: (4, 4) float64.
    """
    return make_transform(exp_so3(error[3:]) @ transform[:3, :3], transform[:3, 3] + error[:3])


def _refused_if_far(decision, reach):
    if not decision.accepted:
        return decision
    error = error_between(decision.transform, reach.transform)
    if error @ np.linalg.solve(reach.covariance + decision.covariance, error) <= _IMPLAUSIBLE:
        return decision
    return Decision(
        False,
        f'the pose that fits is {np.linalg.norm(error[:3]):.2f} m and '
        f'{np.degrees(np.linalg.norm(error[3:])):.0f} deg from where it should be',
    )


def _keep_prior_where_free(registration, prior):
    """
    Slide along the free directions F to the pose that the prior finds most likely.

    All of ``xi + F a`` explain the clouds equally well, xi being the correction of the prior. With
    the prior's information L, its most likely point is ``a = -(F^T L F)^-1 F^T L xi``. The
    metric of the prior makes the answer independent of the units of length and angle.
    """
    free = registration.free_directions
    if free.shape[1] == 0:
        return Decision(False, f'{registration.reason}; its free directions are not named')
    information = np.linalg.inv(prior.covariance)
    along = np.linalg.inv(free.T @ information @ free)
    observed = np.eye(6) - free @ along @ free.T @ information
    correction = observed @ error_between(registration.transform, prior.transform)
    covariance = observed @ registration.covariance @ observed.T + free @ along @ free.T
    return Decision(
        True,
        f'{registration.reason}; the prior is kept along {free.shape[1]} free direction(s)',
        moved(prior.transform, correction),
        0.5 * (covariance + covariance.T),
    )


def _choose_by_prior(registration, prior):
    candidates = [registration.transform, *registration.alternatives]
    information = np.linalg.inv(prior.covariance)
    errors = [error_between(candidate, prior.transform) for candidate in candidates]
    distances = [error @ information @ error for error in errors]
    expected = [i for i, distance in enumerate(distances) if distance <= _EXPECTED]
    if len(expected) != 1 or len(candidates) == 1:
        return Decision(
            False, f'{registration.reason}; the prior pose expects {len(expected)} of them'
        )
    chosen = candidates[expected[0]]
    # The alternatives explain the same points equally well, each with its own part of the
    # reference: what is sure along one part is as sure along the other, wherever that points.
    from_first = compose(chosen, inverse(registration.transform))
    return Decision(
        True,
        f'{registration.reason}; the prior pose expects only this one',
        chosen,
        covariance_of_compose(from_first, None, registration.transform, registration.covariance),
    )
