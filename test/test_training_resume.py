"""Runs that stop and go on: bit for bit the same, from checkpoints of the same run alone."""

import json
import os

import pytest
import torch
from training_runs import (
    QUICK,
    checkpoint,
    log,
    one_line,
    same_tensors,
    ten_steps,
    train,
    training_state,
)

from dlc_ros.registration.weights import load_weights

__all__ = ['ten_steps']


@pytest.mark.parametrize('workers', [0, 1])
def test_resumed_run_equals_an_uninterrupted_one(ten, tmp_path, workers):
    arguments = (*QUICK, f'data.workers={workers}')
    assert train(tmp_path, *arguments, 'optimiser.steps=5') == 0
    assert checkpoint(tmp_path)['step'] == 5
    assert train(tmp_path, *arguments) == 0
    assert same_tensors(training_state(tmp_path), training_state(ten))


@pytest.mark.parametrize('objective', ['dlc-adversarial', 'awp', 'sam'])
def test_so_it_is_with_every_objective(tmp_path, objective):
    arguments = (*QUICK, f'objective.name={objective}', 'optimiser.batch=1')
    assert train(tmp_path / 'whole', *arguments, 'optimiser.steps=6') == 0
    assert train(tmp_path / 'parts', *arguments, 'optimiser.steps=4') == 0
    assert train(tmp_path / 'parts', *arguments, 'optimiser.steps=6') == 0
    assert same_tensors(training_state(tmp_path / 'parts'), training_state(tmp_path / 'whole'))


def test_log_of_a_continued_run_names_every_step_once(tmp_path):
    """Lines after the last checkpoint, of a run that died, are written again, and whole."""
    arguments = (*QUICK, 'log_every=1', 'optimiser.batch=1')
    assert train(tmp_path, *arguments, 'optimiser.steps=4') == 0
    lines = (tmp_path / 'log.jsonl').read_text()
    with (tmp_path / 'log.jsonl').open('a') as file:
        file.write('{"step": 5, "loss": 7.0}\n{"step": 6, "lo')
    assert train(tmp_path, *arguments, 'optimiser.steps=7') == 0
    assert (tmp_path / 'log.jsonl').read_text().startswith(lines)
    assert [line['step'] for line in log(tmp_path)] == list(range(1, 8))


@pytest.mark.parametrize('damage', [b'\xff\xfe\x00\n', b'{"step": "x"}\n', b'[1]\n', b'\0' * 9])
def test_damage_in_the_log_is_dropped(ten, tmp_path, damage):
    for name in ('checkpoint.pt', 'log.jsonl'):
        (tmp_path / name).write_bytes((ten / name).read_bytes())
    lines = (tmp_path / 'log.jsonl').read_bytes()
    (tmp_path / 'log.jsonl').write_bytes(damage + b'\n' + lines + damage)
    assert train(tmp_path, *QUICK, 'optimiser.steps=11') == 0
    assert (tmp_path / 'log.jsonl').read_bytes().startswith(lines)
    assert [line['step'] for line in log(tmp_path)] == [10, 11]


def test_seeds_make_the_difference(tmp_path):
    for seed in (2, 3):
        assert train(tmp_path / str(seed), *QUICK, f'seed={seed}', 'optimiser.steps=1') == 0
    states = [training_state(tmp_path / str(seed))['net'] for seed in (2, 3)]
    assert not same_tensors(*states)


def test_objectives_differ_after_the_warm_up_and_not_before(tmp_path):
    """Smoke: two steps without hinges, and in the third their share is still zero."""
    states = {}
    for name in ('dlc', 'none'):
        for steps in (3, 4):
            out = tmp_path / f'{name}{steps}'
            arguments = ('--objective', name, *QUICK, f'optimiser.steps={steps}', 'seed=4')
            assert train(out, *arguments) == 0
            states[name, steps] = training_state(out)['net']
    assert same_tensors(states['dlc', 3], states['none', 3])
    assert not same_tensors(states['dlc', 4], states['none', 4])


def test_start_from_other_weights(ten, tmp_path, capsys):
    first = ten / 'weights.safetensors'
    arguments = (*QUICK, f'initial_weights={first}', 'optimiser.steps=1', 'optimiser.rate=1e-12')
    assert train(tmp_path / 'a', *arguments) == 0
    started = checkpoint(tmp_path / 'a')['net']
    for name, value in load_weights(first).net.state_dict().items():
        torch.testing.assert_close(started[name], value, rtol=0, atol=1e-6)
    card, origin = load_weights(tmp_path / 'a' / 'weights.safetensors').card, load_weights(first)
    assert card['continued_from']['sha256'] == origin.sha256
    assert card['continued_from']['command'] == origin.card['command']
    assert str(ten) not in json.dumps(card), 'folders of this machine'
    capsys.readouterr()
    assert train(tmp_path / 'b', *arguments, 'net.width=16') == 2
    one_line(capsys.readouterr(), first, 'another architecture')
    assert train(tmp_path / 'c', *QUICK, 'initial_weights=missing.safetensors') == 2
    one_line(capsys.readouterr(), 'missing.safetensors', 'No such file')


