"""What a robot waits for from the node: 10 Hz of LiDAR scans in the map of a building."""

import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlc_ros.files import write_cloud
from dlc_ros.registration.se3 import inverse, quaternion_from_matrix, rotation_angle_deg
from dlc_training.evaluate.building import make_building
from dlc_training.evaluate.node_process import NodeProcess, quantiles_ms

_RATE = 10.0
# Where odometry believes to be, anywhere: map -> odom is then no identity.
_ODOM = np.array([[0.0, -1.0, 0, 3.0], [1.0, 0.0, 0, -2.0], [0, 0, 1, 0.0], [0, 0, 0, 1.0]])
# A scan placed within this is right.
_RIGHT = (1.0, 0.1)  # deg, m
_LOST = 15.0  # s after which a search has failed
# Nodes that are compared take turns of so many seconds.
_TURN = 5.0


def measure(weights=None, seconds=30.0, places=6, command=None):
    """
    Drive the node through a building.

    :param weights: weights file; None for the shipped ones.
    :param seconds: of driving in TRACKING.
    :param places: searches from nowhere.
    :param command: of another node, see :class:`NodeProcess`.
    :return: list of (what, value, unit, limit or None), as ``speed`` prints them.
    """
    building = make_building(places=places)
    with _parameters(building, weights) as parameters:
        with NodeProcess(parameters, command=command) as node:
            drive = _Drive(node, building)
            ready = drive.first_transform()
            drive.warm_up()
            tracking = _tracking(drive.track(seconds), node)
            recovered = [drive.recover(*place) for place in building.places]
            memory = node.memory()
    found = [s for s in recovered if np.isfinite(s)]
    return [
        ('node: launch to the first transform, pose given', ready, 's', 5),
        *tracking,
        ('node: search in the whole map, median', np.median(recovered), 's', 2),
        ('node: search in the whole map, longest', max(recovered), 's', 2),
        ('node: places found', 100.0 * len(found) / max(1, len(recovered)), '%', None),
        ('node: resident memory', memory, 'MiB', 1024),
    ]


def compare(command, weights=None, seconds=30.0):
    """
    Drive the embedded node and another one through the same building.

    They take turns, so that other work of the machine meets both alike.

    :param command: of the other node, see :class:`NodeProcess`.
    :param weights: weights file; None for the shipped ones.
    :param seconds: of driving, each.
    :return: rows as of :func:`measure`.
    """
    building = make_building(places=0)
    rows, medians = [], []
    with _parameters(building, weights) as parameters, ExitStack() as running:
        nodes = [
            running.enter_context(NodeProcess(parameters, command=words, which=which))
            for which, words in enumerate((None, command))
        ]
        drives = [_Drive(node, building) for node in nodes]
        for drive in drives:
            drive.first_transform()
            drive.warm_up()
        turns = [[], []]
        for _ in range(max(1, round(seconds / _TURN))):
            for driven, drive in zip(turns, drives, strict=True):
                driven.append(drive.track(_TURN))
        for name, node, parts in zip(('dlc-ros run', 'other'), nodes, turns, strict=True):
            driven = Driven.together(parts)
            medians.append(quantiles_ms(driven.latencies)[0])
            rows += [
                (what.replace('node', name, 1), value, unit, None)
                for what, value, unit, _ in _tracking(driven, node)
            ]
            rows.append((f'{name}: resident memory', node.memory(), 'MiB', None))
    rows.append(
        ('other: median latency, share of dlc-ros run', 100 * medians[1] / medians[0], '%', 115)
    )
    return rows


@contextmanager
def _parameters(building, weights):
    """Parameters of a node in the building, while its map is on disk."""
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder) / 'map.npy'
        write_cloud(reference, building.map)
        yield {
            'mode': 'map',
            'reference': str(reference),
            'weights': str(weights or ''),
            'diagnostics_rate': 10.0,
            'registration': {'device': 'cpu', 'threads': 1},
        }


class Driven(NamedTuple):
    """
    What came of a drive in TRACKING.

    :param sent: number of scans.
    :param latencies: list of seconds from the stamp to the transform, of those answered.
    :param right: how many of these are where the robot was.
    :param processor_s: processor time of the node [s].
    :param elapsed_s: the drive took [s].
    """

    sent: int
    latencies: list
    right: int
    processor_s: float
    elapsed_s: float

    @classmethod
    def together(cls, drives):
        """One of several."""
        sent, latencies, right, processor_s, elapsed_s = zip(*drives, strict=True)
        return cls(sum(sent), sum(latencies, []), sum(right), sum(processor_s), sum(elapsed_s))


