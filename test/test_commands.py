"""Commands of an operator: poses, references, weights, parameters; and threads."""

import threading

import numpy as np
import pytest
from rig import (
    MAP_FROM_ODOM,
    Rig,
    apply,
    at,
    object_rig,
    odom_from_base,
    pose,
)

from dlc_ros.localization.parameters import from_flat


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path, {'mode': 'map', 'reference': 'map'})


def test_an_initial_pose_says_where_to_look_and_publishes_nothing(rig):
    rig.scan(0.0)
    covariance = np.zeros((6, 6))
    covariance[0, 0] = covariance[1, 1] = 0.25
    guess = pose((0, 0, 0.5), (9, -4, 0))
    rig.tree.insert('odom', 'base_link', at(0.1), odom_from_base(0.1))
    result = rig.localizer.on_initial_pose(at(0.1), '/map', guess, covariance)
    assert result.accepted
    assert rig.localizer.on_timer(at(0.15)).transforms == ()
    rig.scan(0.4)
    motion = np.linalg.inv(odom_from_base(0.1)) @ odom_from_base(0.4)
    np.testing.assert_allclose(rig.calls[-1].init, guess @ motion, atol=1e-9)
    deviations = np.sqrt(np.diag(rig.calls[-1].init_covariance))
    assert deviations[0] == pytest.approx(0.5, rel=0.1)
    # RViz leaves z, roll and pitch without a variance: that is no certainty.
    assert deviations[2] >= rig.parameters.prior.initial_translation
    assert deviations[3] >= rig.parameters.prior.initial_rotation


def test_an_initial_pose_in_another_frame_is_moved_to_the_map(rig):
    map_from_site = pose((0, 0, 1.1), (3, 2, 0))
    rig.tree.insert('map', 'site', 0, map_from_site, static=True)
    rig.tree.insert('odom', 'base_link', at(0), odom_from_base(0))
    guess = pose((0, 0, -0.4), (5, 0, 0))
    covariance = np.diag([4.0, 0.01, 0.01, 0.01, 0.01, 0.01])
    assert rig.localizer.on_initial_pose(0, 'site', guess, covariance).accepted
    rig.scan(0.0)
    np.testing.assert_allclose(rig.calls[-1].init, map_from_site @ guess, atol=1e-9)
    # Uncertain along the site's x axis, which the map sees at 1.1 rad.
    values, vectors = np.linalg.eigh(rig.calls[-1].init_covariance[:3, :3])
    direction = vectors[:, 2] * np.sign(vectors[0, 2])
    np.testing.assert_allclose(direction, [np.cos(1.1), np.sin(1.1), 0], atol=1e-3)


@pytest.mark.parametrize(
    ('frame', 'guess', 'covariance', 'message'),
    [
        ('mars', np.eye(4), np.eye(6), 'no transform map <- mars'),
        ('', np.eye(4), np.eye(6), 'names no frame'),
        ('map', np.diag([0.0, 0, 0, 1]), np.eye(6), 'unit quaternion'),
        ('map', np.eye(4), -np.eye(6), 'not positive definite'),
        ('map', np.eye(4), np.full((6, 6), np.nan), 'not a finite 6x6 matrix'),
        ('map', np.eye(4), np.full((6, 6), 1.5e308), 'not a finite 6x6 matrix'),
        ('map', np.eye(4), np.eye(3), 'not a finite 6x6 matrix'),
    ],
)
def test_a_bad_initial_pose_changes_nothing(rig, frame, guess, covariance, message):
    rig.scan(0.0)
    result = rig.localizer.on_initial_pose(at(0), frame, guess, covariance)
    assert not result.accepted
    assert message in result.message
    assert message in rig.status('input').values['last refused command']
    assert rig.state() == 'TRACKING'
    assert len(rig.localizer.on_timer(at(0.1)).transforms) == 1


def test_relocalize_searches_globally_and_stops_what_may_be_wrong(rig):
    rig.scan(0.0)
    assert rig.localizer.relocalize().accepted
    assert rig.localizer.on_timer(at(0.1)).transforms == ()
    rig.scan(0.2)
    assert rig.calls[-1].init is None
    assert rig.state() == 'TRACKING'


def test_another_reference_is_taken_when_it_is_good_and_only_then(rig, tmp_path):
    rig.scan(0.0)
    (tmp_path / 'broken.npy').write_bytes(b'nonsense')
    for path in (tmp_path / 'missing.npy', tmp_path / 'broken.npy'):
        result = rig.localizer.load_reference(str(path))
        assert not result.accepted
        assert path.name in result.message
        assert '\n' not in result.message
    rig.scan(0.2)
    assert rig.calls[-1].init is not None, 'the old reference and its pose were kept'

    moved = pose((0, 0, 1), (3, 3, 0))
    np.save(tmp_path / 'moved.npy', apply(moved, rig.cloud))
    assert rig.localizer.load_reference(str(tmp_path / 'moved.npy')).accepted
    output = rig.scan(0.4)
    assert rig.calls[-1].init is None
    np.testing.assert_allclose(output.transforms[0].matrix, moved @ MAP_FROM_ODOM, atol=1e-9)


