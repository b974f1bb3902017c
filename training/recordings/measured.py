"""Poses that were measured, for judging alone: the held-out part by them, the labels against."""

from dataclasses import dataclass

import numpy as np

from dlc_ros.errors import FileError
from dlc_ros.registration.se3 import rotation_angle_deg

_WHAT = 'labels against the measured poses, which nothing else uses'
# Labels farther off than this, in the median [median ranges; deg], are not merely wrong: the poses
# are given in another frame, or are those of another one.
_ANOTHER_FRAME, _ANOTHER_FRAME_DEG = 1.0, 30.0


@dataclass(frozen=True)
class Measured:
    """
    What is judged by measured poses.

    :param numbers: (H,) held-out scans whose poses were measured; those without a label are not
        left out: they are what the present weights could not place.
    :param poses: (N, 4, 4) ``T_reference_sensor`` of all scans, the identity where not measured.
    :param fact: row (what, value) for people: how far the labels are off.
    """

    numbers: np.ndarray
    poses: np.ndarray
    fact: tuple


def compare_measured(trajectory, labels, stamps_ns, split, judged, median_range):
    """
    Hold measured poses against the labels.

    :param trajectory: :class:`~dlc_training.recordings.trajectory.Trajectory` of the sensor in the
        reference; its ``provenance`` is named in errors.
    :param labels: :class:`~dlc_training.recordings.labels.Labelled`.
    :param stamps_ns: (N,) of the scans.
    :param split: :class:`~dlc_training.recordings.split.Split`.
    :param judged: (J,) held-out scans that have a label.
    :param median_range: of the scans [m].
    :return: :class:`Measured`.
    :raises FileError: less than two held-out scans were measured, or in another frame.
    """
    poses, known = trajectory.at(stamps_ns)
    held_out = ~labels.known & ~labels.in_map & split.beyond(stamps_ns, poses[:, :3, 3])
    held_out[judged] = True
    numbers = np.flatnonzero(held_out & known)
    if len(numbers) < 2:
        raise FileError(
            f'{trajectory.provenance}: knows the poses of {len(numbers)} held-out scans, at least '
            '2 are needed; leave it out, or change --hold-out and --share'
        )
    both = known & labels.known
    shift = np.linalg.norm(poses[both, :3, 3] - labels.poses[both, :3, 3], axis=1)
    if not len(shift):
        return Measured(numbers, poses, (_WHAT, 'no scan has both'))
    turn = np.median([rotation_angle_deg(poses[n], labels.poses[n]) for n in np.flatnonzero(both)])
    median, most = np.quantile(shift, (0.5, 0.95))
    if median > _ANOTHER_FRAME * median_range or turn > _ANOTHER_FRAME_DEG:
        raise FileError(
            f'{trajectory.provenance}: its poses are {median:.1f} m and {turn:.0f} deg '
            f'(median) off those of the labels ({labels.text}); give poses of the sensor in the '
            'frame of the reference, which for a map that is built is that of the poses it is '
            'built from'
        )
    return Measured(
        numbers, poses, (_WHAT, f'{1e3 * median:.0f} mm (median), {1e3 * most:.0f} mm (95 %)')
    )
