"""What an operator reads: every key declared, levels from the declared limits, none invented."""

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from rig import REJECTED, Rig, at, object_rig, odom_from_base, seen

from dlc_ros.localization import diagnostic_keys
from dlc_ros.localization.decision import Decision
from dlc_ros.localization.device import device_memory_mib
from dlc_ros.localization.diagnostics import Monitor
from dlc_ros.localization.limits import ERROR, OK, STALE, WARN
from dlc_ros.localization.output import Output, PoseEstimate
from dlc_ros.localization.parameters import describe, from_flat
from dlc_ros.localization.references import Reference, ReferenceCloud
from dlc_ros.localization.tracker import KnownPose, Tracker
from dlc_ros.registration.result import Registration, Status

S = 10**9
PAGE = Path(__file__).resolve().parent.parent / 'docs' / 'diagnostics.md'


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
        'trained_on': 'data generated solids, steps 7000',
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


def entries(monitor, now_ns=S, silent_s=0.0, skipped=0, trackers=(), **flat):
    found = monitor.report(now_ns, silent_s, skipped, trackers, from_flat(flat))
    return {entry.name.removeprefix('robot1.localizer: '): entry for entry in found}


# The declaration


def all_scenarios(tmp_path):
    """Everything that a localizer ever says: good clouds and bad ones, in both modes."""
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map'})
    yield rig.localizer.diagnostics(at(0))
    rig.scan(0.0)
    yield rig.localizer.diagnostics(at(0))
    rig.registrar.verdicts.append(REJECTED)
    rig.scan(0.1)
    rig.localizer.on_cloud(at(0.2), 'mars', rig.lidar_points(0.2))
    rig.localizer.on_cloud(at(0.1), 'lidar', rig.lidar_points(0.2))
    yield rig.localizer.diagnostics(at(9))
    objects = object_rig(tmp_path, names=('mug', 'box'))
    seen(objects, 0)
    yield objects.localizer.diagnostics(at(0))


def test_what_is_said_is_declared_and_what_is_declared_is_said(tmp_path):
    said = set()
    for found in all_scenarios(tmp_path):
        for entry in found:
            task = re.sub(r' of \S+$', ' of *', entry.name.removeprefix('localizer: '))
            stages = re.compile(r'^(?!registration|time)\w+ \[ms\]$')
            said |= {(task, stages.sub('* [ms]', key)) for key in entry.values}
            assert all(type(value) is str for value in entry.values.values())
    assert said == {(key.task, key.name) for key in diagnostic_keys.KEYS}


def test_the_documented_table_is_current():
    assert PAGE.read_text(encoding='utf-8') == diagnostic_keys.markdown_page(), (
        'run: python -m dlc_ros.localization.diagnostic_keys > docs/diagnostics.md'
    )


def test_limits_name_parameters_that_exist():
    flat = {info.name for info in describe()}
    for key in diagnostic_keys.KEYS:
        for limit in (key.warn, key.error):
            bound = getattr(limit, 'bound', 0)
            assert not isinstance(bound, str) or bound in flat


# Input


def test_the_input_tells_rate_and_what_was_skipped(monitor, clock):
    for _ in range(11):
        clock.now += 0.1
        monitor.received()
        monitor.worked(0.02)
    found = entries(monitor, skipped=4)
    assert found['input'].level == OK
    assert found['input'].values['clouds in'] == '11'
    assert float(found['input'].values['rate [Hz]']) == pytest.approx(10.0)
    assert found['input'].values['skipped (a newer one came)'] == '4'
    assert float(found['output'].values['time per cloud, median [ms]']) == pytest.approx(20.0)


def test_silence_is_stale_before_the_first_cloud_and_an_error_after(monitor, clock):
    entry = entries(monitor, **{'topics.points': 'lidar/points'})['input']
    assert (entry.level, entry.message) == (STALE, 'no cloud yet on lidar/points')
    monitor.received()
    monitor.received()
    assert entries(monitor)['input'].level == OK
    clock.now += 60.0
    entry = entries(monitor, silent_s=60.0)['input']
    assert entry.level == ERROR
    assert 'silent for [s]: 60' in entry.message
    assert float(entry.values['rate [Hz]']) < 0.1
    slow = entries(monitor, silent_s=60.0, **{'tracking.cloud_timeout': 100.0})['input']
    assert slow.level == OK, 'the limit is the parameter'


