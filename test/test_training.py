"""``dlc-train`` from its command line: trains, continues, stops and refuses as it says."""

import json
import os
import re
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import BaseModel

import dlc_ros
from dlc_ros.errors import DlcError, FileError, ParameterError
from dlc_ros.registration.descriptor import DescriptorNet, NetOptions
from dlc_ros.registration.predictor import Predictor
from dlc_ros.registration.weights import load_weights
from dlc_training import engine
from dlc_training.config import TrainingConfig, load_config
from dlc_training.data.batches import batches
from dlc_training.engine import Trainer, TrainingStopped, schedule
from dlc_training.registration_loss import RegistrationLoss
from dlc_training.train_cli import main

# Crops alone, at a rate that does not depend on how many steps there will be: runs of different
# lengths take the same path.
QUICK = ('data.kinds={crop: 1}', 'optimiser.decay_share=0')


def train(out, *arguments):
    """``dlc-train`` with the smoke configuration; returns its exit code."""
    return main(['--config', 'smoke', '--out', str(out), *map(str, arguments)])


def checkpoint(out):
    return torch.load(out / 'checkpoint.pt', weights_only=True)


def same_tensors(first, second):
    """Whether two nested states hold the same bits."""
    if torch.is_tensor(first):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(
            same_tensors(first[key], second[key]) for key in first
        )
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same_tensors, first, second))
    return first == second


def training_state(out):
    """What a continued run must have in common with an uninterrupted one."""
    return {key: checkpoint(out)[key] for key in ('step', 'net', 'mean', 'optimiser')}


def one_line(captured, *parts):
    """The last line of stderr, which must be all that was said, and contain the parts."""
    lines = captured.err.strip().splitlines()
    assert 'Traceback' not in captured.err
    assert lines[-1].startswith('dlc-train: ')
    for part in parts:
        assert str(part) in lines[-1]
    return lines[-1]


@pytest.fixture(scope='module')
def ten(tmp_path_factory):
    """Folder of an uninterrupted run of ten steps."""
    out = tmp_path_factory.mktemp('ten')
    assert train(out, *QUICK) == 0
    return out


# -------------------------------------------------------------------------------- the command


def test_smoke_run_writes_weights_that_predict(tmp_path, capsys):
    """All kinds of pairs, all terms of the loss, with a worker process and bfloat16."""
    weights = tmp_path / 'elsewhere' / 'my.safetensors'
    code = train(tmp_path / 'run', '--weights', weights, 'data.workers=1', 'half=true', 'seed=3')
    assert code == 0
    captured = capsys.readouterr()
    assert str(weights) in captured.out
    assert '10/10' in captured.err  # progress
    card = load_weights(weights).card
    assert card['licence'] == 'Apache-2.0'
    assert card['steps'] == 10
    assert card['configuration'] == json.loads(
        load_config('smoke', ['data.workers=1', 'seed=3', 'half=true']).model_dump_json()
    )
    assert card['architecture'] == card['configuration']['net']
    # Repeats the run, and tells nothing of the folders of this machine.
    assert card['command'] == (
        'dlc-train --config smoke --out run data.workers=1 half=true seed=3'
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
    last = json.loads((tmp_path / 'run' / 'log.jsonl').read_text().splitlines()[-1])
    assert last['step'] == 10
    expected = {'loss', 'match', 'overlap', 'pose', 'at_truth', 'hinge_minimum', 'hinge_growth'}
    assert expected | {'hinge_star', 'hinge_mined', 'ranked', 'seconds'} <= last.keys()


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


def test_fewer_steps_than_are_done_train_no_more(ten, tmp_path):
    weights = tmp_path / 'same.safetensors'
    assert train(ten, '--weights', weights, *QUICK, 'optimiser.steps=3') == 0
    assert load_weights(weights).card['steps'] == 10


def test_interruption_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    def interrupt(self, progress=True):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, 'run', interrupt)
    assert train(tmp_path) == 130
    assert f'continues from {tmp_path}/checkpoint.pt' in capsys.readouterr().err


