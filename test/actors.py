"""
A sensor, a node and a listener as processes of their own, which a test may kill at any time.

usage: actors.py sensor DOMAIN RATE | actors.py listener DOMAIN [TOPIC]
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from wire import LOOPBACK, SOON, environment, room, wait_for

from dlc_ros.node import convert
from dlc_ros.node.dds import qos
from dlc_ros.node.dds.participant import Participant
from dlc_ros.registration.se3 import inverse, rotation_angle_deg, transform_points

TF, CLOUD = 'tf2_msgs/msg/TFMessage', 'sensor_msgs/msg/PointCloud2'
DIAGNOSTICS = 'diagnostic_msgs/msg/DiagnosticArray'
# Where the camera stands in the room.
REFERENCE_FROM_CAMERA = np.array(
    [
        [0.9980, -0.0595, -0.0210, 0.05],
        [0.0600, 0.9980, 0.0190, -0.04],
        [0.0198, -0.0202, 0.9996, 0.02],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
u, _, vt = np.linalg.svd(REFERENCE_FROM_CAMERA[:3, :3])
REFERENCE_FROM_CAMERA[:3, :3] = u @ vt


def camera_cloud(seed=11, count=2400):
    """(count, 3) float32: points of the room that the reference does not hold."""
    points = room(count, seed).astype(np.float64)
    return transform_points(inverse(REFERENCE_FROM_CAMERA), points).astype(np.float32)


def is_right(matrix):
    """Whether T_camera_room is what it should be."""
    truth = inverse(REFERENCE_FROM_CAMERA)
    return (
        rotation_angle_deg(matrix, truth) < 1.0
        and np.linalg.norm(matrix[:3, 3] - truth[:3, 3]) < 0.02
    )


def node_parameters(reference, domain_id, **changes):
    """Flat parameters of a node that looks for the room; ICP alone finds it, and quickly."""
    return {
        'mode': 'object',
        'objects.names': '[room]',
        'objects.references': f'[{reference}]',
        'segmentation.remove_plane': 'false',
        'registration.use_predictor': 'false',
        'diagnostics_rate': '10.0',
        'dds.domain_id': str(domain_id),
        'dds.network_interface': LOOPBACK,
        **changes,
    }


class Actor:
    """
    A process whose output is read line by line; ended on leaving, whatever happened.

    :param arguments: of the interpreter.
    """

    def __init__(self, *arguments):
        self.arguments = list(map(str, arguments))
        self.lines = []
        self.errors = []
        self._process = None
        self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        if self.running:
            # A stopped process takes no other signal.
            os.kill(self.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def pid(self):
        return self._process.pid

    @property
    def running(self):
        return self._process.poll() is None

    @property
    def usage(self):
        """:class:`psutil.Process`."""
        return psutil.Process(self.pid)

    def start(self):
        """Start, or start again after :meth:`kill`."""
        self._process = subprocess.Popen(
            [sys.executable, *self.arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            cwd=Path(__file__).resolve().parent.parent,
        )
        for stream, lines in (
            (self._process.stdout, self.lines),
            (self._process.stderr, self.errors),
        ):
            threading.Thread(target=_read, args=(stream, lines), daemon=True).start()

    def send(self, number):
        """Send a signal."""
        os.kill(self.pid, number)

    def kill(self):
        """End it as a crash would: no word of farewell on the wire."""
        self._process.kill()
        self._process.wait()

    def finish(self, number=signal.SIGTERM):
        """Ask it to end; its exit code."""
        self.send(number)
        return self._process.wait(SOON)


def _read(stream, lines):
    for line in stream:
        lines.append(line.rstrip('\n'))


def node(parameters):
    """``dlc-ros run`` with flat parameters."""
    words = [word for name, value in parameters.items() for word in ('-p', f'{name}={value}')]
    return Actor('-m', 'dlc_ros.cli', 'run', *words)


def sensor(domain_id, rate):
    """A camera that sees the room ``rate`` times a second."""
    return Actor(__file__, 'sensor', domain_id, rate)


def listener(domain_id, topic='/tf'):
    """Somebody who hears a topic; of ``/tf`` its lines are JSON, one a transform."""
    return Actor(__file__, 'listener', domain_id, topic)


def heard(actor, since=0):
    """What a listener heard: dicts with ``stamp_ns``, ``received_ns`` and ``right``."""
    return [json.loads(line) for line in actor.lines[since:]]


def hears_again(actor):
    """Seconds until a listener hears a transform that is dated from now on; None if never."""
    begin, since = time.time_ns(), len(actor.lines)

    def fresh():
        return [h for h in heard(actor, since) if h['stamp_ns'] >= begin]

    if not wait_for(fresh):
        return None
    return 1e-9 * (fresh()[0]['received_ns'] - begin)


def _sensor(domain_id, rate):
    points = camera_cloud()
    with Participant('sensor', domain_id=domain_id, interface=LOOPBACK) as participant:
        publisher = participant.publisher('points', CLOUD, qos.CLOUD)
        while True:
            publisher.publish(convert.cloud_values(time.time_ns(), 'camera', points))
            time.sleep(1.0 / rate)


def _listener(domain_id, topic):
    def on_tf(message):
        received_ns = time.time_ns()
        for stamped in message.transforms:
            matrix = convert.matrix_from_transform(stamped.transform)
            values = {
                'stamp_ns': convert.ns_from_stamp(stamped.header.stamp),
                'received_ns': received_ns,
                'right': bool(is_right(matrix)),
            }
            print(json.dumps(values), flush=True)

    with Participant('listener', domain_id=domain_id, interface=LOOPBACK) as participant:
        if topic == '/tf':
            participant.subscribe(topic, TF, on_tf, qos.TF)
        else:
            participant.subscribe(topic, CLOUD, lambda _cdr: None, qos.CLOUD, raw=True)
        print(json.dumps({'stamp_ns': 0, 'received_ns': 0, 'right': True}), flush=True)
        threading.Event().wait()


if __name__ == '__main__':
    if sys.argv[1] == 'sensor':
        _sensor(int(sys.argv[2]), float(sys.argv[3]))
    _listener(int(sys.argv[2]), sys.argv[3])
