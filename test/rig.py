"""A localizer on a transform tree, with registrars that a test can dictate, for both modes."""

import logging

import numpy as np
from fake_registrar import FakeRegistrar
from scipy.spatial.transform import Rotation

from dlc_ros.errors import WeightsError
from dlc_ros.localization.localizer import Localizer
from dlc_ros.localization.parameters import from_flat
from dlc_ros.localization.transforms import TransformTree
from dlc_ros.registration.result import Status

S = 10**9
START = 1_700_000_000 * S
REJECTED = {'status': Status.REJECTED, 'reason': 'too few inliers'}


def pose(rotvec=(0, 0, 0), translation=(0, 0, 0)):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rotvec).as_matrix()
    matrix[:3, 3] = translation
    return matrix


def apply(transform, points):
    return Rotation.from_matrix(transform[:3, :3]).apply(points) + transform[:3, 3]


def at(seconds):
    return START + round(seconds * S)


BASE_FROM_LIDAR = pose((np.pi, 0, 0.3), (0.2, 0.0, 0.5))  # hangs upside down
MAP_FROM_ODOM = pose((0, 0, 0.7), (10.0, -4.0, 0.2))


def odom_from_base(seconds):
    """A bend, half a metre a second."""
    yaw = 0.2 * seconds
    return pose((0, 0, yaw), (2.5 * np.sin(yaw), 2.5 * (1 - np.cos(yaw)), 0))


def as_file(name, cloud):
    """The same points in other bytes for each name: to the localizer, other models."""
    return {'box': np.asfortranarray, 'map': lambda c: c.astype('>f8')}.get(name, np.array)(cloud)


class Rig:
    """A localizer on a transform tree, with registrars that a test can dictate."""

    def __init__(self, tmp_path, parameters, with_lidar=True):
        generator = np.random.default_rng(1)
        self.cloud = generator.uniform(-5, 5, (60, 3))
        self.files = {}
        for name in ('map', 'mug', 'box'):
            self.files[name] = str(tmp_path / f'{name}.npy')
            np.save(self.files[name], as_file(name, self.cloud))
        self.registrars = []
        self.tree = TransformTree()
        if with_lidar:
            self.add_lidar()
        self.messages = []
        if parameters.get('reference') in self.files:
            parameters = {**parameters, 'reference': self.files[parameters['reference']]}
        self.parameters = from_flat(parameters)
        self.localizer = Localizer(
            self.parameters,
            self.tree.lookup,
            log=self._log(),
            name='localizer',
            parent_of=self.tree.parent_of,
            registrar_factory=self._make,
        )

    def add_lidar(self):
        self.tree.insert('base_link', 'lidar', 0, BASE_FROM_LIDAR, static=True)

    def _make(self, points, weights, options):
        if weights == 'bad':
            raise WeightsError('bad is damaged; copy it again')
        self.registrars.append(FakeRegistrar(points, weights, options))
        return self.registrars[-1]

    def _log(self):
        log = logging.Logger('test')
        handler = logging.Handler()
        handler.emit = lambda record: self.messages.append(record.getMessage())
        log.addHandler(handler)
        return log

    @property
    def registrar(self):
        return self.registrars[-1]

    @property
    def calls(self):
        return self.registrar.calls

    def scan(self, seconds, frame='lidar', **kwargs):
        """A scan of the map from where the robot is then, with odometry up to date."""
        self.tree.insert('odom', 'base_link', at(seconds), odom_from_base(seconds))
        return self.localizer.on_cloud(at(seconds), frame, self.lidar_points(seconds), **kwargs)

    def lidar_points(self, seconds):
        map_from_lidar = MAP_FROM_ODOM @ odom_from_base(seconds) @ BASE_FROM_LIDAR
        return apply(np.linalg.inv(map_from_lidar), self.cloud)

    def status(self, task, seconds=0.0):
        found = {entry.name: entry for entry in self.localizer.diagnostics(at(seconds))}
        return found[f'localizer: {task}']

    def state(self, name='map', seconds=0.0):
        return self.status(f'pose of {name}', seconds).values['state']


CAMERA_FROM_MUG = pose((0.3, 2.0, -0.4), (0.1, -0.2, 0.8))
CAMERA_FROM_BOX = pose((-1.0, 0.2, 0.5), (0.4, 0.1, 1.1))
OBJECTS = {
    'mode': 'object',
    'objects.names': ['mug'],
    'segmentation.remove_plane': False,
}


def object_rig(tmp_path, names=('mug',), **changes):
    flat = {**OBJECTS, 'objects.names': list(names), **changes}
    flat['objects.references'] = [str(tmp_path / f'{name}.npy') for name in names]
    for name in names:
        cloud = np.random.default_rng(1).uniform(-5, 5, (60, 3))
        np.save(tmp_path / f'{name}.npy', as_file(name, cloud))
    return Rig(tmp_path, flat)


def seen(rig, seconds, camera_from_object=CAMERA_FROM_MUG, frame='camera', **kwargs):
    points = apply(camera_from_object, rig.cloud)
    return rig.localizer.on_cloud(at(seconds), frame, points, **kwargs)
