"""What a sensor gave, and what of it is registered: finite, without the motion of the sweep."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dlc_ros.errors import CloudError, TransformUnavailable
from dlc_ros.localization.deskew import undo_motion
from dlc_ros.registration.cloud import validate_cloud

# Points from which the median range is told.
_SAMPLED = 1000


@dataclass(frozen=True)
class Cloud:
    """
    A cloud as it came in.

    :param stamp_ns: the stamp to use.
    :param frame: of the points.
    :param points: (N, 3) array-like [m], rows with NaN or Inf allowed.
    :param times: None, or called for the (N,) numbers of the points' time field; gives None
        where there is no such field and raises CloudError where it is malformed.
    """

    stamp_ns: int
    frame: str
    points: np.ndarray
    times: Callable | None = None


@dataclass(frozen=True)
class Measured:
    """
    The usable points of a cloud.

    :param points: (N, 3) float64, finite, in the cloud's frame at its stamp [m].
    :param median_range: of the points from the sensor [m].
    :param deskew: what was done about the motion within the sweep, in words.
    :param skewed: whether it should have been undone and could not.
    """

    points: np.ndarray
    median_range: float
    deskew: str
    skewed: bool = False


@dataclass(frozen=True)
class Scene:
    """
    A cloud, ready to be registered, and where it was taken.

    :param stamp_ns: of the cloud.
    :param source_frame: frame of ``points``: the robot's base in map mode, else the cloud's.
    :param points: (N, 3) float64, finite, in ``source_frame`` [m].
    :param viewpoint: (3,) of the sensor in ``source_frame`` [m], or None where nobody says.
    :param fixed_from_source: (4, 4) at the stamp, or None where no fixed frame is configured.
    :param parent_from_source: (4, 4) at the stamp: where objects are published; the identity in
        map mode.
    :param measured: :class:`Measured`.
    """

    stamp_ns: int
    source_frame: str
    points: np.ndarray
    viewpoint: np.ndarray
    fixed_from_source: np.ndarray
    parent_from_source: np.ndarray
    measured: Measured


def viewpoint_in(frame, sensor, cloud, lookup):
    """
    Where the sensor was when it saw a cloud.

    :param frame: of the answer.
    :param sensor: frame whose origin it is.
    :param cloud: :class:`Cloud`.
    :param lookup: function (target, source, stamp_ns) -> ``T_target_source``.
    :returns: (3,) [m].
    :raises TransformUnavailable: missing at the stamp.
    """
    return np.zeros(3) if sensor == frame else lookup(frame, sensor, cloud.stamp_ns)[:3, 3]


def measure(cloud, fixed_frame, lookup, parameters):
    """
    Check a cloud and undo the motion within its sweep.

    A sweep whose motion is not known is used as it is, and said to be.

    :param cloud: :class:`Cloud`.
    :param fixed_frame: frame in which the world rests, or empty.
    :param lookup: ``lookup(target, source, stamp_ns) -> (4, 4)``.
    :param parameters: :class:`~dlc_ros.localization.declarations.Parameters`.
    :returns: :class:`Measured`.
    :raises CloudError: not a usable cloud.
    """
    given = np.asarray(cloud.points)
    points = validate_cloud(given, parameters.registration.min_points)
    moved, text, skewed = points, 'off', False
    if parameters.deskew.enabled:
        try:
            moved, text = _deskewed(cloud, given, points, fixed_frame, lookup, parameters)
        except (CloudError, TransformUnavailable) as error:
            text, skewed = f'not done: {error}', True
    sampled = moved[:: max(1, len(moved) // _SAMPLED)]
    return Measured(moved, float(np.median(np.linalg.norm(sampled, axis=1))), text, skewed)


def _deskewed(cloud, given, points, fixed_frame, lookup, parameters):
    if not fixed_frame:
        return points, 'none: no fixed frame is configured'
    times = cloud.times() if cloud.times else None
    if times is None:
        return points, 'none: clouds do not tell when each point was measured'
    if len(times) != len(given):
        raise CloudError(f'{len(times)} times for {len(given)} points')
    if len(points) < len(given):
        times = times[np.isfinite(given).all(axis=1)]
    moved, motion = undo_motion(
        points, times, cloud.stamp_ns, cloud.frame, fixed_frame, lookup, parameters.deskew
    )
    return moved, f'points moved by up to {motion:.3g} m' if motion else 'none: nothing moved'
