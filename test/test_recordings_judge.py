"""Which answers of a judgement are found again when a run is continued, and which are not."""

from types import SimpleNamespace

import numpy as np
import pytest
from recordings import room_points

import dlc_ros
from dlc_ros.registration.confidence import GEOMETRIC, UNFITTED
from dlc_ros.registration.descriptor import DescriptorNet, NetOptions
from dlc_ros.registration.weights import load_weights, save_weights
from dlc_training.evaluate import methods
from dlc_training.recordings import judge

SMALL = NetOptions(width=32, heads=2, layers=1, keypoints=48, neighbours=8, affinity_width=16)


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """Function of weights: how many registrars one judgement of three scans had to make."""
    made = []

    class Counted:
        def __init__(self, *_):
            made.append(1)

        def register(self, _):
            status = SimpleNamespace(value='ACCEPTED')
            return SimpleNamespace(transform=np.eye(4), status=status, accepted=True)

    monkeypatch.setattr(judge, 'Registrar', Counted)
    world = room_points(3000)
    index = SimpleNamespace(facts={'key': 'one'}, scan=lambda n: world[n::3].astype(np.float32))
    poses = np.tile(np.eye(4), (3, 1, 1))

    def run(weights):
        del made[:]
        problem = tmp_path / 'judged', index, poses, np.arange(3), world, weights, 3.0
        answers = (
            judge.judge_held_out(*problem, True, True),
            judge.judge_in_windows(*problem, True),
        )
        assert all(found['success'] == [True] * 3 for found in answers)
        return len(made)

    return run


def saved(folder, net, gate=GEOMETRIC, **card):
    save_weights(folder / 'new.safetensors', net, {**card, 'gate': gate.as_card()})
    return load_weights(folder / 'new.safetensors')


def test_answers_outlive_another_date_and_command_line(judged, tmp_path):
    net = DescriptorNet(SMALL)
    first = saved(tmp_path, net, date='2026-11-24', command='dlc-retrain --bag a')
    assert judged(first) == 1 + 3
    second = saved(tmp_path, net, date='2026-11-25', command='dlc-retrain --bag a --quiet')
    assert second.sha256 != first.sha256 and judged(second) == 0


@pytest.mark.parametrize('change', ['network', 'gate', 'code'])
def test_answers_of_another_network_gate_or_code_are_not_found_again(
    judged, tmp_path, monkeypatch, change
):
    net = DescriptorNet(SMALL)
    assert judged(saved(tmp_path, net)) == 4
    if change == 'code':
        sources = tmp_path / 'dlc_ros'
        (sources / 'registration').mkdir(parents=True)
        (sources / 'registration' / 'gate.py').write_text('# judges otherwise')
        facts = SimpleNamespace(
            __file__=str(sources / '__init__.py'), __version__=dlc_ros.__version__
        )
        monkeypatch.setattr(methods, 'dlc_ros', facts)
    if change == 'network':
        net = DescriptorNet(SMALL)
    assert judged(saved(tmp_path, net, UNFITTED if change == 'gate' else GEOMETRIC)) == 4
