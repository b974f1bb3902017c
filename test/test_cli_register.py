"""``dlc-ros register``: what it prints, where, and with which exit code."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import scenes
from cli_runs import TARGET_FROM_SOURCE, assert_mistake, run, write_pair
from wire import environment, room

from dlc_ros.files import write_cloud, write_transform
from dlc_ros.registration.se3 import (
    exp_so3,
    inverse,
    make_transform,
    rotation_angle_deg,
    transform_points,
)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A pair of clouds, guesses of the transform between them, and what is none of these."""
    folder = tmp_path_factory.mktemp('files')
    write_pair(folder)
    write_cloud(folder / 'other.npy', 0.3 * np.random.default_rng(2).normal(size=(4000, 3)))
    write_cloud(folder / 'few.npy', room(60)[:5])
    write_transform(folder / 'init.txt', np.eye(4))
    (folder / 'bad_init.txt').write_text('1 2 3\n')
    (folder / 'views.ply').mkdir()
    (folder / 'text.ply').write_text('this is no ply file')
    (folder / 'params.yaml').write_text('/**:\n  ros__parameters:\n    mode: object\n')
    return folder


def test_register_prints_one_json_object(files, capsys):
    code, out, err = run(
        capsys,
        *('register', files / 'source.npy', files / 'target.npy'),
        *('--init', files / 'init.txt', '--json'),
    )
    answer = json.loads(out)
    assert (code, err) == (0, '')
    assert set(answer) == {
        'T_target_source',
        'accepted',
        'status',
        'reason',
        'confidence',
        'covariance',
        'inlier_fraction',
        'residual_m',
        'alternatives',
        'free_directions',
        'stages_ms',
    }
    transform = np.array(answer['T_target_source'])
    assert rotation_angle_deg(transform, TARGET_FROM_SOURCE) < 0.5
    assert np.linalg.norm(transform[:3, 3] - TARGET_FROM_SOURCE[:3, 3]) < 0.01
    assert answer['accepted'] is True and answer['status'] == 'ACCEPTED'
    assert 0.5 <= answer['confidence'] <= 1.0
    assert answer['inlier_fraction'] > 0.5 and 0.0 < answer['residual_m'] < 0.02
    assert answer['alternatives'] == answer['free_directions'] == []
    covariance = np.array(answer['covariance'], dtype=np.float64)
    assert covariance.shape == (6, 6) and (np.linalg.eigvalsh(covariance) > 0.0).all()
    assert all(milliseconds >= 0.0 for milliseconds in answer['stages_ms'].values())


def test_register_for_people_says_the_same(files, capsys):
    arguments = ('register', files / 'source.npy', files / 'target.npy', '--init')
    code, out, _ = run(capsys, *arguments, files / 'init.txt')
    lines = out.splitlines()
    assert code == 0 and lines[0].startswith('ACCEPTED: ')
    transform = np.array([line.split() for line in lines[-4:]], dtype=np.float64)
    assert rotation_angle_deg(transform, TARGET_FROM_SOURCE) < 0.5


def test_what_is_not_accepted_is_exit_code_1(files, capsys):
    arguments = ('register', files / 'other.npy', files / 'target.npy', '--json')
    code, out, err = run(capsys, *arguments)
    answer = json.loads(out)
    assert (code, err) == (1, '')
    assert answer['accepted'] is False and answer['status'] != 'ACCEPTED' and answer['reason']


def test_a_threshold_of_ones_own_decides(files, capsys):
    arguments = ('register', files / 'source.npy', files / 'target.npy', '--init')
    arguments = (*arguments, files / 'init.txt', '--json', '--min-confidence')
    assert run(capsys, *arguments, 0.2)[0] == 0
    code, out, _ = run(capsys, *arguments, 1)
    assert code == 1 and json.loads(out)['status'] == 'REJECTED'


