"""What a run was worth: every transform compared with the truth at its stamp."""

from dataclasses import dataclass, field, replace

import numpy as np

from dlc_ros.demo.scenario import RECOVERY_LIMIT, View
from dlc_ros.registration.se3 import rotation_angle_deg


@dataclass(frozen=True)
class Limits:
    """
    What the demo asks for.

    :param rotation: error of a right transform, at most [deg].
    :param translation: the same [m].
    :param success: share of the visible frames that have a right transform, at least.
    :param recovery: from the first cloud that shows the part again to the arrival of a right
        transform, at most [s].
    """

    rotation: float = 3.0
    translation: float = 0.01
    success: float = 0.95
    recovery: float = RECOVERY_LIMIT


@dataclass(frozen=True)
class Frame:
    """
    One cloud that the camera published.

    :param stamp_ns: its stamp.
    :param view: what it showed.
    :param jumps: how often the camera had jumped before.
    :param truth: (4, 4) T_camera_part at the stamp.
    """

    stamp_ns: int
    view: View
    jumps: int
    truth: np.ndarray


@dataclass(frozen=True)
class Sight:
    """
    A time in which the camera saw the part without a break.

    :param frames: list of :class:`Frame`, in order.
    :param after_blind: whether the camera was blind before.
    """

    frames: list
    after_blind: bool


@dataclass(frozen=True)
class Estimate:
    """One transform that arrived on ``/tf``: stamp and arrival [ns], (4, 4) T_camera_part."""

    stamp_ns: int
    received_ns: int
    matrix: np.ndarray


@dataclass(frozen=True)
class Report:
    """
    The table of the demo.

    *Visible frames* are all clouds published while the camera saw the part, from the first to the
    last. Each of them needs a right transform, and there is no allowance: a cloud that the node
    skipped because it was busy, never got, or looked at while it searched for the part, is a
    failure like a rejected one.

    :param frames: clouds published.
    :param rate: how many a second [Hz]; NaN for fewer than two.
    :param blind: those of them published while the camera was blind.
    :param registered: transforms that arrived.
    :param skipped: clouds that the node replaced by a newer one, or never received.
    :param rejected: clouds that the node looked at without publishing a transform.
    :param visible: visible frames.
    :param success: share of them with a right transform.
    :param wrong: transforms outside the limits, or of a stamp that no cloud has.
    :param while_blind: transforms of clouds that did not show the part.
    :param rotation_deg, translation_m, latency_ms: median and 95th percentile over all transforms
        of clouds that showed the part.
    :param time_to_find: from the first cloud to the arrival of the first right transform [s]; inf
        if there was none.
    :param time_to_recover: the same from the first cloud after the camera was blind; inf if there
        was none, or if it was never blind.
    :param jumps: how often the camera jumped with open eyes.
    :param found_again: after how many of these a right transform came before the next.
    :param time_after_jump: median time of these to it [s].
    :param failures: one sentence for each limit that was missed; empty when the run passed.
    """

    frames: int
    rate: float
    blind: int
    registered: int
    skipped: int
    rejected: int
    visible: int
    success: float
    wrong: int
    while_blind: int
    rotation_deg: tuple
    translation_m: tuple
    latency_ms: tuple
    time_to_find: float
    time_to_recover: float
    jumps: int
    found_again: int
    time_after_jump: float
    failures: tuple = ()

    @property
    def passed(self):
        """Whether no limit was missed."""
        return not self.failures


@dataclass
class RunLog:
    """
    What the checker heard.

    :param frames: stamp [ns] -> :class:`Frame`.
    :param estimates: :class:`Estimate` in the order of arrival.
    :param processed: clouds that the node says it looked at.
    """

    frames: dict = field(default_factory=dict)
    estimates: list = field(default_factory=list)
    processed: int = 0


def errors(estimate, frame):
    """Rotation [deg] and translation [m] by which an estimate misses a frame's truth."""
    return (
        rotation_angle_deg(estimate.matrix, frame.truth),
        float(np.linalg.norm(estimate.matrix[:3, 3] - frame.truth[:3, 3])),
    )


def is_right(estimate, frame, limits):
    """Whether a transform belongs to a cloud that showed the part and is within the limits."""
    if frame is None or frame.view is not View.PART:
        return False
    rotation, translation = errors(estimate, frame)
    return rotation <= limits.rotation and translation <= limits.translation


def sights(frames):
    """
    Split what the camera saw at every blindness and every jump.

    :param frames: list of :class:`Frame`, in order.
    :returns: list of :class:`Sight`.
    """
    found = []
    before = None
    for frame in frames:
        if frame.view is View.PART:
            blind = before is not None and before.view is not View.PART
            if before is None or blind or frame.jumps != before.jumps:
                found.append(Sight([], blind))
            found[-1].frames.append(frame)
        before = frame
    return found


