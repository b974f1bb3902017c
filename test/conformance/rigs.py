"""One node of either kind, the robot around it and the verdicts on its clouds."""

import time

import numpy as np
import pytest
from adapters import Registrars, start
from scipy.spatial.transform import Rotation
from wire import wait_for

pytest.importorskip('cyclonedds', reason='cyclonedds is not installed')
pytest.importorskip('rosbags', reason='rosbags is not installed')

from robot import Robot  # noqa: E402

from dlc_ros.node import convert  # noqa: E402
from dlc_ros.node.dds.endpoints import SETTLE  # noqa: E402

SECOND = 10**9
REFERENCE = np.random.default_rng(1).uniform(-5.0, 5.0, (60, 3))
QUICK = {'diagnostics_rate': 50.0, 'publish_rate': 50.0, 'lookup_timeout': 5.0}
# Of a covariance that FakeRegistrar gives: 1 cm and about 3 mrad.
COVARIANCE = np.diag([1e-4, 1e-4, 1e-4, 1e-5, 1e-5, 1e-5])


def pose(rotvec=(0.0, 0.0, 0.0), translation=(0.0, 0.0, 0.0)):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rotvec).as_matrix()
    matrix[:3, 3] = translation
    return matrix


BASE_FROM_LIDAR = pose((np.pi, 0.0, 0.3), (0.2, 0.0, 0.5))  # hangs upside down
MAP_FROM_ODOM = pose((0.0, 0.0, 0.7), (10.0, -4.0, 0.2))
CAMERA_FROM_MUG = pose((0.3, -0.8, 0.1), (0.1, -0.2, 0.9))


def seen_from(matrix):
    """The reference's points, in their order, in the frame of whose pose ``matrix`` is."""
    inverted = np.linalg.inv(matrix)
    return REFERENCE @ inverted[:3, :3].T + inverted[:3, 3]


def assert_poses_close(found, expected):
    np.testing.assert_allclose(found, expected, atol=2e-5)  # clouds are float32


class Rig:
    """One node, the robot around it and the verdicts on its clouds, under simulated time."""

    def __init__(self, adapter, values, domain_id, **options):
        self.registrars = Registrars()
        self.domain_id = domain_id
        self.robot = Robot(domain_id, **{'node': 'localizer', **options})
        name = options.pop('node', 'localizer')
        self._node = start(
            adapter, {**QUICK, **values}, domain_id, name, registrars=self.registrars, **options
        )
        self.robot.wait_for_node()
        self.robot.offer_clock()
        self.now_ns = 0
        self._heard = 0
        self.advance(10_000.0)

    def close(self):
        self._node.close()
        self.robot.close()

    def follow_poses(self, topic):
        """Keep the poses of a topic from now on: none is lost to discovery."""
        subscription = self.robot.follow_poses(topic)
        assert wait_for(lambda: subscription.publisher_count)
        time.sleep(SETTLE)

    def advance(self, seconds):
        """Let time pass, and wait until the node knows."""
        self.now_ns += round(seconds * SECOND)
        self.robot.send('clock', {'clock': convert.stamp_from_ns(self.now_ns)})
        assert wait_for(self._knows_the_time)

    def begin(self):
        """Forget what an earlier test left."""
        self.registrars.script.clear()
        self.robot.send('relocalize', {})
        self.advance(100.0)
        self._heard = len(self.robot.transforms)

    def heard(self, parent, child):
        """Transforms of two frames since :meth:`begin`: (date [ns], (4, 4))."""
        return self.robot.found(parent, child, since=self._heard)

    def reported(self, task, words):
        """Wait until the newest report on a task says something; its level."""

        def said():
            level, message, values = self.robot.status(task)
            return words in f'{message} {values.get("verdict", "")}'

        assert wait_for(said), self.robot.status(task)
        return self.robot.status(task)[0]

    def counted(self, task, key, count):
        assert wait_for(lambda: self.robot.status(task)[2].get(key) == str(count)), (
            key,
            self.robot.status(task),
        )

    def count(self, task, key):
        return int(self.robot.status(task)[2][key])

    def state(self, task):
        return self.robot.status(task)[2].get('state')

    def is_in(self, task, state):
        assert wait_for(lambda: self.state(task) == state), self.robot.status(task)

    def refused(self, words):
        assert wait_for(lambda: words in self.robot.status('input')[2]['last refused command']), (
            self.robot.status('input')
        )

    def _knows_the_time(self):
        reports = self.robot.reports
        return reports and convert.ns_from_stamp(reports[-1].header.stamp) == self.now_ns


class MapRig(Rig):
    """Map mode: a lidar under a robot that drives a bend."""

    def __init__(self, adapter, path, domain_id, **values):
        parameters = {'mode': 'map', 'reference': str(path), 'hold_timeout': 2.0, **values}
        super().__init__(adapter, parameters, domain_id)
        self.follow_poses('/localizer/pose')

    def mount_lidar(self):
        self.robot.send_transform('tf_static', 0, 'base_link', 'lidar', BASE_FROM_LIDAR)

    @property
    def odom_from_base(self):
        yaw = 0.2e-9 * self.now_ns
        return pose((0.0, 0.0, yaw), (2.5 * np.sin(yaw), 2.5 * (1.0 - np.cos(yaw)), 0.0))

    def scan(self, points=None, stamp_ns=None, frame='lidar', **changes):
        """Send a scan of now, with the odometry of now."""
        odom = self.odom_from_base
        self.robot.send_transform('tf', self.now_ns, 'odom', 'base_link', odom)
        if points is None:
            points = seen_from(MAP_FROM_ODOM @ odom @ BASE_FROM_LIDAR)
        stamp_ns = self.now_ns if stamp_ns is None else stamp_ns
        self.robot.send_cloud(stamp_ns, points, frame, **changes)

    def dates(self):
        return [date for date, _ in self.heard('map', 'odom')]

    def localised(self):
        """Wait until the scan of now has given a correction and a pose."""
        assert wait_for(lambda: self.now_ns + SECOND // 10 in self.dates()), (
            self.robot.status('input'),
            self.robot.status('pose of map'),
        )
        assert wait_for(
            lambda: any(
                convert.ns_from_stamp(heard.header.stamp) == self.now_ns
                for heard in self.robot.poses[-1:]
            )
        )


class ObjectRig(Rig):
    """Object mode: a camera on a base, and two objects of one shape."""

    def __init__(self, adapter, path, domain_id, **values):
        # The same bytes would be two instances of one model, and the camera shows but one.
        box = path.with_name('box.npy')
        np.save(box, np.asfortranarray(REFERENCE))
        parameters = {
            'mode': 'object',
            'objects.names': ['mug', 'box'],
            'objects.references': [str(path), str(box)],
            'frames.parent': 'base_link',
            'segmentation.remove_plane': False,
            'objects.search_budget': 0.0,
            **values,
        }
        super().__init__(adapter, parameters, domain_id)
        self.follow_poses('/localizer/mug/pose')
        self.robot.send_transform('tf_static', 0, 'base_link', 'camera', BASE_FROM_LIDAR)

    def show(self):
        self.robot.send_cloud(self.now_ns, seen_from(np.linalg.inv(CAMERA_FROM_MUG)))