def test_other_weights_are_taken_when_they_are_good_and_only_then(rig):
    rig.scan(0.0)
    before = rig.registrar
    result = rig.localizer.load_weights('bad')
    assert not result.accepted
    assert 'bad is damaged' in result.message
    assert rig.registrar is before
    assert rig.localizer.load_weights('better').accepted
    assert rig.registrar.weights == 'better'
    rig.scan(0.2)
    assert rig.calls[-1].init is not None, 'the pose is as good as it was'
    assert rig.localizer.load_reference(rig.files['map']).accepted
    assert rig.registrar.weights == 'better', 'they stay in force for references to come'


def test_references_are_shown_thinned(tmp_path):
    rig = object_rig(tmp_path, names=('mug', 'box'))
    np.testing.assert_array_equal(rig.localizer.references()[0].points, rig.cloud)
    many = np.random.default_rng(0).normal(size=(450_000, 3))
    np.save(tmp_path / 'many.npy', many)
    assert rig.localizer.load_reference(f'box={tmp_path / "many.npy"}').accepted
    mug, box = rig.localizer.references()
    assert (mug.name, box.name) == ('mug', 'box')
    assert 100_000 < len(box.points) <= 200_000
    assert {tuple(point) for point in box.points[:9]} <= {tuple(point) for point in many}


def test_a_missing_reference_is_named_and_can_be_loaded_later(tmp_path):
    rig = Rig(tmp_path, {'mode': 'map', 'reference': '/nowhere/map.ply'})
    (problem,) = rig.localizer.problems
    assert 'no file /nowhere/map.ply' in problem
    assert rig.scan(0.0).transforms == ()
    assert 'no reference is loaded' in rig.status('input').message
    assert '/nowhere/map.ply' in rig.status('pose of map').message
    assert rig.localizer.load_reference(rig.files['map']).accepted
    assert rig.localizer.problems == ()
    assert rig.scan(0.1).transforms


def test_without_a_reference_nothing_is_said_to_be_searched(tmp_path):
    rig = Rig(tmp_path, {'mode': 'map'})
    rig.tree.insert('odom', 'base_link', at(0), odom_from_base(0))
    guess = MAP_FROM_ODOM @ odom_from_base(0)
    for command in (
        lambda: rig.localizer.on_initial_pose(0, 'map', guess, np.zeros((6, 6))),
        rig.localizer.relocalize,
    ):
        result = command()
        assert not result.accepted
        assert 'no reference is loaded' in result.message
        assert rig.status('input').values['last refused command'] == result.message
    assert rig.localizer.load_reference(rig.files['map']).accepted
    assert rig.localizer.relocalize().accepted
    assert rig.localizer.on_initial_pose(0, 'map', guess, np.zeros((6, 6))).accepted
    rig.scan(0.1)
    assert rig.calls[-1].init is not None


def test_bad_weights_at_the_start_are_named_and_can_be_replaced(tmp_path):
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map', 'weights': 'bad'})
    assert rig.messages == ['weights not loaded: bad is damaged; copy it again']
    assert 'bad is damaged' in rig.localizer.problems[0]
    assert rig.localizer.load_weights('good').accepted
    assert rig.localizer.problems == ()
    assert rig.scan(0.1).transforms


def test_an_object_that_waits_for_usable_weights_is_added_with_them(tmp_path):
    rig = object_rig(tmp_path, weights='bad')
    assert not rig.localizer.load_reference(f'box={rig.files["box"]}').accepted
    assert rig.localizer.names == ('mug',), 'there is no such object yet'
    assert rig.localizer.load_weights('good').accepted
    assert rig.localizer.names == ('mug', 'box')
    assert rig.localizer.problems == ()


def test_live_parameters_change_and_others_are_refused(rig):
    rig.scan(0.0)
    flat = {'mode': 'map', 'reference': rig.files['map']}
    assert rig.localizer.update(from_flat({**flat, 'hold_timeout': 0.1})).accepted
    assert rig.localizer.on_timer(at(0.2)).transforms == ()
    result = rig.localizer.update(from_flat({**flat, 'frames.map': 'site'}))
    assert not result.accepted
    assert 'frames.map' in result.message


def test_a_changed_threshold_counts_from_the_next_cloud_on(rig):
    rig.scan(0.0)
    flat = {'mode': 'map', 'reference': rig.files['map']}
    assert rig.localizer.update(from_flat({**flat, 'registration.min_confidence': 0.8})).accepted
    rig.scan(0.1)
    assert [call.min_confidence for call in rig.calls] == [0.5, 0.8]


@pytest.mark.parametrize('command', ['relocalize', 'on_time_jump', 'load_reference'])
def test_a_timer_and_commands_do_not_wait_for_a_registration(rig, command):
    """An answer that a command made void is dropped."""
    rig.scan(0.0)
    busy, finish = threading.Event(), threading.Event()

    def wait():
        busy.set()
        assert finish.wait(30)

    rig.registrar.before_answer = wait
    outputs = []
    worker = threading.Thread(target=lambda: outputs.append(rig.scan(0.2)))
    worker.start()
    assert busy.wait(30)
    try:
        assert len(rig.localizer.on_timer(at(0.1)).transforms) == 1
        assert rig.status('pose of map').values['registered'] == '1'
        argument = {'on_time_jump': (at(0.1),), 'load_reference': (rig.files['map'],)}
        assert getattr(rig.localizer, command)(*argument.get(command, ())).accepted
    finally:
        finish.set()
        worker.join()
    (output,) = outputs
    assert (output.transforms, output.poses) == ((), ())
    assert rig.status('input').values['answers made void by a command'] == '1'
    assert rig.localizer.on_timer(at(0.3)).transforms == ()
