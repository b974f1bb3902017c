"""Two clouds of a bracket and a registrar of one of them, for the tests of the one entry."""

import numpy as np
import pytest
import scenes
from scipy.spatial.transform import Rotation

from dlc_ros import Registrar, RegistrationOptions
from dlc_ros.registration.se3 import exp_so3, make_transform, rotation_angle_deg

TRUTH = make_transform(exp_so3([0.3, -0.5, 2.2]), [4.0, -1.0, 2.0])
NEAR = TRUTH @ make_transform(exp_so3([0.06, -0.04, 0.05]), [0.03, -0.02, 0.03])
TIGHT = np.diag([0.05**2] * 3 + [0.1**2] * 3)
# The classical half: these tests hold whatever the weights are.
PLAIN = RegistrationOptions(use_predictor=False)


def pair(scene, seed=0, truth=TRUTH, **options):
    return scenes.pair(scene, np.random.default_rng(seed), truth, **options)


def errors(transform, truth=TRUTH):
    return rotation_angle_deg(transform, truth), np.linalg.norm((transform - truth)[:3, 3])


def error_vector(transform, truth=TRUTH):
    turn = Rotation.from_matrix(transform[:3, :3] @ truth[:3, :3].T).as_rotvec()
    return np.concatenate([(transform - truth)[:3, 3], turn])


@pytest.fixture(scope='module')
def bracket():
    return pair(scenes.bracket)


@pytest.fixture(scope='module')
def registrar(bracket):
    return Registrar(bracket[1], options=PLAIN)
