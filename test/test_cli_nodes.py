"""``dlc-ros run`` and ``play``: what they say, and how they end."""

import signal

import numpy as np
import pytest
from cli_runs import TARGET_FROM_SOURCE, assert_mistake, write_pair
from wire import LOOPBACK, command, free_domain, wait_for

from dlc_ros.registration.se3 import inverse, rotation_angle_deg

pytest.importorskip('cyclonedds')
bag = pytest.importorskip('dlc_ros.node.bag')


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A pair of clouds, and files that are parameters, or none."""
    folder = tmp_path_factory.mktemp('files')
    write_pair(folder)
    (folder / 'text.ply').write_text('this is no ply file')
    (folder / 'params.yaml').write_text('/**:\n  ros__parameters:\n    mode: object\n')
    (folder / 'no_params.yaml').write_text('mode: object\n')
    return folder


MISTAKES = {
    'missing parameters': (['run', '--params', 'nowhere.yaml'], 'nowhere.yaml'),
    'foreign parameters': (['run', '--params', 'no_params.yaml'], 'ros__parameters'),
    'unknown parameter': (['run', '-p', 'refrence=a.ply'], 'did you mean reference'),
    'parameter out of range': (['run', '-p', 'publish_rate=0'], '0.1 to 1000'),
    'parameter without value': (['run', '-p', 'mode'], 'NAME=VALUE'),
    'parameter that is no YAML': (['run', '-p', 'mode=['], 'not valid YAML'),
    'use_sim_time that is no bool': (['run', '-p', 'use_sim_time=3'], 'use_sim_time'),
    'bad node name': (['run', '--name', 'a-b', '--params', 'params.yaml'], "'a-b'"),
    'missing bag': (['play', 'nowhere'], 'nowhere'),
    'foreign bag': (['play', 'text.ply'], 'is no recording'),
}


@pytest.mark.parametrize('kind', MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(files, capsys, monkeypatch, kind):
    monkeypatch.chdir(files)
    monkeypatch.setenv('ROS_DOMAIN_ID', str(free_domain()))
    assert_mistake(capsys, *MISTAKES[kind])


def test_a_reference_that_cannot_be_used_ends_the_node(tmp_path):
    options = ('-p', f'dds.domain_id={free_domain()}', '-p', f'dds.network_interface={LOOPBACK}')
    with command('run', '-p', f'reference={tmp_path}/nowhere.ply', *options) as node:
        code, out, err = node.finish()
    assert (code, out) == (2, '')
    assert err.count('\n') == 1 and 'nowhere.ply' in err


def test_a_node_without_a_reference_says_what_it_waits_for():
    options = ('-p', f'dds.domain_id={free_domain()}', '-p', f'dds.network_interface={LOOPBACK}')
    # Also what the launch files and a user that forgot the topic see.
    with command('run', '-p', 'tracking.cloud_timeout=0.1', *options) as node:
        said = node.lines_until('no cloud on /points')
        node.interrupt(signal.SIGTERM)
        assert node.finish()[0] == 0
    assert 'map mode: waiting for clouds on /points' in said
    assert 'map: no reference is loaded: set it in the parameters or send' in said


def test_an_empty_recording_is_not_played_for_ever(tmp_path):
    with bag.Recorder(tmp_path / 'bag'):
        pass
    where = ('--domain', free_domain(), '--interface', LOOPBACK)
    with command('play', tmp_path / 'bag', '--loop', '--wait', 0, *where) as player:
        code, _, err = player.finish()
    assert code == 0 and '0 messages sent' in err


def test_run_and_play_are_the_two_ends_of_one_wire(files, tmp_path):
    """What ``play`` sends reaches the node that ``run`` started; both end as they are told."""
    from dlc_ros.node.convert import cloud_values, matrix_from_transform
    from dlc_ros.node.dds import qos
    from dlc_ros.node.dds.participant import Participant
    from dlc_ros.node.definitions import build_message, distro_typestore

    domain, cloud = free_domain(), 'sensor_msgs/msg/PointCloud2'
    source = np.load(files / 'source.npy')
    with bag.Recorder(tmp_path / 'bag') as recorder:
        for i in range(3):
            values = cloud_values((i + 1) * 10**9, 'camera', source)
            message = build_message(distro_typestore(), cloud, values)
            recorder.write('/camera/points', message, i * 500_000_000)
    transforms = []
    parameters = (
        *('-p', 'mode=object', '-p', 'objects.names=[room]'),
        *('-p', f'objects.references=[{files / "target.npy"}]'),
        *('-p', 'segmentation.remove_plane=false', '-p', 'topics.points:=/camera/points'),
        *('-p', 'registration.use_predictor=false', '-p', 'dds.network_interface=lo'),
        *('-p', f'dds.domain_id={domain}', '--name', 'finder', '--namespace', '/robot'),
    )
    where = ('--domain', domain, '--interface', LOOPBACK)
    with Participant('listener', domain_id=domain, interface=LOOPBACK) as listener:
        listener.subscribe('/robot/tf', 'tf2_msgs/msg/TFMessage', transforms.append, qos.TF)
        with command('run', *parameters) as node:
            with command('play', tmp_path / 'bag', '--wait', 60, *where) as player:
                code, out, err = player.finish()
            assert (code, out) == (0, '') and '3 messages sent' in err
            assert wait_for(lambda: transforms)
            # A player that loops and a node that idles end when they are interrupted.
            with command('play', tmp_path / 'bag', '--loop', *where) as player:
                before = len(transforms)
                assert wait_for(lambda: len(transforms) > before)
                player.interrupt()
                assert player.finish()[0] == 130
            node.interrupt(signal.SIGTERM)
            code, out, err = node.finish()
    assert (code, out) == (0, '') and 'Traceback' not in err
    found = matrix_from_transform(transforms[0].transforms[0].transform)
    assert rotation_angle_deg(found, inverse(TARGET_FROM_SOURCE)) < 0.5
    assert np.linalg.norm(found[:3, 3] - inverse(TARGET_FROM_SOURCE)[:3, 3]) < 0.01
