"""Objects before a sensor: frames, covariance, search, segmentation."""

import numpy as np
import pytest
from rig import (
    CAMERA_FROM_BOX,
    CAMERA_FROM_MUG,
    OBJECTS,
    REJECTED,
    Rig,
    apply,
    at,
    object_rig,
    pose,
    seen,
)
from scipy.spatial.transform import Rotation


def test_an_object_is_published_in_the_clouds_frame_at_the_clouds_time(tmp_path):
    rig = object_rig(tmp_path)
    output = seen(rig, 0)
    (transform,) = output.transforms
    assert (transform.parent, transform.child) == ('camera', 'mug')
    assert transform.stamp_ns == at(0)
    np.testing.assert_allclose(transform.matrix, CAMERA_FROM_MUG, atol=1e-9)
    np.testing.assert_allclose(output.aligned[0].points(), rig.cloud, atol=1e-5)
    assert rig.localizer.on_timer(at(0.1)).transforms == ()


def test_the_registrar_knows_where_the_objects_were_seen_from(tmp_path):
    rig = object_rig(tmp_path)
    seen(rig, 0)
    np.testing.assert_array_equal(rig.calls[0].viewpoint, np.zeros(3))
    rig = object_rig(tmp_path, **{'frames.sensor': 'lens'})
    assert not seen(rig, 0).transforms, 'nobody says yet where that is'
    camera_from_lens = pose((0.4, 0.0, 0.1), (0.1, -0.2, 0.3))
    rig.tree.insert('camera', 'lens', 0, camera_from_lens, static=True)
    seen(rig, 1)
    np.testing.assert_allclose(rig.calls[-1].viewpoint, camera_from_lens[:3, 3], atol=1e-9)
    rig = object_rig(tmp_path, **{'objects.free_space': False})
    seen(rig, 0)
    assert rig.calls[0].viewpoint is None


def test_the_covariance_moves_with_the_inverse_and_the_parent(tmp_path):
    """Oracle: 40,000 sampled errors of scan-onto-model, inverted and moved by scipy."""
    rig = object_rig(tmp_path, **{'frames.parent': 'world'})
    world_from_camera = pose((0, -1.2, 0.3), (2, 1, 1))
    rig.tree.insert('world', 'camera', 0, world_from_camera, static=True)
    covariance = np.diag([1e-4, 4e-4, 2e-4, 1e-5, 3e-5, 2e-5])
    covariance[0, 4] = covariance[4, 0] = 3e-5
    rig.registrar.verdicts.append({'covariance': covariance})
    output = seen(rig, 0)
    truth = world_from_camera @ CAMERA_FROM_MUG
    np.testing.assert_allclose(output.transforms[0].matrix, truth, atol=1e-9)
    assert output.poses[0].frame == 'world'

    generator = np.random.default_rng(0)
    errors = generator.multivariate_normal(np.zeros(6), covariance, 40_000)
    mug_from_camera = np.linalg.inv(CAMERA_FROM_MUG)
    rotations = Rotation.from_rotvec(errors[:, 3:]) * Rotation.from_matrix(mug_from_camera[:3, :3])
    inverse_rotations = rotations.inv()
    positions = -inverse_rotations.apply(mug_from_camera[:3, 3] + errors[:, :3])
    world = Rotation.from_matrix(world_from_camera[:3, :3])
    turned = world * inverse_rotations * Rotation.from_matrix(truth[:3, :3]).inv()
    moved = world.apply(positions) + world_from_camera[:3, 3] - truth[:3, 3]
    sampled = np.cov(np.hstack([moved, turned.as_rotvec()]).T)
    sizes = np.sqrt(np.diag(sampled))
    np.testing.assert_allclose(
        output.poses[0].covariance / np.outer(sizes, sizes),
        sampled / np.outer(sizes, sizes),
        atol=0.03,
    )


def test_two_objects_in_one_cloud_are_judged_apart(tmp_path):
    rig = object_rig(tmp_path, names=('mug', 'box'))
    mug, box = rig.registrars
    box.verdicts.append(REJECTED)
    output = seen(rig, 0)
    assert [transform.child for transform in output.transforms] == ['mug']
    assert (rig.state('mug'), rig.state('box')) == ('TRACKING', 'SEARCHING')
    assert [t.child for t in seen(rig, 1).transforms] == ['mug', 'box']


