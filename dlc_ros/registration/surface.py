"""A cloud made ready for nearest-neighbour work: reduced, with search tree and normals."""

from functools import cached_property

import numpy as np
import small_gicp

from dlc_ros.registration.cloud import cloud_radius, voxel_downsample

# Neighbours of a normal, of the pitch and of the roughness: enough for a stable plane through
# noisy points, few enough to stay on one face.
_NEIGHBOURS = 10
# Points at which pitch and roughness are measured; a median of this many is steady.
_SAMPLES = 700
# Points that a voxel of a thinned cloud averages.
_PER_VOXEL = 6
# Neighbours that spread less than this across their main direction than along it (variances) are
# a piece of one scan line: a plane through them may turn about the line.
_LINE = 0.03
# Share of such points from which a cloud counts as scan lines, and the thinning that is tried.
_LINES = 0.02
_EVENED = 4
_FEWEST = 60


class Surface:
    """
    Reduced cloud in a local frame with its kd-tree, normals and GICP covariances.

    :ivar points: (N, 3) float64 [m].
    :ivar normals: (N, 3) float64 unit normals of arbitrary sign; zero where fewer than five
        neighbours exist. Where all neighbours are of one scan line, those of the thinned cloud.
    :ivar pitch: edge of the square of surface that one point stands for [m], > 0.
    :ivar roughness: standard deviation of the points about their local planes [m]: noise, and
        what curvature looks like at this pitch.
    :ivar averaged: whether the points are means of voxels.
    :ivar radius: root mean square distance from the centroid [m].
    """

    def __init__(self, points, voxel_size=0.0, max_points=50_000, threads=1):
        """
        Reduce the points and build tree and normals.

        :param points: (N, 3) float64 in a local frame [m], at least 3 distinct ones.
        :param voxel_size: voxel edge [m]; 0 keeps every point up to ``max_points`` and picks the
            edge that leaves about ``max_points`` above that.
        :param max_points: see ``voxel_size``.
        :param threads: CPU threads; with one the result is reproducible to the bit.
        """
        points = np.asarray(points, dtype=np.float64)
        self.averaged = voxel_size > 0.0 or len(points) > max_points
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
        # k neighbours fill a disc of area k pitch^2. Coincident points must not make it zero.
        k = min(_NEIGHBOURS, len(self.points) - 1)
        some = sample(len(self.points), _SAMPLES)
        spread, reach = self._neighbourhoods(some, k + 1)
        self.pitch = max(float(np.sqrt(np.pi * np.median(reach) / k)), 1e-6 * self.radius)
        # The plane through k + 1 points takes three of their degrees of freedom.
        self.roughness = float(np.sqrt(max(np.median(spread[:, 0]), 0.0) / max(k - 2, 1)))
        if len(self) > _EVENED * _FEWEST and self._on_lines(some).mean() > _LINES:
            self._mend_normals()

    def __len__(self):
        return len(self.points)

    def _neighbourhoods(self, every, count):
        """
        Shape of the neighbourhoods of ``count`` points about those of a slice.

        :returns: (M, 3) sums of squares across and along the surface, ascending; (M,) squared
            distance of the last neighbour.
        """
        indices, squared = self.tree.batch_knn_search(self.points[every], count)
        patches = self.points[indices.astype(np.int64)]
        patches = patches - patches.mean(axis=1, keepdims=True)
        return np.linalg.eigvalsh(patches.transpose(0, 2, 1) @ patches), squared[:, -1]

    def _on_lines(self, every):
        """Which points of a slice have only neighbours along a line."""
        spread, _ = self._neighbourhoods(every, _NEIGHBOURS)
        return spread[:, 1] < _LINE * spread[:, 2]

    def _mend_normals(self):
        """Take the normals on scan lines from a thinned cloud, where lines have neighbours."""
        lines = self._on_lines(slice(None))
        even = Surface(self.points, max_points=len(self) // _EVENED)
        self.normals = self.normals.copy()
        self.normals[lines] = even.normals[even.nearest(self.points[lines])[0]]

    def nearest(self, queries):
        """
        Nearest point of this surface for each query.

        :param queries: (M, 3) float64 [m].
        :returns: indices (M,) int64, distances (M,) float64 [m].
        """
        indices, squared = self.tree.batch_knn_search(queries, 1)
        return indices[:, 0].astype(np.int64), np.sqrt(squared[:, 0])

    def thinned(self, max_points):
        """A surface of about ``max_points`` of its points, or itself if it has hardly more."""
        if len(self) < 1.5 * max_points:
            return self
        return Surface(self.points, max_points=max_points)

    @cached_property
    def open3d(self):
        """The same points, normals and covariances as an ``open3d.geometry.PointCloud``."""
        import open3d

        cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(self.points))
        cloud.normals = open3d.utility.Vector3dVector(self.normals)
        covariances = np.ascontiguousarray(np.asarray(self.cloud.covs())[:, :3, :3])
        cloud.covariances = open3d.utility.Matrix3dVector(covariances)
        return cloud


def sample(size, count):
    """Slice that takes at most ``count`` of ``size`` points, at even steps."""
    return slice(None, None, max(1, -(-size // count)))


def thin(points, max_points):
    """
    Voxel means of a cloud, with the voxel edge that leaves about ``max_points`` or fewer.

    :param points: (N, 3) [m].
    :param max_points: wanted size; the result has at most about 1.1 times as many.
    :returns: (M, 3) float64.
    """
    # A few points a voxel make a mean; by chance, not by stride: scans come in rows.
    if len(points) > 2 * _PER_VOXEL * max_points:
        share = _PER_VOXEL * max_points / len(points)
        points = points[np.random.default_rng(0).random(len(points)) < share]
    # Voxels of a surface go with the inverse square of the edge, those of a volume with the
    # cube, so the first guess is corrected a few times.
    size = 4.0 * cloud_radius(points) / np.sqrt(max_points)
    reduced = voxel_downsample(points, size)
    for _ in range(8):
        ratio = len(reduced) / max_points
        if 0.6 < ratio < 1.1:
            break
        size *= np.sqrt(max(ratio, 0.1) / 0.8)
        reduced = voxel_downsample(points, size)
    return reduced
