"""Excerpts of a large reference: its points, its normals, at the density that is asked for."""

import numpy as np
import pytest

from dlc_ros import RegistrationOptions
from dlc_ros.registration.pyramid import Excerpt, Pyramid

RADIUS = 6.0


def hills(count, side=30.0, seed=0):
    """Points (N, 3) of a wavy ground, within ``side`` metres of its middle along x and y."""
    x, y = np.random.default_rng(seed).uniform(-side, side, (2, count))
    return np.column_stack([x, y, 0.8 * np.sin(x) + 1.2 * np.cos(0.5 * y)])


def normals_at(points):
    x, y = points[:, :2].T
    normals = np.column_stack([-0.8 * np.cos(x), 0.6 * np.sin(0.5 * y), np.ones(len(x))])
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def excerpt(points, centre, **options):
    return Excerpt(Pyramid(points, RegistrationOptions(**options)), np.array(centre), RADIUS)


@pytest.mark.parametrize('centre', ([0.0, 0.0, 0.0], [-29.0, 17.0, 1.0]))
def test_an_excerpt_is_what_lies_in_its_ball(centre):
    points = hills(60_000)
    cut = excerpt(points, centre)
    found = cut.full(50_000).points
    expected = points[np.linalg.norm(points - centre, axis=1) < RADIUS]
    assert len(cut) == len(expected)
    np.testing.assert_array_equal(
        found[np.lexsort(found.T)], expected[np.lexsort(expected.T)], strict=True
    )


@pytest.mark.parametrize(('count', 'degrees'), ((50_000, 2.0), (500, 8.0)))
def test_an_excerpt_has_the_normals_of_the_ground(count, degrees):
    found = excerpt(hills(60_000), [3.0, -4.0, 0.5]).about(count)
    cosines = np.abs(np.einsum('ij,ij->i', found.normals, normals_at(found.points)))
    assert np.degrees(np.arccos(np.clip(cosines, 0, 1))).mean() < degrees
    indices, distances = found.nearest(found.points)
    np.testing.assert_array_equal(indices, np.arange(len(found)))
    assert distances.max() == 0.0


@pytest.mark.parametrize('count', (200, 1_000, 50_000))
def test_an_excerpt_has_about_as_many_points_as_are_wanted(count):
    cut = excerpt(hills(60_000), [3.0, -4.0, 0.5])
    assert min(len(cut), 0.3 * count) <= len(cut.about(count)) <= 2.5 * count


def test_a_dense_spot_of_a_reference_keeps_enough_points():
    points = np.vstack([hills(5_000), hills(200_000, side=0.3)])
    found = Excerpt(Pyramid(points, RegistrationOptions()), np.zeros(3), 1.5).about(1_000)
    assert 125 <= len(found) <= 2_500


def test_an_edge_of_voxels_that_is_given_decides_about_the_full_resolution():
    cut = excerpt(hills(60_000), [0.0, 0.0, 0.0], voxel_size=0.8)
    full = cut.full(50_000)
    cells = np.floor(full.points / 0.8)
    occupied = np.unique(np.floor(hills(60_000) / 0.8), axis=0)
    middles = (occupied + 0.5) * 0.8
    inside = np.linalg.norm(middles, axis=1) < RADIUS
    assert len(np.unique(cells, axis=0)) == len(full)
    assert len(full) == pytest.approx(inside.sum(), rel=0.1)
