"""What goes over the wire, between processes and as ROS 2 expects it."""

import struct
import textwrap
from dataclasses import dataclass

import numpy as np
import pytest
from wire import LOOPBACK, Process, free_domain, wait_for

pytest.importorskip('cyclonedds')
pytest.importorskip('rosbags')

from cyclonedds.builtin import (  # noqa: E402
    BuiltinDataReader,
    BuiltinTopicDcpsParticipant,
    BuiltinTopicDcpsPublication,
    BuiltinTopicDcpsSubscription,
)
from cyclonedds.core import Policy  # noqa: E402
from cyclonedds.domain import DomainParticipant  # noqa: E402
from cyclonedds.idl import IdlStruct  # noqa: E402
from cyclonedds.idl.types import float64, int32, sequence, uint32  # noqa: E402
from cyclonedds.pub import DataWriter  # noqa: E402
from cyclonedds.sub import DataReader  # noqa: E402
from cyclonedds.topic import Topic  # noqa: E402
from rosbags.typesys import Stores, get_types_from_idl, get_typestore  # noqa: E402

from dlc_ros.errors import DlcError  # noqa: E402
from dlc_ros.node.convert import cloud_values, stamp_from_ns  # noqa: E402
from dlc_ros.node.dds import qos  # noqa: E402
from dlc_ros.node.dds.endpoints import Subscription  # noqa: E402
from dlc_ros.node.dds.participant import Participant  # noqa: E402
from dlc_ros.node.definitions import build_message, distro_typestore  # noqa: E402
from dlc_ros.node.pointcloud2 import points_from_message  # noqa: E402

DOMAIN = free_domain()
CLOUD = 'sensor_msgs/msg/PointCloud2'
STRING = 'std_msgs/msg/String'
# As `ros2 topic info --verbose` of Jazzy prints them.
TYPE_HASHES = {
    CLOUD: 'RIHS01_9198cabf7da3796ae6fe19c4cb3bdd3525492988c70522628af5daa124bae2b5',
    STRING: 'RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18',
}


def participant(name, **options):
    return Participant(name, domain_id=DOMAIN, interface=LOOPBACK, **options)


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


@dataclass
class Time(IdlStruct, typename='builtin_interfaces::msg::dds_::Time_'):
    sec: int32
    nanosec: uint32


@dataclass
class Header(IdlStruct, typename='std_msgs::msg::dds_::Header_'):
    stamp: Time
    frame_id: str


@dataclass
class Vector3(IdlStruct, typename='geometry_msgs::msg::dds_::Vector3_'):
    x: float64
    y: float64
    z: float64


@dataclass
class Quaternion(IdlStruct, typename='geometry_msgs::msg::dds_::Quaternion_'):
    x: float64
    y: float64
    z: float64
    w: float64


@dataclass
class Transform(IdlStruct, typename='geometry_msgs::msg::dds_::Transform_'):
    translation: Vector3
    rotation: Quaternion


@dataclass
class TransformStamped(IdlStruct, typename='geometry_msgs::msg::dds_::TransformStamped_'):
    header: Header
    child_frame_id: str
    transform: Transform


@dataclass
class TFMessage(IdlStruct, typename='tf2_msgs::msg::dds_::TFMessage_'):
    transforms: sequence[TransformStamped]


def transform_stamped(child, x):
    header = Header(Time(12, 345), 'odom')
    return TransformStamped(
        header, child, Transform(Vector3(x, -2.5, 1e-9), Quaternion(0.0, 0.6, 0.0, 0.8))
    )


def transform_values(child, x):
    return {
        'header': {'stamp': {'sec': 12, 'nanosec': 345}, 'frame_id': 'odom'},
        'child_frame_id': child,
        'transform': {
            'translation': {'x': x, 'y': -2.5, 'z': 1e-9},
            'rotation': {'x': 0.0, 'y': 0.6, 'z': 0.0, 'w': 0.8},
        },
    }


CHILDREN = [('base_link', 1.25), ('a', 0.0), ('a longer name', -7.0)]


