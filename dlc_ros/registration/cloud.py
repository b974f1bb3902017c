"""Checking a cloud before anything is computed from it, and reducing it."""

from dataclasses import dataclass
from os import PathLike

import numpy as np
from scipy.spatial import cKDTree

from dlc_ros.errors import CloudError
from dlc_ros.registration.se3 import make_transform
from dlc_ros.registration.units import unit_mismatch

# A spread across the main axis below this share of the spread along it is a line: no rotation
# about it can be told. Float32 coordinates of a true line leave about 1e-7.
_LINE = 1e-4
# Spread of a cloud in typical distances from its middle, from which few points make it; and
# distance of its farthest point in those of all but one in a hundred, from which it is a stray.
_FAR_OFF = 30.0
_STRAY = 10.0
# Points far off that are another part of a place and no strays: to fewer nothing is registered.
_COMPANY = 30
# Share of a cloud that strays are at most; where more lies far off, the middle is none.
_FEW = 0.1
# Points that mostly show by themselves that they do not lie on one line.
_SOME = 1_000
# Step between neighbouring float32 coordinates, as a share of a cloud's extent, from which they
# are too coarse for a registration.
_ROUNDED = 3e-3
# Voxels, empty ones included, of which a table is kept; beyond, the occupied ones are sorted.
_TABLE = 2_000_000
# Largest coordinate [m]: millimetres at the earth's centre pass, garbage bits mostly do not.
_LARGEST = 1e11


def validate_cloud(points, min_points=30, name='cloud'):
    """
    Finite points of a cloud as a fresh float64 array; rows with NaN or Inf are dropped.

    A plane passes (its registration may come out DEGENERATE); points on one line or in one place
    do not, since no rotation follows from them.

    :param points: (N, 3) array-like of numbers [m]; rows with masked numbers are dropped as well.
    :param min_points: fewest finite points.
    :param name: what the message calls the cloud.
    :returns: (M, 3) float64, C-contiguous, no NaN or Inf.
    :raises CloudError: not (N, 3), not real numbers, empty, too few finite points, all on one
        line or in one place, float32 that is too coarse so far from the origin.
    """
    try:
        array = np.asanyarray(points)
    except (ValueError, TypeError, RuntimeError) as error:  # the latter two of torch's tensors
        said = ' '.join(str(error).split())
        raise CloudError(f'{name}: not an (N, 3) array of numbers: {said}') from None
    if array.dtype.kind not in 'fiu':
        raise CloudError(f'{name}: {_no_numbers(points, array)}')
    if array.size == 0:
        raise CloudError(f'{name}: empty; at least {min_points} points are needed')
    if array.ndim != 2 or array.shape[1] != 3:
        raise CloudError(f'{name}: expected shape (N, 3), got {array.shape}{_remedy(array.shape)}')
    single = array.dtype.itemsize == 4 and array.dtype.kind == 'f'
    mask = np.ma.getmaskarray(array) if np.ma.isMaskedArray(array) else None
    with np.errstate(invalid='ignore'):  # a signalling NaN is dropped like any other
        array = np.array(array, dtype=np.float64, order='C')
    if mask is not None:  # what lies under it is no number
        array[mask] = np.nan
    given = len(array)
    finite = np.isfinite(array)
    if not finite.all():
        array = array[finite.all(axis=1)]
    if len(array) < min_points:
        dropped = f' ({given - len(array)} of {given} are NaN or Inf)'
        raise CloudError(
            f'{name}: {len(array)} finite points{dropped if len(array) < given else ""}, at least'
            f' {min_points} are needed'
        )
    magnitude = max(array.max(), -array.min())
    _refuse_line(array, magnitude, name)
    if single:
        _refuse_rounded(array, magnitude, name)
    return array


def _no_numbers(points, array):
    """What is wrong with an array of something else, and what makes (N, 3) numbers of it."""
    if array.dtype.names:
        missing = [axis for axis in 'xyz' if axis not in array.dtype.names]
        if missing:
            return (
                f'a structured array without a field {" ".join(missing)}; pass an (N, 3) float'
                ' array'
            )
        return (
            'a structured array; pass its coordinates,'
            " np.column_stack([cloud['x'], cloud['y'], cloud['z']])"
        )
    if isinstance(points, (str, PathLike)):
        return 'a file name is no array; pass what dlc_ros.read_cloud makes of it'
    if array.ndim == 0 and hasattr(points, 'points'):
        return f'a {type(points).__name__} is no array; pass its points, np.asarray(cloud.points)'
    return f'coordinates must be real numbers, got dtype {array.dtype}; pass an (N, 3) float array'


