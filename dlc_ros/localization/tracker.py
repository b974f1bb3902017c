"""
The life of one reference: WAITING -> SEARCHING -> TRACKING -> LOST -> SEARCHING.

TRACKING is entered by an accepted cloud alone and left as soon as the pose is in doubt, so that
whatever is published between clouds may be published while TRACKING and only then.
"""

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from dlc_ros.localization.decision import Prior, error_between
from dlc_ros.localization.output import StateChange
from dlc_ros.registration.covariance import covariance_of_compose
from dlc_ros.registration.se3 import compose, inverse

# Without odometry a source counts as resting when its pose was the same for so long [s]: within
# the square of so many standard deviations (6 degrees of freedom, 99.9 %), to which the unsteady
# stand of a sensor adds these [m, rad].
_REST = 1.0
_SAME = 22.46
_UNSTEADY = np.repeat([0.002, 0.002], 3)

NO_REFERENCE = 'no reference is loaded: set it in the parameters or send ~/load_reference'


class State(Enum):
    """What is known about a reference."""

    WAITING = 'WAITING'  # nothing can be registered: no reference, no cloud, no sensor transform
    SEARCHING = 'SEARCHING'  # clouds are registered, near a pose in doubt or everywhere
    TRACKING = 'TRACKING'  # the last pose, moved to the cloud's stamp, is the prior of the next
    LOST = 'LOST'  # no cloud confirmed the pose for too long; the next one is searched


@dataclass(frozen=True)
class KnownPose:
    """
    A pose to start from.

    :param transform: (4, 4) ``T_reference_source``.
    :param covariance: (6, 6) of it, along the reference's axes.
    :param stamp_ns: when it held; None is the time of the next cloud.
    :param source_frame: frame of the source.
    :param fixed_from_source: (4, 4) where the source was in the fixed frame then, or None.
    :param accepted: whether it was registered; False for one that an operator gave.
    """

    transform: np.ndarray
    covariance: np.ndarray
    stamp_ns: int
    source_frame: str
    fixed_from_source: np.ndarray = None
    accepted: bool = True


