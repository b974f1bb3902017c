"""The last accepted pose on disk: written whole, started from, bound to its reference."""

import json
import os
import threading

import numpy as np
import pytest
from rig import (
    CAMERA_FROM_MUG,
    MAP_FROM_ODOM,
    REJECTED,
    Rig,
    at,
    object_rig,
    odom_from_base,
    pose,
    seen,
)
from scipy.spatial.transform import Rotation

from dlc_ros.errors import FileError
from dlc_ros.localization.saved_pose import SavedPose, read_poses, write_poses


@pytest.fixture
def file(tmp_path):
    return tmp_path / 'state' / 'pose.json'


def started(tmp_path, file, **changes):
    settings = {'mode': 'map', 'reference': 'map', 'saved_pose.file': str(file), **changes}
    return Rig(tmp_path, settings)


def wait_for_the_file():
    """The period's writing has a thread of its own."""
    for thread in threading.enumerate():
        if thread.name == 'pose file':
            thread.join(10)


def test_a_restarted_node_begins_where_the_last_one_ended(tmp_path, file):
    first = started(tmp_path, file)
    first.scan(0.0)
    first.scan(3.0)
    first.localizer.close()
    second = started(tmp_path, file)
    assert any('near the pose that was saved' in text for text in second.messages)
    assert second.localizer.on_timer(at(0)).transforms == (), 'nothing before a cloud confirms it'
    assert second.scan(500.0).transforms
    np.testing.assert_allclose(
        second.calls[0].init, MAP_FROM_ODOM @ odom_from_base(3.0), atol=1e-9
    )
    deviations = np.sqrt(np.diag(second.calls[0].init_covariance))
    assert (deviations[:3] >= second.parameters.prior.initial_translation).all()
    assert (deviations[3:] >= second.parameters.prior.initial_rotation).all()


def test_the_odometry_carries_a_saved_pose_on_until_it_is_confirmed(tmp_path, file):
    first = started(tmp_path, file)
    first.scan(0.0)
    first.localizer.close()
    second = started(tmp_path, file)
    second.registrar.verdicts.append(REJECTED)
    second.scan(0.0)
    second.scan(1.0)
    np.testing.assert_allclose(
        second.calls[1].init, MAP_FROM_ODOM @ odom_from_base(1.0), atol=1e-9
    )


def test_a_saved_pose_that_is_wrong_by_now_is_given_up(tmp_path, file):
    first = started(tmp_path, file)
    first.scan(0.0)
    first.localizer.close()
    second = started(tmp_path, file)
    lost_after = second.parameters.tracking.lost_after
    second.registrar.verdicts.extend([REJECTED] * lost_after)
    for i in range(lost_after + 1):
        output = second.scan(0.1 * i)
    assert output.transforms
    assert [call.init is None for call in second.calls] == [False] * lost_after + [True]
    said = [text for text in second.messages if 'not found near the given pose' in text]
    assert len(said) == 1 and REJECTED['reason'] in said[0]


def test_clouds_that_show_nothing_do_not_use_a_saved_pose_up(tmp_path, file):
    first = started(tmp_path, file)
    first.scan(0.0)
    first.localizer.close()
    second = started(tmp_path, file)
    for i in range(2 * second.parameters.tracking.lost_after):
        second.tree.insert('odom', 'base_link', at(0.1 * i), odom_from_base(0.0))
        second.localizer.on_cloud(at(0.1 * i), 'lidar', np.zeros((0, 3)))
    assert second.scan(5.0).transforms
    assert second.calls[0].init is not None


def test_a_pose_of_another_reference_is_not_used(tmp_path, file):
    first = started(tmp_path, file)
    first.scan(0.0)
    first.localizer.close()
    np.save(tmp_path / 'other.npy', np.random.default_rng(5).uniform(-5, 5, (60, 3)))
    second = started(tmp_path, file, reference=str(tmp_path / 'other.npy'))
    problem = second.status('output').values['pose file problem']
    assert 'is of another reference' in problem
    assert second.status('output').level == 1
    assert sum(problem in text for text in second.messages) == 1
    second.scan(1.0)
    assert second.calls[0].init is None


STATION = {
    'initial_pose.set': True,
    **{f'initial_pose.{axis}': float(i + 1) for i, axis in enumerate('xyz')},
    **{f'initial_pose.{turn}': 0.1 * (i + 1) for i, turn in enumerate(('roll', 'pitch', 'yaw'))},
}


def test_a_configured_pose_is_where_the_first_search_begins(tmp_path):
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map', **STATION})
    assert rig.localizer.on_timer(at(0)).transforms == (), 'nothing before a cloud confirms it'
    assert rig.scan(0.0).transforms == (), 'the robot is 11 m from where that says it is'
    expected = pose(translation=(1, 2, 3))
    expected[:3, :3] = Rotation.from_euler('xyz', [0.1, 0.2, 0.3]).as_matrix()
    np.testing.assert_allclose(rig.calls[0].init, expected, atol=1e-12)
    deviations = np.sqrt(np.diag(rig.calls[0].init_covariance))
    assert (deviations[:3] >= rig.parameters.prior.initial_translation).all()
    assert (deviations[3:] >= rig.parameters.prior.initial_rotation).all()
    rig.localizer.relocalize()
    rig.scan(0.1)
    assert rig.calls[-1].init is None, 'it was where the robot started, not where it is'


