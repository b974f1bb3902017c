"""Levels of ICP, from a predicted pose to the final one; the last of them is symmetric."""

from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from dlc_ros.registration.agreement import Agreement, agreement
from dlc_ros.registration.icp import Limits, align, require_open3d
from dlc_ros.registration.options import RegistrationOptions
from dlc_ros.registration.pyramid import Excerpt
from dlc_ros.registration.se3 import inverse, is_rigid, transform_points
from dlc_ros.registration.surface import Surface, sample
from dlc_ros.registration.symmetric import symmetric_icp
from dlc_ros.registration.visibility import about, visible

# Points of the two clouds that are refined. The reference is searched (its size costs a
# logarithm), the source is iterated over.
_MAX_REFERENCE = 50_000
_MAX_SOURCE = 4_500
# The same of a scan of a place that is searched for: it shows more surface than a thing does.
_MAX_PLACE = 9_000
# The same where candidates compete, and how long each may go on: a good start needs about five
# steps a level, and what needs many more hardly ever wins.
_COARSE_REFERENCE = 10_000
_COARSE_SOURCE = 1_500
_COMPETING_ITERATIONS = 15
# Points about a source of which is asked whether they can be seen: some times those of the source.
_SEEN = 25_000
# Steps of the last level: six are the rule, a motion that little resists takes more.
_LAST_ITERATIONS = 20
# The same where a start is only glanced at.
_GLANCE_SOURCE = 400
_GLANCE_ITERATIONS = 8
# Correspondence distances of the last level and of the one before it, in pitches of the coarser
# cloud. Larger ones match what overlap does not hold: on 70 % crops a first level of ten pitches
# loses one start in six that three pitches would have kept.
_FINE_PITCHES = 1.5
_START_PITCHES = 3.0
# The first one for starts that may overlap little: what lies farther off is not looked at.
_NEAR_PITCHES = 1.75
# Factor between the correspondence distances of successive levels.
_LEVEL_FACTOR = 2.5
# Steps smaller than this [rad, and radii of the reference] end a level before the last.
_EPSILON = 5e-3


@dataclass(frozen=True)
class Refinement:
    """
    What a refinement found, judged at full resolution whatever library ran it.

    :param transform: (4, 4) float64 ``T_target_source`` in the clouds' frames.
    :param agreement: :class:`Agreement` of the surfaces there.
    :param iterations: iterations of all levels.
    :param converged: the last level ended by itself and has inliers; not proof of being right.
    """

    transform: np.ndarray
    agreement: Agreement
    iterations: int
    converged: bool

    @property
    def hessian(self):
        """(6, 6) of the point-to-plane residuals, order x y z roll pitch yaw, target axes."""
        return self.agreement.hessian

    @property
    def inlier_fraction(self):
        """Share of source points within the finest correspondence distance, 0..1."""
        return self.agreement.inlier_fraction

    @property
    def residual(self):
        """Root mean square point-to-plane distance of the inliers [m]."""
        return self.agreement.residual

    @property
    def score(self):
        """Agreement in both directions, 0..1; what candidates are ranked by."""
        return self.agreement.score


@dataclass(frozen=True)
class Source:
    """
    A source cloud ready to be refined any number of times.

    :param full: :class:`Surface` whose pose is the answer.
    :param coarse: a thinned one on which candidates compete; ``full`` itself if that is small.
    """

    full: Surface
    coarse: Surface


