"""``dlc-retrain`` as its user runs it, on a small simulated robot."""

import contextlib
import io
import json
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip('rosbags')
pytest.importorskip('open3d')

from recordings import FIRST, STEP, Robot, drive, room_points  # noqa: E402

from dlc_ros.files import read_cloud, write_cloud, write_transform  # noqa: E402
from dlc_ros.registration.confidence import GEOMETRIC  # noqa: E402
from dlc_ros.registration.descriptor import DescriptorNet, NetOptions  # noqa: E402
from dlc_ros.registration.se3 import make_transform, matrix_from_quaternion  # noqa: E402
from dlc_ros.registration.weights import load_weights, save_weights  # noqa: E402
from dlc_training.recordings.frames import interpolate_poses  # noqa: E402
from dlc_training.recordings.lidar import Lidar  # noqa: E402
from dlc_training.recordings.preparation import Source  # noqa: E402
from dlc_training.recordings.reference import read_reference  # noqa: E402
from dlc_training.recordings.simulate import simulate  # noqa: E402
from dlc_training.recordings.sources import Recording  # noqa: E402
from dlc_training.recordings.survey import survey  # noqa: E402
from dlc_training.recordings.trajectory import read_trajectory  # noqa: E402
from dlc_training.retrain_cli import main  # noqa: E402

SMALL = ['--most-scans', '36', '--judge-scans', '2', '--benchmark-pairs', '0', '--quiet']
TRAIN = [
    '--steps',
    '4',
    '--set',
    'optimiser.batch=4',
    'data.workers=0',
    'half=false',
    'save_every=1',
]

# Axes of a camera in those of a robot.
EYE, OPTICAL = np.eye(4), make_transform([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])


