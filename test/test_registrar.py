"""The one entry: right poses in any frame, honest statuses and covariances."""

import gc

import numpy as np
import pytest
import scenes
from hypothesis import given, settings
from hypothesis import strategies as st
from registrations import NEAR, PLAIN, TIGHT, TRUTH, error_vector, errors, pair
from scipy.spatial.transform import Rotation

import dlc_ros
from dlc_ros import Registrar, Status
from dlc_ros.registration.se3 import (
    compose,
    exp_so3,
    inverse,
    make_transform,
    rotation_angle_deg,
    transform_points,
)


def test_a_pose_is_found_from_near(registrar, bracket):
    result = registrar.register(bracket[0], NEAR)
    turn, shift = errors(result.transform)
    assert turn < 0.2 and shift < 0.01
    assert result.accepted and result.status is Status.ACCEPTED and result.confidence > 0.8
    assert result, 'what is accepted is true'
    assert result.inlier_fraction > 0.95 and 0.0 < result.residual < 0.02
    assert list(result.stages) == ['validate', 'reduce', 'predict', 'refine', 'judge']
    assert all(milliseconds >= 0.0 for milliseconds in result.stages.values())
    assert result.alternatives == () and result.free_directions.shape == (6, 0)
    np.testing.assert_allclose(result.covariance, result.covariance.T)
    assert np.linalg.eigvalsh(result.covariance)[0] > 0.0


def test_the_threshold_may_be_another_for_each_cloud(registrar, bracket):
    strict = registrar.register(bracket[0], NEAR, min_confidence=1.0)
    assert strict.status is Status.REJECTED and 'below 1.00' in strict.reason
    assert not strict, 'what is rejected is false'
    foreign = scenes.sphere(1500, np.random.default_rng(1))
    assert not registrar.register(foreign, TRUTH).accepted
    assert 'is below' not in registrar.register(foreign, TRUTH, min_confidence=0.0).reason
    assert registrar.register(bracket[0], NEAR).accepted


def test_without_a_predictor_and_init_it_starts_from_aligned_centroids(bracket):
    source, target = bracket
    turned = transform_points(inverse(make_transform(TRUTH[:3, :3])), target) + 100.0
    result = Registrar(target, options=PLAIN).register(turned)
    assert result.status is Status.REJECTED  # turned by 130 deg: no ICP finds that
    result = Registrar(target, options=PLAIN).register(target - 100.0)
    np.testing.assert_allclose(result.transform[:3, 3], 100.0, atol=1e-3)


def test_the_predictor_finds_what_refinement_alone_cannot(bracket, propose):
    source, target = bracket
    propose(source, target, np.eye(4), NEAR)
    result = Registrar(target).register(source)
    assert result.accepted
    assert errors(result.transform)[0] < 0.2


def test_with_both_the_initial_pose_is_a_candidate_too(bracket, propose):
    source, target = bracket
    propose(source, target)
    result = Registrar(target).register(source, NEAR, TIGHT)
    assert result.accepted and errors(result.transform)[0] < 0.2


def test_a_better_looking_pose_against_the_prior_is_not_taken(propose):
    source, target = pair(scenes.box, noise=0.01)
    flipped = TRUTH @ make_transform(exp_so3([np.pi, 0.0, 0.0]))
    propose(source, target, flipped)
    result = Registrar(target).register(source, NEAR, TIGHT)
    assert errors(result.transform)[0] < 1.0 and result.accepted


def test_near_a_convincing_prior_nothing_is_predicted(bracket):
    source, target = bracket
    narrow = np.diag(np.repeat([0.02, np.radians(1.0)], 3) ** 2)
    alone = Registrar(target, options=PLAIN).register(source, NEAR, narrow)
    both = Registrar(target).register(source, NEAR, narrow)
    assert alone.accepted and np.array_equal(both.transform, alone.transform)
    assert len(both.candidates) == len(alone.candidates)


def test_a_hasty_attempt_looks_no_further_than_its_first_candidates(bracket):
    registrar = Registrar(bracket[1])
    foreign = scenes.sphere(1500, np.random.default_rng(1))
    hasty = registrar.register(foreign, NEAR, thorough=False)
    thorough = registrar.register(foreign, NEAR)
    assert not hasty.accepted and not thorough.accepted
    assert len(thorough.candidates) > len(hasty.candidates)


def test_a_box_has_equal_poses_unless_a_prior_tells_them_apart(propose):
    source, target = pair(scenes.box)
    turns = [np.zeros(3), [np.pi, 0, 0], [0, np.pi, 0], [0, 0, np.pi]]
    propose(source, target, *(TRUTH @ make_transform(exp_so3(turn)) for turn in turns))
    result = Registrar(target).register(source)
    assert result.status is Status.AMBIGUOUS and not result.accepted and not result
    assert len(result.alternatives) == 3 and '3 other poses' in result.reason
    found = [result.transform, *result.alternatives]
    for turn in turns:
        truth = TRUTH @ make_transform(exp_so3(turn))
        assert min(errors(pose, truth)[0] for pose in found) < 2.0
    told = Registrar(target).register(source, NEAR, TIGHT)
    assert told.status is Status.ACCEPTED and errors(told.transform)[0] < 1.0


