"""The localizer as a node drives it: clouds and commands in, transforms out, in both modes."""

import logging
import threading

import numpy as np
import pytest
from fake_registrar import FakeRegistrar
from scipy.spatial.transform import Rotation

from dlc_ros.errors import CloudError, TransformUnavailable, WeightsError
from dlc_ros.localization.localizer import Localizer
from dlc_ros.localization.parameters import from_flat
from dlc_ros.localization.transforms import TransformTree
from dlc_ros.registration.result import Status

S = 10**9
START = 1_700_000_000 * S
REJECTED = {'status': Status.REJECTED, 'reason': 'too few inliers'}


def pose(rotvec=(0, 0, 0), translation=(0, 0, 0)):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rotvec).as_matrix()
    matrix[:3, 3] = translation
    return matrix


def apply(transform, points):
    return Rotation.from_matrix(transform[:3, :3]).apply(points) + transform[:3, 3]


def at(seconds):
    return START + round(seconds * S)


BASE_FROM_LIDAR = pose((np.pi, 0, 0.3), (0.2, 0.0, 0.5))  # hangs upside down
MAP_FROM_ODOM = pose((0, 0, 0.7), (10.0, -4.0, 0.2))


def odom_from_base(seconds):
    """A bend, half a metre a second."""
    yaw = 0.2 * seconds
    return pose((0, 0, yaw), (2.5 * np.sin(yaw), 2.5 * (1 - np.cos(yaw)), 0))


class Rig:
    """A localizer on a transform tree, with registrars that a test can dictate."""

    def __init__(self, tmp_path, parameters, with_lidar=True):
        generator = np.random.default_rng(1)
        self.cloud = generator.uniform(-5, 5, (60, 3))
        self.files = {}
        for name in ('map', 'mug', 'box'):
            self.files[name] = str(tmp_path / f'{name}.npy')
            np.save(self.files[name], self.cloud)
        self.registrars = []
        self.tree = TransformTree()
        if with_lidar:
            self.add_lidar()
        self.messages = []
        if parameters.get('reference') in self.files:
            parameters = {**parameters, 'reference': self.files[parameters['reference']]}
        self.parameters = from_flat(parameters)
        self.localizer = Localizer(
            self.parameters,
            self.tree.lookup,
            log=self._log(),
            name='localizer',
            parent_of=self.tree.parent_of,
            registrar_factory=self._make,
        )

    def add_lidar(self):
        self.tree.insert('base_link', 'lidar', 0, BASE_FROM_LIDAR, static=True)

    def _make(self, points, weights, options):
        if weights == 'bad':
            raise WeightsError('bad is damaged; copy it again')
        self.registrars.append(FakeRegistrar(points, weights, options))
        return self.registrars[-1]

    def _log(self):
        log = logging.Logger('test')
        handler = logging.Handler()
        handler.emit = lambda record: self.messages.append(record.getMessage())
        log.addHandler(handler)
        return log

    @property
    def registrar(self):
        return self.registrars[-1]

    @property
    def calls(self):
        return self.registrar.calls

    def scan(self, seconds, frame='lidar', **kwargs):
        """A scan of the map from where the robot is then, with odometry up to date."""
        self.tree.insert('odom', 'base_link', at(seconds), odom_from_base(seconds))
        return self.localizer.on_cloud(at(seconds), frame, self.lidar_points(seconds), **kwargs)

    def lidar_points(self, seconds):
        map_from_lidar = MAP_FROM_ODOM @ odom_from_base(seconds) @ BASE_FROM_LIDAR
        return apply(np.linalg.inv(map_from_lidar), self.cloud)

    def status(self, task, seconds=0.0):
        found = {entry.name: entry for entry in self.localizer.diagnostics(at(seconds))}
        return found[f'localizer: {task}']

    def state(self, name='map'):
        return self.status(f'pose of {name}').values['state']


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path, {'mode': 'map', 'reference': 'map'})


# Map mode


def test_map_to_odom_puts_the_robot_where_it_is_at_every_scan(rig):
    """Oracle: the truth, composed without the project's own arithmetic."""
    for seconds in np.arange(0, 4, 0.25):
        output = rig.scan(seconds)
        (correction,) = output.transforms
        assert (correction.parent, correction.child) == ('map', 'odom')
        np.testing.assert_allclose(correction.matrix, MAP_FROM_ODOM, atol=1e-9)
        (estimate,) = output.poses
        assert (estimate.name, estimate.frame) == ('base_link', 'map')
        assert estimate.stamp_ns == at(seconds)
        truth = MAP_FROM_ODOM @ odom_from_base(seconds)
        np.testing.assert_allclose(estimate.matrix, truth, atol=1e-9)
    assert rig.state() == 'TRACKING'
    assert rig.status('pose of map').values['registered'] == '16'


