"""What is tried once the first candidates do not convince: likely turns, and every shift."""

import numpy as np
import pytest
import scenes
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from dlc_ros import Registrar, Status
from dlc_ros.registration.prior import PosePrior
from dlc_ros.registration.se3 import exp_so3, make_transform, rotation_angle_deg
from dlc_ros.registration.shifts import ShiftSearch
from dlc_ros.registration.surface import Surface
from dlc_ros.registration.turns import likely_turns

TRUTH = make_transform(exp_so3([0.3, -0.5, 2.2]), [4.0, -1.0, 2.0])
SIZE = np.array([2.0, 1.2, 0.8])


def part(points, direction, keep):
    """The share ``keep`` of the points that lies farthest along a direction."""
    depth = points @ np.asarray(direction, float)
    return points[depth >= np.quantile(depth, 1 - keep)]


def surface(points):
    return Surface(points - points.mean(axis=0))


# --- shifts -------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_a_part_is_found_where_it_was_cut_out(seed):
    rng = np.random.default_rng(seed)
    target = surface(scenes.bracket(2000, rng))
    cut = part(target.points, rng.normal(size=3), rng.uniform(0.5, 1.0))
    search = ShiftSearch(target, target.radius)
    cloud = surface(cut)
    shifts, scores = search.best(cloud.points, cloud.normals, 3)
    assert np.abs(shifts[0] - cut.mean(axis=0)).max() <= search.cell
    assert 0.0 < scores[0] <= 0.6 + 1e-5


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=5)
def test_no_shift_on_a_lattice_covers_much_more(seed):
    rng = np.random.default_rng(seed)
    target = surface(scenes.bracket(1500, rng))
    cloud = surface(part(scenes.bracket(1500, rng), rng.normal(size=3), 0.6))
    search = ShiftSearch(target, target.radius)
    tree = cKDTree(target.points)

    def met(shift):
        """Mean over the points that meet the target of how much less than crossing it they do."""
        distances, nearest = tree.query(cloud.points + shift)
        cosines = np.einsum('ij,ij->i', cloud.normals, target.normals[nearest])
        return np.mean(np.where(distances < search.cell, cosines**2 - 0.4, 0.0))

    steps = np.arange(-1.5, 1.5, 2 * search.cell)
    lattice = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
    best = max(met(shift) for shift in lattice)
    found, _ = search.best(cloud.points, cloud.normals, 3)
    assert max(met(shift) for shift in found) > 0.85 * best


def test_shifts_come_best_first_and_none_twice():
    rng = np.random.default_rng(4)
    target = surface(scenes.box(3000, rng, SIZE))
    search = ShiftSearch(target, target.radius)
    cloud = scenes.plane(500, rng, (0.4, 0.4))
    shifts, scores = search.best(cloud, np.tile([0.0, 0.0, -1.0], (500, 1)), 4)
    assert len(shifts) == 4 and (np.diff(scores) <= 0).all()
    apart = np.abs(shifts[:, None] - shifts).max(axis=-1)[np.triu_indices(4, 1)]
    assert apart.min() > 2 * search.cell
    # A small horizontal patch lies on the two horizontal faces alone.
    assert (np.abs(np.abs(shifts[:, 2]) - SIZE[2] / 2) <= search.cell).all()


def test_a_surface_that_crosses_another_is_no_find():
    rng = np.random.default_rng(6)
    # A stack of plates meets more of any wall than the one wall beside it does.
    plates = [scenes.plane(1500, rng, (1.2, 1.2)) + [0.0, 0.0, z] for z in (0.0, 0.3, 0.6)]
    wall = scenes.plane(500, rng, (1.0, 0.6))[:, [2, 0, 1]]
    place = np.array([2.0, 0.0, 0.3])
    scene = np.vstack([*plates, wall + place])
    target = surface(scene)
    search = ShiftSearch(target, 0.5)
    shifts, _ = search.best(wall, np.tile([1.0, 0.0, 0.0], (500, 1)), 1)
    assert np.abs(shifts[0] + scene.mean(axis=0) - place).max() <= 2.0 * search.cell