FREE = [
    (scenes.plane, 3),
    (scenes.corridor, 1),
    (scenes.cylinder, 2),
    (scenes.can, 1),
    (scenes.sphere, 3),
]


@pytest.mark.parametrize(('scene', 'count'), FREE)
@pytest.mark.parametrize('sensor', [0.0, 15.0])
def test_free_directions_hold_in_the_frames_that_were_given(scene, count, sensor):
    """Also with the sensor far from what it sees, where turning swings the cloud about."""
    away = make_transform(exp_so3([0.2, 0.1, -0.4]), [sensor, 0.0, 0.3 * sensor])
    truth = compose(TRUTH, inverse(away))
    source, target = pair(scene, noise=0.004)
    result = Registrar(target, options=PLAIN).register(transform_points(away, source), truth)
    assert result.status is Status.DEGENERATE and not result.accepted and not result
    assert f'{count} of 6' in result.reason
    assert result.free_directions.shape == (6, count)
    np.testing.assert_allclose(np.linalg.norm(result.free_directions, axis=0), 1.0)
    # Along each the scene stays on itself to first order: points move along their surface.
    points = transform_points(truth, transform_points(away, scene(400, np.random.default_rng(1))))
    normals = surface_normals(scene, inverse(TRUTH), points)
    for v, w in (np.split(column, 2) for column in result.free_directions.T):
        motion = v + np.cross(w, points - result.transform[:3, 3])
        off = np.sqrt(np.mean(np.sum(motion * normals, axis=1) ** 2))
        assert off < 0.06 * np.sqrt(np.mean(np.sum(motion**2, axis=1)))


def surface_normals(scene, into_scene, points):
    """Exact unit normals of a scene at target points, in the target frame."""
    local = transform_points(into_scene, points)
    if scene is scenes.sphere:
        normals = local
    elif scene is scenes.plane:
        normals = np.tile([0.0, 0.0, 1.0], (len(local), 1))
    elif scene is scenes.corridor:
        wall = np.abs(np.abs(local[:, 1]) - 1.0) < 1e-6
        normals = np.where(wall[:, None], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0])
    else:
        lid = np.abs(np.abs(local[:, 2]) - 0.6) < 1e-6 if scene is scenes.can else False
        normals = np.where(np.atleast_1d(lid)[:, None], [0.0, 0.0, 1.0], local * [1, 1, 0])
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    return normals @ into_scene[:3, :3]


@pytest.mark.parametrize(('scene', 'count'), FREE)
def test_the_covariance_is_wide_along_free_directions_and_only_there(scene, count):
    source, target = pair(scene, noise=0.004)
    result = Registrar(target, options=PLAIN).register(source, TRUTH)
    along = [d @ np.linalg.inv(result.covariance) @ d for d in result.free_directions.T]
    wide = np.sort(np.linalg.eigvalsh(result.covariance))[::-1]
    assert all(1.0 / np.sqrt(value) > 0.2 for value in along)
    assert np.sqrt(wide[count - 1]) > 0.2 and np.sqrt(wide[count]) < 0.03


def test_the_covariance_holds_the_errors():
    """Over 60 noisy pairs: the truth is where the covariance says, and that is not everywhere."""
    squares, sizes = [], []
    for seed in range(60):
        source, target = pair(scenes.bracket, seed, count=800, noise=0.02)
        result = Registrar(target, options=PLAIN).register(source, NEAR, TIGHT)
        error = error_vector(result.transform)
        squares.append(error @ np.linalg.solve(result.covariance, error))
        sizes.append(np.sqrt(np.diag(result.covariance))[:3].max())
    # Chi-square with 6 degrees of freedom has mean 6 and 95 % quantile 12.6.
    assert 0.6 < np.mean(squares) < 12.0
    assert np.mean(np.array(squares) < 12.6) > 0.8
    assert np.max(sizes) < 0.03


@settings(max_examples=15)
@given(st.integers(0, 1000))
def test_the_answer_moves_with_the_frames(seed):
    rng = np.random.default_rng(seed)
    source, target = pair(scenes.bracket, count=800)
    left, right = (
        make_transform(Rotation.random(random_state=rng).as_matrix(), 1e3 * rng.normal(size=3))
        for _ in range(2)
    )
    plain = Registrar(target, options=PLAIN).register(source, NEAR, TIGHT)
    moved = Registrar(transform_points(left, target), options=PLAIN).register(
        transform_points(right, source), compose(left, NEAR, inverse(right))
    )
    assert moved.status is plain.status
    expected = compose(left, plain.transform, inverse(right))
    centre = transform_points(right, source).mean(axis=0)
    np.testing.assert_allclose(
        transform_points(moved.transform, centre), transform_points(expected, centre), atol=5e-3
    )
    assert rotation_angle_deg(moved.transform, expected) < 0.3


