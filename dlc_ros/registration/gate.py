"""From evidence to what a robot may do: confidence, status and the reason, in numbers."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dlc_ros.registration.result import Status


class _Model(NamedTuple):
    """Logistic model of "this pose is right"; one weight for each kind of evidence."""

    bias: float
    contrast: float
    log_residual: float
    coverage: float
    normals: float
    support: float

    def logit(self, evidence):
        # Below 1 the residual only says that the clouds share samples.
        return (
            self.bias
            + self.contrast * evidence.contrast
            + self.log_residual * np.log(max(evidence.residual_ratio, 0.5))
            + self.coverage * evidence.coverage
            + self.normals * evidence.normal_agreement
            + self.support * (evidence.support or 0.0)
        )


# Fitted to right poses and to the best wrong ones (other solids, other rooms, look-alike poses)
# of generated pairs at the resolution of competing clouds: with a predictor, by `dlc-eval
# calibrate` for the weights of the package, and without. The latter, which judges near a prior,
# is older: what calibrate fits to objects distrusts a scene in which something moves.
_LEARNED = _Model(-12.44, 0.00, -7.79, 0.00, 11.88, 4.26)
_GEOMETRIC = _Model(-14.72, 6.78, -5.49, 3.99, 7.20, 0.0)
# A rival is as good when the mean difference of the point-wise agreement is below this, or
# below what chance explains.
_EQUAL_SCORE = 0.02
_STANDARD_ERRORS = 2.0
# Motion between two poses, in fine correspondence distances, from which they are two answers.
_DIFFERENT = 3.0
# Share of a free motion that must be rotation to call it a turn.
_TURNING = 0.2


@dataclass(frozen=True)
class Rival:
    """
    Another pose that was refined, compared with the chosen one.

    :param transform: (4, 4) ``T_target_source``.
    :param motion: root mean square motion of the points between the two, other than along the
        free directions, in fine correspondence distances.
    :param deficit: how much lower its agreement is, mean over points of 0..1.
    :param deficit_error: standard error of ``deficit``.
    :param excluded: the prior tells the two apart.
    """

    transform: np.ndarray
    motion: float
    deficit: float
    deficit_error: float
    excluded: bool = False

    @property
    def equal(self):
        """Whether it is another answer that explains the clouds as well."""
        limit = max(_EQUAL_SCORE, _STANDARD_ERRORS * self.deficit_error)
        return not self.excluded and self.motion > _DIFFERENT and self.deficit < limit


@dataclass(frozen=True)
class Fit:
    """
    How well two clouds agree at a pose, measured on the thinned ones that candidates compete on.

    That is one resolution for all clouds, at which a slightly bent map does not look like a
    wrong pose.

    :param contrast: points on the other surface as a share of those near it, 0..1.
    :param residual_ratio: plane distance of the inliers in units of what roughness explains.
    :param coverage: share of the source on the target, or of the target on the source within
        the source's reach, whichever is larger, 0..1.
    :param normal_agreement: mean |cosine| between normals of matched points, 0..1.
    :param support: share of the keypoints expected to match that do,
        :meth:`dlc_ros.registration.energy.MixtureEnergy.support`; None without a predictor.
    """

    contrast: float
    residual_ratio: float
    coverage: float
    normal_agreement: float
    support: float | None = None

    @classmethod
    def of(cls, agreement, support=None):
        """Take the evidence from an :class:`Agreement`."""
        return cls(
            contrast=agreement.contrast,
            residual_ratio=agreement.residual_ratio,
            coverage=max(agreement.inlier_fraction, agreement.reverse_fraction),
            normal_agreement=agreement.normal_agreement,
            support=support,
        )


@dataclass(frozen=True)
class Evidence:
    """
    What is known about a refined pose; made by the registrar, judged by :func:`judge`.

    :param fit: :class:`Fit` of the chosen pose.
    :param inlier_fraction: share of source points on the target at full resolution, 0..1.
    :param score: agreement of the chosen candidate in both directions, 0..1.
    :param free_directions: (6, k) screws along which the source slides on the target.
    :param radius: root mean square distance of the source's points from its origin [m].
    :param rivals: tuple of :class:`Rival`.
    :param contradicting: share of the points that alone hold the free directions and contradict
        the prior along them, 0..1.
    """

    fit: Fit
    inlier_fraction: float
    score: float
    free_directions: np.ndarray
    radius: float
    rivals: tuple = ()
    contradicting: float = 0.0


class Verdict(NamedTuple):
    """Answer of :func:`judge`."""

    confidence: float
    status: Status
    reason: str


def confidence(fit):
    """
    Estimated probability that a pose is right, free directions and rivals aside.

    :param fit: :class:`Fit`.
    :returns: float, 0..1; 0 without inliers.
    """
    if fit.coverage <= 0.0 or not np.isfinite(fit.residual_ratio):
        return 0.0
    model = _GEOMETRIC if fit.support is None else _LEARNED
    return float(1.0 / (1.0 + np.exp(-model.logit(fit))))


def judge(evidence, min_confidence):
    """
    Status of a refined pose.

    Precedence: a wrong pose is REJECTED whatever else holds; one of several equal answers is
    AMBIGUOUS (nothing of it may be used); a right one that can slide is DEGENERATE (all of it
    but the free directions may be used).

    :param evidence: :class:`Evidence`.
    :param min_confidence: threshold of the confidence, 0..1.
    :returns: :class:`Verdict`.
    """
    sure = confidence(evidence.fit)
    facts = (
        f'{evidence.inlier_fraction:.0%} of the source lies on the target, residual'
        f" {evidence.fit.residual_ratio:.1f} times what the clouds' roughness explains"
    )
    if sure < min_confidence:
        weakest = _weakest(evidence)
        return Verdict(
            sure,
            Status.REJECTED,
            f'confidence {sure:.2f} is below {min_confidence:.2f}: {facts}; {weakest}',
        )
    equal = [rival for rival in evidence.rivals if rival.equal]
    if equal:
        best = min(equal, key=lambda rival: rival.deficit)
        return Verdict(
            sure,
            Status.AMBIGUOUS,
            f'{len(equal)} other pose{"s" if len(equal) > 1 else ""} explain'
            f'{"" if len(equal) > 1 else "s"} the clouds as well (agreement {evidence.score:.2f},'
            f' the nearest rival {evidence.score - best.deficit:.2f}); an initial pose would'
            ' tell them apart',
        )
    free = evidence.free_directions.shape[1]
    if free:
        words = describe_freedom(evidence.free_directions, evidence.radius)
        cause = f'the clouds slide on each other along {free} of 6 directions ({words})'
        if evidence.contradicting:
            cause = (
                f'something moved: {evidence.contradicting:.0%} of the points alone hold {free}'
                f' of 6 directions ({words}) and contradict the initial pose'
            )
        return Verdict(sure, Status.DEGENERATE, f'{cause}; {facts}')
    return Verdict(sure, Status.ACCEPTED, f'confidence {sure:.2f}: {facts}')


def _weakest(evidence):
    """What a person should look at first when a registration is rejected."""
    if evidence.inlier_fraction < 0.3:
        return 'too little overlap, or a wrong initial pose'
    if evidence.fit.residual_ratio > 1.5:
        return 'the surfaces do not fit: another object, or a wrong pose'
    return 'too many points lie beside the surface: another object, or a wrong pose'


def describe_freedom(screws, radius):
    """
    Free directions in words.

    :param screws: (6, k) from :func:`dlc_ros.registration.observability.free_directions`.
    :param radius: root mean square distance of the source's points from its origin [m].
    :returns: str such as ``'shifts along (0.00, 0.00, 1.00)'``, axes of the target frame.
    """
    # Turning parts first; what is left of the span is pure shifts.
    _, sizes, mix = np.linalg.svd(radius * screws[3:])
    turns = int((sizes > _TURNING).sum())
    mixed = screws @ mix.T
    words = [f'turns about {_axis(column[3:])}' for column in mixed.T[:turns]]
    words += [f'shifts along {_axis(column[:3])}' for column in mixed.T[turns:]]
    return ', '.join(words)


def _axis(vector):
    """Unit vector in words, its largest component positive."""
    vector = vector / vector[np.argmax(np.abs(vector))]
    vector = vector / np.linalg.norm(vector) + 0.0
    return f'({", ".join(f"{value:.2f}" for value in vector)})'
