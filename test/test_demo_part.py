"""The demo's part: closed bodies, and points drawn evenly from their outer surface."""

import numpy as np
import pytest

from dlc_ros.registration.se3 import make_transform, matrix_from_rpy, transform_points

o3d = pytest.importorskip('open3d', reason='open3d is not installed')

from dlc_ros.demo.part import build_part, circle, extrude, rectangle, sample_surface  # noqa: E402


@pytest.fixture(scope='module')
def bodies():
    return build_part()


@pytest.fixture(scope='module')
def samples(bodies):
    return sample_surface(bodies, 20000, seed=3)


def merged_scene(bodies):
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    for mesh in bodies:
        scene.add_triangles(mesh)
    return scene


def test_extrusion_with_a_hole_has_the_volume_and_area_of_the_closed_form():
    radius, height = 0.01, 0.02
    mesh = extrude(rectangle((0, 0), (0.06, 0.04)), [circle((0.03, 0.02), radius)], (0, height))
    legacy = mesh.to_legacy()
    sides = len(circle((0, 0), radius))
    hole = 0.5 * sides * radius**2 * np.sin(2 * np.pi / sides)
    around = 2 * sides * radius * np.sin(np.pi / sides)
    flat = 0.06 * 0.04 - hole
    assert legacy.is_watertight()
    assert legacy.get_volume() == pytest.approx(flat * height, rel=1e-5)
    assert legacy.get_surface_area() == pytest.approx(2 * flat + (0.2 + around) * height, rel=1e-5)


def test_every_body_is_closed_and_faces_outwards(bodies):
    for mesh in bodies:
        legacy = mesh.to_legacy()
        assert legacy.is_watertight()
        assert legacy.get_volume() > 0


def test_part_stands_on_its_origin_and_is_about_20_cm_long(samples):
    points, _ = samples
    np.testing.assert_allclose(points.min(axis=0), [-0.1, -0.07, 0.0], atol=1e-3)
    np.testing.assert_allclose(points.max(axis=0), [0.1, 0.07, 0.1], atol=1e-3)


def test_samples_lie_on_the_outer_surface_with_outside_normals(bodies, samples):
    points, normals = samples
    scene = merged_scene(bodies)
    distance = scene.compute_distance(o3d.core.Tensor(points.astype(np.float32))).numpy()
    assert distance.max() < 1e-5
    # What leaves the surface along the normal is free: few rays meet another body at once.
    rays = np.concatenate([points + 2e-4 * normals, normals], axis=1).astype(np.float32)
    hit = scene.cast_rays(o3d.core.Tensor(rays))['t_hit'].numpy()
    assert np.mean(hit < 1e-3) < 0.01


def test_samples_are_spread_by_area():
    mesh = extrude(rectangle((0, 0), (0.1, 0.05)), [], (0, 0.02))
    points, normals = sample_surface([mesh], 40000, seed=5)
    total = 2 * (0.1 * 0.05 + 0.1 * 0.02 + 0.05 * 0.02)
    top = normals[:, 2] > 0.5
    assert top.mean() == pytest.approx(0.1 * 0.05 / total, abs=0.01)
    # Within one face every quarter gets as much.
    left, front = points[top, 0] < 0.05, points[top, 1] < 0.025
    for quarter in (left & front, left & ~front, ~left & front, ~left & ~front):
        assert quarter.mean() == pytest.approx(0.25, abs=0.015)


def test_another_seed_shares_no_point(bodies, samples):
    other, _ = sample_surface(bodies, 20000, seed=4)
    assert not set(map(bytes, other)) & set(map(bytes, samples[0]))


@pytest.mark.parametrize('yaw', range(30, 360, 30))
def test_part_looks_different_from_every_side(bodies, samples, yaw):
    """No turn about the vertical, about any axis near its middle, maps the part onto itself."""
    from scipy.spatial import cKDTree

    points, _ = samples
    centred = points - 0.5 * (points.min(axis=0) + points.max(axis=0))
    turned = transform_points(
        make_transform(matrix_from_rpy([0, 0, np.radians(yaw)])), centred[::10]
    )
    distance, _ = cKDTree(centred).query(turned)
    assert np.percentile(distance, 90) > 0.01
