"""``dlc-train`` from its command line: what it writes and what it says."""

import json
import re
import sys

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_runs import QUICK, checkpoint, log, one_line, same_tensors, ten_steps, train

import dlc_ros
from dlc_ros.registration.predictor import Predictor
from dlc_ros.registration.weights import load_weights
from dlc_training.config import load_config
from dlc_training.objective import OBJECTIVES

__all__ = ['ten_steps']


def test_smoke_run_writes_weights_that_predict(tmp_path, capsys):
    """All kinds of pairs, all terms of the loss, with a worker process and bfloat16."""
    weights = tmp_path / 'elsewhere' / 'my.safetensors'
    code = train(
        tmp_path / 'run',
        '--weights',
        weights,
        'data.workers=1',
        'half=true',
        'seed=3',
        'tensorboard=true',
        'log_every=5',
    )
    assert code == 0
    captured = capsys.readouterr()
    assert str(weights) in captured.out
    assert '10/10' in captured.err  # progress
    card = load_weights(weights).card
    assert card['licence'] == 'Apache-2.0'
    assert card['steps'] == 10
    assert card['configuration'] == json.loads(
        load_config(
            'smoke',
            ['data.workers=1', 'seed=3', 'half=true', 'tensorboard=true', 'log_every=5'],
        ).model_dump_json()
    )
    assert card['architecture'] == card['configuration']['net']
    # Repeats the run, and tells nothing of the folders of this machine.
    assert card['command'] == (
        'dlc-train --config smoke --out run data.workers=1 half=true seed=3 tensorboard=true '
        'log_every=5'
    )
    assert card['versions']['dlc_ros'] == dlc_ros.__version__
    assert card['versions']['torch'] == torch.__version__
    assert 'generated' in card['data']
    assert card['hardware'].startswith(('cpu', 'cuda'))
    assert re.fullmatch(r'\d{4}-\d\d-\d\d', card['date'])
    assert card['minutes'] >= 0
    assert re.fullmatch('[0-9a-f]{64}', card['tensors_sha256'])
    cloud = torch.rand(200, 3, generator=torch.Generator().manual_seed(0)).numpy()
    predictor = Predictor.load(weights)
    described = predictor.describe(cloud)
    assert predictor.landscape(described, described).propose()
    lines = log(tmp_path / 'run')
    assert [line['step'] for line in lines] == [5, 10]
    last = lines[-1]
    expected = {'loss', 'match', 'overlap', 'pose', 'at_truth', 'hinge_minimum', 'hinge_growth'}
    assert expected | {'hinge_star', 'hinge_mined', 'ranked', 'seconds'} <= last.keys()
    curves = EventAccumulator(str(tmp_path / 'run' / 'tensorboard')).Reload()
    drawn = [(event.step, event.value) for event in curves.Scalars('loss')]
    assert drawn == [(line['step'], pytest.approx(line['loss'])) for line in lines]


def test_trained_weights_are_the_running_mean(ten):
    loaded = load_weights(ten / 'weights.safetensors').net.state_dict()
    state = checkpoint(ten)
    assert same_tensors(dict(loaded), dict(state['mean']))
    assert not same_tensors(dict(loaded), dict(state['net']))


def test_export_of_an_unfinished_run(ten, tmp_path, capsys):
    out = tmp_path / 'run'
    assert train(out, '--export', *QUICK) == 2
    one_line(capsys.readouterr(), 'no checkpoint', out)
    assert not out.exists()
    weights = tmp_path / 'exported.safetensors'
    before = (ten / 'checkpoint.pt').read_bytes()
    # Asked for more steps, but the checkpoint is exported as it is.
    assert train(ten, '--export', '--weights', weights, *QUICK, 'optimiser.steps=500') == 0
    assert load_weights(weights).card['steps'] == 10
    assert (ten / 'checkpoint.pt').read_bytes() == before


def test_landscape_of_less_than_one_pair(ten, capsys):
    with pytest.raises(SystemExit) as ended:
        train(ten, '--export', *QUICK, '--measure', '-1')
    assert ended.value.code == 2
    one_line(capsys.readouterr(), '--measure', '>= 1')


def test_fewer_steps_than_are_done_train_no_more(ten, tmp_path):
    weights = tmp_path / 'same.safetensors'
    assert train(ten, '--weights', weights, *QUICK, 'optimiser.steps=3') == 0
    assert load_weights(weights).card['steps'] == 10


@pytest.mark.parametrize(('objective', 'warm_up', 'told'), [
    ('dlc', 0, False), ('dlc', 1, True), ('none', 1, False),
])  # fmt: skip
def test_an_objective_that_never_acts_is_told(tmp_path, capsys, objective, warm_up, told):
    arguments = ('--objective', objective, f'objective.warm_up={warm_up}', 'optimiser.steps=2')
    assert train(tmp_path, *QUICK, *arguments) == 0
    assert ('does nothing in 2 steps' in capsys.readouterr().err) == told


@pytest.mark.parametrize('objective', OBJECTIVES)
def test_every_objective_trains_by_its_name(tmp_path, objective):
    arguments = ('--objective', objective, 'optimiser.steps=4', 'data.kinds={crop: 1}')
    assert train(tmp_path, *arguments) == 0
    card = load_weights(tmp_path / 'weights.safetensors').card
    assert card['configuration']['objective']['name'] == objective
    shaped = 'hinge_growth' in log(tmp_path)[-1]
    assert shaped == objective.startswith('dlc')


def test_tensorboard_that_is_not_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    assert train(tmp_path, 'tensorboard=true') == 2
    one_line(capsys.readouterr(), 'pip install tensorboard', 'tensorboard=false')
