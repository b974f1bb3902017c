"""Processes that crash, hang or send too much, and what else is on the wire."""

import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

pytest.importorskip('cyclonedds')
pytest.importorskip('rosbags')

from actors import (  # noqa: E402
    CLOUD,
    DIAGNOSTICS,
    camera_cloud,
    heard,
    hears_again,
    listener,
    node,
    node_parameters,
    sensor,
)
from wire import LOOPBACK, SOON, free_domain, room, wait_for  # noqa: E402

from dlc_ros.files import write_cloud  # noqa: E402
from dlc_ros.node import convert  # noqa: E402
from dlc_ros.node.dds import qos  # noqa: E402
from dlc_ros.node.dds.participant import Participant  # noqa: E402


@pytest.fixture(scope='module')
def reference(tmp_path_factory):
    path = tmp_path_factory.mktemp('reference') / 'room.npy'
    write_cloud(path, room(3000))
    return path


@pytest.mark.scenario(
    'faults',
    'node, sensor and listener killed (SIGKILL) and started again, in any order',
    'embedded',
)
def test_whoever_is_killed_and_started_again_finds_the_others(reference, scenario):
    domain = free_domain(2)
    rng = np.random.default_rng(0)
    with (
        node(node_parameters(reference, domain)) as localizer,
        sensor(domain, 5) as camera,
        listener(domain) as peer,
    ):
        actors = {'node': localizer, 'sensor': camera, 'listener': peer}
        assert hears_again(peer) is not None, localizer.errors
        seconds = {name: [] for name in actors}
        # Everyone once, then anyone, and sometimes two at a time.
        victims = [[name] for name in actors]
        while len(victims) < scenario.size(small=3, full=24):
            victims.append(list(rng.permutation(list(actors))[: rng.integers(1, 4)]))
        for names in victims:
            for name in names:
                actors[name].kill()
            for name in rng.permutation(names):
                actors[name].start()
            waited = hears_again(peer)
            assert waited is not None, (names, localizer.errors)
            seconds[names[0] if len(names) == 1 else 'several'] = [
                *seconds.get(names[0] if len(names) == 1 else 'several', []),
                waited,
            ]
        assert all(entry['right'] for entry in heard(peer))
        assert not any('Traceback' in line for line in localizer.errors)
    longest = ', '.join(f'{name} {max(s):.1f} s' for name, s in seconds.items() if s)
    scenario.saw(f'{len(victims)} times; from the start to the next transform, at most: {longest}')


class Flow:
    """Clouds to a node and transforms from it, with their times."""

    def __init__(self, domain_id):
        self.participant = Participant('flow', domain_id=domain_id, interface=LOOPBACK)
        self.sent = []
        self.received = {}
        self.reports = []
        self.participant.subscribe('/tf', 'tf2_msgs/msg/TFMessage', self._on_tf, qos.TF)
        self.participant.subscribe('/diagnostics', DIAGNOSTICS, self.reports.append)
        self.points = self.participant.publisher('points', CLOUD, qos.CLOUD)

    def __enter__(self):
        assert self.points.wait_for_subscribers(timeout=SOON)
        return self

    def __exit__(self, *_exception):
        self.participant.close()

    def send(self, points):
        stamp_ns = time.time_ns()
        self.sent.append(stamp_ns)
        self.points.publish(convert.cloud_values(stamp_ns, 'camera', points))
        return stamp_ns

    def latencies(self, stamps):
        """Seconds from stamp to arrival of those that were answered."""
        return np.array([1e-9 * (self.received[s] - s) for s in stamps if s in self.received])

    def count(self, key):
        """A counter of the node's newest diagnostics."""
        for report in reversed(self.reports):
            for status in report.status:
                values = {pair.key: pair.value for pair in status.values}
                if key in values:
                    return int(values[key])
        return 0

    def _on_tf(self, message):
        for stamped in message.transforms:
            stamp_ns = convert.ns_from_stamp(stamped.header.stamp)
            self.received.setdefault(stamp_ns, time.time_ns())


@pytest.mark.scenario('faults', 'ten times as many clouds as the node can register', 'embedded')
def test_too_many_clouds_are_dropped_and_counted_and_latency_stays(reference, scenario):
    domain = free_domain(3)
    parameters = node_parameters(reference, domain)
    points = camera_cloud()
    with node(parameters) as localizer, Flow(domain) as flow:
        alone = []
        for _ in range(8):
            stamp = flow.send(points)
            assert wait_for(lambda stamp=stamp: stamp in flow.received), localizer.errors
            alone.append(stamp)
        one = float(np.median(flow.latencies(alone[2:])))
        count = scenario.size(small=150, full=3000)
        start, flood = time.monotonic(), []
        for number in range(count):
            time.sleep(max(0.0, start + 0.1 * number * one - time.monotonic()))
            flood.append(flow.send(points))
        assert wait_for(lambda: flow.received.keys() & set(flood[-3:]))

        def counted():
            looked_at = flow.count('clouds in')
            return looked_at + flow.count('skipped (a newer one came)') >= 0.98 * len(flow.sent)

        assert wait_for(counted), (len(flow.sent), flow.reports[-1])
        skipped = flow.count('skipped (a newer one came)')
        answered = [s for s in flood if s in flow.received]
        early, late = (flow.latencies(part) for part in np.array_split(answered, 2))
        rate = 1e9 * count / (flood[-1] - flood[0])
    # A queue would make the second half wait longer than the first by seconds.
    assert np.median(late) < 2.0 * np.median(early) + 5.0 * one
    assert 0 < skipped < count
    scenario.saw(
        f'{count} clouds at {rate:.0f} Hz, {len(answered)} registered, {skipped} dropped and '
        f'counted; stamp to transform, median and p95: {_ms([*early, *late])}; one at a time: '
        f'{_ms(flow.latencies(alone))}'
    )