def _remedy(shape):
    """What makes (N, 3) of an array of another shape, where that is likely."""
    if len(shape) != 2 or shape[1] <= 3:
        return ''
    return '; pass points.T' if shape[0] == 3 else '; pass points[:, :3]'


def _refuse_line(points, magnitude, name):
    """Raise CloudError if the points, none farther out, lie in one place or on one line."""
    if magnitude > _LARGEST:
        raise CloudError(f'{name}: coordinates up to {magnitude:.3g} m are out of range')
    # All spread across at least as much as some of them alone would.
    some = points[:: max(1, len(points) // _SOME)]
    centered = some - centroid(some)
    across = np.linalg.eigvalsh(centered.T @ centered / len(points))[1]
    if across > 3.0 * (_LINE * magnitude) ** 2:  # no spread exceeds the farthest corner
        return
    centered = points - centroid(points)
    spread = np.sqrt(np.maximum(np.linalg.eigvalsh(centered.T @ centered / len(points)), 0.0))
    if spread[2] <= 1e-12 * max(magnitude, 1e-300):
        raise CloudError(f'{name}: all {len(points)} points coincide')
    if spread[1] < _LINE * spread[2]:
        far = few_far_off(points)
        raise CloudError(f'{name}: {far or f"all {len(points)} points lie on one line"}')


def _refuse_rounded(points, magnitude, name):
    """Raise CloudError if float32 cannot tell where in the cloud its points lie."""
    step = float(np.spacing(np.float32(magnitude)))
    # The cloud extends at least as far as some of it.
    if step <= _ROUNDED * np.ptp(points[:: max(1, len(points) // _SOME)], axis=0).max():
        return
    extent = float(np.ptp(points, axis=0).max())
    if step > _ROUNDED * extent:
        raise CloudError(
            f'{name}: float32 coordinates up to {magnitude:.3g} m are rounded to {step:.2g} m, the'
            f' cloud is {extent:.3g} m large; pass float64, or subtract an offset before'
        )


def centroid(points):
    """
    Mean of (N, 3) points, (3,).

    As a product, which takes a tenth of the time of numpy's mean of long thin arrays.
    """
    return np.ones(len(points)) @ points / len(points)


def cloud_radius(points):
    """
    Root mean square distance of the points from their centroid.

    :param points: (N, 3) [m].
    :returns: float [m].
    """
    centred = (points - centroid(points)).ravel()
    return float(np.sqrt(centred @ centred / len(points)))


def few_far_off(points):
    """
    Sentence about few points that lie far from the rest, or '' without such.

    :param points: (N, 3) [m].
    """
    _, away, limit = _far_off(points)
    if away.max() <= limit:
        return ''
    return f'few of its points lie up to {away.max():.3g} m from the rest; remove them'


def box_without_strays(points):
    """
    Box about a cloud that leaves out points which lie far off and alone.

    Points far off that have others beside them are another part of the place, and so within.

    :param points: (N, 3) [m], evenly spread as those of a thinned cloud are.
    :returns: its lowest and its highest corner, (3,) each [m]; well outside of the cloud where
        nothing is far off, and infinite where more than a few points are.
    """
    middle, away, limit = _far_off(points)
    low, high = middle - limit, middle + limit
    # Of points in one place, such as zeros for what was not measured, one counts.
    far = np.unique(points[away > limit], axis=0)
    if len(far) >= _COMPANY:
        company, _ = cKDTree(far).query(far, k=[_COMPANY])
        far = far[company[:, 0] <= limit]
        margin = limit / _STRAY
        low = np.minimum(low, far.min(axis=0, initial=np.inf) - margin)
        high = np.maximum(high, far.max(axis=0, initial=-np.inf) + margin)
    if ((points < low) | (points > high)).any(axis=1).mean() > _FEW:
        return np.full(3, -np.inf), np.full(3, np.inf)
    return low, high


def _far_off(points):
    """Middle (3,) of (N, 3) points, their distances from it (N,), and from where on it is far."""
    middle = np.median(points, axis=0)
    away = np.linalg.norm(points - middle, axis=1)
    typical, limit = np.median(away), _STRAY * np.quantile(away, 0.99)
    if np.sqrt(np.mean(away**2)) >= _FAR_OFF * typical:
        limit = min(limit, _FAR_OFF * typical)
    return middle, away, limit


def size_mismatch(source, target, target_radius):
    """
    Sentence that says why two clouds have sizes that cannot be, or '' when they are plausible.

    :param source: (N, 3) [m].
    :param target: (M, 3) [m]; it may be a thinned one.
    :param target_radius: :func:`cloud_radius` of the whole target [m].
    """
    source_radius = cloud_radius(source)
    sentence = unit_mismatch(source_radius, target_radius)
    if not sentence:
        return ''
    name, larger = 'source', source
    if target_radius > source_radius:
        name, larger = 'target', target
    far = few_far_off(larger)
    return f'{name}: {far}' if far else sentence


@dataclass(frozen=True)
class LocalFrame:
    """
    A frame with the axes of the given one and its origin inside the cloud.

    Coordinates far from the origin (UTM: 5e6 m) lose half a metre in float32 and the lever arm
    makes a Hessian about the far origin useless; in the local frame neither happens.

    :param origin: (3,) float64, position of the local frame in the given one [m].
    """

    origin: np.ndarray

    @classmethod
    def of(cls, points):
        """Local frame at the centroid of (N, 3) points."""
        return cls(centroid(points))

    @property
    def transform(self):
        """(4, 4) ``T_given_local``."""
        return make_transform(translation=self.origin)

    def localize(self, points):
        """(N, 3) given coordinates -> (N, 3) float64 local ones."""
        return points - self.origin


def voxel_downsample(points, voxel_size):
    """
    One point, the mean, for each occupied voxel.

    :param points: (N, 3) [m] in a local frame.
    :param voxel_size: edge [m]; 0 or less returns the points as they are.
    :returns: (M, 3) float64, M <= N, deterministic.
    """
    import small_gicp

    points = np.asarray(points, dtype=np.float64)
    if voxel_size <= 0.0 or len(points) == 0:
        return points
    # small_gicp drops points whose voxel index leaves 21 bits, and all of them when 1 / edge
    # does: so no finer than that, and in units of the edge.
    edge = max(voxel_size, 1.01 * np.abs(points).max() / (1 << 20))
    return small_gicp.voxelgrid_sampling(points / edge, 1.0).points()[:, :3] * edge


def one_in_voxel(points, voxel_size):
    """
    One of the points in each occupied voxel, by chance, and the same at every call.

    The first one in the order of a scan would be one that noise moved into the voxel, always from
    the same side: that pulls a pose by half of the noise.

    :param points: (N, 3) [m] in a local frame.
    :param voxel_size: edge [m], > 0.
    :returns: (M, 3) float64, M <= N, neighbours near each other: searches for the neighbours of
        one after the other then find them in the processor's cache.
    """
    points = np.asarray(points, dtype=np.float64)
    if len(points) == 0:
        return points
    cells = np.floor((points - points.min(axis=0)) * (1.0 / voxel_size)).astype(np.int64)
    shape = cells.max(axis=0) + 1
    order = np.random.default_rng(0).permutation(len(points))
    if np.prod(shape.astype(np.float64)) < _TABLE:
        keys = (cells[:, 0] * shape[1] + cells[:, 1]) * shape[2] + cells[:, 2]
        table = np.full(np.prod(shape), -1)
        table[keys[order]] = order  # of several indices in one voxel the last stays
        kept = table[table >= 0]
    else:
        kept = order[np.unique(cells[order], axis=0, return_index=True)[1]]
    return points[kept]


def farthest_points(points, count, seed=0):
    """
    Indices of points spread over the cloud: each is the farthest from those chosen before.

    :param points: (N, 3) [m].
    :param count: how many; all of them (shuffled by distance) when there are no more.
    :param seed: picks the first point.
    :returns: (min(count, N),) int64, distinct.
    """
    points = np.ascontiguousarray(points, dtype=np.float32)
    count = min(int(count), len(points))
    chosen = np.empty(count, dtype=np.int64)
    if count == 0:
        return chosen
    x, y, z = np.ascontiguousarray((points - points.mean(axis=0)).T)
    index = int(np.random.default_rng(seed).integers(len(points)))
    nearest = np.full(len(points), np.inf, dtype=np.float32)
    distance, square = np.empty_like(nearest), np.empty_like(nearest)
    for i in range(count):
        chosen[i] = index
        np.subtract(x, x[index], out=distance)
        np.multiply(distance, distance, out=distance)
        for axis in (y, z):
            np.subtract(axis, axis[index], out=square)
            np.multiply(square, square, out=square)
            np.add(distance, square, out=distance)
        np.minimum(nearest, distance, out=nearest)
        nearest[index] = -1.0  # coincident points stay distinct indices
        index = int(nearest.argmax())
    return chosen
