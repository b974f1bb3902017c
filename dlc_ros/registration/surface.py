"""A cloud made ready for nearest-neighbour work: reduced, with search tree and normals."""

import os
from functools import cached_property

import numpy as np
import small_gicp

from dlc_ros.errors import CloudError, ParameterError
from dlc_ros.registration.cloud import cloud_radius, one_in_voxel, voxel_downsample

# Neighbours of the pitch, of the roughness and of a normal: enough for a stable plane, few enough
# to stay on one face.
_NEIGHBOURS = 10
# Where the points stray from their planes by a larger share of the pitch, normals take more, by
# its square: the patch must be wide beside the noise. On noisy solids that halves the error.
_STRAY = 0.25
_MOST_NEIGHBOURS = 40
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
# Points without which there is no surface, and the share of their coordinates that they must
# spread over: rounding alone makes less of points that coincide.
_LEAST = 3
_SPREAD = 1e-12
# Points whose neighbourhoods are looked at together: those of a map at once fill the memory.
_AT_ONCE = 50_000
# The process whose threads OpenMP knows, see :func:`usable_threads`.
_PROCESS = os.getpid()


class Surface:
    """
    Reduced cloud in a local frame with its kd-tree, normals and GICP covariances.

    :ivar points: (N, 3) float64 [m].
    :ivar normals: (N, 3) float64 unit normals of arbitrary sign; zero where fewer than five
        neighbours exist. Where all neighbours are of one scan line, those of the thinned cloud.
    :ivar pitch: edge of the square of surface that one point stands for [m], > 0.
    :ivar roughness: standard deviation of the points about their local planes [m]: noise, and
        what curvature looks like at this pitch.
    :ivar radius: root mean square distance from the centroid [m].
    """

    def __init__(self, points, voxel_size=0.0, max_points=50_000, threads=1, means=True):
        """
        Reduce the points and build tree and normals.

        The mean of a voxel has less noise than its points, but near an edge it lies inside of it:
        clouds of means are pulled off each other's place by centimetres in a room. So what is
        moved should hold points, and what it is moved onto, densely, means.

        :param points: (N, 3) float64 in a local frame [m], at least 3 distinct ones.
        :param voxel_size: voxel edge [m]; 0 keeps every point up to ``max_points`` and picks the
            edge that leaves about ``max_points`` above that.
        :param max_points: see ``voxel_size``.
        :param threads: CPU threads; with one the result is reproducible to the bit.
        :param means: a voxel leaves the mean of its points, else one of them.
        :raises ParameterError: the voxels are as large as the cloud.
        :raises CloudError: as good as all points coincide.
        """
        points, threads = np.asarray(points, dtype=np.float64), usable_threads(threads)
        reduce = voxel_downsample if means else one_in_voxel
        if voxel_size > 0.0:
            given, points = len(points), reduce(points, voxel_size)
            if len(points) < _LEAST:
                raise ParameterError(
                    f'voxel_size: {voxel_size:g} m leaves {len(points)} of {given} points, no'
                    ' surface; choose a smaller one, or 0'
                )
        elif len(points) > max_points:
            points = thin(points, max_points, reduce)
        self._whole, self._inside = None, None
        patches = self._measure(points, threads)
        strays = self.roughness / self.pitch / _STRAY
        count = int(np.clip(_NEIGHBOURS * strays**2, _NEIGHBOURS, _MOST_NEIGHBOURS))
        small_gicp.estimate_normals_covariances(
            self.cloud, self.tree, num_neighbors=count, num_threads=threads
        )
        self.normals = self.cloud.normals()[:, :3]
        lines = _are_lines(patches[:, :_NEIGHBOURS])
        if len(self) > _EVENED * _FEWEST and lines.mean() > _LINES:
            self._mend_normals()

    def part(self, inside):
        """
        Some of the points as a surface of their own, which costs no new normals.

        Their normals, and the whole that ICP moves a source onto, are those of this surface.

        :param inside: (N,) bool.
        :returns: :class:`Surface`; itself if all points are inside.
        :raises CloudError: they are fewer than 3, or coincide.
        """
        if inside.all():
            return self
        part = Surface.__new__(Surface)
        part._whole, part._inside = self, np.flatnonzero(inside)
        part._measure(self.points[inside], 1)
        part.normals = self.normals[inside]
        return part

    @property
    def whole(self):
        """The surface that this one is a part of; itself if it is none."""
        return self if self._whole is None else self._whole

    def _measure(self, points, threads):
        """Build the tree, measure pitch and roughness; neighbourhoods (M, K, 3) of some points."""
        self.points = np.ascontiguousarray(points)
        self.radius = cloud_radius(self.points) if len(points) else 0.0
        if len(points) < _LEAST or self.radius <= _SPREAD * np.abs(points).max():
            raise CloudError(f'{len(points)} points in one place are no surface; give others')
        self.cloud = small_gicp.PointCloud(self.points)
        self.tree = small_gicp.KdTree(self.cloud, num_threads=threads)
        some = sample(len(self.points), _SAMPLES)
        # k neighbours fill a disc of area k pitch^2. Coincident points must not make it zero.
        k = min(_NEIGHBOURS, len(self.points) - 1)
        patches, reach = self._neighbourhoods(some, k + 1)
        self.pitch = max(float(np.sqrt(np.pi * np.median(reach) / k)), 1e-6 * self.radius)
        self.roughness = float(np.median(_thickness(patches)))
        return patches

    def __len__(self):
        return len(self.points)

    def thickness(self, every):
        """
        How far points stray from the planes through their neighbourhoods.

        :param every: slice of the points.
        :returns: (M,) standard deviations [m].
        """
        return _thickness(self._neighbourhoods(every, min(_NEIGHBOURS + 1, len(self)))[0])

    def _neighbourhoods(self, every, count):
        """The (M, count, 3) points nearest to those of a slice, squared distance of the last."""
        indices, squared = self.tree.batch_knn_search(self.points[every], count)
        return self.points[indices.astype(np.int64)], squared[:, -1]

    def _mend_normals(self):
        """Take the normals on scan lines from a thinned cloud, where lines have neighbours."""
        starts = range(0, len(self), _AT_ONCE)
        lines = np.concatenate(
            [
                _are_lines(self._neighbourhoods(slice(start, start + _AT_ONCE), _NEIGHBOURS)[0])
                for start in starts
            ]
        )
        even = Surface(self.points, max_points=len(self) // _EVENED)
        self.normals = self.normals.copy()
        self.normals[lines] = even.normals[even.nearest(self.points[lines])[0]]

    def nearest(self, queries, limit=np.inf):
        """
        Nearest point of this surface for each query.

        :param queries: (M, 3) float64 [m].
        :param limit: distance [m] from which it does not matter which one that is: a search from
            far off looks at nearly all points.
        :returns: indices (M,) int64, distances (M,) float64 [m]; 0 and infinity for queries that
            are farther off than ``limit`` for certain.
        """
        lower, upper = self._box
        outside = np.maximum(lower - queries, queries - upper).max(axis=1) > limit
        if not outside.any():
            indices, squared = self.tree.batch_knn_search(queries, 1)
            return indices[:, 0].astype(np.int64), np.sqrt(squared[:, 0])
        indices, distances = np.zeros(len(queries), np.int64), np.full(len(queries), np.inf)
        if not outside.all():
            indices[~outside], distances[~outside] = self.nearest(queries[~outside])
        return indices, distances

    def thinned(self, max_points):
        """A surface of about ``max_points`` of its points, or itself if it has hardly more."""
        if len(self) < 1.5 * max_points:
            return self
        return Surface(self.points, max_points=max_points)

    @cached_property
    def _box(self):
        """Lower and upper corner (3,) of all points."""
        return self.points.min(axis=0), self.points.max(axis=0)

    @cached_property
    def open3d(self):
        """The same points, normals and covariances as an ``open3d.geometry.PointCloud``."""
        import open3d

        cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(self.points))
        cloud.normals = open3d.utility.Vector3dVector(self.normals)
        cloud.covariances = open3d.utility.Matrix3dVector(self._covariances)
        return cloud

    @cached_property
    def _covariances(self):
        """GICP covariances (N, 3, 3)."""
        if self._whole is not None:
            return self._whole._covariances[self._inside]
        return np.ascontiguousarray(np.asarray(self.cloud.covs())[:, :3, :3])


