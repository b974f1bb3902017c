"""
Which points of a surface a sensor can have seen: those that no other part of it stands before.

What a sensor did not see must not be matched. A thin plate is the case where that matters: the
hidden side of its model lies as near to what was seen as the right one.
"""

from itertools import product

import numpy as np
from scipy.ndimage import maximum_filter

# Cells of space that are looked up at once, at most.
_MOST_CELLS = 2_000_000
# Edge of the cells of the image in which the nearest points are kept, in pitches at the depth of
# those that are nearer than all but this share, and the most cells along a side.
_CELL = 1.0
_NEAR = 0.1
_MOST_ALONG = 1_000
# Points farther beside the middle of the image than this are not told apart (cosine).
_BESIDE = 0.3
# How far behind the plane of a nearer point a hidden one lies, in pitches and in roughnesses, and
# how many of the nine cells around it must say so: beside an edge one lies behind the other face.
_BEHIND_ROUGH = 3.0
_BEHIND_LEAST, _BEHIND_MOST = 0.4, 0.8
_SAYING_SO = 3
_TINY = 1e-9


def about(points, others, reach):
    """
    Tell which points lie about any of others: nearer than ``reach`` all, some up to four times.

    :param points: (N, 3) [m].
    :param others: (M, 3) [m], M >= 1.
    :param reach: [m], > 0.
    :returns: (N,) bool.
    """
    low, high = others.min(axis=0), others.max(axis=0)
    # Larger cells where far-off points would make too many.
    edge = max(reach, float(np.cbrt(np.prod(high - low + reach) / _MOST_CELLS)))
    cells = np.floor((others - low) / edge).astype(np.int64) + 1
    occupied = np.zeros(cells.max(axis=0) + 2, np.uint8)
    occupied[tuple(cells.T)] = 1
    within = ((points > low - edge) & (points < high + edge)).all(axis=1)
    cells = np.floor((points[within] - low) / edge).astype(np.int64) + 1
    cells = np.clip(cells, 0, np.array(occupied.shape) - 1)
    within[within] = maximum_filter(occupied, 3)[tuple(cells.T)] > 0
    return within


def visible(points, normals, viewpoint, pitch, roughness):
    """
    Tell which points of a surface nothing of it hides.

    A depth image whose pixels hold planes instead of depths, so that a slanting surface does not
    hide itself.

    :param points: (N, 3) of the surface [m], N >= 1.
    :param normals: (N, 3) unit normals of any sign.
    :param viewpoint: (3,) of the sensor, same frame [m]. What lies far beside the middle of the
        points, as seen from there, or behind it, counts as visible.
    :param pitch: distance between the points [m].
    :param roughness: standard deviation of the points about their planes [m].
    :returns: (N,) bool.
    """
    away = points - viewpoint
    ranges = np.maximum(np.linalg.norm(away, axis=1), _TINY)
    ahead = (away / ranges[:, None]).mean(axis=0)
    ahead /= max(np.linalg.norm(ahead), _TINY)
    depths = away @ ahead
    shown = np.flatnonzero(depths > _BESIDE * ranges)
    seen = np.ones(len(points), bool)
    if len(shown):
        seen[shown] = ~_hidden(
            _cells(away[shown], depths[shown], ahead, pitch),
            points[shown],
            normals[shown] * np.where(normals[shown] @ ahead > 0.0, -1.0, 1.0)[:, None],
            ranges[shown],
            np.clip(_BEHIND_ROUGH * roughness, _BEHIND_LEAST * pitch, _BEHIND_MOST * pitch),
        )
    return seen


def _cells(away, depths, ahead, pitch):
    """Rows and columns (N, 2) of rays (N, 3) in an image across ``ahead``; its rim is empty."""
    across = np.linalg.svd(ahead[None])[2][1:]
    image = away @ across.T / depths[:, None]
    image -= image.min(axis=0)
    cell = max(_CELL * pitch / np.quantile(depths, _NEAR), image.max() / _MOST_ALONG)
    return np.floor(image / cell).astype(np.int64) + 1


def _hidden(cells, points, normals, ranges, behind):
    """Whether points lie behind the planes of the nearest ones of the cells around them, (N,)."""
    rows, columns = cells.max(axis=0) + 2
    keys = cells[:, 0] * columns + cells[:, 1]
    # Written from the farthest on, the nearest point of a cell is the last to be written.
    order = np.argsort(-ranges, kind='stable')
    nearest = np.full(rows * columns, -1)
    nearest[keys[order]] = order
    count = np.zeros(len(points), np.int64)
    for row, column in product((-1, 0, 1), repeat=2):
        front = nearest[keys + row * columns + column]
        depth = np.einsum('ij,ij->i', points[front] - points, normals[front])
        count += (front >= 0) & (ranges[front] < ranges) & (depth > behind)
    return count >= _SAYING_SO
