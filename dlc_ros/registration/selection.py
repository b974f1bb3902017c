"""The choice among refined candidates, and the evidence for and against the chosen one."""

from typing import NamedTuple

import numpy as np

from dlc_ros.registration.confidence import GEOMETRIC, PLACES, Fit
from dlc_ros.registration.gate import Evidence, Rival
from dlc_ros.registration.observability import is_plane, unexplained_motion
from dlc_ros.registration.refine import Refinement
from dlc_ros.registration.se3 import inverse, transform_points

# Independent neighbours in the comparison of two poses: a target plane serves several points.
_COMPARED = 4.0
# How far before what was seen the reference must stand to be looked through, in correspondence
# distances.
_BEFORE = 0.5
# Share of the target that a pose must have the sensor look through, beyond that of another, to be
# told apart from it.
_OPPOSED = 0.04
_TINY = 1e-9


class Candidate(NamedTuple):
    """
    A pose that competes.

    :param refined: its :class:`Refinement`, on thinned clouds.
    :param fit: what is seen of it, a :class:`~dlc_ros.registration.confidence.Fit`.
    :param odds: what else speaks for it, a logarithm; None where no candidate has any.
    """

    refined: Refinement
    fit: Fit
    odds: float | None = None


class Answer(NamedTuple):
    """
    A pose and what holds it.

    :param chosen: :class:`Refinement` of the winning candidate, on thinned clouds.
    :param best: its :class:`Refinement` at full resolution.
    :param free: (6, k) screws along which the source slides on the target.
    :param held: share of the points that alone hold ``free`` and contradict the prior, 0..1.
    """

    chosen: Refinement
    best: Refinement
    free: np.ndarray = np.zeros((6, 0))
    held: float = 0.0


