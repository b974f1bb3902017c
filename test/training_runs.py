"""Short training runs, and what tests look at in them."""

import json

import pytest
import torch

from dlc_training.train_cli import main

# Crops alone, at a rate that does not depend on how many steps there will be: runs of different
# lengths take the same path.
QUICK = ('data.kinds={crop: 1}', 'optimiser.decay_share=0')


def train(out, *arguments):
    """``dlc-train`` with the smoke configuration; returns its exit code."""
    return main(['--config', 'smoke', '--out', str(out), *map(str, arguments)])


def checkpoint(out):
    return torch.load(out / 'checkpoint.pt', weights_only=True)


def log(out):
    """Lines of a run's log."""
    return [json.loads(line) for line in (out / 'log.jsonl').read_text().splitlines()]


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


@pytest.fixture(scope='module', name='ten')
def ten_steps(tmp_path_factory):
    """Folder of an uninterrupted run of ten steps."""
    out = tmp_path_factory.mktemp('ten')
    assert train(out, *QUICK) == 0
    return out
