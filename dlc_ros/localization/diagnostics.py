"""Counters and states as ``/diagnostics`` entries, so that an operator sees what a node does."""

import time
from collections import Counter, deque
from dataclasses import dataclass, replace

import numpy as np

from dlc_ros.localization.device import device_memory_mib, process_memory_mib
from dlc_ros.localization.diagnostic_keys import (
    DEVICE,
    INPUT,
    MODEL,
    NO_WEIGHTS,
    OUTPUT,
    POSE,
    levels,
)
from dlc_ros.localization.limits import OK, STALE
from dlc_ros.localization.output import DiagnosticStatus
from dlc_ros.localization.parameters import to_flat
from dlc_ros.localization.tracker import State

# Clouds over which rates and times are averaged.
_WINDOW = 50
# A problem that was gone for so long is logged again when it comes back [s]: a log is read by
# people, and every tenth cloud of a driver may have it.
_FORGOTTEN = 10.0
CLOCK_STANDS = (
    'use_sim_time is set, but nobody tells the time on /clock: play the recording with --clock, '
    'or set use_sim_time to false'
)


@dataclass
class _Target:
    """What is counted for one reference."""

    registered: int = 0
    rejected: int = 0
    transitions: int = 0
    last_transition: str = ''
    since: float = None
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
        self._started = clock()
        self.clouds_in = 0
        self.counts = Counter()  # clouds by the kind of their problem
        self.time_jumps = 0
        self.superseded = 0  # answers that a command made void
        self.last_refusal = ''
        self.other_publisher = ''
        self.pose_file = ''
        self.pose_file_problem = ''
        self._measured = None
        self._kept = ''
        self._age_s = float('nan')
        self._published = Counter()
        self._published_ns = float('nan')  # when something was published last, by the node's clock
        self._unpublished = {}  # name -> why its last accepted pose gave no transform
        self._targets = {}
        self._problems = {}
        self._noted = {}  # kind of problem -> when it was noted last, by the clock
        self._arrivals = deque(maxlen=_WINDOW)
        self._work_ms = deque(maxlen=_WINDOW)
        self._ages_s = deque(maxlen=_WINDOW)

    # What happened.

    def received(self):
        """Note a cloud; the problems of the one before are over unless they come again."""
        self.clouds_in += 1
        self._arrivals.append(self._clock())
        self._problems = {}

    def arrived(self, age_s):
        """Note how old the cloud was when it arrived, by the node's clock [s]."""
        self._age_s = age_s

    def problem(self, kind, text):
        """Note a problem with this cloud; returns whether it is worth a line in the log again."""
        now = self._clock()
        new = now - self._noted.get(kind, float('-inf')) > _FORGOTTEN
        self._noted[kind] = now
        self.counts[kind] += kind not in self._problems
        self._problems[kind] = text
        return new

    @property
    def refused(self):
        """Whether the last cloud was dropped for its header."""
        return not self._problems.keys().isdisjoint(('frame', 'stamp', 'late'))

    def measured(self, scene):
        """Note what of the cloud is registered."""
        self._measured = scene.measured
        self._kept = len(scene.points)

    def worked(self, seconds):
        """Note how long a cloud took in all."""
        self._work_ms.append(1e3 * seconds)

    def registered(self, name, registration, decision, seconds):
        """Note a registration, accepted or not."""
        target = self._target(name)
        target.registration = registration
        target.verdict = decision.reason
        target.milliseconds = 1e3 * seconds

    def accepted(self, name, stamp_ns):
        """Note a cloud that gave a pose."""
        target = self._target(name)
        target.registered += 1
        target.accepted_stamp_ns = stamp_ns
        self._unpublished.pop(name, None)

    def rejected(self, name):
        """Note a cloud that was registered but gave no pose."""
        self._target(name).rejected += 1

    def not_published(self, name, reason):
        """Note why the accepted pose of a reference gave no transform."""
        self._unpublished[name] = reason

    def forget(self, name):
        """Drop what was counted for a reference that is no more."""
        self._targets.pop(name, None)
        self._unpublished.pop(name, None)

    def changed(self, change):
        """Note a :class:`~dlc_ros.localization.output.StateChange`."""
        target = self._target(change.name)
        target.transitions += 1
        target.last_transition = f'{change.before} -> {change.after}: {change.reason}'
        target.since = self._clock()

    def published(self, output, now_ns):
        """Note what a node has published of an :class:`~dlc_ros.localization.output.Output`."""
        self._published['transforms'] += 0 if output.repeated else len(output.transforms)
        self._published['repeated'] += len(output.transforms) if output.repeated else 0
        self._published['poses'] += len(output.poses)
        if output.transforms or output.poses:
            self._published_ns = now_ns
        self._ages_s.extend((now_ns - pose.stamp_ns) * 1e-9 for pose in output.poses[:1])

    def time_jumped(self):
        """Note a restart of time: ages in the old time mean nothing."""
        self.time_jumps += 1
        self._ages_s.clear()
        self._published_ns = float('nan')
        for target in self._targets.values():
            target.accepted_stamp_ns = None

    # What an operator reads.

    def report(self, now_ns, silent_s, skipped, trackers, parameters):
        """
        All entries.

        :param now_ns: the node's clock.
        :param silent_s: since the last cloud arrived, by the node's clock.
        :param skipped: clouds that a newer one replaced in the worker.
        :param trackers: iterable of :class:`~dlc_ros.localization.tracker.Tracker`.
        :param parameters: :class:`~dlc_ros.localization.declarations.Parameters`.
        :returns: list of :class:`DiagnosticStatus`: ``input``, ``output``, ``device``, then two
            for each reference, its pose and its model.
        """
        flat = to_flat(parameters)
        trackers = list(trackers)
        models = [tracker for tracker in trackers if tracker.reference is not None]
        entries = [
            self._input(now_ns, silent_s, skipped, flat),
            self._output(trackers, now_ns, flat),
            self._device(models, flat),
        ]
        for tracker in trackers:
            entries.append(self._pose(tracker, now_ns, flat))
            if tracker.reference is not None:
                entries.append(self._model(tracker, flat))
        return entries

    def _status(self, task, message, values, flat, name=''):
        """Entry whose level and message follow from the declared limits."""
        beyond = levels(task, values, flat, self._problems)
        level = max((found[0] for found in beyond.values()), default=OK)
        if beyond:
            said = {text or f'{key}: {_text(values[key])}' for key, (_, text) in beyond.items()}
            said.discard(f'state: {values.get("state")}')
            message = message if task == POSE else '; '.join(sorted(said))
        texts = {key: _text(value) for key, value in values.items()}
        task = task.replace('*', name)
        return DiagnosticStatus(level, f'{self._node}: {task}', message, texts)

    def _input(self, now_ns, silent_s, skipped, flat):
        measured = self._measured
        values = {
            'clouds in': self.clouds_in,
            'rate [Hz]': self._rate(),
            'silent for [s]': silent_s,
            'age at arrival [s]': self._age_s,
            'clock': '' if now_ns else CLOCK_STANDS,
            'points': len(measured.points) if measured else '',
            'points kept': self._kept,
            'median range [m]': measured.median_range if measured else '',
            'deskew': measured.deskew if measured else '',
            'skipped (a newer one came)': skipped,
            'dropped: not newer than the last': self.counts['late'],
            'dropped: wrong frame': self.counts['frame'],
            'dropped: no stamp': self.counts['stamp'],
            'dropped: no reference': self.counts['reference'],
            'unusable: no transform': self.counts['transform'],
            'unusable: bad cloud': self.counts['cloud'],
            'without a stamp': self.counts['unstamped'],
            'odometry jumps': self.counts['odometry'],
            'time jumps': self.time_jumps,
            'answers made void by a command': self.superseded,
            'last refused command': self.last_refusal,
        }
        entry = self._status(INPUT, 'clouds arrive', values, flat)
        if self.clouds_in:
            return entry
        waits = f'no cloud yet on {flat["topics.points"]}'
        return replace(
            entry, level=STALE, message='; '.join(filter(None, (waits, values['clock'])))
        )

    def _output(self, trackers, now_ns, flat):
        tracking = [tracker.name for tracker in trackers if tracker.state is State.TRACKING]
        message = 'publishing'
        if not self._published.total():
            message = 'nothing published yet'
        elif not tracking:
            message = 'nothing published now: no pose is confirmed'
        elif len(tracking) < len(trackers):
            message = f'publishing only {", ".join(tracking)}'
        return self._status(
            OUTPUT,
            message,
            {
                'transforms': self._published['transforms'],
                'repeated': self._published['repeated'],
                'poses': self._published['poses'],
                'silent for [s]': (now_ns - self._published_ns) * 1e-9,
                'age at publish, median [s]': _quantile(self._ages_s, 0.5),
                'age at publish, 95 % [s]': _quantile(self._ages_s, 0.95),
                'time per cloud, median [ms]': _quantile(self._work_ms, 0.5),
                'time per cloud, 95 % [ms]': _quantile(self._work_ms, 0.95),
                'not published': '; '.join(
                    self._unpublished[name] for name in tracking if name in self._unpublished
                ),
                'other publisher': self.other_publisher,
                'pose file': self.pose_file,
                'pose file problem': self.pose_file_problem,
            },
            flat,
        )

    def _device(self, models, flat):
        registrars = {id(model.reference.registrar): model.reference.registrar for model in models}
        sources = [registrar.provenance for registrar in registrars.values()]
        in_use, most = device_memory_mib() or ('', '')
        device = ', '.join(sorted({source['device'] for source in sources}))
        return self._status(
            DEVICE,
            f'runs on {device}' if device else 'nothing is loaded',
            {
                'device': device,
                'fallback': '; '.join(sorted({s['fallback'] for s in sources} - {''})),
                'threads': flat['registration.threads'],
                'process memory [MiB]': process_memory_mib(),
                'device memory in use [MiB]': in_use,
                'device memory at most [MiB]': most,
                'models': len(registrars),
            },
            flat,
        )

    def _pose(self, tracker, now_ns, flat):
        target = self._target(tracker.name)
        message = f'{tracker.state.value}: {tracker.reason}'
        if tracker.state is State.TRACKING and tracker.failures:
            message = f'TRACKING, but the last cloud was not used: {tracker.reason}'
        values = {
            'state': tracker.state.value,
            'in this state for [s]': self._clock() - (target.since or self._started),
            'last transition': target.last_transition,
            'transitions': target.transitions,
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
        return self._status(POSE, message, values, flat, tracker.name)

    def _model(self, tracker, flat):
        cloud, source = tracker.reference.cloud, tracker.reference.registrar.provenance
        values = {
            'reference': cloud.path,
            'reference sha256': cloud.sha256,
            'reference points': len(cloud.points),
            'reference diameter [m]': cloud.diameter,
            'weights': source['weights'] or NO_WEIGHTS,
            'weights sha256': source['weights_sha256'],
            'trained on': source['trained_on'],
        }
        message = f'{len(cloud.points)} points of {cloud.path}'
        return self._status(MODEL, message, values, flat, tracker.name)

    def _target(self, name):
        return self._targets.setdefault(name, _Target())

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
