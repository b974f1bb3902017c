"""
Motion within a sweep: each point goes to where it would have been measured at the stamp.

A spinning LiDAR measures for a tenth of a second; at 2 m/s and 1 rad/s its last point lies 0.2 m
and 6 degrees from where its first one would put it. Given when each point was measured and how
the sensor moved in a fixed frame, that is undone exactly: ``p' = T_fixed_source(stamp)^-1
T_fixed_source(t) p``, the sensor's motion between two known poses being a straight line and a
constant turn (slerp), as tf2 has it.
"""

import numpy as np

from dlc_ros.errors import CloudError
from dlc_ros.registration.se3 import compose, inverse, log_so3

# A sweep lasts this long [s]: with units a factor 1000 apart, only one of them can be meant.
_SHORTEST, _LONGEST = 1e-3, 1.0
# Absolute times within this of the stamp [s] are of the stamp's clock.
_SAME_CLOCK = 10.0
_UNITS = {'s': 1.0, 'us': 1e-6, 'ns': 1e-9}
# The sensor's poses are asked for this often [s]; odometry rarely comes faster.
_STEP = 0.01
# Points that move less than this [m] are as good where they are.
_STANDING = 1e-3


def offsets_from_stamp(times, stamp_ns, stamp_at='auto', unit='auto'):
    """
    When points were measured, from a field as drivers write it.

    Known forms: seconds, microseconds or nanoseconds, integers or floats, absolute or relative.
    The unit is told by the length of the sweep, 1 ms to 1 s. In ``auto`` times of the stamp's
    clock are taken as they are, relative ones count from the stamp (negative where it is the end
    of the sweep), and those of another clock count from the first point.

    :param times: (N,) numbers of the field, finite.
    :param stamp_ns: stamp of the cloud [ns].
    :param stamp_at: ``auto``, or what the stamp is of the sweep: its ``start`` or its ``end``.
    :param unit: ``auto``, ``s``, ``us`` or ``ns``.
    :returns: (N,) float64 seconds after the stamp; None if all points have one time.
    :raises CloudError: the field cannot be understood.
    """
    times = np.asarray(times)
    if times.ndim != 1 or times.dtype.kind not in 'iuf' or not np.isfinite(times).all():
        raise CloudError('the times of the points are not finite numbers')
    if len(times) == 0 or times.min() == times.max():
        return None
    # Integers are subtracted as such: nanoseconds since 1970 leave float64 no nanoseconds.
    if times.dtype.kind != 'f':
        times = times.astype(np.int64)
    first = times.min()
    with np.errstate(over='ignore'):
        after_first = (times - first).astype(np.float64)
    seconds = _UNITS.get(unit) or _unit(after_first.max(), times.dtype)
    after_first *= seconds
    length = after_first.max()
    if not _SHORTEST <= length <= _LONGEST:
        raise CloudError(
            f'the times of the points span {length:.3g} s; a sweep lasts {_SHORTEST:g} to '
            f'{_LONGEST:g} s: set deskew.unit'
        )
    if stamp_at == 'start':
        return after_first
    if stamp_at == 'end':
        return after_first - length
    begin = float(first) * seconds
    if abs(begin) <= _LONGEST:
        return after_first + begin
    if times.dtype == np.float32:
        raise CloudError('float32 is too coarse for absolute times of points')
    # In exact arithmetic: as floats, seconds since 1970 are good to 0.2 us, but ns to 256 ns only.
    lag_ns = round(int(first) * (seconds * 1e9)) if times.dtype.kind != 'f' else begin * 1e9
    lag = (lag_ns - stamp_ns) * 1e-9
    return after_first + lag if abs(lag) <= _SAME_CLOCK else after_first


def _unit(span, dtype):
    """Seconds in a unit of times that span so many of it."""
    # Relative integers are never seconds; absolute floats may be nanoseconds.
    units = _UNITS.values() if dtype.kind == 'f' else (_UNITS['us'], _UNITS['ns'])
    for seconds in units:
        if _SHORTEST <= span * seconds <= _LONGEST:
            return seconds
    raise CloudError(
        f'the times of the points span {span:.3g}, which is no sweep of {_SHORTEST:g} to '
        f'{_LONGEST:g} s in s, us or ns'
    )


