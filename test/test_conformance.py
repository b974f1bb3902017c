"""One behaviour, two nodes: the same scenarios through DDS alone and through rclpy."""

import contextlib
import os

import numpy as np
import pytest
import yaml
from adapters import ADAPTERS, Registrars, both, require, start
from scipy.spatial.transform import Rotation
from wire import Process, free_domain, wait_for

pytest.importorskip('cyclonedds')
pytest.importorskip('rosbags')

from robot import CLOCK, CLOUD, DIAGNOSTICS, EMPTY, POSE, POSES, STRING, TF, Robot  # noqa: E402

from dlc_ros.node import convert  # noqa: E402
from dlc_ros.node.dds import qos  # noqa: E402
from dlc_ros.node.definitions import distro_typestore  # noqa: E402
from dlc_ros.node.pointcloud2 import points_from_message  # noqa: E402
from dlc_ros.registration.result import Status  # noqa: E402

SECOND = 10**9
REFERENCE = np.random.default_rng(1).uniform(-5.0, 5.0, (60, 3))
QUICK = {'diagnostics_rate': 50.0, 'publish_rate': 50.0, 'lookup_timeout': 5.0}
# Of a covariance that FakeRegistrar gives: 1 cm and about 3 mrad.
COVARIANCE = np.diag([1e-4, 1e-4, 1e-4, 1e-5, 1e-5, 1e-5])


def pose(rotvec=(0.0, 0.0, 0.0), translation=(0.0, 0.0, 0.0)):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rotvec).as_matrix()
    matrix[:3, 3] = translation
    return matrix


BASE_FROM_LIDAR = pose((np.pi, 0.0, 0.3), (0.2, 0.0, 0.5))  # hangs upside down
MAP_FROM_ODOM = pose((0.0, 0.0, 0.7), (10.0, -4.0, 0.2))
CAMERA_FROM_MUG = pose((0.3, -0.8, 0.1), (0.1, -0.2, 0.9))


def seen_from(matrix):
    """The reference's points, in their order, in the frame of whose pose ``matrix`` is."""
    inverted = np.linalg.inv(matrix)
    return REFERENCE @ inverted[:3, :3].T + inverted[:3, 3]


class Rig:
    """One node, the robot around it and the verdicts on its clouds, under simulated time."""

    def __init__(self, adapter, values, domain_id, **options):
        self.registrars = Registrars()
        self.robot = Robot(domain_id, **{'node': 'localizer', **options})
        name = options.pop('node', 'localizer')
        self._node = start(
            adapter, {**QUICK, **values}, domain_id, name, registrars=self.registrars, **options
        )
        self.robot.wait_for_node()
        self.robot.offer_clock()
        self.now_ns = 0
        self._heard = 0
        self.advance(10_000.0)

    def close(self):
        self._node.close()
        self.robot.close()

    def advance(self, seconds):
        """Let time pass, and wait until the node knows."""
        self.now_ns += round(seconds * SECOND)
        self.robot.send('clock', {'clock': convert.stamp_from_ns(self.now_ns)})
        assert wait_for(self._knows_the_time)

    def begin(self):
        """Forget what an earlier test left."""
        self.registrars.script.clear()
        self.robot.send('relocalize', {})
        self.advance(100.0)
        self._heard = len(self.robot.transforms)

    def heard(self, parent, child):
        """Transforms of two frames since :meth:`begin`: (date [ns], (4, 4))."""
        return self.robot.found(parent, child, since=self._heard)

    def reported(self, task, words):
        """Wait until the newest report on a task says something; its level."""

        def said():
            level, message, values = self.robot.status(task)
            return words in f'{message} {values.get("verdict", "")}'

        assert wait_for(said), self.robot.status(task)
        return self.robot.status(task)[0]

    def counted(self, task, key, count):
        assert wait_for(lambda: self.robot.status(task)[2].get(key) == str(count)), (
            key,
            self.robot.status(task),
        )

    def count(self, task, key):
        return int(self.robot.status(task)[2][key])

    def state(self, task):
        return self.robot.status(task)[2].get('state')

    def is_in(self, task, state):
        assert wait_for(lambda: self.state(task) == state), self.robot.status(task)

    def refused(self, words):
        assert wait_for(lambda: words in self.robot.status('input')[2]['last refused command']), (
            self.robot.status('input')
        )

    def _knows_the_time(self):
        reports = self.robot.reports
        return reports and convert.ns_from_stamp(reports[-1].header.stamp) == self.now_ns


