"""Covers that cover, correspondences that agree, starts that a prior allows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from dlc_ros.registration.energy import MixtureEnergy
from dlc_ros.registration.hypotheses import (
    agreeing_starts,
    centred_starts,
    cover_for_basin,
    distinct,
    prior_starts,
    rotation_cover,
)


def angles_deg(rotations, others):
    """Angles (P, Q) between two lists of rotation matrices."""
    trace = np.einsum('pij,qij->pq', np.asarray(rotations, float), np.asarray(others, float))
    return np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))


@pytest.mark.parametrize(
    ('name', 'count', 'stated'),
    [('tetrahedron', 12, 90.0), ('cube', 24, 62.8), ('icosahedron', 60, 44.5)],
)
def test_every_rotation_is_within_the_stated_angle_of_the_cover(name, count, stated):
    cover = rotation_cover(name)
    assert cover.shape == (count, 3, 3)
    assert cover.dtype == torch.float32
    np.testing.assert_allclose(np.linalg.det(cover), 1, atol=1e-5)
    random = Rotation.random(4000, random_state=0)
    nearest = angles_deg(random.as_matrix(), cover).min(1)
    assert nearest.max() <= stated + 0.05
    # The worst rotation, climbed to from the worst random ones, is as far as stated: no less.
    starts = random[np.argsort(nearest)[-5:]].as_rotvec()

    def closeness(rotvec):
        return -angles_deg(Rotation.from_rotvec(rotvec).as_matrix()[None], cover).min()

    worst = max(-minimize(closeness, start, method='Nelder-Mead').fun for start in starts)
    assert worst == pytest.approx(stated, abs=0.1)


@pytest.mark.parametrize(
    ('basin', 'starts'), [(None, 24), (180, 12), (90, 12), (75, 24), (45, 60), (30, 60), (0, 60)]
)
def test_a_wide_basin_needs_few_starts(basin, starts):
    assert len(rotation_cover(cover_for_basin(basin))) == starts


def test_every_turn_about_the_vertical_is_within_15_degrees():
    cover = rotation_cover('yaw')
    assert cover.shape == (12, 3, 3)
    turns = Rotation.from_euler('z', np.linspace(0, 360, 720)[:, None], degrees=True).as_matrix()
    assert angles_deg(turns, cover).min(1).max() == pytest.approx(15, abs=0.3)


def test_centred_starts_bring_the_centroids_together():
    generator = torch.Generator().manual_seed(0)
    source, target = (torch.randn(n, 3, generator=generator) + n for n in (20, 30))
    rotations, shifts = centred_starts(rotation_cover(), source, target)
    for rotation, shift in zip(rotations, shifts, strict=True):
        torch.testing.assert_close((source @ rotation.T + shift).mean(0), target.mean(0))


def matched_energy(groups, seed, n=90, noise=0.02):
    """
    Landscape whose affinities name correspondences.

    :param groups: list of (rotation, translation, share of the source points that vote for it);
        the rest are matched at random.
    """
    rng = np.random.default_rng(seed)
    source = rng.uniform(-0.8, 0.8, (n, 3))
    target = rng.uniform(-0.8, 0.8, (n, 3))
    first = 0
    for rotation, translation, share in groups:
        last = first + int(share * n)
        target[first:last] = source[first:last] @ rotation.T + translation
        first = last
    target += noise * rng.normal(size=target.shape)
    logits = rng.normal(size=(n, n))
    logits[
        np.arange(n), np.concatenate([np.arange(first), rng.permutation(n - first) + first])
    ] = 9
    order = rng.permutation(n)
    logits, target = torch.from_numpy(logits[:, order])[None], target[order]
    level = torch.full((1, n), 0.2)
    return MixtureEnergy(
        torch.from_numpy(source).float()[None], torch.from_numpy(target).float()[None],
        logits.softmax(-1).float(), logits.softmax(-2).float(), level, level,
    )  # fmt: skip


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_correspondences_agree_on_the_truth_among_outliers(seed):
    rng = np.random.default_rng(seed)
    truth, shift = Rotation.random(random_state=rng).as_matrix(), rng.uniform(-0.5, 0.5, 3)
    rotation, translation = agreeing_starts(matched_energy([(truth, shift, 0.4)], seed), 4)
    assert rotation.shape == (4, 3, 3)
    assert translation.shape == (4, 3)
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-4)
    assert angles_deg(rotation[:1], truth[None]) < 5
    assert np.linalg.norm(translation[0].numpy() - shift) < 0.05


def test_two_poses_that_are_voted_for_are_both_found():
    turns = Rotation.from_euler('xyz', [[0, 0, 0], [20, 80, -150]], degrees=True).as_matrix()
    groups = [(turns[0], np.zeros(3), 0.45), (turns[1], np.array([0.3, 0, 0.2]), 0.35)]
    rotation, translation = agreeing_starts(matched_energy(groups, 1), 8)
    for turn, shift, _ in groups:
        error = angles_deg(rotation, turn[None])[:, 0]
        best = int(error.argmin())
        assert error[best] < 5
        assert np.linalg.norm(translation[best].numpy() - shift) < 0.05
    assert angles_deg(rotation[:1], turns[:1]) < 5  # the larger group comes first


def test_few_points_give_as_many_starts_as_they_can():
    energy = matched_energy([(np.eye(3), np.zeros(3), 1.0)], 2, n=3)
    rotation, translation = agreeing_starts(energy, 16)
    assert rotation.shape == (9, 3, 3)
    assert rotation.isfinite().all()
    assert translation.isfinite().all()


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1))
def test_starts_of_a_prior_lie_inside_its_covariance(seed):
    rng = np.random.default_rng(seed)
    transform = np.eye(4)
    transform[:3, :3] = Rotation.random(random_state=rng).as_matrix()
    transform[:3, 3] = rng.normal(size=3)
    sigma = rng.uniform(0.0, 0.7, 3)
    covariance = np.diag([*rng.uniform(0, 1, 3), *sigma**2])
    rotation, translation = prior_starts(transform, covariance)
    np.testing.assert_allclose(rotation[0], transform[:3, :3], atol=1e-6)
    np.testing.assert_allclose(
        translation, np.tile(transform[:3, 3], (len(rotation), 1)), rtol=1e-6
    )
    turns = Rotation.from_matrix(rotation.double().numpy() @ transform[:3, :3].T).as_rotvec()
    mahalanobis = np.linalg.norm(turns / np.maximum(sigma, 1e-9), axis=1)
    assert (mahalanobis[1:] < 1.51).all()
    assert (mahalanobis[1:] > 0.74).all()
    # Every axis that may have turned is tried both ways, and no other.
    for axis in range(3):
        tried = np.sort(turns[np.abs(turns[:, axis]) > 1e-3, axis])
        expected = sigma[axis] * np.array([-1.5, -0.75, 0.75, 1.5]) if sigma[axis] > 0.1 else []
        np.testing.assert_allclose(tried, expected, atol=1e-5)


def test_distinct_keeps_the_best_of_each_neighbourhood():
    about_z = Rotation.from_euler('z', [[0], [5], [90], [0], [14], [200]], degrees=True)
    rotation = torch.from_numpy(about_z.as_matrix()).float()
    translation = torch.zeros(6, 3)
    translation[3, 0] = 0.5  # as turned as the first, but elsewhere
    energies = torch.tensor([2.0, 1.0, 5.0, 3.0, 4.0, 0.0])
    assert distinct(rotation, translation, energies, 10) == [5, 1, 3, 2]
    assert distinct(rotation, translation, energies, 2) == [5, 1]
    # The 14 deg one is near a better one until closeness is asked for more strictly.
    assert distinct(rotation, translation, energies, 10, angle_deg=4) == [5, 1, 0, 3, 4, 2]
