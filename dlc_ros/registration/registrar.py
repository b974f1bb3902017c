"""The one entry of registration: a reference, then clouds in and :class:`Registration` out."""

import time

import numpy as np

from dlc_ros.registration.cloud import LocalFrame, cloud_radius, unit_mismatch, validate_cloud
from dlc_ros.registration.confidence import GEOMETRIC, Fit
from dlc_ros.registration.gate import judge
from dlc_ros.registration.host import Host
from dlc_ros.registration.majority import majority
from dlc_ros.registration.observability import free_directions
from dlc_ros.registration.options import RegistrationOptions
from dlc_ros.registration.prior import PosePrior
from dlc_ros.registration.refine import Refiner
from dlc_ros.registration.result import Registration, Status
from dlc_ros.registration.se3 import compose, compose_jacobians, inverse, symmetric
from dlc_ros.registration.selection import Answer, Selection
from dlc_ros.registration.uncertainty import CORRELATION, plane_spread, pose_covariance

# First correspondence distance of a start that nobody predicted, at most, in radii of the
# smaller cloud: about 15 degrees of turn.
_COARSE_RADII = 0.25
# Largest correspondence distance in radii of the source: coarser clouds lie on anything.
_COARSEST = 0.5
# How many times as many hypotheses are looked at when the first ones do not convince.
_SECOND_LOOK = 4


