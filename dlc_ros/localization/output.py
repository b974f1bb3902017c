"""What a node publishes, as plain values; no middleware."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class StampedTransform:
    """
    One transform for ``/tf``.

    :param parent: frame name.
    :param child: frame name.
    :param stamp_ns: nanoseconds.
    :param matrix: (4, 4) float64 ``T_parent_child``; maps points of the child into the parent.
    """

    parent: str
    child: str
    stamp_ns: int
    matrix: np.ndarray


@dataclass(frozen=True)
class PoseEstimate:
    """
    One accepted pose with its covariance (geometry_msgs/PoseWithCovarianceStamped).

    :param name: what it is the pose of: the robot's base frame or the object's name.
    :param frame: frame in which it is given.
    :param stamp_ns: stamp of the cloud it was measured in, nanoseconds.
    :param matrix: (4, 4) float64 ``T_frame_name``.
    :param covariance: (6, 6) float64, order x y z [m] roll pitch yaw [rad] (fixed axes), along
        the axes of ``frame``.
    """

    name: str
    frame: str
    stamp_ns: int
    matrix: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class AlignedCloud:
    """
    The registered cloud in the frame of its reference; moved only when :meth:`points` is asked.

    :param name: which reference: the map's frame or the object's name.
    :param frame: frame of the moved points: the map's frame or the object's name.
    :param stamp_ns: stamp of the cloud, nanoseconds.
    :param source: (N, 3) points as they were registered.
    :param matrix: (4, 4) that moves ``source`` into ``frame``.
    """

    name: str
    frame: str
    stamp_ns: int
    source: np.ndarray
    matrix: np.ndarray

    def points(self):
        """(N, 3) float32 points in ``frame``; not finite rows are kept as they are."""
        moved = self.source @ self.matrix[:3, :3].T + self.matrix[:3, 3]
        return moved.astype(np.float32)


@dataclass(frozen=True)
class ReferencePoints:
    """
    A reference to look at, in its own frame.

    :param name: which reference: the map's frame or the object's name; also its frame.
    :param sha256: of its file, hexadecimal.
    :param points: (N, 3) float64 [m], thinned.
    """

    name: str
    sha256: str
    points: np.ndarray


@dataclass(frozen=True)
class Hypotheses:
    """
    The poses that competed for a cloud, whether one was accepted or not.

    :param name: which reference: the map's frame or the object's name.
    :param frame: frame in which they are given.
    :param stamp_ns: stamp of the cloud, nanoseconds.
    :param candidates: tuple of (4, 4) ``T_reference_source``, the chosen one first.
    :param place: turns one of them into the pose (4, 4) that would have been published.
    """

    name: str
    frame: str
    stamp_ns: int
    candidates: tuple
    place: Callable

    def poses(self):
        """List of (4, 4) float64 ``T_frame_name``: of the robot's base, or of the object."""
        return [self.place(candidate) for candidate in self.candidates]


@dataclass(frozen=True)
class StateChange:
    """
    A tracker went from one state to another.

    :param name: the map's frame or the object's name.
    :param before: name of the old state.
    :param after: name of the new state.
    :param reason: one sentence for a person.
    """

    name: str
    before: str
    after: str
    reason: str


@dataclass(frozen=True)
class Output:
    """
    What one call of the localizer gives to publish; everything may be empty.

    :param transforms: tuple of :class:`StampedTransform`, for ``/tf``.
    :param poses: tuple of :class:`PoseEstimate`.
    :param aligned: tuple of :class:`AlignedCloud`.
    :param hypotheses: tuple of :class:`Hypotheses`, of every cloud that was registered.
    :param changes: tuple of :class:`StateChange`; already logged.
    :param repeated: whether the transforms are those of an earlier cloud, dated anew.
    """

    transforms: tuple = ()
    poses: tuple = ()
    aligned: tuple = ()
    hypotheses: tuple = ()
    changes: tuple = ()
    repeated: bool = False


@dataclass(frozen=True)
class CommandResult:
    """
    Answer to a command of an operator.

    :param accepted: whether it was done.
    :param message: what was done, or why not and what to do; already logged.
    """

    accepted: bool
    message: str


@dataclass(frozen=True)
class DiagnosticStatus:
    """
    One entry of ``/diagnostics`` (diagnostic_msgs/DiagnosticStatus).

    :param level: 0 OK, 1 WARN, 2 ERROR, 3 STALE.
    :param name: ``node: task``.
    :param message: one line.
    :param values: dict key -> string.
    """

    level: int
    name: str
    message: str
    values: dict = field(default_factory=dict)
