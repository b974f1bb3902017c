"""Both nodes: commands by topic, and parameter files."""

import contextlib

import numpy as np
import pytest
import yaml
from adapters import both
from rigs import (
    CAMERA_FROM_MUG,
    MAP_FROM_ODOM,
    REFERENCE,
    MapRig,
    ObjectRig,
    assert_poses_close,
    pose,
)
from wire import Process, free_domain, wait_for


@both('~/relocalize: the pose is forgotten, the correction stops')
def test_relocalize(robot_in_map):
    rig = robot_in_map
    rig.scan()
    rig.localised()
    rig.robot.send('relocalize', {})
    rig.is_in('pose of map', 'SEARCHING')
    rig.advance(0.5)
    assert not wait_for(lambda: len(rig.dates()) > 2, 0.3)
    assert rig.registrars.made[-1].calls[-1].init is None
    rig.scan()
    rig.localised()
    assert rig.registrars.made[-1].calls[-1].init is None


@both('initial pose, in the map or in another frame: where the next search starts')
def test_initial_pose(robot_in_map):
    rig = robot_in_map
    beside = pose((0.0, 0.0, 0.2), (0.3, 0.4, 0.0))
    rig.scan()
    rig.localised()
    for frame in ('map', 'base_link'):
        odom_from_base = rig.odom_from_base
        map_from_base = MAP_FROM_ODOM @ odom_from_base
        map_from_frame, guess = np.eye(4), map_from_base @ beside
        if frame == 'base_link':
            map_from_frame, guess = map_from_base, beside
        rig.robot.send_initial_pose(frame, guess)
        rig.reported('pose of map', 'an initial pose was given')
        calls = rig.registrars.made[-1].calls
        count = len(calls)
        rig.advance(0.1)
        rig.scan()
        assert wait_for(lambda calls=calls, count=count: len(calls) > count)
        motion = np.linalg.inv(odom_from_base) @ rig.odom_from_base
        searched_from = calls[count].init
        assert_poses_close(searched_from, map_from_frame @ guess @ motion)


@both('initial pose of one of several objects, on a topic of its own')
def test_initial_pose_of_an_object(camera):
    rig = camera
    rig.show()
    assert wait_for(lambda: rig.heard('base_link', 'mug'))
    rig.robot.send_initial_pose('base_link', np.eye(4))
    rig.refused('it does not say of which object')
    rig.robot.send_initial_pose('camera', CAMERA_FROM_MUG, '/localizer/mug/initialpose')
    rig.reported('pose of mug', 'an initial pose was given')
    assert rig.state('pose of box') == 'TRACKING'
    mug = rig.registrars.made[0]
    count = len(mug.calls)
    rig.advance(0.1)
    rig.show()
    assert wait_for(lambda: len(mug.calls) > count)
    assert_poses_close(mug.calls[count].init, np.linalg.inv(CAMERA_FROM_MUG))


@both('a bad command is refused with its reason and changes nothing')
def test_bad_commands(robot_in_map, tmp_path):
    rig = robot_in_map
    rig.scan()
    rig.localised()
    rig.robot.send_initial_pose('map', np.zeros((4, 4)))
    rig.refused('initial pose ignored: it is not a rigid transform')
    rig.robot.send_initial_pose('', np.eye(4))
    rig.refused('initial pose ignored: it names no frame')
    rig.robot.send('load_reference', {'data': str(tmp_path / 'missing.pcd')})
    rig.refused('missing.pcd')
    rig.advance(0.1)
    rig.scan()
    rig.localised()
    assert rig.state('pose of map') == 'TRACKING'


@both('~/load_reference and ~/load_weights while it runs')
def test_reference_and_weights_are_replaced_while_it_runs(adapter, reference, tmp_path):
    rig = MapRig(adapter, reference, free_domain(5))
    with contextlib.closing(rig):
        rig.mount_lidar()
        rig.begin()
        rig.scan()
        rig.localised()
        shift = pose(translation=(100.0, 0.0, 0.0))
        moved = tmp_path / 'moved.npy'
        np.save(moved, REFERENCE + shift[:3, 3])
        rig.robot.send('load_reference', {'data': str(moved)})
        assert wait_for(lambda: rig.robot.status('model of map')[2]['reference'] == str(moved))
        rig.is_in('pose of map', 'SEARCHING')
        rig.robot.send('load_weights', {'data': 'other.safetensors'})
        key = 'weights'
        rig.counted('model of map', key, 'other.safetensors')
        rig.advance(0.1)
        rig.scan()
        rig.localised()
        assert_poses_close(rig.heard('map', 'odom')[-1][1], shift @ MAP_FROM_ODOM)


@both('~/save_pose: the pose on disk, and where the next node looks first')
def test_pose_is_saved_and_the_next_node_looks_there(adapter, reference, tmp_path):
    file = tmp_path / 'pose.json'
    for restarted in (False, True):
        settings = {'saved_pose.file': str(file), 'saved_pose.period': 0.0}
        with contextlib.closing(MapRig(adapter, reference, free_domain(7), **settings)) as rig:
            rig.mount_lidar()
            rig.scan()
            rig.localised()
            init = rig.registrars.made[-1].calls[0].init
            if restarted:
                assert_poses_close(init, MAP_FROM_ODOM @ rig.odom_from_base)
            else:
                assert init is None
                assert not file.exists()
                rig.robot.send('save_pose', {})
                assert wait_for(file.exists)


@both('an object that is added while it runs')
def test_object_is_added_while_it_runs(adapter, reference):
    rig = ObjectRig(adapter, reference, free_domain(6))
    with contextlib.closing(rig):
        rig.begin()
        bolt = reference.with_name('bolt.npy')
        np.save(bolt, REFERENCE.astype('>f8'))
        rig.robot.send('load_reference', {'data': f'bolt={bolt}'})
        assert wait_for(lambda: 'reference' in rig.robot.status('model of bolt')[2])
        rig.show()
        assert wait_for(lambda: rig.heard('base_link', 'bolt'))
        rig.robot.send_initial_pose('camera', CAMERA_FROM_MUG, '/localizer/bolt/initialpose')
        rig.reported('pose of bolt', 'an initial pose was given')
        rig.robot.send('load_reference', {'data': str(reference)})
        rig.refused('names no object')


MISTAKES = {
    'unknown': ({'hold_timout': 1.0}, ['hold_timout', 'hold_timeout']),
    'out of range': ({'tracking': {'lost_after': 0}}, ['tracking.lost_after', '1']),
    'no such mode': ({'mode': 'submarine'}, ['mode', 'submarine', 'object']),
    'contradiction': ({'publish_map_to_base': True}, ['publish_map_to_base', 'frames.odom']),
}


@pytest.mark.parametrize('kind', MISTAKES)
@both('a wrong parameter file: one line that names the parameter, exit code 2')
def test_wrong_parameter_file(adapter, tmp_path, kind):
    values, words = MISTAKES[kind]
    path = tmp_path / 'parameters.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': values}}))
    command = {
        'embedded': ('-m', 'dlc_ros.cli', 'run', '--params', path),
        'rclpy': ('-m', 'dlc_ros.node.ros.main', '--ros-args', '--params-file', path),
    }[adapter]
    with Process(*command) as node:
        code, _, errors = node.finish()
    assert code == 2
    [line] = [line for line in errors.splitlines() if words[0] in line]
    assert all(word in line for word in words)
    assert 'Traceback' not in errors
