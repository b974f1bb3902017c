"""What residuals show beyond their size: noise averages out within a region, misfit does not."""

import numpy as np
import pytest

from dlc_ros.registration.misfit import correlation, regions, systematic_misfit


@pytest.fixture
def ball():
    """Points of a sphere of radius 1 and their normals, of random sign."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(3000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points, points * rng.choice((-1.0, 1.0), (3000, 1)), rng


def test_regions_are_local_and_hold_every_point(ball):
    points = ball[0]
    labels = regions(points)
    assert labels.shape == (3000,) and len(np.unique(labels)) == 12
    for label in range(12):
        own = points[labels == label]
        assert np.linalg.norm(own - own.mean(0), axis=1).max() < 1.0
    assert (regions(points[:1]) == 0).all()


def test_noise_averages_out_and_a_bulge_does_not(ball):
    points, normals, rng = ball
    labels = regions(points)
    noise = rng.normal(size=3000) * 0.1
    assert systematic_misfit(labels, noise, normals) < 0.02
    # One side lies off by as much as the noise, whatever the signs of the normals are.
    bulge = 0.1 * (points[:, 2] > 0) * np.sign(np.einsum('ij,ij->i', points, normals))
    assert 0.05 < systematic_misfit(labels, noise + bulge, normals) < 0.09
    assert systematic_misfit(np.zeros(3, int), np.ones(3), normals[:3]) == 0.0


def test_independent_noise_is_one_error_a_point_and_shared_noise_is_more(ball):
    _, _, rng = ball
    points = rng.uniform(-1, 1, (3000, 3))
    normals = np.eye(3)[rng.integers(3, size=3000)]
    jacobian = np.hstack([normals, np.cross(points, normals)])
    labels = regions(points)
    found = [correlation(labels, rng.normal(size=3000), jacobian) for _ in range(40)]
    assert np.mean(found) == pytest.approx(1.0, abs=0.25)
    # Forty points in one place, all off alike.
    centres = points[rng.integers(3000, size=75)]
    nearest = np.linalg.norm(points[:, None] - centres, axis=2).argmin(1)
    shared = [correlation(labels, rng.normal(size=75)[nearest], jacobian) for _ in range(40)]
    assert 5.0 < np.mean(shared) < 40.0


def test_no_residual_and_no_direction_that_planes_hold_are_no_error():
    points = np.random.default_rng(1).uniform(-1, 1, (200, 3)) * (1, 1, 0)
    jacobian = np.hstack([np.tile((0.0, 0.0, 1.0), (200, 1)), np.cross(points, (0.0, 0.0, 1.0))])
    labels = regions(points)
    assert correlation(labels, np.zeros(200), jacobian) == 0.0
    assert np.isfinite(correlation(labels, np.ones(200), jacobian))
