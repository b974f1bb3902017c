"""``ros2 bag record`` and ``ros2 bag play`` around the lifecycle node, and our reader of bags."""

import contextlib
import os
import time
from collections import namedtuple

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='source ROS 2 first (docs/ros2.md)')
rosbag2_py = pytest.importorskip('rosbag2_py', reason='ros2 bag is not installed')
pytest.importorskip('rosbags', reason='rosbags is not installed')

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy_harness import (  # noqa: E402
    T_BASE_SENSOR,
    T_MAP_BASE,
    T_ODOM_BASE,
    Harness,
    room,
    wait_for,
)
from ros_commands import Commands, write_parameters  # noqa: E402
from sensor_msgs.msg import PointCloud2  # noqa: E402
from wire import Process  # noqa: E402

from dlc_ros.node.bag import Bag  # noqa: E402
from dlc_ros.node.convert import matrix_from_transform, ns_from_stamp  # noqa: E402
from dlc_ros.node.pointcloud2 import points_from_message  # noqa: E402
from dlc_ros.registration.se3 import inverse, make_transform, transform_points  # noqa: E402

TF = 'tf2_msgs/msg/TFMessage'
POSE = 'geometry_msgs/msg/PoseWithCovarianceStamped'
KINDS = {
    '/points': 'sensor_msgs/msg/PointCloud2',
    '/tf': TF,
    '/tf_static': TF,
    '/localizer/pose': POSE,
    '/diagnostics': 'diagnostic_msgs/msg/DiagnosticArray',
}
COMPRESSED = ['--compression-mode=message', '--compression-format=zstd']
# Kinds of recording: options of `ros2 bag record` and the plugins that they need. Whole files that
# are compressed are left out: rosbag2 0.26 sometimes ends before it has written all of them.
RECORDINGS = {
    'mcap': (['--storage=mcap'], {'mcap'}),
    'sqlite3': (['--storage=sqlite3'], {'sqlite3'}),
    'mcap zstd': (['--storage=mcap', *COMPRESSED], {'mcap', 'zstd'}),
    'sqlite3 zstd': (['--storage=sqlite3', *COMPRESSED], {'sqlite3', 'zstd'}),
}
INSTALLED = {*rosbag2_py.get_registered_writers(), *rosbag2_py.get_registered_compressors()}
# Humble has no --topics, and its mcap takes no compressed messages.
HUMBLE = os.environ.get('ROS_DISTRO') == 'humble'
NAMES = [*([] if HUMBLE else ['--topics']), *KINDS]
T_MAP_ODOM = T_MAP_BASE @ inverse(T_ODOM_BASE)
SECOND = 10**9
SCANS = 24
STEP = 0.3  # metres between two scans, far enough for each to be kept for training

Drive = namedtuple('Drive', 'recordings scans poses')


@pytest.fixture(scope='module')
def drive(tmp_path_factory, reference):
    """A drive: recordings by kind, points of its scans and poses heard by stamp [ns]."""
    folder, recordings = tmp_path_factory.mktemp('drive'), {}
    commands = Commands(folder)
    values = {'reference': str(reference), 'registration.use_predictor': False}
    with contextlib.ExitStack() as opened:
        robot = opened.enter_context(contextlib.closing(Harness('localizer', values)))
        opened.callback(commands.end)
        peer = robot.peer
        robot.activate()
        peer.send_transform('base_link', 'lidar', T_BASE_SENSOR)
        before = {topic: peer.count_subscribers(topic) for topic in KINDS}
        for i, (kind, (options, plugins)) in enumerate(RECORDINGS.items()):
            if plugins <= INSTALLED and not (HUMBLE and kind == 'mcap zstd'):
                recordings[kind] = folder / f'recording{i}'
                output = ('--output', recordings[kind])
                commands.start('ros2', 'bag', 'record', *options, *output, *NAMES)
        for topic, others in before.items():
            wait_for(lambda t=topic, n=others: peer.count_subscribers(t) == n + len(recordings))
        scans, poses = {}, {}
        for i in range(SCANS):
            odom_from_base = make_transform(np.eye(3), [STEP * i - 4.0, 0.0, 0.0]) @ T_ODOM_BASE
            place = inverse(T_MAP_ODOM @ odom_from_base @ T_BASE_SENSOR)
            points = transform_points(place, room(np.random.default_rng(i), 6000))
            stamp = robot.drive(points, odom_from_base)
            (poses[stamp],) = wait_for(lambda stamp=stamp: peer.poses_at(stamp))
            scans[stamp] = points
            time.sleep(0.05)
        return Drive(recordings, scans, poses)


