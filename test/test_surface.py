"""Nearest points and neighbourhoods of a surface, against scipy and numpy."""

import numpy as np
import pytest
import scenes
from scipy.spatial import cKDTree

from dlc_ros.registration.surface import Surface, sample


@pytest.fixture(scope='module')
def surface():
    return Surface(scenes.bracket(1500, np.random.default_rng(0)))


@pytest.mark.parametrize('limit', [0.0, 0.05, 1.0, np.inf])
@pytest.mark.parametrize('spread', [0.0, 0.5, 5.0])
def test_within_the_limit_the_nearest_points_are_those_of_a_tree(surface, limit, spread):
    rng = np.random.default_rng(1)
    queries = surface.points[::3] + spread * rng.normal(size=(500, 3))
    expected, at = cKDTree(surface.points).query(queries)
    indices, distances = surface.nearest(queries, limit)
    near = expected <= limit
    np.testing.assert_array_equal(indices[near], at[near])
    np.testing.assert_allclose(distances[near], expected[near], atol=1e-12)
    assert (distances[~near] > limit).all() and (indices >= 0).all()


def test_no_query_has_no_nearest_point(surface):
    indices, distances = surface.nearest(np.zeros((0, 3)), 1.0)
    assert len(indices) == len(distances) == 0


@pytest.mark.parametrize('noise', [0.0, 0.01])
def test_thickness_is_the_deviation_about_the_best_plane(noise):
    rng = np.random.default_rng(2)
    surface = Surface(scenes.bracket(800, rng) + noise * rng.normal(size=(800, 3)))
    every = sample(len(surface), 50)
    _, neighbours = cKDTree(surface.points).query(surface.points[every], k=11)
    across = [
        np.linalg.svd(patch - patch.mean(axis=0), compute_uv=False)[2]
        for patch in surface.points[neighbours]
    ]
    # Three degrees of freedom of eleven points are the plane's.
    expected = np.array(across) / np.sqrt(8.0)
    np.testing.assert_allclose(surface.thickness(every), expected, atol=1e-7)
