"""The node without ROS 2, driven over real DDS: what it hears, what it says, what it survives."""

import contextlib
import signal
import threading
import time

import numpy as np
import pytest
import yaml
from wire import LOOPBACK, SOON, command, free_domain, room, wait_for

pytest.importorskip('cyclonedds')
pytest.importorskip('rosbags')

from dlc_ros.files import write_cloud  # noqa: E402
from dlc_ros.localization.parameters import from_flat  # noqa: E402
from dlc_ros.node import convert  # noqa: E402
from dlc_ros.node.dds import qos  # noqa: E402
from dlc_ros.node.dds.clock import NodeClock  # noqa: E402
from dlc_ros.node.dds.localizer_node import LocalizerNode  # noqa: E402
from dlc_ros.node.dds.participant import Participant  # noqa: E402
from dlc_ros.node.pointcloud2 import points_from_message  # noqa: E402
from dlc_ros.registration.options import RegistrationOptions  # noqa: E402
from dlc_ros.registration.registrar import Registrar  # noqa: E402
from dlc_ros.registration.se3 import (  # noqa: E402
    covariance_of_inverse,
    exp_so3,
    inverse,
    make_transform,
    quaternion_from_matrix,
    rotation_angle_deg,
    transform_points,
)

DOMAIN = free_domain()
TF, CLOUD = 'tf2_msgs/msg/TFMessage', 'sensor_msgs/msg/PointCloud2'
STRING = 'std_msgs/msg/String'
POSE = 'geometry_msgs/msg/PoseWithCovarianceStamped'
SECOND = 10**9
# A camera near the room's origin sees it turned by a few degrees: an ICP finds that by itself.
REFERENCE_FROM_CAMERA = make_transform(exp_so3([0.02, -0.03, 0.06]), [0.05, -0.04, 0.02])
COMMON = {
    'registration.use_predictor': False,
    'dds.domain_id': DOMAIN,
    'dds.network_interface': LOOPBACK,
}


def camera_cloud(seed=11, reference_from_camera=REFERENCE_FROM_CAMERA):
    """(N, 3) float32: other points of the room, in the camera's frame."""
    points = room(5000, seed).astype(np.float64)
    return transform_points(inverse(reference_from_camera), points).astype(np.float32)


@pytest.fixture(scope='module')
def reference(tmp_path_factory):
    path = tmp_path_factory.mktemp('reference') / 'room.npy'
    write_cloud(path, room())
    return path


def object_mode(reference, **changes):
    return {
        **COMMON,
        'mode': 'object',
        'objects.names': ['room'],
        'objects.references': [str(reference)],
        'segmentation.remove_plane': False,
        **changes,
    }


def map_mode(reference, **changes):
    return {**COMMON, 'mode': 'map', 'reference': str(reference), **changes}


