"""Rays into scenes: where they end, what they meet, how its surface stands."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from dlc_training.data.blocks import ball, box, pillar, rod, turn
from dlc_training.data.primitives import Box, Ellipsoid, Frustum, Torus
from dlc_training.data.scene import Scene
from dlc_training.data.solid import Solid
from dlc_training.data.solids import make_solid


def directions(rng, count):
    rays = rng.normal(size=(count, 3))
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def cast(solids, origins, rays, **options):
    hits = Scene(solids).cast(origins, rays, **options)
    return hits.ranges.numpy().astype(float), hits.normals.numpy(), hits.parts.numpy()


def first_inside(solid, origin, rays, far, steps=1500):
    """Where each ray first comes to lie within a solid, by looking at every step; inf if never."""
    along = np.linspace(0, far, steps)
    inside = solid.distance(origin + along[:, None, None] * rays) < 0
    return np.where(inside.any(0), along[inside.argmax(0)], np.inf)


def test_ranges_and_normals_in_closed_form():
    ranges, normals, parts = cast(
        [box((5, 0, 0), (1, 2, 2)), ball((0, 4, 0), (1, 1, 1)), rod((0, 0, -9), (0, 0, -3), 0.5)],
        np.zeros(3),
        np.array([[1, 0, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1], [0.8, -0.6, 0], [0, 0.96, 0.28]]),
    )
    # The last ray passes the ball 4 * 0.28 = 1.12 from its centre.
    np.testing.assert_allclose(ranges[:3], [4, 3, 3], rtol=1e-6)
    assert np.isinf(ranges[3:]).all()
    np.testing.assert_array_equal(parts, [0, 1, 2, -1, -1, -1])
    np.testing.assert_allclose(normals[:3], [[-1, 0, 0], [0, -1, 0], [0, 0, 1]], atol=1e-6)
    np.testing.assert_array_equal(normals[3:], 0)


def test_small_things_far_away_keep_their_place():
    """In float32 a quadratic about an origin 80 m away would lose a ball of 5 cm."""
    rng = np.random.default_rng(0)
    heading = directions(rng, 200)
    for radius in (0.02, 0.05, 1.0):
        solids = [ball(80 * h, (radius, radius, radius)) for h in heading]
        ranges, _, parts = cast(solids, np.zeros(3), heading)
        np.testing.assert_array_equal(parts, np.arange(200))
        np.testing.assert_allclose(ranges, 80 - radius, atol=1e-4)


def test_a_cone_and_a_ray_along_its_side():
    cone = Frustum(bottom=1.0, top=0.0, height=2.0)
    # From above the tip straight down, at height z the cone's radius is (1 - z) / 2.
    offsets = np.array([0.0, 0.25, 0.5, 0.9, 1.1])
    origins = np.stack([offsets, 0 * offsets, 0 * offsets + 3], 1)
    ranges, _, _ = cast([cone], origins, np.tile([0, 0, -1.0], (5, 1)))
    np.testing.assert_allclose(ranges[:4], 3 - (1 - 2 * offsets[:4]), atol=1e-5)
    assert np.isinf(ranges[4])
    slope = np.array([1.0, 0.0, -2.0]) / np.sqrt(5)  # parallel to the side, a hair outside
    assert np.isinf(cast([cone], np.array([0.01, 0, 1.0]) - 3 * slope, slope[None])[0]).all()


@pytest.mark.parametrize('common', [True, False], ids=['one origin', 'many origins'])
def test_the_same_as_a_mesh(common):
    o3d = pytest.importorskip('open3d', reason='open3d is not installed')
    rng = np.random.default_rng(1)
    scene, solids = o3d.t.geometry.RaycastingScene(), []
    for _ in range(25):
        half, radius = rng.uniform(0.05, 1.0, 3), rng.uniform(0.05, 0.8)
        low, high = rng.uniform(-4, 4, (2, 3))
        placing = Rotation.random(random_state=rng).as_matrix(), rng.uniform(-4, 4, 3)
        mesh = o3d.geometry.TriangleMesh.create_box(*(2 * half)).translate(-half)
        mesh.rotate(placing[0], center=(0, 0, 0)).translate(placing[1])
        solids.append(Box(half=half).placed(*placing))
        scene.add_triangles(o3d.t.geometry.TriangleMesh.from_legacy(mesh))
        solids.append(rod(low, high, radius))
        length = float(np.linalg.norm(high - low))
        mesh = o3d.geometry.TriangleMesh.create_cylinder(radius, length, 300, 1)
        turned = Rotation.align_vectors([high - low], [[0, 0, 1.0]])[0].as_matrix()
        mesh.rotate(turned, center=(0, 0, 0)).translate((low + high) / 2)
        scene.add_triangles(o3d.t.geometry.TriangleMesh.from_legacy(mesh))
    rays = directions(rng, 5000)
    origins = np.array([0.0, 0.0, 9.0]) if common else directions(rng, 5000) * 12
    rays = rng.uniform(-4, 4, (5000, 3)) - origins
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    both = np.concatenate([np.broadcast_to(origins, rays.shape), rays], 1).astype(np.float32)
    expected = scene.cast_rays(o3d.core.Tensor(both))
    wanted = expected['t_hit'].numpy()
    ranges, normals, parts = cast(solids, origins, rays)
    same = np.isfinite(wanted) == np.isfinite(ranges)
    assert same.mean() > 0.998  # a mesh of a cylinder is a little slimmer than it
    hit = np.isfinite(wanted) & np.isfinite(ranges)
    assert 0.3 < hit.mean() < 1
    close = np.abs(ranges[hit] - wanted[hit]) < 2e-3
    assert close.mean() > 0.995
    np.testing.assert_array_equal(parts[hit][close], expected['geometry_ids'].numpy()[hit][close])
    flat = close & (parts[hit] % 2 == 0)
    outward = expected['primitive_normals'].numpy()[hit][flat]
    np.testing.assert_allclose(normals[hit][flat], outward, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(normals[hit], axis=1), 1, atol=1e-5)
    assert (np.einsum('ij,ij->i', normals[hit], rays[hit]) < 1e-3).all()


@settings(max_examples=12)
@given(seed=st.integers(0, 100_000))
def test_any_solid_is_met_where_a_ray_first_comes_to_lie_within(seed):
    """Joined, cut, with a torus or without: against looking along each ray in small steps."""
    rng = np.random.default_rng(seed)
    solid = make_solid(seed)
    origin = 1.6 * directions(rng, 1)[0]
    rays = rng.uniform(-0.6, 0.6, (60, 3)) - origin
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    expected = first_inside(solid, origin, rays, 3.0)
    ranges, normals, _ = cast([solid], origin, rays)
    # Sheets thinner than a step are found by rays and missed by steps; edges are grazed.
    found = np.isfinite(expected)
    assert np.isfinite(ranges[found]).mean() > 0.97 if found.any() else True
    both = found & np.isfinite(ranges)
    assert (ranges[both] < expected[both] + 1e-3).all()
    hit = np.isfinite(ranges)
    points = origin + ranges[hit, None] * rays[hit]
    assert np.abs(solid.distance(points)).max(initial=0) < 5e-4
    assert (np.einsum('ij,ij->i', normals[hit], rays[hit]) < 5e-3).all()
    later = both & (ranges > expected - 0.002)
    assert later.sum() >= 0.8 * both.sum()


def test_through_a_hole_and_against_its_wall():
    plate = Solid((box((0, 0, 0), (2, 2, 0.5)),), (pillar((0, 0, -1), 0.5, 2),))
    down = np.array([0, 0, -1.0])
    slant = np.array([0.6, 0, -0.8])
    # From (0, 0, 0.5 + 0.4): the slanted ray enters the hole 0.3 off its axis and has fallen
    # 2/3 when it is 0.5 off.
    origins = np.array([[0, 0, 3.0], [1, 0, 3.0], [0, 0, 0.9], [0.0, 0.0, 0.0]])
    rays = np.stack([down, down, slant, [1.0, 0, 0]])
    ranges, normals, parts = cast([plate], origins, rays)
    assert np.isinf(ranges[0])
    np.testing.assert_allclose(ranges[1:], [2.5, 0.5 / 0.6, 0.5], rtol=1e-5)
    np.testing.assert_allclose(normals[1:], [[0, 0, 1], [-1, 0, 0], [-1, 0, 0]], atol=1e-5)
    np.testing.assert_array_equal(parts, [-1, 0, 0, 0])


def test_a_cut_spares_what_is_not_of_its_solid():
    """A bore through one box ends at the next box, whose own material stays."""
    bored = Solid((box((0, 0, 0), (1, 1, 1)),), (pillar((0, 0, -9), 0.3, 18),))
    ranges, _, parts = cast(
        [bored, box((0, 0, -3), (1, 1, 0.5))], np.array([0, 0, 5.0]), np.array([[0, 0, -1.0]])
    )
    assert ranges[0] == pytest.approx(7.5)
    assert parts[0] == 1


def test_two_cuts_and_two_parts():
    """The wall of one cut does not show where the other cut goes on."""
    parts = (box((0, 0, 0), (1, 1, 1)), box((0, 0, 2), (1, 1, 1)))
    cuts = (box((0, 0, 2.5), (0.5, 0.5, 1.0)), box((0, 0, 1), (0.4, 0.4, 1.0)))
    ranges, normals, _ = cast(
        [Solid(parts, cuts)], np.array([0, 0, 9.0]), np.array([[0, 0, -1.0]])
    )
    # Both cuts together are a shaft from above down to z = 0.
    assert ranges[0] == pytest.approx(9.0)
    np.testing.assert_allclose(normals[0], [0, 0, 1], atol=1e-6)


def test_nothing_beyond_the_limit_and_nothing_behind():
    wall = box((4, 0, 0), (0.5, 5, 5))
    forward = np.array([[1.0, 0, 0]])
    assert cast([wall], np.zeros(3), forward, limit=3.6)[0][0] == pytest.approx(3.5)
    assert np.isinf(cast([wall], np.zeros(3), forward, limit=3.4)[0][0])
    assert np.isinf(cast([wall], np.zeros(3), -forward)[0][0])
    assert np.isinf(cast([], np.zeros(3), forward)[0][0])


def test_neither_order_nor_number_of_rays_matters():
    rng = np.random.default_rng(2)
    solids = [make_solid(s).placed(turn(s), rng.uniform(-4, 4, 3)) for s in range(12)]
    rays = directions(rng, 5000)
    order = rng.permutation(5000)
    whole, _, parts = cast(solids, np.array([0, 0, 6.0]), rays)
    again, _, parts_again = cast(solids, np.array([0, 0, 6.0]), rays[order])
    np.testing.assert_allclose(again, whole[order], rtol=1e-5)
    assert (parts_again == parts[order]).mean() > 0.999
    few, _, _ = cast(solids, np.array([0, 0, 6.0]), rays[:7])
    np.testing.assert_allclose(few, whole[:7], rtol=1e-5)


def test_a_torus_is_marched_to():
    torus = Torus(major=2.0, minor=0.5)
    ranges, normals, _ = cast(
        [torus], np.array([0, 0, 0.0]), np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
    )
    np.testing.assert_allclose(ranges[[0, 2]], 1.5, atol=1e-3)
    assert np.isinf(ranges[1])
    np.testing.assert_allclose(normals[[0, 2]], [[-1, 0, 0], [0, 1, 0]], atol=1e-2)


def test_on_a_cuda_device_the_same():
    if not torch.cuda.is_available():
        pytest.skip('no CUDA device')
    rng = np.random.default_rng(3)
    solids = [make_solid(s).placed(turn(s), rng.uniform(-4, 4, 3)) for s in range(12)]
    rays = directions(rng, 3000)
    here = Scene(solids).cast(np.array([0, 0, 6.0]), rays)
    there = Scene(solids, device='cuda').cast(np.array([0, 0, 6.0]), rays)
    agree = torch.isclose(here.ranges, there.ranges.cpu(), rtol=1e-4) | (
        torch.isinf(here.ranges) & torch.isinf(there.ranges.cpu())
    )
    assert agree.float().mean() > 0.998


def test_distances_are_the_same_in_numpy_and_torch():
    rng = np.random.default_rng(4)
    points = rng.uniform(-1.5, 1.5, (500, 3))
    for primitive in (
        Box(half=np.array([0.9, 0.5, 0.2])),
        Frustum(bottom=0.7, top=0.25, height=0.8),
        Ellipsoid(half=np.array([1.0, 0.4, 0.6])),
        Torus(major=0.8, minor=0.25),
    ):
        solid = Solid((primitive.placed(turn(0.4, 0.3), np.array([0.1, 0.2, 0.3])),))
        found = solid.distance(torch.from_numpy(points))
        np.testing.assert_allclose(found.numpy(), solid.distance(points), atol=1e-12)