def test_the_prior_is_the_last_pose_moved_by_the_odometry(rig):
    rig.scan(0.0)
    rig.scan(1.5)
    first, second = rig.calls
    assert first.init is None and first.init_covariance is None
    np.testing.assert_allclose(second.init, MAP_FROM_ODOM @ odom_from_base(1.5), atol=1e-9)
    assert np.linalg.eigvalsh(second.init_covariance)[0] > 0


def test_transforms_are_dated_forward_and_dates_only_grow(rig):
    tolerance = rig.parameters.transform_tolerance
    (first,) = rig.scan(0.0).transforms
    assert first.stamp_ns == at(tolerance)
    (repeated,) = rig.localizer.on_timer(at(0.5)).transforms
    assert repeated.stamp_ns == at(0.5 + tolerance)
    # A scan that took long to register is older than what the timer has said since.
    (second,) = rig.scan(0.4).transforms
    assert second.stamp_ns > repeated.stamp_ns
    (third,) = rig.localizer.on_timer(at(0.6)).transforms
    assert third.stamp_ns > second.stamp_ns
    assert rig.localizer.on_timer(at(0.6)).transforms == ()


def test_the_last_accepted_transform_is_held_then_stops(rig):
    (accepted,) = rig.scan(0.0).transforms
    rig.registrar.verdicts.extend([REJECTED] * 20)
    for seconds in (0.5, 1.0, 1.5, 2.0):
        assert rig.scan(seconds - 0.01).transforms == ()
        (repeated,) = rig.localizer.on_timer(at(seconds)).transforms
        np.testing.assert_array_equal(repeated.matrix, accepted.matrix)
    assert rig.localizer.on_timer(at(2.01)).transforms == ()


def test_a_rejected_estimate_alters_nothing(rig):
    assert rig.localizer.on_timer(at(0)).transforms == ()
    rig.scan(0.0)
    wrong = {**REJECTED, 'transform': pose((0, 0, 3), (99, 0, 0))}
    rig.registrar.verdicts.append(wrong)
    output = rig.scan(0.2)
    assert (output.transforms, output.poses, output.aligned) == ((), (), ())
    (repeated,) = rig.localizer.on_timer(at(0.3)).transforms
    np.testing.assert_allclose(repeated.matrix, MAP_FROM_ODOM, atol=1e-9)
    rig.scan(0.4)
    np.testing.assert_allclose(rig.calls[-1].init, MAP_FROM_ODOM @ odom_from_base(0.4), atol=1e-9)


def test_lost_after_several_rejections_then_searched_globally(rig):
    rig.scan(0.0)
    lost_after = rig.parameters.tracking.lost_after
    rig.registrar.verdicts.extend([REJECTED] * lost_after)
    for i in range(1, lost_after + 1):
        output = rig.scan(0.1 * i)
    assert [change.after for change in output.changes] == ['LOST']
    assert all(call.init is not None for call in rig.calls[1:])
    assert rig.status('pose of map').level == 2
    output = rig.scan(2.0)
    assert rig.calls[-1].init is None
    assert [change.after for change in output.changes] == ['SEARCHING', 'TRACKING']
    np.testing.assert_allclose(output.transforms[0].matrix, MAP_FROM_ODOM, atol=1e-9)


def test_a_corridor_corrects_across_and_keeps_the_odometry_along(rig):
    rig.scan(0.0)
    truth = MAP_FROM_ODOM @ odom_from_base(0.2)
    slid = pose(translation=(0.7, 0.03, 0)) @ truth
    rig.registrar.verdicts.append(
        {'status': Status.DEGENERATE, 'transform': slid, 'free_directions': np.eye(6)[:, :1]}
    )
    (estimate,) = rig.scan(0.2).poses
    expected = pose(translation=(0, 0.03, 0)) @ truth
    np.testing.assert_allclose(estimate.matrix, expected, atol=1e-3)
    assert estimate.covariance[0, 0] > 3 * estimate.covariance[1, 1]


