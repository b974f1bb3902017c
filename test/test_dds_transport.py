"""What is sent arrives: between processes, late, damaged, from every publisher, once."""

import socket
import struct
import textwrap

import numpy as np
import pytest
from wire import Process, wait_for

pytest.importorskip('cyclonedds')
pytest.importorskip('rosbags')

from participants import CLOUD, DOMAIN, STRING, participant  # noqa: E402

from dlc_ros.errors import DlcError  # noqa: E402
from dlc_ros.node.convert import cloud_values  # noqa: E402
from dlc_ros.node.dds import qos  # noqa: E402
from dlc_ros.node.definitions import build_message, distro_typestore  # noqa: E402
from dlc_ros.node.pointcloud2 import points_from_message  # noqa: E402

PUBLISHER = textwrap.dedent(
    """
    import sys, time
    import numpy as np
    from dlc_ros.node.convert import cloud_values
    from dlc_ros.node.dds import qos
    from dlc_ros.node.dds.participant import Participant

    domain, size, count, reliable = (int(word) for word in sys.argv[1:])
    points = np.random.default_rng(size).normal(size=(size // 12, 3))
    profile = qos.CLOUD if reliable else qos.SENSOR_DATA
    with Participant('source', domain_id=domain, interface='lo') as node:
        cloud = node.publisher('points', 'sensor_msgs/msg/PointCloud2', profile)
        assert cloud.wait_for_subscribers(timeout=30)
        begin = time.monotonic()
        for i in range(count):
            message = node.message(cloud.type_name, cloud_values(i, 'camera', points + i))
            time.sleep(max(0.0, begin + 0.1 * i - time.monotonic()))
            cloud.write(message)
        cloud.wait_until_received()
        time.sleep(0.3)
    """
)

STAY_HOME = textwrap.dedent(
    """
    import sys
    from dlc_ros.node.dds.participant import Participant

    with Participant('home', domain_id=int(sys.argv[1])) as node:
        publisher = node.publisher('word', 'std_msgs/msg/String')
        found = publisher.wait_for_subscribers(timeout=float(sys.argv[2]))
        publisher.publish({'data': 'hello'})
        publisher.wait_until_received()
    sys.exit(0 if found else 1)
    """
)


