"""What a sensor can have seen of a surface, and that nothing else is matched."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from dlc_ros import Registrar
from dlc_ros.registration.se3 import transform_points
from dlc_ros.registration.visibility import about, visible
from dlc_training.data.primitives import Box
from dlc_training.data.scene import Scene
from dlc_training.data.sensors import DepthCamera, looking_at
from dlc_training.data.solid import Solid


def ball(count, seed=0):
    """Points on the unit sphere, evenly; they are their normals."""
    rng = np.random.default_rng(seed)
    height = (np.arange(count) + 0.5) / count * 2.0 - 1.0
    angle = np.arange(count) * np.pi * (3.0 - np.sqrt(5.0)) + rng.uniform(0, 2 * np.pi)
    radius = np.sqrt(1.0 - height**2)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), height])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 2.0), st.sampled_from([1.0, 1e4]))
def test_what_is_near_lies_about(seed, reach, stray):
    """Also where one point lies far off."""
    rng = np.random.default_rng(seed)
    points, others = rng.normal(size=(300, 3)) * 3.0, rng.normal(size=(40, 3))
    others[0] *= stray
    distances = cKDTree(others).query(points)[0]
    found = about(points, others, reach)
    assert found[distances < reach].all()
    if stray == 1.0:
        assert not found[distances > 4.0 * reach].any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(1.6, 50.0))
def test_of_a_ball_the_near_cap_is_visible(seed, distance):
    """A point of a convex surface is seen where its tangent plane passes before the eye."""
    points = ball(6000, seed)
    pitch = np.sqrt(4.0 * np.pi / len(points))
    eye = distance * Rotation.random(random_state=seed).as_matrix()[0]
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(len(points), 1))
    seen = visible(points, signs * points, eye, pitch, 0.0)
    height = points @ eye - 1.0  # above the horizon, in the eye's distance
    sure = np.abs(height) > 0.15 * distance
    assert np.mean(seen[sure] == (height > 0.0)[sure]) > 0.97


@pytest.mark.parametrize('slant_deg', [0, 45, 70])
def test_a_slanting_plane_does_not_hide_itself(slant_deg):
    rng = np.random.default_rng(slant_deg)
    flat = np.column_stack([rng.uniform(-1, 1, (5000, 2)), 0.002 * rng.normal(size=5000)])
    turn = Rotation.from_euler('x', slant_deg, degrees=True).as_matrix()
    normals = np.tile(turn[:, 2], (len(flat), 1))
    seen = visible(flat @ turn.T, normals, np.array([0.0, 0.0, 6.0]), 0.028, 0.002)
    assert seen.mean() > 0.99


@pytest.mark.parametrize('thickness', [0.03, 0.1])
def test_of_a_plate_the_far_side_is_hidden(thickness):
    """Also where the sides lie no farther apart than the points on them."""
    rng = np.random.default_rng(0)
    sides = np.repeat([0.0, -thickness], 5000)
    points = np.column_stack([rng.uniform(-1, 1, (10_000, 2)), sides])
    normals = np.tile([0.0, 0.0, 1.0], (len(points), 1))
    seen = visible(points, normals, np.array([0.3, -0.2, 5.0]), 0.028, 0.0)
    assert seen[sides == 0.0].mean() > 0.99
    assert seen[sides < 0.0].mean() < 0.06


def test_a_viewpoint_in_the_surface_hides_nothing_that_is_not_before_it():
    points = ball(500)
    assert visible(points, points, points[0], 0.16, 0.0).shape == (500,)
    assert visible(points[:1], points[:1], points[0], 0.16, 0.0).all()


def bracket(thickness):
    """A sheet that is bent, and a rib [m]."""
    sheets = [
        ((0.0, 0.0, 0.0), (0.2, 0.12, thickness)),
        ((0.0, 0.0, thickness), (thickness, 0.12, 0.14)),
        ((thickness, 0.02, thickness), (0.08, thickness, 0.06)),
    ]
    solids = []
    for lower, extent in sheets:
        half = 0.5 * np.array(extent)
        solids.append(Solid((Box(half=half).placed(np.eye(3), lower + half),)))
    return solids


@pytest.mark.parametrize('thickness', [0.002, 0.005])
@pytest.mark.parametrize('seed', range(3))
def test_a_sheet_is_not_laid_on_its_other_side(thickness, seed):
    """It begins there, where it fits nearly as well."""
    rng = np.random.default_rng(seed)
    solids = bracket(thickness)
    model = np.vstack([solid.sample(15_000, rng)[0] for solid in solids])
    eye = 0.6 * Rotation.random(random_state=seed).as_matrix()[0] + model.mean(axis=0)
    camera = DepthCamera(
        width=200, height=200, field_deg=25.0, near=0.1, far=2.0, noise=0.001, disparity_step=0.0,
        dropout=0.0,
    )  # fmt: skip
    cloud = camera.scan(Scene(solids), looking_at(eye, model.mean(axis=0), 0.0), rng).points
    truth = looking_at(eye, model.mean(axis=0), 0.0)
    start = truth.copy()
    start[:3, 3] += thickness * truth[:3, 2]
    spread = np.diag(np.repeat([0.005, 0.02], 3) ** 2)
    found = Registrar(model).register(cloud, start, spread, np.zeros(3)).transform
    middle = cloud.mean(axis=0)[None]
    off = transform_points(found, middle) - transform_points(truth, middle)
    assert np.linalg.norm(off) < 0.25 * thickness