class MapRig(Rig):
    """Map mode: a lidar under a robot that drives a bend."""

    def __init__(self, adapter, path, domain_id, **values):
        parameters = {'mode': 'map', 'reference': str(path), 'hold_timeout': 2.0, **values}
        super().__init__(adapter, parameters, domain_id)
        self.robot.follow_poses('/localizer/pose')

    def mount_lidar(self):
        self.robot.send_transform('tf_static', 0, 'base_link', 'lidar', BASE_FROM_LIDAR)

    @property
    def odom_from_base(self):
        yaw = 0.2e-9 * self.now_ns
        return pose((0.0, 0.0, yaw), (2.5 * np.sin(yaw), 2.5 * (1.0 - np.cos(yaw)), 0.0))

    def scan(self, points=None, stamp_ns=None, frame='lidar', **changes):
        """Send a scan of now, with the odometry of now."""
        odom = self.odom_from_base
        self.robot.send_transform('tf', self.now_ns, 'odom', 'base_link', odom)
        if points is None:
            points = seen_from(MAP_FROM_ODOM @ odom @ BASE_FROM_LIDAR)
        stamp_ns = self.now_ns if stamp_ns is None else stamp_ns
        self.robot.send_cloud(stamp_ns, points, frame, **changes)

    def dates(self):
        return [date for date, _ in self.heard('map', 'odom')]

    def localised(self):
        """Wait until the scan of now has given a correction and a pose."""
        assert wait_for(lambda: self.now_ns + SECOND // 10 in self.dates()), (
            self.robot.status('input'),
            self.robot.status('pose of map'),
        )
        assert wait_for(
            lambda: any(
                convert.ns_from_stamp(heard.header.stamp) == self.now_ns
                for heard in self.robot.poses[-1:]
            )
        )


class ObjectRig(Rig):
    """Object mode: a camera on a base, and two objects of one shape."""

    def __init__(self, adapter, path, domain_id, **values):
        # The same bytes would be two instances of one model, and the camera shows but one.
        box = path.with_name('box.npy')
        np.save(box, np.asfortranarray(REFERENCE))
        parameters = {
            'mode': 'object',
            'objects.names': ['mug', 'box'],
            'objects.references': [str(path), str(box)],
            'frames.parent': 'base_link',
            'segmentation.remove_plane': False,
            'objects.search_budget': 0.0,
            **values,
        }
        super().__init__(adapter, parameters, domain_id)
        self.robot.follow_poses('/localizer/mug/pose')
        self.robot.send_transform('tf_static', 0, 'base_link', 'camera', BASE_FROM_LIDAR)

    def show(self):
        self.robot.send_cloud(self.now_ns, seen_from(np.linalg.inv(CAMERA_FROM_MUG)))


@pytest.fixture(scope='module')
def adapter(request):
    require(request.param)
    return request.param


@pytest.fixture(scope='module')
def reference(tmp_path_factory):
    path = tmp_path_factory.mktemp('reference') / 'reference.npy'
    np.save(path, REFERENCE)
    return path


@pytest.fixture(scope='module')
def map_rig(adapter, reference):
    with contextlib.closing(MapRig(adapter, reference, free_domain(3))) as rig:
        rig.mount_lidar()
        yield rig


@pytest.fixture
def robot_in_map(map_rig):
    map_rig.begin()
    return map_rig


@pytest.fixture(scope='module')
def object_rig(adapter, reference):
    with contextlib.closing(ObjectRig(adapter, reference, free_domain(4))) as rig:
        yield rig


@pytest.fixture
def camera(object_rig):
    object_rig.begin()
    return object_rig


def assert_poses_close(found, expected):
    np.testing.assert_allclose(found, expected, atol=2e-5)  # clouds are float32


# Transforms


