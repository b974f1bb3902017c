"""The one entry of registration: a reference, then clouds in and :class:`Registration` out."""

import time
from functools import cache, cached_property, partial

import numpy as np

from dlc_ros.errors import CloudError, ParameterError
from dlc_ros.registration.atlas import Atlas, Site
from dlc_ros.registration.cloud import (
    LocalFrame,
    cloud_radius,
    few_far_off,
    size_mismatch,
    validate_cloud,
)
from dlc_ros.registration.confidence import GEOMETRIC, Fit
from dlc_ros.registration.contest import Contest
from dlc_ros.registration.correlative import UprightSearch
from dlc_ros.registration.covariance import compose_jacobians, covariance_of_compose, symmetric
from dlc_ros.registration.gate import judge
from dlc_ros.registration.host import Host
from dlc_ros.registration.majority import majority
from dlc_ros.registration.observability import free_directions
from dlc_ros.registration.options import RegistrationOptions
from dlc_ros.registration.prior import PosePrior
from dlc_ros.registration.refine import Refiner
from dlc_ros.registration.result import Registration, Status
from dlc_ros.registration.se3 import compose, inverse, numbers
from dlc_ros.registration.selection import Answer
from dlc_ros.registration.sight import Sight, View
from dlc_ros.registration.uncertainty import plane_spread, pose_covariance

# Largest correspondence distance in radii of the source: coarser clouds lie on anything.
_COARSEST = 0.5
# Poses that a search of an upright reference proposes, the share of the best one's score that
# each must have, and the windows about them that are looked at.
_PROPOSALS = 12
_LIKELY = 0.7
_SITES = 6
# How far a prior lets points move before another place is within its reach, in start distances:
# a wall has another side.
_ROOM = 0.5


