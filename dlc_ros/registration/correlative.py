"""
Where an upright cloud lies in an upright reference: every place and every yaw is tried.

Map and cloud share the direction of gravity, so three numbers are unknown beside the height. Seen
from above both are images, and all shifts of one turn are one correlation, a product in the
frequency domain. What is correlated: upright surfaces that meet count for a pose, and those that
the cloud's rays cross count against it. The best peaks are judged again in space, where their
heights follow as well. After E. Olson, "Real-Time Correlative Scan Matching", ICRA 2009 (no start,
no gradient: all poses of a grid, coarse to fine); free space as evidence after H. Moravec and
A. Elfes, "High Resolution Maps from Wide Angle Sonar", ICRA 1985.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np

from dlc_ros.registration.cloud import box_without_strays
from dlc_ros.registration.plan import Plan, is_upright

# Cells from the viewpoint to as far as a cloud reaches; what lies much farther is left out.
_CELLS = 40
_FARTHEST = 2.0
_REACH = 0.8  # share of the points within reach
# Cells along a side of the plan, about: larger references have larger cells.
_MOST_ALONG = 640
# Cells grow by this factor, so that one plan serves clouds of about the same reach.
_GROWTH = 2**0.5
_YAWS = 120
# Directions about the viewpoint in which rays are told apart, and how many cells before their
# ends they stop: a wall is not crossed by the rays that end on it.
_DIRECTIONS = 360
_SHORT_OF = 2.0
# A wall that rays cross against one that is met.
_CROSSED = 0.7
# Peaks that are judged in space, the poses they are picked from, and how far apart they are.
_PEAKS = 100
_POOL = 20_000
# Share of the best score below which nothing is a peak.
_LOWEST = 0.5
_APART_CELLS = 4.0
_APART_RAD = np.radians(10.0)
# Points that are judged in space, and where along a ray it must be free.
_POINTS = 600
_ALONG = (0.3, 0.5, 0.7, 0.85)
# Weight of what is seen in space beside what is seen from above.
_SPACE = 0.3
# Another storey is another pose if it fits this well beside the best one, so many cells away.
_STOREY = 0.9
_STOREY_CELLS = 6


class Proposal(NamedTuple):
    """
    A pose that explains a cloud.

    :param transform: (4, 4) ``T_reference_source``.
    :param score: higher is better, about 1 at most.
    """

    transform: np.ndarray
    score: float


class UprightSearch:
    """Searches one reference for any number of clouds; its images are drawn once a cell size."""

    def __init__(self, surface, points):
        """
        Take the reference, z up.

        :param surface: :class:`~dlc_ros.registration.surface.Surface` of the reference.
        :param points: (M, 3) all its points [m], same frame.
        """
        self._reference = surface, points
        self._plan = None

    def propose(self, cloud, viewpoint, keep, allowed=None):
        """
        Poses at which an upright cloud may lie, best first.

        :param cloud: :class:`~dlc_ros.registration.surface.Surface`, z up.
        :param viewpoint: (3,) where the cloud was seen from, its frame [m].
        :param keep: how many at most.
        :param allowed: function of a transform (4, 4) -> bool; None allows all.
        :returns: list of :class:`Proposal`; empty where the cloud shows nothing upright.
        """
        across = np.linalg.norm(cloud.points[:, :2] - viewpoint[:2], axis=1)
        reach = float(np.quantile(across, _REACH))
        seen = across < _FARTHEST * reach
        points = cloud.points[seen] - viewpoint
        walls = points[is_upright(cloud.normals[seen])][:, :2]
        if len(walls) == 0:
            return []
        plan = self._plan_for(reach)
        yaws = np.arange(_YAWS) * (2.0 * np.pi / _YAWS)
        scores = _correlations(plan, walls, _sight(points, plan.cell), yaws)
        peaks = _peaks(plan, scores, yaws)
        found = []
        for place, score, heights in zip(*_in_space(plan.volume, points, peaks), strict=True):
            for height, fit in heights:
                transform = _pose(place, height, viewpoint)
                if allowed is None or allowed(transform):
                    found.append(Proposal(transform, float(score + _SPACE * fit)))
        return sorted(found, key=lambda proposal: -proposal.score)[:keep]

    @cached_property
    def _shown(self):
        """
        What the images show, without strays, for which all cells would be large.

        Looked for when a place is searched for: it takes a look at all points.

        :returns: the surface, the points, and their longer side seen from above [m].
        """
        surface, points = self._reference
        low, high = box_without_strays(surface.points)
        least, most = points.min(axis=0), points.max(axis=0)
        if (least < low).any() or (most > high).any():
            seen, shown = (
                ((some >= low) & (some <= high)).all(axis=1) for some in (surface.points, points)
            )
            surface, points = surface.part(seen), points[shown]
            least, most = points.min(axis=0), points.max(axis=0)
        return surface, points, float((most - least)[:2].max())

    def _plan_for(self, reach):
        """The plan with cells that suit a reach [m]."""
        surface, points, side = self._shown
        finest = max(surface.pitch, side / _MOST_ALONG)
        steps = np.ceil(np.log(max(reach / _CELLS / finest, 1.0)) / np.log(_GROWTH) - 1e-9)
        cell = finest * _GROWTH**steps
        plan = self._plan  # another thread may put one with other cells in its place
        if plan is None or plan.cell != cell:
            margin = _FARTHEST * _CELLS * cell
            plan = Plan(surface, points, cell, min(margin, side))
            self._plan = plan
        return plan


def _sight(points, cell):
    """How far rays go in each direction about the origin (D,) [m], for points (N, 3)."""
    ranges = np.linalg.norm(points[:, :2], axis=1)
    far = np.zeros(_DIRECTIONS)
    np.maximum.at(far, _direction(np.arctan2(points[:, 1], points[:, 0])), ranges)
    # The direction between two is no farther seen than both.
    beside = np.minimum(np.roll(far, 1), np.roll(far, -1))
    return np.minimum(far, beside) - _SHORT_OF * cell


def _direction(angles):
    """Index of angles [rad] among the directions."""
    return np.floor(angles * (_DIRECTIONS / (2.0 * np.pi))).astype(int) % _DIRECTIONS


def _correlations(plan, walls, sight, yaws):
    """(Y, X, Y) float32 score of each yaw and cell of the viewpoint."""
    radius = int(np.ceil(max(sight.max(), 0.0) / plan.cell)) + 1
    # Beside a cloud that reaches much farther a reference is one cell.
    radius = max(min(radius, int(plan.shape.min()) // 2 - 1), 0)
    x, y = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    distances, angles = np.hypot(x, y) * plan.cell, np.arctan2(y, x)
    scores = np.empty((len(yaws), *plan.shape), np.float32)
    for index, yaw in enumerate(yaws):
        cells = np.rint(walls @ _turn(yaw).T / plan.cell).astype(int) % plan.shape
        met, crossed = np.zeros((2, *plan.shape), np.float32)
        met[cells[:, 0], cells[:, 1]] = 1.0
        free = distances < sight[_direction(angles - yaw)]
        crossed[x[free], y[free]] = 1.0
        scores[index] = plan.correlate(met, crossed, _CROSSED)
    return scores


def _peaks(plan, scores, yaws):
    """The best poses that differ: viewpoints (P, 2) [m], yaws (P,) [rad], scores (P,)."""
    flat = scores.ravel()
    best = np.flatnonzero(flat >= _LOWEST * flat.max())
    best = best[np.argsort(-flat[best], kind='stable')][:_POOL]
    turn, x, y = np.unravel_index(best, scores.shape)
    places = (np.column_stack([x, y]) + 0.5) * plan.cell + plan.low
    angles = yaws[turn]
    left, chosen = np.ones(len(best), bool), []
    while len(chosen) < _PEAKS and left.any():
        first = int(left.argmax())
        chosen.append(first)
        turned = np.abs((angles - angles[first] + np.pi) % (2.0 * np.pi) - np.pi)
        moved = np.abs(places - places[first]).max(axis=1)
        left &= (moved >= _APART_CELLS * plan.cell) | (turned >= _APART_RAD)
    return places[chosen], angles[chosen], flat[best[chosen]]


def _in_space(volume, points, peaks):
    """
    Heights of poses, and how well the points lie in the filled cells and their rays do not.

    :param points: (N, 3) from the viewpoint [m].
    :param peaks: what :func:`_peaks` returned.
    :returns: for each peak (x, y, yaw), its score, and a list of (height, fit).
    """
    places, angles, scores = peaks
    order = np.random.default_rng(0).permutation(len(points))[:_POINTS]
    points = points[order]
    turns = np.moveaxis(_turn(angles), -1, 0)

    def rows(offsets):
        return volume.rows(offsets[:, :2] @ turns.swapaxes(1, 2) + places[:, None])

    low, high = points[:, 2].min(), points[:, 2].max()
    top = volume.low[2] + volume.full.shape[2] * volume.cell
    overlap = 0.5 * (high - low)
    step = 0.5 * volume.cell
    heights = np.arange(volume.low[2] - low - overlap, top - high + overlap + step, step)
    columns = rows(points)
    near, full = volume.near.ravel(), volume.full.ravel()
    fits = np.stack(
        [
            near.take(columns + volume.levels(points[:, 2] + height)).mean(axis=1, dtype=float)
            for height in heights
        ],
        axis=1,
    )
    rays = np.concatenate([share * points for share in _ALONG])
    columns = rows(rays)
    found = []
    for peak, row in enumerate(fits):
        options = []
        for index in _storeys(row):
            levels = volume.levels(rays[:, 2] + heights[index])
            crossed = full.take(columns[peak] + levels).mean()
            options.append((heights[index], 0.5 * row[index] - crossed))
        found.append([option for option in options if option[1] >= _STOREY * options[0][1]])
    return list(zip(*places.T, angles, strict=True)), scores, found


def _storeys(fits):
    """Indices of the best height and of the best one a storey away."""
    best = int(fits.argmax())
    other = fits.copy()
    other[max(0, best - 2 * _STOREY_CELLS) : best + 2 * _STOREY_CELLS + 1] = -1.0
    return [best, int(other.argmax())] if other.max() > 0.0 else [best]


def _turn(yaw):
    """(2, 2, ...) rotation by a yaw or by several [rad]."""
    cosine, sine = np.cos(yaw), np.sin(yaw)
    return np.array([[cosine, -sine], [sine, cosine]])


def _pose(place, height, viewpoint):
    """(4, 4) that brings the viewpoint to x, y and a height, turned by a yaw."""
    x, y, yaw = place
    transform = np.eye(4)
    transform[:2, :2] = _turn(yaw)
    transform[:3, 3] = np.array([x, y, height]) - transform[:3, :3] @ viewpoint
    return transform