class Refiner:
    """
    Refines poses of clouds against one reference, whose tree and normals are built once.

    :ivar radius: of the reference [m].
    """

    def __init__(self, reference, options=None):
        """
        Prepare the reference.

        :param reference: (N, 3) float64 in a local frame [m]; or a
            :class:`~dlc_ros.registration.pyramid.Excerpt` of a larger one, whose full resolution
            is prepared when it is needed.
        :param options: :class:`RegistrationOptions`.
        :raises ParameterError: if the chosen library is not installed, or ``voxel_size`` is as
            large as the reference.
        :raises CloudError: the reference shows no surface.
        """
        self.options = options or RegistrationOptions()
        if self.options.refiner == 'open3d':
            require_open3d()
        if isinstance(reference, Excerpt):
            self._excerpt = reference
            self.radius = self.coarse_target.radius
            if self.options.voxel_size > 0.0:
                self.target = reference.full(_MAX_REFERENCE)  # large voxels may leave nothing here
        else:
            options = self.options
            self.target = Surface(reference, options.voxel_size, _MAX_REFERENCE, options.threads)
            self.coarse_target = self.target.thinned(_COARSE_REFERENCE)
            self.radius = self.target.radius

    @cached_property
    def target(self):
        """The reference at full resolution, a :class:`Surface`."""
        return self._excerpt.full(_MAX_REFERENCE)

    @cached_property
    def coarse_target(self):
        """The reference on which candidates compete, a :class:`Surface`."""
        return self._excerpt.about(_COARSE_REFERENCE)

    def prepare(self, source, place=False):
        """
        Reduce a source cloud once, for any number of refinements.

        :param source: (N, 3) float64 in its local frame [m].
        :param place: whether it is a scan of a place that is searched for.
        :returns: :class:`Source`.
        :raises ParameterError: ``voxel_size`` is as large as the source.
        """
        options = self.options
        most = _MAX_PLACE if place else _MAX_SOURCE
        full = Surface(source, options.voxel_size, most, options.threads, means=False)
        return Source(full, full.thinned(_COARSE_SOURCE))

    def start_distance(self, source):
        """First correspondence distance [m] from a good start, about three coarse pitches off."""
        return _START_PITCHES * max(self.coarse_target.pitch, source.coarse.pitch)

    def near_distance(self, source):
        """First correspondence distance [m] from a start that must not be drawn away."""
        return _NEAR_PITCHES * max(self.coarse_target.pitch, source.coarse.pitch)

    def fine_distance(self, source):
        """Correspondence distance of the last level [m] for a :class:`Surface` of a source."""
        return self._fine(self.target, source)

    def compete(self, source, init, start_distance=None):
        """
        Refine a candidate on thinned clouds, cheaply, to be compared with others.

        :param source: what :meth:`prepare` made.
        :param init: (4, 4) ``T_target_source`` to start from.
        :param start_distance: correspondence distance of the first level [m], of the order of
            the points' distance from their true places; default :meth:`start_distance`.
        :returns: :class:`Refinement`.
        """
        start_distance = start_distance or self.start_distance(source)
        iterations = min(self.options.max_iterations, _COMPETING_ITERATIONS)
        return self._run(self.coarse_target, source.coarse, init, start_distance, iterations)

    def glance(self, source, inits):
        """
        Move starts to about where they lead, from afar and by what is near alone, on few points.

        :param source: what :meth:`prepare` made.
        :param inits: P poses (4, 4) ``T_target_source`` to start from.
        :returns: 2 P :class:`Refinement`, judged as those that :meth:`compete` returns.
        """
        few, target = source.coarse.thinned(_GLANCE_SOURCE), self.coarse_target
        ends = []
        for distance in (self.start_distance(source), self.near_distance(source)):
            limits = Limits(distance, _EPSILON, _GLANCE_ITERATIONS)
            for init in inits:
                end, used, _ = align(target, few, init, limits, self.options)
                end = end if is_rigid(end) else init
                ends.append(Refinement(end, self.compare(source, end), used, False))
        return ends

    def refine(self, source, init, start_distance=None):
        """
        Refine a pose on all points that were kept.

        :param source: what :meth:`prepare` made, or (N, 3) float64 points.
        :param init: (4, 4) ``T_target_source`` to start from.
        :param start_distance: as for :meth:`compete`.
        :returns: :class:`Refinement`.
        """
        source = source if isinstance(source, Source) else self.prepare(source)
        start_distance = start_distance or self.start_distance(source)
        return self._run(
            self.target, source.full, init, start_distance, self.options.max_iterations
        )

    def finish(self, source, refinement):
        """
        Carry the winner among candidates to all points that were kept.

        It lies within a fraction of their finest correspondence distance, so one level is enough.

        :param source: what :meth:`prepare` made.
        :param refinement: what :meth:`compete` returned.
        :returns: :class:`Refinement`.
        """
        if source.full is source.coarse and self.target is self.coarse_target:
            return refinement
        return self.refine(source, refinement.transform, self.fine_distance(source.full))

    def facing(self, source, transform, viewpoint):
        """
        A refiner onto what a sensor can have seen of the reference, of what lies about a source.

        :param source: what :meth:`prepare` made.
        :param transform: (4, 4) ``T_target_source``, near the true one.
        :param viewpoint: (3,) where the source was seen from, its frame [m].
        :returns: :class:`Refiner`; this one where hardly anything is left.
        """
        seen = self._seen(self.target, source, transform, viewpoint)
        if seen is None:
            return self
        facing = copy(self)
        facing.target = seen
        return facing

    def turn(self, source, refinement, viewpoint):
        """
        Refine a candidate once more, onto what a sensor can have seen from there.

        :param source: what :meth:`prepare` made.
        :param refinement: what :meth:`compete` returned.
        :param viewpoint: as for :meth:`facing`.
        :returns: :class:`Refinement`, judged as those that :meth:`compete` returns; None where
            hardly anything is left.
        """
        seen = self._seen(self.coarse_target, source, refinement.transform, viewpoint)
        if seen is None:
            return None
        start, iterations = self.start_distance(source), _COMPETING_ITERATIONS
        end = self._run(seen, source.coarse, refinement.transform, start, iterations)
        return replace(end, agreement=self.compare(source, end.transform))

    def _seen(self, target, source, transform, viewpoint):
        """What nothing of a target hides, near a source: :class:`Surface`; None of too little."""
        reach = self.start_distance(source)
        placed = transform_points(inverse(transform), target.points)
        near = np.flatnonzero(about(placed, source.full.points, reach))
        every = sample(len(near), _SEEN)
        near, pitch = near[every], target.pitch * np.sqrt(every.step)
        if len(near) < self.options.min_points:
            return None
        normals = target.normals[near] @ transform[:3, :3]
        seen = visible(placed[near], normals, viewpoint, pitch, target.roughness)
        if np.count_nonzero(seen) < self.options.min_points:
            return None
        points = target.points[near[seen]]
        return Surface(points, 0.0, len(points), self.options.threads)

    def compare(self, source, transform):
        """
        Agreement of the thinned clouds at a pose, without moving it.

        :param source: what :meth:`prepare` made.
        :param transform: (4, 4) ``T_target_source``.
        :returns: :class:`Agreement`.
        """
        target = self.coarse_target
        return agreement(target, source.coarse, transform, self._fine(target, source.coarse))

    def stay(self, source, transform):
        """
        Give what :meth:`compete` and :meth:`finish` would if they did not move a pose.

        :param source: what :meth:`prepare` made.
        :param transform: (4, 4) ``T_target_source``.
        :returns: two :class:`Refinement`, of the thinned and of the full clouds.
        """
        pairs = (self.coarse_target, source.coarse), (self.target, source.full)
        return tuple(
            Refinement(transform, agreement(*pair, transform, self._fine(*pair)), 0, True)
            for pair in pairs
        )

    def _fine(self, target, source):
        """Finest correspondence distance between two surfaces [m]."""
        chosen = self.options.max_correspondence_distance
        return chosen or _FINE_PITCHES * max(target.pitch, source.pitch)

    def _run(self, target, source, init, start_distance, iterations):
        """Levels of ICP between two surfaces, and the agreement at their end."""
        fine = self._fine(target, source)
        distances = levels(start_distance, fine)
        transform, total, converged = np.array(init, dtype=np.float64), 0, False
        near = _NEAR_PITCHES * max(target.pitch, source.pitch)
        for distance in distances:
            if distance > max(near, fine):
                limits = Limits(distance, _EPSILON, iterations)
                moved, used, converged = align(target, source, transform, limits, self.options)
            else:
                steps = min(iterations, _LAST_ITERATIONS)
                moved, used, converged = symmetric_icp(target, source, transform, distance, steps)
            total += used
            # An under-determined step may run away; the last good pose is kept.
            if not is_rigid(moved):
                converged = False
                break
            transform = moved
        found = agreement(target, source, transform, fine)
        return Refinement(transform, found, total, converged and found.inlier_fraction > 0.0)


def levels(coarse, fine):
    """Correspondence distances from ``coarse`` down to ``fine`` [m], geometric, at least one."""
    if coarse <= fine:
        return [fine]
    count = max(1, round(np.log(coarse / fine) / np.log(_LEVEL_FACTOR)))
    return [fine * (coarse / fine) ** (i / count) for i in range(count, 0, -1)] + [fine]