def test_the_spread_of_an_initial_pose_tells_equal_poses_apart(tmp_path, capsys):
    rng, far = np.random.default_rng(4), [500_000.0, 5_400_000.0, 300.0]
    for name in ('source', 'target'):
        write_cloud(tmp_path / f'{name}.npy', scenes.box(3000, rng) + far)
    write_transform(tmp_path / 'init.txt', np.eye(4))
    arguments = ('register', tmp_path / 'source.npy', tmp_path / 'target.npy', '--json')
    arguments = (*arguments, '--init', tmp_path / 'init.txt', '--init-std')
    code, out, err = run(capsys, *arguments, 0.1, 5)
    assert (code, err) == (0, '')
    assert rotation_angle_deg(np.array(json.loads(out)['T_target_source']), np.eye(4)) < 1.0
    code, out, _ = run(capsys, *arguments, 10, 180)
    assert code == 1 and json.loads(out)['status'] == 'AMBIGUOUS'


def test_the_spread_of_an_initial_pose_is_that_of_the_middle_of_the_cloud(tmp_path, capsys):
    """A cloud that is refused keeps what was believed of it."""
    middle = np.array([700.0, -300.0, 20.0])
    tiny = 1e-3 * room().astype(np.float64)
    write_cloud(tmp_path / 'source.npy', tiny - tiny.mean(axis=0) + middle)
    write_cloud(tmp_path / 'target.npy', room())
    write_transform(tmp_path / 'init.txt', make_transform(exp_so3([0.4, 0.0, 1.0]), [9.0, 0, 0]))
    code, out, _ = run(
        capsys,
        *('register', tmp_path / 'source.npy', tmp_path / 'target.npy', '--json'),
        *('--init', tmp_path / 'init.txt', '--init-std', 0.2, 10),
    )
    answer = json.loads(out)
    assert code == 1 and 'smaller' in answer['reason']
    # x = R c + t: an error w of the turn swings the middle c by w x R c.
    arm = np.array(answer['T_target_source'])[:3, :3] @ middle
    lever = np.eye(6)
    lever[:3, 3:] = -np.cross(np.eye(3), arm)
    deviations = np.sqrt(np.diag(lever @ np.array(answer['covariance']) @ lever.T))
    np.testing.assert_allclose(deviations, np.repeat([0.2, np.radians(10)], 3), rtol=0.02)


def test_upright_searches_among_upright_poses_alone(tmp_path, capsys):
    rng = np.random.default_rng(5)
    place = scenes.box(20000, rng, (12.0, 7.0, 3.0))
    place = np.vstack([place, scenes.box(4000, rng, (1.5, 1.0, 2.0)) + [3.5, 1.5, -0.5]])
    truth = make_transform(exp_so3([0.0, 0.0, 2.5]), [-1.0, 0.5, 0.0])
    scan = transform_points(inverse(truth), place)
    scan = scan[np.linalg.norm(scan, axis=1) < 6.0][::3]
    scan += 0.005 * rng.normal(size=scan.shape)
    write_cloud(tmp_path / 'place.npy', place)
    write_cloud(tmp_path / 'scan.npy', scan)
    write_cloud(tmp_path / 'on_its_head.npy', scan * [1.0, -1.0, -1.0])
    arguments = (tmp_path / 'place.npy', '--upright', '--json')
    code, out, _ = run(capsys, 'register', tmp_path / 'scan.npy', *arguments)
    assert code == 0, json.loads(out)['reason']
    assert rotation_angle_deg(np.array(json.loads(out)['T_target_source']), truth) < 1.0
    assert run(capsys, 'register', tmp_path / 'on_its_head.npy', *arguments)[0] == 1
    assert run(capsys, 'register', tmp_path / 'on_its_head.npy', arguments[0])[0] == 0