def usable_threads(count):
    """
    Threads among which OpenMP may share work out: one in a fork, which waits forever for others.

    :param count: threads that are wanted.
    :returns: int, ``count`` in the process that loaded this.
    """
    return count if os.getpid() == _PROCESS else 1


def _are_lines(patches):
    """Whether points (M, K, 3) lie on one line each, (M,)."""
    squares = _sums_of_squares(patches)
    return squares[:, 1] < _LINE * squares[:, 2]


def _thickness(patches):
    """Standard deviations (M,) of points (M, K, 3) about their planes."""
    # A plane takes three of the points' degrees of freedom.
    return np.sqrt(np.maximum(_sums_of_squares(patches)[:, 0], 0.0) / max(patches.shape[1] - 3, 1))


def _sums_of_squares(patches):
    """
    Sums of squares (M, 3) of points (M, K, 3) about their means along their main axes, ascending.

    The eigenvalues of 3 x 3 matrices in closed form (O. K. Smith, "Eigenvalues of a symmetric 3 x
    3 matrix", Communications of the ACM 1961), which takes an eighth of the time of LAPACK's.
    """
    x, y, z = np.moveaxis(patches - patches.mean(axis=1, keepdims=True), 2, 0)
    diagonal = np.stack([np.einsum('mk,mk->m', axis, axis) for axis in (x, y, z)])
    xy, xz, yz = (np.einsum('mk,mk->m', *axes) for axes in ((x, y), (x, z), (y, z)))
    mean = diagonal.mean(axis=0)
    xx, yy, zz = diagonal - mean
    scale = np.sqrt((xx**2 + yy**2 + zz**2 + 2.0 * (xy**2 + xz**2 + yz**2)) / 6.0)
    determinant = xx * (yy * zz - yz**2) - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)
    cosine = determinant / np.maximum(2.0 * scale**3, 1e-300)
    angle = np.arccos(np.clip(cosine, -1.0, 1.0)) / 3.0
    largest = mean + 2.0 * scale * np.cos(angle)
    smallest = mean + 2.0 * scale * np.cos(angle + 2.0 * np.pi / 3.0)
    return np.stack([smallest, 3.0 * mean - smallest - largest, largest], axis=1)


def sample(size, count):
    """Slice that takes at most ``count`` of ``size`` points, at even steps."""
    return slice(None, None, max(1, -(-size // count)))


def thin(points, max_points, reduce=voxel_downsample):
    """
    One point a voxel, with the voxel edge that leaves about ``max_points`` or fewer.

    :param points: (N, 3) [m].
    :param max_points: wanted size; the result has at most about 1.1 times as many.
    :param reduce: function of points and an edge [m].
    :returns: (M, 3) float64.
    """
    # A few points a voxel do; by chance, not by stride: scans come in rows.
    if len(points) > 2 * _PER_VOXEL * max_points:
        rng = np.random.default_rng(0)
        points = points[rng.integers(len(points), size=_PER_VOXEL * max_points)]
    # Voxels of a surface go with the inverse square of the edge, those of a volume with the
    # cube, so the first guess is corrected a few times.
    size = 4.0 * cloud_radius(points) / np.sqrt(max_points)
    reduced = reduce(points, size)
    for _ in range(8):
        ratio = len(reduced) / max_points
        if 0.6 < ratio < 1.1:
            break
        size *= np.sqrt(max(ratio, 0.1) / 0.8)
        reduced = reduce(points, size)
    return reduced