@pytest.mark.parametrize('megabytes', [2, 4])
def test_no_cloud_is_lost_between_processes_at_10_hz(megabytes, tmp_path):
    script = tmp_path / 'publisher.py'
    script.write_text(PUBLISHER)
    count, size = 25, megabytes * 1_000_000
    first = np.random.default_rng(size).normal(size=(size // 12, 3))
    received = {}

    def on_cloud(message):
        received[message.header.stamp.nanosec] = points_from_message(message)[::997].copy()

    with participant('sink') as node:
        node.subscribe('points', CLOUD, on_cloud, qos.NEWEST_CLOUD)
        with Process(script, DOMAIN, size, count, 1) as source:
            code, _, errors = source.finish()
        assert code == 0, errors
        assert wait_for(lambda: len(received) == count, 2.0), sorted(received)
    for i, points in received.items():
        np.testing.assert_array_equal(points, (first + i).astype(np.float32)[::997])


def test_late_subscriber_gets_static_transforms_and_no_others():
    with participant('early') as early, participant('late') as late:
        for topic, profile in (('/tf', qos.TF), ('/tf_static', qos.TF_STATIC)):
            publisher = early.publisher(topic, 'tf2_msgs/msg/TFMessage', profile)
            publisher.publish({'transforms': [{'child_frame_id': topic[1:]}]})
        heard = []
        for topic, profile in (('/tf', qos.TF), ('/tf_static', qos.TF_STATIC)):
            late.subscribe(topic, 'tf2_msgs/msg/TFMessage', heard.append, profile)
        assert wait_for(lambda: heard)
        assert not wait_for(lambda: len(heard) > 1, 0.5)
    assert heard[0].transforms[0].child_frame_id == 'tf_static'


@pytest.mark.parametrize('profile', [qos.SENSOR_DATA, qos.CLOUD])
def test_newest_cloud_hears_every_publisher_once(profile):
    with participant('source') as source, participant('sink') as sink:
        publisher = source.publisher('points', STRING, profile)
        heard = []
        subscription = sink.subscribe('points', STRING, heard.append, qos.NEWEST_CLOUD)
        assert publisher.wait_for_subscribers()
        assert publisher.subscriber_count == 1 and subscription.publisher_count == 1
        for i in range(5):
            publisher.publish({'data': str(i)})
        assert wait_for(lambda: len(heard) >= 5)
        assert not wait_for(lambda: len(heard) > 5, 0.3)
    assert [message.data for message in heard] == list('01234')


def test_failing_callback_and_damaged_message_do_not_end_the_subscription(caplog):
    heard = []

    def callback(message):
        if message.data == 'bad':
            raise RuntimeError('callback trouble')
        heard.append(message.data)

    with participant('source') as source, participant('sink') as sink:
        publisher = source.publisher('words', STRING)
        sink.subscribe('words', STRING, callback)
        assert publisher.wait_for_subscribers()
        publisher.publish({'data': 'bad'})
        publisher.write_cdr(b'\0\1\0\0' + struct.pack('<I', 4) + b'\xff\xfe\xfd\0')
        publisher.publish({'data': 'good'})
        assert wait_for(lambda: heard)
    assert heard == ['good']
    assert 'callback trouble' in caplog.text
    assert 'damaged message' in caplog.text


@pytest.mark.parametrize('cdr', [b'', b'\0\1\0\0', b'\0\1\0\0\5\0\0\0ab'])
def test_bytes_that_are_no_message_are_not_sent(cdr):
    with participant('source') as source:
        with pytest.raises(DlcError, match='no sensor_msgs/msg/PointCloud2'):
            source.publisher('points', CLOUD).write_cdr(cdr)


def test_raw_subscription_gets_the_bytes_that_were_sent():
    store = distro_typestore()
    values = cloud_values(5, 'camera', np.arange(12.0).reshape(4, 3))
    sent = store.serialize_cdr(build_message(store, CLOUD, values), CLOUD)
    heard = []
    with participant('source') as source, participant('sink') as sink:
        publisher = source.publisher('points', CLOUD)
        sink.subscribe('points', CLOUD, heard.append, raw=True)
        assert publisher.wait_for_subscribers()
        publisher.write_cdr(sent)
        assert wait_for(lambda: heard)
    # The transport pads to four bytes and notes in the header by how many.
    assert heard[0][4 : len(sent)] == bytes(sent)[4:]
    assert len(heard[0]) - len(sent) in range(4)


@pytest.mark.parametrize(
    ('name', 'value'),
    [('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST'), ('ROS_LOCALHOST_ONLY', '1')],
)
def test_who_is_told_to_stay_on_this_host_is_on_loopback(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    heard = []
    with participant('neighbour') as neighbour:
        neighbour.subscribe('word', STRING, heard.append)
        with Process('-c', STAY_HOME, DOMAIN, 30) as home:
            code, _, errors = home.finish()
        assert code == 0, errors
        assert wait_for(lambda: heard)


SOCKET_OF_ANOTHER = textwrap.dedent(
    """
    import socket, sys
    from dlc_ros.node.dds.participant import Participant

    def device(sock):
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b'\\0')

    domain = int(sys.argv[1])
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    other.bind(('', 7400 + 250 * domain + 240))
    with Participant('guest', domain_id=domain, interface='lo'):
        print(device(other).decode() or 'free')
    """
)


@pytest.mark.skipif(not hasattr(socket, 'SO_BINDTODEVICE'), reason='only Linux holds sockets')
def test_a_ros_2_of_this_process_keeps_its_sockets():
    """It may be spoken to by the host's outer address, which a socket on lo does not hear."""
    with Process('-c', SOCKET_OF_ANOTHER, DOMAIN) as process:
        code, out, errors = process.finish()
    assert (code, out.strip()) == (0, 'free'), errors


def test_a_closed_participant_leaves_nothing_behind():
    with participant('first') as first:
        publisher = first.publisher('word', STRING)
        with participant('second') as second:
            second.subscribe('word', STRING, print)
            assert publisher.wait_for_subscribers()
        assert wait_for(lambda: publisher.subscriber_count == 0)
    first.close()