def _tracking(driven, node):
    """Rows of a drive."""
    answered = len(driven.latencies)
    median, p95 = quantiles_ms(driven.latencies)
    inside = float(node.counters.get('time per cloud, median [ms]') or 'nan')
    share, of_these = answered / driven.sent, driven.right / max(1, answered)
    cores, each = driven.processor_s / driven.elapsed_s, driven.processor_s / max(1, answered)
    return [
        ('node: 10 Hz of 130k points in 500k, answered', 100.0 * share, '%', None),
        ('node: of these right within 1 deg / 0.1 m', 100.0 * of_these, '%', None),
        ('node: stamp to transform, median', median, 'ms', None),
        ('node: stamp to transform, 95th percentile', p95, 'ms', 100),
        ('node: cores used', cores, '', 1.2),
        ('node: processor time for each answer', 1e3 * each, 'ms', None),
        ('node: of the median, outside the localizer', median - inside, 'ms', None),
    ]


class _Drive:
    """The robot: publishes what its sensors see where it really is, judges what comes back."""

    def __init__(self, node, building):
        self._node = node
        self._building = building
        self._step = 0

    def first_transform(self):
        """Seconds from the launch of the node to the first right transform; inf if none comes."""
        self._node.wait_until_listening()
        self._node.send_transform('base_link', 'lidar', 0, np.eye(4), static=True)
        pose, scan = self._building.drive[0]
        self._send(pose, scan)
        self._tell(pose)
        deadline = time.monotonic() + 60.0
        while time.monotonic() < deadline:
            stamp = self._send(pose, scan)
            if self._node.wait_for(lambda stamp=stamp: self._answer(stamp) is not None, 1.0):
                if self._right(stamp, pose):
                    return 1e-9 * (self._answer(stamp)[0] - self._node.started)
        return float('inf')

    def warm_up(self):
        """Drive until all is loaded."""
        for pose, scan in self._forth_and_back(10):
            self._send(pose, scan)
            time.sleep(1.0 / _RATE)
        time.sleep(1.0)

    def track(self, seconds):
        """Drive at 10 Hz, back from the end of the way; :class:`Driven`."""
        node, sent = self._node, []
        began, spent = time.monotonic(), node.cpu_seconds()
        for number, (pose, scan) in enumerate(self._forth_and_back(int(seconds * _RATE))):
            time.sleep(max(0.0, began + number / _RATE - time.monotonic()))
            stamp = self._send(pose, scan)
            if scan is not None:
                sent.append((stamp, pose))
        node.wait_for(lambda: self._answer(sent[-1][0]) is not None, 2.0)
        elapsed = time.monotonic() - began
        answered = [(stamp, pose) for stamp, pose in sent if self._answer(stamp) is not None]
        return Driven(
            len(sent),
            [1e-9 * (self._answer(stamp)[0] - stamp) for stamp, _ in answered],
            sum(self._right(stamp, pose) for stamp, pose in answered),
            node.cpu_seconds() - spent,
            elapsed,
        )

    def recover(self, pose, scan):
        """Seconds from the first scan after everything was forgotten to a right transform."""
        self._node.command('/localizer/relocalize', 'std_msgs/msg/Empty', {})
        self._node.wait_for(lambda: self._node.state == 'SEARCHING', 5.0)
        first, deadline = None, time.monotonic() + _LOST
        while time.monotonic() < deadline:
            stamp = self._send(pose, scan)
            first = first or stamp
            if self._node.wait_for(lambda stamp=stamp: self._answer(stamp) is not None, 1.0):
                if self._right(stamp, pose):
                    return 1e-9 * (self._answer(stamp)[0] - first)
        return float('inf')

    def _tell(self, pose):
        """Give the node an initial pose, 0.3 m beside the true one."""
        beside = dict(zip('xyz', (pose[:3, 3] + [0.3, 0.0, 0.0]).tolist(), strict=True))
        quaternion = dict(zip('xyzw', quaternion_from_matrix(pose).tolist(), strict=True))
        covariance = np.diag([0.25, 0.25, 0.01, 0.01, 0.01, 0.05]).reshape(36)
        values = {
            'header': {'frame_id': 'map'},
            'pose': {
                'pose': {'position': beside, 'orientation': quaternion},
                'covariance': covariance,
            },
        }
        self._node.command('/initialpose', 'geometry_msgs/msg/PoseWithCovarianceStamped', values)

    def _forth_and_back(self, count):
        drive = self._building.drive
        there_and_back = [*drive, *drive[-2:0:-1]]
        for _ in range(count):
            yield there_and_back[self._step % len(there_and_back)]
            self._step += 1

    def _send(self, pose, scan):
        """Publish odometry and a scan of now, or odometry alone; its stamp."""
        stamp = time.time_ns()
        odom_from_base = inverse(_ODOM) @ pose
        self._node.send_transform('odom', 'base_link', stamp, odom_from_base)
        if scan is not None:
            self._node.send_cloud(stamp, 'lidar', scan)
        return stamp

    def _answer(self, stamp):
        """(arrival [ns], T_map_base) that the node published for a scan, or None."""
        return self._node.poses.get(stamp)

    def _right(self, stamp, pose):
        found = self._answer(stamp)[1]
        return (
            rotation_angle_deg(found, pose) <= _RIGHT[0]
            and np.linalg.norm(found[:3, 3] - pose[:3, 3]) <= _RIGHT[1]
        )