def test_utm_coordinates_cost_nothing(bracket):
    source, target = bracket
    origin = np.array([500_000.0, 5_400_000.0, 300.0])
    utm = make_transform(translation=origin)
    near = Registrar(target, options=PLAIN).register(source, NEAR)
    far = Registrar(target + origin, options=PLAIN).register(
        source + origin, compose(utm, NEAR, inverse(utm))
    )
    assert far.accepted
    back = compose(inverse(utm), far.transform, utm)
    np.testing.assert_allclose(back, near.transform, atol=1e-3)
    # At the cloud, not at the far origin, the pose is as sure as before.
    lever = np.eye(6)
    arm = far.transform[:3, :3] @ (source.mean(axis=0) + origin)
    lever[:3, 3:] = -np.cross(np.eye(3), arm)
    deviations = np.sqrt(np.diag(lever @ far.covariance @ lever.T))[:3]
    assert deviations.max() < 0.01


def test_equal_input_gives_equal_bits_whatever_came_before(bracket):
    source, target = bracket
    copies = source.copy(), target.copy()
    registrar = Registrar(target, options=PLAIN)
    first = registrar.register(source, NEAR)
    registrar.register(target[:500])
    registrar.register(source[::2], TRUTH)
    again = registrar.register(source, NEAR)
    fresh = Registrar(target, options=PLAIN).register(source, NEAR)
    for other in (again, fresh):
        np.testing.assert_array_equal(first.transform, other.transform)
        np.testing.assert_array_equal(first.covariance, other.covariance)
        assert (first.confidence, first.reason) == (other.confidence, other.reason)
    np.testing.assert_array_equal(source, copies[0])
    np.testing.assert_array_equal(target, copies[1])


def test_holes_and_number_types_change_nothing(registrar, bracket):
    source = bracket[0].astype(np.float32)
    plain = registrar.register(source, NEAR)
    holed = np.insert(source, [3, 500, 900], np.nan, axis=0)
    holed = np.insert(holed, 7, [np.inf, 0.0, -np.inf], axis=0)
    np.testing.assert_array_equal(registrar.register(holed, NEAR).transform, plain.transform)
    np.testing.assert_array_equal(
        registrar.register(source.astype('>f4'), NEAR).transform, plain.transform
    )


NOISE = np.random.default_rng(9).normal(size=(1500, 3))


@pytest.mark.parametrize(
    'foreign',
    [
        scenes.sphere(1500, np.random.default_rng(1)),
        scenes.cylinder(1500, np.random.default_rng(1), 0.2, 2.0),
        NOISE,
        0.5 * NOISE,
        scenes.box(1500, np.random.default_rng(1), (1.0, 1.0, 1.0)),
    ],
    ids=['sphere', 'tube', 'noise', 'small noise', 'cube'],
)
def test_another_thing_is_rejected_and_the_reason_says_numbers(registrar, bracket, foreign):
    result = registrar.register(foreign, TRUTH @ make_transform(None, bracket[0].mean(axis=0)))
    assert result.status is Status.REJECTED and not result.accepted
    assert 'confidence 0.' in result.reason and '%' in result.reason
    assert result.transform.shape == (4, 4) and np.isfinite(result.transform).all()
    assert np.isfinite(result.covariance).all()


def test_the_short_way_uses_the_weights_of_the_package(bracket):
    source, target = bracket
    result = dlc_ros.register(source, target)
    assert result.stages['predict'] > 0.0
    again = Registrar(target).register(source)
    np.testing.assert_array_equal(result.transform, again.transform)


def test_one_call_takes_options(bracket):
    strict = PLAIN.model_copy(update={'min_confidence': 1.0})
    result = dlc_ros.register(*bracket, NEAR, strict)
    assert result.status is Status.REJECTED and 'below 1.00' in result.reason
    again = Registrar(bracket[1], options=strict).register(bracket[0], NEAR)
    np.testing.assert_array_equal(result.transform, again.transform)


@pytest.mark.parametrize('yaw', [0.0, 45.0, -45.0])
def test_recorded_lidar_pair_from_the_identity(shared_data, yaw):
    from dlc_ros.files import read_cloud, read_transform

    folder = shared_data / 'lidar_pair'
    truth = read_transform(folder / 'T_target_source.txt')
    turn = make_transform(exp_so3([0.0, 0.0, np.radians(yaw)]))
    source = transform_points(turn, read_cloud(folder / 'source.ply'))
    result = dlc_ros.register(source, read_cloud(folder / 'target.ply'), np.eye(4))
    angle, shift = errors(result.transform @ turn, truth)
    assert result.accepted and angle < 1.0 and shift < 0.1


def test_a_registration_leaves_nothing_for_the_garbage_collector(bracket):
    """Clouds and trees in a cycle wait long for it: a node's memory would creep up."""
    source, target = bracket
    registrar = Registrar(target)
    foreign = scenes.sphere(1500, np.random.default_rng(1))
    attempts = [(source, NEAR), (source, None), (foreign, NEAR), (foreign, None)]
    for attempt in attempts:
        registrar.register(*attempt)
    gc.collect()
    gc.disable()
    try:
        for attempt in attempts:
            registrar.register(*attempt)
        assert gc.collect() == 0
    finally:
        gc.enable()
