"""What ROS 2 looks for on the wire: message formats, discovery data, type hashes, the graph."""

import socket
import struct
import time
from dataclasses import dataclass

import pytest
from wire import SOON, wait_for

pytest.importorskip('cyclonedds')
pytest.importorskip('rosbags')

from cyclonedds.builtin import (
    BuiltinDataReader,
    BuiltinTopicDcpsParticipant,
    BuiltinTopicDcpsPublication,
    BuiltinTopicDcpsSubscription,
)  # noqa: E402
from cyclonedds.core import Policy  # noqa: E402
from cyclonedds.domain import DomainParticipant  # noqa: E402
from cyclonedds.idl import IdlStruct  # noqa: E402
from cyclonedds.idl.types import float64, int32, sequence, uint32  # noqa: E402
from cyclonedds.pub import DataWriter  # noqa: E402
from cyclonedds.sub import DataReader  # noqa: E402
from cyclonedds.topic import Topic  # noqa: E402
from participants import CLOUD, DOMAIN, STRING, participant  # noqa: E402

from dlc_ros.node.dds import qos  # noqa: E402
from dlc_ros.node.dds.endpoints import Subscription  # noqa: E402
from dlc_ros.node.definitions import distro_typestore  # noqa: E402

# As `ros2 topic info --verbose` of Jazzy prints them.
TYPE_HASHES = {
    CLOUD: 'RIHS01_9198cabf7da3796ae6fe19c4cb3bdd3525492988c70522628af5daa124bae2b5',
    STRING: 'RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18',
}


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


def test_a_participant_asks_again_and_names_itself_when_it_leaves():
    """Fast DDS asks nobody on loopback, and heeds no farewell without the hash of the key."""
    key_hash, left = bytes.fromhex('70001000'), bytes.fromhex('7100040000000003')
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late:
        late.bind(('127.0.0.1', 7410 + 250 * DOMAIN + 2 * 77))  # where a 78th participant would be
        late.settimeout(SOON)

        def hear(*words):
            """The next datagram with these bytes."""
            datagram = late.recv(65536)
            while not all(word in datagram for word in words):
                datagram = late.recv(65536)
            return datagram

        with participant('leaving') as node:
            guid = node._participant.guid.bytes
            begin = time.monotonic()
            for _ in range(5):
                assert left not in hear(guid[:12])
            assert time.monotonic() - begin < 60.0, 'Cyclone DDS by itself asks every 30 s'
        assert key_hash + guid in hear(guid[:12], left)
