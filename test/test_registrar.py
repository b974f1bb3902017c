"""The one entry: right poses in any frame, honest statuses, bad input in one line."""

import numpy as np
import pytest
import scenes
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import LOADED, Oracle
from scipy.spatial.transform import Rotation

import dlc_ros
from dlc_ros import Registrar, RegistrationOptions, Status
from dlc_ros.errors import CloudError, ParameterError
from dlc_ros.registration.se3 import (
    compose,
    exp_so3,
    inverse,
    make_transform,
    rotation_angle_deg,
    transform_points,
)

TRUTH = make_transform(exp_so3([0.3, -0.5, 2.2]), [4.0, -1.0, 2.0])
NEAR = TRUTH @ make_transform(exp_so3([0.06, -0.04, 0.05]), [0.03, -0.02, 0.03])
TIGHT = np.diag([0.05**2] * 3 + [0.1**2] * 3)
# The classical half: these tests hold whatever the weights are.
PLAIN = RegistrationOptions(use_predictor=False)


def pair(scene, seed=0, truth=TRUTH, **options):
    return scenes.pair(scene, np.random.default_rng(seed), truth, **options)


def errors(transform, truth=TRUTH):
    return rotation_angle_deg(transform, truth), np.linalg.norm((transform - truth)[:3, 3])


def error_vector(transform, truth=TRUTH):
    turn = Rotation.from_matrix(transform[:3, :3] @ truth[:3, :3].T).as_rotvec()
    return np.concatenate([(transform - truth)[:3, 3], turn])


@pytest.fixture(scope='module')
def bracket():
    return pair(scenes.bracket)


@pytest.fixture(scope='module')
def registrar(bracket):
    return Registrar(bracket[1], options=PLAIN)


def test_a_pose_is_found_from_near(registrar, bracket):
    result = registrar.register(bracket[0], NEAR)
    turn, shift = errors(result.transform)
    assert turn < 0.2 and shift < 0.01
    assert result.accepted and result.status is Status.ACCEPTED and result.confidence > 0.8
    assert result.inlier_fraction > 0.95 and 0.0 < result.residual < 0.02
    assert list(result.stages) == ['validate', 'reduce', 'predict', 'refine', 'judge']
    assert all(milliseconds >= 0.0 for milliseconds in result.stages.values())
    assert result.alternatives == () and result.free_directions.shape == (6, 0)
    np.testing.assert_allclose(result.covariance, result.covariance.T)
    assert np.linalg.eigvalsh(result.covariance)[0] > 0.0


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


def test_a_box_has_equal_poses_unless_a_prior_tells_them_apart(propose):
    source, target = pair(scenes.box)
    turns = [np.zeros(3), [np.pi, 0, 0], [0, np.pi, 0], [0, 0, np.pi]]
    propose(source, target, *(TRUTH @ make_transform(exp_so3(turn)) for turn in turns))
    result = Registrar(target).register(source)
    assert result.status is Status.AMBIGUOUS and not result.accepted
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
    assert result.status is Status.DEGENERATE and not result.accepted
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


@pytest.mark.parametrize('scale', [1000.0, 0.001])
def test_millimetres_against_metres_are_named(registrar, bracket, scale):
    result = registrar.register(scale * bracket[0])
    assert result.status is Status.REJECTED and result.confidence == 0.0
    assert list(result.stages) == ['validate'], 'it must not search first'
    # Near a given pose a patch of a large map is no mistake: then only a failure is explained.
    result = registrar.register(scale * bracket[0], TRUTH)
    assert 'millimetres against metres' in result.reason
    assert f'multiply the {"source" if scale > 1 else "target"} by 0.001' in result.reason


def test_points_too_far_apart_to_show_a_shape_are_refused(registrar):
    """Forty points scattered over metres lie near anything."""
    scattered = np.random.default_rng(0).uniform(-1.0, 1.0, (40, 3))
    for init in (None, np.eye(4)):
        result = registrar.register(scattered, init)
        assert result.status is Status.REJECTED
        assert 'too far apart' in result.reason


BAD_CLOUDS = {
    'empty': np.zeros((0, 3)),
    'nan': np.full((100, 3), np.nan),
    'inf': np.full((100, 3), np.inf),
    'few': NOISE[:29],
    'coincident': np.ones((100, 3)),
    'line': np.outer(np.arange(100.0), [1.0, 2.0, 3.0]),
    'columns': np.zeros((100, 4)),
    'words': 'cloud',
}


@pytest.mark.parametrize('name', BAD_CLOUDS)
def test_a_bad_cloud_is_one_line_that_says_which(registrar, name):
    for act, who in [
        (lambda cloud: registrar.register(cloud), 'source'),
        (lambda cloud: Registrar(cloud, options=PLAIN), 'reference'),
    ]:
        with pytest.raises(CloudError) as caught:
            act(BAD_CLOUDS[name])
        assert str(caught.value).startswith(f'{who}: ') and '\n' not in str(caught.value)


def test_coplanar_points_work_and_say_what_they_leave_open():
    rng = np.random.default_rng(0)
    flat = scenes.plane(800, rng, (2.0, 1.0))
    result = Registrar(flat, options=PLAIN).register(scenes.plane(800, rng, (2.0, 1.0)), np.eye(4))
    assert result.status is Status.DEGENERATE and '3 of 6' in result.reason
    # Height and tilt are determined all the same.
    assert abs(result.transform[2, 3]) < 1e-3
    assert np.degrees(np.arccos(result.transform[2, 2])) < 0.1