def test_without_odometry_a_transform_only_on_request(tmp_path):
    settings = {'mode': 'map', 'reference': 'map', 'frames.odom': ''}
    silent = Rig(tmp_path, settings)
    output = silent.localizer.on_cloud(at(0), 'lidar', silent.lidar_points(0))
    assert output.transforms == ()
    np.testing.assert_allclose(output.poses[0].matrix, MAP_FROM_ODOM, atol=1e-9)

    asked = Rig(tmp_path, {**settings, 'publish_map_to_base': True})
    for seconds in (0, 1):
        output = asked.localizer.on_cloud(at(seconds), 'lidar', asked.lidar_points(0))
        (transform,) = output.transforms
        assert (transform.parent, transform.child) == ('map', 'base_link')
        np.testing.assert_allclose(transform.matrix, MAP_FROM_ODOM, atol=1e-9)
        # The tree hears the localizer's own transform; that is no other parent.
        asked.tree.insert('map', 'base_link', transform.stamp_ns, transform.matrix)
    assert asked.localizer.on_timer(at(1.1)).transforms == ()


@pytest.mark.parametrize('parent', ['odom', 'map'])
def test_a_second_parent_of_the_base_is_refused(tmp_path, parent):
    rig = Rig(
        tmp_path,
        {'mode': 'map', 'reference': 'map', 'frames.odom': '', 'publish_map_to_base': True},
    )
    rig.tree.insert(parent, 'base_link', at(0), np.eye(4))
    output = rig.localizer.on_cloud(at(0), 'lidar', rig.lidar_points(0))
    assert output.transforms == ()
    assert len(output.poses) == 1
    assert f'already has the parent {parent}' in rig.status('input').message


def test_a_missing_sensor_transform_is_an_error_and_never_identity(tmp_path):
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map'}, with_lidar=False)
    output = rig.scan(0.0)
    assert (output.transforms, output.poses, rig.calls) == ((), (), [])
    assert rig.state() == 'WAITING'
    entry = rig.status('input')
    assert entry.level == 2
    assert "nobody publishes the frame 'lidar'" in entry.message
    rig.add_lidar()
    (correction,) = rig.scan(0.1).transforms
    np.testing.assert_allclose(correction.matrix, MAP_FROM_ODOM, atol=1e-9)
    assert rig.status('input').level == 0


def test_odometry_that_ends_before_the_scan_is_not_extrapolated(rig):
    rig.scan(0.0)
    assert rig.localizer.on_cloud(at(0.2), 'lidar', rig.lidar_points(0.2)).transforms == ()
    assert 'odom <- base_link' in rig.status('input').message
    assert rig.state() == 'TRACKING'
    assert len(rig.scan(0.3).transforms) == 1
    assert rig.calls[-1].init is not None


def test_the_aligned_cloud_lies_on_the_map(rig):
    (aligned,) = rig.scan(0.0).aligned
    assert aligned.frame == 'map'
    np.testing.assert_allclose(aligned.points(), rig.cloud, atol=1e-5)


# Commands


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


def test_a_missing_reference_is_named_and_can_be_loaded_later(tmp_path):
    rig = Rig(tmp_path, {'mode': 'map', 'reference': '/nowhere/map.ply'})
    (problem,) = rig.localizer.problems
    assert 'no file /nowhere/map.ply' in problem
    assert rig.scan(0.0).transforms == ()
    assert 'no reference is loaded' in rig.status('input').message
    assert '/nowhere/map.ply' in rig.status('pose of map').message
    assert rig.localizer.load_reference(rig.files['map']).accepted
    assert rig.localizer.problems == ()
    assert len(rig.scan(0.1).transforms) == 1


def test_bad_weights_at_the_start_are_named_and_can_be_replaced(tmp_path):
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map', 'weights': 'bad'})
    assert 'bad is damaged' in rig.localizer.problems[0]
    assert rig.localizer.load_weights('good').accepted
    assert rig.localizer.problems == ()
    assert len(rig.scan(0.1).transforms) == 1


def test_live_parameters_change_and_others_are_refused(rig):
    rig.scan(0.0)
    flat = {'mode': 'map', 'reference': rig.files['map']}
    assert rig.localizer.update(from_flat({**flat, 'hold_timeout': 0.1})).accepted
    assert rig.localizer.on_timer(at(0.2)).transforms == ()
    result = rig.localizer.update(from_flat({**flat, 'frames.map': 'site'}))
    assert not result.accepted
    assert 'frames.map' in result.message


# Bad input: one line in the diagnostics, and the next good cloud works


def nan_rows(points):
    return np.full_like(points, np.nan)


