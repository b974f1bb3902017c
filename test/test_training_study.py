"""``dlc-train --tune`` and ``--compare`` in small: equal shares for all, continued, as told."""

import json
import sys

import numpy as np
import optuna
import pytest
import torch
from training_runs import log, one_line

from dlc_ros.registration.descriptor import DescriptorNet, NetOptions
from dlc_ros.registration.weights import load_weights, save_weights
from dlc_training import data, tuning, validation
from dlc_training.config import load_config
from dlc_training.engine import Interrupted, Trainer
from dlc_training.train_cli import main

SMALL = ('data.kinds={crop: 1}', 'optimiser.steps=4', 'optimiser.batch=1', 'save_every=1')


def study(out, *arguments):
    return main(['--config', 'smoke', '--out', str(out), '--pairs', '1', *SMALL, *arguments])


def states(out, name):
    stored = optuna.load_study(study_name=name, storage=f'sqlite:///{out / "tuning.db"}')
    return [trial.state.name for trial in stored.trials]


def test_tuning_gives_every_objective_its_trials_and_goes_on(tmp_path, capsys, monkeypatch):
    arguments = ('--objectives', 'none,dlc', 'optimiser.steps=2')
    run, runs = Trainer.run, []

    def interrupted_once(self, progress=True, observe=None):
        runs.append(self.folder)
        if len(runs) == 3:
            raise Interrupted('interrupted after step 2')
        return run(self, False, observe)

    monkeypatch.setattr(Trainer, 'run', interrupted_once)
    assert study(tmp_path, '--tune', '2', *arguments) == 130
    assert 'the same command continues' in capsys.readouterr().err
    assert states(tmp_path, 'none') == ['COMPLETE'] * 2
    assert study(tmp_path, '--tune', '2', *arguments) == 0
    assert len(runs) == 2 + 1 + 2  # no trial of the first objective was repeated
    assert runs[3] == runs[2]  # the one that was cut off was, with the same settings
    assert states(tmp_path, 'none') == ['COMPLETE'] * 2
    assert states(tmp_path, 'dlc').count('COMPLETE') == 2
    result = json.loads((tmp_path / 'tuning.json').read_text())
    assert list(result) == ['none', 'dlc']
    for found in result.values():
        assert len(found['trials']) == 2
        assert found['score'] == max(trial['score'] for trial in found['trials'])
    assert result['none']['best'].keys() == {'optimiser.rate'}
    assert {'objective.dlc.mu', 'objective.radii_deg'} <= result['dlc']['best'].keys()
    assert capsys.readouterr().out.count('| score |') == 2
    # Trials of another length or on other pairs do not compare with these.
    for others in (('optimiser.steps=3',), ('optimiser.steps=2', '--pairs', '2')):
        assert study(tmp_path, '--tune', '3', '--objectives', 'none,dlc', *others) == 2
        one_line(capsys.readouterr(), 'trials of another configuration or other --pairs')
    assert json.loads((tmp_path / 'tuning.json').read_text()) == result
    # What it found is a configuration.
    best = tuning.read_best(tmp_path / 'tuning.json')
    config = load_config('smoke', best['dlc'])
    assert config.objective.radii_deg == pytest.approx(
        result['dlc']['best']['objective.radii_deg']
    )


@pytest.mark.parametrize('name', ['none', 'dlc', 'dlc-adversarial', 'awp', 'sam'])
def test_suggestions_are_within_what_a_configuration_allows(name):
    base = load_config('default', [f'objective.name={name}'])
    search = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        chosen = tuning.suggest(search.ask(), base)
        config = load_config(
            'default',
            [f'objective.name={name}', *(f'{k}={json.dumps(v)}' for k, v in chosen.items())],
        )
        assert config.objective.warm_up <= config.optimiser.steps / 2
        assert max(config.objective.radii_deg) <= 180


