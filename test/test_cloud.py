"""What is refused as a cloud and why, and that reducing keeps the shape."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.spatial.transform import Rotation

from dlc_ros.errors import CloudError
from dlc_ros.registration.cloud import (
    LocalFrame,
    box_without_strays,
    cloud_radius,
    farthest_points,
    few_far_off,
    one_in_voxel,
    validate_cloud,
    voxel_downsample,
)

RNG = np.random.default_rng(0)
BALL = RNG.normal(size=(100, 3))
LINE = np.outer(RNG.normal(size=100), [1.0, 2.0, -0.5])
RECORDS = np.array([tuple(row) for row in BALL], dtype=[('x', 'f8'), ('y', 'f8'), ('z', 'f8')])


@pytest.mark.parametrize('dtype', ['f2', 'f4', 'f8', 'i2', 'u1', '>f4', '<f8'])
def test_any_real_numbers_become_a_fresh_float64_array(dtype):
    given_points = (40 * np.abs(BALL)).astype(dtype)
    checked = validate_cloud(given_points)
    assert checked.dtype == np.float64 and checked.flags.c_contiguous
    np.testing.assert_array_equal(checked, given_points.astype(float))
    checked[:] = 0.0
    assert np.abs(given_points).max() > 0.0


def test_nested_lists_views_and_read_only_arrays_are_clouds():
    frozen = np.hstack([BALL, BALL])[::2, 1:4]
    frozen.setflags(write=False)
    np.testing.assert_array_equal(validate_cloud(frozen), frozen)
    np.testing.assert_array_equal(validate_cloud(BALL.tolist()), BALL)


def test_rows_with_a_hole_are_dropped():
    holed = BALL.copy()
    holed[3, 0], holed[5, 1], holed[7] = np.nan, np.inf, -np.inf
    np.testing.assert_array_equal(validate_cloud(holed), np.delete(BALL, [3, 5, 7], axis=0))


@pytest.mark.parametrize(
    ('points', 'says'),
    [
        (np.zeros((0, 3)), 'empty'),
        ([], 'empty'),
        (np.full((100, 3), np.nan), r'0 finite points \(100 of 100 are NaN or Inf\)'),
        (np.full((100, 3), np.inf), '0 finite points'),
        (BALL[:29], '29 finite points, at least 30'),
        (np.vstack([BALL[:20], np.full((80, 3), np.nan)]), r'20 finite points \(80 of 100'),
        (BALL[:, :2], r'shape \(N, 3\), got \(100, 2\)'),
        (np.hstack([BALL, BALL]), r'points\[:, :3\]'),
        (BALL.ravel(), r'got \(300,\)'),
        (BALL[None], r'got \(1, 100, 3\)'),
        (BALL * 1j, 'complex'),
        (BALL.astype(str), 'real numbers'),
        (BALL.astype(object), 'real numbers'),
        (np.zeros((100, 3), bool), 'real numbers'),
        ([[1, 2, 3], [4, 5]], 'numbers'),
        (None, 'real numbers'),
        ('cloud.ply', r'dlc_ros\.read_cloud'),
        (Path('cloud.ply'), r'dlc_ros\.read_cloud'),
        (SimpleNamespace(points=BALL), r'pass its points, np\.asarray\(cloud\.points\)'),
        (RECORDS, r"np\.column_stack\(\[cloud\['x'\], cloud\['y'\], cloud\['z'\]\]\)"),
        (RECORDS[['x', 'z']], 'without a field y'),
        (np.zeros((100, 3)), 'coincide'),
        (np.full((100, 3), 5e6), 'coincide'),
        (LINE, 'one line'),
        (LINE + [5e5, 5e6, 0.0], 'one line'),
        (LINE.astype(np.float32), 'one line'),
        (BALL * 1e200, 'out of range'),
        (BALL * 1e12, 'out of range'),
        ((BALL + [5e5, 5.4e6, 0.0]).astype(np.float32), 'rounded to 0.5 m.*pass float64'),
    ],
)
def test_what_is_no_cloud_is_one_line_that_says_why(points, says):
    with pytest.raises(CloudError, match=says) as caught:
        validate_cloud(points, name='scan')
    assert str(caught.value).startswith('scan: ') and '\n' not in str(caught.value)


def test_planes_thin_strips_and_utm_coordinates_are_clouds():
    plane = BALL * [1.0, 1.0, 0.0]
    strip = BALL * [1.0, 0.01, 0.0]
    far = BALL + [500_000.0, 5_400_000.0, 200.0]
    for points in (plane, strip, far, 1e-3 * BALL, 1e4 * BALL):
        np.testing.assert_array_equal(validate_cloud(points), points)


def test_float32_is_refused_only_where_it_rounds_too_much():
    for far, large in ((0.0, 1.0), (1e3, 1.0), (1e5, 30.0), (5e6, 1e3)):
        points = (large * BALL + [far, 0.0, 0.0]).astype(np.float32)
        np.testing.assert_array_equal(validate_cloud(points), points)
    for far, large in ((1e5, 0.1), (5e6, 10.0)):
        points = large * BALL + [far, 0.0, 0.0]
        assert len(validate_cloud(points)) == 100
        with pytest.raises(CloudError, match='float32 coordinates'):
            validate_cloud(points.astype(np.float32))


@pytest.mark.parametrize('length', [1.0, 300.0])
@pytest.mark.parametrize('width', [0.3e-4, 0.9e-4, 1.1e-4, 3e-4])
def test_lines_are_told_by_their_spread_whatever_the_sample_of_them_shows(width, length):
    """A ten-thousandth is the limit, exactly: some points alone would say something else."""
    rng = np.random.default_rng(0)
    along = np.linspace(-1.0, 1.0, 10_000)
    points = np.stack([along, np.zeros(10_000), np.zeros(10_000)], axis=1)
    points[:, 1] = np.where(np.arange(10_000) % 10, 1.0, 0.1) * rng.choice([-1.0, 1.0], 10_000)
    points *= np.array([1.0, width, 0.0]) / points.std(axis=0).clip(1e-9)
    points *= length
    if width > 1e-4:
        assert len(validate_cloud(points)) == 10_000
    else:
        with pytest.raises(CloudError, match='on one line'):
            validate_cloud(points)


@given(
    arrays.arrays(
        st.sampled_from([np.float32, np.float64]),
        st.tuples(st.integers(0, 40), st.integers(0, 4)),
        elements=st.floats(width=32),
    )
)
def test_any_array_is_a_cloud_or_a_cloud_error(points):
    with np.errstate(all='raise'):
        try:
            checked = validate_cloud(points, min_points=10)
        except CloudError as error:
            assert '\n' not in str(error)
            return
    assert len(checked) >= 10 and np.isfinite(checked).all()


def test_radius_is_the_root_mean_square_distance():
    cube = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
    assert cloud_radius(cube + 7.0) == pytest.approx(np.sqrt(3.0))


def test_local_coordinates_survive_float32_at_utm():
    far = BALL + [500_000.0, 5_400_000.0, 200.0]
    frame = LocalFrame.of(far)
    local = frame.localize(far).astype(np.float32)
    back = local @ frame.transform[:3, :3].T + frame.transform[:3, 3]
    np.testing.assert_allclose(back, far, atol=1e-6, rtol=0)
    np.testing.assert_allclose(local.mean(axis=0), 0.0, atol=1e-6)


def test_voxels_hold_the_mean_of_their_points():
    corners = np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10]])
    spread = RNG.uniform(0.1, 0.4, (4, 25, 3))
    points = RNG.permutation((corners[:, None] + spread).reshape(-1, 3))
    reduced = voxel_downsample(points, 0.5)
    assert len(reduced) == 4
    expected = corners + spread.mean(axis=1)
    order = np.argmin(np.linalg.norm(reduced[:, None] - expected, axis=2), axis=0)
    np.testing.assert_allclose(reduced[order], expected, atol=1e-12)


@given(st.floats(1e-9, 10.0), st.sampled_from([1e-3, 1.0, 1e4]))
def test_no_voxel_size_loses_a_part_of_the_cloud(size, scale):
    points = scale * BALL
    reduced = voxel_downsample(points, size)
    gaps = np.linalg.norm(points[:, None] - reduced, axis=2).min(axis=1)
    widest = max(size, 1.1 * np.abs(points).max() / 2**20)
    assert gaps.max() <= np.sqrt(3.0) * widest
    np.testing.assert_array_equal(reduced, voxel_downsample(points, size))


def test_no_voxels_asked_for():
    np.testing.assert_array_equal(voxel_downsample(BALL, 0.0), BALL)


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=30)
@given(st.integers(1, 60), st.integers(0, 70), st.integers(0, 3))
def test_each_farthest_point_is_the_farthest(size, count, seed):
    points = np.random.default_rng(seed).normal(size=(size, 3))
    chosen = farthest_points(points, count, seed)
    assert len(chosen) == min(count, size) == len(set(chosen.tolist()))
    for i in range(1, len(chosen)):
        gaps = np.linalg.norm(points[:, None] - points[chosen[:i]], axis=2).min(axis=1)
        assert gaps[chosen[i]] == pytest.approx(gaps.max(), rel=1e-5)


def test_farthest_points_of_coincident_points_are_distinct():
    chosen = farthest_points(np.zeros((20, 3)), 12)
    assert len(set(chosen.tolist())) == 12


def test_farthest_points_are_the_same_every_time_and_where_the_seed_says():
    first = farthest_points(BALL, 10, seed=4)
    np.testing.assert_array_equal(first, farthest_points(BALL, 10, seed=4))
    starts = {farthest_points(BALL, 1, seed=s)[0] for s in range(8)}
    assert len(starts) > 1


@settings(max_examples=40)
@given(st.integers(0, 1000), st.floats(0.01, 3.0), st.sampled_from([1.0, 1e4]))
def test_each_voxel_keeps_one_of_its_points(seed, edge, spread):
    """Also where the voxels are too many for a table: an outlier is far off."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(200, 3))
    points[0] *= spread
    low = points.min(axis=0)

    def cell(point):
        return tuple(np.floor((point - low) * (1.0 / edge)).astype(int))

    kept = one_in_voxel(points, edge)
    assert {tuple(point) for point in kept} <= {tuple(point) for point in points}
    assert sorted(map(cell, kept)) == sorted({cell(point) for point in points})
    np.testing.assert_array_equal(one_in_voxel(points, edge), kept)
    assert len(one_in_voxel(points[:0], edge)) == 0


