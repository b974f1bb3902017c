"""Generated pairs: the pose is the right one, no sample is shared, numbers repeat."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from dlc_training.config import load_config
from dlc_training.data import pairs
from dlc_training.data.batches import batches
from dlc_training.data.pairs import (
    FEWEST_POINTS,
    KINDS,
    half_space_crop,
    make_pair,
    random_transform,
)

SMOKE = Path(pairs.__file__).resolve().parent.parent / 'configs' / 'smoke.yaml'


def apply(transform, points):
    return points @ transform[:3, :3].T + transform[:3, 3]


def spacing(points):
    """Median distance of a point to its nearest neighbour."""
    return np.median(cKDTree(points).query(points, 2)[0][:, 1])


@pytest.mark.parametrize('kind', KINDS)
def test_transform_maps_the_source_onto_the_target(kind):
    # What both clouds show may be a third of them, of a place less; of a model it is most.
    share = {'view': 0.5, 'crop': 0.25}.get(kind, 0.12)
    for index in range(5):
        pair = make_pair(3, index, {kind: 1.0})
        assert pair.kind == kind
        tree = cKDTree(pair.target)
        # Two samplings of a surface lie within their spacing; noise has sigma 0.03 at most.
        limit = 3 * max(spacing(pair.target), spacing(pair.source)) + 0.06
        there, _ = tree.query(apply(pair.transform, pair.source))
        # Clutter, half-space crops and what the map did not see keep some points apart.
        assert np.quantile(there, share) < limit, (kind, index)
        wrong = pair.transform.copy()
        wrong[:3, :3] = wrong[:3, :3] @ Rotation.from_rotvec([0.9, 0.5, -0.4]).as_matrix()
        wrong[:3, 3] += (pair.transform - wrong)[:3, :3] @ pair.source.mean(0)
        apart, _ = tree.query(apply(wrong, pair.source))
        assert np.quantile(apart, share) > 1.2 * np.quantile(there, share), (kind, index)


def test_transform_is_exact_where_there_is_no_noise(monkeypatch):
    """Without noise, source points lie in the planes and curves of the target's surface."""
    monkeypatch.setattr(pairs, '_jitter', lambda rng, shape, sigma: np.zeros(shape))
    rounded = []
    for index in range(6):
        pair = make_pair(4, index, {'crop': 1.0})
        moved = apply(pair.transform, pair.source)
        tree = cKDTree(pair.target)
        # A point's distance to the plane of its three nearest: zero on every flat face.
        _, near = tree.query(moved, 3)
        a, b, c = (pair.target[near[:, k]] for k in range(3))
        normal = np.cross(b - a, c - a)
        length = np.linalg.norm(normal, axis=1)
        flat = length > 1e-8
        height = np.abs(np.einsum('ij,ij->i', moved - a, normal)[flat] / length[flat])
        rounded.append((height < 1e-9).mean())
    assert max(rounded) > 0.3


@pytest.mark.parametrize('kind', KINDS)
def test_no_sample_is_shared(kind, monkeypatch):
    monkeypatch.setattr(pairs, '_jitter', lambda rng, shape, sigma: np.zeros(shape))
    for index in range(4):
        pair = make_pair(5, index, {kind: 1.0})
        apart, _ = cKDTree(pair.target).query(apply(pair.transform, pair.source))
        assert apart.min() > 1e-9, (kind, index)


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), index=st.integers(0, 10**9))
def test_pairs_repeat_and_are_what_a_network_can_read(seed, index):
    kinds = dict.fromkeys(KINDS, 1.0)
    pair, again = make_pair(seed, index, kinds), make_pair(seed, index, kinds)
    for cloud, same in ((pair.source, again.source), (pair.target, again.target)):
        np.testing.assert_array_equal(cloud, same)
        assert cloud.shape[1] == 3
        assert len(cloud) >= FEWEST_POINTS
        assert np.isfinite(cloud).all()
    np.testing.assert_array_equal(pair.transform, again.transform)
    rotation = pair.transform[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert np.abs(pair.transform[:3, 3]).max() <= 0.5
    other = make_pair(seed, index + 1, kinds)
    assert not np.array_equal(pair.transform, other.transform)


def test_kinds_come_in_their_shares():
    shares = {'crop': 3.0, 'view': 1.0, 'room': 0.0}
    found = [make_pair(6, index, shares).kind for index in range(80)]
    assert found.count('room') == 0
    assert 45 <= found.count('crop') <= 72  # 60 expected; outside with p < 1e-3


def test_random_transforms_are_uniform():
    rng = np.random.default_rng(7)
    transforms = np.stack([random_transform(rng, 0.5) for _ in range(3000)])
    # Under the uniform measure each entry of a rotation has mean 0 and variance 1/3.
    np.testing.assert_allclose(transforms[:, :3, :3].mean(0), 0, atol=0.05)
    np.testing.assert_allclose((transforms[:, :3, :3] ** 2).mean(0), 1 / 3, atol=0.03)
    np.testing.assert_allclose(transforms[:, :3, 3].min(0), -0.5, atol=0.01)
    np.testing.assert_allclose(transforms[:, :3, 3].max(0), 0.5, atol=0.01)
    np.testing.assert_array_equal(transforms[:, 3], np.tile([0, 0, 0, 1], (3000, 1)))


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), keep=st.floats(0.3, 0.9))
def test_crop_keeps_one_side_of_a_plane(seed, keep):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(200, 3))
    kept = half_space_crop(points, keep, rng)
    assert len(kept) == pytest.approx(200 * keep, abs=1.01)
    gone = points[~(points[:, None] == kept[None]).all(-1).any(1)]
    assert len(gone) + len(kept) == 200
    # A plane (n, d) with n.kept >= d and n.gone <= d exists, not all zero: n scaled to a margin.
    rows = np.concatenate([np.c_[-kept, np.ones(len(kept))], np.c_[gone, -np.ones(len(gone))]])
    assert linprog(np.zeros(4), rows, np.full(200, -1e-6), bounds=(None, None)).success


# ---------------------------------------------------------------------------------- batches


def small_config(*overrides):
    return load_config(SMOKE, ['data.kinds={crop: 0.8, room: 0.2}', *overrides])


def test_batches_continue_where_another_run_would_be():
    config = small_config('optimiser.steps=4')
    whole = list(batches(config, 0))
    rest = list(batches(config, 2))
    assert (len(whole), len(rest)) == (4, 2)
    for expected, found in zip(whole[2:], rest, strict=True):
        for side in ('source', 'target'):
            for name, value in expected[side].items():
                assert torch.equal(value, found[side][name])
        assert torch.equal(expected['rotation'], found['rotation'])
    assert list(batches(config, 4)) == []
    assert list(batches(config, 9)) == []


def test_poses_of_a_batch_are_in_its_units():
    config = small_config('optimiser.steps=3', 'net.keypoints=250', 'seed=2')
    for batch in batches(config, 0):
        source, target = batch['source']['points'], batch['target']['points']
        assert source.shape == target.shape == (2, 250, 3)
        assert source.dtype == batch['rotation'].dtype == batch['translation'].dtype
        moved = source @ batch['rotation'].transpose(1, 2) + batch['translation'][:, None]
        for b in range(2):
            there, _ = cKDTree(target[b]).query(moved[b])
            # The target's root mean square radius is 0.5; its 250 keypoints lie about 0.06 apart.
            # At least a third of the source is in the target too.
            assert np.quantile(there, 0.25) < 0.1