@both('a scan gives map -> odom, dated forward, repeated until hold_timeout')
def test_correction_follows_odometry_and_is_repeated_until_it_is_old(robot_in_map):
    rig = robot_in_map
    rig.scan()
    rig.localised()
    expected = [rig.now_ns, rig.now_ns + SECOND // 10]  # the first one holds from the scan on
    for seconds in (0.5, 0.5, 1.0):
        rig.advance(seconds)
        expected.append(rig.now_ns + SECOND // 10)
        assert wait_for(lambda: rig.dates() == expected), rig.dates()
    for _ in range(2):  # hold_timeout is over
        rig.advance(0.5)
    assert not wait_for(lambda: rig.dates() != expected, 0.3)
    for _, found in rig.heard('map', 'odom'):
        assert_poses_close(found, MAP_FROM_ODOM)


@both('the pose of the robot comes with its covariance, in the map')
def test_pose_of_the_robot(robot_in_map):
    rig = robot_in_map
    rig.scan()
    rig.localised()
    heard = rig.robot.poses[-1]
    assert heard.header.frame_id == 'map'
    assert_poses_close(
        convert.matrix_from_pose(heard.pose.pose), MAP_FROM_ODOM @ rig.odom_from_base
    )
    np.testing.assert_allclose(heard.pose.covariance.reshape(6, 6), COVARIANCE, rtol=1e-9)


@both('two objects: parent -> object each, from the camera through the robot')
def test_objects_are_published_in_their_parent(camera):
    rig = camera
    rig.show()
    for name in ('mug', 'box'):
        assert wait_for(lambda name=name: rig.heard('base_link', name))
        [(date, found)] = rig.heard('base_link', name)
        assert date == rig.now_ns
        assert_poses_close(found, BASE_FROM_LIDAR @ CAMERA_FROM_MUG)
    assert wait_for(lambda: rig.robot.poses and rig.robot.poses[-1].header.frame_id == 'base_link')
    rig.advance(0.5)  # an object's transform is never repeated
    assert not wait_for(lambda: len(rig.heard('base_link', 'mug')) > 1, 0.3)


@both('a transform that comes after its cloud is waited for')
def test_late_odometry_is_waited_for(robot_in_map):
    rig = robot_in_map
    points = seen_from(MAP_FROM_ODOM @ rig.odom_from_base @ BASE_FROM_LIDAR)
    received = rig.count('input', 'clouds in')
    rig.robot.send_cloud(rig.now_ns, points, 'lidar')
    rig.counted('input', 'clouds in', received + 1)
    rig.robot.send_transform('tf', rig.now_ns, 'odom', 'base_link', rig.odom_from_base)
    rig.localised()


@both('no transform of the sensor: an error, and never the identity')
def test_missing_sensor_transform(adapter, reference):
    rig = MapRig(adapter, reference, free_domain(5), lookup_timeout=0.0)
    with contextlib.closing(rig):
        rig.scan()
        assert rig.reported('input', 'no transform') == 2
        assert 'lidar' in rig.robot.status('input')[1]
        rig.is_in('pose of map', 'WAITING')
        assert not rig.dates()
        rig.mount_lidar()

        def answered():  # /tf_static may come after a cloud; there is no wait for it here
            rig.advance(0.1)
            rig.scan()
            return wait_for(rig.dates, 0.5)

        assert wait_for(answered)


# Verdicts and states


@pytest.mark.parametrize(
    'verdict',
    [
        {'status': Status.REJECTED, 'reason': 'too few inliers'},
        {'status': Status.AMBIGUOUS, 'reason': 'two places fit'},
        {'status': Status.DEGENERATE, 'reason': 'free along x'},
        {'confidence': 0.1, 'transform': np.full((4, 4), np.nan), 'reason': 'no finite'},
        RuntimeError('a library failed'),
    ],
    ids=['rejected', 'ambiguous', 'degenerate', 'not finite', 'exception'],
)
@both('an estimate that is not accepted changes no transform; the next good scan does')
def test_what_is_not_accepted_changes_nothing(robot_in_map, verdict):
    rig = robot_in_map
    rig.registrars.script.append(verdict)
    before = rig.count('input', 'clouds in')
    rig.scan()
    rig.counted('input', 'clouds in', before + 1)
    words = str(verdict) if isinstance(verdict, Exception) else verdict['reason']
    assert wait_for(lambda: words in str(rig.robot.status('pose of map'))), rig.robot.reports[-1]
    assert not rig.dates()
    assert rig.state('pose of map') == 'SEARCHING'
    rig.advance(0.1)
    rig.scan()
    rig.localised()


@both('SEARCHING, TRACKING, LOST and found again, each shown with its level')
def test_states_and_their_levels(robot_in_map):
    rig = robot_in_map
    rig.is_in('pose of map', 'WAITING')  # time has passed without a cloud
    assert rig.robot.status('pose of map')[0] == 2
    rig.registrars.script.append({'status': Status.REJECTED, 'reason': 'blinded'})
    rig.scan()
    rig.is_in('pose of map', 'SEARCHING')
    assert rig.robot.status('pose of map')[0] == 1
    rig.advance(0.1)
    rig.scan()
    rig.localised()
    rig.is_in('pose of map', 'TRACKING')
    assert rig.robot.status('pose of map')[0] == 0
    for i in range(5):
        rig.registrars.script.append({'status': Status.REJECTED, 'reason': 'blinded'})
        rig.advance(0.1)
        rig.scan()
        key = 'without a pose in a row'
        rig.counted('pose of map', key, i + 1 if i < 4 else 0)
    rig.is_in('pose of map', 'LOST')
    assert rig.robot.status('pose of map')[0] == 2
    rig.advance(0.1)
    rig.scan()
    rig.localised()
    rig.is_in('pose of map', 'TRACKING')


@both('a clock that goes back: poses are forgotten, the next scan is used')
def test_clock_that_goes_back(robot_in_map):
    rig = robot_in_map
    rig.scan()
    rig.localised()
    jumps = rig.count('input', 'time jumps')
    rig.advance(-3600.0)
    rig.counted('input', 'time jumps', jumps + 1)
    rig.is_in('pose of map', 'SEARCHING')
    rig.scan()
    rig.localised()
    rig.advance(7200.0)  # later than what other tests have seen


# Commands


@both('~/relocalize: the pose is forgotten, the correction stops')
def test_relocalize(robot_in_map):
    rig = robot_in_map
    rig.scan()
    rig.localised()
    rig.robot.send('relocalize', {})
    rig.is_in('pose of map', 'SEARCHING')
    rig.advance(0.5)
    assert not wait_for(lambda: len(rig.dates()) > 2, 0.3)
    assert rig.registrars.made[-1].calls[-1].init is None
    rig.scan()
    rig.localised()
    assert rig.registrars.made[-1].calls[-1].init is None


@both('initial pose, in the map or in another frame: where the next search starts')
def test_initial_pose(robot_in_map):
    rig = robot_in_map
    beside = pose((0.0, 0.0, 0.2), (0.3, 0.4, 0.0))
    rig.scan()
    rig.localised()
    for frame in ('map', 'base_link'):
        odom_from_base = rig.odom_from_base
        map_from_base = MAP_FROM_ODOM @ odom_from_base
        map_from_frame, guess = np.eye(4), map_from_base @ beside
        if frame == 'base_link':
            map_from_frame, guess = map_from_base, beside
        rig.robot.send_initial_pose(frame, guess)
        rig.reported('pose of map', 'an initial pose was given')
        calls = rig.registrars.made[-1].calls
        count = len(calls)
        rig.advance(0.1)
        rig.scan()
        assert wait_for(lambda calls=calls, count=count: len(calls) > count)
        motion = np.linalg.inv(odom_from_base) @ rig.odom_from_base
        searched_from = calls[count].init
        assert_poses_close(searched_from, map_from_frame @ guess @ motion)


@both('initial pose of one of several objects, on a topic of its own')
def test_initial_pose_of_an_object(camera):
    rig = camera
    rig.show()
    assert wait_for(lambda: rig.heard('base_link', 'mug'))
    rig.robot.send_initial_pose('base_link', np.eye(4))
    rig.refused('it does not say of which object')
    rig.robot.send_initial_pose('camera', CAMERA_FROM_MUG, '/localizer/mug/initialpose')
    rig.reported('pose of mug', 'an initial pose was given')
    assert rig.state('pose of box') == 'TRACKING'
    mug = rig.registrars.made[0]
    count = len(mug.calls)
    rig.advance(0.1)
    rig.show()
    assert wait_for(lambda: len(mug.calls) > count)
    assert_poses_close(mug.calls[count].init, np.linalg.inv(CAMERA_FROM_MUG))


@both('a bad command is refused with its reason and changes nothing')
def test_bad_commands(robot_in_map, tmp_path):
    rig = robot_in_map
    rig.scan()
    rig.localised()
    rig.robot.send_initial_pose('map', np.zeros((4, 4)))
    rig.refused('initial pose ignored: it is not a rigid transform')
    rig.robot.send_initial_pose('', np.eye(4))
    rig.refused('initial pose ignored: it names no frame')
    rig.robot.send('load_reference', {'data': str(tmp_path / 'missing.pcd')})
    rig.refused('missing.pcd')
    rig.advance(0.1)
    rig.scan()
    rig.localised()
    assert rig.state('pose of map') == 'TRACKING'


@both('~/load_reference and ~/load_weights while it runs')
def test_reference_and_weights_are_replaced_while_it_runs(adapter, reference, tmp_path):
    rig = MapRig(adapter, reference, free_domain(5))
    with contextlib.closing(rig):
        rig.mount_lidar()
        rig.begin()
        rig.scan()
        rig.localised()
        shift = pose(translation=(100.0, 0.0, 0.0))
        moved = tmp_path / 'moved.npy'
        np.save(moved, REFERENCE + shift[:3, 3])
        rig.robot.send('load_reference', {'data': str(moved)})
        assert wait_for(lambda: rig.robot.status('model of map')[2]['reference'] == str(moved))
        rig.is_in('pose of map', 'SEARCHING')
        rig.robot.send('load_weights', {'data': 'other.safetensors'})
        key = 'weights'
        rig.counted('model of map', key, 'other.safetensors')
        rig.advance(0.1)
        rig.scan()
        rig.localised()
        assert_poses_close(rig.heard('map', 'odom')[-1][1], shift @ MAP_FROM_ODOM)


@both('~/save_pose: the pose on disk, and where the next node looks first')
def test_pose_is_saved_and_the_next_node_looks_there(adapter, reference, tmp_path):
    file = tmp_path / 'pose.json'
    for restarted in (False, True):
        settings = {'saved_pose.file': str(file), 'saved_pose.period': 0.0}
        with contextlib.closing(MapRig(adapter, reference, free_domain(7), **settings)) as rig:
            rig.mount_lidar()
            rig.scan()
            rig.localised()
            init = rig.registrars.made[-1].calls[0].init
            if restarted:
                assert_poses_close(init, MAP_FROM_ODOM @ rig.odom_from_base)
            else:
                assert init is None
                assert not file.exists()
                rig.robot.send('save_pose', {})
                assert wait_for(file.exists)


@both('the times of the points: motion within a sweep is undone')
def test_sweep_of_a_moving_robot(robot_in_map):
    """The stand-in takes points as they are: a skewed sweep would give another pose."""
    rig = robot_in_map
    rig.scan()
    rig.localised()
    rig.advance(1.0)
    start_ns, end_ns = rig.now_ns, rig.now_ns + SECOND // 10
    after_ns = np.linspace(0, end_ns - start_ns, len(REFERENCE)).astype('u4')
    points = np.empty_like(REFERENCE)
    for i, stamp_ns in enumerate(start_ns + after_ns.astype(np.int64)):
        rig.now_ns = int(stamp_ns)
        points[i] = seen_from(MAP_FROM_ODOM @ rig.odom_from_base @ BASE_FROM_LIDAR)[i]
    rows = np.zeros(len(points), [('x', 'f4'), ('y', 'f4'), ('z', 'f4'), ('t', 'u4')])
    rows['x'], rows['y'], rows['z'], rows['t'] = *points.T, after_ns
    kinds = {'x': 7, 'y': 7, 'z': 7, 't': 6}
    fields = [
        {'name': name, 'offset': 4 * i, 'datatype': kind, 'count': 1}
        for i, (name, kind) in enumerate(kinds.items())
    ]
    layout = {'fields': fields, 'point_step': 16, 'row_step': 16 * len(rows)}
    for rig.now_ns in (start_ns, end_ns):
        odom = rig.odom_from_base
        rig.robot.send_transform('tf', rig.now_ns, 'odom', 'base_link', odom)
    rig.robot.send_cloud(start_ns, points, 'lidar', **layout, data=rows.view(np.uint8))
    rig.now_ns = start_ns
    rig.localised()
    found = rig.heard('map', 'odom')[-1][1]
    assert np.abs(found - MAP_FROM_ODOM).max() < 2e-3
    assert wait_for(
        lambda: 'points moved by up to' in rig.robot.status('input')[2]['deskew'],
    )
    rig.advance(0.1)


@both('an object that is added while it runs')
def test_object_is_added_while_it_runs(adapter, reference):
    rig = ObjectRig(adapter, reference, free_domain(6))
    with contextlib.closing(rig):
        rig.begin()
        bolt = reference.with_name('bolt.npy')
        np.save(bolt, REFERENCE.astype('>f8'))
        rig.robot.send('load_reference', {'data': f'bolt={bolt}'})
        assert wait_for(lambda: 'reference' in rig.robot.status('model of bolt')[2])
        rig.show()
        assert wait_for(lambda: rig.heard('base_link', 'bolt'))
        rig.robot.send_initial_pose('camera', CAMERA_FROM_MUG, '/localizer/bolt/initialpose')
        rig.reported('pose of bolt', 'an initial pose was given')
        rig.robot.send('load_reference', {'data': str(reference)})
        rig.refused('names no object')


# Bad input

BAD_CLOUDS = {
    'empty': ({'points': np.zeros((0, 3))}, 'empty'),
    'all NaN': ({'points': np.full((60, 3), np.nan)}, '0 finite points'),
    'no fields': ({'fields': []}, "no field 'x'"),
    'cut off': ({'data': np.zeros(7, np.uint8)}, 'has 7 bytes'),
    'no frame': ({'frame': ''}, 'names no frame'),
}


@pytest.mark.parametrize('kind', BAD_CLOUDS)
@both('a bad cloud is named, changes no transform, and the next good one is used')
def test_bad_cloud(robot_in_map, kind):
    rig = robot_in_map
    changes, words = BAD_CLOUDS[kind]
    rig.scan(**changes)
    rig.reported('input', words)
    assert not rig.dates()
    rig.advance(0.1)
    rig.scan()
    rig.localised()
    assert rig.reported('input', 'clouds arrive') == 0


@both('a cloud that is older than the last is dropped with a warning')
def test_late_cloud(robot_in_map):
    rig = robot_in_map
    rig.scan()
    rig.localised()
    rig.scan(stamp_ns=rig.now_ns - SECOND // 10)
    assert rig.reported('input', '0.100 s behind the last one') == 1
    assert rig.state('pose of map') == 'TRACKING'


@both('clouds that come faster than they are registered: the newest is used, the rest counted')
def test_newest_cloud_is_used(robot_in_map):
    rig = robot_in_map
    rig.scan()
    rig.localised()
    skipped = rig.count('input', 'skipped (a newer one came)')
    received = rig.count('input', 'clouds in')
    rig.registrars.hold()
    rig.advance(0.2)
    rig.scan()
    rig.counted('input', 'clouds in', received + 1)
    sent = 0

    def overtaken():
        """One more cloud, while the first is registered; the middleware keeps the newest, too."""
        nonlocal sent
        sent += 1
        rig.advance(0.2)
        rig.scan()
        return wait_for(lambda: rig.count('input', 'skipped (a newer one came)') > skipped, 0.5)

    assert wait_for(overtaken)
    rig.registrars.go_on()
    rig.localised()  # by the newest
    rig.advance(0.2)
    # The last may have come just after the first was done: then the one before was used as well.
    assert rig.count('input', 'clouds in') - received <= 3
    counted = rig.count('input', 'clouds in') + rig.count('input', 'skipped (a newer one came)')
    assert counted - received - skipped <= 1 + sent


# Parameters

MISTAKES = {
    'unknown': ({'hold_timout': 1.0}, ['hold_timout', 'hold_timeout']),
    'out of range': ({'tracking': {'lost_after': 0}}, ['tracking.lost_after', '1']),
    'no such mode': ({'mode': 'submarine'}, ['mode', 'submarine', 'object']),
    'contradiction': ({'publish_map_to_base': True}, ['publish_map_to_base', 'frames.odom']),
}


@pytest.mark.parametrize('kind', MISTAKES)
@both('a wrong parameter file: one line that names the parameter, exit code 2')
def test_wrong_parameter_file(adapter, tmp_path, kind):
    values, words = MISTAKES[kind]
    path = tmp_path / 'parameters.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': values}}))
    command = {
        'embedded': ('-m', 'dlc_ros.cli', 'run', '--params', path),
        'rclpy': ('-m', 'dlc_ros.node.ros.main', '--ros-args', '--params-file', path),
    }[adapter]
    with Process(*command) as node:
        code, _, errors = node.finish()
    assert code == 2
    [line] = [line for line in errors.splitlines() if words[0] in line]
    assert all(word in line for word in words)
    assert 'Traceback' not in errors


