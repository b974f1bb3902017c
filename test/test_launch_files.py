"""Launch files: their arguments, and where ROS 2 is there, what they start."""

import ast
import importlib.util
import json
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml

from dlc_ros.node import convert

PATIENCE_S = 120.0  # for what is certain to happen, however busy the machine
ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / 'launch').glob('*.launch.py'))
VIEWS = sorted([*(ROOT / 'rviz').glob('*.rviz'), *(ROOT / 'foxglove').glob('*.json')])
COMMON = {'node_name', 'params_file', 'log_level'}
OF_A_ROBOT = COMMON | {'namespace', 'use_sim_time', 'autostart'}
ARGUMENTS = {
    'localizer.launch.py': OF_A_ROBOT,
    'object_pose.launch.py': OF_A_ROBOT | {'points'},
    'replay.launch.py': COMMON
    | {'bag', 'points', 'rate', 'loop', 'map_frame', 'rviz', 'rviz_config'},
}


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


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_every_argument_is_declared_and_described(path):
    declared, used = arguments_of(path)
    assert set(declared) == ARGUMENTS[path.name]
    assert used <= set(declared)
    for name, description in declared.items():
        assert len(description) > 10 and description.endswith('.'), name


def topics_shown(path):
    """Topics that a view of RViz or Foxglove names."""
    text = path.read_text(encoding='utf-8')
    if path.suffix == '.rviz':
        manager = yaml.safe_load(text)['Visualization Manager']
        shown = [*manager['Displays'], *manager['Tools']]
        return {part['Topic']['Value'] for part in shown if 'Topic' in part}
    panels = json.loads(text)['configById']
    topics = {panel['topicToRender'] for panel in panels.values() if 'topicToRender' in panel}
    for panel in panels.values():
        topics |= set(panel.get('topics', ()))
        topics |= {entry['value'].partition('.')[0] for entry in panel.get('paths', ())}
        topics |= {panel['publish']['poseEstimateTopic']} if 'publish' in panel else set()
    return topics


@pytest.mark.parametrize('path', VIEWS, ids=lambda path: f'{path.parent.name}/{path.name}')
def test_views_show_topics_that_the_nodes_have(path):
    mode, name = ('map', 'map') if 'localizer' in path.name else ('object', 'part')
    own = {
        topic(mode, name).replace('~', '/localizer')
        for topic in (convert.pose_topic, convert.aligned_topic, convert.hypotheses_topic)
    }
    known = own | {'/points', '/camera/points', '/initialpose', '/diagnostics', '/tf'}
    shown = topics_shown(path)
    assert shown <= known
    assert '/points' in shown or '/camera/points' in shown


def test_layouts_have_every_panel_that_they_place():
    for path in (ROOT / 'foxglove').glob('*.json'):
        layout = json.loads(path.read_text(encoding='utf-8'))

        def placed(part):
            if isinstance(part, str):
                return {part}
            return placed(part['first']) | placed(part['second'])

        assert placed(layout['layout']) == set(layout['configById'])


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
        return process.wait(PATIENCE_S)
    finally:
        with suppress(ProcessLookupError):  # nobody is left, as it should be
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def peer(ros):
    import rclpy

    rclpy.init()
    harness = ros.SpinningPeer()
    yield harness.peer
    harness.close()
    rclpy.try_shutdown()


def write_parameters(path, **values):
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': values}}))
    return path


def test_arguments_are_shown_with_their_descriptions(launch):
    for path in FILES:
        process, log = launch(path.name, '--show-args')
        assert process.wait(PATIENCE_S) == 0
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


def test_misspelt_parameter_ends_the_launch_with_one_line(launch, tmp_path):
    parameters = write_parameters(tmp_path / 'wrong.yaml', hold_timout=1.0)
    process, log = launch('localizer.launch.py', f'params_file:={parameters}')
    process.wait(PATIENCE_S)  # nothing is left to wait for
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


def edges(*names):
    """tf2_msgs/TFMessage values: identities between parent and child, now and then."""
    return {
        'transforms': [
            {
                'header': {'frame_id': parent},
                'child_frame_id': child,
                'transform': {'rotation': {'w': 1.0}},
            }
            for parent, child in names
        ]
    }


