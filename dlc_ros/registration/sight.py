"""
What a cloud proves to be empty: a ray that hits something has crossed nothing before.

A wall of the reference that would stand before what the sensor saw contradicts a pose however
well the rest fits. After H. Moravec and A. Elfes, "High Resolution Maps from Wide Angle Sonar",
ICRA 1985: free space is evidence as well.
"""

import numpy as np
from scipy.ndimage import minimum_filter

# Width of the directions that are told apart [rad]: narrower ones leave gaps between the rings of
# a LiDAR, wider ones see past the edges of what stands in front.
_WIDTH = np.radians(2.0)
_SHAPE = round(2.0 * np.pi / _WIDTH), round(np.pi / _WIDTH)


class Sight:
    """How far a sensor saw in each direction, at least."""

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
