"""What the one entry does with clouds and poses that are none, in one line each."""

import copy
import pickle

import numpy as np
import pytest
import scenes
from hypothesis import given, settings
from hypothesis import strategies as st
from registrations import NEAR, PLAIN, TRUTH

from dlc_ros import Registrar, Status, register
from dlc_ros.errors import CloudError, ParameterError


@pytest.mark.parametrize('scale', [1000.0, 0.001])
def test_millimetres_against_metres_are_named(registrar, bracket, scale):
    result = registrar.register(scale * bracket[0])
    assert result.status is Status.REJECTED and result.confidence == 0.0
    assert list(result.stages) == ['validate'], 'it must not search first'
    # Near a given pose a patch of a large map is no mistake: then only a failure is explained.
    result = registrar.register(scale * bracket[0], TRUTH)
    assert 'millimetres against metres' in result.reason
    assert f'multiply the {"source" if scale > 1 else "target"} by 0.001' in result.reason


def test_one_garbage_point_is_not_taken_for_another_unit_or_a_line(registrar, bracket):
    source, target = bracket
    far = np.vstack([source, [3e4, 0.0, 0.0]])
    result = registrar.register(far)
    assert result.status is Status.REJECTED
    assert 'source: few of its points lie up to 3e+04 m from the rest' in result.reason
    map_with_one = Registrar(np.vstack([target, [3e4, 0.0, 0.0]]), options=PLAIN)
    assert 'target: few of its points lie up to 3e+04 m' in map_with_one.register(source).reason
    assert map_with_one.register(source, NEAR).accepted
    with pytest.raises(CloudError, match='source: few of its points lie up to 1e[+]06 m'):
        registrar.register(np.vstack([source, [1e6, 0.0, 0.0]]))


def test_a_stray_point_is_named_where_a_cloud_is_rejected(registrar):
    """One point at fifty times the size of a cloud shrinks the turns that the rest holds."""
    rng = np.random.default_rng(3)
    foreign = rng.normal(size=(800, 3))
    assert 'from the rest' not in registrar.register(foreign).reason
    result = registrar.register(np.vstack([foreign, [0.0, 60.0, 80.0]]))
    assert result.status is Status.REJECTED
    assert 'source: few of its points lie up to 99.9 m from the rest; remove' in result.reason


@pytest.mark.parametrize('origin', [0.0, 5e6])
def test_of_a_refused_cloud_nothing_is_known_at_the_cloud(registrar, bracket, origin):
    """Anywhere within the reference, any way round: however far off its frame's origin is."""
    scattered = np.random.default_rng(0).uniform(-1.0, 1.0, (40, 3)) + origin
    result = registrar.register(scattered)
    assert result.status is Status.REJECTED
    # x = R c + t: an error w of the turn swings the centre by w x R c.
    arm = result.transform[:3, :3] @ scattered.mean(axis=0)
    lever = np.hstack([np.eye(3), -np.cross(np.eye(3), arm)])
    at_cloud = np.sqrt(np.diag(lever @ result.covariance @ lever.T))
    radius = np.sqrt(np.square(bracket[1] - bracket[1].mean(axis=0)).sum(axis=1).mean())
    np.testing.assert_allclose(at_cloud, radius, rtol=0.01)


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
    'few': np.random.default_rng(9).normal(size=(29, 3)),
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
        (lambda cloud: register(scenes.sphere(100, np.random.default_rng(0)), cloud), 'target'),
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
        (np.eye(6) + np.eye(6, k=1) * 0.1, 'not symmetric'),
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


def test_a_refused_cloud_with_an_initial_pose_keeps_that(registrar, bracket):
    tiny, spread = 1e-6 * bracket[0], np.diag([0.04, 0.01, 0.01, 0.1, 0.2, 0.1])
    result = registrar.register(tiny, NEAR, spread)
    assert result.status is Status.REJECTED and result.stages.keys() == {'validate', 'reduce'}
    np.testing.assert_allclose(result.transform, NEAR, atol=1e-12)
    np.testing.assert_allclose(result.covariance, spread, atol=1e-4)