def test_what_the_sensor_looked_through_counts(tmp_path, capsys):
    rng = np.random.default_rng(0)
    write_cloud(tmp_path / 'block.npy', scenes.finned_block(rng)[0])
    seen = scenes.finned_block(rng, density=900)[1]
    write_cloud(tmp_path / 'seen.npy', seen + 0.004 * rng.normal(size=seen.shape))
    files = (tmp_path / 'seen.npy', tmp_path / 'block.npy')
    assert run(capsys, 'register', *files, '--viewpoint', '2.5', '2.2', '-2.0')[0] == 0
    code, out, _ = run(capsys, 'register', *files, '--viewpoint', '-1.5', '-1.4', '2.6')
    assert code == 1 and 'saw through' in out


# As a shell runs it: what is printed leaves when the program ends, or when it is told to.
BUFFERED = {**environment(), 'PYTHONUNBUFFERED': ''}


@pytest.mark.parametrize(('source', 'code'), [('source', 0), ('other', 1)])
def test_a_reader_that_leaves_early_hides_no_exit_code(files, source, code):
    reader, writer = os.pipe()
    os.close(reader)  # as head does once it has seen enough
    arguments = ('register', files / f'{source}.npy', files / 'target.npy', '--json')
    with os.fdopen(writer, 'w') as pipe:
        run = subprocess.run(
            [sys.executable, '-m', 'dlc_ros.cli', *map(str, arguments)],
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            env=BUFFERED,
            check=False,
        )
    assert (run.returncode, run.stderr) == (code, '')


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='this system has no full device')
def test_an_answer_that_cannot_be_written_is_a_mistake_and_no_verdict(files):
    with open('/dev/full', 'w') as full:
        run = subprocess.run(
            [sys.executable, '-m', 'dlc_ros.cli', 'register']
            + [str(files / f'{name}.npy') for name in ('source', 'target')],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=BUFFERED,
            check=False,
        )
    assert run.returncode == 2
    assert run.stderr == 'dlc-ros: standard output cannot be written: No space left on device\n'


MISTAKES = {
    'one file': (['register', 'a.ply'], 'TARGET'),
    'missing file': (['register', 'nowhere.ply', 'target.npy'], 'nowhere.ply'),
    'no cloud': (['register', 'text.ply', 'target.npy'], 'text.ply'),
    'directory': (['register', '.', 'target.npy'], '.: is a directory'),
    'directory with a suffix': (['register', 'source.npy', 'views.ply'], 'is a directory'),
    'unknown format': (['register', 'params.yaml', 'target.npy'], 'params.yaml'),
    'few points': (['register', 'few.npy', 'target.npy'], 'few.npy: 5 finite points'),
    'few points to register to': (['register', 'source.npy', 'few.npy'], 'few.npy: 5 finite'),
    'threshold out of range': (
        ['register', 'source.npy', 'target.npy', '--min-confidence', '1.5'],
        "'1.5' is no number from 0 to 1",
    ),
    'threshold that is none': (
        ['register', 'source.npy', 'target.npy', '--min-confidence', 'nan'],
        "'nan' is no number from 0 to 1",
    ),
    'spread of no pose': (
        ['register', 'source.npy', 'target.npy', '--init-std', '0.5', '10'],
        'give --init FILE as well',
    ),
    'half a spread': (
        ['register', 'source.npy', 'target.npy', '--init', 'init.txt', '--init-std', '0.5'],
        'expected 2 arguments',
    ),
    'negative spread': (
        ['register', 'source.npy', 'target.npy', '--init-std', '0.5', '-1'],
        "'-1' is no number from 0 on",
    ),
    'bad init': (
        ['register', 'source.npy', 'target.npy', '--init', 'bad_init.txt'],
        'bad_init.txt',
    ),
    'missing weights': (
        ['register', 'source.npy', 'target.npy', '--weights', 'nowhere.safetensors'],
        'nowhere.safetensors',
    ),
    'foreign weights': (
        ['register', 'source.npy', 'target.npy', '--weights', 'text.ply'],
        'text.ply',
    ),
}


@pytest.mark.parametrize('kind', MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(files, capsys, monkeypatch, kind):
    monkeypatch.chdir(files)
    assert_mistake(capsys, *MISTAKES[kind])