def _ms(seconds):
    return ' / '.join(f'{1e3 * value:.0f}' for value in np.quantile(seconds, [0.5, 0.95])) + ' ms'


@pytest.mark.scenario('faults', 'a subscriber that stands still (SIGSTOP)', 'embedded')
def test_subscriber_that_hangs_does_not_stop_the_others(reference, scenario):
    domain = free_domain(4)
    points = camera_cloud()
    with (
        node(node_parameters(reference, domain)) as localizer,
        listener(domain) as hung,
        listener(domain, '/localizer/room/aligned') as hung_with_cloud,
        Flow(domain) as flow,
    ):

        def exchange(count):
            stamps = []
            for _ in range(count):
                stamp = flow.send(points)
                assert wait_for(lambda stamp=stamp: stamp in flow.received), localizer.errors
                stamps.append(stamp)
            return flow.latencies(stamps)

        exchange(5)
        assert wait_for(lambda: len(hung.lines) >= 3 and hung_with_cloud.lines)
        before = exchange(20)
        memory = localizer.usage.memory_info().rss
        for actor in (hung, hung_with_cloud):
            actor.send(signal.SIGSTOP)
        count = scenario.size(small=30, full=2000)
        during = exchange(count)
        growth = localizer.usage.memory_info().rss / memory - 1.0
        heard_before = len(hung.lines)
        for actor in (hung, hung_with_cloud):
            actor.send(signal.SIGCONT)
        exchange(5)
        assert wait_for(lambda: len(hung.lines) > heard_before)
    scenario.saw(
        f'{count} clouds while one listener of /tf and one of the aligned cloud stood still: all '
        f'answered to the others, stamp to transform {_ms(during)} (before: {_ms(before)}), '
        f'memory {100 * growth:+.1f} %; then they heard again'
    )
    assert growth < 0.1


@pytest.mark.scenario(
    'faults',
    'node, sensor and listener all stand still for longer than a lease (SIGSTOP)',
    'embedded',
)
def test_who_all_stood_still_find_each_other_again(reference, scenario):
    if not scenario.share:
        pytest.skip('leases last ten seconds: runs with --reliability')
    domain = free_domain(6)
    times, waited = max(3, scenario.size(small=3, full=10)), []
    with (
        node(node_parameters(reference, domain)) as localizer,
        sensor(domain, 5) as camera,
        listener(domain) as peer,
    ):
        assert hears_again(peer) is not None, localizer.errors
        for _ in range(times):
            for actor in (localizer, camera, peer):
                actor.send(signal.SIGSTOP)
            time.sleep(22.0)
            for actor in (localizer, camera, peer):
                actor.send(signal.SIGCONT)
            waited.append(hears_again(peer))
            assert waited[-1] is not None, localizer.errors
            time.sleep(5.0)  # what was on its way is not yet the proof of the next round
    scenario.saw(f'{times} times 22 s; the next transform came within {max(waited):.1f} s')


def device_of(port):
    """Network device to which this process's UDP socket on a port is held, as text."""
    for entry in Path('/proc/self/fd').glob('*'):
        with contextlib.suppress(OSError):
            with socket.socket(fileno=os.dup(int(entry.name))) as found:
                if found.family == socket.AF_INET and found.getsockname()[1] == port:
                    option = found.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
                    return option.rstrip(b'\0').decode()
    raise KeyError(port)


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='sockets are looked up in /proc')
@pytest.mark.scenario('faults', 'what listens on the network, held to loopback', 'embedded')
def test_nothing_listens_but_dds_and_that_on_loopback(reference, scenario):
    domain = free_domain(5)
    # 7400 + 250 for each domain: DDSI-RTPS 2.5, section 9.6.2.3.
    ports = range(7400 + 250 * domain, 7400 + 250 * (domain + 1))
    with node(node_parameters(reference, domain)) as localizer, Flow(domain) as flow:
        stamp = flow.send(camera_cloud())
        assert wait_for(lambda: stamp in flow.received), localizer.errors
        sockets = localizer.usage.net_connections(kind='all')
        children = localizer.usage.children(recursive=True)
        # The same code holds this process's participant; a socket's device shows only inside.
        ours = [s.laddr.port for s in psutil.Process().net_connections(kind='udp4')]
        devices = {port: device_of(port) for port in ours if port in ports}
    assert not children
    assert all(s.type == socket.SOCK_DGRAM and not s.raddr for s in sockets), sockets
    listening = {s.laddr.port for s in sockets} & set(ports)
    # Cyclone DDS hears two ports; what it sends from is bound to loopback.
    assert len(listening) == 2
    assert {s.laddr.ip for s in sockets if s.laddr.port not in ports} <= {'127.0.0.1'}
    assert len(devices) == 2 and set(devices.values()) == {'lo'}
    scenario.saw(
        f'UDP ports {min(listening)} and {max(listening)} of domain {domain}, held to the device '
        f'lo, and one to send from on 127.0.0.1; no TCP, no child process'
    )
