"""A reference made from the recording itself, and which points of it stay where they are."""

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from dlc_ros.registration.cloud import LocalFrame, voxel_downsample
from dlc_ros.registration.se3 import inverse, is_rigid, transform_points

# Edge of a cell, in median ranges, and its bounds [m]; scans that must see it for it to stay.
_CELL, _CELL_BOUNDS = 0.05, (0.04, 0.5)
_SEEN = 3
# Edge of the map's voxels and reach of the correction, in cells.
_MAP_VOXEL, _LEVELS = 0.5, (6.0, 2.5)
# A cell and its six neighbours.
_AROUND = np.array([[0, 0, 0], *np.eye(3, dtype=int), *-np.eye(3, dtype=int)])


@dataclass(frozen=True)
class StableCells:
    """
    Cells of space in which several scans see something: not what moves through.

    :param keys: (C,) sorted int64; ``edge`` of a cell [m].
    """

    keys: np.ndarray
    edge: float

    def hold(self, points):
        """Which points (N, 3) of the map frame lie in such a cell or beside one (N,) bool."""
        out = np.zeros(len(points), bool)
        if len(self.keys) == 0:
            return out
        for shift in _AROUND:
            keys = cell_keys(points, self.edge, shift)
            place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
            out |= self.keys[place] == keys
        return out


def cell_keys(points, edge, shift=(0, 0, 0)):
    """One int64 for the cell of each point (N, 3)."""
    index = np.floor(points / edge).astype(np.int64) + (1 << 20) + np.asarray(shift)
    return (index[:, 0] << 42) + (index[:, 1] << 21) + index[:, 2]


def cell_edge(median_range):
    """Edge of a cell for scans of this median range [m]."""
    return float(np.clip(_CELL * median_range, *_CELL_BOUNDS))


def find_stable(index, poses, numbers, median_range):
    """
    Cells that several of the scans see.

    :param index: :class:`~dlc_training.recordings.index.Index`; ``poses`` (N, 4, 4) of its scans.
    :param numbers: which scans.
    :param median_range: of the scans [m].
    """
    edge = 2 * cell_edge(median_range)
    seen = [np.unique(cell_keys(transform_points(poses[n], index.scan(n)), edge)) for n in numbers]
    keys, counts = np.unique(np.concatenate(seen), return_counts=True)
    return StableCells(keys[counts >= min(_SEEN, max(1, len(numbers) // 4))], edge)


def build_map(index, poses, numbers, median_range):
    """
    Points of a map (M, 3) float64 from scans at their poses, without what moves through.

    :param numbers: scans that the map is made of.
    """
    stable = find_stable(index, poses, numbers, median_range)
    voxel = _MAP_VOXEL * cell_edge(median_range)
    origin = poses[numbers[0], :3, 3]  # voxels are counted from near by, see voxel_downsample
    parts, whole = [], []
    for count, n in enumerate(numbers, 1):
        points = transform_points(poses[n], index.scan(n).astype(np.float64))
        parts.append(points[stable.hold(points)] - origin)
        if count % 100 == 0:  # so that memory does not grow with the number of scans
            whole = [voxel_downsample(np.concatenate([*whole, *parts]), voxel)]
            parts = []
    return voxel_downsample(np.concatenate([*whole, *parts]), voxel) + origin


def take_drift_out(index, poses, median_range, quiet=False):
    """
    Correct poses of drifting odometry: each scan is aligned with the map of those before.

    Scan-to-map registration (VGICP of small_gicp) from where odometry says; loops are not closed.

    :param poses: (N, 4, 4) of odometry.
    :return: (N, 4, 4), the first one unchanged.
    """
    import small_gicp

    edge = cell_edge(median_range)
    world = small_gicp.GaussianVoxelMap(3 * edge)
    frame = LocalFrame(poses[0, :3, 3])  # voxels are counted from near by
    poses = inverse(frame.transform) @ poses
    corrected = []
    for n in tqdm(
        range(len(index)),
        'taking drift out',
        unit='scan',
        disable=quiet or None,
        leave=False,
        mininterval=1,
    ):
        points = index.scan(n).astype(np.float64)
        cloud, _ = small_gicp.preprocess_points(points, edge, num_threads=1)
        pose = poses[0]
        if n:
            pose = corrected[-1] @ inverse(poses[n - 1]) @ poses[n]
            for reach in _LEVELS:
                found = small_gicp.align(
                    world,
                    cloud,
                    pose,
                    max_correspondence_distance=reach * edge,
                    num_threads=1,
                    max_iterations=20,
                )
                moved = np.array(found.T_target_source)
                if is_rigid(moved) and found.num_inliers > 0.3 * cloud.size():
                    pose = moved
        world.insert(cloud, pose)
        corrected.append(pose)
    return frame.transform @ np.array(corrected)