def test_a_problem_lasts_until_a_cloud_comes_without_it(monitor):
    monitor.received()
    assert monitor.problem('transform', 'no lidar')
    assert entries(monitor)['input'].level == ERROR
    monitor.received()
    assert not monitor.problem('transform', 'no lidar yet'), 'nothing new to log'
    assert entries(monitor)['input'].message == 'no lidar yet'
    monitor.received()
    assert entries(monitor)['input'].level == OK


def test_a_problem_that_comes_and_goes_is_logged_once_in_a_while(clock, monitor):
    logged = 0
    for i in range(1000):  # 100 s at 10 Hz
        clock.now += 0.1
        monitor.received()
        if i % 10 == 0:
            logged += monitor.problem('shape', f'cloud {i} has no points')
    assert logged == 1
    clock.now += 11.0
    monitor.received()
    assert monitor.problem('shape', 'empty again'), 'it was gone for a while'
    assert monitor.problem('frame', 'no frame_id'), 'another one is told at once'


@pytest.mark.parametrize('kind', ['late', 'unstamped', 'odometry', 'deskew', 'jump'])
def test_what_does_no_harm_only_warns(monitor, kind):
    monitor.received()
    monitor.problem(kind, 'mend the driver')
    assert entries(monitor)['input'].level == WARN


def test_clouds_that_are_old_when_they_arrive_warn_of_the_clocks(tmp_path):
    """A recording that is played without use_sim_time."""
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map'})
    rig.tree.insert('odom', 'base_link', at(0), odom_from_base(0))
    output = rig.localizer.on_cloud(at(0), 'lidar', rig.lidar_points(0), arrival_ns=at(90_000))
    assert output.transforms
    entry = rig.status('input', 90_000)
    assert entry.level == WARN
    assert float(entry.values['age at arrival [s]']) == pytest.approx(90_000)
    assert rig.localizer.on_timer(at(90_000.5)).transforms == ()
    assert rig.state(seconds=90_000.5) == 'TRACKING', 'its age tells nothing'


def test_clouds_from_the_future_warn_of_the_clocks(tmp_path):
    """A sensor whose clock is ahead: what follows from its clouds is of no use to anybody now."""
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map'})
    rig.tree.insert('odom', 'base_link', at(0), odom_from_base(0))
    rig.localizer.on_cloud(at(0), 'lidar', rig.lidar_points(0), arrival_ns=at(-30))
    entry = rig.status('input', -30)
    assert (entry.level, 'age at arrival [s]: -30' in entry.message) == (WARN, True)


def test_a_simulated_clock_that_stands_at_zero_is_named(tmp_path):
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map'})

    def entry(now_ns):
        found = {status.name: status for status in rig.localizer.diagnostics(now_ns)}
        return found['localizer: input']

    assert entry(0).level == STALE
    assert 'nobody tells the time on /clock' in entry(0).message
    rig.tree.insert('odom', 'base_link', at(0), odom_from_base(0))
    for i in range(3):
        rig.localizer.on_cloud(at(i), 'lidar', rig.lidar_points(0), arrival_ns=0)
    assert (entry(0).level, 'set use_sim_time to false' in entry(0).message) == (ERROR, True)
    assert sum('nobody tells the time on /clock' in text for text in rig.messages) == 1
    rig.localizer.on_cloud(at(4), 'lidar', rig.lidar_points(0), arrival_ns=at(4))
    assert 'clock' not in entry(at(4)).message


def test_two_clocks_on_one_topic_are_seen(tmp_path):
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map'})
    for i in range(3):
        rig.scan(0.1 * i + 5.0)
        rig.scan(0.1 * i)
        entry = rig.status('input')
        assert (entry.level, 'time jumped back' in entry.message) == (WARN, True)
    rig.scan(1.0)
    assert rig.status('input').level == OK


def test_a_cloud_in_millimetres_is_named(tmp_path):
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map'})
    rig.tree.insert('odom', 'base_link', at(0), odom_from_base(0))
    rig.localizer.on_cloud(at(0), 'lidar', 1000.0 * rig.lidar_points(0))
    entry = rig.status('input')
    assert entry.level == WARN
    assert 'median range [m]' in entry.message


# Pose


