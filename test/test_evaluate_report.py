"""Summaries of answers whose score is known."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.stats import binomtest

from dlc_training.evaluate import report
from dlc_training.evaluate.pair import pose
from dlc_training.evaluate.protocols import PROTOCOLS
from dlc_training.evaluate.symmetry import SymmetryGroup

# With the chamfer distance.
PROTOCOL = PROTOCOLS['rpmnet-crop']
LABELS = {'ours': 'ours', 'a': 'peer a', 'b': 'peer b'}


def pair(index, bin_edge=0.0):
    rng = np.random.default_rng(index)
    clean = rng.normal(size=(50, 3)).astype(np.float32)
    truth = pose(Rotation.random(random_state=rng).as_matrix(), rng.normal(size=3))
    source = (clean - truth[:3, 3]) @ truth[:3, :3]
    return SimpleNamespace(
        index=index,
        bin=bin_edge,
        shape=index // 2,
        truth=truth,
        shape_pose=np.eye(4),
        source=source,
        target=clean,
        clean=clean,
    )


PAIRS = [pair(i, (0.0, 90.0)[i % 2]) for i in range(8)]
GROUPS = {pair.shape: SymmetryGroup(np.zeros(3)) for pair in PAIRS}


def answers(angles, cpu_ms=10.0, **details):
    """The truth turned by an angle in degrees, one a pair; None is no answer."""
    found = []
    for p, angle in zip(PAIRS, angles, strict=True):
        T = np.full((4, 4), np.nan)
        if angle is not None:
            T = p.truth @ pose(Rotation.from_euler('x', angle, degrees=True).as_matrix())
        found.append({'transform': T.tolist(), 'cpu_ms': cpu_ms, **details})
    return found


@pytest.fixture(scope='module')
def summary():
    scores = {
        'ours': report.score(
            PROTOCOL, PAIRS, GROUPS, answers([0, 0.5, 2, 4, 0, 0, 0, 90], status='ACCEPTED')
        ),
        'a': report.score(PROTOCOL, PAIRS, GROUPS, answers([0, 0, 0, 0, 90, 90, 90, None], 20.0)),
        'b': report.score(PROTOCOL, PAIRS, GROUPS, answers([90, 90, 0, 0, 0, 0, 90, 90])),
    }
    ambiguous = [False] * 7 + [True]
    return report.summarise(scores, PAIRS, ambiguous, 'ours', ('a', 'b'))


def test_scores_are_the_errors_that_were_put_in():
    scores = report.score(PROTOCOL, PAIRS, GROUPS, answers([0, 0.5, 2, 4, 6, 90, 180, None]))
    np.testing.assert_allclose(scores['rre_deg'], [0, 0.5, 2, 4, 6, 90, 180, np.inf], atol=1e-5)
    np.testing.assert_allclose(scores['rte'][:7], 0, atol=1e-12)
    assert scores['success'] == [True] * 4 + [False] * 4
    assert scores['strict'] == [True] * 2 + [False] * 6
    assert scores['chamfer'][0] == pytest.approx(0, abs=1e-10)
    assert scores['chamfer'][6] > 0.1


def test_rates_are_counted_over_the_clear_pairs(summary):
    assert summary['counts'] == {'pairs': 8, 'clear': 7, 'ambiguous': 1, 'shapes': 4}
    ours = summary['methods']['ours']
    assert (ours['success']['hits'], ours['success']['of']) == (7, 7)
    assert (ours['success_ambiguous']['hits'], ours['success_ambiguous']['of']) == (0, 1)
    assert (ours['success_all']['hits'], ours['success_all']['of']) == (7, 8)
    assert (ours['strict']['hits'], ours['strict']['of']) == (5, 7)
    by_bin = summary['methods']['a']['success_by_bin']
    assert [(by_bin[e]['hits'], by_bin[e]['of']) for e in ('0', '90')] == [(2, 4), (2, 3)]
    interval = binomtest(2, 3).proportion_ci(method='wilson')
    np.testing.assert_allclose(by_bin['90']['interval'], (interval.low, interval.high))


def test_means_and_medians(summary):
    ours = summary['methods']['ours']['rre_deg']
    assert ours['mean'] == pytest.approx(6.5 / 7, abs=1e-4)
    assert ours['median'] == pytest.approx(0, abs=1e-5)
    assert summary['methods']['a']['cpu_ms'] == {'mean': 20.0, 'median': 20.0}
    assert summary['methods']['a']['no_answer'] == 1


def test_the_oracle_is_right_where_any_peer_is(summary):
    oracle = summary['methods'][report.ORACLE]['success']
    assert (oracle['hits'], oracle['of']) == (6, 7)


def test_differences_are_paired(summary):
    found = summary['differences']['b']
    assert found['difference'] == pytest.approx(3 / 7)
    assert (found['only_ours'], found['only_other']) == (3, 0)
    assert found['mcnemar_p'] == pytest.approx(0.25)
    low, high = found['interval']
    assert low <= 3 / 7 <= high
    assert set(summary['differences']) == {'a', 'b'}


def test_the_gate_is_summed_up_where_there_is_one(summary):
    ours = summary['methods']['ours']
    assert (ours['accepted']['hits'], ours['accepted']['of']) == (7, 7)
    assert ours['accepted_ambiguous']['hits'] == 1
    assert 'accepted' not in summary['methods']['a']


def test_the_table_names_every_method_and_can_be_read_as_markdown(summary):
    text = report.table(summary, LABELS, PROTOCOL)
    for label in (*LABELS.values(), report.ORACLE):
        assert f'| {label}' in text
    assert '7 have one true pose' in text and '1 are ambiguous' in text
    assert '100.0 [65, 100]' in text  # 7 of 7, Wilson
    for block in text.split('\n\n'):
        rows = [line for line in block.splitlines() if line.startswith('|')]
        assert len({line.count('|') for line in rows}) <= 1
        assert len({len(line) for line in rows}) <= 1
    json.dumps(summary, allow_nan=False)
