"""Primitive solids in closed form: signed distance and uniform samples of the surface."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch


def _norm(v):
    return (v**2).sum(-1) ** 0.5


def _library(values):
    """The module whose functions take ``values``: distances are asked for in numpy and torch."""
    return torch if isinstance(values, torch.Tensor) else np


def _like(constant, values):
    """A numpy constant as what ``values`` can be combined with."""
    if isinstance(values, torch.Tensor):
        return torch.as_tensor(constant, dtype=values.dtype, device=values.device)
    return constant


@dataclass(frozen=True, eq=False)
class Primitive:
    """
    A placed primitive; local coordinates are ``(p - translation) @ rotation``.

    :param rotation: (3, 3) float64, maps local axes into the solid's frame.
    :param translation: (3,) float64, centre in the solid's frame.
    """

    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    translation: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def distance(self, points):
        """
        Signed distance (negative inside) of points; a lower bound outside.

        :param points: (..., 3), a numpy array or a torch tensor; so is the answer.
        """
        moved = points - _like(self.translation, points)
        return self.local_distance(moved @ _like(self.rotation, points))

    def sample(self, n, rng):
        """Points (n, 3), uniform on the surface, and outward unit normals (n, 3)."""
        points, normals = self.local_sample(n, rng)
        return points @ self.rotation.T + self.translation, normals @ self.rotation.T

    def placed(self, rotation, translation):
        """The same primitive moved by ``p -> rotation @ p + translation``."""
        return replace(
            self,
            rotation=rotation @ self.rotation,
            translation=rotation @ self.translation + translation,
        )


@dataclass(frozen=True, eq=False)
class Box(Primitive):
    """Cuboid; ``half`` (3,) are half its edge lengths."""

    half: np.ndarray = field(default_factory=lambda: np.ones(3))

    @property
    def area(self):
        """Surface area."""
        a, b, c = self.half
        return 8 * (a * b + b * c + c * a)

    @property
    def radius(self):
        """Radius of a sphere about the centre that holds the primitive."""
        return float(_norm(self.half))

    def local_distance(self, p):
        """Signed distance in local coordinates."""
        lib = _library(p)
        q = abs(p) - _like(self.half, p)
        return _norm(lib.clip(q, 0, None)) + lib.clip(lib.amax(q, -1), None, 0)

    def local_sample(self, n, rng):
        """Uniform surface samples in local coordinates."""
        a, b, c = self.half
        face = np.array([b * c, c * a, a * b])
        axis = rng.choice(3, n, p=face / face.sum())
        sign = rng.choice((-1.0, 1.0), n)
        points = rng.uniform(-1, 1, (n, 3)) * self.half
        rows = np.arange(n)
        points[rows, axis] = sign * self.half[axis]
        normals = np.zeros((n, 3))
        normals[rows, axis] = sign
        return points, normals


@dataclass(frozen=True, eq=False)
class Frustum(Primitive):
    """Capped cone about local z: radius ``bottom`` at -height/2 and ``top`` at +height/2."""

    bottom: float = 1.0
    top: float = 1.0
    height: float = 1.0

    @property
    def _slant(self):
        return float(np.hypot(self.height, self.bottom - self.top))

    @property
    def _areas(self):
        side = np.pi * (self.bottom + self.top) * self._slant
        return np.array([side, np.pi * self.bottom**2, np.pi * self.top**2])

    @property
    def area(self):
        """Surface area, caps included."""
        return float(self._areas.sum())

    @property
    def radius(self):
        """Radius of a sphere about the centre that holds the primitive."""
        return float(np.hypot(max(self.bottom, self.top), self.height / 2))

    def local_distance(self, p):
        """Signed distance in local coordinates; exact inside up to the nearest face."""
        r = _norm(p[..., :2])
        z = p[..., 2]
        # Distance to the slanted side's line and to the two planes of the caps: their maximum
        # is a lower bound of the distance outside, which is all that ray marching needs.
        side = (r - self.bottom) * self.height + (z + self.height / 2) * (self.bottom - self.top)
        return _library(p).maximum(side / self._slant, abs(z) - self.height / 2)

    def local_sample(self, n, rng):
        """Uniform surface samples in local coordinates."""
        part = rng.choice(3, n, p=self._areas / self.area)
        angle = rng.uniform(0, 2 * np.pi, n)
        u = rng.uniform(0, 1, n)
        # The share of the side's area below height fraction h is quadratic in h; invert it.
        b, d = self.bottom, self.top - self.bottom
        if abs(d) < 1e-9 * b:
            h = u
        else:
            h = (np.sqrt(b**2 + u * (2 * b * d + d**2)) - b) / d
        radius = np.where(part == 0, b + d * h, 0.0)
        radius = np.where(part == 1, self.bottom * np.sqrt(u), radius)
        radius = np.where(part == 2, self.top * np.sqrt(u), radius)
        z = np.where(part == 0, h - 0.5, np.where(part == 1, -0.5, 0.5)) * self.height
        points = np.stack([radius * np.cos(angle), radius * np.sin(angle), z], -1)
        tilt = np.array([self.height, -d]) / self._slant
        side = np.stack([tilt[0] * np.cos(angle), tilt[0] * np.sin(angle), 0 * z + tilt[1]], -1)
        cap = np.zeros((n, 3))
        cap[:, 2] = np.where(part == 1, -1.0, 1.0)
        return points, np.where((part == 0)[:, None], side, cap)


@dataclass(frozen=True, eq=False)
class Ellipsoid(Primitive):
    """Ellipsoid with semi-axes ``half`` (3,)."""

    half: np.ndarray = field(default_factory=lambda: np.ones(3))

    @property
    def area(self):
        """Surface area (Thomsen's approximation, within 1.1 %)."""
        a, b, c = self.half**1.6075
        return float(4 * np.pi * ((a * b + a * c + b * c) / 3) ** (1 / 1.6075))

    @property
    def radius(self):
        """Radius of a sphere about the centre that holds the primitive."""
        return float(self.half.max())

    def local_distance(self, p):
        """Lower bound of the distance outside; negative inside."""
        return (_norm(p / _like(self.half, p)) - 1) * float(self.half.min())

    def local_sample(self, n, rng):
        """Uniform surface samples, by rejection from the stretched sphere."""
        points = np.zeros((0, 3))
        normals = np.zeros((0, 3))
        while len(points) < n:
            u = rng.normal(size=(4 * n + 64, 3))
            u /= _norm(u)[:, None]
            gradient = u / self.half
            stretch = _norm(gradient)  # area element relative to the unit sphere, up to a factor
            keep = rng.uniform(0, 1, len(u)) < stretch * self.half.min()
            points = np.concatenate([points, (u * self.half)[keep]])
            normals = np.concatenate([normals, (gradient / stretch[:, None])[keep]])
        return points[:n], normals[:n]


@dataclass(frozen=True, eq=False)
class Torus(Primitive):
    """Torus about local z: ring radius ``major``, tube radius ``minor`` (smaller)."""

    major: float = 1.0
    minor: float = 0.3

    @property
    def area(self):
        """Surface area."""
        return 4 * np.pi**2 * self.major * self.minor

    @property
    def radius(self):
        """Radius of a sphere about the centre that holds the primitive."""
        return self.major + self.minor

    def local_distance(self, p):
        """Signed distance in local coordinates."""
        ring = _norm(p[..., :2]) - self.major
        return (ring**2 + p[..., 2] ** 2) ** 0.5 - self.minor

    def local_sample(self, n, rng):
        """Uniform surface samples, by rejection on the tube's angle."""
        tube = np.zeros(0)
        while len(tube) < n:
            v = rng.uniform(0, 2 * np.pi, 3 * n + 64)
            accept = rng.uniform(0, self.major + self.minor, len(v))
            tube = np.concatenate([tube, v[accept < self.major + self.minor * np.cos(v)]])
        tube = tube[:n]
        angle = rng.uniform(0, 2 * np.pi, n)
        c, s = np.cos(angle), np.sin(angle)
        normals = np.stack([np.cos(tube) * c, np.cos(tube) * s, np.sin(tube)], -1)
        centre = np.stack([self.major * c, self.major * s, 0 * c], -1)
        return centre + self.minor * normals, normals