@pytest.fixture
def replay(ros, launch, tmp_path):
    """Starts replay.launch.py with a recording of so many seconds, and what else it takes."""
    if not shutil.which('ros2') or importlib.util.find_spec('ros2bag') is None:
        pytest.skip('ros2 bag is not installed')
    np.save(tmp_path / 'map.npy', ros.room(np.random.default_rng(7), 20000))
    parameters = write_parameters(
        tmp_path / 'map.yaml',
        mode='map',
        reference=str(tmp_path / 'map.npy'),
        registration={'use_predictor': False},
    )

    def run(seconds, *arguments):
        points = ros.room(np.random.default_rng(6), 6000)
        write_recording(tmp_path / 'drive', points, seconds)
        bag = f'bag:={tmp_path / "drive"}'
        topic = 'points:=/velodyne_points'
        return launch('replay.launch.py', bag, f'params_file:={parameters}', topic, *arguments)

    return run


def test_replay_leaves_the_recorded_pose_out(ros, replay, peer):
    """What is heard beside a recording: its odometry, and of map -> odom the localizer's alone."""
    heard = peer.listen_to_tf('/tf')
    process, log = replay(4.0, 'loop:=true')  # a busy machine may miss the first time

    def found():
        return {(t.header.frame_id, t.child_frame_id) for t in list(heard)}

    ros.wait_for(lambda: process.poll() is not None or ('map', 'odom') in found(), PATIENCE_S)
    assert found() == {('odom', 'base_link'), ('map', 'odom')}, log.read_text()
    corrections = [t for t in list(heard) if t.child_frame_id == 'odom']
    # In the recording the robot believed to be 50 m away.
    assert all(abs(t.transform.translation.x) < 0.01 for t in corrections)


def test_replay_ends_with_its_recording(replay):
    process, log = replay(0.5)
    assert process.wait(PATIENCE_S) == 0, log.read_text()
    assert log.read_text().count('process has finished cleanly') == 3, log.read_text()


def write_recording(path, points, seconds):
    """A robot that stands still, with clouds and a wrong map -> odom, as rosbag2."""
    pytest.importorskip('rosbags', reason='rosbags is not installed')
    from rosbags.rosbag2 import StoragePlugin, Writer

    from dlc_ros.node.definitions import build_message, distro_typestore

    store, second = distro_typestore(), 10**9
    kinds = {'/tf': 'tf2_msgs/msg/TFMessage', '/velodyne_points': 'sensor_msgs/msg/PointCloud2'}
    with Writer(path, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        topics = {
            topic: writer.add_connection(topic, kind, typestore=store)
            for topic, kind in kinds.items()
        }
        for i in range(round(10 * seconds)):
            stamp_ns = 1000 * second + i * second // 10
            stamp = convert.stamp_from_ns(stamp_ns)
            transforms = edges(('odom', 'base_link'), ('map', 'odom'))
            for transform in transforms['transforms']:
                transform['header']['stamp'] = stamp
            transforms['transforms'][1]['transform']['translation'] = {'x': 50.0}
            cloud = convert.cloud_values(stamp_ns, 'base_link', points)
            for topic, values in (('/tf', transforms), ('/velodyne_points', cloud)):
                message = build_message(store, kinds[topic], values)
                writer.write(topics[topic], stamp_ns, store.serialize_cdr(message, kinds[topic]))


def test_replay_without_its_recording_says_so(launch, tmp_path):
    process, log = launch('replay.launch.py', f'bag:={tmp_path / "nowhere"}')
    assert process.wait(PATIENCE_S) == 1
    assert 'nowhere: no such recording' in log.read_text()
    assert 'process started' not in log.read_text()
    assert 'Traceback' not in log.read_text()


def test_replayed_transforms_pass_but_for_those_of_the_map(ros, peer, tmp_path):
    from tf2_msgs.msg import TFMessage
    from wire import Process

    from dlc_ros.node.ros.messages import build_message

    heard = peer.listen_to_tf('/tf')
    recorded = peer.create_publisher(TFMessage, '/recorded/tf', 100)
    domain = os.environ['ROS_DOMAIN_ID']
    with Process('-m', 'dlc_ros.node.ros.replay_tf', ROS_DOMAIN_ID=domain) as relay:
        ros.wait_for(recorded.get_subscription_count)
        ros.wait_for(lambda: peer.count_publishers('/tf'))
        for names in ((('map', 'odom'), ('odom', 'base_link')), (('map', 'odom'),)):
            recorded.publish(build_message(TFMessage, edges(*names)))
        recorded.publish(build_message(TFMessage, edges(('odom', 'last'))))
        ros.wait_for(lambda: [t.child_frame_id for t in heard] == ['base_link', 'last'])
        relay.interrupt()
        code, _, errors = relay.finish()
    assert code == 0, errors
