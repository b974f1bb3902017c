"""
Where a cloud may lie once its rotation is guessed: every shift is tried.

All shifts of one turn are one correlation of two grids of occupied cells, a product in the
frequency domain: no start, no gradient, nothing to get stuck in. After E. Olson, "Real-Time
Correlative Scan Matching", ICRA 2009, with shifts in space instead of on the floor.
"""

import numpy as np
from scipy.fft import irfftn, next_fast_len, rfftn
from scipy.ndimage import gaussian_filter

# Cells along the radius of the clouds, and along a side of the grid at most.
_CELLS = 6.0
_MOST_ALONG = 48
# How far the centre of a cloud may lie outside of the target's box, in radii.
_MARGIN = 0.5
# Thickness of a surface in cells (standard deviation).
_THICK = 0.8
# Shifts within so many cells of a better one are the same one.
_SAME = 2
# Share of the best overlap below which nothing is proposed, and how many of the best shifts are
# looked at for those that differ.
_LOWEST = 0.3
_POOL = 400


class ShiftSearch:
    """Searches one target for any number of turned clouds of about one size."""

    def __init__(self, target, radius):
        """
        Draw the target's grid.

        :param target: :class:`~dlc_ros.registration.surface.Surface`.
        :param radius: of the clouds [m].
        """
        points = target.points
        self._low = points.min(axis=0) - _MARGIN * radius
        extent = np.ptp(points, axis=0) + 2.0 * _MARGIN * radius
        self.cell = max(radius / _CELLS, float(extent.max()) / _MOST_ALONG)
        sides = np.ceil(extent / self.cell).astype(int) + 1
        self._shape = tuple(next_fast_len(int(side), real=True) for side in sides)
        occupied = np.zeros(self._shape, np.float32)
        occupied[tuple(np.floor((points - self._low) / self.cell).astype(int).T)] = 1.0
        surface = gaussian_filter(occupied, _THICK, truncate=2.0)
        self._spectrum = rfftn(surface / surface.max())

    def best(self, points, count):
        """
        Shifts under which most of a turned cloud lies on the target.

        :param points: (N, 3) turned, the origin near their centre [m].
        :param count: how many at most.
        :returns: shifts (P, 3) [m], to within :attr:`cell`, and the share of the occupied cells
            that meet the surface (P,), 0..1; best first, at least one.
        """
        cells = np.unique(np.rint(points / self.cell).astype(int), axis=0)
        cloud = np.zeros(self._shape, np.float32)
        np.add.at(cloud, tuple((cells % self._shape).T), np.float32(1.0 / len(cells)))
        overlaps = irfftn(self._spectrum * rfftn(cloud).conj(), self._shape).ravel()
        pool = np.argsort(-overlaps, kind='stable')[:_POOL]
        pool = pool[overlaps[pool] >= _LOWEST * overlaps[pool[0]]]
        places = np.stack(np.unravel_index(pool, self._shape), axis=1)
        left, chosen = np.ones(len(pool), bool), []
        while len(chosen) < count and left.any():
            first = int(left.argmax())
            chosen.append(first)
            left &= np.abs(places - places[first]).max(axis=1) > _SAME
        shifts = self._low + (places[chosen] + 0.5) * self.cell
        return shifts, overlaps[pool[chosen]].astype(float)
