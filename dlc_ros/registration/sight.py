"""
What a cloud proves to be empty: a ray that hits something has crossed nothing before.

A wall of the reference that would stand before what the sensor saw contradicts a pose however
well the rest fits. After H. Moravec and A. Elfes, "High Resolution Maps from Wide Angle Sonar",
ICRA 1985: free space is evidence as well.
"""

import numpy as np
from scipy.ndimage import minimum_filter
from scipy.spatial import KDTree

from dlc_ros.registration.surface import sample

# Width of the directions that are told apart [rad]: narrower ones leave gaps between the rings of
# a LiDAR, wider ones see past the edges of what stands in front.
_WIDTH = np.radians(2.0)
_SHAPE = round(2.0 * np.pi / _WIDTH), round(np.pi / _WIDTH)
# Rays of a view that must surround a point, within so many times their usual distances: a point
# beside the view, or in a hole of it, was not looked at. The nearest range of them counts: a
# ray beside an edge may have gone past it.
_AROUND = 4
_USUAL = 1.5
# Share of the rays of a view that may end elsewhere than the nearest ray, by so many distances
# between its points: at edges they do. Where more do, the cloud shows what lies behind what it
# shows, so it was not seen from there, or not from one point.
_EDGES = 0.3
_APART = 5.0
# Points of a view and of another surface that are looked at: a share is told by that many.
_MEASURED = 500
_LOOKED_AT = 2_000


class Sight:
    """How far a sensor saw in each direction, at least; of a scan all around."""

    def __init__(self, points, viewpoint):
        """
        Take what was seen.

        :param points: (N, 3) of the cloud, its frame [m].
        :param viewpoint: (3,) where it was seen from, same frame [m].
        """
        self._viewpoint = viewpoint
        directions, ranges = self._directions(points)
        nearest = np.full(_SHAPE, np.inf)
        np.minimum.at(nearest, directions, ranges)
        # Beside an edge a direction holds some of what stands in front.
        self._free = minimum_filter(nearest, size=3, mode=('wrap', 'nearest'))
        self._free[np.isinf(nearest)] = np.nan

    def crossed(self, points, margin):
        """
        How much of another surface stands where the sensor looked through.

        :param points: (M, 3) of the other surface in the cloud's frame [m].
        :param margin: how far before what was seen it must stand [m].
        :returns: share of those points that the sensor should have seen, 0..1; 0 where there are
            none.
        """
        directions, ranges = self._directions(points)
        free = self._free[directions]
        # Comparisons with NaN, where nothing was seen, are false.
        visible = np.count_nonzero(ranges < free + margin)
        return np.count_nonzero(ranges < free - margin) / max(visible, 1)

    def _directions(self, points):
        """Directions of points (N, 3) as two arrays of indices (N,), and their ranges (N,) [m]."""
        x, y, z = (points - self._viewpoint).T
        across = np.hypot(x, y)
        azimuth = np.floor((np.arctan2(y, x) + np.pi) / _WIDTH).astype(int) % _SHAPE[0]
        height = np.floor((np.arctan2(z, across) + 0.5 * np.pi) / _WIDTH).astype(int)
        return (azimuth, np.minimum(height, _SHAPE[1] - 1)), np.hypot(across, z)


class View:
    """
    How far a sensor saw along its rays, of a thing that fills a part of what it sees.

    :ivar viewpoint: (3,) where it was seen from, the cloud's frame [m].
    :ivar credible: whether the cloud can have been seen from there.
    """

    @classmethod
    def of(cls, points, viewpoint):
        """
        Take what was seen, if it can have been seen from there.

        :param points: (N, 3) of the cloud, its frame [m].
        :param viewpoint: (3,) where it was seen from, same frame [m].
        :returns: :class:`View`, or None where the cloud shows what lies behind what it shows, or
            hardly anything.
        """
        view = cls(points, viewpoint) if len(points) > _AROUND else None
        return view if view is not None and view.credible else None

    def __init__(self, points, viewpoint):
        """
        Take what was seen.

        :param points: (N, 3) of the cloud, its frame [m], N > 4.
        :param viewpoint: (3,) where it was seen from, same frame [m].
        """
        self.viewpoint = viewpoint
        rays, self._ranges = self._rays(points)
        self._tree = KDTree(rays)
        some = sample(len(rays), _MEASURED)
        gaps, near = self._tree.query(rays[some], k=_AROUND + 1)
        self._width = _USUAL * np.median(gaps[:, -1])
        spacing = np.median(gaps[:, 1] * self._ranges[some])
        steps = np.abs(self._ranges[near[:, 1]] - self._ranges[some])
        self.credible = bool(np.mean(steps > _APART * spacing) < _EDGES)

    def crossed(self, points, margin):
        """
        How much of another surface stands where the sensor looked through.

        :param points: (M, 3) of the other surface in the cloud's frame [m].
        :param margin: how far before what was seen it must stand [m].
        :returns: as that of :class:`Sight`.
        """
        rays, ranges = self._rays(points[sample(len(points), _LOOKED_AT)])
        gaps, near = self._tree.query(rays, k=_AROUND, distance_upper_bound=self._width)
        looked_at = np.isfinite(gaps[:, -1])
        free, ranges = self._ranges[near[looked_at]].min(axis=1), ranges[looked_at]
        visible = np.count_nonzero(ranges < free + margin)
        return np.count_nonzero(ranges < free - margin) / max(visible, 1)

    def _rays(self, points):
        """Unit directions (N, 3) of points from the viewpoint and their ranges (N,) [m]."""
        away = points - self.viewpoint
        ranges = np.linalg.norm(away, axis=1)
        return away / np.maximum(ranges, 1e-12)[:, None], ranges
