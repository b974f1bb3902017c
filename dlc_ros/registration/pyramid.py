"""
A large reference at a few densities, each made ready once as a whole.

What is compared with a cloud is the excerpt about it, of the density that suits it. Normals and
covariances are most of the work of making points ready; an excerpt takes those of the whole.
"""

import os
from functools import cached_property

import numpy as np

from dlc_ros.registration.cloud import cloud_radius
from dlc_ros.registration.surface import Surface
from dlc_ros.registration.windows import window

# Successive densities differ by this factor. An excerpt has at most so many times the points that
# are wanted, and this share of them at least: a dense spot loses more to voxels than the rest.
_FACTOR = 4
_AT_MOST = 2.5
_AT_LEAST = 1 / 8
# Points of a density that is made ready as a whole, at most: two seconds and 200 MB.
_MOST = 1_000_000
# Densities are made ready with all lower ones, down to so many points.
_LEAST = 10_000
# Cells along the radius of a reference in which its points are sorted: neighbours then lie near
# each other in memory, which makes searches five times as fast.
_CELLS = 64


class Pyramid:
    """The densities of one reference, each made when it is needed first."""

    def __init__(self, points, options):
        """
        Take the reference.

        :param points: (N, 3) float64 in a local frame [m].
        :param options: :class:`~dlc_ros.registration.options.RegistrationOptions`.
        """
        self._given, self.options = points, options
        self._levels = {}

    @cached_property
    def _sorted(self):
        """The points (N, 3) cell by cell, x (N,) of their cells, ascending, and the edge [m]."""
        points, edge = self._given, cloud_radius(self._given) / _CELLS
        cells = np.floor(points / edge)
        order = np.lexsort(cells.T[::-1])
        return points[order], cells[order, 0], edge

    @property
    def points(self):
        """(N, 3) all of them, neighbours near each other [m]."""
        return self._sorted[0]

    def inside(self, centre, radius):
        """Which of the points lie in a ball [m]: (N,) bool."""
        points, columns, edge = self._sorted
        reach = np.floor((centre[0] + np.array([-radius, radius])) / edge)
        first, end = np.searchsorted(columns, reach + [0.0, 1.0])
        inside = np.zeros(len(points), bool)
        inside[first:end] = window(points[first:end], centre, radius)
        return inside

    def level(self, number):
        """
        The whole reference with a ``4 ** number``-th of its points, about.

        :returns: :class:`Surface`; None where that would be too many to make ready at once.
        """
        if number not in self._levels:
            count, voxel_size = len(self.points) // _FACTOR**number, self.options.voxel_size
            surface = None
            if count <= _MOST:
                # A robot waits for it, once; the number of threads changes no bit of it.
                surface = Surface(self.points, 0.0 if number else voxel_size, count, _cores())
            self._levels[number] = surface
            if count > _LEAST:
                self.level(number + 1)  # somewhere it will be asked for: better now than later
        return self._levels[number]


class Excerpt:
    """The points of a reference within a ball, at the densities that are asked for."""

    def __init__(self, pyramid, centre, radius):
        """
        Cut it out.

        :param pyramid: :class:`Pyramid` of the reference.
        :param centre: (3,) of the ball, the reference's local frame [m].
        :param radius: of the ball [m].
        """
        self._pyramid, self._ball = pyramid, (centre, radius)
        self._inside = pyramid.inside(centre, radius)
        self._size = int(self._inside.sum())
        self._surfaces = {}

    def __len__(self):
        """How many points the reference has here."""
        return self._size

    def full(self, count):
        """The :class:`Surface` with about ``count`` points, or with those of ``voxel_size``."""
        if self._pyramid.options.voxel_size > 0.0:
            return self._surface(0, count, 0)
        return self.about(count)

    def about(self, count):
        """The :class:`Surface` with about ``count`` points, or all of them if they are fewer."""
        number = 0
        while self._size > _AT_MOST * count * _FACTOR**number:
            number += 1
        return self._surface(number, count, _AT_LEAST * count)

    def _surface(self, number, count, fewest):
        """That of a density, or of a higher one where it has too few points here."""
        level = self._pyramid.level(number)
        if level is None:
            points, options = self._pyramid.points[self._inside], self._pyramid.options
            return Surface(points, options.voxel_size, count, options.threads)
        if number not in self._surfaces:
            inside = self._inside
            if len(level) < len(inside):
                inside = window(level.points, *self._ball)
            if number > 0 and inside.sum() < fewest:
                return self._surface(number - 1, count, fewest)
            self._surfaces[number] = level.part(inside)
        return self._surfaces[number]


def _cores():
    """How many cores this process may use; not all systems can say, then all there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
