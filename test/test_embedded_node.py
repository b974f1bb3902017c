"""The node without ROS 2 on real geometry; conformance/ tells what both nodes do."""

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

from robot import Robot  # noqa: E402

from dlc_ros.files import write_cloud  # noqa: E402
from dlc_ros.localization.parameters import from_flat  # noqa: E402
from dlc_ros.node import convert  # noqa: E402
from dlc_ros.node.dds.clock import NodeClock  # noqa: E402
from dlc_ros.node.dds.localizer_node import LocalizerNode  # noqa: E402
from dlc_ros.registration.covariance import covariance_of_inverse  # noqa: E402
from dlc_ros.registration.options import RegistrationOptions  # noqa: E402
from dlc_ros.registration.registrar import Registrar  # noqa: E402
from dlc_ros.registration.se3 import (  # noqa: E402
    exp_so3,
    inverse,
    make_transform,
    rotation_angle_deg,
    transform_points,
)

DOMAIN = free_domain()
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


@contextlib.contextmanager
def running(values):
    """A node in this process, its timers running, and the robot around it."""
    stop = threading.Event()
    robot = Robot(values['dds.domain_id'])
    try:
        with LocalizerNode(from_flat(values)) as node:
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
    'all infinite': (lambda points: {'points': np.full_like(points, np.inf)}, '0 finite points'),
    'few points': (lambda points: {'points': points[:5]}, '5 finite points'),
    'one line': (lambda points: {'points': points[:, :1] * np.ones(3)}, 'line'),
    'millimetres': (lambda points: {'points': 1000.0 * points[::10]}, 'millimetres'),
}


@pytest.fixture(scope='module')
def tracking_node(reference):
    """One node for many clouds, on a domain of its own, with the stamp of the last one."""
    values = object_mode(reference, diagnostics_rate=20.0, **{'dds.domain_id': free_domain(1)})
    with running(values) as robot:
        yield robot, [time.time_ns()]


@pytest.mark.parametrize('kind', BAD_CLOUDS)
def test_bad_cloud_is_named_and_the_next_good_one_is_used(tracking_node, kind):
    robot, clock = tracking_node
    make, words = BAD_CLOUDS[kind]
    points = camera_cloud()
    clock[0] = time.time_ns()
    robot.send_cloud(clock[0], **make(points))
    assert wait_for(lambda: words in ' '.join(s[1] for s in map(robot.status, TASKS))), [
        robot.status(task) for task in TASKS
    ]
    assert not robot.found('camera', 'room', clock[0] - 1)
    clock[0] = time.time_ns()
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
    clock[0] = time.time_ns()
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


def test_a_timer_that_fails_does_not_end_the_node(tracking_node, monkeypatch, caplog):
    robot, clock = tracking_node

    def fail():
        raise RuntimeError('the device is gone')

    monkeypatch.setattr('dlc_ros.localization.diagnostics.process_memory_mib', fail)
    assert wait_for(lambda: 'the device is gone' in caplog.text)
    monkeypatch.undo()
    reports = len(robot.reports)
    assert wait_for(lambda: len(robot.reports) > reports + 2)
    clock[0] = time.time_ns()
    robot.send_cloud(clock[0], camera_cloud())
    assert wait_for(lambda: robot.found('camera', 'room', clock[0] - 1))


def test_a_broken_transform_is_named_once(tracking_node, caplog):
    robot, _ = tracking_node
    for i in range(20):
        robot.send_transform('tf', (i + 1) * SECOND, 'world', 'arm', np.diag([1.0, 1, -1, 1]))
        robot.send_transform('tf', (i + 1) * SECOND, 'world', 'world', np.eye(4))
    robot.send_transform('tf', SECOND, 'last', 'last', np.eye(4))
    assert wait_for(lambda: 'last -> last would close a loop' in caplog.text)
    assert caplog.text.count('world -> world would close a loop') == 1


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
