"""Cutting tables and floors away, against open3d's plane and against the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from dlc_ros.localization.declarations import Segmentation
from dlc_ros.localization.segmentation import crop, dominant_plane, segment

DIAMETER = 0.2


def box(generator, count, size=(0.12, 0.1, 0.08)):
    """Points on a box that stands on z = 0."""
    points = generator.uniform(-0.5, 0.5, (count, 3))
    side = generator.integers(0, 6, count)
    points[np.arange(count), side % 3] = np.where(side < 3, -0.5, 0.5)
    return points * size + [0, 0, size[2] / 2]


def table(generator, count, half_width=0.6):
    return np.column_stack(
        [generator.uniform(-half_width, half_width, (count, 2)), np.zeros(count)]
    )


def camera(seed):
    """Where a camera looks at the origin from, 0.6 to 1.2 m away and 20 deg or more above it."""
    generator = np.random.default_rng(seed)
    down = Rotation.from_euler('x', generator.uniform(np.radians(110), np.radians(180)))
    around = Rotation.from_euler('z', generator.uniform(0, 2 * np.pi))
    distance = np.array([0, 0, generator.uniform(0.6, 1.2)])
    return lambda points: (down * around).apply(points) + distance


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_a_thing_on_a_table_is_left_and_the_table_is_gone(seed):
    generator = np.random.default_rng(seed)
    see = camera(seed)
    thing = box(generator, 2000)
    parts = [thing, table(generator, 6000)]
    scene = see(np.vstack(parts)) + generator.normal(scale=0.001, size=(8000, 3))
    kept = segment(scene, DIAMETER, Segmentation())
    is_kept = np.isin(scene[:, 0], kept[:, 0])
    stands_out = thing[:, 2] > 0.012
    assert is_kept[:2000][stands_out].all()
    assert is_kept[2000:].mean() < 0.01


def test_the_floor_below_and_the_wall_behind_go_too():
    generator = np.random.default_rng(0)
    thing, top = box(generator, 2000), table(generator, 6000)
    floor = table(generator, 4000, 2.0) - [0, 0, 0.7]
    wall = table(generator, 8000, 1.5)[:, [0, 2, 1]] + [0, 0.9, 0.3]
    turn = Rotation.from_euler('x', np.radians(125))
    scene = turn.apply(np.vstack([thing, top, floor, wall])) + [0, 0, 1.0]
    kept = segment(scene, DIAMETER, Segmentation())
    is_kept = np.isin(scene[:, 0], kept[:, 0])
    assert is_kept[:2000].mean() > 0.8
    # The wall below the table's plane may be hidden by it; above it, it is a plane of its own.
    assert is_kept[2000:].mean() < 0.02


def test_what_lies_below_the_table_goes_with_it():
    generator = np.random.default_rng(8)
    thing, top = box(generator, 2000), table(generator, 6000)
    below = generator.uniform([-0.9, 0.6, -0.7], [0.9, 0.9, -0.1], (1000, 3))
    scene = camera(8)(np.vstack([thing, top, below]))
    kept = segment(scene, DIAMETER, Segmentation())
    is_kept = np.isin(scene[:, 0], kept[:, 0])
    assert is_kept[:2000].mean() > 0.8
    assert not is_kept[2000:].any()


@pytest.mark.parametrize('size', [(0.12, 0.1, 0.08), (0.19, 0.05, 0.001)])
def test_a_flat_thing_alone_is_not_taken_for_a_table(size):
    generator = np.random.default_rng(1)
    thing = camera(1)(box(generator, 3000, size))
    np.testing.assert_array_equal(segment(thing, DIAMETER, Segmentation()), thing)


def test_sparse_noise_around_a_plate_does_not_make_it_a_table():
    """What is left of a noisy table lies in the plane of a thin plate's top."""
    generator = np.random.default_rng(7)
    plate = generator.uniform([-0.09, -0.04, 0.012], [0.09, 0.04, 0.012], (4000, 3))
    left_over = table(generator, 150) + [0, 0, 0.012]
    scene = camera(7)(np.vstack([plate, left_over]))
    np.testing.assert_array_equal(segment(scene, DIAMETER, Segmentation()), scene)


def test_what_is_switched_off_is_not_done():
    generator = np.random.default_rng(2)
    scene = camera(2)(table(generator, 3000))
    kept = segment(scene, DIAMETER, Segmentation(remove_plane=False))
    np.testing.assert_array_equal(kept, scene)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.floats(0.35, 0.9))
def test_the_dominant_plane_is_the_one_that_open3d_finds(seed, share):
    o3d = pytest.importorskip('open3d')
    generator = np.random.default_rng(seed)
    count = 3000
    flat = round(share * count)
    plane_points = table(generator, flat, 1.0) + generator.normal(scale=0.001, size=(flat, 3))
    others = generator.uniform(-1, 1, (count - flat, 3))
    points = camera(seed)(np.vstack([plane_points, others]))
    found = dominant_plane(points, 0.004, 0.3)
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
    o3d.utility.random.seed(0)
    expected, _ = cloud.segment_plane(0.004, 3, 1000)
    expected = np.asarray(expected) / np.linalg.norm(expected[:3])
    expected *= np.sign(expected[:3] @ found[:3])
    assert np.degrees(np.arccos(np.clip(expected[:3] @ found[:3], -1, 1))) < 0.5
    assert found[3] == pytest.approx(expected[3], abs=0.004)
    assert found[3] >= 0.0, 'the sensor is on the positive side'


def test_no_plane_where_there_is_none():
    generator = np.random.default_rng(4)
    assert dominant_plane(generator.uniform(-1, 1, (3000, 3)), 0.01, 0.3) is None
    assert dominant_plane(np.zeros((100, 3)), 0.01, 0.3) is None
    assert dominant_plane(np.zeros((2, 3)), 0.01, 0.3) is None


def test_the_same_cloud_gives_the_same_answer():
    generator = np.random.default_rng(5)
    scene = camera(5)(np.vstack([box(generator, 2000), table(generator, 6000)]))
    first = segment(scene, DIAMETER, Segmentation())
    np.testing.assert_array_equal(first, segment(scene.copy(), DIAMETER, Segmentation()))


@given(st.floats(0, 3), st.floats(0, 3))
def test_range_is_the_distance_from_the_sensor(near, far):
    points = np.random.default_rng(6).uniform(-2, 2, (200, 3))
    kept = crop(points, near, far)
    expected = [
        p
        for p in points
        if np.hypot(np.hypot(*p[:2]), p[2]) >= near
        and (far == 0 or np.hypot(np.hypot(*p[:2]), p[2]) <= far)
    ]
    np.testing.assert_array_equal(kept, np.reshape(expected, (-1, 3)))