# The graph

MAP_TOPICS = {
    ('out', '/tf', TF, 'reliable', 'volatile'),
    ('out', '/diagnostics', DIAGNOSTICS, 'reliable', 'volatile'),
    ('out', '/localizer/pose', POSE, 'reliable', 'volatile'),
    ('out', '/localizer/aligned', CLOUD, 'reliable', 'volatile'),
    ('out', '/localizer/hypotheses', POSES, 'reliable', 'volatile'),
    ('in', '/tf', TF, 'reliable', 'volatile'),
    ('in', '/tf_static', TF, 'reliable', 'transient local'),
    ('in', '/clock', CLOCK, 'best effort', 'volatile'),
    ('in', '/points', CLOUD, 'best effort', 'volatile'),
    ('in', '/initialpose', POSE, 'reliable', 'volatile'),
    ('in', '/localizer/relocalize', EMPTY, 'reliable', 'volatile'),
    ('in', '/localizer/save_pose', EMPTY, 'reliable', 'volatile'),
    ('in', '/localizer/load_reference', STRING, 'reliable', 'volatile'),
    ('in', '/localizer/load_weights', STRING, 'reliable', 'volatile'),
}
OBJECT_TOPICS = {
    topic for topic in MAP_TOPICS if topic[0] == 'in' or topic[1] in ('/tf', '/diagnostics')
} | {
    ('out', f'/localizer/{name}/{what}', kind, 'reliable', 'volatile')
    for name in ('mug', 'box')
    for what, kind in (('pose', POSE), ('aligned', CLOUD), ('hypotheses', POSES))
}
OBJECT_TOPICS |= {
    ('in', f'/localizer/{name}/initialpose', POSE, 'reliable', 'volatile')
    for name in ('mug', 'box')
}
# What every rclpy node has besides, and what only rclpy offers: lifecycle, parameters, services.
OF_RCLPY = {'/rosout', '/parameter_events', '/localizer/transition_event'}
# The embedded node takes big clouds reliably where it can; rclpy does where it is told to.
OF_EMBEDDED = {('in', '/points', CLOUD, 'reliable', 'volatile')}