# ------------------------------------------------------------------------------ bit for bit


@pytest.mark.parametrize('workers', [0, 1])
def test_resumed_run_equals_an_uninterrupted_one(ten, tmp_path, workers):
    arguments = (*QUICK, f'data.workers={workers}')
    assert train(tmp_path, *arguments, 'optimiser.steps=5') == 0
    assert checkpoint(tmp_path)['step'] == 5
    assert train(tmp_path, *arguments) == 0
    assert same_tensors(training_state(tmp_path), training_state(ten))


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
    capsys.readouterr()
    assert train(tmp_path / 'b', *arguments, 'net.width=16') == 2
    one_line(capsys.readouterr(), first, 'another architecture')
    assert train(tmp_path / 'c', *QUICK, 'initial_weights=missing.safetensors') == 2
    one_line(capsys.readouterr(), 'missing.safetensors', 'No such file')


# --------------------------------------------------------------------------------- learning


OVERFIT = ('data.kinds={crop: 1}', 'net.keypoints=32', 'seed=5')


def overfit(config, steps):
    """Descend on the first batch alone, with the same perturbations; the log of each step."""
    torch.manual_seed(0)
    net = DescriptorNet(NetOptions(**config.net.model_dump()))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    loss_of = RegistrationLoss(config.objective)
    batch = next(iter(batches(config, 0)))
    records = []
    for _ in range(steps):
        energy = net(batch['source'], batch['target'])
        generator = torch.Generator().manual_seed(0)
        truth = batch['rotation'], batch['translation']
        loss, record = loss_of(energy, *truth, 1.0, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        records.append({'loss': loss.item(), **{k: float(v) for k, v in record.items()}})
    return records


def test_loss_of_one_batch_falls():
    """Network and loss can learn at all: one batch again and again."""
    records = overfit(load_config('smoke', [*OVERFIT, 'objective.name=none']), 60)
    losses = [record['loss'] for record in records]
    assert losses[-1] < 0.75 * losses[0]
    assert losses[-1] < min(losses[:20])
    for part in ('match', 'overlap'):
        assert records[-1][part] < records[0][part]


def test_hinges_of_one_batch_fall():
    """Rankings included: with the hinges in force, wrong poses rise above the truth."""
    config = load_config('smoke', [*OVERFIT, 'objective.dlc.rho=3', 'objective.pose_weight=0'])
    records = overfit(config, 60)
    for name in ('hinge_growth', 'hinge_mined'):
        assert records[-1][name] < 0.8 * records[0][name]


def test_hinges_count_by_their_strength(tmp_path):
    config = load_config('smoke', OVERFIT)
    torch.manual_seed(0)
    net = DescriptorNet(NetOptions(**config.net.model_dump()))
    batch = next(iter(batches(config, 0)))
    with torch.no_grad():
        energy = net(batch['source'], batch['target'])
        task, half, full = (
            RegistrationLoss(config.objective)(
                energy, batch['rotation'], batch['translation'], strength,
                torch.Generator().manual_seed(1),
            )[0].item()
            for strength in (0.0, 0.5, 1.0)
        )  # fmt: skip
    assert full > task
    assert half == pytest.approx((task + full) / 2, rel=1e-5)


def test_rate_rises_stays_and_falls_to_zero():
    options = load_config(
        overrides=['optimiser.steps=100', 'optimiser.rise=10', 'optimiser.decay_share=0.4']
    ).optimiser
    rate = [schedule(step, options) for step in range(101)]
    assert rate[:10] == pytest.approx([k / 10 for k in range(1, 11)])
    assert rate[10:60] == pytest.approx([1.0] * 50)
    assert rate[60:] == pytest.approx([(100 - k) / 40 for k in range(60, 101)])


# ---------------------------------------------------------------------------------- failures


def test_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(ten, tmp_path, capsys):
    arguments = (*QUICK, 'save_every=1', 'optimiser.rate=1e25', 'optimiser.rise=1')
    assert train(tmp_path, *arguments) == 2
    line = one_line(capsys.readouterr(), 'seed 1', tmp_path, 'optimiser.rate')
    stopped = int(re.search(r'in step (\d+)', line).group(1))
    kept = int(re.search(r'checkpoint of step (\d+) is kept', line).group(1))
    assert kept == checkpoint(tmp_path)['step'] == stopped - 1
    for value in checkpoint(tmp_path)['net'].values():
        assert value.isfinite().all()
    assert not (tmp_path / 'weights.safetensors').exists()
    before = (tmp_path / 'checkpoint.pt').read_bytes()
    assert train(tmp_path, *arguments) == 2  # the same again, from the checkpoint
    assert f'in step {stopped}' in one_line(capsys.readouterr())
    assert (tmp_path / 'checkpoint.pt').read_bytes() == before


def test_stopping_before_the_first_checkpoint_claims_none(tmp_path, capsys):
    assert train(tmp_path, *QUICK, 'optimiser.rate=1e25', 'optimiser.rise=1') == 2
    one_line(capsys.readouterr(), 'no checkpoint was written')
    assert not (tmp_path / 'checkpoint.pt').exists()


def test_gradient_that_is_no_number_changes_no_weight(tmp_path):
    trainer = Trainer(load_config('smoke', QUICK), tmp_path)
    trainer.net.affinity.weight.register_hook(lambda gradient: gradient * float('nan'))
    before = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    with pytest.raises(TrainingStopped, match='gradient nan in step 1'):
        trainer.run(progress=False)
    assert same_tensors(before, dict(trainer.net.state_dict()))


@pytest.mark.parametrize('damage', ['cut', 'empty', 'text', 'foreign', 'keys', 'shapes'])
def test_damaged_checkpoint(ten, tmp_path, capsys, damage):
    data, state = (ten / 'checkpoint.pt').read_bytes(), checkpoint(ten)
    path = tmp_path / 'checkpoint.pt'
    if damage == 'cut':
        path.write_bytes(data[: len(data) // 2])
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


@pytest.mark.parametrize('change', ['seed=9', 'optimiser.rate=0.1', 'net.width=16', 'half=true'])
def test_checkpoint_of_another_configuration(ten, capsys, change):
    before = (ten / 'checkpoint.pt').read_bytes()
    assert train(ten, *QUICK, change) == 2
    one_line(capsys.readouterr(), ten, 'another configuration', 'another --out')
    assert (ten / 'checkpoint.pt').read_bytes() == before


def test_folder_that_cannot_be_written(tmp_path, capsys):
    file = tmp_path / 'file'
    file.write_text('')
    assert train(file / 'run', *QUICK) == 2
    one_line(capsys.readouterr(), file, 'another --out')


def test_cuda_that_is_not_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert train(tmp_path, 'device=cuda') == 2
    one_line(capsys.readouterr(), 'device=auto')


# ------------------------------------------------------------------------------ configuration


@pytest.mark.parametrize(
    ('override', 'parts'),
    [
        ('optimiser.stepps=5', ['optimiser.stepps', 'unknown key', 'weight_decay']),
        ('speed=5', ['speed', 'unknown key', 'objective']),
        ('optimiser.steps=0', ['optimiser.steps', 'greater than or equal to 1']),
        ('optimiser.steps=many', ['optimiser.steps', 'integer']),
        ('optimiser.rate=-1', ['optimiser.rate', 'greater than 0']),
        ('optimiser.rate=.nan', ['optimiser.rate']),
        ('optimiser.average=1', ['optimiser.average', 'less than 1']),
        ('optimiser=5', ['optimiser']),
        ('seed=-1', ['seed']),
        ('seed=99999999999999999999', ['seed', 'less than']),
        ('seed=[1', ['seed=[1', 'no YAML']),
        ('net.width=33', ['net', 'multiple of heads']),
        ('net.keypoints=2000', ['net.keypoints', '300']),
        ('net.layers=1000000', ['layers', '1 to 12']),
        ('objective.name=awb', ['objective.name', "'awp' or 'sam'"]),
        ('objective.dlc.hinges=[depth]', ['objective.dlc.hinges', "'minimum'"]),
        ('objective.dlc.hinges=[]', ['objective.dlc.hinges']),
        ('objective.radii_deg=[180, 90, 45]', ['objective.radii_deg']),
        ('objective.radii_deg=[270, 90, 45, 20]', ['objective.radii_deg', '180']),
        ('objective.radii_length=[0, 1, 1, 1]', ['objective.radii_length', 'greater than 0']),
        ('data.kinds={lidar: 1}', ['data.kinds', "'crop'"]),
        ('data.kinds={crop: -1}', ['data.kinds', 'greater than or equal to 0']),
        ('data.kinds={crop: 0}', ['data.kinds', 'above 0']),
        ('data.kinds={crop: .inf}', ['data.kinds']),
        ('steps', ["'steps'", 'section.key=value']),
    ],
)
def test_wrong_settings_are_one_line(tmp_path, capsys, override, parts):
    assert train(tmp_path / 'run', override) == 2
    captured = capsys.readouterr()
    one_line(captured, *parts)
    assert len(captured.err.strip().splitlines()) == 1
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
    ('content', 'part'),
    [
        (None, 'No such file'), (b'- 1\n- 2\n', 'key: value'), (b'seed: [1', 'no YAML'),
        (b'\xff\xfe\x00seed', 'no text'), (b'optimizer:\n  steps: 5\n', 'optimizer'),
        (b'42', 'key: value'),
    ],
)  # fmt: skip
def test_wrong_files_are_one_line(tmp_path, capsys, content, part):
    path = tmp_path / 'my.yaml'
    if content is not None:
        path.write_bytes(content)
    assert main(['--config', str(path), '--out', str(tmp_path / 'run')]) == 2
    one_line(capsys.readouterr(), path, part)


def test_overrides_reach_into_empty_and_missing_sections(tmp_path):
    path = tmp_path / 'my.yaml'
    path.write_text('optimiser:\nseed: 4\n')
    config = load_config(path, ['optimiser.steps=7', 'objective.dlc.mu=2.5'])
    assert (config.seed, config.optimiser.steps, config.objective.dlc.mu) == (4, 7, 2.5)
    path.write_text('')
    assert load_config(path) == TrainingConfig()


def test_a_file_of_ones_own_goes_before_a_name_that_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config('smoke').optimiser.batch == 2
    (tmp_path / 'smoke').write_text('optimiser: {batch: 5}')
    assert load_config('smoke').optimiser.batch == 5
    with pytest.raises(ParameterError, match='No such file'):
        load_config('smoke.yml')


def test_overrides_may_stand_anywhere(tmp_path, capsys):
    arguments = ['optimiser.steps=0', '--out', str(tmp_path), '--objective', 'none', 'seed=2']
    assert main(arguments) == 2
    one_line(capsys.readouterr(), 'optimiser.steps')


def leaves(model):
    """Dotted names of all settings of a configuration."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from (f'{name}.{leaf}' for leaf in leaves(value))
        else:
            yield name


def test_default_yaml_names_every_setting_with_its_default():
    path = Path(engine.__file__).parent / 'configs' / 'default.yaml'
    text = path.read_text()
    assert load_config('default') == TrainingConfig()
    values = yaml.safe_load(text)
    for leaf in leaves(TrainingConfig()):
        place = values
        for part in leaf.split('.'):
            assert part in place, f'{path.name} lacks {leaf}'
            place = place[part]
    with_comment = [line for line in text.splitlines() if '#' in line]
    assert len(with_comment) > 30


def test_errors_are_of_one_family():
    for error in (TrainingStopped, FileError, ParameterError):
        assert issubclass(error, DlcError)
