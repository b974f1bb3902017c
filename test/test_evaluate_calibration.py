"""The gate's refit: known logistic data, its trade-off, and what it never does."""

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.stats import chi2

for module in ('torch', 'small_gicp'):
    pytest.importorskip(module, reason=f'{module} is not installed')

from dlc_ros.registration.confidence import GEOMETRIC, TERMS, Fit  # noqa: E402
from dlc_training.evaluate import place_calibration  # noqa: E402
from dlc_training.evaluate.calibration import (  # noqa: E402
    GEOMETRY,
    LEARNED,
    NAMES,
    Example,
    confidences,
    features_of,
    fit_model,
    trade_off,
    widths,
)

KINDS = ('so3-crop', 'look-alike')


def examples(count=4000, seed=0):
    """Answers whose odds of being right are exp(3 - 30 hovering - 4 log typical residual)."""
    rng = np.random.default_rng(seed)
    out = []
    for index in range(count):
        lowest = (0.4, 0.5, 0.2, 0.4, 0.4, 0.1, 0.0, 0.0, 0.0)
        highest = (1.0, 2.0, 1.0, 1.0, 2.0, 1.0, 0.3, 0.1, 0.7)
        fit = Fit(*rng.uniform(lowest, highest))
        odds = 3 - 30 * fit.hovering - 4 * np.log(fit.typical_ratio)
        right = rng.uniform() < 1 / (1 + np.exp(-odds))
        out.append(Example(index, KINDS[int(not right)], features_of(fit), bool(right), True))
    return out


def test_features_are_what_the_gate_weighs():
    fit = Fit(0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.03, 0.02, 0.3)
    example = Example(0, 'so3-crop', features_of(fit), True, True)
    (value,) = confidences(GEOMETRIC, [example])
    assert value == pytest.approx(GEOMETRIC.confidence(fit))


def test_a_known_law_is_found_again():
    found = fit_model(examples(), LEARNED, 0.04).as_card()
    # One ratio: the bias is set by the share of false rejects, and a ridge shrinks all weights.
    # One ratio: the bias is set by the share of false rejects, and a ridge shrinks all weights.
    assert found['hovering'] / found['log_typical'] == pytest.approx(30 / 4, rel=0.3)
    assert abs(found['log_support']) < 0.1 * abs(found['log_typical'])
    assert set(found) == {'bias', *LEARNED}


@pytest.mark.parametrize('names', [LEARNED, GEOMETRY])
def test_the_wanted_share_of_right_answers_is_rejected_at_one_half(names):
    data = examples()
    for share in (0.02, 0.2):
        sure = confidences(fit_model(data, names, share), data)
        right = np.array([example.right for example in data])
        assert np.mean(sure[right] < 0.5) == pytest.approx(share, abs=0.005)


def test_better_evidence_never_counts_against_a_pose():
    data = [e._replace(right=not e.right) for e in examples(800)]
    model = fit_model(data, NAMES, 0.05).as_card()
    assert all(model[name] * TERMS[name].sign >= 0 for name in NAMES)


def test_a_higher_threshold_rejects_more_and_accepts_less():
    data = examples()
    rows = trade_off(data, confidences(fit_model(data, LEARNED, 0.05), data))
    rejects = [row['false_rejects'] for row in rows]
    accepts = [row['look-alike'][0] for row in rows]
    assert rejects == sorted(rejects) and accepts == sorted(accepts, reverse=True)
    assert {row['look-alike'][1] for row in rows} == {sum(not e.right for e in data)}


def test_widths_of_an_honest_and_of_a_narrow_covariance():
    honest = chi2.rvs(6, size=4000, random_state=0)
    found = widths({'easy': list(honest), 'hard': list(4 * honest), 'noisy': []})
    assert found['easy']['inside'] == pytest.approx(0.95, abs=0.01)
    assert found['easy']['factor'] == pytest.approx(1.0, rel=0.06)
    assert found['hard']['factor'] == pytest.approx(4.0, rel=0.06)
    assert found['hard']['inside'] < 0.6 and 'noisy' not in found


def test_later_scans_of_a_place_lie_on_its_map():
    """Oracle: a search tree of the map; most of what is seen has not moved."""
    target, scans = place_calibration.visits('corridor', 0)
    tree = cKDTree(target)
    assert len(scans) == 4
    for truth, scan in scans:
        placed = scan[::50] @ truth[:3, :3].T + truth[:3, 3]
        near, aside = (
            (tree.query(points)[0] < 0.2).mean() for points in (placed, placed + [0.5, 0.5, 0.7])
        )
        assert near > 0.5 and aside < near - 0.15


def test_places_are_searched_in_their_own_map_and_in_another_one(monkeypatch):
    monkeypatch.setattr(place_calibration, 'PAIRS_PER_MAP', 1)
    monkeypatch.setattr(place_calibration, '_BESIDE', 1)
    seen = place_calibration.watch_places('hall', 0, None)
    # Of each of two scans: a search at home, a start beside the truth, a search elsewhere.
    assert sorted(own for own, _ in seen) == [False, False, True, True, True, True]
    answers = [(own, rows[-1][1]) for own, rows in seen if rows]
    assert all(rows[-1][2] for _, rows in seen if rows)
    assert not any(right for own, right in answers if not own)
    assert sum(right for own, right in answers if own) >= 3