@pytest.mark.parametrize(
    ('frame', 'change', 'message'),
    [
        ('', None, 'names no frame'),
        ('mars', None, "nobody publishes the frame 'mars'"),
        ('lidar', nan_rows, '0 finite points'),
        ('lidar', lambda points: points[:0], 'empty'),
        ('lidar', lambda points: points[:5], '5 finite points'),
        ('lidar', lambda points: points[:, :2], 'expected shape (N, 3)'),
        ('lidar', lambda points: points * [1, 0, 0], 'on one line'),
        ('lidar', lambda points: points[:40], '40 points of 60'),
    ],
)
def test_a_bad_cloud_is_reported_and_the_next_good_one_works(rig, frame, change, message):
    rig.scan(0.0)
    points = rig.lidar_points(0.1)
    rig.tree.insert('odom', 'base_link', at(0.1), odom_from_base(0.1))
    output = rig.localizer.on_cloud(at(0.1), frame, change(points) if change else points)
    assert (output.transforms, output.poses) == ((), ())
    entry = rig.status('input', 0.1)
    assert entry.level == 2
    assert message in entry.message
    assert len(rig.scan(0.2).transforms) == 1
    assert rig.status('input', 0.2).level == 0


def test_rows_that_are_not_finite_are_ignored(rig):
    rig.tree.insert('odom', 'base_link', at(0), odom_from_base(0))
    points = np.insert(rig.lidar_points(0), [0, 7, 60], np.nan, axis=0)
    points[0, 1] = np.inf
    (correction,) = rig.localizer.on_cloud(at(0), 'lidar', points).transforms
    np.testing.assert_allclose(correction.matrix, MAP_FROM_ODOM, atol=1e-9)


def test_clouds_of_another_frame_than_configured_are_refused(tmp_path):
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map', 'frames.cloud': 'lidar'})
    rig.scan(0.0, frame='radar')
    assert "frame 'radar'; frames.cloud asks for 'lidar'" in rig.status('input').message
    assert rig.status('input').values['dropped: wrong frame'] == '1'
    assert len(rig.scan(0.1, frame='/lidar').transforms) == 1


def test_an_error_of_a_library_does_not_stop_the_node(rig):
    rig.registrar.verdicts.extend([RuntimeError('out of memory'), CloudError('coplanar')])
    assert rig.scan(0.0).transforms == ()
    assert 'RuntimeError: out of memory' in rig.status('input').message
    assert rig.scan(0.1).transforms == ()
    assert 'coplanar' in rig.status('input').message
    assert len(rig.scan(0.2).transforms) == 1


def test_a_problem_is_logged_when_it_appears_not_with_every_cloud(rig):
    for i in range(10):
        rig.localizer.on_cloud(at(i), 'mars', rig.lidar_points(i))
    assert sum('mars' in message for message in rig.messages) == 1
    rig.scan(20)
    rig.localizer.on_cloud(at(21), 'mars', rig.lidar_points(0))
    assert sum('mars' in message for message in rig.messages) == 2


# Time


def test_a_cloud_without_a_stamp_is_dated_by_its_arrival(rig):
    rig.tree.insert('odom', 'base_link', at(3), odom_from_base(3))
    output = rig.localizer.on_cloud(0, 'lidar', rig.lidar_points(3), arrival_ns=at(3))
    assert output.poses[0].stamp_ns == at(3)
    np.testing.assert_allclose(output.transforms[0].matrix, MAP_FROM_ODOM, atol=1e-9)
    entry = rig.status('input')
    assert entry.level == 1
    assert 'no stamp' in entry.message
    assert entry.values['without a stamp'] == '1'
    assert rig.localizer.on_cloud(0, 'lidar', rig.lidar_points(3)).poses == ()


@pytest.mark.parametrize('behind', [0.0, 0.3])
def test_a_late_cloud_is_dropped_and_counted(rig, behind):
    rig.scan(1.0)
    assert rig.scan(1.0 - behind).transforms == ()
    assert len(rig.calls) == 1
    assert rig.status('input').values['dropped: not newer than the last'] == '1'
    assert len(rig.scan(1.1).transforms) == 1


def test_a_stamp_far_back_is_a_restart_of_time(rig):
    rig.scan(100.0)
    rig.tree.clear()
    output = rig.scan(1.0)
    assert rig.calls[-1].init is None, 'poses of the old time mean nothing in the new one'
    (correction,) = output.transforms
    assert correction.stamp_ns == at(1.0 + rig.parameters.transform_tolerance)
    assert rig.status('input').values['time jumps'] == '1'
    assert len(rig.localizer.on_timer(at(1.5)).transforms) == 1


