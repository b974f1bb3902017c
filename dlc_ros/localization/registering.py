"""One cloud against one reference: the attempt, and what becomes of its failures."""

import time
from dataclasses import dataclass, replace

from dlc_ros.errors import DlcError
from dlc_ros.localization.decision import Decision, decide
from dlc_ros.localization.instances import points_of_one
from dlc_ros.localization.units import UNIT_OPTION
from dlc_ros.registration.result import Registration, Status
from dlc_ros.registration.units import with_unit_option


@dataclass(frozen=True)
class Attempt:
    """
    What one registration gave.

    :param registration: :class:`dlc_ros.Registration`, or None if it could not be computed.
    :param decision: :class:`~dlc_ros.localization.decision.Decision`.
    :param seconds: wall time it took.
    :param broken: whether the cloud could not be registered at all.
    """

    registration: Registration
    decision: Decision
    seconds: float
    broken: bool = False


def attempt(reference, points, viewpoint, prior, reach, several, min_confidence, last):
    """
    Register points once; nothing is raised.

    :param reference: :class:`~dlc_ros.localization.references.Reference`.
    :param points: (N, 3) in the source frame [m].
    :param viewpoint: (3,) of the sensor in that frame [m], or None.
    :param prior: :class:`~dlc_ros.localization.decision.Prior`; None searches everywhere.
    :param reach: see :func:`~dlc_ros.localization.decision.decide`.
    :param several: whether other instances of the model may be in view.
    :param min_confidence: below which it is not accepted.
    :param last: whether no other attempt at this cloud follows.
    :returns: :class:`Attempt`.
    """
    started = time.perf_counter()

    def done(registration, decision, broken=False):
        return Attempt(registration, decision, time.perf_counter() - started, broken)

    try:
        registration = _register(reference, points, viewpoint, prior, min_confidence, last)
        if several and prior is None and registration.status is Status.AMBIGUOUS:
            around = points_of_one(registration, reference.cloud, points)
            if around is not None:
                registration = _register(reference, around, viewpoint, None, min_confidence, last)
        return done(registration, decide(registration, prior, reach))
    except DlcError as error:
        return done(None, Decision(False, str(error)), broken=True)
    except Exception as error:
        # A robot goes on with the next cloud whatever a library threw at this one.
        return done(None, Decision(False, f'{type(error).__name__}: {error}'), broken=True)


def nothing_there(near, count):
    """
    Say that hardly a point lies where the reference is expected, which is no fault of the cloud.

    :param near: points that do.
    :param count: points of the scene.
    :returns: :class:`Attempt`.
    """
    return Attempt(
        None, Decision(False, f'{near} of {count} points lie where it is expected'), 0.0
    )


def _register(reference, points, viewpoint, prior, min_confidence, thorough):
    start = (None, None) if prior is None else (prior.transform, prior.covariance)
    registration = reference.registrar.register(
        points, *start, viewpoint, min_confidence, thorough
    )
    reason = with_unit_option(registration.reason, UNIT_OPTION, reference.cloud.unit)
    return replace(registration, reason=reason)