@pytest.mark.parametrize('mode', ['map', 'object'])
@both('topics, types, QoS and type hashes, as discovery announces them')
def test_topics_types_and_qos(adapter, request, mode):
    rig = request.getfixturevalue(f'{mode}_rig')
    wanted = MAP_TOPICS if mode == 'map' else OBJECT_TOPICS
    wanted = wanted | (OF_EMBEDDED if adapter == 'embedded' else set())
    announced = rig.robot.endpoints()
    topics = {
        (direction, name.removeprefix('rt'), as_ros(kind), reliability, durability)
        for direction, name, kind, reliability, durability, _ in announced
        if name.startswith('rt/') and name.removeprefix('rt') not in OF_RCLPY
    }
    assert topics == wanted
    hashes = {as_ros(kind): data for _, name, kind, *_, data in announced if name[:3] == 'rt/'}
    if os.environ.get('ROS_DISTRO') != 'humble':  # which announces none
        store = distro_typestore()
        for kind in {topic[2] for topic in wanted}:
            assert hashes[kind] == f'typehash={store.hash_rihs01(kind)};'.encode()


def as_ros(wire_type):
    """``std_msgs::msg::dds_::Empty_`` -> ``std_msgs/msg/Empty``."""
    return wire_type.replace('::dds_::', '::').removesuffix('_').replace('::', '/')


