"""What is believed about all references, and the lock that guards it."""

import threading

from dlc_ros.localization.diagnostics import Monitor
from dlc_ros.localization.intake import Intake
from dlc_ros.localization.odometry import OdometryWatch
from dlc_ros.localization.other_publishers import OtherPublishers
from dlc_ros.localization.output import CommandResult
from dlc_ros.localization.tracker import State


class Belief:
    """
    Shared by what registers clouds and what carries out commands; both hold :attr:`lock` then.

    :param parameters: :class:`~dlc_ros.localization.declarations.Parameters`.
    :param mode: :class:`MapMode` or :class:`ObjectMode`.
    :param log: see :class:`~dlc_ros.localization.localizer.Localizer`.
    :param name: of the node.
    """

    def __init__(self, parameters, mode, log, name):
        self.parameters = parameters
        self.mode = mode
        self.log = log
        self.lock = threading.RLock()  # held for microseconds
        self.cloud_topic = parameters.topics.points
        self.registering = threading.Lock()  # held while a cloud is registered
        self.trackers = {}
        self.intake = Intake()
        self.odometry = OdometryWatch()
        self.others = OtherPublishers()
        self.monitor = Monitor(name)
        self._silent = self._told_of_silence = False

    @property
    def tracking(self):
        """Trackers whose pose is confirmed."""
        return [t for t in self.trackers.values() if t.state is State.TRACKING]

    @property
    def children(self):
        """Frames whose parent is published from here."""
        return {self.mode.child(name) for name in tuple(self.trackers)} - {None}

    def watch(self, now_ns):
        """Leave TRACKING when no cloud has confirmed it for too long."""
        timeout, hold = self.parameters.tracking.cloud_timeout, self.parameters.hold_timeout
        if not self.intake.listening:
            self._silent = False
            self.rest()
            return
        if self.registering.locked():  # what takes long is not silent
            self.intake.busy(now_ns)
        silent_s = self.intake.silent_s(now_ns)
        self._silent = silent_s > timeout
        if self._silent:
            bridged = self.tracking if self.mode.bridges(now_ns) and silent_s <= hold else ()
            for tracker in self.trackers.values():
                if tracker not in bridged:
                    tracker.silence(f'no cloud for {timeout:g} s')
        # Where clocks differ (a recording without use_sim_time), the age means nothing.
        elif self.mode.expired(now_ns) and self.intake.age_s <= hold:
            for tracker in self.trackers.values():
                tracker.expire(f'no cloud confirmed the pose for {hold:g} s')

    def rest(self):
        """Leave TRACKING, since no clouds can come."""
        for tracker in self.trackers.values():
            tracker.silence('the node is not active: it takes no clouds')

    def tell_of_silence(self):
        """Log once that no clouds come; only a node that takes clouds misses them."""
        # Of clouds that come and are refused the reason has been told.
        if self._silent and not self._told_of_silence and not self.monitor.refused:
            self.log.warning(
                f'no cloud on {self.cloud_topic} for '
                f'{self.parameters.tracking.cloud_timeout:g} s: is topics.points the right '
                'topic, and does its publisher run?'
            )
        self._told_of_silence = self._silent

    def restart(self, reason):
        """Forget all that happened: time began anew."""
        self.log.warning(f'reset: {reason}')
        self.monitor.time_jumped()
        self.odometry.forget()
        self.reset(reason)
        self.mode.restart()

    def reset(self, reason):
        """Forget all poses."""
        for tracker in self.trackers.values():
            tracker.reset(reason)

    def report(self, kind, text):
        """Show a problem in the diagnostics; log it when it is new or was gone for a while."""
        if self.monitor.problem(kind, text):
            self.log.warning(text)

    def refuse(self, text, name=None):
        """
        Answer a command that is not carried out; logged and shown in the diagnostics.

        :param text: what is wrong and what to do.
        :param name: of the reference that stays without one because of it.
        :returns: :class:`~dlc_ros.localization.output.CommandResult`.
        """
        self.log.error(text)
        with self.lock:
            self.monitor.last_refusal = text
            tracker = self.trackers.get(name)
            if tracker is not None and tracker.reference is None:
                tracker.reason = text
        return CommandResult(False, text)

    def done(self, text):
        """Answer a command that was carried out; logged."""
        self.log.info(text)
        return CommandResult(True, text)

    def settle(self):
        """Log and count the state changes since the last time; returns them as a tuple."""
        changes = tuple(c for t in self.trackers.values() for c in t.take_changes())
        for change in changes:
            self.log.info(f'{change.name}: {change.before} -> {change.after}: {change.reason}')
            self.monitor.changed(change)
        return changes
