"""Recordings that are played: what was written arrives, at its pace, and stops when told."""

import threading
import time

import numpy as np
import pytest
from wire import LOOPBACK, free_domain, wait_for

pytest.importorskip('cyclonedds')
pytest.importorskip('rosbags')

from bags import (  # noqa: E402
    CLOUD,
    COUNT,
    FIRST,
    RECORDINGS,
    STEP,
    STRING,
    TF,
    cloud_points,
    write_with_recorder,
)

from dlc_ros.errors import DlcError  # noqa: E402
from dlc_ros.node.bag import Bag, Recorder  # noqa: E402
from dlc_ros.node.convert import ns_from_stamp  # noqa: E402
from dlc_ros.node.dds import qos  # noqa: E402
from dlc_ros.node.dds.participant import Participant  # noqa: E402
from dlc_ros.node.definitions import build_message, distro_typestore  # noqa: E402
from dlc_ros.node.play import Player  # noqa: E402
from dlc_ros.node.pointcloud2 import points_from_message  # noqa: E402

DOMAIN = free_domain()


def played(bag, topics, rate=1.0, clock=False, stop=None, drop_parent=''):
    """Play on this domain: count, messages by topic, clock, seconds that it took."""
    heard = {name: [] for name in topics}
    kinds = {'/points': CLOUD, '/tf': TF, '/tf_static': TF, '/words': STRING}
    with (
        Participant('player', domain_id=DOMAIN, interface=LOOPBACK) as source,
        Participant('listener', domain_id=DOMAIN, interface=LOOPBACK) as sink,
    ):
        player = Player(bag, source, topics, rate, clock, drop_parent)
        for name in topics:
            profile = qos.TF_STATIC if name == '/tf_static' else qos.QosProfile(depth=100)

            def on_message(message, name=name):
                heard[name].append(message)

            sink.subscribe(name, kinds[name], on_message, profile)
        clocks = []
        if clock:
            sink.subscribe(
                '/clock',
                'rosgraph_msgs/msg/Clock',
                lambda message: clocks.append(ns_from_stamp(message.clock)),
                qos.QosProfile(depth=100),
            )
        assert player.wait_for_subscribers(30.0)
        time.sleep(0.3)  # for the other topics
        begin = time.monotonic()
        sent = player.play(stop)
        seconds = time.monotonic() - begin
        assert wait_for(lambda: sum(map(len, heard.values())) >= sent, 5.0)
    return sent, heard, clocks, seconds


@pytest.mark.parametrize('kind', ['recorder', 'ROS 1'])
def test_played_messages_arrive_at_their_pace(tmp_path, kind):
    with Bag(RECORDINGS[kind](tmp_path / 'recording')) as bag:
        sent, heard, _, seconds = played(bag, ['/points', '/tf_static'], rate=0.5)
    assert sent == COUNT + 1 and len(heard['/tf_static']) == 1
    assert seconds >= 2.0 * (COUNT - 1) * STEP * 1e-9  # nothing is sent before it is due
    for i, message in enumerate(heard['/points']):
        assert ns_from_stamp(message.header.stamp) == FIRST + i * STEP - 7
        np.testing.assert_array_equal(points_from_message(message), cloud_points(i))


def test_player_tells_the_time_of_the_recording(tmp_path):
    with Bag(write_with_recorder(tmp_path / 'recording')) as bag:
        _, _, clocks, _ = played(bag, ['/points'], rate=0.5, clock=True)
    assert clocks == sorted(clocks) and len(clocks) >= COUNT
    assert clocks[0] == FIRST and clocks[-1] == FIRST + (COUNT - 1) * STEP


def test_recorded_pose_in_the_map_can_be_left_out(tmp_path):
    def message(*edges):
        return build_message(
            distro_typestore(),
            TF,
            {
                'transforms': [
                    {'header': {'frame_id': parent}, 'child_frame_id': child}
                    for parent, child in edges
                ]
            },
        )

    path, odometry = tmp_path / 'recording', ('odom', 'base_link')
    with Recorder(path) as recorder:
        recorder.write('/tf_static', message(('base_link', 'lidar'), ('map', 'site')), FIRST)
        recorder.write('/tf', message(('map', 'odom'), odometry), FIRST + STEP)
        recorder.write('/tf', message(('/map', 'odom')), FIRST + 2 * STEP)
        recorder.write('/tf', message(odometry), FIRST + 3 * STEP)
    with Bag(path) as bag:
        sent, heard, _, _ = played(bag, ['/tf', '/tf_static'], drop_parent='map')
    assert sent == 3
    children = {
        topic: [t.child_frame_id for m in messages for t in m.transforms]
        for topic, messages in heard.items()
    }
    assert children == {'/tf': ['base_link', 'base_link'], '/tf_static': ['lidar']}


def test_playing_can_be_stopped(tmp_path):
    stop = threading.Event()
    stop.set()
    with Bag(write_with_recorder(tmp_path / 'recording')) as bag:
        assert played(bag, ['/points'], stop=stop)[0] == 0


@pytest.mark.parametrize('rate', [0.0, -1.0, float('nan'), float('inf')])
def test_time_cannot_stand_still(tmp_path, rate):
    with Bag(write_with_recorder(tmp_path / 'recording')) as bag:
        with pytest.raises(DlcError, match='must be more than 0'):
            Player(bag, None, rate=rate)