def test_comparison_is_fair_and_is_not_done_twice(tmp_path, capsys):
    arguments = (
        '--compare', '2', '--objectives', 'none,sam', 'objective.warm_up=0', 'log_every=1',
    )  # fmt: skip
    assert study(tmp_path, *arguments) == 0
    printed = capsys.readouterr().out
    result = json.loads((tmp_path / 'comparison.json').read_text())
    rows = {(row['budget'], row['objective']): row for row in result['rows']}
    assert list(rows) == [('steps', 'none'), ('steps', 'sam'), ('time', 'none'), ('time', 'sam')]
    assert rows['steps', 'none']['steps'] == rows['steps', 'sam']['steps'] == 4
    assert rows['steps', 'none']['success_minus_none'] is None
    assert rows['steps', 'sam']['time_ratio'] > 1.3  # two gradients a step
    assert rows['time', 'sam']['steps'] < 4
    assert rows['time', 'none'] == {**rows['steps', 'none'], 'budget': 'time'}
    # The same batches: before anything acted on the weights, the losses are the same bits.
    first = [log(tmp_path / f'{name}-steps-seed2')[0]['loss'] for name in ('none', 'sam')]
    assert first[0] == first[1]
    for run in result['runs']:
        card = load_weights(tmp_path / run['weights']).card
        assert card['configuration']['objective']['name'] == run['objective']
        assert card['configuration']['seed'] == run['seed']
        assert len(run['registration']['success']) == 1
        assert len(run['descent']['reached']) == len(validation.ANGLES)
    assert printed.count('| steps |') == 2 + 1  # the heading, too
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('checkpoint.pt')}
    assert study(tmp_path, *arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in written} == written
    # What a crash left of a score is no score: the network is judged again.
    for damage in ('', '{"st', '[]', '{}'):
        (tmp_path / 'sam-steps-seed2' / 'score.json').write_text(damage)
        assert study(tmp_path, *arguments, '--equal', 'steps') == 0
    again = json.loads((tmp_path / 'comparison.json').read_text())
    assert again['runs'] == result['runs'][: len(again['runs'])]
    # Judged on other pairs, the same networks are judged again, not quoted.
    assert study(tmp_path, *arguments, '--pairs', '2', '--equal', 'steps') == 0
    result = json.loads((tmp_path / 'comparison.json').read_text())
    assert result['pairs'] == 2
    assert {len(run['registration']['success']) for run in result['runs']} == {2}


@pytest.mark.parametrize('warm_up', [3, 4, 5])
def test_objectives_that_would_never_act_are_not_compared(tmp_path, capsys, warm_up):
    """In the last of four steps an objective acts if the warm-up ends before it."""
    arguments = ('--compare', '1', '--objectives', 'dlc', '--equal', 'time')
    assert study(tmp_path, *arguments, f'objective.warm_up={warm_up}') == 2
    one_line(capsys.readouterr(), 'objective dlc does nothing in 4 steps', 'objective.warm_up')
    assert not list(tmp_path.iterdir())


def test_a_comparison_at_equal_time_of_a_single_step_that_counts(tmp_path):
    arguments = ('--compare', '1', '--objectives', 'dlc', '--equal', 'time')
    assert study(tmp_path, *arguments, 'objective.warm_up=2') == 0
    rows = json.loads((tmp_path / 'comparison.json').read_text())['rows']
    assert [row['budget'] for row in rows] == ['steps', 'steps', 'time', 'time']


def test_the_warm_up_is_trained_once_and_batches_are_made_once(tmp_path, monkeypatch):
    kept = f'data.keep={tmp_path / "batches"}'
    settings = (*SMALL, 'objective.warm_up=2', 'objective.ramp=1', 'data.workers=0')
    made, make = [], data.batches.make_pair
    monkeypatch.setattr(data.batches, 'make_pair', lambda *a: made.append(a[1]) or make(*a))
    arguments = ('--compare', '1', '--objectives', 'none,sam,dlc', '--equal', 'steps')
    assert study(tmp_path / 'compared', *arguments, *settings, kept) == 0
    assert sorted(made) == [0, 1, 2, 3]
    for name in ('sam', 'dlc'):
        alone = tmp_path / f'{name}.safetensors'
        out = ('--out', str(tmp_path / name), '--weights', str(alone))
        config = load_config('smoke', [*settings, f'objective.name={name}'])
        assert main(['--config', 'smoke', *out, '--objective', name, *settings]) == 0
        folder = tmp_path / 'compared' / f'{name}-steps-seed{config.seed}'
        assert [line['step'] for line in log(folder)][0] > 2
        shared = load_weights(folder / 'weights.safetensors').net.state_dict()
        for key, value in load_weights(alone).net.state_dict().items():
            assert torch.equal(value, shared[key])


