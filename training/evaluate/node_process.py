"""A localizer node as a process, driven over DDS: what it answers, when, at what cost."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import yaml

from dlc_ros.errors import DlcError
from dlc_ros.localization.output import StampedTransform
from dlc_ros.node import convert
from dlc_ros.node.dds import qos
from dlc_ros.node.dds.participant import Participant

NODE = f'{shlex.quote(sys.executable)} -m dlc_ros.cli run --params {{params}}'
_TF = 'tf2_msgs/msg/TFMessage'
_CLOUD = 'sensor_msgs/msg/PointCloud2'
_POSE = 'geometry_msgs/msg/PoseWithCovarianceStamped'
_DIAGNOSTICS = 'diagnostic_msgs/msg/DiagnosticArray'
_PATIENCE = 120.0


class NodeProcess:
    """
    A running node and the rest of the robot around it; a context manager.

    :param parameters: nested dict of the node's parameters, without ``dds``.
    :param poses: topic of the poses that the node finds.
    :param command: of the node, ``{params}`` stands for its parameter file; None is
        ``dlc-ros run``.
    :param interface: network interface.
    :param which: of several nodes at once; another number is another DDS domain.
    :raises DlcError: the node ends, or does not subscribe within two minutes.
    """

    def __init__(self, parameters, poses='/localizer/pose', command=None, interface='lo', which=0):
        self._folder = tempfile.TemporaryDirectory()
        # Above, ports are those that Linux hands out.
        domain = 1 + (os.getpid() + which) % 100
        dds = {'domain_id': domain, 'network_interface': interface}
        path = Path(self._folder.name) / 'params.yaml'
        values = {**parameters, 'dds': dds}
        path.write_text(yaml.safe_dump({'/**': {'ros__parameters': values}}), encoding='utf-8')
        self.log = Path(self._folder.name) / 'node.log'
        self.domain = domain
        # Published right after the transform that follows from it, dated as the cloud.
        self.poses = {}  # stamp of the cloud [ns] -> (arrival [ns], (4, 4))
        self.states = []  # (arrival [ns], state)
        self.counters = {}
        self._participant = Participant('robot', domain_id=domain, interface=interface)
        self._participant.subscribe(poses, _POSE, self._on_pose)
        self._participant.subscribe('/diagnostics', _DIAGNOSTICS, self._on_diagnostics)
        self._points = self._participant.publisher('points', _CLOUD, qos.CLOUD)
        self._tf = self._participant.publisher('/tf', _TF, qos.TF)
        self._tf_static = self._participant.publisher('/tf_static', _TF, qos.TF_STATIC)
        self._commands = {}
        self.started = time.time_ns()
        with self.log.open('wb') as stream:
            words = [word.replace('{params}', str(path)) for word in shlex.split(command or NODE)]
            environment = {
                'ROS_DOMAIN_ID': str(domain),
                'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
            }
            self._process = subprocess.Popen(
                words,
                stdout=stream,
                stderr=stream,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self.usage = psutil.Process(self._process.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self._participant.close()
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
            try:
                self._process.wait(10.0)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._folder.cleanup()

    def wait_for(self, condition, seconds=_PATIENCE):
        """
        Whether a condition came true in time.

        :raises DlcError: the node has ended.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if self._process.poll() is not None:
                said = self.log.read_text(errors='replace').strip().splitlines() or ['nothing']
                raise DlcError(f'the node ended with {self._process.returncode}: {said[-1]}')
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def wait_until_listening(self, topic=None):
        """
        Wait for the node's subscription to clouds.

        :param topic: of the clouds, if it is not ``points``.
        :raises DlcError: it does not come.
        """
        if topic:
            self._points = self._participant.publisher(topic, _CLOUD, qos.CLOUD)
        if not self.wait_for(lambda: self._points.subscriber_count > 0):
            raise DlcError(f'the node does not subscribe to clouds within {_PATIENCE:g} s')
        time.sleep(0.3)

    def send_cloud(self, stamp_ns, frame, points):
        """Publish an (N, 3) cloud."""
        self._points.publish(convert.cloud_values(stamp_ns, frame, points))

    def send_transform(self, parent, child, stamp_ns, matrix, static=False):
        """Publish a transform of the robot."""
        publisher = self._tf_static if static else self._tf
        values = convert.tf_values([StampedTransform(parent, child, stamp_ns, matrix)])
        publisher.publish(values)

    def command(self, topic, type_name, values):
        """Publish a command once its subscription is there."""
        if topic not in self._commands:
            self._commands[topic] = self._participant.publisher(topic, type_name)
            self._commands[topic].wait_for_subscribers(timeout=_PATIENCE)
        self._commands[topic].publish(values)

    def cpu_seconds(self):
        """Processor time of the node and its children until now [s]."""
        times = [process.cpu_times() for process in self._processes()]
        return sum(t.user + t.system for t in times)

    def memory(self):
        """Resident memory of the node [MiB]: a launcher that started it is smaller."""
        return max(process.memory_info().rss for process in self._processes()) / 2**20

    def _processes(self):
        return [self.usage, *self.usage.children(recursive=True)]

    @property
    def state(self):
        """Newest state in the diagnostics, or None."""
        return self.states[-1][1] if self.states else None

    def _on_pose(self, message):
        now_ns = time.time_ns()
        stamp_ns = convert.ns_from_stamp(message.header.stamp)
        self.poses.setdefault(stamp_ns, (now_ns, convert.matrix_from_pose(message.pose.pose)))

    def _on_diagnostics(self, message):
        now_ns = time.time_ns()
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            if 'state' in values:
                self.states.append((now_ns, values['state']))
            self.counters.update(values)


def quantiles_ms(seconds):
    """Median and 95th percentile in milliseconds; infinite without values."""
    if not len(seconds):
        return float('inf'), float('inf')
    return tuple(1e3 * float(q) for q in np.quantile(seconds, [0.5, 0.95]))
