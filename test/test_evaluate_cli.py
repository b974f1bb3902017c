"""``dlc-eval`` from the command line: a whole run, a repeated one, and mistakes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

for module in ('small_gicp', 'tqdm', 'matplotlib'):
    pytest.importorskip(module, reason=f'{module} is not installed')

from dlc_ros.registration.confidence import Fit, Model  # noqa: E402
from dlc_ros.registration.weights import load_weights  # noqa: E402
from dlc_training.evaluate.calibration import Example, features_of  # noqa: E402
from dlc_training.evaluate.eval_cli import main  # noqa: E402
from dlc_training.evaluate.place_calibration import FOREIGN  # noqa: E402


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    torch = pytest.importorskip('torch', reason='torch is not installed')
    from dlc_ros.registration.descriptor import DescriptorNet, NetOptions
    from dlc_ros.registration.weights import save_weights

    torch.manual_seed(1)
    path = tmp_path_factory.mktemp('weights') / 'small.safetensors'
    save_weights(path, DescriptorNet(NetOptions(width=16, layers=1, keypoints=64)), {})
    return path


def run(capsys, *arguments):
    code = main([*map(str, arguments), '--quiet'])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_so3_crop_from_shapes_to_the_files(capsys, tmp_path, weights):
    arguments = (
        'so3-crop', '--pairs-per-bin', 1, '--seed', 3, '--weights', weights, '--out', tmp_path,
        '--methods', 'dlc_ros', 'dlc_ros-bypassed', 'dlc_ros-random', 'gicp', 'starts',
    )  # fmt: skip
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    result = json.loads((tmp_path / 'result.json').read_text())
    names = {'dlc_ros', 'dlc_ros-bypassed', 'dlc_ros-random', 'gicp', 'starts'}
    assert set(result['scores']) == names
    assert set(result['differences']) == names - {'dlc_ros'}
    assert result['protocol'] == 'so3-crop' and result['seed'] == 3
    assert '--pairs-per-bin 1' in result['command']
    assert len(result['weights_sha256']) == 64
    assert result['versions']['small_gicp'] and result['versions']['numpy'] == np.__version__
    assert [p['bin'] for p in result['pairs']] == [0, 15, 30, 45, 60, 90, 135, 180]
    for columns in result['scores'].values():
        assert len(columns['success']) == 8 and min(columns['cpu_ms']) > 0
    for label in ('predictor bypassed', 'random weights', 'McNemar p', '24 starts'):
        assert label in out
    assert 'data:image/png;base64,' in (tmp_path / 'report.html').read_text()

    # The second time nothing is computed: even the measured times are the same.
    assert run(capsys, *arguments)[0] == 0
    again = json.loads((tmp_path / 'result.json').read_text())
    assert again['scores'] == result['scores']

    code, out, _ = run(capsys, *arguments[:-5], 'gicp')
    assert code == 0
    alone = json.loads((tmp_path / 'result.json').read_text())
    assert alone['scores'] == {'gicp': result['scores']['gicp']}
    assert alone['differences'] == {}


def test_rpmnet_crop_on_shapes_of_a_file(capsys, tmp_path):
    rng = np.random.default_rng(0)
    bent = rng.uniform(-1, 1, (2, 2048, 3)) * (0.6, 0.4, 0.1)
    bent[..., 2] += bent[..., 0] ** 2 - 0.5 * bent[..., 0] * bent[..., 1]
    np.savez(tmp_path / 'shapes.npz', points=bent, name=np.array(['first', 'second']))
    code, out, _ = run(
        capsys, 'rpmnet-crop', '--shapes', tmp_path / 'shapes.npz', '--pairs-per-bin', 4,
        '--methods', 'gicp', '--out', tmp_path / 'out', '--jobs', 2,
    )  # fmt: skip
    assert code == 0
    result = json.loads((tmp_path / 'out' / 'result.json').read_text())
    assert [p['shape'] for p in result['pairs']] == ['first', 'second'] * 2
    assert result['methods']['gicp']['chamfer']['mean'] is not None
    assert 'chamfer' in out


def test_tune_prints_a_line_for_every_variant(capsys, tmp_path):
    code, out, _ = run(
        capsys, 'tune', 'gicp', '--protocol', 'rpmnet-crop', '--pairs-per-bin', 4,
        '--out', tmp_path,
    )  # fmt: skip
    assert code == 0
    lines = out.splitlines()
    assert lines[0].endswith('clear pairs of 4')
    assert len(set(lines[1:])) == 8
    assert all(line.startswith('success') and 'GicpOptions(' in line for line in lines[1:])


def test_landscape_measures_two_networks_on_the_same_pairs(capsys, tmp_path, weights):
    code = main(
        ['landscape', '--pairs', '1', '--weights', str(weights), '--without', str(weights),
         '--out', str(tmp_path)]
    )  # fmt: skip
    out = capsys.readouterr().out
    assert code == 0
    result = json.loads((tmp_path / 'result.json').read_text())
    first, second = result['networks'].values()
    assert list(result['networks']) == ['with DLC', 'without DLC']
    # Equal weights on equal pairs.
    assert {**first, 'weights': 0} == {**second, 'weights': 0}
    assert {cell['angle_deg'] for cell in first['basin']['cells']} >= {15, 90, 180}
    for share in (
        *(cell['share'] for cell in first['basin']['cells']),
        *(row[key] for row in first['rays'] for key in ('rising', 'satisfied')),
    ):
        assert 0 <= share <= 1
    assert len(first['rays']) == 4 and all(len(row['curve']) == 20 for row in first['rays'])
    # The middle of a cut is the truth, about which energies are counted.
    for cut in first['slices']['energies'][0]:
        assert cut[20][20] == pytest.approx(0, abs=1e-3)
    assert 'without DLC' in out

    report = tmp_path / 'both.html'
    assert main(['report', *[str(tmp_path / 'result.json')] * 2, '--out', str(report)]) == 0
    # Cuts of one pair, rays, basin and bias, twice.
    assert report.read_text().count('<figure>') == 8


def test_rejection_reports_its_four_parts(capsys, tmp_path, weights):
    code, out, _ = run(
        capsys, 'rejection', '--negatives', 1, '--pairs', 1, '--weights', weights,
        '--out', tmp_path,
    )  # fmt: skip
    assert code == 0
    result = json.loads((tmp_path / 'result.json').read_text())
    assert set(result['answers']) == {'negatives', 'degenerate', 'ambiguous', 'good'}
    assert {row['kind'] for row in result['summary']['degenerate']} >= {'plane', 'corridor'}
    for text in ('look-alike', 'corridor', 'symmetric', 'inside 95 % ellipsoid', 'threshold'):
        assert text in out


def test_sweeps_change_one_property(capsys, tmp_path):
    code, out, _ = run(
        capsys, 'sweeps', '--only', 'density', '--pairs', 2, '--methods', 'gicp', '--out', tmp_path
    )
    assert code == 0
    curve = json.loads((tmp_path / 'result.json').read_text())['curves']['density']
    assert curve['values'] == [1, 2, 5, 10]
    assert [share['of'] for share in curve['methods']['gicp']] <= [2] * 4
    assert 'one of the source' in out


def test_files_turns_the_source_and_finds_it_back(capsys, tmp_path):
    rng = np.random.default_rng(0)
    cloud = rng.uniform(-1, 1, (3000, 3)) * (5, 3, 0.1)
    cloud[:, 2] += 0.1 * cloud[:, 0] ** 2 - 0.08 * cloud[:, 0] * cloud[:, 1]
    np.save(tmp_path / 'cloud.npy', cloud)
    np.savetxt(tmp_path / 'truth.txt', np.eye(4))
    cloud_path = tmp_path / 'cloud.npy'
    code, out, _ = run(
        capsys, 'files', cloud_path, cloud_path, tmp_path / 'truth.txt', '--rotations', 2,
        '--methods', 'starts', '--out', tmp_path / 'out',
    )  # fmt: skip
    assert code == 0
    result = json.loads((tmp_path / 'out' / 'result.json').read_text())
    assert result['methods']['starts']['success']['hits'] == 2
    assert result['success'][0] == 5.0 and 0.3 < result['success'][1] < 0.7


def test_calibrate_prints_the_constants_of_the_gate(capsys, tmp_path, weights):
    arguments = ('calibrate', '--pairs', 1, '--negatives', 1, '--weights', weights)
    code, out, _ = run(capsys, *arguments, '--out', tmp_path)
    assert code == 0
    assert out.startswith('learned: bias ') and '\ngeometric: bias ' in out
    assert 'look-alike accepted' in out and 'inside 95 % ellipsoid' in out


def test_calibrate_writes_its_constants_into_the_model_card_or_says_why_not(
    capsys, monkeypatch, tmp_path, weights
):
    file = tmp_path / 'copy.safetensors'
    file.write_bytes(Path(weights).read_bytes())
    fitted = iter((Model(1.0, {'hovering': -30.0}), Model(1.0), Model(9.0), Model(9.0)))
    command = 'dlc_training.evaluate.calibrate_command'
    monkeypatch.setattr(f'{command}.collect', lambda *_: ([], {}))
    monkeypatch.setattr(f'{command}.halves', lambda *_: [])
    monkeypatch.setattr(f'{command}.fit_model', lambda *_: next(fitted))
    arguments = ('calibrate', '--write', '--weights', file, '--out', tmp_path)
    code, out, _ = run(capsys, *arguments)
    assert code == 0 and f'written into the model card of {file}' in out
    assert load_weights(file).confidence == Model(1.0, {'hovering': -30.0})
    code, _, err = run(capsys, *arguments)
    assert code == 2 and 'give more --pairs' in err and 'Traceback' not in err
    assert load_weights(file).confidence == Model(1.0, {'hovering': -30.0})


def test_calibrate_places_prints_the_constants_of_searches(capsys, monkeypatch, tmp_path, weights):
    rng, examples = np.random.default_rng(0), []
    for group in range(200):
        kind = ('hall', FOREIGN)[group % 3 == 0]
        right = kind == 'hall' and rng.uniform() < 0.8
        crossed = rng.uniform(0.0, 0.05) if right else rng.uniform(0.1, 0.5)
        fit = Fit(0.9, 0.8, 0.9, 0.9, 0.3, 0.1, 0.05, 0.05, crossed=crossed)
        examples.append(Example(group, kind, np.array(features_of(fit)), right, True))
    monkeypatch.setattr('dlc_training.evaluate.place_calibration.collect', lambda *_: examples)
    arguments = ('calibrate-places', '--weights', weights, '--out', tmp_path)
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert out.startswith('places: bias ') and 'crossed -' in out.splitlines()[0]
    right = sum(example.right for example in examples)
    assert f'{right} of 133 answers are right' in out
    row = next(line for line in out.splitlines() if line.startswith('| 0.5 '))
    assert '0 of 67' in row


MISTAKES = [
    # Said before the 80,000 pairs are made.
    (['so3-crop', '--pairs-per-bin', '10000', '--methods', 'icq'], "unknown method 'icq'"),
    (['so3-crop', '--shapes', 'nowhere.npz'], 'nowhere.npz: no such file'),
    (['so3-crop', '--weights', 'nowhere.safetensors'], 'cannot read weights nowhere'),
    (['calibrate-places', '--pairs', '1'], '--pairs 1: give 2 or more'),
    (['rpmnet-crop', '--pairs-per-bin', '0'], "invalid number >= 1 value: '0'"),
    (['so3-crop', '--seed', '-1'], "invalid number >= 0 value: '-1'"),
    (['tune', 'icq'], "invalid choice: 'icq'"),
    (['landscape', '--weights', 'nowhere'], 'cannot read weights nowhere'),
    (['speed', '--weights', 'nowhere'], 'cannot read weights nowhere'),
    (['rejection', '--weights', 'nowhere'], 'cannot read weights nowhere'),
    (['calibrate', '--weights', 'nowhere'], 'cannot read weights nowhere'),
    (['calibrate', '--false-rejects', '-1'], '-1 is not within 0..100'),
    (['calibrate', '--false-rejects', '101'], '101 is not within 0..100'),
    (['scan-to-map', '--shapes', 'shapes.npz'], 'scan-to-map is of generated places alone'),
    (['sweeps', '--only', 'colour'], "invalid choice: 'colour'"),
    (['files', 'a.ply', 'b.ply', 'truth.txt'], 'a.ply'),
    (['report', 'nowhere.json'], 'nowhere.json: No such file'),
    (['so3-crop', '--out', __file__], 'cannot be written (Not a directory)'),
    (['landscape', '--out', f'{__file__}/deeper/still'], 'cannot be written (Not a directory)'),
    (['recording', 'drive', '--out', f'{__file__}/clouds.json'], 'cannot be written'),
    (['report', 'nowhere.json', '--out', '.'], '. is a directory; name a file'),
    (['so4-crop'], "invalid choice: 'so4-crop'"),
    ([], 'required'),
]


@pytest.mark.parametrize('arguments, message', MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(arguments)
    except SystemExit as exit_:
        code = exit_.code
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.startswith('dlc-eval') and message in captured.err
    assert captured.err.count('\n') == 1
    assert captured.out == ''
    assert list(tmp_path.iterdir()) == []


def test_it_runs_as_a_module_and_says_what_it_can():
    done = subprocess.run(
        [sys.executable, '-m', 'dlc_training.evaluate.eval_cli', '--help'],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, 'COLUMNS': '100'},
    )
    assert done.returncode == 0
    assert 'so3-crop' in done.stdout and 'rpmnet-crop' in done.stdout