def test_the_pose_tells_age_evidence_and_stage_times(monitor):
    mug = tracker()
    accept(monitor, mug, 5 * S)
    entry = entries(monitor, round(7.5 * S), trackers=[mug])['pose of mug']
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

    def pose():
        return entries(monitor, trackers=[mug])['pose of mug']

    assert pose().level == ERROR  # WAITING
    accept(monitor, mug, 5 * S)
    mug.fail('hidden', lost_after=2)
    monitor.rejected('mug')
    assert pose().level == WARN
    assert 'hidden' in pose().message
    mug.fail('hidden', lost_after=2)
    monitor.rejected('mug')
    assert pose().level == ERROR
    assert (pose().values['registered'], pose().values['rejected']) == ('1', '2')
    mug.reset('asked to relocalise')
    assert pose().level == WARN


def test_ages_of_another_time_are_not_shown(monitor):
    mug = tracker()
    accept(monitor, mug, 5 * S)
    monitor.time_jumped()
    assert 'age of the pose [s]' not in entries(monitor, trackers=[mug])['pose of mug'].values


# Output, device, model


def test_the_age_at_publish_is_that_of_the_cloud_by_the_nodes_clock(monitor):
    for age in (0.1, 0.2, 0.3):
        pose = PoseEstimate('base_link', 'map', 100 * S, np.eye(4), np.eye(6))
        monitor.published(Output(poses=(pose,)), round((100 + age) * S))
    entry = entries(monitor)['output']
    assert float(entry.values['age at publish, median [s]']) == pytest.approx(0.2)
    assert (entry.level, entry.values['poses']) == (OK, '3')
    assert entries(monitor, hold_timeout=0.1)['output'].level == WARN


@pytest.mark.parametrize(
    ('changes', 'task', 'level', 'message'),
    [
        ({}, 'device', OK, 'runs on cuda'),
        (
            {'device': 'cpu', 'fallback': 'CUDA out of memory; on the CPU'},
            'device',
            WARN,
            'CUDA out of memory',
        ),
        ({'weights': '', 'weights_sha256': ''}, 'model of mug', WARN, 'weights'),
    ],
)
def test_device_and_model_tell_what_is_not_as_asked(monitor, changes, task, level, message):
    found = entries(monitor, trackers=[tracker(**changes)])
    assert found[task].level == level
    assert message in found[task].message
    model = found['model of mug'].values
    assert (model['reference'], model['reference sha256']) == ('/m/mug.ply', 'ab' * 32)
    assert model['weights sha256'] == changes.get('weights_sha256', 'cd' * 32)
    assert model['trained on'] == 'data generated solids, steps 7000'


def test_a_device_that_fails_while_it_runs_is_said_once_and_shown(tmp_path):
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map'})
    rig.scan(0.0)
    assert rig.status('device').level == OK
    rig.registrar.provenance['fallback'] = 'CUDA out of memory; on the CPU from here on'
    for i in range(5):
        assert rig.scan(0.1 + 0.1 * i).poses
    entry = rig.status('device')
    assert entry.level == WARN
    assert 'CUDA out of memory' in entry.message
    assert sum('CUDA out of memory' in text for text in rig.messages) == 1


def test_the_memory_of_a_gpu_is_shown(monitor, monkeypatch):
    """A stand-in for torch on a machine with CUDA."""
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        memory_allocated=lambda: 12 << 20,
        max_memory_allocated=lambda: 40 << 20,
    )
    monkeypatch.setitem(sys.modules, 'torch', SimpleNamespace(cuda=cuda))
    values = entries(monitor)['device'].values
    assert values['device memory in use [MiB]'] == '12'
    assert values['device memory at most [MiB]'] == '40'


def test_memory_is_that_of_this_process(monitor):
    """Oracle: 64 MiB more are 64 MiB more."""
    before = float(entries(monitor)['device'].values['process memory [MiB]'])
    held = np.ones(8 << 20)
    after = float(entries(monitor)['device'].values['process memory [MiB]'])
    assert after - before == pytest.approx(64, abs=16)
    assert held[-1] == 1.0


def test_the_device_can_be_asked_while_torch_is_being_imported(monkeypatch):
    """As another thread does that loads a reference: modules are listed before they are whole."""
    half = ModuleType('torch')
    monkeypatch.setitem(sys.modules, 'torch', half)
    assert device_memory_mib() is None
    half.cuda = ModuleType('torch.cuda')
    assert device_memory_mib() is None
