"""From what is seen of a pose to how sure it is: monotone, bounded, and read from a model card."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlc_ros.registration.confidence import GEOMETRIC, PLACES, TERMS, UNFITTED, Fit, Model

LEARNED = Model(4.0, {'log_typical': -1.7, 'hovering': -15.0, 'log_hold': 0.5, 'log_support': 1.0})
FITS = Fit(
    contrast=0.95,
    residual_ratio=0.8,
    coverage=0.9,
    normal_agreement=0.95,
    typical_ratio=0.5,
    systematic_ratio=0.1,
    hovering=0.03,
    hold=0.08,
    support=0.4,
    crossed=0.0,
)
BARE = replace(FITS, support=None)
MISFITS = Fit(
    contrast=0.6,
    residual_ratio=2.0,
    coverage=0.5,
    normal_agreement=0.6,
    typical_ratio=1.2,
    systematic_ratio=0.6,
    hovering=0.25,
    hold=0.01,
    support=0.02,
    crossed=0.2,
)
shares = st.floats(0.0, 1.0)
ratios = st.floats(0.0, 50.0)
# Whether more of it speaks for a pose or against it.
BETTER = {
    **dict.fromkeys(('contrast', 'coverage', 'normal_agreement', 'hold', 'support'), 1),
    **dict.fromkeys(('residual_ratio', 'typical_ratio', 'systematic_ratio', 'hovering'), -1),
    'crossed': -1,
}


@pytest.mark.parametrize('model', [GEOMETRIC, UNFITTED, LEARNED, PLACES])
def test_a_good_fit_is_trusted_and_a_bad_one_is_not(model):
    assert model.confidence(FITS) > 0.75
    assert model.confidence(MISFITS) < 0.1


@pytest.mark.parametrize('model', [GEOMETRIC, UNFITTED, LEARNED, PLACES])
@given(
    st.builds(
        Fit,
        *(shares, ratios, shares, shares, ratios, ratios, shares, shares),
        *(st.none() | shares, st.none() | shares),
    )
)
def test_better_evidence_never_lowers_the_confidence(model, fit):
    sure = model.confidence(fit)
    assert 0.0 <= sure <= 1.0
    assert set(BETTER) == {one.name for one in fields(Fit)}
    for name, sign in BETTER.items():
        if (value := getattr(fit, name)) is not None:
            better = replace(fit, **{name: min(max(value + 0.1 * sign, 0.0), max(value, 1.0))})
            assert model.confidence(better) >= sure


def test_a_pose_that_only_the_geometry_likes_is_trusted_much_less():
    odds = [
        sure / (1 - sure) for sure in map(LEARNED.confidence, (FITS, replace(FITS, support=0.02)))
    ]
    assert odds[0] > 5 * odds[1]


def test_without_constants_in_the_card_descriptors_are_not_heard():
    assert UNFITTED.confidence(FITS) == UNFITTED.confidence(replace(FITS, support=0.0))


@pytest.mark.parametrize(
    'nothing', [{'coverage': 0.0}, {'residual_ratio': float('nan')}, {'residual_ratio': np.inf}]
)
def test_no_evidence_is_no_confidence(nothing):
    assert LEARNED.confidence(replace(FITS, **nothing)) == 0.0


def test_a_model_comes_back_from_its_card():
    assert Model.from_card(LEARNED.as_card()) == LEARNED
    assert GEOMETRIC.confidence(BARE) == Model.from_card(GEOMETRIC.as_card()).confidence(BARE)


@pytest.mark.parametrize(
    ('entry', 'reason'),
    [
        (None, 'no mapping'),
        ([1.0], 'no mapping'),
        ({'log_support': 4.0}, 'bias'),
        ({'bias': float('nan')}, 'no finite number'),
        ({'bias': -3.0, 'log_support': float('inf')}, 'no finite number'),
        ({'bias': -3.0, 'log_support': '4'}, 'no finite number'),
        ({'bias': -3.0, 'log_support': True}, 'no finite number'),
        ({'bias': -3.0, 'colour': 4.0}, "unknown evidence 'colour'"),
        ({'bias': -3.0, 'log_support': -4.0}, 'counts against'),
        ({'bias': -3.0, 'log_residual': 4.0}, 'counts against'),
        ({'bias': 90.0, 'log_support': 4.0}, 'would be accepted'),
    ],
)
def test_a_card_that_makes_no_sense_is_refused_in_one_line(entry, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        Model.from_card(entry)
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 200


def test_every_kind_of_evidence_is_a_number_of_a_fit():
    for term in TERMS.values():
        for fit in (FITS, BARE, MISFITS, replace(FITS, hold=0.0, typical_ratio=0.0)):
            assert np.isfinite(term.value(fit)) and abs(term.sign) == 1
