"""Bad clouds and odd stamps: one line in the diagnostics, and the next good cloud works."""

import numpy as np
import pytest
from fake_registrar import FakeRegistrar
from rig import (
    MAP_FROM_ODOM,
    Rig,
    at,
    odom_from_base,
)

from dlc_ros.errors import CloudError, TransformUnavailable
from dlc_ros.localization.localizer import Localizer
from dlc_ros.localization.parameters import from_flat


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path, {'mode': 'map', 'reference': 'map'})


def nan_rows(points):
    return np.full_like(points, np.nan)


@pytest.mark.parametrize(
    ('frame', 'change', 'message'),
    [
        ('', None, 'names no frame'),
        ('mars', None, "nobody publishes the frame 'mars'"),
        ('lidar', nan_rows, '0 finite points'),
        ('lidar', lambda points: points[:0], 'empty'),
        ('lidar', lambda points: points[:5], '5 finite points'),
        ('lidar', lambda points: points[:, :2], 'expected shape (N, 3)'),
        ('lidar', lambda points: points * [1, 0, 0], 'on one line'),
        ('lidar', lambda points: points[:40], '40 points of 60'),
    ],
)
def test_a_bad_cloud_is_reported_and_the_next_good_one_works(rig, frame, change, message):
    rig.scan(0.0)
    points = rig.lidar_points(0.1)
    rig.tree.insert('odom', 'base_link', at(0.1), odom_from_base(0.1))
    output = rig.localizer.on_cloud(at(0.1), frame, change(points) if change else points)
    assert (output.transforms, output.poses) == ((), ())
    entry = rig.status('input', 0.1)
    assert entry.level == 2
    assert message in entry.message
    assert rig.scan(0.2).transforms
    assert rig.status('input', 0.2).level == 0


def test_rows_that_are_not_finite_are_ignored(rig):
    rig.tree.insert('odom', 'base_link', at(0), odom_from_base(0))
    points = np.insert(rig.lidar_points(0), [0, 7, 60], np.nan, axis=0)
    points[0, 1] = np.inf
    *_, correction = rig.localizer.on_cloud(at(0), 'lidar', points).transforms
    np.testing.assert_allclose(correction.matrix, MAP_FROM_ODOM, atol=1e-9)


def test_clouds_of_another_frame_than_configured_are_refused(tmp_path):
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map', 'frames.cloud': 'lidar'})
    rig.scan(0.0, frame='radar')
    assert "frame 'radar'; frames.cloud asks for 'lidar'" in rig.status('input').message
    assert rig.status('input').values['dropped: wrong frame'] == '1'
    assert rig.scan(0.1, frame='/lidar').transforms


def test_an_error_of_a_library_does_not_stop_the_node(rig):
    rig.registrar.verdicts.extend([RuntimeError('out of memory'), CloudError('coplanar')])
    assert rig.scan(0.0).transforms == ()
    assert 'RuntimeError: out of memory' in rig.status('input').message
    assert rig.scan(0.1).transforms == ()
    assert 'coplanar' in rig.status('input').message
    assert rig.scan(0.2).transforms


def test_a_problem_is_logged_when_it_appears_not_with_every_cloud(rig):
    for i in range(10):
        rig.localizer.on_cloud(at(i), 'mars', rig.lidar_points(i))
    assert sum('mars' in message for message in rig.messages) == 1
    rig.scan(20)
    rig.localizer.on_cloud(at(21), 'mars', rig.lidar_points(0))
    assert sum('mars' in message for message in rig.messages) == 1, 'it was gone for a moment only'


def test_what_a_library_throws_at_a_cloud_is_shown_and_the_next_is_used(rig, monkeypatch):
    rig.scan(0.0)
    monkeypatch.setattr(
        'dlc_ros.localization.map_mode.measure', lambda *_: np.linalg.inv(np.zeros((3, 3)))
    )
    assert rig.scan(0.1).transforms == ()
    entry = rig.status('input')
    assert (entry.level, 'LinAlgError: Singular matrix' in entry.message) == (2, True)
    assert rig.status('pose of map').values['without a pose in a row'] == '1'
    monkeypatch.undo()
    assert rig.scan(0.2).transforms


def test_a_cloud_without_a_stamp_is_dated_by_its_arrival(rig):
    rig.tree.insert('odom', 'base_link', at(3), odom_from_base(3))
    output = rig.localizer.on_cloud(0, 'lidar', rig.lidar_points(3), arrival_ns=at(3))
    assert output.poses[0].stamp_ns == at(3)
    np.testing.assert_allclose(output.transforms[0].matrix, MAP_FROM_ODOM, atol=1e-9)
    entry = rig.status('input')
    assert entry.level == 1
    assert 'no stamp' in entry.message
    assert entry.values['without a stamp'] == '1'
    assert rig.localizer.on_cloud(0, 'lidar', rig.lidar_points(3)).poses == ()


@pytest.mark.parametrize('behind', [0.0, 0.3])
def test_a_late_cloud_is_dropped_and_counted(rig, behind):
    rig.scan(1.0)
    assert rig.scan(1.0 - behind).transforms == ()
    assert len(rig.calls) == 1
    assert rig.status('input').values['dropped: not newer than the last'] == '1'
    assert rig.scan(1.1).transforms


@pytest.mark.parametrize('ahead', [0.5, 40.0, 1e9])
def test_one_stamp_that_leaps_ahead_is_no_restart_of_time(rig, ahead):
    rig.scan(1.0)
    points = rig.lidar_points(1.05)
    assert rig.localizer.on_cloud(at(1.05 + ahead), 'lidar', points).transforms == ()
    assert 'the asked time is in its future' in rig.status('input').message
    assert rig.scan(1.1).transforms
    assert rig.calls[-1].init is not None, 'nothing was forgotten'
    values = rig.status('input').values
    assert (values['time jumps'], values['dropped: not newer than the last']) == ('0', '0')


def test_a_stamp_far_back_is_a_restart_of_time(rig):
    rig.scan(100.0)
    rig.tree.clear()
    output = rig.scan(1.0)
    assert rig.calls[-1].init is None, 'poses of the old time mean nothing in the new one'
    *_, correction = output.transforms
    assert correction.stamp_ns == at(1.0 + rig.parameters.transform_tolerance)
    assert rig.status('input').values['time jumps'] == '1'
    assert len(rig.localizer.on_timer(at(1.5)).transforms) == 1


def test_a_jump_of_the_clock_resets_and_keeps_the_reference(rig):
    rig.scan(100.0)
    rig.localizer.on_time_jump(at(0))
    rig.tree.clear()
    assert rig.localizer.on_timer(at(0.1)).transforms == ()
    assert rig.scan(0.2).transforms
    assert rig.calls[-1].init is None


def test_a_lookup_that_fails_in_the_adapter_is_only_ever_a_diagnostic(tmp_path):
    """Whatever the tree behind it, TransformUnavailable is an answer, not an accident."""

    def never(target, source, stamp_ns):
        raise TransformUnavailable(f'no {target} <- {source}')

    localizer = Localizer(from_flat({'mode': 'map'}), never, registrar_factory=FakeRegistrar)
    np.save(tmp_path / 'map.npy', np.random.default_rng(0).uniform(size=(60, 3)))
    assert localizer.load_reference(str(tmp_path / 'map.npy')).accepted
    assert (
        localizer.on_cloud(at(0), 'lidar', np.random.default_rng(0).uniform(size=(60, 3)))
        is not None
    )
    assert 'no base_link <- lidar' in localizer.diagnostics(at(0))[0].message
