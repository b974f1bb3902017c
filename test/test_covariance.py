"""How covariances move, against Monte Carlo, and what a Hessian makes of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from dlc_ros.registration.covariance import (
    covariance_from_hessian,
    covariance_of_compose,
    covariance_of_inverse,
)
from dlc_ros.registration.se3 import inverse, make_transform


def errors_of(transform, samples):
    """The errors ``v w`` of many transforms (S, 4, 4) with respect to one, by their definition."""
    rotations = Rotation.from_matrix(samples[:, :3, :3] @ transform[:3, :3].T)
    return np.hstack([samples[:, :3, 3] - transform[:3, 3], rotations.as_rotvec()])


def disturbed(transform, covariance, rng, count=20_000):
    """Many transforms whose errors have a covariance, by the module's definition of an error."""
    errors = rng.multivariate_normal(np.zeros(6), covariance, size=count)
    samples = np.tile(transform, (count, 1, 1))
    samples[:, :3, :3] = Rotation.from_rotvec(errors[:, 3:]).as_matrix() @ transform[:3, :3]
    samples[:, :3, 3] += errors[:, :3]
    return samples


def random_covariance(rng):
    root = rng.normal(size=(6, 6)) * np.repeat([4e-4, 8e-5], 3)[:, None]
    return root @ root.T


def assert_same_spread(covariance, errors):
    """A covariance must whiten the errors, in every direction, within the sampling error."""
    whitened = np.linalg.solve(np.linalg.cholesky(covariance), (errors - errors.mean(0)).T)
    values = np.linalg.eigvalsh(np.cov(whitened))
    assert 0.93 < values[0] and values[-1] < 1.07, values


@pytest.mark.parametrize('seed', range(4))
def test_covariances_move_as_monte_carlo_says(seed):
    rng = np.random.default_rng(seed)
    first = make_transform(Rotation.random(random_state=rng).as_matrix(), rng.normal(size=3))
    other = make_transform(Rotation.random(random_state=rng).as_matrix(), 5.0 * rng.normal(size=3))
    one, two = random_covariance(rng), random_covariance(rng)
    samples, others = disturbed(first, one, rng), disturbed(other, two, rng)

    inverses = np.linalg.inv(samples)
    assert_same_spread(
        covariance_of_inverse(first, one), errors_of(np.linalg.inv(first), inverses)
    )
    assert_same_spread(
        covariance_of_compose(first, one, other, two),
        errors_of(first @ other, samples @ others),
    )
    assert_same_spread(
        covariance_of_compose(first, one, other), errors_of(first @ other, samples @ other)
    )
    assert_same_spread(
        covariance_of_compose(other, None, first, one),
        errors_of(other @ first, other @ samples),
    )


@given(st.integers(0, 10_000), st.floats(0.0, 50.0))
def test_inverting_a_covariance_twice_gives_it_back(seed, far):
    rng = np.random.default_rng(seed)
    rotation = Rotation.random(random_state=rng).as_matrix()
    transform = make_transform(rotation, rng.uniform(-far, far, 3))
    covariance = random_covariance(np.random.default_rng(0))
    back = covariance_of_inverse(inverse(transform), covariance_of_inverse(transform, covariance))
    np.testing.assert_allclose(back, covariance, atol=1e-9)
    assert (back == back.T).all()


def test_hessian_of_a_linear_fit_gives_the_covariance_of_its_answers():
    rng = np.random.default_rng(1)
    jacobian = rng.normal(size=(300, 6)) * [1, 1, 1, 5, 5, 5]
    residuals = rng.normal(scale=0.1, size=(5_000, 300))
    answers = np.linalg.lstsq(jacobian, residuals.T, rcond=None)[0].T
    covariance = covariance_from_hessian(jacobian.T @ jacobian, 0.1**2, np.full(6, 10.0))
    assert_same_spread(covariance, answers)
    # Every residual four times: no information is gained, and the correlation says so.
    fourfold = covariance_from_hessian(
        4.0 * jacobian.T @ jacobian, 0.1**2, np.full(6, 10.0), correlation=4.0
    )
    np.testing.assert_allclose(fourfold, covariance, rtol=1e-9)


def test_a_flat_direction_is_as_wide_as_the_limits_and_no_other():
    hessian = np.diag([1e6, 1e6, 0.0, 1e6, 1e6, 1e6])
    limits = np.array([3.0, 3.0, 3.0, 1.0, 1.0, 1.0])
    covariance = covariance_from_hessian(hessian, 0.01**2, limits)
    deviations = np.sqrt(np.diag(covariance))
    assert deviations[2] == pytest.approx(3.0)
    assert np.delete(deviations, 2).max() < 1e-4
    np.testing.assert_allclose(
        covariance_from_hessian(np.zeros((6, 6)), 1.0, limits), np.diag(limits**2)
    )