def test_a_saved_pose_is_newer_than_a_configured_one(tmp_path, file):
    first = started(tmp_path, file)
    first.scan(0.0)
    first.localizer.close()
    second = started(tmp_path, file, **STATION)
    second.scan(0.0)
    np.testing.assert_allclose(
        second.calls[0].init, MAP_FROM_ODOM @ odom_from_base(0.0), atol=1e-9
    )


def test_a_reference_that_is_loaded_later_finds_its_pose_once(tmp_path, file):
    first = started(tmp_path, file)
    first.scan(0.0)
    first.localizer.close()
    second = started(tmp_path, file, reference='')
    second.localizer.load_reference(second.files['map'])
    second.scan(1.0)
    assert second.calls[0].init is not None
    second.localizer.load_reference(second.files['map'])
    second.scan(2.0)
    assert second.calls[-1].init is None, 'a map that is loaded anew may have changed'


def test_it_is_written_on_command_now_and_then_and_at_the_end(tmp_path, file, monkeypatch):
    now = [0.0]
    monkeypatch.setattr('dlc_ros.localization.saved_pose.time.monotonic', lambda: now[0])
    rig = started(tmp_path, file, **{'saved_pose.period': 10.0})

    def stamp():
        return read_poses(file)['map'].stamp_ns if file.exists() else None

    refused = rig.localizer.save_pose()
    assert not refused.accepted
    assert 'no confirmed pose' in refused.message
    rig.scan(0.0)
    assert stamp() is None
    now[0] = 11.0
    rig.scan(0.1)
    wait_for_the_file()
    assert stamp() == at(0.1)
    rig.scan(0.2)
    assert stamp() == at(0.1), 'not with every cloud'
    assert rig.localizer.save_pose().accepted
    assert stamp() == at(0.2)
    rig.scan(0.3)
    rig.localizer.close()
    assert stamp() == at(0.3)
    rig.registrar.verdicts.extend([REJECTED] * 9)
    for i in range(9):
        rig.scan(0.4 + 0.1 * i)
    rig.localizer.close()
    assert stamp() == at(0.3), 'a pose in doubt is not worth more than the one before'
    assert [path.name for path in file.parent.iterdir()] == ['pose.json']


def rejected(rig, count, since=0.2, step=0.1):
    rig.registrar.verdicts.extend([REJECTED] * count)
    for i in range(count):
        rig.scan(since + step * i)


def without_transforms(rig):
    for i in range(5):
        rig.localizer.on_cloud(at(0.2 + 0.1 * i), 'lidar', rig.lidar_points(0.0))


LEFT = {
    'the lidar was switched off first': (lambda rig: rig.state(seconds=60.0), 'WAITING'),
    'the odometry ended first': (without_transforms, 'WAITING'),
    'rejected once, then silent': (
        lambda rig: (rejected(rig, 1), rig.state(seconds=60)),
        'WAITING',
    ),
    'rejected, too old': (lambda rig: (rejected(rig, 2, step=3), rig.state(seconds=4)), 'LOST'),
    'rejected when it spoke again': (
        lambda rig: (rig.state(seconds=9), rejected(rig, 1)),
        'WAITING',
    ),
}
KEPT = list(LEFT)[:3]


@pytest.mark.parametrize('how', LEFT)
def test_what_silence_left_is_written_and_what_clouds_spoke_against_is_not(tmp_path, file, how):
    rig = started(tmp_path, file, **{'saved_pose.period': 0.0})
    rig.scan(0.0)
    leave, state = LEFT[how]
    leave(rig)
    assert rig.state(seconds=4.0) == state
    assert rig.localizer.save_pose().accepted == (how in KEPT)
    file.unlink(missing_ok=True)
    rig.localizer.close()
    assert file.exists() == (how in KEPT)
    if how in KEPT:
        assert read_poses(file)['map'].stamp_ns == at(0.0)


def test_a_disk_that_hangs_delays_no_pose_and_gathers_no_threads(tmp_path, file, monkeypatch):
    rig = started(tmp_path, file, **{'saved_pose.period': 1e-9})
    hanging, released = threading.Event(), threading.Event()

    def hang(number):
        hanging.set()
        assert released.wait(30)

    monkeypatch.setattr(os, 'fsync', hang)
    try:
        assert rig.scan(0.0).poses
        assert hanging.wait(10)
        assert rig.scan(0.1).poses and rig.scan(0.2).poses
        assert sum(thread.name == 'pose file' for thread in threading.enumerate()) == 1
    finally:
        released.set()
        wait_for_the_file()
    assert set(read_poses(file)) == {'map'}