@pytest.mark.parametrize('damage', ['cut', 'bit', 'empty', 'text', 'foreign', 'keys', 'shapes'])
def test_damaged_checkpoint(ten, tmp_path, capsys, damage):
    data, state = (ten / 'checkpoint.pt').read_bytes(), checkpoint(ten)
    path = tmp_path / 'checkpoint.pt'
    if damage == 'cut':
        path.write_bytes(data[: len(data) // 2])
    elif damage == 'bit':
        weight = max(state['mean'].values(), key=torch.numel).numpy().tobytes()
        place = data.index(weight) + len(weight) // 2
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    elif damage == 'empty':
        path.write_bytes(b'')
    elif damage == 'text':
        path.write_text('not a checkpoint')
    elif damage == 'foreign':
        torch.save({'model': torch.zeros(3)}, path)
    elif damage == 'keys':
        torch.save({'config': state['config']}, path)
    else:
        torch.save({**state, 'net': {k: v[:1] for k, v in state['net'].items() if v.ndim}}, path)
    assert train(tmp_path, *QUICK) == 2
    one_line(capsys.readouterr(), path, 'is damaged', 'remove it')


def test_checkpoint_runs_no_code(tmp_path, capsys):
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'executed'),)

    torch.save({'config': Malicious()}, tmp_path / 'checkpoint.pt')
    assert train(tmp_path, *QUICK) == 2
    one_line(capsys.readouterr(), 'is damaged')
    assert not (tmp_path / 'executed').exists()


@pytest.mark.parametrize(
    ('change', 'part'),
    [
        ('seed=9', 'another configuration (seed: 1 there, 9 here)'),
        ('optimiser.rate=0.1', 'optimiser.rate: 0.0007 there, 0.1 here'),
        ('half=true', 'half: False there, True here'),
        ('objective.dlc.lam=0.5', 'objective.dlc.lam: uniform there, 0.5 here'),
        ('net.width=16', 'another architecture (net.width: 32 there, 16 here)'),
        ('data.kinds={crop: 1, view: 1}', 'data.kinds'),
    ],
)
def test_checkpoint_of_another_configuration(ten, capsys, change, part):
    before = (ten / 'checkpoint.pt').read_bytes()
    assert train(ten, *QUICK, change) == 2
    one_line(capsys.readouterr(), ten, part, 'another --out')
    assert (ten / 'checkpoint.pt').read_bytes() == before


def test_checkpoint_of_a_version_that_knew_fewer_settings(ten, tmp_path):
    """Settings that it lacks had the meaning of today's defaults."""
    state = checkpoint(ten)
    config = json.loads(state['config'])
    for key in ('compile', 'log_every', 'tensorboard', 'one_batch'):
        del config[key]
    for key in ('adversarial', 'awp', 'sam'):
        del config['objective'][key]
    for key in ('distribution', 'lam'):
        del config['objective']['dlc'][key]
    old = {key: value for key, value in state.items() if key not in ('busy', 'timed')}
    torch.save({**old, 'config': json.dumps(config)}, tmp_path / 'checkpoint.pt')
    assert train(tmp_path, *QUICK, 'optimiser.steps=11') == 0
    assert checkpoint(tmp_path)['step'] == 11


def test_checkpoint_of_a_version_that_knew_more_settings(ten, tmp_path, capsys):
    state = checkpoint(ten)
    config = json.loads(state['config'])
    config['objective']['hessian'] = 3
    torch.save({**state, 'config': json.dumps(config)}, tmp_path / 'checkpoint.pt')
    assert train(tmp_path, *QUICK) == 2
    one_line(capsys.readouterr(), 'objective.hessian: 3 there, None here')


@pytest.mark.parametrize('change', ['save_every=3', 'log_every=1', 'compile=false', 'threads=2'])
def test_pace_may_change(ten, tmp_path, change):
    (tmp_path / 'checkpoint.pt').write_bytes((ten / 'checkpoint.pt').read_bytes())
    assert train(tmp_path, *QUICK, change) == 0