@pytest.mark.parametrize('seed', range(4))
def test_the_points_that_are_kept_of_a_scan_scatter_about_its_surface(seed):
    """Row by row, as cameras send them; the noise is a fifth of the voxels' edge."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[0:1:200j, 0:1:200j].reshape(2, -1)
    height = 0.005 * rng.normal(size=len(row))
    turn = Rotation.random(random_state=seed).as_matrix()
    kept = one_in_voxel(np.column_stack([column, row, height]) @ turn.T, 0.025)
    heights = (kept @ turn)[:, 2]
    assert abs(heights.mean()) < 4.0 * heights.std() / np.sqrt(len(heights))


def outside(points, cloud):
    """Which points lie outside of a cloud's box, (N,) bool."""
    low, high = box_without_strays(cloud)
    return ((points < low) | (points > high)).any(axis=1)


@pytest.mark.parametrize(
    ('far', 'strays'),
    [
        (np.zeros((0, 3)), 0),
        (np.array([[0.0, 0.0, 150.0]]), 0),  # ten times as far as nearly all, about
        (np.array([[0.0, 0.0, 1e3]]), 1),
        (np.tile([1e3, 0.0, 0.0], (60, 1)), 60),  # zeros, in a frame that is far away
        (RNG.uniform(-1.0, 1.0, (20, 3)) + [1e3, 0.0, 0.0], 20),
        (RNG.uniform(-1.0, 1.0, (60, 3)) + [1e3, 0.0, 0.0], 0),  # another house
        (RNG.normal(size=(200, 3)) * 1e6, 200),
    ],
)
def test_strays_lie_outside_of_the_box_and_all_else_within(far, strays):
    house = RNG.uniform(-10.0, 10.0, (10_000, 3))
    cloud = np.vstack([house, far])
    is_outside = outside(cloud, cloud)
    assert not is_outside[: len(house)].any() and is_outside[len(house) :].sum() == strays
    assert not strays or few_far_off(cloud)


@pytest.mark.parametrize('away', (10.0, 1e6))
def test_a_large_share_of_a_cloud_is_no_stray(away):
    """More than half are zeros: these lie in its middle, and everything else is far from them."""
    cloud = np.vstack([np.zeros((600, 3)), RNG.uniform(-10.0, 10.0, (400, 3)) + [away, 0.0, 0.0]])
    assert not outside(cloud, cloud).any()
