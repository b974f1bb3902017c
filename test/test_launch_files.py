"""Launch files: their arguments, and where ROS 2 is there, what they start."""

import ast
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / 'launch').glob('*.launch.py'))
COMMON = {'namespace', 'node_name', 'params_file', 'use_sim_time', 'autostart', 'log_level'}


def arguments_of(path):
    """Declared arguments, name -> description, and names that are used, without importing."""
    declared, used = {}, set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            rows = [node.value] if node.targets[0].id == 'POINTS' else node.value.elts
            for row in rows:
                name, _, description = row.elts
                declared[name.value] = ast.literal_eval(description)
        elif isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'LaunchConfiguration':
            if isinstance(node.args[0], ast.Constant):
                used.add(node.args[0].value)
    return declared, used


def test_there_is_one_launch_file_a_mode():
    assert [path.name for path in FILES] == ['localizer.launch.py', 'object_pose.launch.py']


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_every_argument_is_declared_and_described(path):
    declared, used = arguments_of(path)
    assert set(declared) >= COMMON
    assert used <= set(declared)
    for name, description in declared.items():
        assert len(description) > 10 and description.endswith('.'), name


@pytest.fixture
def ros():
    """Names of ROS 2 that the tests below use; skips where there is none."""
    try:
        import rclpy_harness
    except ImportError:
        pytest.skip('rclpy is not importable: source ROS 2 first (docs/ros2.md)')

    rclpy_harness.isolate()
    return rclpy_harness


@pytest.fixture
def launch(ros, colcon_prefix, tmp_path):
    """Runs ``ros2 launch dlc_ros ...`` from a colcon build; ended as Ctrl-C would."""
    started = []

    def run(*arguments):
        source = f'source "{colcon_prefix.parent}/local_setup.bash" && exec "$@"'
        log = tmp_path / f'launch{len(started)}.txt'
        with log.open('w') as stream:
            process = subprocess.Popen(
                ['bash', '-c', source, '-', 'ros2', 'launch', 'dlc_ros', *arguments],
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=tmp_path,
            )
        started.append(process)
        return process, log

    yield run
    for process in started:
        end(process)


def end(process):
    """Ctrl-C for the whole process group; returns the exit code of launch."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    try:
        return process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


@pytest.fixture
def peer(ros):
    import rclpy

    rclpy.init()
    harness = ros.SpinningPeer()
    yield harness.peer
    harness.close()
    rclpy.try_shutdown()


def write_parameters(path, **values):
    import yaml

    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': values}}))
    return path


def test_arguments_are_shown_with_their_descriptions(launch):
    for path in FILES:
        process, log = launch(path.name, '--show-args')
        assert process.wait(60) == 0
        text = log.read_text()
        for name, description in arguments_of(path)[0].items():
            assert f"'{name}'" in text
            assert description.split(':')[0] in text


def test_map_mode_comes_up_in_a_namespace_and_localises(ros, launch, peer, tmp_path):
    rng = np.random.default_rng(4)
    np.save(tmp_path / 'map.npy', ros.room(rng, 20000))
    parameters = write_parameters(
        tmp_path / 'map.yaml',
        mode='map',
        reference=str(tmp_path / 'map.npy'),
        publish_map_to_base=True,
        frames={'odom': ''},
        registration={'use_predictor': False},
    )
    process, log = launch(
        'localizer.launch.py', f'params_file:={parameters}', 'namespace:=robot1', 'node_name:=loc'
    )
    heard = peer.listen_to_tf('/robot1/tf')
    clouds = peer.offer_clouds('/robot1/points')
    ros.wait_for(lambda: process.poll() is not None or clouds.get_subscription_count())
    assert process.poll() is None, log.read_text()
    scan = ros.room(rng, 6000)
    ros.wait_for(lambda: peer.repeat_cloud(clouds, scan, 'base_link') and heard)
    assert (heard[0].header.frame_id, heard[0].child_frame_id) == ('map', 'base_link')
    np.testing.assert_allclose(ros.matrix_of(heard[0].transform), np.eye(4), atol=5e-3)
    assert end(process) == 0, log.read_text()
    assert 'process has finished cleanly' in log.read_text()


def test_object_mode_publishes_the_object(ros, launch, peer, tmp_path):
    rng = np.random.default_rng(5)
    model = 0.02 * ros.room(rng, 8000)
    np.save(tmp_path / 'part.npy', model)
    parameters = write_parameters(
        tmp_path / 'object.yaml',
        mode='object',
        objects={'names': ['part'], 'references': [str(tmp_path / 'part.npy')]},
        segmentation={'remove_plane': False},
        registration={'use_predictor': False},
    )
    process, log = launch(
        'object_pose.launch.py', f'params_file:={parameters}', 'points:=/camera/depth/points'
    )
    heard = peer.listen_to_tf('/tf')
    clouds = peer.offer_clouds('/camera/depth/points')
    ros.wait_for(lambda: process.poll() is not None or clouds.get_subscription_count())
    assert process.poll() is None, log.read_text()
    view = 0.02 * ros.room(rng, 5000) + [0.01, -0.02, 0.6]
    ros.wait_for(lambda: peer.repeat_cloud(clouds, view, 'camera') and heard)
    assert (heard[0].header.frame_id, heard[0].child_frame_id) == ('camera', 'part')
    matrix = ros.matrix_of(heard[0].transform)
    np.testing.assert_allclose(matrix[:3, 3], [0.01, -0.02, 0.6], atol=1e-3)


def test_misspelt_parameter_ends_the_node_with_one_line(ros, launch, tmp_path):
    parameters = write_parameters(tmp_path / 'wrong.yaml', hold_timout=1.0)
    process, log = launch('localizer.launch.py', f'params_file:={parameters}')
    ros.wait_for(lambda: 'process has died' in log.read_text())
    text = log.read_text()
    assert 'localizer: unknown parameter' in text and 'hold_timeout' in text
    assert 'Traceback' not in text
    assert 'exit code 2' in text


def test_without_autostart_it_waits_for_a_manager(ros, launch, peer):
    from lifecycle_msgs.msg import State
    from lifecycle_msgs.srv import GetState

    launch('localizer.launch.py', 'autostart:=false', 'node_name:=patient')
    client = peer.create_client(GetState, '/patient/get_state')
    assert client.wait_for_service(ros.PATIENCE_S)
    future = client.call_async(GetState.Request())
    ros.wait_for(future.done)
    assert future.result().current_state.id == State.PRIMARY_STATE_UNCONFIGURED
