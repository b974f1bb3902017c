"""Counters and states as ``/diagnostics`` entries, so that an operator sees what a node does."""

import time
from collections import Counter, deque
from dataclasses import dataclass

import numpy as np

from dlc_ros.localization.output import DiagnosticStatus
from dlc_ros.localization.tracker import State

OK, WARN, ERROR, STALE = 0, 1, 2, 3

# Clouds over which rates and times are averaged.
_WINDOW = 50
# A topic is silent when nothing came for this long.
_SILENT_S = 5.0

# Problems after which the robot still gets what it asked for.
_HARMLESS = {'late', 'unstamped'}

_LEVELS = {
    State.WAITING: ERROR,
    State.SEARCHING: WARN,
    State.TRACKING: OK,
    State.LOST: ERROR,
}


@dataclass
class _Target:
    """What is counted for one reference."""

    registered: int = 0
    rejected: int = 0
    accepted_stamp_ns: int = None
    registration: object = None
    verdict: str = ''
    milliseconds: float = float('nan')


class Monitor:
    """
    Counts what happens to clouds; holds no lock and calls nobody.

    :param node: name of the node.
    :param clock: monotonic seconds.
    """

    def __init__(self, node, clock=time.monotonic):
        self._node = node
        self._clock = clock
        self.clouds_in = 0
        self.refused = Counter()  # dropped, by the kind of CloudRefused
        self.unstamped = 0  # used as if stamped at their arrival
        self.time_jumps = 0
        self.no_transform = 0  # not used: a transform was missing
        self.invalid = 0  # not used: not a usable cloud
        self.superseded = 0  # answers that a command made void
        self.last_refusal = ''
        self._targets = {}
        self._problems = {}
        self._problems_before = {}
        self._arrivals = deque(maxlen=_WINDOW)
        self._work_ms = deque(maxlen=_WINDOW)

    def received(self):
        """Note a cloud; the problems of the one before are over unless they come again."""
        self.clouds_in += 1
        self._arrivals.append(self._clock())
        self._problems_before, self._problems = self._problems, {}

    def problem(self, kind, text):
        """Note a problem with this cloud; returns whether the one before was free of it."""
        new = kind not in self._problems_before and kind not in self._problems
        self._problems[kind] = text
        return new

    def worked(self, seconds):
        """Note how long a cloud took in all."""
        self._work_ms.append(1e3 * seconds)

    def registered(self, name, registration, decision, seconds):
        """Note a registration, accepted or not."""
        target = self._targets.setdefault(name, _Target())
        target.registration = registration
        target.verdict = decision.reason
        target.milliseconds = 1e3 * seconds

    def accepted(self, name, stamp_ns):
        """Note a cloud that gave a pose."""
        target = self._targets.setdefault(name, _Target())
        target.registered += 1
        target.accepted_stamp_ns = stamp_ns

    def rejected(self, name):
        """Note a cloud that was registered but gave no pose."""
        self._targets.setdefault(name, _Target()).rejected += 1

    def time_jumped(self):
        """Note a restart of time: ages in the old time mean nothing."""
        self.time_jumps += 1
        for target in self._targets.values():
            target.accepted_stamp_ns = None

    def report(self, now_ns, skipped, trackers):
        """
        All entries.

        :param now_ns: the node's clock.
        :param skipped: clouds that a newer one replaced in the worker.
        :param trackers: iterable of :class:`~dlc_ros.localization.tracker.Tracker`.
        :returns: list of :class:`DiagnosticStatus`: ``input``, then two for each reference, its
            pose and its model.
        """
        entries = [self._input(skipped)]
        for tracker in trackers:
            entries.append(self._pose(tracker, now_ns))
            if tracker.reference is not None:
                entries.append(self._model(tracker))
        return entries

    def _status(self, level, task, message, values):
        texts = {key: _text(value) for key, value in values.items()}
        return DiagnosticStatus(level, f'{self._node}: {task}', message, texts)

    def _input(self, skipped):
        age = self._clock() - self._arrivals[-1] if self._arrivals else float('inf')
        if not self._arrivals:
            level, message = STALE, 'no cloud yet'
        elif age > _SILENT_S:
            level, message = STALE, f'no cloud for {age:.1f} s'
        elif self._problems:
            fatal = set(self._problems) - _HARMLESS
            level, message = ERROR if fatal else WARN, '; '.join(self._problems.values())
        else:
            level, message = OK, 'clouds arrive'
        return self._status(
            level,
            'input',
            message,
            {
                'clouds in': self.clouds_in,
                'rate [Hz]': self._rate(),
                'skipped (a newer one came)': skipped,
                'dropped: not newer than the last': self.refused['late'],
                'dropped: wrong frame': self.refused['frame'],
                'dropped: no stamp': self.refused['stamp'],
                'unusable: no transform': self.no_transform,
                'unusable: bad cloud': self.invalid,
                'without a stamp': self.unstamped,
                'time jumps': self.time_jumps,
                'answers made void by a command': self.superseded,
                'time per cloud, median [ms]': _quantile(self._work_ms, 0.5),
                'time per cloud, 95 % [ms]': _quantile(self._work_ms, 0.95),
                'last refused command': self.last_refusal,
            },
        )

    def _pose(self, tracker, now_ns):
        target = self._targets.get(tracker.name, _Target())
        level, message = _LEVELS[tracker.state], f'{tracker.state.value}: {tracker.reason}'
        if tracker.state is State.TRACKING and tracker.failures:
            level, message = WARN, f'TRACKING, but the last cloud was not used: {tracker.reason}'
        values = {
            'state': tracker.state.value,
            'registered': target.registered,
            'rejected': target.rejected,
            'without a pose in a row': tracker.failures,
        }
        if target.accepted_stamp_ns is not None:
            values['age of the pose [s]'] = (now_ns - target.accepted_stamp_ns) * 1e-9
        if target.registration is not None:
            registration = target.registration
            deviations = np.sqrt(np.maximum(np.diag(registration.covariance), 0.0))
            values.update(
                {
                    'status': registration.status.value,
                    'verdict': target.verdict,
                    'confidence': registration.confidence,
                    'inlier fraction': registration.inlier_fraction,
                    'residual [m]': registration.residual,
                    'largest deviation [m]': deviations[:3].max(),
                    'largest deviation [rad]': deviations[3:].max(),
                    'registration [ms]': target.milliseconds,
                }
            )
            values.update({f'{k} [ms]': v for k, v in registration.stages.items()})
        return self._status(level, f'pose of {tracker.name}', message, values)

    def _model(self, tracker):
        cloud, source = tracker.reference.cloud, tracker.reference.registrar.provenance
        values = {
            'reference': cloud.path,
            'reference sha256': cloud.sha256,
            'reference points': len(cloud.points),
            'reference diameter [m]': cloud.diameter,
            'device': source['device'],
            'fallback': source['fallback'],
            'weights': source['weights'],
            'weights sha256': source['weights_sha256'],
        }
        if source['fallback']:
            level, message = WARN, source['fallback']
        elif source['weights']:
            level, message = OK, f'runs on {source["device"]}'
        else:
            level, message = WARN, 'refines only: the predictor is switched off'
        return self._status(level, f'model of {tracker.name}', message, values)

    def _rate(self):
        """Clouds a second over the last arrivals."""
        if len(self._arrivals) < 2:
            return 0.0
        # A topic that fell silent slows down in the display too.
        newest = max(self._arrivals[-1], self._clock() - 1.0)
        return (len(self._arrivals) - 1) / max(newest - self._arrivals[0], 1e-9)


def _quantile(values, share):
    return float(np.quantile(values, share)) if values else float('nan')


def _text(value):
    if isinstance(value, (float, np.floating)):
        return '' if np.isnan(value) else f'{value:.4g}'
    return str(value)
