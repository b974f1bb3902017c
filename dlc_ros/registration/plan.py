"""A reference seen from above, as a search reads it: its walls, and where it is full."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter, maximum_filter

# |z| of a unit normal below which a surface is upright: a wall, not a floor or a ceiling.
_UPRIGHT = 0.5
# Upright points in a cell from which it counts as a wall in full.
_FULL = 2
# Spread of a wall over the cells beside it: what a step of the search is off.
_BLUR = 0.7
_BLUR_GAIN = 2.0
# Height of a wall in cells from which no ray passes above or below it.
_TALL = 6
# Cells of the volume at most; a higher or wider one has coarser cells.
_MOST_CELLS = 16_000_000


def is_upright(normals):
    """Which of (N, 3) unit normals are those of upright surfaces, (N,) bool."""
    return np.abs(normals[:, 2]) < _UPRIGHT


class Plan:
    """
    Images of a reference whose z axis points up.

    :ivar cell: edge of a cell [m].
    :ivar low: (2,) x and y of the corner of the images [m].
    :ivar shape: (2,) int, cells of the images; fast to transform.
    """

    def __init__(self, surface, points, cell, margin):
        """
        Draw the images.

        :param surface: :class:`~dlc_ros.registration.surface.Surface` of the reference.
        :param points: (M, 3) all its points [m].
        :param cell: edge of a cell [m].
        :param margin: width of the empty frame [m], as far as a cloud reaches.
        """
        self.cell = cell
        upright = surface.points[is_upright(surface.normals)]
        self.low = surface.points[:, :2].min(axis=0) - margin
        high = surface.points[:, :2].max(axis=0) + margin
        size = np.ceil((high - self.low) / cell).astype(int)
        self.shape = np.array([fft.next_fast_len(int(n), real=True) for n in size])
        cells = np.floor((upright[:, :2] - self.low) / cell).astype(int)
        flat = np.ravel_multi_index(cells.T, self.shape)
        count = np.bincount(flat, minlength=self.shape.prod()).reshape(self.shape)
        walls = np.minimum(count / _FULL, 1.0).astype(np.float32)
        walls = np.minimum(_BLUR_GAIN * gaussian_filter(walls, _BLUR), 1.0)
        top, bottom = (np.full(self.shape.prod(), end) for end in (-np.inf, np.inf))
        np.maximum.at(top, flat, upright[:, 2])
        np.minimum.at(bottom, flat, upright[:, 2])
        tall = (top - bottom > _TALL * cell).reshape(self.shape)
        self._points = points
        self.walls = fft.rfft2(walls)
        self.tall = fft.rfft2(tall.astype(np.float32))

    def correlate(self, walls, free, weight):
        """
        Score of a cloud's images at every shift.

        :param walls: (X, Y) float32, 1 in the cloud's wall cells, indices from its viewpoint,
            negative ones wrapped around.
        :param free: the same of cells that its rays cross.
        :param weight: of a crossed wall against a met one.
        :returns: (X, Y) float32: walls met, less those crossed, as a share of the cloud's walls;
            by the cell of the viewpoint.
        """
        product = self.walls * np.conj(fft.rfft2(walls))
        product -= weight * self.tall * np.conj(fft.rfft2(free))
        return fft.irfft2(product, s=self.shape) / max(walls.sum(), 1.0)

    @cached_property
    def volume(self):
        """:class:`Volume` of all points."""
        return Volume.of(self._points, self.cell)


@dataclass(frozen=True)
class Volume:
    """
    Which cells of space hold points.

    :param cell: edge [m].
    :param low: (3,) corner [m].
    :param full: (X, Y, Z) uint8, 1 where points are; the outermost cells are empty.
    :param near: (X, Y, Z) uint8, 2 where points are, 1 beside.
    """

    cell: float
    low: np.ndarray
    full: np.ndarray
    near: np.ndarray

    @classmethod
    def of(cls, points, cell):
        """Fill the cells of (M, 3) points [m]; larger cells where there would be too many."""
        extent = np.ptp(points, axis=0)
        cell = max(cell, float(np.cbrt(np.prod(extent + cell) / _MOST_CELLS)))
        low = points.min(axis=0) - 2.0 * cell
        full = np.zeros(np.floor((points.max(axis=0) - low) / cell).astype(int) + 3, np.uint8)
        full[tuple(np.floor((points - low) / cell).astype(int).T)] = 1
        near = full + maximum_filter(full, 3)
        for axis in range(3):
            # Whatever lies outside is looked up here.
            edge = near.swapaxes(0, axis)
            edge[0] = edge[-1] = 0
        return cls(cell, low, full, near)

    def rows(self, across):
        """Index of the column of cells at x and y (..., 2) [m]; see :meth:`take`."""
        cells = np.floor((across - self.low[:2]) / self.cell).astype(np.int32)
        x, y = np.moveaxis(np.clip(cells, 0, np.array(self.full.shape[:2]) - 1), -1, 0)
        return (x * self.full.shape[1] + y) * self.full.shape[2]

    def levels(self, heights):
        """Index of heights z [m] within a column."""
        cells = np.floor((heights - self.low[2]) / self.cell).astype(np.int32)
        return np.clip(cells, 0, self.full.shape[2] - 1)