def test_a_jump_of_the_clock_resets_and_keeps_the_reference(rig):
    rig.scan(100.0)
    rig.localizer.on_time_jump(at(0))
    rig.tree.clear()
    assert rig.localizer.on_timer(at(0.1)).transforms == ()
    assert len(rig.scan(0.2).transforms) == 1
    assert rig.calls[-1].init is None


# Threads


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


# Object mode


CAMERA_FROM_MUG = pose((0.3, 2.0, -0.4), (0.1, -0.2, 0.8))
CAMERA_FROM_BOX = pose((-1.0, 0.2, 0.5), (0.4, 0.1, 1.1))
OBJECTS = {
    'mode': 'object',
    'objects.names': ['mug'],
    'segmentation.remove_plane': False,
}


def object_rig(tmp_path, names=('mug',), **changes):
    flat = {**OBJECTS, 'objects.names': list(names), **changes}
    flat['objects.references'] = [str(tmp_path / f'{name}.npy') for name in names]
    for name in names:
        np.save(tmp_path / f'{name}.npy', np.random.default_rng(1).uniform(-5, 5, (60, 3)))
    return Rig(tmp_path, flat)


def seen(rig, seconds, camera_from_object=CAMERA_FROM_MUG, frame='camera'):
    return rig.localizer.on_cloud(at(seconds), frame, apply(camera_from_object, rig.cloud))


def test_an_object_is_published_in_the_clouds_frame_at_the_clouds_time(tmp_path):
    rig = object_rig(tmp_path)
    output = seen(rig, 0)
    (transform,) = output.transforms
    assert (transform.parent, transform.child) == ('camera', 'mug')
    assert transform.stamp_ns == at(0)
    np.testing.assert_allclose(transform.matrix, CAMERA_FROM_MUG, atol=1e-9)
    np.testing.assert_allclose(output.aligned[0].points(), rig.cloud, atol=1e-5)
    assert rig.localizer.on_timer(at(0.1)).transforms == ()


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
    assert len(rig.calls) == 2


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
    assert not result.accepted and '2 objects' in result.message
    result = rig.localizer.load_reference(rig.files['map'])
    assert not result.accepted and 'name=file' in result.message
    assert rig.localizer.load_reference(f'lid={rig.files["map"]}').accepted
    assert [t.child for t in seen(rig, 0).transforms] == ['mug', 'box', 'lid']


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


# The real registrar


