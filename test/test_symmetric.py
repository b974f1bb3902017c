"""The last steps of a refinement: exact on what is curved, robust, and still on what is free."""

import numpy as np
import pytest
import scenes
import small_gicp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from dlc_ros.registration.se3 import make_transform, rotation_angle_deg, transform_points
from dlc_ros.registration.surface import Surface
from dlc_ros.registration.symmetric import symmetric_icp


def ellipsoid(count, rng, noise=0.0):
    """Points of a curved closed surface, half axes 1, 0.7 and 0.5 m."""
    points = rng.normal(size=(count, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points * [1.0, 0.7, 0.5] + noise * rng.normal(size=points.shape)


def prepared(source, target):
    """Surfaces of two clouds in one frame, each about its centroid, and the truth between them."""
    middles = source.mean(axis=0), target.mean(axis=0)
    surfaces = (
        Surface(cloud - middle) for cloud, middle in zip((source, target), middles, strict=True)
    )
    return *surfaces, make_transform(translation=middles[0] - middles[1])


def beside(truth, rng, turn_deg, shift):
    """The truth turned and shifted by so much, in a random direction."""
    axis, way = rng.normal(size=(2, 3))
    turn = Rotation.from_rotvec(np.radians(turn_deg) * axis / np.linalg.norm(axis)).as_matrix()
    moved = truth.copy()
    moved[:3, :3] = turn @ truth[:3, :3]
    moved[:3, 3] += shift * way / np.linalg.norm(way)
    return moved


def distance_of(source, target):
    return 1.5 * max(source.pitch, target.pitch)


def error(found, truth, source):
    """Root mean square distance of the source's points from their true places."""
    moved = [transform_points(pose, source.points) for pose in (found, truth)]
    return np.sqrt(np.square(moved[0] - moved[1]).sum(axis=1).mean())


@pytest.mark.parametrize('noise', [0.0, 0.02])
def test_on_curved_surfaces_it_leaves_less_error_than_icp_of_small_gicp(noise):
    ours, theirs = [], {'GICP': [], 'PLANE_ICP': []}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        whole, target = (ellipsoid(700, rng, noise) for _ in range(2))
        view = whole[whole @ [0.6, 0.6, 0.5] > -0.2]
        source, target, truth = prepared(view, target)
        start, distance = beside(truth, rng, 2.0, 0.02), distance_of(source, target)
        ours.append(error(symmetric_icp(target, source, start, distance, 10)[0], truth, source))
        for method, errors in theirs.items():
            found = small_gicp.align(
                target.cloud,
                source.cloud,
                target.tree,
                start,
                registration_type=method,
                max_correspondence_distance=distance,
                num_threads=1,
                max_iterations=50,
            )
            errors.append(error(found.T_target_source, truth, source))
    assert np.mean(ours) < 0.8 * min(np.mean(errors) for errors in theirs.values())


def test_it_ends_by_itself_and_says_so():
    rng = np.random.default_rng(0)
    source, target, truth = prepared(*scenes.pair(scenes.bracket, rng, np.eye(4)))
    start, distance = beside(truth, rng, 1.0, 0.02), distance_of(source, target)
    found, steps, settled = symmetric_icp(target, source, start, distance, 30)
    assert settled and steps < 30
    assert error(found, truth, source) < 0.004
    again, one_more, _ = symmetric_icp(target, source, found, distance, 30)
    assert one_more == 1
    assert error(again, found, source) < 0.001
    _, steps, settled = symmetric_icp(target, source, start, distance, 1)
    assert steps == 1 and not settled


def test_foreign_points_beside_the_surface_hardly_move_it():
    rng = np.random.default_rng(1)
    source, target = scenes.pair(scenes.bracket, rng, np.eye(4), noise=0.004)
    lifted = source[source[:, 0] > 0.3] + [0.0, 0.0, 0.05]
    source, target, truth = prepared(np.vstack([source, lifted]), target)
    start = beside(truth, rng, 1.0, 0.01)
    found, _, _ = symmetric_icp(target, source, start, distance_of(source, target), 10)
    assert error(found, truth, source) < 0.01


def test_the_far_side_of_a_thin_wall_hardly_draws_a_view_of_the_near_side():
    rng = np.random.default_rng(2)
    errors = []
    for thickness in (0.04, 0.05, 0.06):
        sheet = np.c_[scenes.plane(3000, rng)[:, :2], np.zeros(3000)]
        post = scenes.box(500, rng, (0.5, 0.5, 1.0)) + [0.7, 0.3, 0.6]
        view, near = (np.vstack([c[::2], p]) for c, p in ((sheet, post), (sheet[::-1], post)))
        far = scenes.plane(1500, rng) - [0.0, 0.0, thickness]
        noisy = (c + 0.002 * rng.normal(size=c.shape) for c in (view, np.vstack([near, far])))
        source, target, truth = prepared(*noisy)
        found, _, _ = symmetric_icp(target, source, truth, distance_of(source, target), 10)
        errors.append(abs(found[2, 3] - truth[2, 3]) / thickness)
    assert max(errors) < 0.15


def test_on_a_floor_without_noise_what_stands_on_it_still_counts():
    rng = np.random.default_rng(6)
    thing = 0.3 * scenes.sphere(300, rng)
    cloud = np.vstack([scenes.plane(3000, rng), thing[thing[:, 2] > 0.0] + [0.8, 0.5, 0.0]])
    source, target, truth = prepared(cloud, cloud)
    start = truth @ make_transform(translation=[0.02, -0.02, 0.0])
    found, _, _ = symmetric_icp(target, source, start, distance_of(source, target), 10)
    assert error(found, truth, source) < 0.01


@pytest.mark.parametrize('scene, free', [(scenes.plane, [0, 1]), (scenes.corridor, [0])])
def test_what_no_plane_resists_stays_where_it_was(scene, free):
    rng = np.random.default_rng(3)
    source, target, truth = prepared(*scenes.pair(scene, rng, np.eye(4), noise=0.01))
    distance = distance_of(source, target)
    found, _, _ = symmetric_icp(target, source, truth, distance, 10)
    assert np.abs(found[free, 3] - truth[free, 3]).max() < 0.5 * distance


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_it_goes_with_the_frame_of_the_target(seed):
    rng = np.random.default_rng(seed)
    source, target, truth = prepared(*scenes.pair(scenes.bracket, rng, np.eye(4), count=600))
    start, distance = beside(truth, rng, 2.0, 0.03), distance_of(source, target)
    turn = make_transform(Rotation.random(random_state=rng).as_matrix(), rng.normal(size=3))
    turned = Surface(transform_points(turn, target.points))
    here, _, _ = symmetric_icp(target, source, start, distance, 10)
    there, _, _ = symmetric_icp(turned, source, turn @ start, distance, 10)
    np.testing.assert_allclose(turn @ here, there, atol=1e-6)


def test_where_nothing_matches_the_start_is_the_answer():
    rng = np.random.default_rng(4)
    source, target, truth = prepared(*scenes.pair(scenes.box, rng, np.eye(4), count=300))
    away = truth @ make_transform(translation=[50.0, 0.0, 0.0])
    found, steps, settled = symmetric_icp(target, source, away, 0.1, 10)
    np.testing.assert_array_equal(found, away)
    assert not settled and steps == 0


def test_the_answer_is_a_rigid_transform_far_from_the_start_as_well():
    rng = np.random.default_rng(5)
    source, target, truth = prepared(*scenes.pair(scenes.bracket, rng, np.eye(4)))
    found, _, _ = symmetric_icp(target, source, beside(truth, rng, 40.0, 0.2), 1.0, 10)
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-9)
    assert rotation_angle_deg(found, truth) < 5.0
