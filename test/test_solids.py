"""Solids joined and cut of primitives, those of a seed, rooms: only their surface is sampled."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from surfaces import PRIMITIVES, SHIFT, TURN, uniform

from dlc_training.data.primitives import Box, Frustum
from dlc_training.data.rooms import make_room
from dlc_training.data.solids import FIRST_EVALUATION_SEED, Solid, make_solid


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
