"""The pairs are what the protocols say: checked on the pairs themselves, with scipy as judge."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from dlc_ros.errors import FileError
from dlc_training.evaluate import crops
from dlc_training.evaluate.crops import (
    EULER_PRIOR,
    SO3_BINS,
    rpmnet_crop_pair,
    so3_crop_pair,
)
from dlc_training.evaluate.pair import apply, crop_half_space, jitter, move_plane, pose
from dlc_training.evaluate.protocols import PROTOCOLS
from dlc_training.evaluate.shapes import FileShapes, GeneratedShapes, open_shapes


@pytest.fixture(scope='module')
def grid():
    """One shape whose 4096 samples are told apart easily, as a file would hold it."""
    steps = np.linspace(-0.55, 0.55, 16)
    points = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    return FileShapes('grid', points, ('grid',))


def rows_of(pair, cloud, to_shape, shapes):
    """Which samples of the shape a cloud is made of; jitter must be switched off."""
    distance, rows = cKDTree(shapes.points[pair.shape]).query(apply(to_shape, cloud))
    assert distance.max() < 1e-4
    return rows


def without_jitter(monkeypatch):
    monkeypatch.setattr(crops, 'jitter', lambda points, rng, sigma=0.0: points)


@pytest.mark.parametrize('name', PROTOCOLS)
def test_equal_seeds_give_equal_pairs_and_others_do_not(name):
    def draw(seed):
        shapes = PROTOCOLS[name].shapes('generated', seed)
        return list(islice(PROTOCOLS[name].pairs(shapes, 2, seed), 2))

    first, again, other = draw(3), draw(3), draw(4)
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a.source, b.source)
        np.testing.assert_array_equal(a.target, b.target)
        np.testing.assert_array_equal(a.truth, b.truth)
        assert not np.array_equal(a.source, c.source)


def test_so3_crop_has_exactly_the_angles_of_its_bins(grid):
    pairs = list(PROTOCOLS['so3-crop'].pairs(grid, 3, 0))
    angles = [Rotation.from_matrix(p.truth[:3, :3]).magnitude() for p in pairs]
    np.testing.assert_allclose(np.degrees(angles), np.repeat(SO3_BINS, 3), atol=1e-5)
    assert [p.bin for p in pairs] == list(np.repeat(SO3_BINS, 3))
    assert len({tuple(np.round(p.truth[:3, :3].ravel(), 6)) for p in pairs}) > 3 * 7


def test_so3_crop_shares_no_sample_between_the_clouds(grid, monkeypatch):
    without_jitter(monkeypatch)
    for index in range(6):
        pair = so3_crop_pair(grid, index, 0, 1)
        back = np.linalg.inv(pair.shape_pose)
        source = rows_of(pair, pair.source, back @ pair.truth, grid)
        target = rows_of(pair, pair.target, back, grid)
        assert len(set(source)) == len(set(target)) == round(0.7 * 2048)
        assert not set(source) & set(target)


def test_rpmnet_crop_takes_both_clouds_from_the_same_2048_samples(grid, monkeypatch):
    without_jitter(monkeypatch)
    for index in range(6):
        pair = rpmnet_crop_pair(grid, index, 0, 6)
        source = rows_of(pair, pair.source, pair.truth, grid)
        target = rows_of(pair, pair.target, np.eye(4), grid)
        whole = rows_of(pair, pair.clean, np.eye(4), grid)
        assert len(set(source)) == len(set(target)) == 717
        assert len(set(whole)) == 2048
        assert set(source) | set(target) <= set(whole)


def test_rpmnet_crop_draws_euler_angles_and_translation_from_their_ranges(grid):
    moved = [np.linalg.inv(p.truth) for p in PROTOCOLS['rpmnet-crop'].pairs(grid, 200, 0)]
    angles = Rotation.from_matrix([m[:3, :3] for m in moved]).as_euler('XYZ', degrees=True)
    shifts = np.array([m[:3, 3] for m in moved])
    assert angles.min() > -1e-6 and angles.max() < 45 + 1e-6
    assert np.abs(shifts).max() <= 0.5
    # 200 draws a coordinate: the mean of a uniform variable lies within 4 standard errors.
    np.testing.assert_allclose(angles.mean(0), 22.5, atol=4 * 45 / np.sqrt(12 * 200))
    np.testing.assert_allclose(shifts.mean(0), 0, atol=4 / np.sqrt(12 * 200))


def test_rpmnet_crop_bins_hold_their_rotation(grid):
    for pair in PROTOCOLS['rpmnet-crop'].pairs(grid, 100, 1):
        angle = np.degrees(Rotation.from_matrix(pair.truth[:3, :3]).magnitude())
        upper = dict(zip((0, 15, 30, 45, 60), (15, 30, 45, 60, 90), strict=True))[pair.bin]
        assert pair.bin <= angle < upper


def test_the_prior_is_as_wide_as_the_poses_that_are_drawn(grid):
    truths = np.array([p.truth for p in PROTOCOLS['rpmnet-crop'].pairs(grid, 400, 2)])
    turns = Rotation.from_matrix(truths[:, :3, :3]).as_rotvec()
    variances = np.diag(EULER_PRIOR.covariance)
    np.testing.assert_array_equal(EULER_PRIOR.transform, np.eye(4))
    np.testing.assert_allclose(np.mean(truths[:, :3, 3] ** 2, 0), variances[:3], rtol=0.15)
    # Three turns in a row: the axes of the rotation vector share what the angles have.
    assert np.mean(np.sum(turns**2, 1)) == pytest.approx(variances[3:].sum(), rel=0.15)


OBJECTS = [name for name in PROTOCOLS if name != 'scan-to-map']


@pytest.mark.parametrize('name', OBJECTS)
def test_the_truth_lays_the_clouds_on_each_other(name):
    for pair in islice(PROTOCOLS[name].pairs(GeneratedShapes(5), 1, 5), 4):
        moved = apply(pair.truth, pair.source)
        overlap = moved[moved @ pair.target_plane[:3] > pair.target_plane[3]]
        assert len(overlap) > (0.1 if name == 'rpmnet-crop-50' else 0.4) * len(moved)
        distance, _ = cKDTree(pair.target).query(overlap)
        # Of 717 points on a body of radius 1 neighbours lie about 0.1 apart.
        assert np.median(distance) < 0.08
        assert np.linalg.norm(pair.clean, axis=1).max() < 1.05
        assert (pair.prior is None) == (not name.startswith('rpmnet-crop'))


@pytest.mark.parametrize('source', ['solids', 'samples'])
def test_partial_view_shows_one_side_and_the_share_of_foreign_points(source):
    shapes = GeneratedShapes(6)
    if source == 'samples':
        clouds = np.stack([shapes.dense(index) for index in range(4)])
        shapes = FileShapes('sampled', clouds, ('a', 'b', 'c', 'd'))
    for pair in PROTOCOLS['partial-view'].pairs(shapes, 1, 6):
        own = cKDTree(pair.clean).query(apply(pair.truth, pair.source))[0] < 0.06
        # What is foreign may touch the object, and not every view holds enough of it.
        assert 1 - own.mean() < pair.bin / 100 + 0.03
        assert 1 - own.mean() > 0.5 * pair.bin / 100 - 0.01
        shared, _ = cKDTree(pair.target).query(apply(pair.truth, pair.source))
        assert shared.min() > 0
        # The sensor sits at the source's origin: no surface lies before what it saw.
        seen, model = pair.source[own], apply(np.linalg.inv(pair.truth), pair.clean)
        towards = model / np.linalg.norm(model, axis=1, keepdims=True)
        hidden = []
        for point in seen[:: len(seen) // 40]:
            distance = np.linalg.norm(point)
            on_the_ray = towards @ (point / distance) > np.cos(0.02 / distance)
            nearer = np.linalg.norm(model[on_the_ray], axis=1) < distance - 0.25
            hidden.append(nearer.any())
        assert np.mean(hidden) < 0.1


def test_scan_to_map_scans_lie_in_the_map_and_starts_are_as_far_off_as_they_say():
    protocol = PROTOCOLS['scan-to-map']
    pairs = [protocol.draw(protocol.shapes('generated', 1), index, 1, 1) for index in (1, 7)]
    assert pairs[-1].prior is None
    for pair in pairs:
        assert 50_000 <= len(pair.target) <= 1_000_000
        distance, _ = cKDTree(pair.target).query(apply(pair.truth, pair.source[::20]))
        assert np.median(distance) < 0.1
    start, truth = pairs[0].prior.transform, pairs[0].truth
    turn = Rotation.from_matrix(start[:3, :3] @ truth[:3, :3].T).magnitude()
    assert np.degrees(turn) == pytest.approx(15.0)
    away = np.linalg.norm(start[:3, 3] - truth[:3, 3])
    assert away <= 10 and away < 3.1 * np.sqrt(np.trace(pairs[0].prior.covariance[:2, :2]))


@pytest.mark.parametrize('name', OBJECTS)
def test_each_cloud_lies_in_its_half_space(name):
    for pair in islice(PROTOCOLS[name].pairs(GeneratedShapes(6), 1, 6), 4):
        for cloud, plane in (
            (pair.source, pair.source_plane),
            (pair.target, pair.target_plane),
        ):
            assert (cloud @ plane[:3] - plane[3]).min() > -0.05 * np.sqrt(3)


@given(keep=st.floats(0.05, 1.0), count=st.integers(20, 300), seed=st.integers(0, 2**32 - 1))
def test_a_crop_keeps_one_side_of_a_plane(keep, count, seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, 3))
    kept, plane = crop_half_space(points, keep, rng)
    inside = points @ plane[:3] >= plane[3]
    assert len(kept) == round(keep * count)
    np.testing.assert_allclose(np.linalg.norm(plane[:3]), 1)
    np.testing.assert_array_equal(kept, points[inside])


def test_jitter_is_normal_and_clipped():
    noise = jitter(np.zeros((200_000, 3)), np.random.default_rng(0))
    assert np.abs(noise).max() <= 0.05
    np.testing.assert_allclose(noise.std(0), 0.01, rtol=0.01)
    np.testing.assert_allclose(noise.mean(0), 0, atol=1e-4)


@given(seed=st.integers(0, 2**32 - 1))
def test_a_moved_plane_divides_moved_points_as_before(seed):
    rng = np.random.default_rng(seed)
    T = pose(Rotation.random(random_state=rng).as_matrix(), rng.normal(size=3))
    points = rng.normal(size=(50, 3))
    plane = np.append(rng.normal(size=3), rng.normal())
    plane[:3] /= np.linalg.norm(plane[:3])
    moved = move_plane(T, plane)
    np.testing.assert_allclose(
        apply(T, points) @ moved[:3] - moved[3], points @ plane[:3] - plane[3], atol=1e-9
    )


def test_evaluation_seeds_share_no_shape_with_each_other_or_with_training():
    names = [GeneratedShapes(seed).name(index) for seed in (0, 1) for index in (0, 99_999)]
    numbers = [int(name.rsplit('_', 1)[1]) for name in names]
    assert min(numbers) >= 10_000_000
    assert len(set(numbers)) == 4
    with pytest.raises(ValueError, match='at most'):
        GeneratedShapes(0).index_of(100_000)


def test_a_file_of_shapes_is_taken_in_turn_and_scaled_into_the_unit_sphere(tmp_path):
    rng = np.random.default_rng(0)
    points = np.stack([rng.normal(size=(50, 6)), 1000 + 30 * rng.normal(size=(50, 6))])
    np.savez(tmp_path / 'two.npz', points=points, name=np.array(['ball', 'far']))
    shapes = open_shapes(str(tmp_path / 'two.npz'), 0)
    assert [shapes.name(shapes.index_of(i)) for i in range(3)] == ['ball', 'far', 'ball']
    for index in (0, 1):
        assert np.linalg.norm(shapes.dense(index), axis=1).max() < 1.01


@pytest.mark.parametrize(
    'content, message',
    [
        (None, 'no such file'),
        (b'garbage', 'not a readable npz'),
        ({'other': np.zeros(3)}, 'needs an array "points"'),
        ({'points': np.zeros((4, 3))}, 'needs an array "points"'),
        ({'points': np.full((1, 9, 3), np.nan)}, 'NaN or Inf'),
        ({'points': np.array([{}, {}], dtype=object)}, 'not a readable npz'),
        (b'', 'not a readable npz'),
        (b'\x93NUMPY an array alone', 'not a readable npz'),
        ({'points': np.full((1, 9, 3), 'x')}, 'no numbers'),
        ({'points': np.zeros((2, 0, 3))}, 'needs an array "points"'),
        ({'points': np.ones((2, 9, 3))}, 'is one point'),
        ({'points': np.eye(3)[None].repeat(2, 0), 'name': np.array(['a'])}, 'of the 2 shapes'),
    ],
)
def test_a_bad_file_of_shapes_is_one_line(tmp_path, content, message):
    path = tmp_path / 'shapes.npz'
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.savez(path, **content)
    with pytest.raises(FileError, match=message) as error:
        open_shapes(str(path), 0)
    assert '\n' not in str(error.value)


def test_a_damaged_file_of_shapes_is_one_line(tmp_path):
    """Bits that flipped in the heads and the packed numbers fail in zip, zlib and numpy."""
    rng, path = np.random.default_rng(0), tmp_path / 'shapes.npz'
    np.savez_compressed(path, points=rng.normal(size=(2, 50, 3)))
    whole, refused = path.read_bytes(), 0
    for place in rng.integers(0, len(whole), 150):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        try:
            open_shapes(str(path), 0)
        except FileError as error:
            assert '\n' not in str(error)
            refused += 1
    assert refused > 100


def test_too_few_samples_for_disjoint_samplings_is_one_line():
    shapes = FileShapes('small', np.zeros((1, 2048, 3)), ('a',))
    with pytest.raises(FileError, match='2048 samples a shape.*need 4096'):
        so3_crop_pair(shapes, 0, 0, 1)