@pytest.mark.scenario(
    'scenarios', 'ros2 bag record: what was recorded reads as it was sent', 'rclpy'
)
@pytest.mark.parametrize('kind', RECORDINGS)
def test_what_ros2_bag_recorded_reads_as_it_was_sent(drive, kind):
    if kind not in drive.recordings:
        pytest.skip(f'ros2 bag cannot record {kind}')
    with Bag(drive.recordings[kind]) as bag:
        assert {name: topic.type_name for name, topic in bag.topics.items()} == KINDS
        assert [n for n, topic in bag.topics.items() if topic.transient_local] == ['/tf_static']
        clouds = list(bag.clouds())
        # A recorder that is not given the processor misses messages; it invents none.
        assert SCANS / 2 < len(clouds) <= SCANS
        for stamp, frame, points in clouds:
            assert frame == 'lidar'
            np.testing.assert_array_equal(points, drive.scans[stamp].astype(np.float32))

        def messages(topic):
            for _, _, cdr in bag.messages([topic]):
                yield bag.typestore.deserialize_cdr(cdr, KINDS[topic])

        poses = list(messages('/localizer/pose'))
        assert SCANS / 2 < len(poses) <= SCANS
        for pose in poses:
            sent = drive.poses[ns_from_stamp(pose.header.stamp)]
            np.testing.assert_array_equal(pose.pose.covariance, sent.pose.covariance)
        (static,) = [t for message in messages('/tf_static') for t in message.transforms]
        np.testing.assert_allclose(
            matrix_from_transform(static.transform), T_BASE_SENSOR, atol=1e-12
        )
        corrections = [
            matrix_from_transform(t.transform)
            for message in messages('/tf')
            for t in message.transforms
            if (t.header.frame_id, t.child_frame_id) == ('map', 'odom')
        ]
        np.testing.assert_allclose(corrections[-1], T_MAP_ODOM, atol=0.02)
        names = {status.name for m in messages('/diagnostics') for status in m.status}
        assert 'localizer: input' in names


@pytest.mark.scenario(
    'scenarios',
    'ros2 bag play in a loop: found again each time, nothing left of the last',
    'rclpy',
)
def test_a_recording_that_is_played_in_a_loop_is_localised_in_every_time(
    drive, reference, launch, peer, tmp_path
):
    """Time goes back at each round: the node starts afresh, and nothing is left of the last."""
    values = {'reference': str(reference), 'registration': {'use_predictor': False}}
    parameters = write_parameters(tmp_path / 'map.yaml', mode='map', **values)
    reports = peer.listen(DiagnosticArray, '/diagnostics')
    bag = next(iter(drive.recordings.values()))
    launched = launch(
        'replay.launch.py', f'bag:={bag}', f'params_file:={parameters}', 'loop:=true'
    )

    def rounds():
        dates = np.array([date for date, _ in peer.corrections()])
        return np.split(dates, np.flatnonzero(np.diff(dates) < -SECOND) + 1)

    def jumps():
        return [
            int(entry.value)
            for report in list(reports)
            for status in report.status
            for entry in status.values
            if entry.key == 'time jumps'
        ]

    wait_for(lambda: not launched.running or (len(rounds()) > 2 and max(jumps()) > 1))
    assert launched.running, launched.output
    for _, matrix in peer.corrections():
        np.testing.assert_allclose(matrix, T_MAP_ODOM, atol=0.02)
    with Bag(bag) as recording:
        *_, (_, end, _) = recording.messages()
    for dates in rounds():
        assert min(drive.scans) <= dates[0] and dates[-1] <= end + SECOND
    # The recorded poses and reports are not mixed with those of now.
    for topic in ('/localizer/pose', '/diagnostics'):
        nodes = {info.node_name for info in peer.get_publishers_info_by_topic(topic)}
        assert nodes == {'localizer'}, topic
    assert peer.count_publishers('/recorded/localizer/pose') == 1
    assert launched.end() == 0
    assert 'Caught exception' not in launched.output


def test_dlc_ros_plays_what_ros2_bag_recorded(drive, peer):
    pytest.importorskip('cyclonedds', reason='cyclonedds is not installed')
    clouds = peer.listen(PointCloud2, '/points')
    transforms = peer.listen_to_tf('/tf')
    bag = drive.recordings.get('mcap zstd') or next(iter(drive.recordings.values()))
    words = ('play', bag, '--rate', 4, '--topic', '/points', '--topic', '/tf')
    with Process('-m', 'dlc_ros.cli', *words, ROS_DOMAIN_ID=os.environ['ROS_DOMAIN_ID']) as player:
        code, _, errors = player.finish()
    assert code == 0, errors
    with Bag(bag) as recording:
        wait_for(lambda: len(clouds) == recording.topics['/points'].count)
    for cloud in clouds:
        sent = drive.scans[ns_from_stamp(cloud.header.stamp)]
        np.testing.assert_array_equal(points_from_message(cloud), sent.astype(np.float32))
    edges = {(t.header.frame_id, t.child_frame_id) for t in transforms}
    assert edges == {('map', 'odom'), ('odom', 'base_link')}


def test_retraining_takes_what_ros2_bag_recorded(drive, installed, tmp_path):
    for name in ('matplotlib', 'tqdm'):
        pytest.importorskip(name, reason='the training extra is not installed')
    asked = installed(
        *('ros2', 'run', 'dlc_ros', 'dlc-retrain', '--dry-run', '--quiet'),
        *('--bag', next(iter(drive.recordings.values())), '--out', tmp_path / 'retrained'),
    )
    assert asked.wait() == 0, asked.output
    assert "clouds: /points in frame 'lidar'" in asked.output
    assert 'truth: /tf map -> lidar' in asked.output
    assert 'known for 100.0 % of the clouds' in asked.output
