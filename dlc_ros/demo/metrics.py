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
    """One cloud that the camera published: stamp [ns], what it showed, (4, 4) T_camera_part."""

    stamp_ns: int
    view: View
    truth: np.ndarray


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

    *Visible frames* are the clouds published while the camera saw the part, without those stamped
    while it was being found: at the start and after the interruption, from the first cloud until
    the arrival of the first right transform, but no longer than the allowed recovery time. Each
    of them needs a right transform. There is no allowance: a cloud that the node skipped, because
    it was busy or never got it, is a failure like a rejected one.

    :param frames: clouds published.
    :param blind: those of them published while the camera was blind.
    :param registered: transforms that arrived.
    :param skipped: clouds that the node replaced by a newer one, or never received.
    :param rejected: clouds that the node looked at without publishing a transform.
    :param visible: visible frames, see above.
    :param success: share of them with a right transform.
    :param wrong: transforms outside the limits, or of a stamp that no cloud has.
    :param while_blind: transforms of clouds that did not show the part.
    :param rotation_deg, translation_m, latency_ms: median and 95th percentile over all transforms
        of clouds that showed the part.
    :param time_to_find, time_to_recover: at the start, after the interruption [s]; inf if never.
    :param failures: one sentence for each limit that was missed; empty when the run passed.
    """

    frames: int
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
    Runs of consecutive frames that show the part.

    :param frames: list of :class:`Frame`, in order.
    :returns: list of lists of :class:`Frame`.
    """
    runs = []
    before = None
    for frame in frames:
        if frame.view is View.PART:
            if before is not View.PART:
                runs.append([])
            runs[-1].append(frame)
        before = frame.view
    return runs


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
    visible = successes = 0
    times = []
    for sight in sights(frames):
        first, last = sight[0].stamp_ns, sight[-1].stamp_ns
        arrivals = [e.received_ns for e in right if first <= e.stamp_ns <= last]
        found = 1e-9 * (min(arrivals) - first) if arrivals else float('inf')
        times.append(found)
        excused_until = first + 1e9 * min(found, limits.recovery)
        counted = [frame for frame in sight if frame.stamp_ns > excused_until]
        visible += len(counted)
        successes += sum(frame.stamp_ns in good_stamps for frame in counted)

    rotation, translation, latency = (
        median_and_p95(column) for column in np.reshape(measured, (-1, 3)).T
    )
    report = Report(
        frames=len(frames),
        blind=sum(frame.view is not View.PART for frame in frames),
        registered=len(log.estimates),
        skipped=max(0, len(frames) - log.processed),
        rejected=max(0, log.processed - len(log.estimates)),
        visible=visible,
        success=successes / visible if visible else 0.0,
        wrong=len(wrong),
        while_blind=len(blind),
        rotation_deg=rotation,
        translation_m=translation,
        latency_ms=latency,
        time_to_find=times[0] if times else float('inf'),
        time_to_recover=times[-1] if len(times) > 1 else float('inf'),
    )
    return replace(report, failures=missed(report, limits))


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
        ('frames in', f'{report.frames} ({report.blind} of them blind)'),
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
        ('wrong transforms', f'{report.wrong} ({report.while_blind} while blind)'),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f'  {name:<{width}}  {value}' for name, value in rows]
    return '\n'.join(['  errors and latency: median / 95th percentile', '', *lines])