class Registrar:
    """
    Registers clouds against one reference; built once, used for any number of clouds.

    Equal input gives equal bits (with ``threads=1``); nothing is remembered between clouds, and
    several threads may register at once. It cannot be pickled: each process builds its own.
    """

    def __init__(self, reference, weights=None, options=None):
        """
        Check and prepare the reference: search tree, normals and descriptors.

        :param reference: (N, 3) float points [m]; its frame is the target frame.
        :param weights: weights file of the predictor; None takes those of the package.
        :param options: :class:`RegistrationOptions`; None takes the defaults.
        :raises CloudError: the reference cannot be registered against.
        :raises WeightsError: the weights cannot be loaded.
        :raises ParameterError: the refining library is not available, or ``voxel_size`` is as
            large as the reference.
        """
        self.options = options or RegistrationOptions()
        points = validate_cloud(reference, self.options.min_points, 'reference')
        self._frame = LocalFrame.of(points)
        local = self._frame.localize(points)
        self._points, self._radius = local, cloud_radius(local)
        self._refiner = Refiner(local, self.options)
        self._host = None
        if self.options.use_predictor:
            self._host = Host(weights, self.options.device, self._refiner.target.points)
        self._whole = Site(self._refiner, self._host, whole=True)
        self._atlas = Atlas(local, self._host, self.options)
        self._search = UprightSearch(self._refiner.target, local)

    def __reduce__(self):
        """Refuse to be pickled, in words; search trees and tensors on a device cannot be."""
        raise TypeError('a Registrar cannot be pickled: build one in each process')

    @property
    def provenance(self):
        """
        What the answers come from, for diagnostics: a dict of strings.

        ``device`` of the predictor, ``fallback``: why it is not the one asked for, else empty,
        ``weights``, ``weights_sha256`` and ``trained_on``: the file and what its model card says
        about its training, empty without a predictor.
        """
        if self._host is None:
            names = ('fallback', 'weights', 'weights_sha256', 'trained_on')
            return {'device': 'cpu', **dict.fromkeys(names, '')}
        loaded = self._host.predictor.loaded
        return {
            'device': str(self._host.predictor.device),
            'fallback': self._host.fallback,
            'weights': str(loaded.path),
            'weights_sha256': loaded.sha256,
            'trained_on': loaded.trained_on,
        }

    def register(
        self,
        cloud,
        init=None,
        init_covariance=None,
        viewpoint=None,
        min_confidence=None,
        thorough=True,
    ):
        """
        Find where a cloud lies in the reference's frame.

        :param cloud: (N, 3) float points [m] in the source frame; rows with NaN or Inf are
            dropped.
        :param init: (4, 4) ``T_target_source`` that is believed to be near, or None for
            anywhere.
        :param init_covariance: (6, 6) of ``init``, order x y z [m] roll pitch yaw [rad], target
            axes, the position being that of the source's origin; None takes 30 deg and 0.3 radii
            of the reference (standard deviations, at the cloud).
        :param viewpoint: (3,) where the cloud was seen from, source frame [m]: a pose is wrong
            that puts the reference where the sensor looked through. None where that is unknown,
            or was no single point (a cloud of all sides of a thing is known by that). For a
            place that is searched for (``options.upright``) None is the origin.
        :param min_confidence: threshold for this cloud, 0..1; None takes that of the options.
        :param thorough: whether a cloud that does not convince is looked at again, at several
            times the cost, and what a viewpoint hides is left out of the last refinement; False
            where another attempt at it follows.
        :returns: :class:`Registration`; a rejected one still holds the best transform found.
        :raises CloudError: the cloud cannot be registered.
        :raises ParameterError: ``init`` is not rigid, ``init_covariance`` no covariance,
            ``viewpoint`` no point, ``min_confidence`` no number from 0 to 1, ``voxel_size`` as
            large as the cloud.
        """
        clock = _Stopwatch()
        points = validate_cloud(cloud, self.options.min_points, 'source')
        seen_from = np.zeros(3)
        if viewpoint is not None:
            seen_from = numbers(viewpoint, (3,))
        if not np.isfinite(seen_from).all():
            raise ParameterError(f'viewpoint: {_said(viewpoint)} is no point of three coordinates')
        if min_confidence is None:
            min_confidence = self.options.min_confidence
        threshold = float(numbers(min_confidence, ()))
        if not 0.0 <= threshold <= 1.0:
            raise ParameterError(
                f'min_confidence: {_said(min_confidence)} is no number from 0 to 1'
            )
        frame = LocalFrame.of(points)
        local = frame.localize(points)
        prior = None
        if init is not None:
            prior = PosePrior.of(init, init_covariance, self._frame, frame, self._radius)
        mismatch = size_mismatch(local, self._refiner.target.points, self._radius)
        clock.lap('validate')
        if mismatch and prior is None:
            # A long search would end in the same words.
            return self._refused(mismatch, frame, prior, clock)

        def search():
            known = viewpoint is not None or self.options.upright
            origin = seen_from - frame.origin if known else None
            return self._register(
                local, frame, prior, origin, threshold, mismatch, thorough, clock
            )

        return self._host.run(search) if self._host else search()

    def _register(self, local, frame, prior, viewpoint, threshold, mismatch, thorough, clock):
        """Register a checked cloud, seen from a viewpoint (3,) or None, in its local frame."""
        near = prior is not None and prior.is_near(cloud_radius(local))
        searching = self.options.upright and not near
        source = self._refiner.prepare(local, place=searching)
        clock.lap('reduce')
        coarse = self._too_coarse(source.full)
        if coarse:
            reason = f'{mismatch}; {coarse}' if mismatch else coarse
            return self._refused(reason, frame, prior, clock)
        view = self._view(source, viewpoint)
        contests = self._contests(source, viewpoint, view, prior, near, threshold)
        clock.lap('predict')
        # Candidates compete on a thinned source; the winner is carried to full resolution.
        for contest in contests:
            contest.compete()
        won = self._winner(contests)
        if thorough:
            won.reconsider()
        chosen, refiner = won.chosen.refined, won.refiner
        # While a node tracks, every millisecond of a cloud counts.
        if thorough and not (self.options.upright or won.doubtful) and view and view():
            refiner = refiner.facing(source, chosen.transform, viewpoint)
        if refiner is won.refiner:
            answer = Answer(chosen, refiner.finish(source, chosen))
        else:  # candidates saw both sides of a sheet, and may lie on the hidden one
            answer = Answer(chosen, refiner.refine(source, chosen.transform))
        clock.lap('refine')
        answer = self._observed(refiner, source, answer, prior, threshold)
        best, free = answer.best, answer.free
        elsewhere = [c for c in contests if c is not won and not c.doubtful]
        evidence = won.evidence(answer, elsewhere)
        verdict = judge(evidence, threshold)
        reason = verdict.reason
        if mismatch and verdict.status is not Status.ACCEPTED:
            reason = f'{mismatch}; {reason}'
        elif verdict.status is Status.REJECTED:
            # They are what a person can remove.
            far = {'source': few_far_off(local), 'target': self._few_far_off}
            known = [f'{name}: {sentence}' for name, sentence in far.items() if sentence]
            reason = '; '.join([*known, reason])
        degenerate = verdict.status is Status.DEGENERATE
        target, coarse = refiner.target, None
        if refiner is won.refiner and not self.options.upright:
            coarse = refiner.coarse_target, source.coarse
        covariance = pose_covariance(
            best.agreement, free, target, source.full, self._radius, coarse
        )
        # From the local source frame back to the given one: the lever arm.
        lever, _ = compose_jacobians(best.transform, inverse(frame.transform))
        screws = lever @ free if degenerate else np.zeros((6, 0))
        clock.lap('judge')
        return Registration(
            transform=self._given(best.transform, frame),
            covariance=symmetric(lever @ covariance @ lever.T),
            confidence=verdict.confidence,
            status=verdict.status,
            reason=reason,
            stages=clock.stages,
            inlier_fraction=best.inlier_fraction,
            residual=best.residual,
            alternatives=tuple(
                self._given(rival.transform, frame) for rival in evidence.rivals if rival.equal
            ),
            free_directions=screws / np.linalg.norm(screws, axis=0),
            candidates=tuple(
                self._given(candidate.refined.transform, frame)
                for contest in contests
                for candidate in contest.candidates
            ),
        )

    @cached_property
    def _few_far_off(self):
        """What :func:`few_far_off` says of the reference, which is only asked after a failure."""
        return few_far_off(self._points)

    def _too_coarse(self, source):
        """Why the spacing of the points leaves no shape to recognise, or an empty string."""
        spacing = self._refiner.target.pitch
        if source.radius < spacing:
            return (
                f'the source is smaller (radius {source.radius:.2g} m) than the spacing of the'
                f" reference's points ({spacing:.2g} m): check the units of both, or the sensor"
            )
        distance = self._refiner.fine_distance(source)
        if distance > _COARSEST * source.radius:
            return (
                f'the points lie too far apart for their extent: they are compared within'
                f' {distance:.2g} m, the source has a radius of {source.radius:.2g} m; give more'
                ' points'
            )
        return ''

    def _refused(self, reason, frame, prior, clock):
        """A rejection without a search: the prior, or centroids aligned and nothing known."""
        spread = np.repeat([self._radius, np.pi / np.sqrt(3.0)], 3)
        local, covariance = np.eye(4), np.diag(spread**2)
        if prior is not None:
            local, covariance = prior.transform, prior.belief
        given = covariance_of_compose(local, covariance, inverse(frame.transform))
        transform = self._given(local, frame)
        return Registration(transform, given, 0.0, Status.REJECTED, reason, clock.stages)

    def _view(self, source, viewpoint):
        """Function that returns what the sensor saw, once it is asked for; None if unknown."""
        if viewpoint is None:
            return None
        look = Sight if self.options.upright else View.of
        return cache(partial(look, source.full.points, viewpoint))

    def _contests(self, source, viewpoint, view, prior, near, threshold):
        """Where in the reference a source may lie: a :class:`Contest` for each site."""
        large = self._atlas.is_for(source.full, self._refiner.target)
        upright = self.options.upright
        if upright and large and near:
            window = self._atlas.sites(source.full, [prior])
            sites = dict.fromkeys(window, ())
        elif upright and not near:
            allowed = None if prior is None else prior.plausible
            found = self._search.propose(source.full, viewpoint, _PROPOSALS, allowed)
            likely = [p for p in found if p.score > _LIKELY * found[0].score]
            sites = self._atlas.sites(source.full, likely) if large else {self._whole: likely}
        else:
            sites = {}
        contests = []
        for site, proposals in list(sites.items())[:_SITES] or [(self._whole, ())]:
            # Near a prior that leaves no room for another place than the one that ICP finds from
            # it, what came since the map was made must not count as one.
            room = _ROOM * site.refiner.start_distance(source)
            roomy = prior is None or prior.reach(source.full.radius) > room
            seen = view() if view and roomy else None
            place = upright and seen is not None
            contest = self._contest(site, source, prior, seen, place, threshold)
            contest.enter(proposals)
            contests.append(contest)
            if site is self._whole or near:
                contest.begin(roomy)
        return contests

    def _contest(self, site, source, prior, sight, place, threshold):
        learned = self._host.predictor.loaded.confidence if self._host else None
        hypotheses = self.options.hypotheses
        return Contest(site, source, prior, sight, place, learned, threshold, hypotheses)

    def _winner(self, contests):
        """The contest whose chosen candidate is the likeliest."""
        return max(contests, key=lambda contest: contest.rank)

    def _observed(self, refiner, source, answer, prior, threshold):
        """
        An answer with its free directions.

        Where it contradicts the prior and only a few points say so, that of most points instead.
        """
        target, found = refiner.target, answer.best.agreement
        support = 0.0 if prior is None else self.options.min_support
        free = free_directions(target, source.full, found, support)
        answer = answer._replace(free=free)
        if prior is None:
            return answer
        covariance = pose_covariance(found, free, target, source.full, self._radius)
        if not prior.contradicted(found.transform, covariance):
            return answer
        spread = plane_spread(found, target, source.full)
        most = majority(target, source.full, prior, found.transform, found.distance, spread)
        if most is None:
            return answer
        chosen, best = refiner.stay(source, most.transform)
        if GEOMETRIC.confidence(Fit.of(chosen.agreement)) < threshold:
            return answer
        return Answer(chosen, best, most.free, most.held)

    def _given(self, transform, frame):
        """A transform between the local frames as one between the given frames."""
        return compose(self._frame.transform, transform, inverse(frame.transform))