class Tracker:
    """
    State of one reference; holds no lock and calls nobody.

    :param name: the map's frame or the object's name.
    :param reference: :class:`~dlc_ros.localization.references.Reference`, or None.
    """

    def __init__(self, name, reference=None):
        self.name = name
        self.reference = reference
        self.state = State.WAITING
        self.reason = 'no cloud yet' if reference else NO_REFERENCE
        self.pose = None  # KnownPose or None
        self.confirmed = None  # the last accepted one, until something speaks against it
        self.failures = 0  # clouds in a row without an accepted pose
        self.tries = 0  # of those, the ones that were registered
        self.search_seconds = 0.0  # what the last global search took; 0 before the first
        # Counts resets: an answer that was computed for an older epoch is void.
        self.epoch = 0
        self._anchor = None  # the surest of the poses that do not differ from the last
        self._rests_since_ns = 0
        self._changes = []

    def take_changes(self):
        """State changes since the last call, as a tuple."""
        changes, self._changes = tuple(self._changes), []
        return changes

    def begin(self, scene, growth):
        """
        Start on a cloud: settle the state and give the prior.

        :param scene: :class:`~dlc_ros.localization.scene.Scene`.
        :param growth: :class:`~dlc_ros.localization.declarations.PriorGrowth`.
        :returns: :class:`Prior`, or None for a global search.
        """
        prior = None
        if self.pose is not None:
            if self.pose.stamp_ns is None:  # it holds now; from here on the motion counts
                self.pose = replace(
                    self.pose,
                    stamp_ns=scene.stamp_ns,
                    fixed_from_source=scene.fixed_from_source,
                )
            prior = self._resting(scene) or predict(self.pose, scene, growth)
            if prior is None:
                self._give_up('the last pose says too little about where the sensor is now')
        if self.state is not State.TRACKING:
            where = 'everywhere'
            if prior is not None:
                where = f'near the {"last" if self.pose.accepted else "given"} pose'
            self._enter(State.SEARCHING, f'searching {where}')
        return prior

    def reach(self, scene, growth):
        """
        Where the source can be on this cloud, whether it was seen to rest or not.

        :returns: :class:`Prior`, or None where there is no pose or it says too little.
        """
        return None if self.pose is None else predict(self.pose, scene, growth)

    def accept(self, pose, reason):
        """Take an accepted :class:`KnownPose`."""
        self.pose = self.confirmed = pose
        self.failures = self.tries = 0
        if self._anchor is None or not _same(self._anchor, pose):
            self._anchor, self._rests_since_ns = pose, pose.stamp_ns
        elif np.linalg.det(pose.covariance) < np.linalg.det(self._anchor.covariance):
            self._anchor = pose
        self._enter(State.TRACKING, reason)

    def fail(self, reason, lost_after):
        """
        Note a cloud that was registered and gave no pose.

        After ``lost_after`` of them in a row the pose is given up, wherever it came from.
        """
        self.tries += 1
        if self.state is not State.TRACKING:
            self.confirmed = None
        if self.tries >= lost_after and self.pose is not None:
            self._give_up(f'{self.tries} clouds in a row without an accepted pose: {reason}')
        else:
            self._unconfirmed(reason, lost_after)

    def skip(self, reason, lost_after):
        """
        Note a cloud that could not be looked at; the pose is kept as the place to look first.

        It says nothing about the pose, but after ``lost_after`` clouds without an accepted one
        nobody has seen for too long that it still holds.
        """
        self._unconfirmed(reason, lost_after)

    def block(self, reason, lost_after):
        """Note a cloud that could not be used for want of a transform; the pose is kept."""
        self.failures += 1
        if self.state is not State.TRACKING or self.failures >= lost_after:
            self._enter(State.WAITING, reason)

    def silence(self, reason):
        """Note that no clouds come; the pose is kept as the place to look first."""
        self._anchor = None  # nobody saw whether it still rests
        if self.reference is not None:
            self._enter(State.WAITING, reason)

    def expire(self, reason):
        """Note that the pose was not confirmed for too long; it is where to look first."""
        if self.state is State.TRACKING:
            self._lose(reason)

    def doubt_odometry(self, reason):
        """Keep the last pose, but as one that nobody knows the motion since."""
        self.confirmed = None
        if self.pose is not None:
            self.pose = replace(self.pose, fixed_from_source=None)
        if self.state is State.TRACKING:
            self._enter(State.SEARCHING, reason)

    def start_from(self, pose, reason):
        """Take a pose that an operator gave; answers under way become void."""
        self.reset(reason)
        self.pose = pose

    def reset(self, reason):
        """Forget the pose and search; keeps the reference. Answers under way become void."""
        self.epoch += 1
        self.pose = self.confirmed = self._anchor = None
        self.failures = self.tries = 0
        if self.state is not State.WAITING:
            self._enter(State.SEARCHING, reason)

    def use(self, reference):
        """Take a reference; the pose stays, so reset first unless it is the same cloud."""
        self.reference = reference
        self.search_seconds = 0.0
        if self.state is State.WAITING:
            self.reason = 'no cloud yet'

    def _resting(self, scene):
        """
        Prior of a source that was seen to rest: where it came to rest, as surely as it was seen.

        What moves before it must not carry its pose along, step by step; see
        :func:`dlc_ros.registration.majority.majority`.
        """
        if self._anchor is None or scene.fixed_from_source is not None:
            return None
        if scene.source_frame != self._anchor.source_frame:
            return None
        if (self.pose.stamp_ns - self._rests_since_ns) * 1e-9 < _REST:
            return None
        return Prior(self._anchor.transform, self._anchor.covariance)

    def _unconfirmed(self, reason, lost_after):
        self.failures += 1
        self.reason = reason
        if self.failures > 1:
            self._anchor = None
        if self.failures >= lost_after and self.state is State.TRACKING:
            text = f'{self.failures} clouds in a row without an accepted pose: {reason}'
            self.failures = 0
            self._lose(text)

    def _lose(self, reason):
        """Leave TRACKING with the pose as the place to look first."""
        if self.tries:
            self.confirmed = None
        self._enter(State.LOST, reason)

    def _give_up(self, reason):
        accepted = self.pose.accepted
        self.pose = self.confirmed = self._anchor = None
        self.failures = self.tries = 0
        self._enter(State.LOST if accepted else State.SEARCHING, reason)

    def _enter(self, state, reason):
        if state is not self.state:
            self._changes.append(StateChange(self.name, self.state.value, state.value, reason))
            self.state = state
        self.reason = reason


def _same(anchor, pose):
    """Whether a pose does not differ from an earlier one beyond what both leave open."""
    if anchor.source_frame != pose.source_frame:
        return False
    error = error_between(pose.transform, anchor.transform)
    covariance = anchor.covariance + pose.covariance + np.diag(_UNSTEADY**2)
    return error @ np.linalg.solve(covariance, error) < _SAME


def predict(pose, scene, growth):
    """
    Where the last pose says the source is now.

    With a fixed frame the pose is moved by the source's motion in it and becomes less certain by
    the drift; without one it stays and becomes less certain by the motion that is allowed for.

    :param pose: :class:`KnownPose`.
    :param scene: the cloud's :class:`~dlc_ros.localization.scene.Scene`.
    :param growth: :class:`~dlc_ros.localization.declarations.PriorGrowth`.
    :returns: :class:`Prior`, or None if it says too little: another sensor without a known
        motion, or no angle that is certain enough.
    """
    seconds = max(0.0, (scene.stamp_ns - pose.stamp_ns) * 1e-9)
    if scene.fixed_from_source is not None and pose.fixed_from_source is not None:
        motion = compose(inverse(pose.fixed_from_source), scene.fixed_from_source)
        linear, angular = growth.linear_drift, growth.angular_drift
    elif scene.source_frame == pose.source_frame:
        motion = np.eye(4)
        linear, angular = growth.linear_speed, growth.angular_speed
    else:
        return None
    deviations = np.repeat([linear * seconds, angular * seconds], 3)
    covariance = covariance_of_compose(
        pose.transform, pose.covariance, motion, np.diag(deviations**2)
    )
    covariance += np.diag(np.repeat([growth.min_translation, growth.min_rotation], 3) ** 2)
    # The best known axis counts: about its axis of symmetry an object's angle is never known.
    if np.sqrt(np.linalg.eigvalsh(covariance[3:, 3:])[0]) > growth.max_rotation:
        return None
    return Prior(compose(pose.transform, motion), covariance)