@both('two robots in namespaces: each its own transform tree')
def test_two_robots_in_namespaces(adapter, reference):
    values = {
        'reference': str(reference),
        'frames.odom': '',
        'publish_map_to_base': True,
        'frames.base': 'base_link',
    }
    domain = free_domain(7)
    with contextlib.ExitStack() as opened:
        rigs = []
        for i in (1, 2):
            rig = Rig(adapter, values, domain, node=f'loc{i}', namespace=f'/robot{i}')
            rigs.append(opened.enter_context(contextlib.closing(rig)))
        for rig, place in zip(rigs, (MAP_FROM_ODOM, BASE_FROM_LIDAR), strict=True):
            rig.robot.send_cloud(rig.now_ns, seen_from(place), 'base_link')
            assert wait_for(lambda rig=rig: rig.heard('map', 'base_link'))
        for rig, place in zip(rigs, (MAP_FROM_ODOM, BASE_FROM_LIDAR), strict=True):
            [(_, found)] = rig.heard('map', 'base_link')
            assert_poses_close(found, place)


@both('somebody else publishes map -> odom too: an error that names it, until it stops')
def test_two_publishers_of_one_transform(robot_in_map):
    rig = robot_in_map
    rig.scan()
    rig.localised()
    rig.advance(0.5)
    assert rig.robot.status('output')[2]['other publisher'] == ''

    def named():
        rig.robot.send_transform('tf', rig.now_ns, 'map', 'odom', np.eye(4))
        return wait_for(lambda: rig.robot.status('output')[0] == 2, 0.5)

    assert wait_for(named)
    _, message, values = rig.robot.status('output')
    assert 'map -> odom is published by' in message and '/robot' in values['other publisher']
    assert wait_for(lambda: rig.robot.status('output')[0] == 0)