def test_an_object_that_was_carried_off_is_found_on_the_cloud_that_shows_it(tmp_path):
    rig = object_rig(tmp_path)
    seen(rig, 0)
    rig.registrar.verdicts.append(REJECTED)  # where it was, there is nothing
    (transform,) = seen(rig, 0.1, CAMERA_FROM_BOX).transforms
    np.testing.assert_allclose(transform.matrix, CAMERA_FROM_BOX, atol=1e-9)
    assert [call.init is None for call in rig.calls] == [True, False, True]
    thorough = [call.thorough for call in rig.calls]
    assert thorough == [True, False, True], 'no closer look where it was before the search'


def test_while_an_object_is_tracked_other_things_are_cut_away(tmp_path):
    """The stand-in takes nothing but the object's own points."""
    rig = object_rig(tmp_path)
    seen(rig, 0)
    beside = [40.0, 0, 0] + np.random.default_rng(0).uniform(-5, 5, (500, 3))
    scene = apply(CAMERA_FROM_MUG, np.vstack([rig.cloud, beside]))
    (transform,) = rig.localizer.on_cloud(at(0.1), 'camera', scene).transforms
    np.testing.assert_allclose(transform.matrix, CAMERA_FROM_MUG, atol=1e-9)
    assert len(rig.calls) == 2


def test_when_nothing_is_left_where_the_object_was_it_is_searched(tmp_path):
    rig = object_rig(tmp_path)
    seen(rig, 0)
    far = pose((1, 0, 0), (200, 0, 0))
    (transform,) = seen(rig, 0.1, far).transforms
    np.testing.assert_allclose(transform.matrix, far, atol=1e-9)
    assert rig.calls[-1].init is None


def test_no_second_search_when_there_is_no_time_for_it(tmp_path):
    rig = object_rig(tmp_path, **{'objects.search_budget': 0.0})
    seen(rig, 0)
    rig.registrar.verdicts.append(REJECTED)
    assert seen(rig, 0.1, CAMERA_FROM_BOX).transforms == ()
    assert [call.thorough for call in rig.calls] == [True, True]


