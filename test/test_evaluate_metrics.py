"""Errors, intervals and tests against scipy and closed forms."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation
from scipy.stats import binomtest, norm

from dlc_training.evaluate.metrics import (
    SUCCESS,
    is_within,
    modified_chamfer,
    rotation_error_deg,
    translation_error,
)
from dlc_training.evaluate.pair import apply, pose
from dlc_training.evaluate.statistics import mcnemar, paired_difference, wilson_interval

seeds = st.integers(0, 2**32 - 1)


def random_pose(rng):
    return pose(Rotation.random(random_state=rng).as_matrix(), rng.normal(size=3))


@given(seed=seeds, angle=st.floats(0, 180))
def test_rotation_error_is_the_angle_between(seed, angle):
    rng = np.random.default_rng(seed)
    truth, axis = random_pose(rng), rng.normal(size=3)
    turn = Rotation.from_rotvec(np.radians(angle) * axis / np.linalg.norm(axis))
    estimate = truth @ pose(turn.as_matrix())
    assert rotation_error_deg(estimate, truth) == pytest.approx(angle, abs=1e-5)
    assert rotation_error_deg(truth, estimate) == pytest.approx(angle, abs=1e-5)


def test_small_rotation_errors_keep_their_digits():
    turn = pose(Rotation.from_rotvec([0, 0, 1e-9]).as_matrix())
    assert rotation_error_deg(turn, np.eye(4)) == pytest.approx(np.degrees(1e-9), rel=1e-6)


@given(seed=seeds)
def test_rotation_error_is_the_formula_of_the_tables(seed):
    rng = np.random.default_rng(seed)
    a, b = random_pose(rng), random_pose(rng)
    trace = np.trace(a[:3, :3].T @ b[:3, :3])
    expected = np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))
    assert rotation_error_deg(a, b) == pytest.approx(expected, abs=1e-4)
    assert translation_error(a, b) == pytest.approx(np.sqrt(np.sum((a - b)[:3, 3] ** 2)))


def test_success_needs_both_errors_below_their_limits():
    assert is_within(4.999, 0.0999, SUCCESS)
    assert not is_within(5.0, 0.0, SUCCESS)
    assert not is_within(0.0, 0.1, SUCCESS)
    assert not is_within(np.inf, np.inf, SUCCESS)


@given(seed=seeds)
def test_modified_chamfer_equals_its_definition_by_all_pairs(seed):
    rng = np.random.default_rng(seed)
    truth, estimate = random_pose(rng), random_pose(rng)
    clean = rng.normal(size=(60, 3))
    source = apply(np.linalg.inv(truth), clean[:40]) + 0.01 * rng.normal(size=(40, 3))
    target = clean[20:] + 0.01 * rng.normal(size=(40, 3))
    registered = apply(estimate, source)
    clean_source = apply(estimate, apply(np.linalg.inv(truth), clean))
    expected = np.mean(cdist(registered, clean, 'sqeuclidean').min(1)) + np.mean(
        cdist(target, clean_source, 'sqeuclidean').min(1)
    )
    assert modified_chamfer(source, target, clean, estimate, truth) == pytest.approx(expected)


def test_modified_chamfer_of_noise_free_clouds_at_the_truth_is_zero():
    rng = np.random.default_rng(0)
    truth, clean = random_pose(rng), rng.normal(size=(60, 3))
    source = apply(np.linalg.inv(truth), clean[:30])
    assert modified_chamfer(source, clean[30:], clean, truth, truth) == pytest.approx(0, abs=1e-20)


@given(trials=st.integers(1, 2000), share=st.floats(0, 1), level=st.sampled_from((0.9, 0.95)))
def test_wilson_interval_agrees_with_scipy(trials, share, level):
    successes = round(share * trials)
    expected = binomtest(successes, trials).proportion_ci(level, method='wilson')
    found = wilson_interval(successes, trials, level)
    np.testing.assert_allclose(found, (expected.low, expected.high), atol=1e-9)


def test_wilson_interval_without_trials_knows_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_bootstrap_interval_of_many_pairs_is_the_normal_one():
    rng = np.random.default_rng(0)
    first, second = rng.random(1000) < 0.8, rng.random(1000) < 0.7
    mean, low, high = paired_difference(first, second)
    difference = first.astype(float) - second
    half = norm.ppf(0.975) * difference.std() / np.sqrt(1000)
    assert mean == pytest.approx(difference.mean())
    np.testing.assert_allclose((low, high), (mean - half, mean + half), atol=0.1 * half)


def test_repeating_every_pair_tells_nothing_new_when_shapes_are_drawn():
    rng = np.random.default_rng(1)
    first, second = rng.random(300) < 0.8, rng.random(300) < 0.7
    once = paired_difference(first, second)
    clusters = np.repeat(np.arange(300), 4)
    clustered = paired_difference(np.repeat(first, 4), np.repeat(second, 4), clusters)
    naive = paired_difference(np.repeat(first, 4), np.repeat(second, 4))
    np.testing.assert_allclose(clustered, once, atol=0.01)
    assert naive[2] - naive[1] == pytest.approx((once[2] - once[1]) / 2, rel=0.1)


def test_equal_methods_differ_by_nothing():
    same = np.arange(50) % 3 == 0
    assert paired_difference(same, same) == (0.0, 0.0, 0.0)
    assert mcnemar(same, same) == (0, 0, 1.0)
    assert all(np.isnan(paired_difference([], [])))


@given(only_first=st.integers(0, 40), only_second=st.integers(0, 40), both=st.integers(0, 5))
def test_mcnemar_is_a_fair_coin_on_the_disagreements(only_first, only_second, both):
    first = [True] * only_first + [False] * only_second + [True] * both
    second = [False] * only_first + [True] * only_second + [True] * both
    n, k = only_first + only_second, min(only_first, only_second)
    tail = sum(comb(n, i) for i in range(k + 1)) / 2**n
    found = mcnemar(first, second)
    assert found[:2] == (only_first, only_second)
    assert found[2] == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(second, first)[2] == pytest.approx(found[2])