def register(source, target, init=None, options=None):
    """
    Register two clouds once, with the weights of the package.

    The target is made ready at each call: for several clouds against one, build a
    :class:`Registrar` and keep it.

    :param source: (N, 3) float points [m], in the source frame; rows with NaN or Inf are dropped.
    :param target: (M, 3) float points [m], in the target frame; likewise.
    :param init: (4, 4) ``T_target_source`` that is believed to be near, or None for anywhere.
    :param options: :class:`RegistrationOptions`; None takes the defaults.
    :returns: :class:`Registration`.
    :raises CloudError: one of the clouds cannot be registered.
    :raises ParameterError: ``init`` is not rigid, or what :class:`Registrar` says of its options.
    :raises WeightsError: the weights of the package cannot be loaded.
    """
    try:
        registrar = Registrar(target, options=options)
    except CloudError as error:
        # Whoever calls this has given a target and knows of no reference.
        raise CloudError(f'target: {str(error).removeprefix("reference: ")}') from None
    return registrar.register(source, init)


def _said(value):
    """What was passed, in one line."""
    return ' '.join(repr(value).split())[:80]


class _Stopwatch:
    """Wall time of successive stages, in milliseconds by name."""

    def __init__(self):
        self.stages = {}
        self._last = time.perf_counter()

    def lap(self, name):
        now = time.perf_counter()
        self.stages[name] = 1e3 * (now - self._last)
        self._last = now
