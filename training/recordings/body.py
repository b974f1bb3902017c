"""Where a sensor sees its own robot: what stays in place while the sensor moves."""

from dataclasses import dataclass

import numpy as np

_CELL = 0.06
# A cell belongs to the body if so many of the sampled clouds have points in it.
_OFTEN = 0.85
_FEWEST_CLOUDS = 8


@dataclass(frozen=True)
class Body:
    """
    Cells of the sensor's frame that hold the robot itself.

    :param cells: (C,) sorted int64 keys of cells.
    :param reach: none of them lies farther away [m].
    """

    cells: np.ndarray
    reach: float

    def holds(self, points):
        """Which points (N, 3) belong to the robot (N,) bool."""
        near = np.einsum('ij,ij->i', points, points) < self.reach**2
        out = np.zeros(len(points), bool)
        if near.any():
            keys = _keys(points[near])
            place = np.searchsorted(self.cells, keys)
            place = np.minimum(place, len(self.cells) - 1)
            out[near] = self.cells[place] == keys
        return out


class BodyFinder:
    """
    Collects sampled clouds and tells what of them never moved.

    :param reach: the body ends there [m].
    """

    def __init__(self, reach):
        self.reach = reach
        self._counts, self.clouds = {}, 0

    def add(self, points):
        """Add a cloud (N, 3) in the sensor's frame."""
        near = np.isfinite(points).all(1)
        near &= np.einsum('ij,ij->i', points, points, dtype=np.float64) < self.reach**2
        for key in np.unique(_keys(points[near].astype(float))).tolist():
            self._counts[key] = self._counts.get(key, 0) + 1
        self.clouds += 1

    def body(self):
        """:class:`Body`, grown by one cell on every side, or None; only if the sensor moved."""
        if self.clouds < _FEWEST_CLOUDS:
            return None
        own = [key for key, count in self._counts.items() if count >= _OFTEN * self.clouds]
        if not own:
            return None
        steps = np.array([-1, 0, 1])
        around = (steps[:, None, None] << 42) + (steps[None, :, None] << 21) + steps
        cells = np.unique((np.array(own, np.int64)[:, None] + around.reshape(1, -1)).ravel())
        return Body(cells, self.reach + 2 * _CELL)


def _keys(points):
    """One int64 for the cell of each point; neighbours differ by shifted ones."""
    index = np.floor(points / _CELL).astype(np.int64) + (1 << 20)
    return (index[:, 0] << 42) + (index[:, 1] << 21) + index[:, 2]