@pytest.mark.parametrize(
    'init',
    [
        np.eye(3),
        np.zeros((4, 4)),
        2.0 * np.eye(4),
        np.diag([1.0, 1.0, -1.0, 1.0]),
        np.full((4, 4), np.nan),
        'identity',
        [[1, 0], [0, 1, 0]],
    ],
    ids=['3x3', 'zero', 'scaled', 'mirror', 'nan', 'word', 'ragged'],
)
def test_an_initial_pose_that_is_none_is_one_line(registrar, bracket, init):
    with pytest.raises(ParameterError, match=r'init: .*rigid \(4, 4\)') as caught:
        registrar.register(bracket[0], init)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('covariance', 'says'),
    [
        (np.eye(3), r'\(6, 6\)'),
        (np.full((6, 6), np.nan), r'\(6, 6\)'),
        (None, ''),
        (np.diag([1, 1, 1, 1, 1, -1.0]), 'negative variance'),
        ('wide', r'\(6, 6\)'),
    ],
)
def test_a_covariance_that_is_none_is_one_line(registrar, bracket, covariance, says):
    if covariance is None:
        assert registrar.register(bracket[0], NEAR, None).accepted
        return
    with pytest.raises(ParameterError, match=f'init_covariance: .*{says}') as caught:
        registrar.register(bracket[0], NEAR, covariance)
    assert '\n' not in str(caught.value)


def test_the_flat_covariance_of_a_2d_initial_pose_is_no_error(registrar, bracket):
    flat = np.diag([0.25, 0.25, 0.0, 0.0, 0.0, 0.068])
    assert registrar.register(bracket[0], NEAR, flat).accepted


def test_an_initial_pose_typed_with_four_digits_will_do(registrar, bracket):
    assert registrar.register(bracket[0], np.round(NEAR, 4)).accepted


class OutOfMemory(Oracle):
    """A predictor whose device runs out of memory at the call of that number."""

    fails_at, calls = 1, 0

    def __init__(self, loaded, device='cpu'):
        super().__init__(LOADED, device)

    def describe(self, points, scale=None):
        OutOfMemory.calls += 1
        if self.device.type == 'cuda' and OutOfMemory.calls >= self.fails_at:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory.\nTried to allocate 2 GiB')
        return super().describe(points, scale)


@pytest.mark.parametrize('call', [1, 2, 3], ids=['reference', 'first cloud', 'second cloud'])
def test_a_device_that_fails_is_left_for_the_cpu_and_that_is_said(
    bracket, propose, monkeypatch, call
):
    source, target = bracket
    propose(source, target, NEAR)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(OutOfMemory, 'fails_at', call)
    monkeypatch.setattr(OutOfMemory, 'calls', 0)
    monkeypatch.setattr('dlc_ros.registration.predictor.Predictor', OutOfMemory)
    registrar = Registrar(target)
    assert (registrar.provenance['device'] == 'cuda') == (call > 1)
    for _ in range(2):
        result = registrar.register(source)
        assert result.accepted and errors(result.transform)[0] < 0.2
    assert registrar.provenance['device'] == 'cpu'
    assert registrar.provenance['fallback'] == (
        'cuda failed: CUDA out of memory. Tried to allocate 2 GiB'
    )


def test_a_mistake_on_the_cpu_is_not_taken_for_a_failing_device(bracket, propose, monkeypatch):
    propose(*bracket, NEAR)

    def broken(self, points, scale=None):
        raise RuntimeError('a mistake')

    monkeypatch.setattr(Oracle, 'describe', broken)
    with pytest.raises(RuntimeError, match='a mistake'):
        Registrar(bracket[1])


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a CUDA device to be had')
def test_without_a_cuda_device_the_cpu_does_it_and_that_is_said(bracket):
    source, target = bracket
    asked = Registrar(target, options=RegistrationOptions(device='cuda'))
    assert asked.provenance['device'] == 'cpu'
    assert asked.provenance['fallback'] == 'torch finds no CUDA device'
    assert asked.register(source).stages['predict'] > 0.0
    assert Registrar(target).provenance['fallback'] == ''


@settings(max_examples=25)
@given(
    st.integers(0, 10_000),
    st.sampled_from(['cloud', 'plane', 'grid', 'repeated', 'strip']),
    st.floats(1e-3, 1e4),
    st.sampled_from([None, np.eye(4)]),
)
def test_any_valid_cloud_gets_an_answer(seed, shape, scale, init):
    rng = np.random.default_rng(seed)

    def cloud(count):
        points = rng.normal(size=(count, 3))
        if shape == 'plane':
            points[:, 2] = 0.0
        elif shape == 'grid':
            points = np.round(2.0 * points)
        elif shape == 'repeated':
            points = points[rng.integers(0, 5, count)]
        elif shape == 'strip':
            points *= [1.0, 0.01, 0.0]
        return points

    result = Registrar(cloud(60), options=PLAIN).register(scale * cloud(45), init)
    assert np.isfinite(result.transform).all() and np.isfinite(result.covariance).all()
    assert 0.0 <= result.confidence <= 1.0 and result.reason
    rotation = result.transform[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)


def test_the_short_way_uses_the_weights_of_the_package(bracket):
    source, target = bracket
    result = dlc_ros.register(source, target)
    assert result.stages['predict'] > 0.0
    again = Registrar(target).register(source)
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
