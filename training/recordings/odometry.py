"""Poses of a recording that has none: LiDAR odometry by kiss-icp, continued when interrupted."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from dlc_ros.errors import CloudError, DlcError
from dlc_ros.node.pointcloud2 import points_from_message
from dlc_training.recordings.files import read_arrays, write_arrays
from dlc_training.recordings.trajectory import Trajectory

# Clouds between two files of the poses so far, and clouds that fill the local map again.
_SAVE_EVERY, _WARM_UP = 200, 40
# Of the 95 % quantile of the range: beyond it points are few and far apart.
_REACH = 1.5
_VOXELS_PER_REACH = 40


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
    key = f'{recording.fingerprint()} {survey.cloud_topic} {survey.timing_text}'
    done = read_arrays(kept) if kept else None
    if done is not None and str(done['key']) != key:
        done = None
    stamps = [] if done is None else done['stamps'].tolist()
    poses = [] if done is None else list(done['poses'])
    if done is None or not done['complete']:
        _run(recording, survey, kept, key, stamps, poses, quiet)
    if len(stamps) < 2:
        raise DlcError(f'{survey.cloud_topic}: odometry found {len(stamps)} usable cloud(s)')
    return Trajectory(
        np.array(stamps, np.int64),
        np.array(poses),
        'start of the recording',
        f'LiDAR odometry (kiss-icp) on {survey.cloud_topic}: the recording has no poses',
        drifts=True,
        self_made=True,
    )


def _run(recording, survey, kept, key, stamps, poses, quiet):
    shift = survey.stamps_ns[0] - survey.header_ns[0]
    again = max(0, len(stamps) - _WARM_UP)
    odometry = _Kiss(survey, poses[again] if stamps else np.eye(4))
    known = {int(stamp): None for stamp in survey.stamps_ns}
    seen = 0
    clouds = recording.messages([survey.cloud_topic])
    with tqdm(
        clouds,
        'odometry',
        len(survey.stamps_ns),
        unit='cloud',
        disable=quiet or None,
        leave=False,
        mininterval=1,
    ) as bar:
        for message in bar:
            cloud = message.read()
            header = cloud.header.stamp.sec * 10**9 + cloud.header.stamp.nanosec
            stamp = header + int(shift) if header else message.stamp_ns
            if stamp not in known or cloud.header.frame_id.lstrip('/') != survey.frame:
                continue
            del known[stamp]
            seen += 1
            if seen <= again:
                continue
            try:
                pose, delay = odometry.next(cloud)
            except CloudError:
                continue
            stamp += round(delay * 1e9)
            if not stamps or stamp > stamps[-1]:
                stamps.append(stamp)
                poses.append(pose)
                if kept and len(stamps) % _SAVE_EVERY == 0:
                    _write(kept, key, stamps, poses, False)
    if kept:
        _write(kept, key, stamps, poses, True)


def _write(path, key, stamps, poses, complete):
    write_arrays(
        path,
        key=key,
        stamps=np.array(stamps, np.int64),
        poses=np.array(poses),
        complete=complete,
    )


class _Kiss:
    """kiss-icp with settings from the recording's own ranges, and guards around what aborts it."""

    def __init__(self, survey, pose):
        try:
            from kiss_icp.config import KISSConfig
            from kiss_icp.kiss_icp import KissICP
            from kiss_icp.preprocess import get_preprocessor
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
        config.data.deskew = True
        self._timing, self._kiss = survey.timing, KissICP(config)
        self._deskewing = self._kiss.preprocessor
        config.data.deskew = False
        self._plain = get_preprocessor(config)
        self._kiss.last_pose = np.array(pose)

    def next(self, cloud):
        """Pose (4, 4) of a PointCloud2, and seconds from its stamp to that pose."""
        points = points_from_message(cloud)
        good = np.isfinite(points).all(1)
        ranges = np.linalg.norm(points[good], axis=1)
        if np.count_nonzero((ranges > 0.05) & (ranges < self._far)) < 100:
            raise CloudError('too few points for odometry')
        offsets = self._timing.offsets(cloud) if self._timing else None
        frame = np.ascontiguousarray(points[good], np.float64)
        # Equal times make its deskewing abort the process.
        if offsets is None:
            self._kiss.preprocessor = self._plain
            self._kiss.register_frame(frame, np.linspace(0, 1, len(frame)))
            return np.array(self._kiss.last_pose), 0.0
        offsets = offsets[good]
        self._kiss.preprocessor = self._deskewing
        self._kiss.register_frame(frame, (offsets - offsets.min()) / np.ptp(offsets))
        return np.array(self._kiss.last_pose), float(offsets.max())
