"""Organic bodies: round limbs that flow into each other."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from dlc_training.data.primitives import Primitive, _library, _like, _norm

# A line is cut into so many pieces, each near the surface into so many more; halvings after that.
_PIECES, _FINER, _HALVINGS = 10, 8, 10
_LINES_FOR_AREA = 800


@dataclass(frozen=True, eq=False)
class Blend(Primitive):
    """
    Smooth union of capsules.

    Two distances a, b closer than ``softness`` k are joined by the polynomial smooth minimum
    min(a, b) - (k - |a - b|)^2 / 4k, which fills the crease between two limbs.

    :param starts: (n, 3) ends of the limbs' axes.
    :param ends: (n, 3) their other ends, distinct from ``starts``.
    :param radii: (n,).
    :param softness: length over which limbs flow into each other, > 0.
    """

    starts: np.ndarray = field(default_factory=lambda: np.zeros((1, 3)))
    ends: np.ndarray = field(default_factory=lambda: np.array([[0.0, 0.0, 1.0]]))
    radii: np.ndarray = field(default_factory=lambda: np.full(1, 0.3))
    softness: float = 0.1

    @property
    def radius(self):
        """Radius of a sphere about the centre that holds the primitive."""
        reach = np.maximum(_norm(self.starts), _norm(self.ends)) + self.radii
        # Each further limb takes at most a quarter of the softness off the distance.
        return float(reach.max() + 0.25 * self.softness * (len(self.radii) - 1))

    @cached_property
    def area(self):
        """
        Surface area, within 5 % or so.

        A uniformly random line through a ball of radius R crosses a surface within it A / (2 pi
        R^2) times on average (Crofton's formula).
        """
        points, _ = self._crossings(_LINES_FOR_AREA, np.random.default_rng(0))
        return float(2 * np.pi * self.radius**2 * len(points) / _LINES_FOR_AREA)

    def local_distance(self, p):
        """Lower bound of the distance in local coordinates; negative inside."""
        lib, whole = _library(p), None
        for start, end, radius in zip(self.starts, self.ends, self.radii, strict=True):
            axis = end - start
            along = (p - _like(start, p)) @ _like(axis / (axis @ axis), p)
            nearest = lib.clip(along, 0, 1)[..., None] * _like(axis, p) + _like(start, p)
            limb = _norm(p - nearest) - float(radius)
            if whole is None:
                whole = limb
                continue
            crease = lib.clip(self.softness - abs(whole - limb), 0, None)
            whole = lib.minimum(whole, limb) - crease**2 / (4 * self.softness)
        return whole

    def local_sample(self, n, rng):
        """Uniform surface samples in local coordinates: where random lines cross the surface."""
        found, lines = [], n
        while sum(len(points) for points, _ in found) < n:
            found.append(self._crossings(lines, rng))
            lines = max(n // 2, 64)
        points, normals = (np.concatenate(values) for values in zip(*found, strict=True))
        order = rng.permutation(len(points))[:n]
        return points[order], normals[order]

    def _crossings(self, lines, rng):
        """Points where uniformly random lines cross the surface, and outward normals there."""
        heading = rng.normal(size=(lines, 3))
        heading /= _norm(heading)[:, None]
        # Uniform on a disc across the heading: the lines that meet the bounding sphere.
        across = rng.normal(size=(lines, 3))
        across -= (across * heading).sum(1, keepdims=True) * heading
        across *= self.radius * np.sqrt(rng.uniform(0, 1, (lines, 1))) / _norm(across)[:, None]
        half = self.radius / _PIECES
        middles = np.linspace(-self.radius + half, self.radius - half, _PIECES)
        gap = self.local_distance(across[:, None] + middles[:, None] * heading[:, None])
        # No piece holds a crossing whose middle is farther from the surface than its ends.
        line, piece = np.nonzero(abs(gap) <= half)
        across, heading = across[line], heading[line]
        along = middles[piece, None] + np.linspace(-half, half, _FINER + 1)
        inside = self.local_distance(across[:, None] + along[..., None] * heading[:, None]) < 0
        line, step = np.nonzero(inside[:, 1:] != inside[:, :-1])
        low, high, enters = along[line, step], along[line, step + 1], inside[line, step + 1]
        across, heading = across[line], heading[line]
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            beyond = (self.local_distance(across + middle[:, None] * heading) < 0) == enters
            low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
        points = across + ((low + high) / 2)[:, None] * heading
        step = 1e-4 * self.radius
        corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]])
        gradient = self.local_distance(points[:, None] + step * corners) @ corners
        steepness = _norm(gradient)
        normals = gradient / steepness[:, None]
        slope = steepness / (4 * step)  # 1, and less in a crease
        for _ in range(4):  # Newton: onto the surface to the last digit
            points = points - (self.local_distance(points) / slope)[:, None] * normals
        return points, normals