@both('the poses that competed are sent while somebody listens, of rejected clouds too')
def test_hypotheses(robot_in_map):
    rig = robot_in_map
    heard = []
    rig.robot.participant.subscribe('/localizer/hypotheses', POSES, heard.append)

    def competed():
        rig.registrars.script.append({'status': Status.REJECTED, 'reason': 'blinded'})
        rig.advance(0.1)
        rig.scan()
        return wait_for(lambda: heard, 0.5)

    assert wait_for(competed)
    assert heard[-1].header.frame_id == 'map'
    found = convert.matrix_from_pose(heard[-1].poses[0])
    np.testing.assert_allclose(found[:3, 3], (MAP_FROM_ODOM @ rig.odom_from_base)[:3, 3], atol=1.0)


@both('the aligned cloud is sent while somebody listens, in the frame of the map')
def test_aligned_cloud(robot_in_map):
    rig = robot_in_map
    heard = []
    rig.robot.participant.subscribe('/localizer/aligned', CLOUD, heard.append, qos.CLOUD)

    def aligned():
        rig.advance(0.1)
        rig.scan()
        return wait_for(lambda: heard, 0.5)

    assert wait_for(aligned)
    assert heard[-1].header.frame_id == 'map'
    np.testing.assert_allclose(points_from_message(heard[-1]), REFERENCE, atol=1e-4)


