"""What an operator reads: counters, rates, ages, levels."""

from types import SimpleNamespace

import numpy as np
import pytest

from dlc_ros.localization.decision import Decision
from dlc_ros.localization.diagnostics import ERROR, OK, STALE, WARN, Monitor
from dlc_ros.localization.references import Reference, ReferenceCloud
from dlc_ros.localization.tracker import KnownPose, Tracker
from dlc_ros.registration.result import Registration, Status

S = 10**9


class Clock:
    """Monotonic seconds that a test turns by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def monitor(clock):
    return Monitor('robot1.localizer', clock)


def provenance(**changes):
    return {
        'device': 'cuda',
        'fallback': '',
        'weights': '/w/default.safetensors',
        'weights_sha256': 'cd' * 32,
        **changes,
    }


def tracker(**changes):
    cloud = ReferenceCloud('mug', '/m/mug.ply', 'ab' * 32, np.zeros((500, 3)), 0.12)
    reference = Reference(cloud, SimpleNamespace(provenance=provenance(**changes)))
    return Tracker('mug', reference)


REGISTRATION = Registration(
    transform=np.eye(4),
    covariance=np.diag([1e-4, 4e-4, 1e-4, 1e-6, 1e-6, 9e-6]),
    confidence=0.81,
    status=Status.ACCEPTED,
    reason='it fits',
    stages={'predict': 41.5, 'refine': 12.25},
    inlier_fraction=0.9,
    residual=0.0012,
)


def accept(monitor, of, stamp_ns):
    decision = Decision(True, 'it fits', np.eye(4), REGISTRATION.covariance)
    monitor.registered('mug', REGISTRATION, decision, 0.06)
    monitor.accepted('mug', stamp_ns)
    of.accept(KnownPose(np.eye(4), REGISTRATION.covariance, stamp_ns, 'camera'), 'it fits')


def by_task(entries):
    return {entry.name: entry for entry in entries}


def test_every_entry_is_named_node_and_task_and_holds_strings(monitor):
    mug = tracker()
    accept(monitor, mug, 5 * S)
    entries = monitor.report(7 * S, 3, [mug])
    assert [entry.name for entry in entries] == [
        'robot1.localizer: input',
        'robot1.localizer: pose of mug',
        'robot1.localizer: model of mug',
    ]
    for entry in entries:
        assert entry.level in (OK, WARN, ERROR, STALE)
        assert all(type(value) is str for value in entry.values.values())


def test_the_input_tells_rate_times_and_what_was_skipped(monitor, clock):
    for _ in range(11):
        clock.now += 0.1
        monitor.received()
        monitor.worked(0.02)
    (entry,) = monitor.report(0, 4, [])
    assert entry.level == OK
    assert entry.values['clouds in'] == '11'
    assert float(entry.values['rate [Hz]']) == pytest.approx(10.0)
    assert entry.values['skipped (a newer one came)'] == '4'
    assert float(entry.values['time per cloud, median [ms]']) == pytest.approx(20.0)


def test_silence_is_stale(monitor, clock):
    assert monitor.report(0, 0, [])[0].level == STALE
    monitor.received()
    monitor.received()
    assert monitor.report(0, 0, [])[0].level == OK
    clock.now += 60.0
    (entry,) = monitor.report(0, 0, [])
    assert entry.level == STALE
    assert 'no cloud for 60.0 s' in entry.message
    assert float(entry.values['rate [Hz]']) < 0.1


def test_a_problem_lasts_until_a_cloud_comes_without_it(monitor):
    monitor.received()
    assert monitor.problem('transform', 'no lidar')
    assert monitor.report(0, 0, [])[0].level == ERROR
    monitor.received()
    assert not monitor.problem('transform', 'no lidar yet'), 'nothing new to log'
    assert monitor.report(0, 0, [])[0].message == 'no lidar yet'
    monitor.received()
    assert monitor.report(0, 0, [])[0].level == OK
    monitor.received()
    assert monitor.problem('transform', 'gone again'), 'new again'


@pytest.mark.parametrize('kind', ['late', 'unstamped'])
def test_what_does_no_harm_only_warns(monitor, kind):
    monitor.received()
    monitor.problem(kind, 'mend the driver')
    assert monitor.report(0, 0, [])[0].level == WARN


def test_the_pose_tells_age_evidence_and_stage_times(monitor):
    mug = tracker()
    accept(monitor, mug, 5 * S)
    entry = by_task(monitor.report(round(7.5 * S), 0, [mug]))['robot1.localizer: pose of mug']
    assert entry.level == OK
    assert entry.values['state'] == 'TRACKING'
    assert float(entry.values['age of the pose [s]']) == pytest.approx(2.5)
    assert float(entry.values['confidence']) == pytest.approx(0.81)
    assert float(entry.values['largest deviation [m]']) == pytest.approx(0.02)
    assert float(entry.values['largest deviation [rad]']) == pytest.approx(0.003)
    assert float(entry.values['predict [ms]']) == pytest.approx(41.5)
    assert float(entry.values['refine [ms]']) == pytest.approx(12.25)
    assert entry.values['status'] == 'ACCEPTED'


def test_levels_follow_the_state(monitor):
    mug = tracker()
    name = 'robot1.localizer: pose of mug'
    assert by_task(monitor.report(0, 0, [mug]))[name].level == ERROR  # WAITING
    accept(monitor, mug, 5 * S)
    mug.fail('hidden', lost_after=2)
    monitor.rejected('mug')
    entry = by_task(monitor.report(0, 0, [mug]))[name]
    assert entry.level == WARN
    assert 'hidden' in entry.message
    mug.fail('hidden', lost_after=2)
    monitor.rejected('mug')
    entry = by_task(monitor.report(0, 0, [mug]))[name]
    assert entry.level == ERROR
    assert (entry.values['registered'], entry.values['rejected']) == ('1', '2')
    mug.reset('asked to relocalise')
    assert by_task(monitor.report(0, 0, [mug]))[name].level == WARN


def test_ages_of_another_time_are_not_shown(monitor):
    mug = tracker()
    accept(monitor, mug, 5 * S)
    monitor.time_jumped()
    entry = by_task(monitor.report(0, 0, [mug]))['robot1.localizer: pose of mug']
    assert 'age of the pose [s]' not in entry.values


@pytest.mark.parametrize(
    ('changes', 'level', 'message'),
    [
        ({}, OK, 'runs on cuda'),
        ({'device': 'cpu', 'fallback': 'no CUDA device; on the CPU'}, WARN, 'no CUDA device'),
        ({'device': 'cpu', 'weights': '', 'weights_sha256': ''}, WARN, 'refines only'),
    ],
)
def test_the_model_tells_device_weights_and_hashes(monitor, changes, level, message):
    entry = monitor.report(0, 0, [tracker(**changes)])[-1]
    assert entry.level == level
    assert message in entry.message
    assert entry.values['reference'] == '/m/mug.ply'
    assert entry.values['reference sha256'] == 'ab' * 32
    assert entry.values['weights sha256'] == changes.get('weights_sha256', 'cd' * 32)