class Registrar:
    """
    Registers clouds against one reference; built once, used for any number of clouds.

    Equal input gives equal bits (with ``threads=1``); nothing is remembered between clouds.
    """

    def __init__(self, reference, weights=None, options=None):
        """
        Check and prepare the reference: search tree, normals and descriptors.

        :param reference: (N, 3) float points [m]; its frame is the target frame.
        :param weights: weights file of the predictor; None takes those of the package.
        :param options: :class:`RegistrationOptions`; None takes the defaults.
        :raises CloudError: the reference cannot be registered against.
        :raises WeightsError: the weights cannot be loaded.
        :raises ParameterError: the refining library is not available.
        """
        self.options = options or RegistrationOptions()
        points = validate_cloud(reference, self.options.min_points, 'reference')
        self._frame = LocalFrame.of(points)
        local = self._frame.localize(points)
        self._radius = cloud_radius(local)
        self._refiner = Refiner(local, self.options)
        self._host = None
        if self.options.use_predictor:
            self._host = Host(weights, self.options.device, self._refiner.target.points)

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

    def register(self, cloud, init=None, init_covariance=None):
        """
        Find where a cloud lies in the reference's frame.

        :param cloud: (N, 3) float points [m] in the source frame; rows with NaN or Inf are
            dropped.
        :param init: (4, 4) ``T_target_source`` that is believed to be near, or None for
            anywhere.
        :param init_covariance: (6, 6) of ``init``, order x y z roll pitch yaw, target axes; None
            takes 30 deg and 0.3 radii of the reference (standard deviations, at the cloud).
        :returns: :class:`Registration`; a rejected one still holds the best transform found.
        :raises CloudError: the cloud cannot be registered.
        :raises ParameterError: ``init`` is not rigid, ``init_covariance`` no covariance.
        """
        clock = _Stopwatch()
        points = validate_cloud(cloud, self.options.min_points, 'source')
        frame = LocalFrame.of(points)
        local = frame.localize(points)
        prior = None
        if init is not None:
            prior = PosePrior.of(init, init_covariance, self._frame, frame, self._radius)
        mismatch = unit_mismatch(cloud_radius(local), self._radius)
        clock.lap('validate')
        if mismatch and prior is None:
            # A long search would end in the same words.
            return self._refused(mismatch, frame, clock)

        def search():
            return self._search(local, frame, prior, mismatch, clock)

        return self._host.run(search) if self._host else search()

    def _search(self, local, frame, prior, mismatch, clock):
        """Register a checked cloud in its local frame."""
        source = self._refiner.prepare(local)
        clock.lap('reduce')
        coarse = self._too_coarse(source.full)
        if coarse:
            return self._refused(f'{mismatch}; {coarse}' if mismatch else coarse, frame, clock)
        landscape = self._landscape(source)
        starts = self._starts(source, prior, landscape)
        clock.lap('predict')
        # Candidates compete on a thinned source; the winner is carried to full resolution.
        candidates = [self._refiner.compete(source, *start) for start in starts]
        # Descriptors tell look-alikes apart where nothing else does. A narrow prior rules those
        # out better, and near it a scene in which things moved must not count as another one.
        reach = np.inf if prior is None else prior.reach(source.full.radius)
        witness = landscape if reach > _COARSE_RADII * source.full.radius else None
        selection = self._selection(source, prior, witness)
        chosen = selection.choose(candidates)
        if witness is not None and selection.doubts(chosen):
            more = landscape.propose(prior, _SECOND_LOOK * self.options.hypotheses)
            candidates += [self._refiner.compete(source, h.transform) for h in more]
            chosen = selection.choose(candidates)
        answer = Answer(chosen, self._refiner.finish(source, chosen))
        clock.lap('refine')
        answer = self._observed(source, answer, prior)
        best, free = answer.best, answer.free
        evidence = selection.evidence(answer, candidates)
        verdict = judge(evidence, self.options.min_confidence)
        reason = verdict.reason
        if mismatch and verdict.status is not Status.ACCEPTED:
            reason = f'{mismatch}; {reason}'
        degenerate = verdict.status is Status.DEGENERATE
        covariance = self._covariance(best.agreement, free, source.full)
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
            candidates=tuple(self._given(candidate.transform, frame) for candidate in candidates),
        )

    def _too_coarse(self, source):
        """Why the spacing of the points leaves no shape to recognise, or an empty string."""
        spacing = self._refiner.target.pitch
        if source.radius < spacing:
            return (
                f'the source is smaller (radius {source.radius:.2g} m) than the spacing of the'
                f" reference's points ({spacing:.2g} m): check its unit, or its sensor"
            )
        distance = self._refiner.fine_distance(source)
        if distance > _COARSEST * source.radius:
            return (
                f'the points lie too far apart for their extent: they are compared within'
                f' {distance:.2g} m, the source has a radius of {source.radius:.2g} m; give more'
                ' points'
            )
        return ''

    def _refused(self, reason, frame, clock):
        """A rejection without a search: centroids aligned, nothing known."""
        spread = np.repeat([self._radius, np.pi / np.sqrt(3.0)], 3)
        transform = self._given(np.eye(4), frame)
        return Registration(
            transform, np.diag(spread**2), 0.0, Status.REJECTED, reason, clock.stages
        )

    def _landscape(self, source):
        """The predictor's energy over poses of this source; None without a predictor."""
        if self._host is None:
            return None
        predictor, reference = self._host.predictor, self._host.reference
        return predictor.landscape(
            predictor.describe(source.full.points, reference.scale), reference
        )

    def _starts(self, source, prior, landscape):
        """Poses to refine, each with its first correspondence distance (None: near)."""
        starts = []
        if landscape is not None:
            found = landscape.propose(prior, self.options.hypotheses)
            starts = [(hypothesis.transform, None) for hypothesis in found]
            if prior is not None:
                starts = [start for start in starts if prior.plausible(start[0])]
        if prior is not None or landscape is None:
            guess = np.eye(4) if prior is None else prior.transform
            near = 0.5 * self._refiner.start_distance(source)
            if not any(_apart(guess, start, source.full) < near for start, _ in starts):
                starts.append((guess, None))
            radius = min(self._refiner.target.radius, source.full.radius)
            reach = radius if prior is None else prior.reach(radius)
            wide = min(reach, _COARSE_RADII * radius)
            if wide > 2.0 * self._refiner.start_distance(source):
                starts.append((guess, wide))
        return starts

    def _selection(self, source, prior, witness):
        """How candidates of a source compete."""
        learned = self._host.predictor.loaded.confidence if self._host else None
        sure = self.options.min_confidence
        return Selection(self._refiner, source, prior, witness, learned, sure)

    def _observed(self, source, answer, prior):
        """
        An answer with its free directions.

        Where it contradicts the prior and only a few points say so, that of most points instead.
        """
        target, found = self._refiner.target, answer.best.agreement
        support = 0.0 if prior is None else self.options.min_support
        free = free_directions(target, source.full, found, support)
        answer = answer._replace(free=free)
        if prior is None:
            return answer
        if not prior.contradicted(found.transform, self._covariance(found, free, source.full)):
            return answer
        spread = np.sqrt(CORRELATION) * plane_spread(found, target, source.full, self._radius)
        most = majority(target, source.full, prior, found.transform, found.distance, spread)
        if most is None:
            return answer
        chosen, best = self._refiner.stay(source, most.transform)
        if GEOMETRIC.confidence(Fit.of(chosen.agreement)) < self.options.min_confidence:
            return answer
        return Answer(chosen, best, most.free, most.held)

    def _covariance(self, found, free, source):
        """(6, 6) of a pose between the local frames."""
        return pose_covariance(found, free, self._refiner.target, source, self._radius)

    def _given(self, transform, frame):
        """A transform between the local frames as one between the given frames."""
        return compose(self._frame.transform, transform, inverse(frame.transform))


def register(source, target, init=None):
    """
    Register two clouds with the default options and the weights of the package.

    :param source: (N, 3) float points [m].
    :param target: (M, 3) float points [m].
    :param init: (4, 4) ``T_target_source`` that is believed to be near, or None for anywhere.
    :returns: :class:`Registration`.
    :raises DlcError: what :class:`Registrar` raises.
    """
    return Registrar(target).register(source, init)


def _apart(one, other, source):
    """Root mean square distance of a source's points between two poses (4, 4) [m], about."""
    turn = np.linalg.norm(one[:3, :3] - other[:3, :3]) / np.sqrt(3.0)
    return np.hypot(np.linalg.norm(one[:3, 3] - other[:3, 3]), turn * source.radius)


class _Stopwatch:
    """Wall time of successive stages, in milliseconds by name."""

    def __init__(self):
        self.stages = {}
        self._last = time.perf_counter()

    def lap(self, name):
        now = time.perf_counter()
        self.stages[name] = 1e3 * (now - self._last)
        self._last = now
