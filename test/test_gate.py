"""The verdict on evidence: what is refused, what is unclear, and the sentence that says so."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlc_ros.registration.gate import Evidence, Rival, describe_freedom, judge
from dlc_ros.registration.result import Status
from dlc_ros.registration.se3 import exp_so3

GOOD = Evidence(
    confidence=0.97,
    residual_ratio=0.8,
    inlier_fraction=0.9,
    score=0.7,
    free_directions=np.zeros((6, 0)),
    radius=1.0,
)
BAD = replace(GOOD, confidence=0.03, residual_ratio=2.0)
FAR_AND_EQUAL = Rival(np.eye(4), motion=20.0, deficit=0.005, deficit_error=0.01)


def column(*screw):
    return np.array(screw, float)[:, None]


def test_good_evidence_is_accepted_and_bad_is_not():
    verdict = judge(GOOD, 0.5)
    assert verdict.status is Status.ACCEPTED and verdict.confidence > 0.9
    assert '90% of the source' in verdict.reason
    verdict = judge(BAD, 0.5)
    assert verdict.status is Status.REJECTED and verdict.confidence < 0.1
    assert 'below 0.50' in verdict.reason


def test_what_the_sensor_saw_through_is_named():
    assert 'saw through 40% of the target' in judge(replace(BAD, crossed=0.4), 0.5).reason
    assert 'saw through' not in judge(replace(BAD, crossed=0.02), 0.5).reason


def test_an_initial_pose_is_blamed_only_where_one_was_given():
    little = replace(BAD, inlier_fraction=0.1)
    assert 'initial pose' not in judge(little, 0.5).reason
    assert (
        'too little overlap, or a wrong initial'
        in judge(replace(little, started=True), 0.5).reason
    )


def test_the_operators_threshold_decides():
    middling = replace(GOOD, confidence=0.6)
    assert judge(middling, 0.59).status is Status.ACCEPTED
    assert judge(middling, 0.61).status is Status.REJECTED


def test_another_pose_as_good_is_ambiguous():
    verdict = judge(replace(GOOD, rivals=(FAR_AND_EQUAL,)), 0.5)
    assert verdict.status is Status.AMBIGUOUS
    assert '1 other pose explains' in verdict.reason and '0.70' in verdict.reason
    verdict = judge(replace(GOOD, rivals=(FAR_AND_EQUAL,) * 3), 0.5)
    assert '3 other poses explain ' in verdict.reason


def test_a_plane_among_planes_is_ambiguous_and_not_merely_sliding():
    sliding = replace(GOOD, free_directions=column(1, 0, 0, 0, 0, 0), one_of_many_planes=True)
    verdict = judge(sliding, 0.5)
    assert verdict.status is Status.AMBIGUOUS
    assert 'any plane of the target' in verdict.reason
    assert judge(replace(sliding, confidence=0.1), 0.5).status is Status.REJECTED


@pytest.mark.parametrize(
    'difference',
    [
        {'motion': 0.5},  # the same answer
        {'deficit': 0.2},  # clearly worse
        {'excluded': True},  # the prior rules it out
    ],
)
def test_what_is_no_rival(difference):
    verdict = judge(replace(GOOD, rivals=(replace(FAR_AND_EQUAL, **difference),)), 0.5)
    assert verdict.status is Status.ACCEPTED


def test_chance_widens_what_counts_as_equal():
    uncertain = replace(FAR_AND_EQUAL, deficit=0.06, deficit_error=0.04)
    sharp = replace(FAR_AND_EQUAL, deficit=0.06, deficit_error=0.01)
    assert uncertain.equal and not sharp.equal


def test_precedence_is_rejected_ambiguous_degenerate():
    sliding = replace(GOOD, free_directions=column(1, 0, 0, 0, 0, 0))
    assert judge(sliding, 0.5).status is Status.DEGENERATE
    both = replace(sliding, rivals=(FAR_AND_EQUAL,))
    assert judge(both, 0.5).status is Status.AMBIGUOUS
    wrong = replace(BAD, free_directions=sliding.free_directions, rivals=(FAR_AND_EQUAL,))
    assert judge(wrong, 0.5).status is Status.REJECTED


def test_what_slides_every_way_says_nothing():
    loose = replace(GOOD, free_directions=np.eye(6))
    assert judge(loose, 0.5).status is Status.REJECTED
    # Of what moved the prior is known, and the rest of the cloud agrees with it.
    assert judge(replace(loose, contradicting=0.1), 0.5).status is Status.DEGENERATE


def test_free_directions_are_named_by_their_axes():
    verdict = judge(replace(GOOD, free_directions=column(0, 0, -1, 0, 0, 0)), 0.5)
    assert '1 of 6' in verdict.reason and 'shifts along (0.00, 0.00, 1.00)' in verdict.reason
    turning = describe_freedom(column(0, 0, 0, 0, 2, 0), radius=0.5)
    assert turning == 'turns about (0.00, 1.00, 0.00)'


@given(st.integers(0, 1000), st.floats(0.01, 100.0))
def test_the_words_do_not_depend_on_the_basis(seed, radius):
    rng = np.random.default_rng(seed)
    axis = exp_so3(rng.normal(size=3))[:, 0]
    shift = np.concatenate([axis, np.zeros(3)])
    turn = np.concatenate([np.zeros(3), axis]) / radius
    angle = rng.uniform(0, np.pi)
    basis = np.array([shift, turn]).T @ [
        [np.cos(angle), -np.sin(angle)],
        [np.sin(angle), np.cos(angle)],
    ]
    words = describe_freedom(basis, radius)
    assert words.count('turns about') == 1 and words.count('shifts along') == 1
