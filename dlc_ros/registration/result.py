"""The answer of one registration."""

from dataclasses import dataclass, field
from enum import Enum

import numpy as np


class Status(Enum):
    """What a robot may do with a registration."""

    ACCEPTED = 'ACCEPTED'  # use it
    REJECTED = 'REJECTED'  # do not use it
    DEGENERATE = (
        'DEGENERATE'  # right, but free along some direction (corridor, plane, axis of rotation)
    )
    AMBIGUOUS = (
        'AMBIGUOUS'  # another pose explains the clouds as well (discrete symmetry, repeated rooms)
    )


@dataclass(frozen=True, eq=False)  # arrays have no single truth of being equal
class Registration:
    """
    Where the source lies in the target's frame, and how far to trust that.

    True where it is accepted, false where it is not: whether there is one at all is asked with
    ``is None``.

    :param transform: (4, 4) float64 ``T_target_source``; maps source points into the target frame.
    :param covariance: (6, 6) float64 of that transform, order x y z [m] roll pitch yaw [rad]
        (fixed axes), expressed along the target frame's axes. The position is that of the source's
        origin: far from the cloud, the turn swings it far.
    :param confidence: 0 (no evidence) to 1; what the gate's threshold is compared with.
    :param status: what may be done with it; see :class:`Status`.
    :param reason: one sentence for a person: why this status.
    :param stages: wall time in milliseconds of each stage, in order, by name.
    :param inlier_fraction: share of source points that have a target point within the finest
        correspondence distance, 0..1.
    :param residual: root mean square distance of those points to the target's surface [m].
    :param alternatives: other poses that were considered and nearly as good, (4, 4) each.
    :param free_directions: (6, k) unit columns, order and axes of ``covariance``, along which the
        clouds do not determine the pose; empty unless ``status`` is DEGENERATE.
    :param candidates: every pose that was refined and compared, (4, 4) each, for debugging.
    """

    transform: np.ndarray
    covariance: np.ndarray
    confidence: float
    status: Status
    reason: str
    stages: dict = field(default_factory=dict)
    inlier_fraction: float = 0.0
    residual: float = float('nan')
    alternatives: tuple = ()
    free_directions: np.ndarray = field(default_factory=lambda: np.zeros((6, 0)))
    candidates: tuple = ()

    @property
    def accepted(self):
        """Whether the whole transform may be used (status ACCEPTED)."""
        return self.status is Status.ACCEPTED

    def __bool__(self):
        """As :attr:`accepted`: ``if register(source, target):`` is no trap then."""
        return self.accepted
