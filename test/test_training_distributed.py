"""Two processes of torchrun train as one does: same losses, same weights, one set of files."""

import json
import os
import subprocess
import sys

import pytest
import torch
from training_runs import QUICK, checkpoint, log, train

from dlc_ros.errors import ParameterError
from dlc_ros.registration.weights import load_weights
from dlc_training.config import load_config
from dlc_training.data.batches import batches

SETTINGS = (
    *QUICK, 'optimiser.batch=4', 'optimiser.steps=6', 'save_every=3', 'log_every=1', 'seed=6',
)  # fmt: skip


def torchrun(out, *arguments, processes=2):
    """``dlc-train`` in several processes on this machine; the finished process."""
    return subprocess.run(
        [
            sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nnodes=1',
            f'--nproc-per-node={processes}', '-m', 'dlc_training.train_cli', '--config', 'smoke',
            '--out', str(out), *arguments,
        ],
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'OMP_WAIT_POLICY': 'passive'},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )  # fmt: skip


@pytest.fixture(scope='module', name='runs')
def both(tmp_path_factory):
    """Folders of the same run by one process and by two; the two of them in two parts."""
    one, two = tmp_path_factory.mktemp('one'), tmp_path_factory.mktemp('two')
    arguments = (*SETTINGS, '--objective', 'dlc')
    assert train(one, *arguments) == 0
    for steps in (3, 6):
        done = torchrun(two, *arguments, f'optimiser.steps={steps}')
        assert done.returncode == 0, done.stderr
    return one, two


def test_loss_curves_agree(runs):
    one, two = (log(out) for out in runs)
    assert [line['step'] for line in two] == [1, 2, 3, 4, 5, 6]
    for first, second in zip(one, two, strict=True):
        assert first.keys() == second.keys()
        for name in first.keys() - {'seconds'}:
            assert second[name] == pytest.approx(first[name], rel=2e-4, abs=2e-5), name


def test_weights_agree(runs):
    first, second = (checkpoint(out)['mean'] for out in runs)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=5e-4)
    assert load_weights(runs[1] / 'weights.safetensors').card['steps'] == 6


def test_a_run_may_go_on_with_another_number_of_processes(runs, tmp_path):
    for name in ('checkpoint.pt', 'log.jsonl'):
        (tmp_path / name).write_bytes((runs[1] / name).read_bytes())
    assert train(tmp_path, *SETTINGS, 'optimiser.steps=7') == 0
    assert checkpoint(tmp_path)['step'] == 7


def test_batch_that_cannot_be_shared_is_refused():
    config = load_config('smoke', ['optimiser.batch=5'])
    with pytest.raises(ParameterError, match='batch 5 is not a multiple of the 2 processes'):
        batches(config, 0, 1, 2)


def test_every_objective_shares_its_batch(tmp_path):
    """SAM climbs along the mean gradient of all processes, as one process would."""
    arguments = (*SETTINGS, '--objective', 'sam', 'optimiser.steps=3', 'objective.warm_up=0')
    assert train(tmp_path / 'one', *arguments) == 0
    done = torchrun(tmp_path / 'two', *arguments)
    assert done.returncode == 0, done.stderr
    one, two = (log(tmp_path / name) for name in ('one', 'two'))
    assert json.dumps([line['step'] for line in two]) == '[1, 2, 3]'
    for first, second in zip(one, two, strict=True):
        assert second['loss'] == pytest.approx(first['loss'], rel=2e-4)