@pytest.fixture(scope='module')
def simulated(tmp_path_factory):
    """A robot with a coarse lidar in two rooms, its truth on /tf; two seconds of one core."""
    folder = tmp_path_factory.mktemp('simulated')
    lidar = Lidar(beams=12, columns=240, period=0.25)
    simulate(folder, seed=4, rooms=2, truth='map', people=1, lidar=lidar, quiet=True)
    return folder


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Random weights of a small network: nothing here depends on what they know."""
    path = tmp_path_factory.mktemp('weights') / 'small.safetensors'
    net = DescriptorNet(NetOptions(width=32, heads=2, layers=1, keypoints=48, neighbours=8,
                                   affinity_width=16))  # fmt: skip
    save_weights(path, net, {'name': 'random', 'gate': GEOMETRIC.as_card()})
    return path


def words(simulated, weights, out, *more):
    return [
        '--bag', str(simulated / 'recording'), '--reference', str(simulated / 'reference.ply'),
        '--weights', str(weights), '--out', str(out), *SMALL, *more,
    ]  # fmt: skip


def test_dry_run_tells_what_would_be_used_and_writes_nothing(simulated, weights, tmp_path, capsys):
    out = tmp_path / 'out'
    assert main(words(simulated, weights, out, '--dry-run')) == 0
    text = capsys.readouterr().out
    for expected in (
        '/lidar/points [PointCloud2]', "frame 'lidar'", '/tf map -> lidar', 'relative, in s',
        'held out', 's a step', 'MB', 'reference.ply',
    ):  # fmt: skip
        assert expected in text
    assert not out.exists()


@pytest.fixture(scope='module')
def trained(simulated, weights, tmp_path_factory):
    """A run that nobody interrupted: its folder, and what it printed."""
    out, text = tmp_path_factory.mktemp('trained') / 'out', io.StringIO()
    with contextlib.redirect_stdout(text):
        assert main(words(simulated, weights, out, *TRAIN)) == 0
    return out, text.getvalue()


def test_whole_path_gives_weights_a_report_and_one_sentence(trained, weights):
    out, text = trained
    facts = json.loads((out / 'report.json').read_text())
    sentence = facts['verdict']
    assert sentence in text and sentence.count('. ') == 0
    page = (out / 'report.html').read_text()
    # Whoever published map on /tf may have been wrong, this localizer among them.
    assert not facts['held_out_is_truth']
    assert all('as good as what localised the robot' in said for said in (sentence, page))
    assert sentence.split(':')[0] in page and page.count('data:image/png;base64') == 4
    loaded = load_weights(out / 'weights.safetensors')
    assert loaded.sha256 == facts['weights_sha256'] and 'recording' in loaded.card['data']
    assert loaded.card['scores']['held_out']['count'] >= 2
    assert loaded.card['started_from'] == load_weights(weights).sha256
    assert loaded.confidence == GEOMETRIC  # of the old ones, as the card says
    assert loaded.card['gate_fitted_to'] == loaded.card['started_from']
    assert facts['windows']['count'] == facts['held_out']['count']
    assert 'in the part of the reference about' in page
    assert facts['upright'] and 'the sensor is known to stand upright' in page
    for name, wrong in facts['wrong'].items():
        right = facts['held_out']['count'] * facts['accepted'][name] / 100
        assert wrong >= 0 and right + wrong <= facts['held_out']['count']
        assert facts['accepted'][name] <= facts['held_out'][name]
    assert 'dropped' in loaded.card['recording']['training poses that disagree with their clouds']


def retraining(arguments, launcher=()):
    """``dlc-retrain`` as a process."""
    launcher = launcher or ('-m', 'dlc_training.retrain_cli')
    return subprocess.Popen(
        [sys.executable, *launcher, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def same_weights(first, second):
    first, second = (load_weights(p / 'weights.safetensors').net.state_dict()
                     for p in (first, second))  # fmt: skip
    return all((first[name] == second[name]).all() for name in first)


def test_interrupted_at_any_moment_the_same_command_goes_on(
    simulated, weights, trained, tmp_path, capsys
):
    for marker, how in (
        ('index/shard_00002.npz', signal.SIGKILL),
        ('run/checkpoint.pt', signal.SIGINT),
    ):
        process = retraining(words(simulated, weights, tmp_path, *TRAIN))
        while not (tmp_path / marker).exists() and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(how)
        _, error = process.communicate(timeout=240)
        assert process.returncode in (-signal.SIGKILL, 130, 0)
        if process.returncode == 130:
            assert b'the same command continues' in error and b'Traceback' not in error
    assert main(words(simulated, weights, tmp_path, *TRAIN)) == 0
    assert same_weights(trained[0], tmp_path)
    # And one that has ended goes on to more steps.
    capsys.readouterr()
    longer = words(simulated, weights, tmp_path, '--steps', '8', *TRAIN[2:])
    assert main(longer) == 0 and '4 of 8 steps left' in capsys.readouterr().out
    assert load_weights(tmp_path / 'weights.safetensors').card['steps'] == 8


def test_what_was_trained_on_one_part_is_not_judged_on_another(
    simulated, weights, trained, capsys
):
    """The second command held out what the first one trained on, and praised it."""
    out, _ = trained
    before = load_weights(out / 'weights.safetensors').sha256
    for more in (['--share', '0.5'], ['--hold-out', 'time']):
        assert main(words(simulated, weights, out, *TRAIN[:2], *more, *TRAIN[2:])) == 2
        assert 'another split; use another --out' in capsys.readouterr().err
    assert load_weights(out / 'weights.safetensors').sha256 == before


def test_two_processes_train_what_one_does(simulated, weights, trained, tmp_path):
    launcher = ('-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2', '-m',
                'dlc_training.retrain_cli')  # fmt: skip
    process = retraining(words(simulated, weights, tmp_path, *TRAIN), launcher)
    _, error = process.communicate(timeout=400)
    assert process.returncode == 0, error.decode()[-2000:]
    one, two = (
        [json.loads(line)['loss'] for line in (out / 'run' / 'log.jsonl').read_text().splitlines()]
        for out in (trained[0], tmp_path)
    )
    assert len(one) == len(two) > 0
    assert np.allclose(one, two, rtol=1e-4)


def test_reference_in_millimetres_is_named(simulated, weights, tmp_path, capsys):
    millimetres = tmp_path / 'reference.ply'
    write_cloud(millimetres, 1000 * read_cloud(simulated / 'reference.ply'))
    arguments = words(simulated, weights, tmp_path / 'out', '--dry-run')
    arguments[arguments.index('--reference') + 1] = str(millimetres)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert 'looks like millimetres' in error and '--reference-unit 0.001' in error
    assert main([*arguments, '--reference-unit', '0.001']) == 0
    read = read_reference(Source((), reference=str(millimetres), reference_unit=0.001))
    np.testing.assert_allclose(read, read_cloud(simulated / 'reference.ply'), atol=1e-9)
    for unit in ('0', '-0.001', 'nan'):
        with pytest.raises(SystemExit, match='2'):
            main([*arguments, '--reference-unit', unit])
        assert f"'{unit}' is no number from 1e-06 to 1000" in capsys.readouterr().err


def test_a_unit_that_was_given_is_compared_with_the_scans(simulated, weights, tmp_path, capsys):
    arguments = words(simulated, weights, tmp_path / 'out', '--dry-run', '--reference-unit')
    for unit, side in (('0.001', 'smaller'), ('1000', 'larger')):
        assert main([*arguments, unit]) == 2
        error = capsys.readouterr().err
        assert error.count('\n') == 1
        assert f'times {side} than a scan with --reference-unit {unit};' in error
    # Whoever is right can always say so.
    huge = tmp_path / 'huge.ply'
    write_cloud(huge, 1000 * read_cloud(simulated / 'reference.ply'))
    arguments[arguments.index('--reference') + 1] = str(huge)
    assert main([*arguments, '1']) == 0


def test_a_reference_that_cannot_be_read_is_known_before_the_recording_is_read(
    simulated, weights, tmp_path, capsys
):
    few = tmp_path / 'few.ply'
    write_cloud(few, np.eye(3))
    (tmp_path / 'damaged.ply').write_bytes(b'ply\n')
    arguments = words(simulated, weights, tmp_path / 'out')
    # Reading this recording, which there is not, would be the first mistake.
    arguments[arguments.index('--bag') + 1] = str(tmp_path / 'nowhere')
    for name, message in (
        ('missing.ply', 'cannot be read'),
        ('damaged.ply', 'not a readable ply file'),
        ('few.ply', '3 finite points are no reference'),
    ):
        arguments[arguments.index('--reference') + 1] = str(tmp_path / name)
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert f'{name}: ' in error and message in error and error.count('\n') == 1


def kitti(path, simulated, frame=EYE, mount=EYE):
    """A KITTI file, a line for each cloud of the recording, of the truth: frame @ pose @ mount."""
    stamps = survey(Recording([simulated / 'recording']), quiet=True).stamps_ns
    poses, _ = interpolate_poses(*read_trajectory(simulated / 'truth.tum', []), stamps, 1.0)
    poses = frame @ poses @ mount
    np.savetxt(path, poses[:, :3].reshape(-1, 12))
    return path


@pytest.mark.parametrize('start', ['told', 'found'])
def test_drifting_odometry_is_placed_in_the_reference(simulated, weights, tmp_path, capsys, start):
    """Where it began need not be told: an upright sensor is found without what weights know."""
    more = ['--fixed-frame', 'odom', '--judge-truth', str(simulated / 'truth.tum')]
    if start == 'told':
        more[-1] = str(kitti(tmp_path / 'truth.txt', simulated))
        _, *pose = np.loadtxt(simulated / 'truth.tum')[0]
        first = make_transform(matrix_from_quaternion(pose[3:]), pose[:3])
        write_transform(tmp_path / 'first.txt', first)
        more += ['--initial-pose', str(tmp_path / 'first.txt')]
    assert main(words(simulated, weights, tmp_path / 'out', *TRAIN, *more)) == 0
    text = capsys.readouterr().out
    assert json.loads((tmp_path / 'out' / 'report.json').read_text())['held_out_is_truth']
    assert '/tf odom -> lidar' in text and 'self-labels' in text
    assert float(text.split('(median), ')[1].split(' mm')[0]) < 60


def test_measured_poses_that_cannot_be_used_are_refused_before_anything_is_trained(
    simulated, weights, tmp_path, capsys
):
    out, bad = tmp_path / 'out', tmp_path / 'bad.txt'
    bad.write_text('1 2 3\n')
    for path, message in ((bad, 'lines of [3] numbers'), ('nowhere.txt', 'cannot be read')):
        assert main(words(simulated, weights, out, *TRAIN, '--judge-truth', str(path))) == 2
        said = capsys.readouterr()
        assert message in said.err and 'topics' not in said.out and not out.exists()
    for change in ({'frame': make_transform(translation=[0, 50, 0])}, {'mount': OPTICAL}):
        path = kitti(tmp_path / 'moved.txt', simulated, **change)
        assert main(words(simulated, weights, out, *TRAIN, '--judge-truth', str(path))) == 2
        error = capsys.readouterr().err
        assert error.count('\n') == 1 and 'in the frame of the reference' in error
        assert not (out / 'run').exists()


def test_map_is_built_where_no_reference_is_given(simulated, weights, tmp_path, capsys):
    arguments = words(simulated, weights, tmp_path / 'out', *TRAIN)
    at = arguments.index('--reference')
    assert main(arguments[:at] + arguments[at + 2 :]) == 0
    built, true = read_cloud(tmp_path / 'out' / 'map.ply'), read_cloud(simulated / 'reference.ply')
    from scipy.spatial import cKDTree

    distance, _ = cKDTree(true).query(built)
    assert np.quantile(distance, 0.95) < 0.08
    assert 'a map built from the recording' in capsys.readouterr().out


def test_standing_sensor_without_poses_comes_out_as_standing(weights, tmp_path, capsys):
    world = room_points(20_000)
    with Robot(tmp_path / 'bag') as robot:
        for i in range(30):
            rng = np.random.default_rng(i)
            seen = world[rng.choice(len(world), 4000, replace=False)]
            robot.cloud(FIRST + i * STEP, seen + rng.normal(0, 0.005, seen.shape))
    out = tmp_path / 'out'
    arguments = ['--bag', str(tmp_path / 'bag'), '--weights', str(weights), '--out', str(out)]
    assert main([*arguments, *SMALL, *TRAIN, '--share', '0.5']) == 0
    text = capsys.readouterr().out
    assert 'the sensor stands still: within' in text and 'LiDAR odometry' in text
    facts = json.loads((out / 'report.json').read_text())
    # The map has the axes of the first cloud, whatever these are: up is not known.
    assert not facts['held_out_is_truth'] and not facts['upright']
    assert float(text.split('stands still: within ')[1].split(' mm')[0]) < 10
    assert 'by time' in text


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'clouds': False}, 'no PointCloud2 topic'),
        ({'count': 1}, 'nothing can be learned'),
        ({'count': 8}, 'record longer or drive farther'),
    ],
)
def test_recordings_that_teach_nothing_are_one_clear_line(tmp_path, capsys, change, message):
    bag = drive(tmp_path / 'bag', **change)
    assert main(['--bag', str(bag), '--out', str(tmp_path / 'out'), *SMALL]) == 2
    error = capsys.readouterr().err
    assert error.startswith('dlc-retrain: ') and error.count('\n') == 1 and message in error


def test_wrong_words_are_one_clear_line(simulated, weights, tmp_path, capsys):
    for more, message in (
        (['--share', '0.99'], '--share'),
        (['--topic', '/camera'], 'no cloud topic /camera; it has: /lidar/points'),
        (['--fixed-frame', 'world'], "no frame 'world'"),
        (['--trajectory', 'nowhere.txt'], 'nowhere.txt: cannot be read'),
        (['--set', 'optimiser.speed=1'], 'unknown key'),
        (['--body-reach', 'inf'], '--body-reach inf'),
        (['--initial-pose', 'nowhere.txt'], 'nowhere.txt: cannot be read'),
        (['--trajectory-frame', 'imu'], 'changes nothing without --trajectory'),
        (['--trajectory', str(simulated / 'truth.tum'), '--fixed-frame', 'odom'], 'beside --traj'),
    ):
        assert main(words(simulated, weights, tmp_path / 'out', *more, '--dry-run')) == 2
        assert message in capsys.readouterr().err
    (tmp_path / 'file').touch()
    for out in (tmp_path / 'file', tmp_path / 'file' / 'below'):
        assert main(words(simulated, weights, out)) == 2
        said = capsys.readouterr()
        assert 'cannot write' in said.err and said.err.count('\n') == 1
        assert 'reading' not in said.out  # a recording may take long
    for option in ('--initial-pose', '--reference-unit'):
        alone = ['--bag', str(simulated / 'recording'), option, '1', '--out', str(tmp_path / 'o')]
        assert main(alone) == 2
        assert 'changes nothing without --reference' in capsys.readouterr().err
    simulated_again = ['simulate', '--out', str(simulated), '--rooms', '2']
    assert main(simulated_again) == 2


def test_how_fast_a_recording_is_read_is_told_in_one_line(simulated, tmp_path, capsys):
    bag = shutil.copytree(simulated / 'recording', tmp_path / 'bag')
    assert main(['ingest', '--bag', str(bag), '--every', '3']) == 0
    line = capsys.readouterr().out
    size = sum(file.stat().st_size for file in bag.iterdir()) / 1e6
    assert float(line.split(' MB,')[0]) == pytest.approx(size, abs=1)
    assert 'one cloud in 3 kept' in line and 'peak memory' in line and line.count('\n') == 1
    assert main(['ingest', '--megabytes', '1', '--out', str(tmp_path / 'nowhere')]) == 2
    error = capsys.readouterr().err
    assert 'cannot write in' in error and error.count('\n') == 1


def test_disk_that_fills_up_under_a_simulation_is_one_clear_line(tmp_path, capsys):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        code = main(['simulate', '--out', str(tmp_path / 'full'), '--rooms', '2'])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = capsys.readouterr().err.splitlines()[-1]
    assert code == 2 and said.startswith('dlc-retrain simulate: cannot write in')
    assert 'make room' in said
