"""What the lifecycle node answers is what the library answers."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='source ROS 2 first (docs/ros2.md)')

from rclpy_harness import T_BASE_SENSOR, T_ODOM_BASE, wait_for  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from dlc_ros.localization.localizer import Localizer  # noqa: E402
from dlc_ros.localization.parameters import from_flat  # noqa: E402


def test_same_answer_as_the_localizer_in_python(robot, scan, reference):
    stamp = robot.drive(scan)
    (pose,) = wait_for(lambda: robot.peer.poses_at(stamp))
    looked_up = {('base_link', 'lidar'): T_BASE_SENSOR, ('odom', 'base_link'): T_ODOM_BASE}
    localizer = Localizer(
        from_flat({'reference': str(reference), 'registration.use_predictor': False}),
        lambda target, source, _: looked_up[target, source],
    )
    (estimate,) = localizer.on_cloud(stamp, 'lidar', scan.astype(np.float32)).poses
    position = pose.pose.pose.position
    np.testing.assert_allclose(
        [position.x, position.y, position.z], estimate.matrix[:3, 3], atol=1e-6
    )
    np.testing.assert_allclose(
        np.array(pose.pose.covariance), estimate.covariance.reshape(36), rtol=1e-3, atol=1e-12
    )


def test_services_answer_with_what_was_done(start, reference, scan, tmp_path):
    file = tmp_path / 'pose.yaml'
    robot = start(
        reference=str(reference),
        registration__use_predictor=False,
        saved_pose__file=str(file),
    )
    robot.activate()
    answer = robot.call(Trigger, '/localizer/save_pose', Trigger.Request())
    assert not answer.success and 'no confirmed pose' in answer.message
    robot.peer.send_transform('base_link', 'lidar', T_BASE_SENSOR)
    stamp = robot.drive(scan)
    wait_for(lambda: robot.peer.poses_at(stamp))
    answer = robot.call(Trigger, '/localizer/save_pose', Trigger.Request())
    assert answer.success and str(file) in answer.message and file.is_file()
    answer = robot.call(Trigger, '/localizer/relocalize', Trigger.Request())
    assert answer.success and answer.message == 'searching globally'
