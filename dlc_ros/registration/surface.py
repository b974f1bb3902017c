"""A cloud made ready for nearest-neighbour work: reduced, with search tree and normals."""

import numpy as np
import small_gicp

from dlc_ros.registration.cloud import cloud_radius, voxel_downsample

# Neighbours of a normal and of the pitch: enough for a stable plane through noisy points, few
# enough to stay on one face.
_NEIGHBOURS = 10
# Points whose neighbourhoods estimate the pitch; a median of this many is steady.
_PITCH_SAMPLES = 1000


class Surface:
    """
    Reduced cloud in a local frame with its kd-tree, normals and GICP covariances.

    :ivar points: (N, 3) float64 [m].
    :ivar normals: (N, 3) float64 unit normals of arbitrary sign; zero where fewer than five
        neighbours exist.
    :ivar pitch: edge of the square of surface that one point stands for [m].
    :ivar radius: root mean square distance from the centroid [m].
    """

    def __init__(self, points, voxel_size=0.0, max_points=50_000, threads=1):
        """
        Reduce the points and build tree and normals.

        :param points: (N, 3) float64 in a local frame [m], at least 3 of them.
        :param voxel_size: voxel edge [m]; 0 keeps every point up to ``max_points`` and picks the
            edge that leaves about ``max_points`` above that.
        :param max_points: see ``voxel_size``.
        :param threads: CPU threads; with one the result is reproducible to the bit.
        """
        points = np.asarray(points, dtype=np.float64)
        if voxel_size > 0.0:
            points = voxel_downsample(points, voxel_size)
        elif len(points) > max_points:
            points = thin(points, max_points)
        self.points = np.ascontiguousarray(points)
        self.cloud = small_gicp.PointCloud(self.points)
        self.tree = small_gicp.KdTree(self.cloud, num_threads=threads)
        small_gicp.estimate_normals_covariances(
            self.cloud, self.tree, num_neighbors=_NEIGHBOURS, num_threads=threads
        )
        self.normals = self.cloud.normals()[:, :3]
        self.radius = cloud_radius(self.points)
        self.pitch = self._pitch()
        self.open3d_cloud = None

    def __len__(self):
        return len(self.points)

    def _pitch(self):
        """Edge of a point's share of surface: k neighbours fill a disc of area k pitch^2."""
        k = min(_NEIGHBOURS, len(self.points) - 1)
        step = max(1, len(self.points) // _PITCH_SAMPLES)
        _, squared = self.tree.batch_knn_search(self.points[::step], k + 1)
        return float(np.sqrt(np.pi * np.median(squared[:, k]) / k))

    def nearest(self, queries):
        """
        Nearest point of this surface for each query.

        :param queries: (M, 3) float64 [m].
        :returns: indices (M,) int64, distances (M,) float64 [m].
        """
        indices, squared = self.tree.batch_knn_search(queries, 1)
        return indices[:, 0].astype(np.int64), np.sqrt(squared[:, 0])


def thin(points, max_points):
    """
    Voxel means of a cloud, with the voxel edge that leaves about ``max_points`` or fewer.

    :param points: (N, 3) [m].
    :param max_points: wanted size; the result has at most about 1.1 times as many.
    :returns: (M, 3) float64.
    """
    # Voxels of a surface go with the inverse square of the edge; a volume falls short of
    # max_points, and a second pass corrects what the first guess left too many.
    size = 4.0 * cloud_radius(points) / np.sqrt(max_points)
    reduced = voxel_downsample(points, size)
    for _ in range(8):
        ratio = len(reduced) / max_points
        if 0.6 < ratio < 1.1:
            break
        size *= np.sqrt(max(ratio, 0.1) / 0.8)
        reduced = voxel_downsample(points, size)
    return reduced
