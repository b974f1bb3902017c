"""Damaged bytes on the wire itself: forged RTPS packets at a running node."""

import socket
import struct
import time

import numpy as np
import psutil
import pytest

pytest.importorskip('cyclonedds')
pytest.importorskip('rosbags')

from actors import CLOUD, TF, camera_cloud, is_right, node, node_parameters  # noqa: E402
from mutations import mutate_bytes  # noqa: E402
from wire import LOOPBACK, SOON, free_domain, room, wait_for  # noqa: E402

from dlc_ros.files import write_cloud  # noqa: E402
from dlc_ros.node import convert  # noqa: E402
from dlc_ros.node.dds import qos  # noqa: E402
from dlc_ros.node.dds.participant import Participant  # noqa: E402
from dlc_ros.node.definitions import build_message  # noqa: E402

# What the node hears besides clouds.
OTHERS = {
    '/tf': (TF, qos.TF),
    '/tf_static': (TF, qos.TF_STATIC),
    'initialpose': ('geometry_msgs/msg/PoseWithCovarianceStamped', qos.DEFAULT),
    '/localizer/load_reference': ('std_msgs/msg/String', qos.DEFAULT),
    '/localizer/load_weights': ('std_msgs/msg/String', qos.DEFAULT),
    '/localizer/relocalize': ('std_msgs/msg/Empty', qos.DEFAULT),
}


def data_packet(guid, number, payload):
    """
    An RTPS message with one DATA submessage: DDSI-RTPS 2.5, sections 9.4.4 and 9.4.5.4.

    :param guid: 16 bytes of the writer whose sample it pretends to be.
    :param number: sequence number.
    :param payload: bytes of the sample with their encapsulation header.
    """
    header = b'RTPS\x02\x05\x01\x10' + guid[:12]
    sequence = struct.pack('<iI', number >> 32, number & 0xFFFFFFFF)
    body = struct.pack('<HH', 0, 16) + b'\0\0\0\0' + guid[12:] + sequence + payload
    body += b'\0' * (-len(body) % 4)
    return header + struct.pack('<BBH', 0x15, 0x05, len(body)) + body


class Forger:
    """Sends packets in the name of publishers that the node knows."""

    def __init__(self, participant, pid):
        self._publishers = {
            'points': participant.publisher('points', CLOUD, qos.SENSOR_DATA),
            **{topic: participant.publisher(topic, *how) for topic, how in OTHERS.items()},
        }
        # Reliable readers, all but that of clouds, take one number after the other.
        self._numbers = dict.fromkeys(self._publishers, 0)
        ports = {
            s.laddr.port
            for s in psutil.Process(pid).net_connections('udp4')
            if s.laddr.port < 33e3
        }
        self.discovery_port, self.data_port = sorted(ports)[-2:]
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def wait(self):
        for publisher in self._publishers.values():
            assert publisher.wait_for_subscribers(timeout=SOON), publisher.topic

    def packet(self, topic, payload):
        self._numbers[topic] += 1
        guid = self._publishers[topic].writer.guid.bytes
        return data_packet(guid, self._numbers[topic], payload)

    def send(self, packet, port=None):
        self._socket.sendto(packet, ('127.0.0.1', port or self.data_port))

    def close(self):
        self._socket.close()


def samples(store):
    """Well-formed CDR bytes of each topic."""

    def cdr(kind, values):
        return bytes(store.serialize_cdr(build_message(store, kind, values), kind))

    header = {'stamp': convert.stamp_from_ns(time.time_ns()), 'frame_id': 'camera'}
    stamped = {'header': header, 'child_frame_id': 'lens', 'transform': {'rotation': {'w': 1.0}}}
    pose = {'header': header, 'pose': {'pose': {'orientation': {'w': 1.0}}}}
    cloud = convert.cloud_values(time.time_ns(), 'camera', np.zeros((40, 3)))
    values = {TF: {'transforms': [stamped] * 3}, OTHERS['initialpose'][0]: pose}
    values['std_msgs/msg/String'] = {'data': 'a file that is not there'}
    return {
        'points': cdr(CLOUD, cloud),
        **{topic: cdr(kind, values.get(kind, {})) for topic, (kind, _) in OTHERS.items()},
    }


@pytest.mark.scenario('faults', "forged and damaged RTPS packets at the node's ports", 'embedded')
def test_damaged_packets_do_not_end_the_node_nor_what_it_says(tmp_path, scenario):
    reference = tmp_path / 'room.npy'
    write_cloud(reference, room(3000))
    domain, rng, points = free_domain(6), np.random.default_rng(4), camera_cloud()
    heard = {}
    count = scenario.size(small=400, full=20_000)
    kinds = {'damaged samples': 0, 'damaged packets': 0, 'random bytes': 0}

    def on_tf(message):
        for t in message.transforms:
            stamp = convert.ns_from_stamp(t.header.stamp)
            heard[t.child_frame_id, stamp] = convert.matrix_from_transform(t.transform)

    with (
        node(node_parameters(reference, domain)) as localizer,
        Participant('robot', domain_id=domain, interface=LOOPBACK) as participant,
    ):
        clouds = participant.publisher('points', CLOUD, qos.CLOUD)
        participant.subscribe('/tf', TF, on_tf, qos.TF)
        assert clouds.wait_for_subscribers(timeout=SOON), localizer.errors
        forger = Forger(participant, localizer.pid)
        forger.wait()
        good = samples(participant.typestore)

        def answered():
            stamp = time.time_ns()
            clouds.publish(convert.cloud_values(stamp, 'camera', points))
            return wait_for(lambda: ('room', stamp) in heard, 2.0)

        assert wait_for(answered)

        # What arrives as a forger sends it is heard: else this test would test nothing.
        def named(words):
            return any(words in line for line in localizer.errors)

        forger.send(forger.packet('/localizer/load_weights', good['/localizer/load_weights']))
        assert wait_for(lambda: named('a file that is not there'))
        memory = localizer.usage.memory_info().rss
        for number in range(count):
            topic = list(good)[rng.integers(len(good))]
            how = list(kinds)[number % 3]
            kinds[how] += 1
            port = forger.data_port
            if how == 'damaged samples':
                packet = forger.packet(topic, mutate_bytes(rng, good[topic]))
            elif how == 'damaged packets':
                packet = mutate_bytes(rng, forger.packet('points', good['points']))
                port = forger.discovery_port if rng.random() < 0.3 else port
            else:
                packet = b'RTPS\x02\x05' + rng.bytes(int(rng.integers(0, 200)))
                port = forger.discovery_port if rng.random() < 0.5 else port
            forger.send(packet, port)
            if number % 50 == 0:
                time.sleep(0.02)  # else the kernel drops them
            assert localizer.running, localizer.errors[-5:]
        assert wait_for(answered), localizer.errors[-5:]
        growth = localizer.usage.memory_info().rss / memory - 1.0
        damaged = sum('a damaged message was dropped' in line for line in localizer.errors)
        assert localizer.finish() == 0
        forger.close()
    traces = [line for line in localizer.errors if 'Traceback' in line]
    scenario.saw(
        ', '.join(f'{n} {what}' for what, n in kinds.items())
        + f': the node went on, every transform of the room was right, {damaged} samples were '
        f'named as damaged, memory {100 * growth:+.1f} %'
    )
    assert not traces
    assert all(is_right(matrix) for (child, _), matrix in heard.items() if child == 'room')
    assert growth < 0.1
