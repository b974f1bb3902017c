"""From evidence to what a robot may do: status and the reason, in numbers."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dlc_ros.registration.result import Status

# A rival is as good when the mean difference of the point-wise agreement is below this, or
# below what chance explains.
_EQUAL_SCORE = 0.02
_STANDARD_ERRORS = 2.0
# Motion between two poses, in fine correspondence distances, from which they are two answers.
_DIFFERENT = 3.0
# Share of the target that must have been seen through to name it as what is wrong.
_CROSSED = 0.05
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
    :param allowance: deficit that does not tell the two apart: what was not mapped, or moved.
    """

    transform: np.ndarray
    motion: float
    deficit: float
    deficit_error: float
    excluded: bool = False
    allowance: float = 0.0

    @property
    def equal(self):
        """Whether it is another answer that explains the clouds as well."""
        limit = max(_EQUAL_SCORE, _STANDARD_ERRORS * self.deficit_error, self.allowance)
        return not self.excluded and self.motion > _DIFFERENT and self.deficit < limit


@dataclass(frozen=True)
class Evidence:
    """
    What is known about a refined pose; made by the registrar, judged by :func:`judge`.

    :param confidence: probability that it is right, free directions and rivals aside, 0..1.
    :param residual_ratio: residual in units of what the clouds' roughness explains.
    :param inlier_fraction: share of source points on the target at full resolution, 0..1.
    :param score: agreement of the chosen candidate in both directions, 0..1.
    :param free_directions: (6, k) screws along which the source slides on the target.
    :param radius: root mean square distance of the source's points from its origin [m].
    :param rivals: tuple of :class:`Rival`.
    :param contradicting: share of the points that alone hold the free directions and contradict
        the prior along them, 0..1.
    :param crossed: share of the target that stands where the sensor looked through, 0..1; 0 where
        that was not asked.
    :param started: an initial pose was given.
    :param one_of_many_planes: the source is a plane, the target has others than the one that it
        lies on, and no near prior says which.
    """

    confidence: float
    residual_ratio: float
    inlier_fraction: float
    score: float
    free_directions: np.ndarray
    radius: float
    rivals: tuple = ()
    contradicting: float = 0.0
    crossed: float = 0.0
    started: bool = False
    one_of_many_planes: bool = False


class Verdict(NamedTuple):
    """Answer of :func:`judge`."""

    confidence: float
    status: Status
    reason: str


def judge(evidence, min_confidence):
    """
    Status of a refined pose.

    Precedence: a wrong pose is REJECTED whatever else holds; one of several equal answers is
    AMBIGUOUS (nothing of it may be used); a right one that can slide is DEGENERATE (all of it
    but the free directions may be used), and one that can slide every way is REJECTED.

    :param evidence: :class:`Evidence`.
    :param min_confidence: threshold of the confidence, 0..1.
    :returns: :class:`Verdict`.
    """
    sure = evidence.confidence
    facts = (
        f'{evidence.inlier_fraction:.0%} of the source lies on the target, residual'
        f" {evidence.residual_ratio:.1f} times what the clouds' roughness explains"
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
    if evidence.one_of_many_planes:
        return Verdict(
            sure,
            Status.AMBIGUOUS,
            'the source is a plane and fits any plane of the target; a nearer initial pose would'
            f' tell which: {facts}',
        )
    free = evidence.free_directions.shape[1]
    if free == 6 and not evidence.contradicting:
        return Verdict(
            sure, Status.REJECTED, f'nothing of the pose follows from the clouds: {facts}'
        )
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
    if evidence.crossed > _CROSSED:
        return (
            f'the sensor saw through {evidence.crossed:.0%} of the target: a wrong pose, another'
            ' place, or a viewpoint that is not where the cloud was seen from'
        )
    if evidence.inlier_fraction < 0.3:
        return 'too little overlap' + (', or a wrong initial pose' if evidence.started else '')
    if evidence.residual_ratio > 1.5:
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