def test_messages_read_as_cyclone_itself_writes_and_reads_them():
    """The bytes of rosbags and those of Cyclone DDS's own types are one format on one topic."""
    expected = TFMessage([transform_stamped(*child) for child in CHILDREN])
    values = {'transforms': [transform_values(*child) for child in CHILDREN]}
    with participant('ours') as ours:
        heard = []
        ours.subscribe('/tf', 'tf2_msgs/msg/TFMessage', heard.append, qos.TF)
        publisher = ours.publisher('/tf', 'tf2_msgs/msg/TFMessage', qos.TF)
        theirs = DomainParticipant(DOMAIN)
        topic = Topic(theirs, 'rt/tf', TFMessage)
        endpoint = qos.TF.to_cyclone(b'')
        reader, writer = DataReader(theirs, topic, endpoint), DataWriter(theirs, topic, endpoint)
        assert wait_for(lambda: len(writer.get_matched_subscriptions()) == 2)
        writer.write(expected)
        assert wait_for(lambda: heard)
        assert publisher.wait_for_subscribers(2)
        reader.take(N=10)
        publisher.publish(values)
        received = []
        assert wait_for(lambda: received.extend(reader.take(N=10)) or received)
    assert received[0].transforms == expected.transforms
    assert [t.child_frame_id for t in heard[0].transforms] == [name for name, _ in CHILDREN]
    for stamped, (_, x) in zip(heard[0].transforms, CHILDREN, strict=True):
        assert (stamped.header.stamp.sec, stamped.header.stamp.nanosec) == (12, 345)
        translation = stamped.transform.translation
        assert (translation.x, translation.y, translation.z) == (x, -2.5, 1e-9)
        assert stamped.transform.rotation.w == 0.8


def test_discovery_tells_what_ros_2_looks_for():
    with participant('localizer', namespace='/robot') as node:
        node.publisher('~/pose', STRING)
        node.subscribe('points', CLOUD, print, qos.SENSOR_DATA)
        stranger = DomainParticipant(DOMAIN)
        participants = BuiltinDataReader(stranger, BuiltinTopicDcpsParticipant)
        endpoints = {}
        for topic in (BuiltinTopicDcpsPublication, BuiltinTopicDcpsSubscription):
            for sample in BuiltinDataReader(stranger, topic).take(N=100):
                endpoints[sample.topic_name] = sample
        enclaves = [
            sample.qos[Policy.Userdata].data
            for sample in participants.take(N=100)
            if Policy.Userdata in sample.qos
        ]
    assert b'enclave=/;' in enclaves
    pose, points = endpoints['rt/robot/localizer/pose'], endpoints['rt/robot/points']
    assert pose.type_name == 'std_msgs::msg::dds_::String_'
    assert points.type_name == 'sensor_msgs::msg::dds_::PointCloud2_'
    for endpoint, kind in ((pose, STRING), (points, CLOUD)):
        assert endpoint.qos[Policy.Userdata].data == f'typehash={TYPE_HASHES[kind]};'.encode()
    # Of a class "in" tells only that there is a policy of its kind.
    assert isinstance(pose.qos[Policy.Reliability], Policy.Reliability.Reliable)
    assert points.qos[Policy.Reliability] == Policy.Reliability.BestEffort
    assert 'ros_discovery_info' in endpoints
    info = endpoints['ros_discovery_info']
    assert info.type_name == 'rmw_dds_common::msg::dds_::ParticipantEntitiesInfo_'
    assert Policy.Durability.TransientLocal in info.qos


def parse_entities_info(cdr, gid_size):
    """rmw_dds_common/ParticipantEntitiesInfo by hand: (participant gid, nodes)."""
    body, position = cdr[4:], 0

    def uint():
        nonlocal position
        position += -position % 4
        (value,) = struct.unpack_from('<I', body, position)
        position += 4
        return value

    def take(length):
        nonlocal position
        position += length
        return body[position - length : position]

    def text():
        return take(uint())[:-1].decode()

    gid, nodes = take(gid_size), []
    for _ in range(uint()):
        namespace, name = text(), text()
        readers = [take(gid_size) for _ in range(uint())]
        writers = [take(gid_size) for _ in range(uint())]
        nodes.append((namespace, name, readers, writers))
    return gid, nodes


@pytest.mark.parametrize(('distro', 'gid_size'), [('jazzy', 16), ('humble', 24)])
def test_graph_lists_the_node_and_its_endpoints(distro, gid_size):
    store = distro_typestore(distro)
    graph = []
    with participant('watcher', typestore=store) as watcher:
        with participant('localizer', namespace='/robot', typestore=store) as node:
            publisher = node.publisher('~/pose', STRING)
            subscription = node.subscribe('points', CLOUD, print, qos.NEWEST_CLOUD)
            # Not below rt/ as the topics of nodes are, so no participant subscribes to it.
            latched = Subscription(
                watcher._participant,
                'ros_discovery_info',
                'rmw_dds_common/msg/ParticipantEntitiesInfo',
                graph.append,
                qos.TF_STATIC,  # every participant's last word
                store,
                raw=True,
            )

            def of_node():
                latched.deliver()
                found = [parse_entities_info(cdr, gid_size) for cdr in graph]
                return [(g, n) for g, n in found if n[0][:2] == ('/robot', 'localizer')]

            assert wait_for(of_node)
            gid, nodes = of_node()[-1]
            writer = publisher.writer.guid.bytes
            readers = sorted(reader.guid.bytes for reader in subscription.readers)
            latched.close()
    (_, _, reader_gids, writer_gids) = nodes[0]
    assert len(nodes) == 1
    assert [g[:16] for g in writer_gids] == [writer]
    assert sorted(g[:16] for g in reader_gids) == readers
    # All entities of a participant share the first twelve bytes of its gid.
    assert gid[:12] == writer[:12]
    assert not any(gid[16:])


