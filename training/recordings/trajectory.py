"""Poses of the sensor over time, where they come from, and trajectory files."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dlc_ros.errors import FileError
from dlc_ros.registration.se3 import is_rigid
from dlc_training.recordings.frames import interpolate_poses, poses_from

# Poses farther apart in time are not interpolated [s].
LONGEST_GAP_S = 1.0
# Poses of a scan that what is known between clouds is asked for.
_INSIDE = 9
# Stamps [s] that nanoseconds in 64 bits can hold: until the year 2262.
_LATEST_S = 9.2e9


@dataclass(frozen=True)
class Trajectory:
    """
    Where the sensor was.

    :param stamps_ns: (N,) int64, increasing.
    :param poses: (N, 4, 4) float64 ``T_frame_sensor``.
    :param frame: name of the frame that the poses are given in.
    :param provenance: one sentence for people: where they come from.
    :param drifts: whether they are exact over short ways only (odometry).
    :param self_made: whether they were made from the clouds that they are to label.
    :param measured: whether the user vouches for them, by naming the file; those of a map frame
        are as good as what localised the robot.
    :param z_is_up: whether that axis of the frame is known to be up, as ROS wants it (REP-103);
        that of a camera's first image looks ahead.
    :param between: function of stamps (M,) -> poses (M, 4, 4), known (M,), where more is known
        than at ``stamps_ns``; None where there is no more.
    """

    stamps_ns: np.ndarray
    poses: np.ndarray
    frame: str
    provenance: str
    drifts: bool
    self_made: bool = False
    measured: bool = False
    z_is_up: bool = True
    between: Callable | None = None

    def at(self, stamps_ns, longest_gap_s=LONGEST_GAP_S):
        """Poses (M, 4, 4) at stamps (M,), and (M,) bool: known; never beyond the ends or a gap."""
        return interpolate_poses(self.stamps_ns, self.poses, stamps_ns, longest_gap_s)

    def within(self, stamps_ns, span_s):
        """
        The poses that deskewing needs: about some scans, all that is known of their sweeps.

        Of the others there are none: over hours these would be many times what is used.

        :param stamps_ns: (M,) of the scans; ``span_s``: a sweep lies within so much of its stamp.
        :return: :class:`Trajectory`; this one if nothing is known between its poses.
        """
        if self.between is None:
            return self
        inside = np.round(np.linspace(-span_s, span_s, _INSIDE) * 1e9).astype(np.int64)
        every = np.unique((stamps_ns[:, None] + inside).ravel())
        poses, known = self.between(every)
        return replace(self, stamps_ns=every[known], poses=poses[known])

    @property
    def length(self):
        """Way of the sensor [m]; steps below the noise of a standing sensor do not add up."""
        return way_length(self.poses[:, :3, 3])


def way_length(places, step=0.05):
    """Length [m] of a way through places (N, 3), taken in steps of at least ``step``."""
    total, last = 0.0, places[0] if len(places) else None
    for place in places:
        moved = float(np.linalg.norm(place - last))
        if moved >= step:
            total, last = total + moved, place
    return total


def stand_upright(poses, leaning_deg=5.0):
    """Whether all sensors (N, 4, 4) stand upright in the frame of their poses, to so much."""
    return bool((poses[:, 2, 2] > np.cos(np.radians(leaning_deg))).all())


def read_trajectory(path, cloud_stamps_ns):
    """
    Read a trajectory file.

    TUM: ``stamp x y z qx qy qz qw`` a line, stamps in seconds. KITTI: 12 numbers a line (rows of
    a 3 x 4 matrix), one line for each cloud.

    :param path: text file.
    :param cloud_stamps_ns: (N,) stamps of the clouds, for KITTI files.
    :return: stamps (M,) int64 [ns], poses (M, 4, 4).
    :raises FileError: missing, neither of both, not rigid, or of another recording.
    """
    stamps, poses = _content(path)
    if stamps is None:
        if len(poses) != len(cloud_stamps_ns):
            raise FileError(
                f'{path}: {len(poses)} poses for {len(cloud_stamps_ns)} clouds; a KITTI file has '
                'one line for each cloud'
            )
        return np.asarray(cloud_stamps_ns, np.int64), poses
    if len(cloud_stamps_ns) and (
        stamps[-1] < cloud_stamps_ns[0] or stamps[0] > cloud_stamps_ns[-1]
    ):
        raise FileError(
            f'{path}: its times ({stamps[0] / 1e9:.1f} to {stamps[-1] / 1e9:.1f} s) and those of '
            f'the clouds ({cloud_stamps_ns[0] / 1e9:.1f} to {cloud_stamps_ns[-1] / 1e9:.1f} s) do '
            'not overlap; it belongs to another recording or clock'
        )
    return stamps, poses


def check_trajectory(path):
    """Raise FileError for a file that :func:`read_trajectory` refuses whatever the clouds are."""
    _content(path)


def _content(path):
    """Stamps (M,) int64 [ns], None in a KITTI file, and poses (M, 4, 4)."""
    path = Path(path)
    lines = [line.split('#')[0].replace(',', ' ').split() for line in _lines(path)]
    rows = {number: line for number, line in enumerate(lines, 1) if line}
    widths = {len(row) for row in rows.values()}
    if widths not in ({8}, {12}):
        raise FileError(
            f'{path}: not a trajectory: lines of {sorted(widths)[:4]} numbers; TUM has 8, KITTI 12'
        )
    read = _tum_row if widths == {8} else _kitti_row
    found = []
    for number, row in rows.items():
        try:
            found.append(read(row))
        except ValueError as error:
            raise FileError(f'{path}: line {number}: {" ".join(row)!r:.120} {error}') from None
    if widths == {12}:
        return None, np.array(found)
    stamps, first = np.unique(np.array([stamp for stamp, _ in found]), return_index=True)
    return stamps, poses_from(np.array([found[i][1] for i in first]))


def _lines(path):
    try:
        return path.read_text(encoding='utf-8').splitlines()
    except OSError as error:
        raise FileError(f'{path}: cannot be read: {error.strerror}') from None
    except UnicodeDecodeError:
        raise FileError(f'{path}: not a trajectory but a binary file') from None


def _tum_row(words):
    """Stamp [ns] and x y z qx qy qz qw of a line."""
    stamp = _nanoseconds(words[0])
    values = _numbers(words[1:])
    length = math.hypot(*values[3:])
    # Written with two digits, a unit quaternion is off by a hundredth.
    if abs(length - 1) > 0.03:
        raise ValueError(
            f'is no pose: its quaternion has length {length:.3g} and not 1; a line of TUM is '
            'stamp x y z qx qy qz qw'
        )
    return stamp, values


def _kitti_row(words):
    """Pose (4, 4) of a line."""
    pose = np.eye(4)
    pose[:3] = np.reshape(_numbers(words), (3, 4))
    if not is_rigid(pose):
        raise ValueError('is no rigid transform')
    return pose


def _numbers(words):
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise ValueError(
            "is not a trajectory's: not all are numbers; comment a header out with #"
        ) from None
    if not math.isfinite(sum(values)):
        raise ValueError('is no pose; remove the line')
    return values


def _nanoseconds(text):
    """Nanoseconds, all digits of them: since 1970 they are more than a float64 has."""
    (value,) = _numbers([text])
    if abs(value) > _LATEST_S:
        raise ValueError('has no stamp in seconds; are they milli- or nanoseconds?')
    seconds, _, fraction = text.partition('.')
    if fraction.isdigit() and seconds.lstrip('-').isdigit():
        return int(seconds) * 10**9 + int(fraction[:9].ljust(9, '0'))
    return round(value * 1e9)
