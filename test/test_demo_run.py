"""The demo as a person runs it: processes, exit codes, and what it leaves behind."""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip('open3d', reason='open3d is not installed')
pytest.importorskip('cyclonedds', reason='cyclonedds is not installed')
pytest.importorskip('matplotlib', reason='matplotlib is not installed')

from dlc_ros import cli  # noqa: E402
from dlc_ros.demo import run  # noqa: E402
from dlc_ros.demo.camera import POINTS_TOPIC  # noqa: E402
from dlc_ros.demo.scenario import CAMERA_FRAME  # noqa: E402
from dlc_ros.errors import DlcError  # noqa: E402
from dlc_ros.files import read_cloud  # noqa: E402
from dlc_ros.localization.parameters import load_yaml  # noqa: E402
from dlc_ros.node.bag import Bag  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
FAKE_NODE = f'{sys.executable} {ROOT / "test" / "demo_fake_node.py"}'


def start(out, *arguments):
    """Start the demo, short and slow, so that a busy machine keeps up."""
    command = [sys.executable, '-m', 'dlc_ros.demo', '--out', str(out)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    environment.pop('ROS_DOMAIN_ID', None)
    return subprocess.Popen(
        [*command, '--duration', '10', '--rate', '2', *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """Exit code, what it printed and what it complained about."""
    printed, complained = process.communicate(timeout=180)
    assert 'Traceback' not in complained
    return process.returncode, printed, complained


def report_of(out):
    return json.loads((out / 'report.json').read_text())


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """A node that is always right and the real one without its predictor, at the same time."""
    folder = tmp_path_factory.mktemp('demo')
    processes = {
        'right': start(folder / 'right', '--node', f'{FAKE_NODE} right'),
        'bypassed': start(folder / 'bypassed', '--bypass-predictor'),
    }
    return {name: (folder / name, *finish(process)) for name, process in processes.items()}


@pytest.fixture
def finished(runs):
    """Folder, exit code, output and complaints of the run whose node is always right."""
    return runs['right']


def test_right_node_passes_with_a_table(finished):
    out, code, printed, complained = finished
    assert code == 0, printed + complained
    for row in ('frames in', 'registered', 'skipped', 'rejected', 'success', 'latency', 'jump'):
        assert row in printed
    report = report_of(out)
    assert report['passed'] and report['failures'] == []
    assert (report['frames'], report['blind'], report['wrong']) == (20, 2, 0)
    assert (report['jumps'], report['found_again']) == (2, 2)
    assert max(report['rotation_deg']) < 1e-3 and max(report['translation_m']) < 1e-6
    assert 0.0 < report['time_to_recover'] < 3.0


def test_progress_is_shown_while_it_runs(finished):
    _, _, printed, _ = finished
    assert 'waiting for the node' in printed
    assert 'TRACKING' in printed and 'registered' in printed


def test_recording_opens_and_holds_what_was_said(finished):
    out, *_ = finished
    with Bag(out / 'recording') as bag:
        topics = bag.topics
        assert {'/tf', '/demo/truth', '/demo/view', '/diagnostics', POINTS_TOPIC} <= set(topics)
        assert topics['/tf'].count == report_of(out)['registered']
        assert topics['/demo/truth'].count == 20
        clouds = list(bag.clouds(POINTS_TOPIC))
    assert clouds
    stamp_ns, frame, points = clouds[0]
    assert frame == CAMERA_FRAME and points.shape == (320 * 240, 3)
    assert abs(stamp_ns - time.time_ns()) < 3600 * 10**9


def test_picture_is_drawn(finished):
    import matplotlib.image

    out, *_ = finished
    image = matplotlib.image.imread(out / 'picture.png')[..., :3]
    assert min(image.shape[:2]) > 600
    upper, lower = image[: image.shape[0] // 2], image[image.shape[0] // 2 :]
    # Model and scan above, the two errors' colours below.
    for part, colour in ((upper, (0.88, 0.40, 0.05)), (lower, (0.0, 0.447, 0.698))):
        assert (np.abs(part - colour).max(axis=-1) < 0.08).sum() > 20
    assert (np.ptp(image, axis=-1) > 0.1).mean() > 0.05


def test_a_scan_is_left_that_can_be_registered_to_the_reference(finished, capsys):
    out, *_ = finished
    assert cli.main(['register', str(out / 'scan.ply'), str(out / 'reference.ply')]) == 0
    assert capsys.readouterr().out.startswith('ACCEPTED')


def test_one_row_for_every_transform(finished):
    out, *_ = finished
    rows = (out / 'transforms.csv').read_text().splitlines()
    assert rows[0] == 'time_s,view,rotation_deg,translation_m,latency_ms'
    assert len(rows) == 1 + report_of(out)['registered']


def test_node_that_dies_is_named_with_its_last_words(tmp_path):
    code, _, complained = finish(start(tmp_path / 'out', '--node', f'{FAKE_NODE} dies'))
    assert code == 2
    assert 'the node ended with exit code 3' in complained
    assert 'out of memory' in complained


def test_node_that_cannot_be_started_is_named(tmp_path):
    code, _, complained = finish(start(tmp_path / 'out', '--node', '/no/such/node {params}'))
    assert code == 2
    assert 'cannot start the node' in complained and '/no/such/node' in complained


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--weights', 'missing.safetensors'], 'missing.safetensors'),
        (['--duration', '1'], 'duration'),
        (['--rate', '1000'], 'rate'),
    ],
)
def test_wrong_options_are_one_line(tmp_path, arguments, words):
    code, _, complained = finish(start(tmp_path / 'out', *arguments))
    assert code == 2
    assert words in complained and len(complained.strip().splitlines()) == 1


def test_results_of_another_run_are_not_overwritten(tmp_path):
    (tmp_path / 'recording').mkdir()
    with pytest.raises(DlcError, match='another run'):
        run.make_folder(tmp_path)


def test_a_folder_that_is_called_as_the_link_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'results' / 'latest' / 'mine').mkdir(parents=True)
    with pytest.raises(DlcError, match=r'cannot link results/latest .* give --out'):
        run.make_folder(None)
    assert (tmp_path / 'results' / 'latest' / 'mine').is_dir()


def test_latest_points_at_the_newest_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = run.make_folder(None)
    latest = tmp_path / 'results' / 'latest'
    assert latest.resolve() == first
    monkeypatch.setattr(time, 'strftime', lambda _format: 'later')
    assert latest.resolve() == first
    second = run.make_folder(None)
    assert latest.resolve() == second != first


def test_parameters_of_the_run_are_the_ones_asked_for(tmp_path):
    weights = tmp_path / 'weights.safetensors'
    weights.touch()
    options = argparse.Namespace(weights=weights, bypass_predictor=True, interface='lo')
    run.write_parameters(tmp_path / 'params.yaml', tmp_path / 'reference.ply', options)
    parameters = load_yaml(tmp_path / 'params.yaml')
    assert parameters.objects.references == (str(tmp_path / 'reference.ply'),)
    assert parameters.weights == str(weights)
    assert parameters.registration.use_predictor is False
    assert parameters.topics.points == POINTS_TOPIC
    assert parameters.frames.cloud == CAMERA_FRAME
    shipped = yaml.safe_load((ROOT / 'config' / 'demo.yaml').read_text())
    assert shipped['/**']['ros__parameters']['registration']['use_predictor'] is True


def test_demo_fails_without_the_predictor(runs):
    out, code, printed, complained = runs['bypassed']
    assert code == 1, printed + complained
    report = report_of(out)
    # It worked, and found nothing: neither a crash nor a machine that was too slow.
    assert report['rejected'] > 4
    assert report['success'] < 0.5
    assert 'FAILED' in printed
    # A person who watches sees that the blinded camera's clouds are rejected, and why.
    assert 'the camera is blinded and its cloud rejected: ' in printed


def test_demo_fails_with_random_weights(tmp_path):
    """The pass of the demo is the training's work: a network that learnt nothing fails."""
    torch = pytest.importorskip('torch', reason='torch is not installed')
    from dlc_ros.registration.descriptor import DescriptorNet
    from dlc_ros.registration.weights import save_weights

    torch.manual_seed(0)
    save_weights(tmp_path / 'random.safetensors', DescriptorNet(), {'name': 'random'})
    weights = ('--weights', tmp_path / 'random.safetensors', '--duration', 24, '--rate', 4)
    code, printed, complained = finish(start(tmp_path / 'out', *weights))
    assert code == 1, printed + complained
    report = report_of(tmp_path / 'out')
    # The node worked: the part was found now and then, but not often enough.
    assert report['registered'] > 0
    assert report['success'] < 0.95
    assert 'visible frames' in printed


def test_reference_is_a_cloud_of_its_own(finished):
    """No point of the reference was seen by the camera."""
    out, *_ = finished
    points = read_cloud(out / 'reference.ply')
    assert points.shape == (run.REFERENCE_POINTS, 3)
    with Bag(out / 'recording') as bag:
        for _, _, cloud in bag.clouds(POINTS_TOPIC):
            assert not set(map(bytes, cloud)) & set(map(bytes, points.astype(np.float32)))
