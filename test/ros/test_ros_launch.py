"""Launch files as ``ros2 launch`` runs them: arguments, what comes up, what is refused."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='source ROS 2 first (docs/ros2.md)')

from launch_arguments import FILES, arguments_of  # noqa: E402
from rclpy_harness import matrix_of, room, wait_for  # noqa: E402
from ros_commands import write_parameters  # noqa: E402


def test_arguments_are_shown_with_their_descriptions(launch):
    for path in FILES:
        launched = launch(path.name, '--show-args')
        assert launched.wait() == 0
        text = launched.output
        for name, description in arguments_of(path)[0].items():
            assert f"'{name}'" in text
            assert description.split(':')[0] in text


def test_map_mode_comes_up_in_a_namespace_and_localises(launch, peer, tmp_path):
    rng = np.random.default_rng(4)
    np.save(tmp_path / 'map.npy', room(rng, 20000))
    parameters = write_parameters(
        tmp_path / 'map.yaml',
        mode='map',
        reference=str(tmp_path / 'map.npy'),
        publish_map_to_base=True,
        frames={'odom': ''},
        registration={'use_predictor': False},
    )
    launched = launch(
        'localizer.launch.py', f'params_file:={parameters}', 'namespace:=robot1', 'node_name:=loc'
    )
    heard = peer.listen_to_tf('/robot1/tf')
    clouds = peer.offer_clouds('/robot1/points')
    wait_for(lambda: not launched.running or clouds.get_subscription_count())
    assert launched.running, launched.output
    scan = room(rng, 6000)
    wait_for(lambda: peer.repeat_cloud(clouds, scan, 'base_link') and heard)
    assert (heard[0].header.frame_id, heard[0].child_frame_id) == ('map', 'base_link')
    np.testing.assert_allclose(matrix_of(heard[0].transform), np.eye(4), atol=5e-3)
    assert launched.end() == 0, launched.output
    assert 'process has finished cleanly' in launched.output


def test_a_node_without_objects_says_what_it_waits_for_and_where(launch):
    """By the topic's name on the graph, which is not the one in the parameters."""
    launched = launch('object_pose.launch.py', 'points:=/camera/depth/points')
    wait_for(lambda: not launched.running or 'no cloud on ' in launched.output)
    assert launched.running, launched.output
    assert 'object mode: waiting for clouds on /camera/depth/points' in launched.output
    assert 'no reference is loaded: set it in the parameters or send' in launched.output
    assert 'no cloud on /camera/depth/points for ' in launched.output
    assert launched.end() == 0, launched.output


def test_object_mode_publishes_the_object(launch, peer, tmp_path):
    rng = np.random.default_rng(5)
    model = 0.02 * room(rng, 8000)
    np.save(tmp_path / 'part.npy', model)
    parameters = write_parameters(
        tmp_path / 'object.yaml',
        mode='object',
        objects={'names': ['part'], 'references': [str(tmp_path / 'part.npy')]},
        segmentation={'remove_plane': False},
        registration={'use_predictor': False},
    )
    launched = launch(
        'object_pose.launch.py', f'params_file:={parameters}', 'points:=/camera/depth/points'
    )
    heard = peer.listen_to_tf('/tf')
    clouds = peer.offer_clouds('/camera/depth/points')
    wait_for(lambda: not launched.running or clouds.get_subscription_count())
    assert launched.running, launched.output
    view = 0.02 * room(rng, 5000) + [0.01, -0.02, 0.6]
    wait_for(lambda: peer.repeat_cloud(clouds, view, 'camera') and heard)
    assert (heard[0].header.frame_id, heard[0].child_frame_id) == ('camera', 'part')
    matrix = matrix_of(heard[0].transform)
    np.testing.assert_allclose(matrix[:3, 3], [0.01, -0.02, 0.6], atol=1e-3)


def test_misspelt_parameter_ends_the_launch_with_one_line(launch, tmp_path):
    parameters = write_parameters(tmp_path / 'wrong.yaml', hold_timout=1.0)
    launched = launch('localizer.launch.py', f'params_file:={parameters}')
    launched.wait()  # nothing is left to wait for
    text = launched.output
    assert 'localizer: unknown parameter' in text and 'hold_timeout' in text
    assert 'Traceback' not in text
    assert 'exit code 2' in text


def test_without_autostart_it_waits_for_a_manager(launch, peer):
    from lifecycle_msgs.msg import State
    from lifecycle_msgs.srv import GetState

    launch('localizer.launch.py', 'autostart:=false', 'node_name:=patient')
    answer = peer.call(GetState, '/patient/get_state', GetState.Request())
    assert answer.current_state.id == State.PRIMARY_STATE_UNCONFIGURED


def test_launch_testing_finds_each_mode_active_and_ended_cleanly(installed):
    pytest.importorskip('launch_testing', reason='launch_testing is not installed')
    tested = installed('launch_test', Path(__file__).with_name('launch_of_modes.py'))
    assert tested.wait() == 0, tested.output
    assert tested.output.count('test_the_node_becomes_active') >= 2