def time_to_right(sight, right):
    """
    How long it took to find the part.

    :param sight: :class:`Sight`.
    :param right: list of right :class:`Estimate`.
    :returns: seconds from its first cloud to the arrival of the first right transform of one of
        its clouds; inf without one.
    """
    first, last = sight.frames[0].stamp_ns, sight.frames[-1].stamp_ns
    arrivals = [e.received_ns for e in right if first <= e.stamp_ns <= last]
    return 1e-9 * (min(arrivals) - first) if arrivals else float('inf')


def evaluate(log, limits=None):
    """
    Judge a run.

    :param log: :class:`RunLog`.
    :param limits: :class:`Limits`; None takes the demo's.
    :returns: :class:`Report`.
    """
    limits = limits or Limits()
    frames = [log.frames[stamp] for stamp in sorted(log.frames)]
    right, wrong, blind, measured = [], [], [], []
    for estimate in log.estimates:
        frame = log.frames.get(estimate.stamp_ns)
        (right if is_right(estimate, frame, limits) else wrong).append(estimate)
        if frame is not None and frame.view is View.PART:
            latency = 1e-6 * (estimate.received_ns - estimate.stamp_ns)
            measured.append((*errors(estimate, frame), latency))
        elif frame is not None:
            blind.append(estimate)

    good_stamps = {e.stamp_ns for e in right} - {e.stamp_ns for e in wrong}
    visible = [frame for frame in frames if frame.view is View.PART]
    successes = sum(frame.stamp_ns in good_stamps for frame in visible)
    seen = sights(frames)
    start = [time_to_right(sight, right) for sight in seen[:1]]
    recoveries = [time_to_right(sight, right) for sight in seen[1:] if sight.after_blind]
    jumps = np.array([time_to_right(s, right) for s in seen[1:] if not s.after_blind])
    found_again = jumps[np.isfinite(jumps)]

    rotation, translation, latency = (
        median_and_p95(column) for column in np.reshape(measured, (-1, 3)).T
    )
    report = Report(
        frames=len(frames),
        rate=rate(frames),
        blind=sum(frame.view is not View.PART for frame in frames),
        registered=len(log.estimates),
        skipped=max(0, len(frames) - log.processed),
        rejected=max(0, log.processed - len(log.estimates)),
        visible=len(visible),
        success=successes / len(visible) if visible else 0.0,
        wrong=len(wrong),
        while_blind=len(blind),
        rotation_deg=rotation,
        translation_m=translation,
        latency_ms=latency,
        time_to_find=max(start, default=float('inf')),
        time_to_recover=max(recoveries, default=float('inf')),
        jumps=len(jumps),
        found_again=len(found_again),
        time_after_jump=median_and_p95(found_again)[0],
    )
    return replace(report, failures=missed(report, limits))


def rate(frames):
    """Clouds a second [Hz] of frames in order."""
    if len(frames) < 2:
        return float('nan')
    return (len(frames) - 1) / (1e-9 * (frames[-1].stamp_ns - frames[0].stamp_ns))


def median_and_p95(values):
    """Median and 95th percentile; NaN without values."""
    if len(values) == 0:
        return (float('nan'), float('nan'))
    return tuple(float(value) for value in np.percentile(values, (50, 95)))


def missed(report, limits):
    """One sentence for every limit that a report misses, as a tuple."""
    sentences = []
    if report.success < limits.success:
        sentences.append(
            f'{report.success:.1%} of {report.visible} visible frames are within '
            f'{limits.rotation:g} deg / {1e3 * limits.translation:g} mm; '
            f'{limits.success:.0%} are needed'
        )
    for what, seconds in (
        ('find the part', report.time_to_find),
        ('recover after the interruption', report.time_to_recover),
    ):
        if seconds > limits.recovery:
            took = 'never' if np.isinf(seconds) else f'{seconds:.1f} s'
            sentences.append(f'time to {what}: {took}; {limits.recovery:g} s are allowed')
    if report.while_blind:
        sentences.append(
            f'{report.while_blind} transforms came from clouds that did not show the part'
        )
    return tuple(sentences)


def table(report):
    """The report as text, one line a row."""
    rows = [
        ('frames in', f'{report.frames} at {report.rate:.1f} Hz ({report.blind} of them blind)'),
        ('registered', f'{report.registered}'),
        ('skipped', f'{report.skipped}'),
        ('rejected', f'{report.rejected}'),
        ('success', f'{report.success:.1%} of {report.visible} visible frames'),
        ('rotation error', '{:.2f} / {:.2f} deg'.format(*report.rotation_deg)),
        (
            'translation error',
            '{:.2f} / {:.2f} mm'.format(*(1e3 * value for value in report.translation_m)),
        ),
        ('latency stamp -> transform', '{:.0f} / {:.0f} ms'.format(*report.latency_ms)),
        ('time to find', f'{report.time_to_find:.2f} s'),
        ('time to recover', f'{report.time_to_recover:.2f} s'),
        (
            'found after a jump',
            f'{report.found_again} of {report.jumps}, median {report.time_after_jump:.2f} s',
        ),
        ('wrong transforms', f'{report.wrong} ({report.while_blind} while blind)'),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f'  {name:<{width}}  {value}' for name, value in rows]
    return '\n'.join(['  errors and latency: median / 95th percentile', '', *lines])