def test_what_is_not_in_view_delays_what_is_a_quarter_of_the_time(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr('dlc_ros.localization.cloud_path.time.perf_counter', lambda: now[0])
    rig = object_rig(tmp_path, names=('mug', 'box'))
    mug, box = rig.registrars

    def search():
        now[0] += 0.4

    box.before_answer = search
    box.verdicts.extend([REJECTED] * 1000)
    lost_after = rig.parameters.tracking.lost_after
    for i in range(lost_after):
        seen(rig, 0.1 * i)
        assert len(box.calls) == i + 1, 'at first it is searched for on every cloud'
    now[0] = 1000.0
    for i in range(400):
        now[0] += 0.1
        assert [t.child for t in seen(rig, 1.0 + 0.1 * i).transforms] == ['mug']
    searching = 0.4 * (len(box.calls) - lost_after)
    assert 0.2 < searching / (now[0] - 1000.0) <= 0.25
    assert len(mug.calls) == lost_after + 400
    box.verdicts.clear()
    now[0] += 2.0
    assert [t.child for t in seen(rig, 60.0).transforms] == ['mug', 'box']


def test_when_nothing_is_tracked_every_cloud_is_searched(tmp_path):
    rig = object_rig(tmp_path)
    rig.registrar.verdicts.extend([REJECTED] * 20)
    for i in range(20):
        seen(rig, 0.1 * i)
    assert len(rig.calls) == 20


def test_the_sensors_motion_in_a_fixed_frame_moves_the_prior(tmp_path):
    rig = object_rig(tmp_path, **{'objects.fixed_frame': 'world'})
    world_from_camera = {0: pose((0, 0, 0.1), (1, 0, 0)), 1: pose((0, 0.5, 0.3), (0, 2, 0))}
    for seconds, matrix in world_from_camera.items():
        rig.tree.insert('world', 'camera', at(seconds), matrix)
    seen(rig, 0)
    after = np.linalg.inv(world_from_camera[1]) @ world_from_camera[0] @ CAMERA_FROM_MUG
    seen(rig, 1, after)
    np.testing.assert_allclose(rig.calls[-1].init, np.linalg.inv(after), atol=1e-9)


def test_another_camera_starts_a_search(tmp_path):
    rig = object_rig(tmp_path)
    seen(rig, 0)
    seen(rig, 0.1, CAMERA_FROM_BOX, frame='other_camera')
    assert rig.calls[-1].init is None


def test_an_initial_pose_of_the_object(tmp_path):
    rig = object_rig(tmp_path)
    refused = rig.localizer.on_initial_pose(0, 'table', np.eye(4), np.zeros((6, 6)))
    assert 'no cloud yet' in refused.message
    table_from_camera = pose((0, 2.0, 0), (0, 0, 1))
    rig.tree.insert('table', 'camera', 0, table_from_camera, static=True)
    seen(rig, 0)
    guess = pose((0, 0, 0.2), (0.1, 0.1, 0))
    assert rig.localizer.on_initial_pose(0, 'table', guess, np.zeros((6, 6))).accepted
    seen(rig, 0.1)
    expected = np.linalg.inv(guess) @ table_from_camera
    np.testing.assert_allclose(rig.calls[-1].init, expected, atol=1e-9)


def test_with_several_objects_commands_must_name_one(tmp_path):
    rig = object_rig(tmp_path, names=('mug', 'box'))
    result = rig.localizer.on_initial_pose(0, 'camera', np.eye(4), np.eye(6))
    assert not result.accepted and 'one of mug, box' in result.message
    assert not rig.localizer.on_initial_pose(0, 'camera', np.eye(4), np.eye(6), 'jug').accepted
    result = rig.localizer.load_reference(rig.files['map'])
    assert not result.accepted and 'name=file' in result.message
    assert rig.localizer.load_reference(f'lid={rig.files["map"]}').accepted
    assert [t.child for t in seen(rig, 0).transforms] == ['mug', 'box', 'lid']


def test_poses_come_without_transforms_where_those_are_not_wanted(tmp_path):
    rig = object_rig(tmp_path, publish_tf=False)
    output = seen(rig, 0)
    assert output.transforms == ()
    np.testing.assert_allclose(output.poses[0].matrix, CAMERA_FROM_MUG, atol=1e-9)


def test_no_two_objects_share_topics(tmp_path):
    rig = object_rig(tmp_path, names=())
    assert rig.localizer.load_reference(f'left-cup={rig.files["mug"]}').accepted
    result = rig.localizer.load_reference(f'left_cup={rig.files["box"]}')
    assert not result.accepted and 'topics' in result.message
    assert rig.localizer.load_reference(f'left-cup={rig.files["box"]}').accepted


def test_no_object_is_its_own_parent(tmp_path):
    rig = object_rig(tmp_path, **{'frames.parent': 'world'})
    result = rig.localizer.load_reference(f'world={rig.files["map"]}')
    assert not result.accepted and "'world' is a frame of the robot" in result.message
    rig = object_rig(tmp_path)
    output = seen(rig, 0, frame='mug')
    assert (output.transforms, len(output.poses)) == ((), 1)
    entry = rig.status('output')
    assert (entry.level, 'rename the object' in entry.message) == (2, True)
    assert seen(rig, 0.1, frame='camera').transforms
    assert rig.status('output').level == 0


def test_objects_may_be_loaded_into_an_empty_localizer(tmp_path):
    rig = object_rig(tmp_path, names=())
    assert 'no reference' in rig.localizer.problems[0]
    seen(rig, 0)
    assert rig.status('input').level == 2
    assert rig.localizer.load_reference(f'mug={rig.files["mug"]}').accepted
    assert [t.child for t in seen(rig, 1).transforms] == ['mug']


def test_a_configured_parent_that_is_missing_is_an_error(tmp_path):
    rig = object_rig(tmp_path, **{'frames.parent': 'world'})
    assert seen(rig, 0).transforms == ()
    assert "nobody publishes the frame 'world'" in rig.status('input').message


def test_nothing_left_after_segmentation_is_said(tmp_path):
    rig = object_rig(tmp_path, **{'segmentation.max_range': 0.01})
    assert seen(rig, 0).transforms == ()
    assert 'left after segmentation' in rig.status('input').message


@pytest.mark.parametrize(
    ('of_model', 'of_camera', 'named'),
    [
        (1.0, 1000.0, 'the cloud looks like millimetres; publish metres (REP-103)'),
        (1000.0, 1.0, 'the reference looks like millimetres; set reference_unit to 0.001'),
    ],
)
def test_millimetres_are_named(tmp_path, of_model, of_camera, named):
    """The two clouds differ, so that the stand-in does not fit them."""
    generator = np.random.default_rng(0)
    path = tmp_path / 'part.npy'
    np.save(path, of_model * generator.uniform(-0.1, 0.1, (500, 3)))
    for i, max_range in enumerate((0.0, 2.0)):
        flat = {**OBJECTS, 'objects.references': [str(path)]}
        rig = Rig(tmp_path, {**flat, 'segmentation.max_range': max_range})
        scene = generator.uniform([-0.5, -0.5, 0.6], [0.5, 0.5, 0.7], (2000, 3))
        rig.localizer.on_cloud(at(i), 'camera', of_camera * scene)
        assert named in rig.status('input').message + rig.status('pose of mug').message


def test_an_object_that_rested_is_followed_when_it_is_pushed(tmp_path):
    """Its pose is sure to a tenth of a millimetre by then; a push of 3 cm is no wrong pose."""
    rig = object_rig(tmp_path, **{'objects.search_budget': 0.0})
    rig.registrar.verdicts.extend([{'covariance': 1e-8 * np.eye(6)}] * 30)
    for i in range(20):
        assert seen(rig, 0.1 * i).transforms
    pushed = pose(translation=(0.03, 0, 0)) @ CAMERA_FROM_MUG
    (transform,) = seen(rig, 2.0, pushed).transforms
    np.testing.assert_allclose(transform.matrix, pushed, atol=1e-9)
    assert seen(rig, 2.1, pose(translation=(3.0, 0, 0)) @ pushed).transforms == ()


def test_an_object_that_was_taken_away_is_no_fault_of_the_cloud(tmp_path):
    rig = object_rig(tmp_path, **{'objects.search_budget': 0.0})
    seen(rig, 0)
    away = pose(translation=(40, 0, 0)) @ CAMERA_FROM_MUG
    assert not seen(rig, 0.1, away).transforms
    assert rig.status('input', 0.1).level == 0
    entry = rig.status('pose of mug', 0.1)
    assert 'points lie where it is expected' in entry.message
    assert (entry.level, entry.values['rejected']) == (1, '1')


@pytest.mark.parametrize('name', ['cell/part', 'part.v2', 'a=b'])
@pytest.mark.parametrize('others', [(), ('mug',)])
def test_an_object_is_named_in_a_command_as_in_the_parameters(tmp_path, name, others):
    mug = object_rig(tmp_path).files['mug']
    flat = {'mode': 'object', 'objects.names': [name, *others]}
    rig = Rig(tmp_path, {**flat, 'objects.references': [mug] * (1 + len(others))})
    result = rig.localizer.load_reference(f'{name}={rig.files["box"]}')
    assert result.accepted and result.message.startswith(f'{name}: reference')
    assert rig.localizer.names == (name, *others)


def test_an_object_that_was_added_by_mistake_is_removed(tmp_path):
    rig = object_rig(tmp_path, names=('mug', 'box'))
    assert rig.localizer.load_reference(f'mgu={rig.files["map"]}').accepted
    assert not rig.localizer.load_reference('mgu').accepted
    assert not rig.localizer.load_reference('jug=').accepted
    assert "no object 'jug'" in rig.status('input').values['last refused command']
    seen(rig, 0)
    rig.localizer.on_transform('camera', 'mgu', 0, True, lambda: ['/placeholder'])
    assert rig.localizer.load_reference('mgu=').accepted
    assert rig.localizer.names == ('mug', 'box')
    assert rig.status('output').values['other publisher'] == ''
    assert [t.child for t in seen(rig, 0.1).transforms] == ['mug', 'box']
    assert not any('mgu' in entry.name for entry in rig.localizer.diagnostics(at(0.1)))
    for name in ('mug', 'box'):
        assert rig.localizer.load_reference(f'{name}=').accepted
    assert 'no reference' in rig.localizer.problems[0]
    assert seen(rig, 0.2).transforms == ()
    assert rig.localizer.load_reference(f'mgu={rig.files["map"]}').accepted
    assert rig.status('pose of mgu', 0.2).values['registered'] == '0'
    assert [t.child for t in seen(rig, 0.3).transforms] == ['mgu']


def test_an_object_that_is_removed_while_it_is_registered_gives_nothing(tmp_path):
    rig = object_rig(tmp_path, names=('mug', 'box'))
    mug, _ = rig.registrars
    mug.before_answer = lambda: rig.localizer.load_reference('mug=')
    assert [t.child for t in seen(rig, 0).transforms] == ['box']


def test_an_empty_name_of_a_file_removes_nothing(tmp_path):
    rig = object_rig(tmp_path)
    assert not rig.localizer.load_reference('').accepted
    assert rig.localizer.names == ('mug',)