def test_a_place_seen_from_elsewhere_says_that_the_viewpoint_may_be_wrong():
    rng = np.random.default_rng(0)
    room = scenes.box(6000, rng, (8.0, 5.0, 3.0))
    room = np.vstack([room, scenes.box(1500, rng) + [2.0, 1.0, -1.0]])
    upright = Registrar(room, options=PLAIN.model_copy(update={'upright': True}))
    scan = room[room[:, 0] > -1.0][::3]
    scan = scan + rng.normal(scale=0.005, size=scan.shape)
    assert upright.register(scan, viewpoint=[1.0, -1.0, 0.0]).accepted
    result = upright.register(scan, np.eye(4), viewpoint=[-20.0, -1.0, 0.0])
    assert result.status is Status.REJECTED and 'saw through' in result.reason


def test_a_thing_seen_from_elsewhere_is_rejected_and_says_so():
    """Three plain faces of a block: turned by half, its fins stand before what was seen."""
    rng = np.random.default_rng(0)
    target, _ = scenes.finned_block(rng)
    _, seen = scenes.finned_block(rng, density=900)
    cloud = seen + rng.normal(scale=0.004, size=seen.shape)
    registrar = Registrar(target)
    for viewpoint in (None, [2.5, 2.2, -2.0]):
        result = registrar.register(cloud, viewpoint=viewpoint)
        assert result.accepted
        assert np.allclose(result.transform, np.eye(4), atol=0.01)
    result = registrar.register(cloud, viewpoint=[-1.5, -1.4, 2.6])
    assert result.status is Status.REJECTED and 'saw through' in result.reason


def test_answers_are_compared_as_objects(registrar, bracket):
    one, other = (registrar.register(bracket[0], NEAR) for _ in range(2))
    assert one == one and one != other


@pytest.mark.parametrize('threshold', [-0.1, 1.1, float('nan'), 'high', [0.5], 1j])
def test_a_threshold_that_is_none_is_one_line(registrar, bracket, threshold):
    with pytest.raises(ParameterError, match='min_confidence') as caught:
        registrar.register(bracket[0], NEAR, min_confidence=threshold)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('viewpoint', ['here', (1.0, 2.0), [[1.0], [2.0, 3.0]], np.inf])
def test_a_viewpoint_that_is_none_is_one_line(registrar, bracket, viewpoint):
    with pytest.raises(ParameterError, match='viewpoint') as caught:
        registrar.register(bracket[0], NEAR, viewpoint=viewpoint)
    assert '\n' not in str(caught.value)


def test_tensors_are_clouds_and_poses_and_those_that_are_none_are_one_line(registrar, bracket):
    torch = pytest.importorskip('torch')
    source, near = torch.from_numpy(bracket[0]), torch.from_numpy(NEAR)
    expected = registrar.register(bracket[0], NEAR).transform
    np.testing.assert_array_equal(registrar.register(source, near).transform, expected)
    for odd in (source.clone().requires_grad_(), source.bfloat16(), source.to('meta')):
        with pytest.raises(CloudError, match='source: ') as caught:
            registrar.register(odd, NEAR)
        assert '\n' not in str(caught.value)
    with pytest.raises(ParameterError, match='init: '):
        registrar.register(source, near.clone().requires_grad_())


def test_what_is_masked_is_no_point(registrar, bracket):
    """A driver that masks what it did not see leaves anything under the mask."""
    source = bracket[0]
    hidden = np.ma.masked_array(np.vstack([source, np.full((500, 3), 0.3)]), np.zeros((2500, 3)))
    hidden[2000:, 2] = np.ma.masked
    plain = registrar.register(source, NEAR)
    np.testing.assert_array_equal(registrar.register(hidden, NEAR).transform, plain.transform)


def test_columns_for_points_are_told_from_points_with_more_than_three_numbers(registrar, bracket):
    with pytest.raises(CloudError, match=r'got \(3, 2000\); pass points\.T'):
        registrar.register(bracket[0].T)
    with pytest.raises(CloudError, match=r'got \(2000, 4\); pass points\[:, :3\]'):
        registrar.register(np.pad(bracket[0], ((0, 0), (0, 1))))


@pytest.mark.parametrize('upright', [False, True])
def test_voxels_as_large_as_a_cloud_are_one_line(bracket, upright):
    source, target = bracket
    coarse = PLAIN.model_copy(update={'voxel_size': 5.0, 'upright': upright})
    with pytest.raises(ParameterError, match='voxel_size: 5 m leaves 1 of 2000') as caught:
        Registrar(50.0 * target, options=coarse).register(source, TRUTH)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('copied', [pickle.dumps, copy.deepcopy])
def test_a_registrar_that_is_sent_to_another_process_is_one_line(registrar, copied):
    with pytest.raises(TypeError, match='Registrar cannot be pickled: build one in each process'):
        copied(registrar)