def room(generator, count):
    """Points on the inside of a box with a pillar: nothing in it is symmetric."""
    size = np.array([8.0, 5.0, 3.0])
    points = generator.uniform(0, 1, (count, 3)) * size
    side = generator.integers(0, 6, count)
    points[np.arange(count), side % 3] = np.where(side < 3, 0.0, size[side % 3])
    angle = generator.uniform(0, 2 * np.pi, count // 6)
    pillar = np.column_stack(
        [2 + 0.4 * np.cos(angle), 1.5 + 0.4 * np.sin(angle), generator.uniform(0, 3, count // 6)]
    )
    return np.vstack([points, pillar]) + generator.normal(
        scale=0.003, size=(count + len(pillar), 3)
    )


def angle_between(first, second):
    return Rotation.from_matrix(first[:3, :3].T @ second[:3, :3]).magnitude()


def test_a_robot_drives_through_a_mapped_room(tmp_path):
    """The whole path with small_gicp: other samples of the room than the map's, a known drive."""
    generator = np.random.default_rng(0)
    np.save(tmp_path / 'room.npy', room(generator, 12_000))
    tree = TransformTree()
    tree.insert('base_link', 'lidar', 0, BASE_FROM_LIDAR, static=True)
    localizer = Localizer(
        from_flat(
            {
                'mode': 'map',
                'reference': str(tmp_path / 'room.npy'),
                'registration.use_predictor': False,
            }
        ),
        tree.lookup,
    )
    assert localizer.problems == ()
    map_from_odom = pose((0, 0, 0.4), (4.0, 2.0, 0.5))
    published = TransformTree()
    for seconds in np.arange(0, 2, 0.2):
        tree.insert('odom', 'base_link', at(seconds), odom_from_base(seconds))
        map_from_lidar = map_from_odom @ odom_from_base(seconds) @ BASE_FROM_LIDAR
        if seconds == 0:
            start = map_from_odom @ pose((0, 0, 0.03), (0.1, -0.1, 0))
            assert localizer.on_initial_pose(at(0), 'map', start, np.zeros((6, 6))).accepted
        scan = apply(np.linalg.inv(map_from_lidar), room(generator, 6_000))
        output = localizer.on_cloud(at(seconds), 'lidar', scan.astype(np.float32))
        (correction,) = output.transforms
        published.insert(correction.parent, correction.child, at(seconds), correction.matrix)
        published.insert('odom', 'base_link', at(seconds), odom_from_base(seconds))
        found = published.lookup('map', 'base_link', at(seconds))
        truth = map_from_odom @ odom_from_base(seconds)
        assert angle_between(found, truth) < np.radians(0.5)
        assert np.linalg.norm(found[:3, 3] - truth[:3, 3]) < 0.03


BRACKET = np.array(  # plate, wall and block: low and high corners [m]
    [
        [[0.0, 0.0, 0.0], [0.25, 0.12, 0.02]],
        [[0.0, 0.0, 0.02], [0.03, 0.12, 0.15]],
        [[0.15, 0.08, 0.02], [0.2, 0.12, 0.08]],
    ]
)


def part(generator, count):
    """Points on the outside of a bracket, evenly; its origin is the middle of the plate."""
    sizes = BRACKET[:, 1] - BRACKET[:, 0]
    areas = np.stack([sizes[:, (i + 1) % 3] * sizes[:, (i + 2) % 3] for i in range(3)], axis=1)
    faces = generator.choice(18, count, p=np.tile((areas / areas.sum() / 2).ravel(), 2))
    box, axis, high = faces % 9 // 3, faces % 3, faces // 9
    points = generator.uniform(BRACKET[box, 0], BRACKET[box, 1])
    points[np.arange(count), axis] = BRACKET[box, high, axis]
    touching = np.zeros(count, dtype=bool)
    for i, (low, top) in enumerate(BRACKET):
        touching |= (box != i) & ((points >= low) & (points <= top)).all(axis=1)
    return points[~touching] - [0.125, 0.06, 0.01]


def test_a_part_on_a_table_is_followed_while_the_camera_moves(tmp_path):
    """The whole path with small_gicp, table and all: other samples than the model's."""
    generator = np.random.default_rng(0)
    np.save(tmp_path / 'part.npy', part(generator, 20_000))
    localizer = Localizer(
        from_flat(
            {
                'mode': 'object',
                'objects.names': ['part'],
                'objects.references': [str(tmp_path / 'part.npy')],
                'registration.use_predictor': False,
            }
        ),
        TransformTree().lookup,
    )
    for step in range(8):
        # The camera looks down at 50 deg and goes around at 20 deg a second.
        around = pose((0, 0, 0.035 * step))
        camera_from_part = pose(translation=(0, 0, 0.9)) @ pose((-2.3, 0, 0)) @ around
        table = np.column_stack(
            [generator.uniform(-0.8, 0.8, (12_000, 2)), np.full(12_000, -0.01)]
        )
        scene = apply(camera_from_part, np.vstack([part(generator, 6_000), table]))
        scene += generator.normal(scale=0.0005, size=scene.shape)
        if step == 0:
            start = camera_from_part @ pose((0.05, -0.05, 0.1), (0.01, 0.01, 0))
            spread = np.diag(np.repeat([0.02, 0.2], 3) ** 2)
            localizer.on_cloud(at(-0.1), 'camera', scene)
            assert localizer.on_initial_pose(0, 'camera', start, spread).accepted
        (transform,) = localizer.on_cloud(at(0.1 * step), 'camera', scene).transforms
        assert angle_between(transform.matrix, camera_from_part) < np.radians(1.0)
        assert np.linalg.norm((transform.matrix - camera_from_part)[:3, 3]) < 0.005


def test_a_lookup_that_fails_in_the_adapter_is_only_ever_a_diagnostic(tmp_path):
    """Whatever the tree behind it, TransformUnavailable is an answer, not an accident."""

    def never(target, source, stamp_ns):
        raise TransformUnavailable(f'no {target} <- {source}')

    localizer = Localizer(from_flat({'mode': 'map'}), never, registrar_factory=FakeRegistrar)
    np.save(tmp_path / 'map.npy', np.random.default_rng(0).uniform(size=(60, 3)))
    assert localizer.load_reference(str(tmp_path / 'map.npy')).accepted
    assert (
        localizer.on_cloud(at(0), 'lidar', np.random.default_rng(0).uniform(size=(60, 3)))
        is not None
    )
    assert 'no base_link <- lidar' in localizer.diagnostics(at(0))[0].message