# Both at once

TIMES = ('[ms]', '[Hz]', '[s]', '[MB]', '[MiB]')  # what no two runs share


def tell(rig):
    """What a node says about a scan, a rejected one, a bad one, a bad command and a reset."""
    story = []

    def note(condition):
        assert wait_for(condition), rig.robot.reports[-1]
        rig.advance(0.05)  # a report of after it
        for task in ('input', 'pose of map', 'model of map'):
            level, message, values = rig.robot.status(task)
            kept = {key: value for key, value in values.items() if not key.endswith(TIMES)}
            story.append((level, message, kept, sorted(values)))

    note(lambda: rig.robot.status('input')[0] == 3)
    rig.scan()
    note(lambda: rig.state('pose of map') == 'TRACKING')
    rig.registrars.script.append({'status': Status.REJECTED, 'reason': 'too few inliers'})
    rig.scan()
    note(lambda: rig.robot.status('pose of map')[2]['rejected'] == '1')
    rig.scan(points=np.zeros((0, 3)))
    note(lambda: rig.robot.status('input')[2]['unusable: bad cloud'] == '1')
    rig.robot.send('load_reference', {'data': '/nowhere/map.pcd'})
    note(lambda: 'nowhere' in rig.robot.status('input')[2]['last refused command'])
    rig.robot.send('relocalize', {})
    note(lambda: rig.state('pose of map') == 'SEARCHING')
    return story


def test_both_report_the_same_word_for_word(reference):
    require('rclpy')
    stories = []
    for which, adapter in enumerate(ADAPTERS):
        with contextlib.closing(MapRig(adapter, reference, free_domain(8 + which))) as rig:
            rig.mount_lidar()
            rig.advance(1.0)
            stories.append(tell(rig))
    assert stories[0] == stories[1]