def sweep_poses(lookup, fixed_frame, source_frame, stamp_ns, first, last):
    """
    The sensor's poses during a sweep, seen from where it was at the stamp.

    :param lookup: ``lookup(target, source, stamp_ns) -> (4, 4)``.
    :param fixed_frame: frame in which the world rests.
    :param source_frame: frame of the sensor.
    :param stamp_ns: of the cloud.
    :param first: when the first point was measured, seconds after the stamp.
    :param last: the same of the last point.
    :returns: (K,) float64 seconds after the stamp, increasing; (K, 4, 4) ``T_source(stamp)_
        source(t)``.
    :raises TransformUnavailable: a pose is not known.
    """
    count = 1 + max(1, int(np.ceil((last - first) / _STEP)))
    knots = np.linspace(first, last, count)
    stamps = [stamp_ns + round(knot * 1e9) for knot in knots]
    # The newest first: when that is known so are the others, and the wait is spent only once.
    newest = lookup(fixed_frame, source_frame, stamps[-1])
    at_stamp = inverse(lookup(fixed_frame, source_frame, stamp_ns))
    poses = [lookup(fixed_frame, source_frame, stamp) for stamp in stamps[:-1]] + [newest]
    return knots, np.array([compose(at_stamp, pose) for pose in poses])


def largest_motion(poses, radius):
    """
    How far the sweep's motion moves a point, at most [m].

    :param poses: (K, 4, 4) of :func:`sweep_poses`.
    :param radius: distance of the farthest point from the sensor [m].
    """
    turns = [np.linalg.norm(log_so3(pose[:3, :3])) for pose in poses]
    return float((np.linalg.norm(poses[:, :3, 3], axis=1) + radius * np.array(turns)).max())


def deskew(points, offsets, knots, poses):
    """
    Move points to where they would have been measured at the stamp.

    :param points: (N, 3) float64, each in the sensor's frame at its own time [m].
    :param offsets: (N,) seconds after the stamp, within the knots.
    :param knots: (K,) seconds after the stamp, increasing, K >= 2.
    :param poses: (K, 4, 4) ``T_source(stamp)_source(t)`` at the knots.
    :returns: (N, 3) float64 in the sensor's frame at the stamp [m].
    """
    moved = np.empty_like(points)
    segments = np.clip(np.searchsorted(knots, offsets, side='right') - 1, 0, len(knots) - 2)
    for k in range(len(knots) - 1):
        chosen = np.flatnonzero(segments == k)
        share = ((offsets[chosen] - knots[k]) / (knots[k + 1] - knots[k]))[:, None]
        start, end = poses[k], poses[k + 1]
        turned = _turned(points[chosen], share, log_so3(start[:3, :3].T @ end[:3, :3]))
        along = (1.0 - share) * start[:3, 3] + share * end[:3, 3]
        moved[chosen] = turned @ start[:3, :3].T + along
    return moved


def _turned(points, share, turn):
    """Points (M, 3) turned by their share (M, 1) of a rotation vector (Rodrigues' formula)."""
    angle = np.linalg.norm(turn)
    if angle < 1e-12:
        return points
    x, y, z = turn / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]).T
    once = points @ cross
    return points + np.sin(share * angle) * once + (1.0 - np.cos(share * angle)) * (once @ cross)


def undo_motion(points, times, stamp_ns, source_frame, fixed_frame, lookup, settings):
    """
    Undo the motion within a sweep if it is known and worth it.

    :param points: (N, 3) float64, finite, in ``source_frame`` [m].
    :param times: (N,) numbers of the cloud's time field. Those of points at the sensor, holes that
        a driver wrote as zeros, tell nothing, and points without a finite one are left alone.
    :param stamp_ns: of the cloud.
    :param source_frame: frame of the cloud.
    :param fixed_frame: frame in which the world rests.
    :param lookup: ``lookup(target, source, stamp_ns) -> (4, 4)``.
    :param settings: :class:`~dlc_ros.localization.declarations.Deskew`.
    :returns: (N, 3) float64 points, and how far they moved at most [m].
    :raises CloudError: the times cannot be understood.
    :raises TransformUnavailable: the motion is not known.
    """
    times = np.asarray(times)
    timed = (points[:, 0] != 0.0) | (points[:, 1] != 0.0) | (points[:, 2] != 0.0)
    if times.dtype.kind == 'f':
        timed &= np.isfinite(times)
    if not timed.all():
        moved = points.copy()
        moved[timed], motion = undo_motion(
            points[timed], times[timed], stamp_ns, source_frame, fixed_frame, lookup, settings
        )
        return moved, motion
    offsets = offsets_from_stamp(times, stamp_ns, settings.stamp, settings.unit)
    if offsets is None:
        return points, 0.0
    knots, poses = sweep_poses(
        lookup, fixed_frame, source_frame, stamp_ns, offsets.min(), offsets.max()
    )
    motion = largest_motion(poses, np.linalg.norm(points, axis=1).max())
    if motion < _STANDING:
        return points, 0.0
    return deskew(points, offsets, knots, poses), motion
