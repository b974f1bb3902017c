"""The simulated depth camera against closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

o3d = pytest.importorskip('open3d', reason='open3d is not installed')

from dlc_ros.demo.depth_camera import (  # noqa: E402
    NO_NOISE,
    DepthCamera,
    Intrinsics,
    SensorNoise,
    look_at,
)
from dlc_ros.registration.se3 import inverse, is_rigid, transform_points  # noqa: E402

SMALL = Intrinsics(width=80, height=60, focal=100.0)


def scene_of(mesh):
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(mesh)
    return scene


def ground(size=50.0):
    box = o3d.t.geometry.TriangleMesh.create_box(size, size, 0.1)
    return scene_of(box.translate(np.array([-0.5 * size, -0.5 * size, -0.1])))


@given(
    eye=st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(0.3, 1.5)),
    target=st.tuples(st.floats(-2, 2), st.floats(2, 3), st.floats(-1, 0)),
    roll=st.floats(-3, 3),
)
@settings(max_examples=50, deadline=None)
def test_look_at_puts_the_target_on_the_optical_axis(eye, target, roll):
    pose = look_at(np.array(eye), np.array(target), roll)
    assert is_rigid(pose, 1e-9)
    x, y, z = transform_points(inverse(pose), np.array([target]))[0]
    assert (x, y) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9))
    assert z == pytest.approx(np.linalg.norm(np.subtract(target, eye)))


def test_image_is_upright():
    """What lies higher in the world is higher in the image; what lies right is right."""
    pose = look_at(np.array([0.0, -1.0, 0.5]), np.zeros(3))
    camera_from_world = inverse(pose)
    above, right = transform_points(camera_from_world, np.array([[0, 0, 0.1], [0.1, 0, 0]]))
    assert above[1] < 0 and abs(above[0]) < 1e-12
    assert right[0] > 0 and abs(right[1]) < 1e-12


def test_depth_of_a_plane_is_the_closed_form():
    eye = np.array([0.2, -0.4, 0.7])
    pose = look_at(eye, np.array([0.1, 0.1, 0.0]), 0.2)
    camera = DepthCamera(ground(), SMALL, NO_NOISE)
    depth, cosine = camera.cast(pose)
    rays = SMALL.directions() @ pose[:3, :3].T
    np.testing.assert_allclose(depth, -eye[2] / rays[..., 2], rtol=1e-5)
    np.testing.assert_allclose(cosine, -rays[..., 2] / np.linalg.norm(rays, axis=-1), rtol=1e-4)


def test_points_of_a_sphere_are_the_closed_form():
    centre, radius = np.array([0.05, 0.02, 0.1]), 0.2
    mesh = o3d.t.geometry.TriangleMesh.create_sphere(radius, 400).translate(centre)
    pose = look_at(np.array([0.6, -0.5, 0.7]), centre)
    cloud = DepthCamera(scene_of(mesh), SMALL, NO_NOISE).capture(pose, np.random.default_rng(0))
    rays = SMALL.directions()
    to_centre = transform_points(inverse(pose), centre[None])[0]
    a = (rays**2).sum(-1)
    b = rays @ to_centre
    discriminant = b**2 - a * (to_centre @ to_centre - radius**2)
    clear = np.abs(discriminant) > 1e-3
    np.testing.assert_array_equal(np.isfinite(cloud[..., 2])[clear], (discriminant > 0)[clear])
    hit = clear & (discriminant > 0)
    expected = (b[hit] - np.sqrt(discriminant[hit])) / a[hit]
    np.testing.assert_allclose(cloud[hit], expected[:, None] * rays[hit], atol=2e-4)


def test_pixels_project_back_onto_their_centres():
    cloud = DepthCamera(ground(), SMALL, NO_NOISE).capture(
        look_at(np.array([0.0, -0.3, 0.6]), np.zeros(3)), np.random.default_rng(0)
    )
    x, y, z = cloud[37, 61]
    assert SMALL.focal * x / z + 0.5 * SMALL.width == pytest.approx(61.5, abs=1e-3)
    assert SMALL.focal * y / z + 0.5 * SMALL.height == pytest.approx(37.5, abs=1e-3)


def depth_errors(distance, noise):
    """Depth errors of an image taken straight down from ``distance`` above the ground."""
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[2, 3] = distance
    intrinsics = Intrinsics(width=200, height=200, focal=2000.0)
    cloud = DepthCamera(ground(), intrinsics, noise).capture(pose, np.random.default_rng(1))
    return cloud[..., 2] - distance


def test_noise_grows_with_the_square_of_the_depth():
    noise = SensorNoise(0.004, dropout=0.0, grazing_cosine=0.0, nearest=0.0, farthest=5.0)
    assert depth_errors(1.0, noise).std() == pytest.approx(0.004, rel=0.03)
    assert depth_errors(2.0, noise).std() == pytest.approx(0.016, rel=0.03)


def test_dropout_loses_its_share():
    noise = SensorNoise(0.0, dropout=0.1, grazing_cosine=0.0)
    assert np.isnan(depth_errors(0.5, noise)).mean() == pytest.approx(0.1, abs=0.01)


def test_out_of_range_is_lost():
    noise = SensorNoise(nearest=0.2, farthest=0.9)
    assert np.isnan(depth_errors(0.1, noise)).all()
    assert np.isnan(depth_errors(1.0, noise)).all()
    assert np.isfinite(depth_errors(0.5, noise)).mean() > 0.9


def test_grazing_returns_are_lost():
    noise = SensorNoise(0.0, dropout=0.0, grazing_cosine=0.1, nearest=0.0, farthest=np.inf)
    camera = DepthCamera(ground(), SMALL, noise)
    pose = look_at(np.array([0.0, 0.0, 0.1]), np.array([0.0, 1.0, 0.0]))
    cloud = camera.capture(pose, np.random.default_rng(2))
    _, cosine = camera.cast(pose)
    lost = np.isnan(cloud[..., 2])
    assert (cosine < 0.1).any() and lost[cosine < 0.1].all()
    assert (cosine > 0.3).any() and not lost[cosine > 0.3].any()
    between = (cosine > 0.15) & (cosine < 0.25)
    assert 0.2 < lost[between].mean() < 0.8