def test_late_subscriber_gets_static_transforms_and_no_others():
    with participant('early') as early, participant('late') as late:
        for topic, profile in (('/tf', qos.TF), ('/tf_static', qos.TF_STATIC)):
            publisher = early.publisher(topic, 'tf2_msgs/msg/TFMessage', profile)
            publisher.publish({'transforms': [transform_values(topic[1:], 0.0)]})
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


def test_topic_names_follow_ros():
    with participant('localizer', namespace='robot/') as node:
        assert node.resolve('points') == '/robot/points'
        assert node.resolve('/points') == '/points'
        assert node.resolve('~/pose') == '/robot/localizer/pose'


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda: participant('no-dash'), 'node name'),
        (lambda: participant('x', namespace='/1st'), 'namespace'),
        (lambda: Participant('x', domain_id=DOMAIN + 100, interface='nonsense0'), 'nonsense0'),
        (lambda: Participant('x', domain_id=233), 'no DDS domain 233: they go from 0 to 232'),
        (lambda: Participant('x', domain_id=-1), 'no DDS domain -1'),
        (lambda: distro_typestore('lunar'), "Unknown ROS 2 distribution 'lunar'"),
    ],
)
def test_impossible_participant_is_one_line(make, words):
    with pytest.raises(DlcError, match=words) as caught:
        make()
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('distro', ['rolling', 'noetic'])
def test_a_distribution_that_is_not_known_here_stops_nobody(distro):
    code = 'from dlc_ros.node.definitions import distro_typestore; distro_typestore()'
    with Process('-c', code, ROS_DISTRO=distro) as process:
        status, _, said = process.finish()
    assert status == 0, said
    assert f"ROS_DISTRO is '{distro}': messages are taken as in jazzy" in said


@pytest.mark.parametrize(
    ('topic', 'kind', 'words'),
    [
        ('a b', STRING, 'topic name'),
        ('', STRING, 'topic name'),
        ('word', 'std_msgs/msg/Nothing', "Unknown message type 'std_msgs/msg/Nothing'"),
    ],
)
def test_impossible_topic_is_one_line(topic, kind, words):
    with participant('node') as node, pytest.raises(DlcError, match=words):
        node.publisher(topic, kind)


def test_a_type_that_dds_cannot_carry_is_named():
    store = get_typestore(Stores.ROS2_JAZZY)
    wide = 'module some_msgs { module msg { struct Wide { long double value; }; }; };'
    store.register(get_types_from_idl(wide))
    with participant('node') as node, pytest.raises(DlcError, match='float128 cannot be sent'):
        node.publisher('wide', 'some_msgs/msg/Wide', typestore=store)


def test_domain_number_comes_from_ros_domain_id(monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', str(DOMAIN))
    with participant('there') as there, Participant('default', interface=LOOPBACK) as default:
        assert there.publisher('x', STRING) and default.subscribe('x', STRING, print)
    monkeypatch.setenv('ROS_DOMAIN_ID', 'seven')
    with pytest.raises(DlcError, match="ROS_DOMAIN_ID is 'seven'"):
        Participant('default', interface=LOOPBACK)


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


def test_values_of_a_message_are_checked_and_completed():
    store = distro_typestore()
    pose = build_message(store, 'geometry_msgs/msg/PoseWithCovarianceStamped', {})
    assert pose.pose.covariance.shape == (36,) and pose.header.frame_id == ''
    clock = build_message(store, 'rosgraph_msgs/msg/Clock', {'clock': stamp_from_ns(-1)})
    assert (clock.clock.sec, clock.clock.nanosec) == (-1, 999_999_999)
    with pytest.raises(DlcError, match="no field 'frame'"):
        build_message(store, 'std_msgs/msg/Header', {'frame': 'map'})


def test_a_closed_participant_leaves_nothing_behind():
    with participant('first') as first:
        publisher = first.publisher('word', STRING)
        with participant('second') as second:
            second.subscribe('word', STRING, print)
            assert publisher.wait_for_subscribers()
        assert wait_for(lambda: publisher.subscriber_count == 0)
    first.close()