def test_from_trained_weights_only_what_is_an_objectives_own_is_tuned(tmp_path, capsys):
    held = tmp_path / 'held.safetensors'
    small = load_config('smoke').net.model_dump()
    save_weights(held, DescriptorNet(NetOptions(**small)), {})
    arguments = ('--objectives', 'none,awp', f'initial_weights={held}', 'optimiser.steps=2')
    assert study(tmp_path / 'late', '--tune', '2', *arguments) == 2
    one_line(capsys.readouterr(), 'objective awp does nothing in 2 steps', 'objective.warm_up')
    assert study(tmp_path, '--tune', '2', *arguments, 'objective.warm_up=0') == 0
    result = json.loads((tmp_path / 'tuning.json').read_text())
    assert result['none']['best'] == {}
    assert len(result['none']['trials']) == 1
    assert result['awp']['best'].keys() == {'objective.awp.gamma'}
    assert len(result['awp']['trials']) == 2


def test_shipped_weights_beat_random_ones_on_held_out_pairs(tmp_path):
    held_out = validation.Validation(3, validation.TUNING)
    torch.manual_seed(0)
    save_weights(tmp_path / 'random.safetensors', DescriptorNet(load_weights().net.options), {})
    shares, hinges = {}, {}
    for name, weights in (('shipped', None), ('random', tmp_path / 'random.safetensors')):
        found = held_out.descent(weights)
        shares[name] = np.mean(found['reached'])
        assert len(found['steps']) == sum(found['reached']) == len(found['rotation'])
        assert all(1 <= steps <= len(validation.SCHEDULE) for steps in found['steps'])
        assert len(found['bias_rotation']) == 3
        assert len(found['margin']) == len(found['reached']) - sum(found['reached'])
        rays = held_out.rays(weights)
        assert {len(values) for values in rays.values()} == {4}
        assert all(0 <= share <= 1 for values in rays.values() for share in values)
        hinges[name] = np.mean(rays['satisfied'])
    assert hinges['shipped'] > hinges['random']
    assert shares['shipped'] > shares['random'] + 0.3
    registered = held_out.registration(None)
    right = (np.array(registered['rotation']) < 5) & (np.array(registered['translation']) < 0.1)
    assert registered['success'] == right.tolist()
    assert right.any()


def test_storage_that_is_none(tmp_path, capsys):
    (tmp_path / 'tuning.db').write_text('no data base')
    assert study(tmp_path, '--tune', '1', '--objectives', 'none') == 2
    one_line(capsys.readouterr(), 'tuning.db cannot be used', 'not a database', 'another --out')


def test_tuned_settings_that_are_none(tmp_path, capsys):
    (tmp_path / 'notes.json').write_text('[1, 2]')
    assert study(tmp_path, '--compare', '1', '--tuned', str(tmp_path / 'notes.json')) == 2
    one_line(capsys.readouterr(), 'notes.json', 'tuning.json')
    assert study(tmp_path, '--compare', '1', '--tuned', str(tmp_path / 'missing.json')) == 2
    one_line(capsys.readouterr(), 'missing.json', 'No such file')


@pytest.mark.parametrize(
    ('arguments', 'part'),
    [
        (('--compare', '1', '--objectives', 'none,dcl'), "'dcl' is none of none, dlc"),
        (('--compare', '1', '--equal', 'money'), "'money' is none of steps, time"),
        (('--tune', '0'), '--tune'),
        (('--tune', '1', '--compare', '1'), 'not allowed with'),
        (('--tune', '1', '--export'), '--tune does not read --export'),
        (('--tune', '1', '--tuned', 'x'), '--tune does not read --tuned'),
        (('--compare', '1', '--objective', 'none'), '--compare does not read --objective'),
        (('--objectives', 'none'), 'a single run does not read --objectives'),
    ],
)
def test_impossible_studies(tmp_path, capsys, arguments, part):
    with pytest.raises(SystemExit) as ended:
        study(tmp_path / 'out', *arguments)
    assert ended.value.code == 2
    one_line(capsys.readouterr(), part)
    assert not (tmp_path / 'out').exists()


def test_a_study_of_several_processes(tmp_path, capsys, monkeypatch):
    """Each would train networks of its own and average their gradients."""
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(SystemExit):
        study(tmp_path / 'out', '--tune', '1')
    one_line(capsys.readouterr(), 'without torchrun')


def test_without_optuna(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'optuna', None)
    assert study(tmp_path, '--tune', '1') == 2
    one_line(capsys.readouterr(), 'pip install optuna')
