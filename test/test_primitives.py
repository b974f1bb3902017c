"""Primitives: samples on the surface and uniform, distances right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from surfaces import PRIMITIVES, SHIFT, TURN, shares, uniform

from dlc_training.data.primitives import Box, Ellipsoid, Frustum, Torus


@pytest.fixture(params=PRIMITIVES)
def primitive(request):
    return PRIMITIVES[request.param]


def test_samples_lie_on_the_surface_and_normals_point_out(primitive):
    placed = primitive.placed(TURN, SHIFT)
    points, normals = placed.sample(2000, np.random.default_rng(0))
    assert points.shape == normals.shape == (2000, 3)
    assert np.abs(placed.distance(points)).max() < 1e-12
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)
    assert (placed.distance(points + 1e-6 * normals) > 0).all()
    assert (placed.distance(points - 1e-6 * normals) < 0).all()
    assert np.linalg.norm(points - SHIFT, axis=1).max() <= primitive.radius + 1e-12


def test_distance_never_exceeds_the_true_one(primitive):
    rng = np.random.default_rng(1)
    surface, _ = primitive.sample(20_000, rng)
    points = rng.uniform(-2, 2, (3000, 3))
    true, _ = cKDTree(surface).query(points)
    assert (np.abs(primitive.distance(points)) <= true + 1e-9).all()


def test_faces_of_a_box_get_their_share():
    box = PRIMITIVES['box']
    points, normals = box.sample(20_000, np.random.default_rng(2))
    axis, sign = np.abs(normals).argmax(1), normals.sum(1)
    a, b, c = box.half
    assert shares(
        [((axis == k) & (sign == s)).sum() for k in range(3) for s in (-1, 1)],
        np.repeat([b * c, c * a, a * b], 2),
    )
    for k in range(3):
        for other in {0, 1, 2} - {k}:
            assert uniform((points[axis == k, other] / box.half[other] + 1) / 2)
    assert box.area == pytest.approx(8 * (a * b + b * c + c * a))


@pytest.mark.parametrize('name', ['cylinder', 'frustum', 'cone'])
def test_caps_and_side_of_a_frustum_get_their_share(name):
    solid = PRIMITIVES[name]
    points, normals = solid.sample(20_000, np.random.default_rng(3))
    low, high = normals[:, 2] < -0.999, normals[:, 2] > 0.999
    side = ~(low | high)
    slant = np.hypot(solid.height, solid.bottom - solid.top)
    areas = np.pi * np.array([(solid.bottom + solid.top) * slant, solid.bottom**2, solid.top**2])
    found = np.array([side.sum(), low.sum(), high.sum()])
    assert shares(found[areas > 0], areas[areas > 0])
    assert found[areas == 0].sum() == 0
    assert solid.area == pytest.approx(areas.sum())
    radius = np.hypot(points[:, 0], points[:, 1])
    for cap, rim in ((low, solid.bottom), (high, solid.top)):
        if rim:
            assert uniform((radius[cap] / rim) ** 2)
    # The area below a share h of the height: a truncated cone again.
    b, t = solid.bottom, solid.top
    h = points[side, 2] / solid.height + 0.5
    assert uniform(h, lambda h: h * (2 * b + (t - b) * h) / (b + t))
    assert uniform(np.arctan2(points[:, 1], points[:, 0]) / (2 * np.pi) + 0.5)


def test_outer_half_of_a_torus_gets_more():
    torus = PRIMITIVES['torus']
    points, _ = torus.sample(20_000, np.random.default_rng(4))
    ring = np.hypot(points[:, 0], points[:, 1]) - torus.major
    # Pappus: the outer half circle's centroid runs 2 r / pi outside the ring.
    outer = 0.5 + torus.minor / (np.pi * torus.major)
    assert shares([(ring > 0).sum(), (ring <= 0).sum()], [outer, 1 - outer])
    tube = np.arctan2(points[:, 2], ring) + np.pi
    ratio = torus.minor / torus.major
    assert uniform(tube, lambda v: (v - ratio * np.sin(v)) / (2 * np.pi))
    assert torus.area == pytest.approx(4 * np.pi**2 * torus.major * torus.minor)


@pytest.mark.parametrize('half', [(1.0, 0.4, 0.4), (0.3, 0.9, 0.9)])
def test_zones_of_a_spheroid_get_their_area(half):
    solid = Ellipsoid(half=np.array(half))
    points, _ = solid.sample(10_000, np.random.default_rng(5))
    a, b, _ = half

    def element(x):  # of a surface of revolution about x
        return 2 * np.pi * b * np.sqrt(1 - (x / a) ** 2 + (b * x / a**2) ** 2)

    total = integrate.quad(element, -a, a)[0]
    assert solid.area == pytest.approx(total, rel=0.011)
    edges = np.linspace(-a, a, 9)
    zones = [integrate.quad(element, *pair)[0] for pair in zip(edges[:-1], edges[1:], strict=True)]
    assert shares(np.histogram(points[:, 0], edges)[0], zones)


def test_sphere_torus_and_box_are_exact():
    points = np.random.default_rng(6).uniform(-1.5, 1.5, (2000, 3))
    np.testing.assert_allclose(
        PRIMITIVES['sphere'].distance(points), np.linalg.norm(points, axis=1) - 0.7, atol=1e-12
    )
    angle = np.linspace(0, 2 * np.pi, 20_000)
    ring = 0.8 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)
    np.testing.assert_allclose(
        PRIMITIVES['torus'].distance(points), cKDTree(ring).query(points)[0] - 0.25, atol=1e-5
    )


def mesh_of(o3d, primitive):
    """Triangle mesh of a primitive in its local frame, fine enough for errors below 1e-3."""
    shapes = o3d.geometry.TriangleMesh
    if isinstance(primitive, Box):
        mesh = shapes.create_box(*(2 * primitive.half))
        return mesh.translate(-primitive.half)
    if isinstance(primitive, Frustum):
        mesh = shapes.create_cylinder(1.0, primitive.height, 200, 1)
        vertices = np.array(mesh.vertices)
        rim = np.where(vertices[:, 2] < 0, primitive.bottom, primitive.top)
        vertices[:, :2] *= rim[:, None]
        mesh.vertices = o3d.utility.Vector3dVector(vertices)
        return mesh
    if isinstance(primitive, Torus):
        return shapes.create_torus(primitive.major, primitive.minor, 200, 100)
    mesh = shapes.create_sphere(1.0, 100)
    mesh.vertices = o3d.utility.Vector3dVector(np.array(mesh.vertices) * primitive.half)
    return mesh


def scene_of(o3d, *meshes):
    scene = o3d.t.geometry.RaycastingScene()
    for mesh in meshes:
        scene.add_triangles(o3d.t.geometry.TriangleMesh.from_legacy(mesh))
    return scene


def test_sign_of_the_distance_is_that_of_a_mesh(primitive):
    o3d = pytest.importorskip('open3d', reason='open3d is not installed')
    points = np.random.default_rng(7).uniform(-1.3, 1.3, (4000, 3)).astype(np.float32)
    scene = scene_of(o3d, mesh_of(o3d, primitive))
    expected = scene.compute_signed_distance(points).numpy()
    clear = np.abs(expected) > 2e-3  # farther than the mesh is from the round surface
    found = primitive.distance(points.astype(float))
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(np.sign(found[clear]), np.sign(expected[clear]))
    if isinstance(primitive, Box):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@given(seed=st.integers(0, 2**32 - 1))
def test_placing_is_moving(seed):
    rng = np.random.default_rng(seed)
    turn, shift = Rotation.random(random_state=rng).as_matrix(), rng.normal(size=3)
    points = rng.uniform(-1, 1, (20, 3))
    for primitive in PRIMITIVES.values():
        once = primitive.placed(TURN, SHIFT)
        twice = once.placed(turn, shift)
        np.testing.assert_allclose(
            twice.distance(points @ turn.T + shift), once.distance(points), atol=1e-12
        )