class Robot:
    """The rest of the robot: publishes clouds and transforms, keeps what the node says."""

    def __init__(self, domain_id):
        self.participant = Participant('robot', domain_id=domain_id, interface=LOOPBACK)
        node = self.participant
        self.transforms, self.poses, self.reports, self.aligned = [], [], [], []
        node.subscribe('/tf', TF, self._on_tf, qos.TF)
        node.subscribe('/diagnostics', 'diagnostic_msgs/msg/DiagnosticArray', self.reports.append)
        self._publishers = {
            'points': node.publisher('points', CLOUD, qos.CLOUD),
            'tf': node.publisher('/tf', TF, qos.TF),
            'tf_static': node.publisher('/tf_static', TF, qos.TF_STATIC),
            'initialpose': node.publisher('initialpose', POSE),
            'relocalize': node.publisher('/localizer/relocalize', 'std_msgs/msg/Empty'),
            'load_reference': node.publisher('/localizer/load_reference', STRING),
            'load_weights': node.publisher('/localizer/load_weights', STRING),
        }

    def close(self):
        self.participant.close()

    def wait_for_node(self):
        for name, publisher in self._publishers.items():
            # Its own subscription to /tf counts as one.
            assert publisher.wait_for_subscribers(2 if name == 'tf' else 1, SOON), name

    def follow_poses(self, topic):
        self.participant.subscribe(topic, POSE, self.poses.append)

    def send(self, name, values):
        self._publishers[name].publish(values)

    def send_cloud(self, stamp_ns, points, frame='camera', **changes):
        values = convert.cloud_values(stamp_ns, frame, points)
        self.send('points', {**values, **changes})

    def send_transform(self, name, stamp_ns, parent, child, matrix):
        header = {'stamp': convert.stamp_from_ns(stamp_ns), 'frame_id': parent}
        translation = dict(zip('xyz', matrix[:3, 3].tolist(), strict=True))
        rotation = dict(zip('xyzw', quaternion_from_matrix(matrix).tolist(), strict=True))
        transform = {'translation': translation, 'rotation': rotation}
        stamped = {'header': header, 'child_frame_id': child, 'transform': transform}
        self.send(name, {'transforms': [stamped]})

    def found(self, parent, child, after_ns=0):
        """Transforms of two frames that the node published, newest last."""
        return [
            (convert.ns_from_stamp(t.header.stamp), convert.matrix_from_transform(t.transform))
            for t in list(self.transforms)
            if (t.header.frame_id, t.child_frame_id) == (parent, child)
            and convert.ns_from_stamp(t.header.stamp) > after_ns
        ]

    def status(self, task):
        """Newest diagnostic status of a task: (level, message, values)."""
        for report in reversed(self.reports):
            for status in report.status:
                if status.name.endswith(f': {task}'):
                    return status.level, status.message, {v.key: v.value for v in status.values}
        return None, '', {}

    def _on_tf(self, message):
        self.transforms.extend(message.transforms)


@contextlib.contextmanager
def running(values, **options):
    """A node in this process, its timers running, and the robot around it."""
    stop = threading.Event()
    robot = Robot(values['dds.domain_id'])
    try:
        with LocalizerNode(from_flat(values), **options) as node:
            timers = threading.Thread(target=node.run, args=(stop,))
            timers.start()
            try:
                robot.wait_for_node()
                yield robot
            finally:
                stop.set()
                timers.join()
    finally:
        robot.close()


def assert_close(found, truth, degrees=0.5, metres=0.01):
    assert rotation_angle_deg(found, truth) < degrees
    assert np.linalg.norm(found[:3, 3] - truth[:3, 3]) < metres


def library_answer(points):
    options = RegistrationOptions(use_predictor=False)
    return Registrar(room(), options=options).register(points)


