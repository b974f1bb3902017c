"""``replay.launch.py``: a recording without its own pose of the robot."""

import importlib.util
import os
import shutil

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='source ROS 2 first (docs/ros2.md)')

from rclpy_harness import room, wait_for  # noqa: E402
from ros_commands import write_parameters  # noqa: E402

from dlc_ros.node import convert  # noqa: E402


def edges(*names):
    """tf2_msgs/TFMessage values: identities between parent and child, now and then."""
    return {
        'transforms': [
            {
                'header': {'frame_id': parent},
                'child_frame_id': child,
                'transform': {'rotation': {'w': 1.0}},
            }
            for parent, child in names
        ]
    }


@pytest.fixture
def replay(launch, tmp_path):
    """Starts replay.launch.py with a recording of so many seconds, and what else it takes."""
    if not shutil.which('ros2') or importlib.util.find_spec('ros2bag') is None:
        pytest.skip('ros2 bag is not installed')
    np.save(tmp_path / 'map.npy', room(np.random.default_rng(7), 20000))
    parameters = write_parameters(
        tmp_path / 'map.yaml',
        mode='map',
        reference=str(tmp_path / 'map.npy'),
        registration={'use_predictor': False},
    )

    def run(seconds, *arguments):
        points = room(np.random.default_rng(6), 6000)
        write_recording(tmp_path / 'drive', points, seconds)
        bag = f'bag:={tmp_path / "drive"}'
        topic = 'points:=/velodyne_points'
        return launch('replay.launch.py', bag, f'params_file:={parameters}', topic, *arguments)

    return run


def test_replay_leaves_the_recorded_pose_out(replay, peer):
    """What is heard beside a recording: its odometry, and of map -> odom the localizer's alone."""
    heard = peer.listen_to_tf('/tf')
    launched = replay(4.0, 'loop:=true')  # a busy machine may miss the first time

    def found():
        return {(t.header.frame_id, t.child_frame_id) for t in list(heard)}

    wait_for(lambda: not launched.running or ('map', 'odom') in found())
    assert found() == {('odom', 'base_link'), ('map', 'odom')}, launched.output
    corrections = [t for t in list(heard) if t.child_frame_id == 'odom']
    # In the recording the robot believed to be 50 m away.
    assert all(abs(t.transform.translation.x) < 0.01 for t in corrections)


def test_replay_ends_with_its_recording(replay):
    launched = replay(0.5)
    assert launched.wait() == 0, launched.output
    assert launched.output.count('process has finished cleanly') == 3, launched.output


def write_recording(path, points, seconds):
    """
    A robot that stands still, with clouds and a wrong map -> odom, as rosbag2.

    As others than ``ros2 bag record`` may make one: nothing says how its topics were offered.
    """
    pytest.importorskip('rosbags', reason='rosbags is not installed')
    from rosbags.rosbag2 import StoragePlugin, Writer

    from dlc_ros.node.definitions import build_message, distro_typestore

    store, second = distro_typestore(), 10**9
    kinds = {
        '/tf_static': 'tf2_msgs/msg/TFMessage',
        '/tf': 'tf2_msgs/msg/TFMessage',
        '/velodyne_points': 'sensor_msgs/msg/PointCloud2',
    }
    with Writer(path, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        topics = {
            topic: writer.add_connection(topic, kind, typestore=store)
            for topic, kind in kinds.items()
        }

        def write(topic, values, stamp_ns):
            message = build_message(store, kinds[topic], values)
            writer.write(topics[topic], stamp_ns, store.serialize_cdr(message, kinds[topic]))

        write('/tf_static', edges(('base_link', 'velodyne')), 1000 * second)
        for i in range(round(10 * seconds)):
            stamp_ns = 1000 * second + i * second // 10
            stamp = convert.stamp_from_ns(stamp_ns)
            transforms = edges(('odom', 'base_link'), ('map', 'odom'))
            for transform in transforms['transforms']:
                transform['header']['stamp'] = stamp
            transforms['transforms'][1]['transform']['translation'] = {'x': 50.0}
            write('/tf', transforms, stamp_ns)
            write('/velodyne_points', convert.cloud_values(stamp_ns, 'velodyne', points), stamp_ns)


def test_replay_without_its_recording_says_so(launch, tmp_path):
    launched = launch('replay.launch.py', f'bag:={tmp_path / "nowhere"}')
    assert launched.wait() == 1
    assert 'nowhere: no such recording' in launched.output
    assert 'process started' not in launched.output
    assert 'Traceback' not in launched.output


def test_replayed_transforms_pass_but_for_those_of_the_map(peer, tmp_path):
    from tf2_msgs.msg import TFMessage
    from wire import Process

    from dlc_ros.node.ros.messages import build_message

    heard = peer.listen_to_tf('/tf')
    recorded = peer.create_publisher(TFMessage, '/recorded/tf', 100)
    domain = os.environ['ROS_DOMAIN_ID']
    with Process('-m', 'dlc_ros.node.ros.replay_tf', ROS_DOMAIN_ID=domain) as relay:
        wait_for(recorded.get_subscription_count)
        wait_for(lambda: peer.count_publishers('/tf'))
        for names in ((('map', 'odom'), ('odom', 'base_link')), (('map', 'odom'),)):
            recorded.publish(build_message(TFMessage, edges(*names)))
        recorded.publish(build_message(TFMessage, edges(('odom', 'last'))))
        wait_for(lambda: [t.child_frame_id for t in heard] == ['base_link', 'last'])
        relay.interrupt()
        code, _, errors = relay.finish()
    assert code == 0, errors