def test_a_cloud_that_is_larger_than_the_target_has_shifts_too():
    rng = np.random.default_rng(5)
    target = surface(scenes.bracket(500, rng))
    search = ShiftSearch(target, target.radius)
    shifts, _ = search.best(5.0 * target.points, target.normals, 4)
    assert 1 <= len(shifts) <= 4 and np.isfinite(shifts).all()


# --- turns --------------------------------------------------------------------------------------


def angles_between(turns, turn):
    return np.degrees(Rotation.from_matrix(turns @ turn.T).magnitude())


def test_turns_begin_with_the_pose_and_hold_the_half_turns_of_a_box():
    rng = np.random.default_rng(0)
    rotation = Rotation.random(random_state=1).as_matrix()
    turns = likely_turns(rotation, surface(scenes.box(4000, rng, SIZE)))
    np.testing.assert_array_equal(turns[0], rotation)
    np.testing.assert_allclose(
        turns @ turns.swapaxes(1, 2), np.tile(np.eye(3), (4, 1, 1)), atol=1e-12
    )
    for axis in np.eye(3):
        half = rotation @ exp_so3(np.pi * axis)
        assert angles_between(turns, half).min() < 5.0


def test_the_normals_know_the_axes_that_a_slanted_cut_hides():
    rng = np.random.default_rng(0)
    cut = part(scenes.box(6000, rng, SIZE), (1.0, 1.0, 0.4), 0.5)
    turns = likely_turns(np.eye(3), surface(cut))
    for axis in np.eye(3):
        assert angles_between(turns, exp_so3(np.pi * axis)).min() < 8.0


@given(st.tuples(*[st.floats(0.02, 0.5)] * 3), st.integers(0, 2**32 - 1))
def test_every_turn_within_a_prior_has_one_near(sigmas, seed):
    rng = np.random.default_rng(seed)
    believed = Rotation.random(random_state=seed % 1000).as_matrix()
    prior = PosePrior(make_transform(believed), np.diag([1.0] * 3 + [s**2 for s in sigmas]))
    turns = likely_turns(np.eye(3), surface(scenes.bracket(300, rng)), prior)
    assert all((angles_between(turns, t) > 11.99).sum() == len(turns) - 1 for t in turns)
    inside = exp_so3(rng.uniform(-1, 1, 3) * sigmas) @ believed
    assert angles_between(turns, inside).min() < 35.0


# --- what it is good for ------------------------------------------------------------------------


@pytest.mark.parametrize('axis', np.eye(3), ids='xyz')
def test_a_predictor_that_is_half_a_turn_wrong_is_put_right(propose, axis):
    rng = np.random.default_rng(2)
    source, target = scenes.pair(scenes.bracket, rng, TRUTH)
    centre = make_transform(translation=source.mean(axis=0))
    half = centre @ make_transform(exp_so3(np.pi * axis)) @ np.linalg.inv(centre)
    propose(source, target, TRUTH @ half)
    result = Registrar(target).register(source)
    assert result.status is Status.ACCEPTED
    assert rotation_angle_deg(result.transform, TRUTH) < 1.0


def test_what_slid_along_itself_is_put_back(propose):
    rng = np.random.default_rng(3)

    def rail(count, rng):
        bar = scenes.box(count // 2, rng, (3.0, 0.3, 0.2))
        return np.vstack([bar, scenes.box(count // 2, rng, (0.5, 0.7, 0.6)) + [0.6, 0.2, 0.1]])

    source, target = scenes.pair(rail, rng, TRUTH)
    slid = make_transform(translation=[0.9, 0.0, 0.0])
    propose(source, target, TRUTH @ slid)
    result = Registrar(target).register(source)
    assert result.status is Status.ACCEPTED
    assert np.linalg.norm((result.transform - TRUTH)[:3, 3]) < 0.05
