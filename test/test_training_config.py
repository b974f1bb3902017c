"""Settings of a run: typed, described, and wrong ones refused in one line."""

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel
from training_runs import one_line, train

from dlc_ros.errors import DlcError, FileError, ParameterError
from dlc_training import config
from dlc_training.config import TrainingConfig, load_config
from dlc_training.engine import Interrupted, TrainingStopped
from dlc_training.train_cli import main


@pytest.mark.parametrize(
    ('override', 'parts'),
    [
        ('optimiser.stepps=5', ['optimiser.stepps', 'unknown key', 'weight_decay']),
        ('speed=5', ['speed', 'unknown key', 'objective']),
        ('optimiser.steps=0', ['optimiser.steps', 'greater than or equal to 1']),
        ('optimiser.steps=many', ['optimiser.steps', 'integer']),
        ('optimiser.rate=-1', ['optimiser.rate', 'greater than 0']),
        ('optimiser.rate=.nan', ['optimiser.rate']),
        ('optimiser.rate=.inf', ['optimiser.rate', 'finite']),
        ('optimiser.average=1', ['optimiser.average', 'less than 1']),
        ('optimiser=5', ['optimiser: ', 'key: value']),
        ('seed=-1', ['seed']),
        ('seed=99999999999999999999', ['seed', 'less than']),
        ('seed=[1', ['seed=[1', 'no YAML']),
        ('net.width=33', ['net', 'multiple of heads']),
        ('net.keypoints=2000', ['net.keypoints', '300']),
        ('net.layers=1000000', ['layers', '1 to 12']),
        ('objective.name=awb', ['objective.name', "'awp' or 'sam'"]),
        ('objective.dlc.hinges=[depth]', ['objective.dlc.hinges', "'minimum'"]),
        ('objective.dlc.hinges=[]', ['objective.dlc.hinges']),
        ('objective.dlc.lam=half', ['objective.dlc.lam: ', "'uniform' or a share, 0 to 1"]),
        ('objective.dlc.lam=1.5', ['objective.dlc.lam: ', "'uniform' or a share, 0 to 1"]),
        ('objective.dlc.rho=.inf', ['objective.dlc.rho', 'finite']),
        ('objective.radii_deg=[180, 90, 45]', ['objective.radii_deg.3: a value is missing']),
        ('objective.radii_deg=20', ['objective.radii_deg: expected a list']),
        ('objective.radii_deg=[270, 90, 45, 20]', ['objective.radii_deg', '180']),
        ('objective.radii_length=[0, 1, 1, 1]', ['objective.radii_length', 'greater than 0']),
        ('data.kinds={lidar: 1}', ['data.kinds', 'crop']),
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
        (None, 'No such file or directory; give a YAML file, or one of default, overfit, smoke'),
        (b'- 1\n- 2\n', 'key: value'), (b'seed: [1', 'no YAML'),
        (b'\xff\xfe\x00seed', 'no text'), (b'optimizer:\n  steps: 5\n', 'optimizer'),
        (b'42', 'key: value'), (b'net:\n', 'net: expected a dictionary'),
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
    read = load_config(path, ['optimiser.steps=7', 'objective.dlc.mu=2.5'])
    assert (read.seed, read.optimiser.steps, read.objective.dlc.mu) == (4, 7, 2.5)
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
    path = Path(config.__file__).parent / 'configs' / 'default.yaml'
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
    for error in (TrainingStopped, Interrupted, FileError, ParameterError):
        assert issubclass(error, DlcError)
