"""What the tests on a real ROS 2 share: a node in a room, its peer, commands of ``ros2``."""

import gc

import numpy as np
import pytest

from dlc_ros.registration.se3 import inverse, transform_points

try:
    import rclpy
    from rclpy_harness import T_BASE_SENSOR, T_MAP_BASE, Harness, SpinningPeer, isolate, room
    from ros_commands import Commands
except ImportError:
    pass  # each test file skips and says why


@pytest.fixture(scope='module', autouse=True)
def middleware():
    isolate()
    rclpy.init()
    yield
    rclpy.try_shutdown()
    gc.collect()  # nodes have cycles, and the participant stays as long as they do


@pytest.fixture(scope='module')
def reference(tmp_path_factory):
    path = tmp_path_factory.mktemp('reference') / 'room.npy'
    np.save(path, room(np.random.default_rng(1), 20000))
    return path


@pytest.fixture(scope='module')
def scan():
    """Points in the sensor's frame: another sample of the same room."""
    points = room(np.random.default_rng(2), 8000)
    return transform_points(inverse(T_MAP_BASE @ T_BASE_SENSOR), points)


@pytest.fixture
def start():
    """Starts a node with parameters; every node that was started is closed."""
    started = []

    def run(name='localizer', **values):
        values = {key.replace('__', '.'): value for key, value in values.items()}
        started.append(Harness(name, values))
        return started[-1]

    yield run
    for harness in started:
        harness.close()


@pytest.fixture
def robot(start, reference):
    """A node that localises in the room, active, with all transforms it needs."""
    harness = start(
        reference=str(reference),
        registration__use_predictor=False,
        transform_tolerance=0.2,
        publish_rate=50.0,
        diagnostics_rate=20.0,
    )
    harness.activate()
    harness.peer.send_transform('base_link', 'lidar', T_BASE_SENSOR)
    return harness


@pytest.fixture
def peer():
    harness = SpinningPeer()
    yield harness.peer
    harness.close()


@pytest.fixture
def ros2(tmp_path):
    """Runs ``ros2 ...``; ends what still runs as Ctrl-C would."""
    commands = Commands(tmp_path)
    yield lambda *words: commands.start('ros2', *words)
    commands.end()


@pytest.fixture
def installed(colcon_prefix, tmp_path):
    """Runs commands where a colcon build of the package is sourced; ends them likewise."""
    commands = Commands(tmp_path, colcon_prefix.parent / 'local_setup.bash')
    yield commands.start
    commands.end()


@pytest.fixture
def launch(installed):
    """Runs ``ros2 launch dlc_ros ...``."""
    return lambda *words: installed('ros2', 'launch', 'dlc_ros', *words)
