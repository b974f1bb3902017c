"""What a retraining is judged on, and the sentence that follows from it."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dlc_training.recordings.judge import spread
from dlc_training.recordings.trajectory import stand_upright
from dlc_training.recordings.verdict import compare, compare_scans, verdict


def scores(old, new, accepted=0, alone=0, lost=0, wrong=0, count=100):
    """Scores of weights that place so many scans; the gate accepts 20, and so many more."""
    numbers = np.arange(count)
    return {
        'held_out': compare(numbers < old, numbers < new),
        'accepted': compare(numbers < 20, numbers < 20 + accepted),
        'windows': compare(numbers < 50, numbers < 50 + alone),
        'wrong': {'old': 1, 'new': 1 + wrong},
        'benchmark': compare(numbers < 90, numbers < 90 - lost),
    }


@pytest.mark.parametrize(
    ('found', 'deploy', 'start'),
    [
        (scores(20, 80), True, 'Deploy the new weights: '),
        (scores(20, 80, lost=30), False, 'Deploy the new weights only where'),
        (scores(80, 20, alone=30), False, 'Keep the old weights: something got clearly worse'),
        (scores(50, 51), False, 'Keep the old weights: no gain could be shown'),
        (scores(50, 51, alone=30), True, 'Deploy the new weights: '),
        (scores(51, 50, alone=30), False, 'Keep the old weights: no gain could be shown'),
        (scores(50, 50, accepted=30), True, 'Deploy the new weights: '),
        (scores(50, 50, accepted=30, wrong=1), False, 'Fit the gate before you deploy'),
        (scores(20, 80, wrong=13, lost=2), False, 'Fit the gate before you deploy'),
        (scores(50, 50, accepted=-19, alone=30), False, 'Keep the old weights: something got'),
        (scores(50, 50, accepted=30, alone=-30), False, 'Keep the old weights: something got'),
        (scores(20, 80, wrong=-1), True, 'Deploy the new weights: '),
        (scores(1, 9, count=9), False, 'Keep the old weights: 9 held-out scans are too few'),
    ],
)
def test_verdict_follows_from_the_intervals(found, deploy, start):
    decided, sentence = verdict(found)
    assert decided == deploy and sentence.startswith(start)
    assert sentence.endswith('.') and '. ' not in sentence
    assert 'no truth' not in sentence and 'no truth' in verdict(found, 'this is no truth')[1]


def test_a_gate_that_got_worse_and_shapes_forgotten_are_both_said():
    _, sentence = verdict(scores(20, 80, wrong=13, lost=2))
    assert sentence.count('only where this recording is typical') == 1
    assert 'more wrong answers pass' in sentence and 'they lose 2.0 points' in sentence


@pytest.mark.parametrize('gain', ['new', 'accepted', 'alone'])
def test_any_of_three_gains_is_enough_and_so_each_is_asked_for_more_than_95_percent(gain):
    for gained, deploy in ((4, False), (9, True)):
        found = scores(50, 50, **{gain: gained}) if gain != 'new' else scores(50, 50 + gained)
        part = {'new': 'held_out', 'alone': 'windows'}.get(gain, gain)
        assert found[part]['interval'][0] > 0
        decided, sentence = verdict(found)
        assert decided == deploy and ('no gain could be shown (at 98.3 %' in sentence) != deploy


def test_equally_good_weights_are_seldom_deployed():
    """At most one time in 40, though any of three gains is enough."""
    rng, deployed, runs = np.random.default_rng(0), 0, 300

    def redrawn(values, share, chance):
        return np.where(rng.random(150) < share, rng.random(150) < chance, values)

    for _ in range(runs):
        old, accepted, alone = (rng.random(150) < chance for chance in (0.5, 0.7, 0.5))
        new, too = redrawn(old, 0.2, 0.5), redrawn(accepted, 0.1, 0.7)
        found = {
            'held_out': compare_scans(old, new),
            'accepted': compare_scans(old & accepted, new & too),
            'windows': compare_scans(alone, redrawn(alone, 0.3, 0.5)),
            'wrong': {'old': 0, 'new': 0},
            'benchmark': None,
        }
        deployed += verdict(found)[0]
    assert deployed <= runs / 40


@pytest.mark.parametrize(('old', 'new'), [(20, 80), (80, 20), (50, 51)])
def test_interval_holds_the_difference(old, new):
    found = compare(np.arange(100) < old, np.arange(100) < new)
    low, high = found['interval']
    assert found['difference'] == pytest.approx(new - old) and low <= new - old <= high


@pytest.mark.parametrize(('lean', 'upright'), [(0.0, True), (3.0, True), (8.0, False)])
def test_a_sensor_that_leans_is_not_judged_as_an_upright_one(lean, upright):
    poses = np.tile(np.eye(4), (4, 1, 1))
    poses[:, :3, :3] = Rotation.from_euler('z', np.arange(4)[:, None]).as_matrix()
    poses[2, :3, :3] = Rotation.from_euler('zx', (1.0, np.radians(lean))).as_matrix()
    assert stand_upright(poses) == upright


@pytest.mark.parametrize(('count', 'most'), [(187, 150), (5, 150), (7, 2), (1000, 3)])
def test_as_many_scans_are_judged_as_were_asked_for(count, most):
    numbers = 10 + np.arange(count)
    chosen = spread(numbers, most)
    assert len(set(chosen)) == len(chosen) == min(count, most)
    assert (chosen[0], chosen[-1]) == (numbers[0], numbers[-1])
    assert np.ptp(np.diff(chosen)) <= 1
