"""Generated solids: samples on the surface and uniform, distances right."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from dlc_training.data.blend import Blend
from dlc_training.data.primitives import Box, Ellipsoid, Frustum, Torus
from dlc_training.data.rooms import make_room
from dlc_training.data.solids import FIRST_EVALUATION_SEED, Solid, make_solid

PRIMITIVES = {
    'box': Box(half=np.array([0.9, 0.5, 0.2])),
    'cylinder': Frustum(bottom=0.4, top=0.4, height=1.2),
    'frustum': Frustum(bottom=0.7, top=0.25, height=0.8),
    'cone': Frustum(bottom=0.0, top=0.6, height=1.0),
    'sphere': Ellipsoid(half=np.full(3, 0.7)),
    'ellipsoid': Ellipsoid(half=np.array([1.0, 0.4, 0.6])),
    'torus': Torus(major=0.8, minor=0.25),
}
TURN = Rotation.from_rotvec([0.4, -0.8, 1.3]).as_matrix()
SHIFT = np.array([0.3, -2.0, 1.1])
# Smallest p-value of a right sampler among all tests here; seeds are fixed, so it never varies.
RARE = 1e-4


@pytest.fixture(params=PRIMITIVES)
def primitive(request):
    return PRIMITIVES[request.param]


def uniform(sample, cdf=None):
    """Whether a sample follows a distribution function on its support (Kolmogorov-Smirnov)."""
    return stats.kstest(sample, cdf or 'uniform').pvalue > RARE


def shares(counts, expected):
    """Whether counts follow expected shares (chi-square)."""
    counts, expected = np.asarray(counts), np.asarray(expected, float)
    return stats.chisquare(counts, expected / expected.sum() * counts.sum()).pvalue > RARE


# ------------------------------------------------------------------------------- primitives


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


# -------------------------------------------------------------------------- organic blends


def random_blend(rng, limbs=4):
    starts, ends = rng.uniform(-0.6, 0.6, (2, limbs, 3))
    return Blend(
        starts=starts, ends=ends, radii=rng.uniform(0.08, 0.3, limbs), softness=0.2
    ).placed(TURN, SHIFT)


def test_a_single_limb_is_a_capsule():
    start, end = np.array([0.1, -0.2, -0.5]), np.array([0.1, -0.2, 0.7])
    limb = Blend(starts=start[None], ends=end[None], radii=np.array([0.3]), softness=0.1)
    side, caps = 2 * np.pi * 0.3 * 1.2, 4 * np.pi * 0.3**2
    assert limb.area == pytest.approx(side + caps, rel=0.08)
    points, normals = limb.sample(6000, np.random.default_rng(20))
    axis = np.clip(points[:, 2:], -0.5, 0.7) * (0, 0, 1) + (0.1, -0.2, 0)
    np.testing.assert_allclose(np.linalg.norm(points - axis, axis=1), 0.3, atol=1e-9)
    np.testing.assert_allclose(normals, (points - axis) / 0.3, atol=1e-3)
    on_side = (points[:, 2] > -0.5) & (points[:, 2] < 0.7)
    assert shares([on_side.sum(), (~on_side).sum()], [side, caps])
    assert uniform((points[on_side, 2] + 0.5) / 1.2)


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_limbs_flow_into_each_other_and_the_distance_never_exceeds_the_true_one(seed):
    rng = np.random.default_rng(seed)
    blend = random_blend(rng)
    points, normals = blend.sample(500, rng)
    assert np.abs(blend.distance(points)).max() < 1e-9
    assert (blend.distance(points + 1e-4 * normals) > 0).all()
    assert (blend.distance(points - 1e-4 * normals) < 0).all()
    away = SHIFT + rng.uniform(-1.5, 1.5, (300, 3))
    assert (np.abs(blend.distance(away)) < cKDTree(points).query(away)[0] + 1e-9).all()
    # Never less than the limbs themselves, and more only near where two of them meet.
    limbs = [
        Blend(starts=a[None], ends=b[None], radii=r[None], softness=1e-9).placed(TURN, SHIFT)
        for a, b, r in zip(blend.starts, blend.ends, blend.radii, strict=True)
    ]
    apart = np.sort([limb.distance(away) for limb in limbs], axis=0)
    assert (blend.distance(away) <= apart[0] + 1e-12).all()
    alone = apart[1] - apart[0] > 0.2 + 0.15
    np.testing.assert_allclose(blend.distance(away)[alone], apart[0][alone], atol=1e-12)
    assert np.linalg.norm(points - SHIFT, axis=1).max() <= blend.radius


def test_area_of_a_blend_is_that_of_its_level_set():
    """The volume of a thin layer about the surface, over its thickness, by counting a grid."""
    blend = random_blend(np.random.default_rng(21))
    low, high = SHIFT - blend.radius, SHIFT + blend.radius
    grid = np.stack(np.meshgrid(*np.linspace(low, high, 110).T, indexing='ij'), -1).reshape(-1, 3)
    cell = np.prod((high - low) / 109)
    step = 1e-4
    near = grid[np.abs(blend.distance(grid)) < 0.06]
    ahead = [
        (blend.distance(near + step * e) - blend.distance(near - step * e)) for e in np.eye(3)
    ]
    slope = np.linalg.norm(ahead, axis=0) / (2 * step)
    # Coarea formula: the integral of |grad d| over the layer |d| < h is 2 h times a mean area.
    inside = np.abs(blend.distance(near)) < 0.05
    assert slope[inside].sum() * cell / 0.1 == pytest.approx(blend.area, rel=0.08)


# ----------------------------------------------------------------------- joined and cut ones


def test_distance_of_joined_and_cut_primitives():
    ball, plate = PRIMITIVES['sphere'], PRIMITIVES['box']
    hole = Frustum(bottom=0.1, top=0.1, height=3.0)
    solid = Solid((ball, plate), (hole,))
    points = np.random.default_rng(8).uniform(-1, 1, (5000, 3))
    inside = (np.linalg.norm(points, axis=1) < 0.7) | (np.abs(points) < plate.half).all(1)
    inside &= ~(np.hypot(points[:, 0], points[:, 1]) < 0.1)
    np.testing.assert_array_equal(solid.distance(points) < 0, inside)


def lateral_share(points, radius):
    """Share of points on a cylinder of this radius about z."""
    return np.isclose(np.hypot(points[:, 0], points[:, 1]), radius, atol=1e-9).mean()


def test_a_drilled_plate_has_its_bore_and_no_lids():
    plate = Box(half=np.array([1.0, 0.8, 0.2]))
    bore = Frustum(bottom=0.3, top=0.3, height=0.4)  # as long as the plate is thick
    points, normals = Solid((plate,), (bore,)).sample(20_000, np.random.default_rng(9))
    wall, disc = 2 * np.pi * 0.3 * 0.4, np.pi * 0.3**2
    expected = wall / (plate.area - 2 * disc + wall)
    assert lateral_share(points, 0.3) == pytest.approx(expected, abs=0.01)
    assert (np.hypot(points[:, 0], points[:, 1]) >= 0.3 - 1e-9).all()
    on_wall = np.isclose(np.hypot(points[:, 0], points[:, 1]), 0.3, atol=1e-9)
    assert (np.einsum('ij,ij->i', points[on_wall, :2], normals[on_wall, :2]) < 0).all()


def test_a_boss_that_stands_on_a_plate_has_no_floor():
    """Faces touch exactly, where a distance of zero is rounded to either side."""
    plate = Box(half=np.array([1.0, 1.0, 0.1]))
    boss = Frustum(bottom=0.4, top=0.4, height=0.5).placed(np.eye(3), np.array([0, 0, 0.35]))
    for turn in (np.eye(3), TURN):
        solid = Solid((plate, boss)).placed(turn, SHIFT)
        points, _ = solid.sample(20_000, np.random.default_rng(10))
        local = (points - SHIFT) @ turn
        under = np.isclose(local[:, 2], 0.1, atol=1e-6)
        under &= np.hypot(local[:, 0], local[:, 1]) < 0.4 - 1e-6
        assert under.sum() == 0
        wall = 2 * np.pi * 0.4 * 0.5
        assert lateral_share(local, 0.4) == pytest.approx(wall / (plate.area + wall), abs=0.01)


def test_flush_faces_are_covered_once():
    """Two overlapping boxes with a common top: as dense where both have it as elsewhere."""
    left = Box(half=np.array([1.0, 0.5, 0.3]), translation=np.array([-0.5, 0, 0]))
    right = Box(half=np.array([1.0, 0.5, 0.3]), translation=np.array([0.5, 0, 0]))
    points, normals = Solid((left, right)).sample(20_000, np.random.default_rng(11))
    top = points[normals[:, 2] > 0.5]
    assert uniform((top[:, 0] + 1.5) / 3.0)
    whole = Box(half=np.array([1.5, 0.5, 0.3]))
    assert len(top) / len(points) == pytest.approx(3.0 * 1.0 / whole.area, abs=0.01)


def test_inner_faces_are_sampled_where_they_are_kept():
    """As many points per area inside of another part as outside, none within a cut."""
    block = Box(half=np.array([0.6, 0.6, 0.6]))
    bar = Box(half=np.array([0.2, 0.2, 1.2]))
    hole = Frustum(bottom=0.1, top=0.1, height=3.0)
    points, _ = Solid((block, bar), (hole,), inner_faces=True).sample(
        40_000, np.random.default_rng(13)
    )
    disc, bore = np.pi * 0.1**2, 2 * np.pi * 0.1 * 2.4
    side = np.isclose(np.abs(points[:, :2]).max(1), 0.2, atol=1e-9)
    inside = side & (np.abs(points[:, 2]) < 0.6)
    total = block.area + bar.area - 4 * disc + bore
    assert inside.mean() == pytest.approx(4 * 0.4 * 1.2 / total, abs=0.005)
    assert lateral_share(points, 0.1) == pytest.approx(bore / total, abs=0.005)
    assert (np.hypot(points[:, 0], points[:, 1]) > 0.1 - 1e-9).all()


SOME_SEEDS = [*range(36), *range(FIRST_EVALUATION_SEED, FIRST_EVALUATION_SEED + 12)]


def test_no_sample_lies_inside_and_none_outside():
    for seed in SOME_SEEDS:
        solid = make_solid(seed)
        points, normals = solid.sample(600, np.random.default_rng(seed))
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)
        if solid.inner_faces:
            assert solid.distance(points).max() < 1e-9, seed
            continue
        assert np.abs(solid.distance(points)).max() < 1e-9, seed
        # Material right below, none right above; walls and gaps are thicker than that.
        assert (solid.distance(points - 1e-6 * normals) < 0).all(), seed
        assert (solid.distance(points + 1e-6 * normals) > 0).all(), seed


@pytest.mark.parametrize(
    'seeds', [range(40), range(FIRST_EVALUATION_SEED, FIRST_EVALUATION_SEED + 12)]
)
def test_solids_fill_the_unit_sphere(seeds):
    for seed in seeds:
        points, _ = make_solid(seed).sample(600, np.random.default_rng(seed))
        # Its size is measured on some samples, so that a corner may stand out a little.
        assert 0.88 < np.linalg.norm(points, axis=1).max() < 1.12, seed
        assert np.abs(points.min(0) + points.max(0)).max() < 0.25, seed


def test_equal_seeds_give_equal_solids_and_others_others():
    clouds = [make_solid(seed).sample(50, np.random.default_rng(0))[0] for seed in (5, 5, 6)]
    np.testing.assert_array_equal(clouds[0], clouds[1])
    assert not np.allclose(clouds[0], clouds[2])


def test_scaling_and_placing_a_solid():
    solid = make_solid(3)
    points, _ = solid.sample(200, np.random.default_rng(1))
    moved = solid.scaled(2.5).placed(TURN, SHIFT)
    np.testing.assert_allclose(moved.distance(2.5 * points @ TURN.T + SHIFT), 0, atol=1e-9)
    away = np.random.default_rng(2).uniform(-1, 1, (200, 3))
    np.testing.assert_allclose(
        moved.distance(2.5 * away @ TURN.T + SHIFT), 2.5 * solid.distance(away), atol=1e-9
    )


# ------------------------------------------------------------------------------------ rooms


@settings(max_examples=12)
@given(seed=st.integers(0, 10_000))
def test_rooms_have_a_floor_and_stay_in_their_walls(seed):
    solid, half = make_room(seed)
    points, _ = solid.sample(1500, np.random.default_rng(seed))
    assert (half[:2] >= 1.5).all()
    assert (half[:2] <= 6.0).all()
    floor = np.abs(points[:, 2] - 0.05) < 1e-9
    assert floor.mean() > 0.05
    np.testing.assert_allclose(np.abs(points[floor, :2]).max(0), half[:2], rtol=0.2)
    assert points[:, 2].min() > -1.0
    assert points[:, 2].max() < 2 * half[2] + 2.5
    again, same = make_room(seed)
    np.testing.assert_array_equal(half, same)
    np.testing.assert_array_equal(points, again.sample(1500, np.random.default_rng(seed))[0])