def test_an_operator_and_the_period_write_at_once(tmp_path, file):
    """One of the two took the other's unfinished file away."""
    rig = started(tmp_path, file, **{'saved_pose.period': 1e-9})
    rig.scan(0.0)
    wait_for_the_file()
    operators = [
        threading.Thread(target=lambda: [rig.localizer.save_pose() for _ in range(50)])
        for _ in range(3)
    ]
    for operator in operators:
        operator.start()
    for i in range(50):
        rig.scan(0.1 + 0.1 * i)
    for operator in operators:
        operator.join()
    wait_for_the_file()
    assert not [text for text in rig.messages if 'pose not saved' in text]
    assert [path.name for path in file.parent.iterdir()] == ['pose.json']


def test_a_saved_pose_is_found_although_weights_came_late(tmp_path, file):
    first = started(tmp_path, file)
    first.scan(0.0)
    first.localizer.close()
    second = started(tmp_path, file, weights='bad')
    assert second.localizer.load_weights('good').accepted
    second.scan(1.0)
    assert second.calls[0].init is not None


def test_without_a_file_nothing_is_written(tmp_path):
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map'})
    rig.scan(0.0)
    assert 'set saved_pose.file' in rig.localizer.save_pose().message
    rig.localizer.close()


def test_a_file_that_cannot_be_written_is_said_once_and_stops_nothing(tmp_path):
    (tmp_path / 'taken').write_text('a file, not a folder')
    rig = started(tmp_path, tmp_path / 'taken' / 'pose.json', **{'saved_pose.period': 1e-9})
    assert sum('cannot write the pose' in text for text in rig.messages) == 1, 'at the start'
    for i in range(5):
        assert rig.scan(0.1 * i).poses
        wait_for_the_file()
    assert sum('cannot write the pose' in text for text in rig.messages) == 1
    assert rig.status('output').level == 1
    assert not rig.localizer.save_pose().accepted


def test_each_object_has_its_pose(tmp_path, file):
    first = object_rig(tmp_path, names=('mug', 'box'), **{'saved_pose.file': str(file)})
    seen(first, 0)
    assert first.localizer.save_pose().accepted
    second = object_rig(tmp_path, names=('mug',), **{'saved_pose.file': str(file)})
    seen(second, 1)
    np.testing.assert_allclose(second.calls[0].init, np.linalg.inv(CAMERA_FROM_MUG), atol=1e-9)
    second.localizer.save_pose()
    assert {name: saved.stamp_ns for name, saved in read_poses(file).items()} == {
        'mug': at(1),
        'box': at(0),
    }


# The file


def some_pose(**changes):
    values = {
        'name': 'map',
        'reference_sha256': 'ab' * 32,
        'source_frame': 'base_link',
        'stamp_ns': 1_732_000_000_123_456_789,
        'transform': pose((0.1, 0.2, 3.0), (1, 2, 3)),
        'covariance': np.diag([1e-4, 2e-4, 3e-4, 1e-5, 2e-5, 3e-5]),
    }
    return SavedPose(**{**values, **changes})


def test_what_is_written_is_read(file):
    write_poses(file, [some_pose(), some_pose(name='mug')])
    found = read_poses(file)
    assert set(found) == {'map', 'mug'}
    assert found['map'].stamp_ns == some_pose().stamp_ns
    np.testing.assert_allclose(found['map'].transform, some_pose().transform, atol=1e-12)
    np.testing.assert_array_equal(found['map'].covariance, some_pose().covariance)


@pytest.mark.parametrize(
    'change',
    [
        lambda document: 'no json',
        lambda document: '[' * 100_000,
        lambda document: '[]',
        lambda document: {**document, 'format': 99},
        lambda document: {**document, 'poses': 3},
        lambda document: {**document, 'poses': [{}]},
        lambda document: edited(document, 'T_reference_source', [[1, 2], [3, 4]]),
        lambda document: edited(document, 'T_reference_source', [[2e308] * 4] * 4),
        lambda document: edited(document, 'T_reference_source', np.diag([1, 1, -1, 1]).tolist()),
        lambda document: edited(document, 'covariance', (-np.eye(6)).tolist()),
        lambda document: edited(document, 'covariance', [[float('nan')] * 6] * 6),
        lambda document: edited(document, 'stamp_ns', float('inf')),
        lambda document: edited(document, 'name', ['map']),
    ],
)
def test_a_file_of_something_else_is_one_line_and_the_node_starts(tmp_path, file, change):
    write_poses(file, [some_pose()])
    changed = change(json.loads(file.read_text()))
    file.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    with pytest.raises(FileError, match='pose.json is no saved pose') as caught:
        read_poses(file)
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 400
    rig = started(tmp_path, file)
    assert sum('pose.json is no saved pose' in text for text in rig.messages) == 1
    assert rig.status('output').level == 1
    assert rig.scan(0.0).transforms


def edited(document, key, value):
    (entry,) = document['poses']
    return {**document, 'poses': [{**entry, key: value}]}


def test_a_huge_file_is_not_read(file):
    file.parent.mkdir()
    file.write_bytes(b' ' * (2 << 20))
    with pytest.raises(FileError, match='no saved pose'):
        read_poses(file)