class Selection:
    """The candidates of one source, competing; nothing of it outlives a registration."""

    def __init__(self, refiner, source, prior, witness, sight, place, learned, min_confidence):
        """
        Take what candidates are judged by.

        :param refiner: :class:`Refiner` that refined them.
        :param source: what :meth:`Refiner.prepare` made.
        :param prior: :class:`PosePrior` or None.
        :param witness: the predictor's :class:`Landscape`, where its descriptors are to be heard,
            or None.
        :param sight: what the sensor saw, :class:`~dlc_ros.registration.sight.Sight` or
            :class:`~dlc_ros.registration.sight.View`, or None.
        :param place: whether it is a scan that is searched for in a place.
        :param learned: :class:`~dlc_ros.registration.confidence.Model` that goes with the witness.
        :param min_confidence: below which a candidate does not convince.
        """
        self._refiner, self._source, self._prior = refiner, source, prior
        self._witness, self._sight, self._min_confidence = witness, sight, min_confidence
        self._place = place
        if place:
            self._model = PLACES
        elif witness is None:
            self._model = GEOMETRIC
        else:
            self._model = learned if sight is None else learned.with_view()

    def candidates(self, refinements, odds):
        """
        Look at poses that were refined on thinned clouds.

        :param refinements: list of :class:`Refinement`.
        :param odds: ``Candidate.odds`` of each.
        :returns: list of :class:`Candidate`.
        """
        seen = [refinement.agreement for refinement in refinements]
        support = self._support([agreement.transform for agreement in seen])
        fits = [
            Fit.of(agreement, known, self._crossed(agreement))
            for agreement, known in zip(seen, support, strict=True)
        ]
        return [Candidate(*parts) for parts in zip(refinements, fits, odds, strict=True)]

    def confidence(self, fit):
        """Estimated probability that a pose with this :class:`Fit` is right."""
        return self._model.confidence(fit)

    def choose(self, candidates):
        """The likeliest of a list of :class:`Candidate` among those that the prior allows."""
        order = sorted(candidates, key=self.rank, reverse=True)
        prior = self._prior
        if prior is not None:
            order = [c for c in order if prior.plausible(c.refined.transform)] or order
        return order[0]

    def rank(self, candidate):
        """Tuple by which candidates are compared, also with those elsewhere; the larger wins."""
        sure, score = self.confidence(candidate.fit), candidate.refined.score
        if candidate.odds is None:
            # Where the confidence saturates, the agreement decides.
            return round(sure, 3), score
        return float(np.log((sure + _TINY) / (1.0 - sure + _TINY)) + candidate.odds), score

    def doubts(self, candidate):
        """Whether a :class:`Candidate` would be rejected."""
        return self.confidence(candidate.fit) < self._min_confidence

    def judged(self, answer):
        """:class:`Fit` of an :class:`Answer`, as candidates have one."""
        chosen, best = answer.chosen, answer.best
        seen = chosen.agreement
        if best is not chosen:
            seen = self._refiner.compare(self._source, best.transform)
        return Fit.of(seen, self._support([best.transform])[0], self._crossed(seen))

    def evidence(self, answer, fit, candidates, elsewhere=()):
        """
        What the gate wants to know about an answer.

        :param answer: :class:`Answer`.
        :param fit: its :class:`Fit`, see :meth:`judged`.
        :param candidates: list of :class:`Candidate`, the chosen one among them.
        :param elsewhere: :class:`Refinement` of the same source onto other parts of the
            reference, those that convince there, each with its ``Rival.allowance``.
        :returns: :class:`Evidence`.
        """
        best = answer.best
        # What slides has little that descriptors could recognise; a prior says where it is.
        slides = answer.free.shape[1] > 0 and self._prior is not None
        model = GEOMETRIC if slides else self._model
        return Evidence(
            confidence=model.confidence(fit),
            residual_ratio=fit.residual_ratio,
            inlier_fraction=best.inlier_fraction,
            score=answer.chosen.score,
            free_directions=answer.free,
            radius=self._source.full.radius,
            rivals=self._rivals(answer, fit, candidates, elsewhere),
            contradicting=answer.held,
            crossed=fit.crossed or 0.0,
            started=self._prior is not None,
            one_of_many_planes=self._is_one_of_many_planes(),
        )

    def _is_one_of_many_planes(self):
        """Whether only a nearer prior could tell on which plane of the target a plane lies."""
        source, prior = self._source.full, self._prior
        if prior is not None and prior.is_near(source.radius):
            return False
        return is_plane(source) and not is_plane(self._refiner.target)

    def _rivals(self, answer, fit, candidates, elsewhere):
        """The other candidates, compared with the chosen one."""
        chosen, free, prior = answer.chosen, answer.free, self._prior
        found = chosen.agreement
        # Of other parts of the reference other points were compared: the source's alone count.
        own = slice(found.compared)
        compared = [(c.refined, slice(None), 0.0, self._opposes(c.fit, fit)) for c in candidates]
        compared += [(c, own, allowance, False) for c, allowance in elsewhere]
        rivals = []
        for candidate, part, allowance, opposed in compared:
            if candidate is chosen:
                continue
            difference = found.qualities[part] - candidate.agreement.qualities[part]
            chance = difference.std() * np.sqrt(_COMPARED / len(difference))
            deficit = found.score - candidate.score
            if part is own:
                deficit = float(difference.mean())
            motion = unexplained_motion(found, candidate.transform, free)
            told_apart = prior is not None and prior.separates(
                chosen.transform, candidate.transform
            )
            rivals.append(
                Rival(
                    transform=candidate.transform,
                    motion=motion / found.distance,
                    deficit=deficit,
                    deficit_error=float(chance),
                    excluded=told_apart or opposed,
                    allowance=allowance,
                )
            )
        return tuple(rivals)

    def _opposes(self, rival, fit):
        """Whether the view of a thing tells a rival's :class:`Fit` from the chosen one's."""
        # In a place what came since the map was made is looked through as well.
        if self._place or self._sight is None:
            return False
        return rival.crossed > fit.crossed + _OPPOSED

    def _crossed(self, agreement):
        """Share of the reference that the sensor looked through; None where nobody asks."""
        if self._sight is None:
            return None
        back = inverse(agreement.transform)
        target = transform_points(back, self._refiner.coarse_target.points)
        return self._sight.crossed(target, _BEFORE * agreement.distance)

    def _support(self, transforms):
        """Support of each pose by the descriptors, 0..1; None for all without a witness."""
        if self._witness is None or not transforms:
            return [None] * len(transforms)
        return self._witness.support(transforms).tolist()