@pytest.mark.parametrize(
    ('number', 'code'), [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=['SIGTERM', 'SIGINT']
)
def test_process_gives_the_answer_of_the_library(reference, tmp_path, number, code):
    """From the parameter file to /tf, in another process; then it ends cleanly."""
    parameters = tmp_path / 'params.yaml'
    values = {'/**': {'ros__parameters': object_mode(reference)}}
    parameters.write_text(yaml.safe_dump(values))
    points, stamp_ns = camera_cloud(), 1_700_000_000_123_456_789
    robot = Robot(DOMAIN)
    robot.follow_poses('/localizer/room/pose')
    with contextlib.closing(robot), command('run', '--params', parameters) as node:
        robot.wait_for_node()
        robot.send_cloud(stamp_ns, points)
        assert wait_for(lambda: robot.found('camera', 'room') and robot.poses)
        node.interrupt(number)
        exit_code, out, errors = node.finish()
    assert exit_code == code and out == '' and 'Traceback' not in errors
    expected = library_answer(points)
    [(stamp, camera_from_room)] = robot.found('camera', 'room')
    assert stamp == stamp_ns
    np.testing.assert_allclose(camera_from_room, inverse(expected.transform), atol=1e-9)
    assert_close(camera_from_room, inverse(REFERENCE_FROM_CAMERA))
    pose = robot.poses[0]
    covariance = covariance_of_inverse(expected.transform, expected.covariance)
    np.testing.assert_allclose(pose.pose.covariance.reshape(6, 6), covariance, rtol=1e-6)
    assert (pose.header.frame_id, convert.ns_from_stamp(pose.header.stamp)) == ('camera', stamp_ns)
    np.testing.assert_allclose(convert.matrix_from_pose(pose.pose.pose), camera_from_room)


BAD_CLOUDS = {
    'empty': (lambda points: {'points': np.zeros((0, 3))}, 'empty'),
    'all NaN': (lambda points: {'points': np.full_like(points, np.nan)}, '0 finite points'),
    'all infinite': (lambda points: {'points': np.full_like(points, np.inf)}, '0 finite points'),
    'few points': (lambda points: {'points': points[:5]}, '5 finite points'),
    'one line': (lambda points: {'points': points[:, :1] * np.ones(3)}, 'line'),
    'no fields': (lambda points: {'points': points, 'fields': []}, "no field 'x'"),
    'cut off': (lambda points: {'points': points, 'data': np.zeros(7, np.uint8)}, 'has 7 bytes'),
    'millimetres': (lambda points: {'points': 1000.0 * points[::10]}, 'millimetres'),
    'without a frame': (lambda points: {'points': points, 'frame': ''}, 'frame'),
}


@pytest.fixture(scope='module')
def tracking_node(reference):
    """One node for many clouds, on a domain of its own, with the stamp of the last one."""
    values = object_mode(reference, diagnostics_rate=20.0, **{'dds.domain_id': free_domain(1)})
    with running(values) as robot:
        yield robot, [1_700_000_000 * SECOND]


@pytest.mark.parametrize('kind', BAD_CLOUDS)
def test_bad_cloud_is_named_and_the_next_good_one_is_used(tracking_node, kind):
    robot, clock = tracking_node
    make, words = BAD_CLOUDS[kind]
    points = camera_cloud()
    clock[0] += SECOND
    robot.send_cloud(clock[0], **make(points))
    assert wait_for(lambda: words in ' '.join(s[1] for s in map(robot.status, TASKS))), [
        robot.status(task) for task in TASKS
    ]
    assert not robot.found('camera', 'room', clock[0] - 1)
    clock[0] += SECOND
    robot.send_cloud(clock[0], points)
    assert wait_for(lambda: robot.found('camera', 'room', clock[0] - 1))
    assert wait_for(lambda: robot.status('input')[0] == 0)


TASKS = ('input', 'pose of room')


def test_float64_big_endian_padded_organised_cloud_is_a_cloud(tracking_node):
    robot, clock = tracking_node
    points = np.insert(camera_cloud()[:4900].astype(np.float64), 50, np.nan, axis=0)[:4900]
    rows = np.zeros((49, 100 * 32 + 8), np.uint8)
    cells = rows[:, :3200].reshape(49, 100, 32)
    cells[:, :, 8:] = points.astype('>f8').view(np.uint8).reshape(49, 100, 24)
    clock[0] += SECOND
    robot.send_cloud(
        clock[0],
        points,
        height=49,
        width=100,
        point_step=32,
        row_step=rows.shape[1],
        is_bigendian=True,
        fields=[
            {'name': name, 'offset': 8 + 8 * i, 'datatype': 8, 'count': 1}
            for i, name in enumerate('xyz')
        ],
        data=rows.reshape(-1),
        is_dense=False,
    )
    assert wait_for(lambda: robot.found('camera', 'room', clock[0] - 1))
    _, found = robot.found('camera', 'room', clock[0] - 1)[-1]
    assert_close(found, inverse(REFERENCE_FROM_CAMERA))


def test_late_cloud_is_dropped_and_a_restart_of_time_is_not(tracking_node):
    robot, clock = tracking_node
    points = camera_cloud()
    jumps = int(robot.status('input')[2]['time jumps'])
    robot.send_cloud(clock[0] - SECOND // 10, points)
    assert wait_for(lambda: 'behind the last one' in robot.status('input')[1])
    clock[0] -= 3600 * SECOND
    robot.send_cloud(clock[0], points)
    assert wait_for(lambda: robot.found('camera', 'room', clock[0] - 1))
    assert wait_for(lambda: robot.status('input')[2]['time jumps'] == str(jumps + 1))


def test_aligned_cloud_is_published_while_somebody_listens(tracking_node):
    robot, clock = tracking_node
    heard = []
    robot.participant.subscribe('/localizer/room/aligned', CLOUD, heard.append, qos.CLOUD)
    points = camera_cloud()

    def aligned():
        clock[0] += SECOND
        robot.send_cloud(clock[0], points)
        return wait_for(lambda: heard, 0.5)

    assert wait_for(aligned)
    _, camera_from_room = robot.found('camera', 'room', clock[0] - 1)[-1]
    assert heard[-1].header.frame_id == 'room'
    expected = transform_points(inverse(camera_from_room), points.astype(np.float64))
    np.testing.assert_allclose(points_from_message(heard[-1]), expected, atol=1e-4)


def test_clouds_that_come_too_fast_are_skipped_and_counted(tracking_node):
    robot, clock = tracking_node
    before = int(robot.status('input')[2]['clouds in'])
    skipped_before = int(robot.status('input')[2]['skipped (a newer one came)'])
    for _ in range(10):
        clock[0] += SECOND // 100
        robot.send_cloud(clock[0], camera_cloud())
    assert wait_for(lambda: robot.found('camera', 'room', clock[0] - 1))  # the newest is used

    def all_counted():
        values = robot.status('input')[2]
        looked_at = int(values['clouds in']) - before
        skipped = int(values['skipped (a newer one came)']) - skipped_before
        # On a busy machine the counts from before may be a message old, and some of ten lost.
        return looked_at > 0 and skipped > 0 and looked_at + skipped >= 5

    assert wait_for(all_counted), (before, skipped_before, robot.status('input'))


def test_commands_are_obeyed_or_refused_with_a_reason(reference, tmp_path):
    points, stamp_ns = camera_cloud(), 1_700_000_000 * SECOND
    with running(object_mode(reference, diagnostics_rate=20.0)) as robot:

        def state():
            return robot.status('pose of room')[2].get('state')

        def refusal():
            return robot.status('input')[2].get('last refused command', '')

        robot.send_cloud(stamp_ns, points)
        assert wait_for(lambda: state() == 'TRACKING')
        robot.send('relocalize', {})
        assert wait_for(lambda: state() == 'SEARCHING')
        robot.send('load_reference', {'data': str(tmp_path / 'missing.ply')})
        assert wait_for(lambda: 'no file' in refusal())
        robot.send('load_weights', {'data': str(tmp_path / 'missing.safetensors')})
        moved = tmp_path / 'moved.npy'
        write_cloud(moved, room() + np.float32([1.0, 2.0, 3.0]))
        robot.send('load_reference', {'data': f'room={moved}'})
        assert wait_for(lambda: robot.status('model of room')[2].get('reference') == str(moved))
        shift = make_transform(translation=[1.0, 2.0, 3.0])
        robot.send('initialpose', pose_values('camera', inverse(shift)))
        robot.send('initialpose', pose_values('camera', np.zeros((4, 4))))
        assert wait_for(lambda: 'initial pose ignored' in refusal())
        robot.send_cloud(stamp_ns + SECOND, points)
        assert wait_for(lambda: robot.found('camera', 'room', stamp_ns))
    _, found = robot.found('camera', 'room', stamp_ns)[-1]
    assert_close(found, inverse(shift @ REFERENCE_FROM_CAMERA))


def pose_values(frame, matrix):
    """A pose as RViz sends it; zeros give a quaternion of zeros."""
    quaternion = quaternion_from_matrix(matrix) if matrix.any() else np.zeros(4)
    return {
        'header': {'frame_id': frame},
        'pose': {
            'pose': {
                'position': dict(zip('xyz', matrix[:3, 3].tolist(), strict=True)),
                'orientation': dict(zip('xyzw', quaternion.tolist(), strict=True)),
            },
            'covariance': np.diag([0.25, 0.25, 0.25, 0.1, 0.1, 0.1]).reshape(36),
        },
    }


def test_map_to_odom_follows_the_odometry_and_is_repeated_until_it_is_old(reference):
    """Under simulated time, so that every date is known."""
    odom_from_base = make_transform(exp_so3([0.0, 0.0, 0.5]), [3.0, -1.0, 0.0])
    base_from_camera = make_transform(exp_so3([0.0, 0.02, 0.0]), [0.1, 0.0, 0.3])
    values = map_mode(
        reference,
        hold_timeout=2.0,
        transform_tolerance=0.1,
        lookup_timeout=2.0,
        diagnostics_rate=20.0,
    )
    start_ns = 1000 * SECOND
    with running(values, use_sim_time=True) as robot:
        clock = robot.participant.publisher('/clock', 'rosgraph_msgs/msg/Clock')
        assert clock.wait_for_subscribers()

        def advance_to(now_ns):
            clock.publish({'clock': convert.stamp_from_ns(now_ns)})
            assert wait_for(
                lambda: convert.ns_from_stamp(robot.reports[-1].header.stamp) == now_ns
            )

        def dates():
            return [date for date, _ in robot.found('map', 'odom')]

        advance_to(start_ns)
        # Nobody has said yet where the camera is.
        robot.send_cloud(start_ns - SECOND, camera_cloud())
        assert wait_for(lambda: 'no transform' in robot.status('input')[1])
        robot.send_transform('tf_static', 0, 'base_link', 'camera', base_from_camera)
        for offset in (-SECOND, SECOND):
            robot.send_transform('tf', start_ns + offset, 'odom', 'base_link', odom_from_base)
        robot.send_cloud(start_ns, camera_cloud())
        assert wait_for(dates)
        expected = [start_ns + SECOND // 10]
        assert dates() == expected
        for age_ns in (SECOND // 2, SECOND, 2 * SECOND):
            advance_to(start_ns + age_ns)
            expected.append(start_ns + age_ns + SECOND // 10)
            assert wait_for(lambda: dates() == expected), dates()
        for age_ns in (2 * SECOND + 1, 3 * SECOND):  # hold_timeout is over
            advance_to(start_ns + age_ns)
        assert not wait_for(lambda: dates() != expected, 0.5)
        found = robot.found('map', 'odom')[-1][1]
    # map -> camera is what was registered; the rest of the chain is the robot's own.
    assert_close(found, REFERENCE_FROM_CAMERA @ inverse(odom_from_base @ base_from_camera))


def test_simulated_time_is_obeyed_and_its_restart_resets(reference):
    with running(map_mode(reference, diagnostics_rate=20.0), use_sim_time=True) as robot:
        clock = robot.participant.publisher('/clock', 'rosgraph_msgs/msg/Clock')
        assert clock.wait_for_subscribers()
        for seconds, jumps in ((1000, '0'), (500, '1')):
            clock.publish({'clock': convert.stamp_from_ns(seconds * SECOND)})

            def dated(seconds=seconds, jumps=jumps):
                report = robot.reports[-1]
                stamp_ns = convert.ns_from_stamp(report.header.stamp)
                counted = robot.status('input')[2]['time jumps']
                return stamp_ns == seconds * SECOND and counted == jumps

            assert wait_for(dated)


def test_node_clock_reports_only_real_jumps():
    jumps = []
    clock = NodeClock(jumps.append, SECOND, simulated=True)
    assert clock.now_ns() == 0
    for now_ns in (10 * SECOND, 9 * SECOND, 12 * SECOND, 3 * SECOND, 4 * SECOND):
        clock.set(now_ns)
        assert clock.now_ns() == now_ns
    assert jumps == [3 * SECOND]
    wall = NodeClock(jumps.append, SECOND)
    assert abs(wall.now_ns() - time.time_ns()) < SOON * SECOND


def test_diagnostics_come_without_any_cloud(reference):
    with running(object_mode(reference)) as robot:
        assert wait_for(lambda: len(robot.reports) >= 3)
        stamps = [convert.ns_from_stamp(report.header.stamp) for report in robot.reports]
    assert robot.status('input')[:2] == (3, 'no cloud yet')
    assert stamps == sorted(stamps)
