"""
Where a cloud may lie once its rotation is guessed: every shift is tried.

All shifts of one turn are one correlation of two grids, a product in the frequency domain: no
start, no gradient, nothing to get stuck in. After E. Olson, "Real-Time Correlative Scan Matching",
ICRA 2009, with shifts in space instead of on the floor. Cells know how the surface lies in them,
since the largest overlap alone is had by laying a cloud across another: that is told from a true
one by the normals.
"""

from itertools import combinations_with_replacement

import numpy as np
from scipy.fft import irfftn, next_fast_len, rfftn
from scipy.ndimage import gaussian_filter

# Cells along the radius of the clouds, and along a side of the grid at most.
_CELLS = 5.0
_MOST_ALONG = 48
# How far the centre of a cloud may lie outside of the target's box, in radii.
_MARGIN = 0.5
# Thickness of a surface in cells (standard deviation).
_THICK = 0.8
# Squared cosine between normals up to which two surfaces count as crossing.
_CROSSING = 0.4
# Shifts within so many cells of a better one are the same one.
_SAME = 2
# Share of the best score below which nothing is proposed, and how many of the best shifts are
# looked at for those that differ.
_LOWEST = 0.3
_POOL = 400
_SPACE = (1, 2, 3)


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
        cells = np.floor((points - self._low) / self.cell).astype(int)
        surface = gaussian_filter(
            _drawn(cells, target.normals, self._shape), (0, *3 * (_THICK,)), truncate=2.0
        )
        self._spectra = rfftn(surface / surface[0].max(), axes=_SPACE)

    def best(self, points, normals, count):
        """
        Shifts under which most of a turned cloud lies along the target's surface.

        :param points: (N, 3) turned, the origin near their centre [m].
        :param normals: (N, 3) likewise, of any sign.
        :param count: how many at most.
        :returns: shifts (P, 3) [m], to within :attr:`cell`, and their scores (P,): the sum over
            occupied cells that meet the surface of how much less than crossing it they do, as a
            share of all of them; best first, none where it would cross at all of them.
        """
        cells = np.rint(points / self.cell).astype(int) % self._shape
        cloud = _drawn(cells, normals, self._shape)
        cloud /= cloud[0].sum()
        cloud[0] *= -_CROSSING
        products = (self._spectra * rfftn(cloud, axes=_SPACE).conj()).sum(axis=0)
        scores = irfftn(products, self._shape).ravel()
        pool = np.argsort(-scores, kind='stable')[:_POOL]
        pool = pool[scores[pool] > _LOWEST * max(scores[pool[0]], 0.0)]
        places = np.stack(np.unravel_index(pool, self._shape), axis=1)
        left, chosen = np.ones(len(pool), bool), []
        while len(chosen) < count and left.any():
            first = int(left.argmax())
            chosen.append(first)
            left &= np.abs(places - places[first]).max(axis=1) > _SAME
        shifts = self._low + (places[chosen] + 0.5) * self.cell
        return shifts, scores[pool[chosen]].astype(float)


def _drawn(cells, normals, shape):
    """
    A cloud on a grid: which cells are occupied, and the mean outer product of their normals.

    :param cells: (N, 3) of the points.
    :returns: (7, ...) float32; the inner product of two cells' last six is the mean squared
        cosine between their normals.
    """
    flat = np.ravel_multi_index(tuple(cells.T), shape)
    counts = np.bincount(flat, minlength=np.prod(shape))
    occupied = np.flatnonzero(counts)
    grid = np.zeros((7, len(counts)), np.float32)
    grid[0, occupied] = 1.0
    for channel, (i, j) in enumerate(combinations_with_replacement(range(3), 2), start=1):
        products = (1.0 if i == j else np.sqrt(2.0)) * normals[:, i] * normals[:, j]
        sums = np.bincount(flat, products, len(counts))
        grid[channel, occupied] = sums[occupied] / counts[occupied]
    return grid.reshape(7, *shape)
