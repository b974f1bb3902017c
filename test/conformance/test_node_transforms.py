"""Both nodes: what they publish, in which frame and with which date."""

import contextlib

import numpy as np
from adapters import both
from rigs import (
    BASE_FROM_LIDAR,
    CAMERA_FROM_MUG,
    COVARIANCE,
    MAP_FROM_ODOM,
    REFERENCE,
    SECOND,
    MapRig,
    assert_poses_close,
    seen_from,
)
from robot import CLOUD, POSES
from wire import free_domain, wait_for

from dlc_ros.node import convert
from dlc_ros.node.dds import qos
from dlc_ros.node.pointcloud2 import points_from_message
from dlc_ros.registration.result import Status


@both('a scan gives map -> odom, dated forward, repeated until hold_timeout')
def test_correction_follows_odometry_and_is_repeated_until_it_is_old(robot_in_map):
    rig = robot_in_map
    rig.scan()
    rig.localised()
    expected = [rig.now_ns, rig.now_ns + SECOND // 10]  # the first one holds from the scan on
    for seconds in (0.5, 0.5, 1.0):
        rig.advance(seconds)
        expected.append(rig.now_ns + SECOND // 10)
        assert wait_for(lambda: rig.dates() == expected), rig.dates()
    for _ in range(2):  # hold_timeout is over
        rig.advance(0.5)
    assert not wait_for(lambda: rig.dates() != expected, 0.3)
    for _, found in rig.heard('map', 'odom'):
        assert_poses_close(found, MAP_FROM_ODOM)


@both('the pose of the robot comes with its covariance, in the map')
def test_pose_of_the_robot(robot_in_map):
    rig = robot_in_map
    rig.scan()
    rig.localised()
    heard = rig.robot.poses[-1]
    assert heard.header.frame_id == 'map'
    assert_poses_close(
        convert.matrix_from_pose(heard.pose.pose), MAP_FROM_ODOM @ rig.odom_from_base
    )
    np.testing.assert_allclose(heard.pose.covariance.reshape(6, 6), COVARIANCE, rtol=1e-9)


@both('two objects: parent -> object each, from the camera through the robot')
def test_objects_are_published_in_their_parent(camera):
    rig = camera
    rig.show()
    for name in ('mug', 'box'):
        assert wait_for(lambda name=name: rig.heard('base_link', name))
        [(date, found)] = rig.heard('base_link', name)
        assert date == rig.now_ns
        assert_poses_close(found, BASE_FROM_LIDAR @ CAMERA_FROM_MUG)
    assert wait_for(lambda: rig.robot.poses and rig.robot.poses[-1].header.frame_id == 'base_link')
    rig.advance(0.5)  # an object's transform is never repeated
    assert not wait_for(lambda: len(rig.heard('base_link', 'mug')) > 1, 0.3)


@both('a transform that comes after its cloud is waited for')
def test_late_odometry_is_waited_for(robot_in_map):
    rig = robot_in_map
    points = seen_from(MAP_FROM_ODOM @ rig.odom_from_base @ BASE_FROM_LIDAR)
    received = rig.count('input', 'clouds in')
    rig.robot.send_cloud(rig.now_ns, points, 'lidar')
    rig.counted('input', 'clouds in', received + 1)
    rig.robot.send_transform('tf', rig.now_ns, 'odom', 'base_link', rig.odom_from_base)
    rig.localised()


@both('no transform of the sensor: an error, and never the identity')
def test_missing_sensor_transform(adapter, reference):
    rig = MapRig(adapter, reference, free_domain(5), lookup_timeout=0.0)
    with contextlib.closing(rig):
        rig.scan()
        assert rig.reported('input', 'no transform') == 2
        assert 'lidar' in rig.robot.status('input')[1]
        rig.is_in('pose of map', 'WAITING')
        assert not rig.dates()
        rig.mount_lidar()

        def answered():  # /tf_static may come after a cloud; there is no wait for it here
            rig.advance(0.1)
            rig.scan()
            return wait_for(rig.dates, 0.5)

        assert wait_for(answered)


@both('the times of the points: motion within a sweep is undone')
def test_sweep_of_a_moving_robot(robot_in_map):
    """The stand-in takes points as they are: a skewed sweep would give another pose."""
    rig = robot_in_map
    rig.scan()
    rig.localised()
    rig.advance(1.0)
    start_ns, end_ns = rig.now_ns, rig.now_ns + SECOND // 10
    after_ns = np.linspace(0, end_ns - start_ns, len(REFERENCE)).astype('u4')
    points = np.empty_like(REFERENCE)
    for i, stamp_ns in enumerate(start_ns + after_ns.astype(np.int64)):
        rig.now_ns = int(stamp_ns)
        points[i] = seen_from(MAP_FROM_ODOM @ rig.odom_from_base @ BASE_FROM_LIDAR)[i]
    rows = np.zeros(len(points), [('x', 'f4'), ('y', 'f4'), ('z', 'f4'), ('t', 'u4')])
    rows['x'], rows['y'], rows['z'], rows['t'] = *points.T, after_ns
    kinds = {'x': 7, 'y': 7, 'z': 7, 't': 6}
    fields = [
        {'name': name, 'offset': 4 * i, 'datatype': kind, 'count': 1}
        for i, (name, kind) in enumerate(kinds.items())
    ]
    layout = {'fields': fields, 'point_step': 16, 'row_step': 16 * len(rows)}
    for rig.now_ns in (start_ns, end_ns):
        odom = rig.odom_from_base
        rig.robot.send_transform('tf', rig.now_ns, 'odom', 'base_link', odom)
    rig.robot.send_cloud(start_ns, points, 'lidar', **layout, data=rows.view(np.uint8))
    rig.now_ns = start_ns
    rig.localised()
    found = rig.heard('map', 'odom')[-1][1]
    assert np.abs(found - MAP_FROM_ODOM).max() < 2e-3
    assert wait_for(
        lambda: 'points moved by up to' in rig.robot.status('input')[2]['deskew'],
    )
    rig.advance(0.1)


@both('the aligned cloud is sent while somebody listens, in the frame of the map')
def test_aligned_cloud(robot_in_map):
    rig = robot_in_map
    heard = []
    rig.robot.participant.subscribe('/localizer/aligned', CLOUD, heard.append, qos.CLOUD)

    def aligned():
        rig.advance(0.1)
        rig.scan()
        return wait_for(lambda: heard, 0.5)

    assert wait_for(aligned)
    assert heard[-1].header.frame_id == 'map'
    np.testing.assert_allclose(points_from_message(heard[-1]), REFERENCE, atol=1e-4)


@both('the reference is shown in its frame to whoever comes, and another one when it is loaded')
def test_reference(robot_in_map, reference, tmp_path):
    rig = robot_in_map
    heard = []
    rig.robot.participant.subscribe('/localizer/reference', CLOUD, heard.append, qos.LATCHED)
    assert wait_for(lambda: heard), 'it came after the node had started'
    assert (heard[0].header.frame_id, convert.ns_from_stamp(heard[0].header.stamp)) == ('map', 0)
    np.testing.assert_allclose(points_from_message(heard[0]), REFERENCE, atol=1e-5)
    np.save(tmp_path / 'moved.npy', REFERENCE + 1.0)
    rig.robot.send('load_reference', {'data': str(tmp_path / 'moved.npy')})
    assert wait_for(lambda: len(heard) > 1)
    np.testing.assert_allclose(points_from_message(heard[1]), REFERENCE + 1.0, atol=1e-5)
    rig.robot.send('load_reference', {'data': str(reference)})
    assert wait_for(lambda: len(heard) > 2)


@both('the poses that competed are sent while somebody listens, of rejected clouds too')
def test_hypotheses(robot_in_map):
    rig = robot_in_map
    heard = []
    rig.robot.participant.subscribe('/localizer/hypotheses', POSES, heard.append)

    def competed():
        rig.registrars.script.append({'status': Status.REJECTED, 'reason': 'blinded'})
        rig.advance(0.1)
        rig.scan()
        return wait_for(lambda: heard, 0.5)

    assert wait_for(competed)
    assert heard[-1].header.frame_id == 'map'
    found = convert.matrix_from_pose(heard[-1].poses[0])
    np.testing.assert_allclose(found[:3, 3], (MAP_FROM_ODOM @ rig.odom_from_base)[:3, 3], atol=1.0)
