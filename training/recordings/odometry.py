"""Poses of a recording that has none: LiDAR odometry by kiss-icp, continued when interrupted."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dlc_ros.errors import CloudError, DlcError
from dlc_ros.localization.deskew import deskew
from dlc_ros.node.pointcloud2 import points_from_message
from dlc_ros.registration.se3 import exp_so3, inverse, log_so3, make_transform
from dlc_training.recordings.files import read_arrays, write_arrays
from dlc_training.recordings.trajectory import Trajectory

# Clouds between two files of the poses so far, and clouds that fill the local map again.
_SAVE_EVERY, _WARM_UP = 200, 40
# Of the 95 % quantile of the range: beyond it points are few and far apart.
_REACH = 1.5
_VOXELS_PER_REACH = 40
# What is nearer [m] is a hole that the driver wrote as zeros; a scan of fewer seconds is an image.
_NEAREST, _SHORTEST = 0.05, 1e-6
# Of the file of poses so far: those of another layout are not read.
_LAYOUT = 3


def lidar_odometry(recording, survey, folder=None, quiet=False):
    """
    Sensor poses by scan-to-map registration (Vizzo et al., "KISS-ICP", RA-L 2023).

    :param recording: :class:`~dlc_training.recordings.sources.Recording`.
    :param survey: :class:`~dlc_training.recordings.survey.Survey`.
    :param folder: where the poses so far are kept; None to keep nothing.
    :return: :class:`Trajectory` in the frame of the first cloud.
    :raises DlcError: kiss-icp is not installed, or no cloud is usable.
    """
    kept = None if folder is None else Path(folder) / 'odometry.npz'
    key = f'{_LAYOUT} {recording.fingerprint()} {survey.cloud_topic} {survey.timing_text}'
    way = _Way.read(kept, key) if kept else _Way()
    if not way.complete:
        _run(recording, survey, way, lambda: kept and way.write(kept, key), quiet)
    if len(way.stamps) < 2:
        raise DlcError(f'{survey.cloud_topic}: odometry found {len(way.stamps)} usable cloud(s)')
    return Trajectory(
        np.array(way.stamps, np.int64),
        np.array(way.poses),
        'start of the recording',
        f'LiDAR odometry (kiss-icp) on {survey.cloud_topic}: the recording has no poses',
        drifts=True,
        self_made=True,
        z_is_up=False,
    )


@dataclass
class _Way:
    """Poses so far: of each its stamp [ns], the number of its cloud, and the pose (4, 4)."""

    stamps: list = field(default_factory=list)
    numbers: list = field(default_factory=list)
    poses: list = field(default_factory=list)
    complete: bool = False

    @classmethod
    def read(cls, path, key):
        """What was written with this key; nothing where there is none."""
        found = read_arrays(path)
        if found is None or str(found['key']) != key:
            return cls()
        stamps, numbers = found['stamps'].tolist(), found['numbers'].tolist()
        return cls(stamps, numbers, list(found['poses']), bool(found['complete']))

    def write(self, path, key):
        write_arrays(
            path,
            key=key,
            stamps=np.array(self.stamps, np.int64),
            numbers=np.array(self.numbers, np.int64),
            poses=np.array(self.poses),
            complete=self.complete,
        )


def _run(recording, survey, way, save, quiet):
    """Append the poses that are missing; ``save`` is called now and then, and in the end."""
    again = max(0, len(way.stamps) - _WARM_UP)
    odometry = _Kiss(survey, way.poses[again] if way.poses else np.eye(4))
    begin = way.numbers[again] if way.numbers else 0
    with tqdm(
        survey.clouds(recording),
        'odometry',
        len(survey.stamps_ns),
        unit='cloud',
        disable=quiet or None,
        leave=False,
        mininterval=1,
    ) as bar:
        for number, (stamp, cloud) in enumerate(bar):
            if number < begin:
                continue
            try:
                pose, delay = odometry.next(cloud, stamp)
            except CloudError:
                continue
            stamp += round(delay * 1e9)
            if not way.stamps or stamp > way.stamps[-1]:
                way.stamps.append(stamp)
                way.numbers.append(number)
                way.poses.append(pose)
                if len(way.stamps) % _SAVE_EVERY == 0:
                    save()
    way.complete = True
    save()


class _Kiss:
    """kiss-icp with settings from the recording's own ranges, and guards around what aborts it."""

    def __init__(self, survey, pose):
        try:
            from kiss_icp.config import KISSConfig
            from kiss_icp.kiss_icp import KissICP
        except ImportError:
            raise DlcError(
                'the recording has no poses, and kiss-icp, which would make some, is not '
                'installed: pip install kiss-icp, or give --trajectory'
            ) from None
        config = KISSConfig()
        config.data.max_range = self._far = float(_REACH * survey.ranges[2])
        config.data.min_range = min(0.3 * float(survey.ranges[0]), 1.0)
        config.mapping.voxel_size = config.data.max_range / _VOXELS_PER_REACH
        config.adaptive_threshold.initial_threshold = 2 * config.mapping.voxel_size
        config.adaptive_threshold.min_motion_th = 0.1 * config.mapping.voxel_size
        config.registration.max_num_threads = 1
        # It would take a sweep to last as long as the time between two clouds.
        config.data.deskew = False
        self._timing, self._kiss = survey.timing, KissICP(config)
        self._kiss.last_pose = np.array(pose)
        self._ended = self._lasted = (
            None  # of the last pose: its time, seconds since the one before
        )

    def next(self, cloud, stamp_ns):
        """
        Pose of a cloud where its sweep ends.

        :param cloud: PointCloud2.
        :param stamp_ns: its stamp.
        :returns: (4, 4) in the frame of the first cloud; seconds from the stamp to that pose.
        :raises CloudError: too few points.
        """
        points = points_from_message(cloud)
        offsets = self._timing.offsets(cloud) if self._timing else None
        ranges = np.linalg.norm(points, axis=1)
        good = np.isfinite(ranges) & (ranges > _NEAREST)
        if offsets is not None:
            good &= np.isfinite(offsets)
        if np.count_nonzero(ranges[good] < self._far) < 100:
            raise CloudError('too few points for odometry')
        frame, delay = np.ascontiguousarray(points[good], np.float64), 0.0
        if offsets is not None:
            offsets = offsets[good]
            delay = float(offsets.max())
            frame = self._at_the_end(frame, offsets - delay)
        self._kiss.register_frame(frame, np.linspace(0, 1, len(frame)))
        ended = stamp_ns * 1e-9 + delay
        self._lasted = None if self._ended is None else ended - self._ended
        self._ended = ended
        return np.array(self._kiss.last_pose), delay

    def _at_the_end(self, points, before):
        """
        Points (N, 3) as seen from where their sweep ends, if the sensor moves on as it did.

        :param before: (N,) seconds after that, 0 or less.
        """
        length = -float(before.min())
        if self._lasted is None or self._lasted <= 0.0 or length < _SHORTEST:
            return points
        back = inverse(self._kiss.last_delta)
        share = length / self._lasted
        first = make_transform(exp_so3(share * log_so3(back[:3, :3])), share * back[:3, 3])
        return deskew(points, before, np.array([-length, 0.0]), np.array([first, np.eye(4)]))
