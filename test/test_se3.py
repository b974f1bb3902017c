"""Rigid transforms against scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from dlc_ros.registration import se3

ANGLES = [0.0, 1e-300, 1e-12, 1e-8, 1e-4, 0.5, 2.0, np.pi - 1e-4, np.pi - 1e-9, np.pi]
directions = st.tuples(*[st.floats(-1.0, 1.0)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1)
angles = st.one_of(st.floats(0.0, np.pi), st.sampled_from(ANGLES))
coordinates = st.tuples(*[st.floats(-100.0, 100.0)] * 3)


@st.composite
def transforms(draw):
    axis = np.array(draw(directions))
    vector = axis / np.linalg.norm(axis) * draw(angles)
    return se3.make_transform(Rotation.from_rotvec(vector).as_matrix(), draw(coordinates))


@given(directions, angles)
def test_exp_and_log_agree_with_scipy_at_every_angle(axis, angle):
    vector = np.array(axis) / np.linalg.norm(axis) * angle
    rotation = se3.exp_so3(vector)
    np.testing.assert_allclose(rotation, Rotation.from_rotvec(vector).as_matrix(), atol=1e-14)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-14)
    back = se3.log_so3(rotation)
    if angle > np.pi - 1e-7:  # either sign of a half turn is right
        back = back if back @ vector > 0 else -back
    np.testing.assert_allclose(back, vector, atol=2e-7 if angle > np.pi - 1e-6 else 1e-12)


def test_exp_of_many_vectors_at_once():
    vectors = np.random.default_rng(0).normal(size=(4, 5, 3))
    stacked = se3.exp_so3(vectors)
    assert stacked.shape == (4, 5, 3, 3)
    expected = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(4, 5, 3, 3)
    np.testing.assert_allclose(stacked, expected, atol=1e-14)


@given(transforms())
def test_quaternions_agree_with_scipy(transform):
    quaternion = se3.quaternion_from_matrix(transform)
    assert quaternion[3] >= 0.0
    expected = Rotation.from_matrix(transform[:3, :3]).as_quat()
    assert abs(quaternion @ expected) == pytest.approx(1.0, abs=1e-12)
    back = se3.matrix_from_quaternion(3.0 * quaternion)
    np.testing.assert_allclose(back, transform[:3, :3], atol=1e-12)


@pytest.mark.parametrize('bad', [[0, 0, 0, 0], [np.nan, 0, 0, 1], [np.inf, 0, 0, 1]])
def test_no_rotation_from_a_bad_quaternion(bad):
    with pytest.raises(ValueError, match='not a rotation quaternion'):
        se3.matrix_from_quaternion(bad)


@given(st.floats(-3.14, 3.14), st.floats(-1.57, 1.57), st.floats(-3.14, 3.14))
def test_rpy_is_scipys_extrinsic_xyz(roll, pitch, yaw):
    rotation = se3.matrix_from_rpy([roll, pitch, yaw])
    expected = Rotation.from_euler('xyz', [roll, pitch, yaw])
    np.testing.assert_allclose(rotation, expected.as_matrix(), atol=1e-14)
    again = se3.matrix_from_rpy(se3.rpy_from_matrix(rotation))
    np.testing.assert_allclose(again, rotation, atol=1e-8)


@pytest.mark.parametrize('pitch', [np.pi / 2, -np.pi / 2])
def test_rpy_at_the_singularity_still_gives_the_rotation(pitch):
    rotation = se3.matrix_from_rpy([0.4, pitch, -1.1])
    rpy = se3.rpy_from_matrix(rotation)
    assert rpy[0] == 0.0
    np.testing.assert_allclose(se3.matrix_from_rpy(rpy), rotation, atol=1e-8)


@given(transforms(), transforms())
def test_compose_and_inverse_are_matrix_algebra(first, second):
    np.testing.assert_allclose(se3.compose(first, second), first @ second, atol=1e-12)
    np.testing.assert_allclose(se3.inverse(first), np.linalg.inv(first), atol=1e-9)
    np.testing.assert_allclose(se3.compose(), np.eye(4))
    points = np.arange(12.0).reshape(4, 3)
    moved = se3.transform_points(first, points)
    expected = (np.c_[points, np.ones(4)] @ first.T)[:, :3]
    np.testing.assert_allclose(moved, expected, atol=1e-10)


@given(transforms(), transforms())
def test_rotation_angle_is_scipys_magnitude(first, second):
    between = Rotation.from_matrix(first[:3, :3].T @ second[:3, :3]).magnitude()
    assert se3.rotation_angle_deg(first, second) == pytest.approx(np.degrees(between), abs=1e-6)


def test_tiny_angles_keep_their_digits():
    rotation = se3.exp_so3([1e-9, 0.0, 0.0])
    assert se3.rotation_angle_deg(rotation) == pytest.approx(np.degrees(1e-9), rel=1e-6)


@given(directions, st.floats(0.0, 3.0), coordinates)
def test_screw_is_the_matrix_exponential(axis, angle, velocity):
    vector = np.array(axis) / np.linalg.norm(axis) * angle
    generator = np.zeros((4, 4))
    generator[:3, :3] = np.cross(np.eye(3), vector)
    generator[:3, 3] = velocity
    screw = np.concatenate([velocity, vector])
    transform = se3.exp_se3(screw)
    np.testing.assert_allclose(transform, expm(generator), atol=1e-10)
    np.testing.assert_allclose(se3.log_se3(transform), screw, atol=1e-8)


@given(transforms(), st.floats(1e-6, 2e-4))
def test_typed_matrices_are_rigid_and_become_orthonormal(transform, error):
    typed = transform + error * np.random.default_rng(0).uniform(-1, 1, (4, 4))
    assert se3.is_rigid(typed)
    clean = se3.nearest_rigid(typed)
    np.testing.assert_allclose(clean[:3, :3] @ clean[:3, :3].T, np.eye(3), atol=1e-14)
    np.testing.assert_array_equal(clean[3], [0, 0, 0, 1])
    assert se3.rotation_angle_deg(clean, transform) < np.degrees(4 * error)


@pytest.mark.parametrize(
    'matrix',
    [
        None,
        'identity',
        np.eye(3),
        np.zeros((4, 4)),
        np.diag([1.0, 1.0, -1.0, 1.0]),
        np.diag([2.0, 2.0, 2.0, 1.0]),
        np.full((4, 4), np.nan),
        [[1, 0], [0]],
        np.eye(4)[[1, 0, 2, 3]] @ np.diag([1.0, 1.0, 1.0, 2.0]),
    ],
)
def test_what_is_not_rigid(matrix):
    assert not se3.is_rigid(matrix)
