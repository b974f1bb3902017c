"""What may change a pose: which estimates are used, and which part of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import apply, pose
from scipy.optimize import minimize

from dlc_ros.localization.decision import Prior, decide, error_between, moved
from dlc_ros.registration.result import Registration, Status


def covariance_like(seed, scale=1.0):
    """A full, well conditioned covariance with metres and radians of its own size."""
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(6, 6))
    sizes = np.array([0.3, 0.2, 0.1, 0.05, 0.08, 0.03])
    return scale * (root @ root.T / 6 + 0.3 * np.eye(6)) * np.outer(sizes, sizes)


def answer(status, transform=None, covariance=None, **fields):
    return Registration(
        transform=np.eye(4) if transform is None else transform,
        covariance=1e-4 * np.eye(6) if covariance is None else covariance,
        confidence=0.9,
        status=status,
        reason='because',
        **fields,
    )


PRIOR = Prior(np.eye(4), 0.01 * np.eye(6))


@pytest.mark.parametrize('prior', [None, PRIOR])
def test_accepted_is_used_as_it_is_and_rejected_never(prior):
    registration = answer(Status.ACCEPTED, pose((0, 0, 0.2), (0.5, 0, 0)))
    decision = decide(registration, prior)
    assert decision.accepted
    assert decision.transform is registration.transform
    assert decision.covariance is registration.covariance
    assert not decide(answer(Status.REJECTED), prior).accepted


@pytest.mark.parametrize('status', [Status.ACCEPTED, Status.DEGENERATE])
def test_what_fits_far_from_where_it_should_be_is_left_to_a_global_search(status):
    across = np.eye(6)[:, 1:2]
    for length, accepted in [(0.9, True), (1.2, False)]:  # 9 and 12 standard deviations
        found = answer(status, pose(translation=(length, 0, 0)), free_directions=across)
        assert decide(found, PRIOR).accepted == accepted
    assert '1.20 m and 0 deg from where it should be' in decide(found, PRIOR).reason


def test_what_rested_may_begin_to_move():
    rested = Prior(np.eye(4), 1e-6 * np.eye(6))
    reach = Prior(np.eye(4), 0.01 * np.eye(6))
    found = answer(Status.ACCEPTED, pose(translation=(0.1, 0, 0)), covariance=1e-6 * np.eye(6))
    assert not decide(found, rested).accepted
    assert decide(found, rested, reach).accepted


@pytest.mark.parametrize(
    'fields',
    [
        {'transform': np.full((4, 4), np.nan)},
        {'transform': np.diag([1.0, 1, -1, 1])},
        {'covariance': np.full((6, 6), np.inf)},
    ],
)
def test_what_is_not_a_pose_is_refused_whatever_its_status(fields):
    assert not decide(answer(Status.ACCEPTED, **fields), PRIOR).accepted


@pytest.mark.parametrize('status', [Status.DEGENERATE, Status.AMBIGUOUS])
def test_half_known_poses_need_a_prior(status):
    free = np.eye(6)[:, :1]
    registration = answer(status, alternatives=(pose((0, 0, 3)),), free_directions=free)
    decision = decide(registration, None)
    assert not decision.accepted
    assert 'no prior pose' in decision.reason


def test_corridor_corrects_across_and_keeps_the_prior_along():
    along = np.array([1.0, 1, 0, 0, 0, 0]) / np.sqrt(2)
    measured = answer(
        Status.DEGENERATE,
        pose((0, 0, 0.02), (3.0, 1.0, 0.1)),
        covariance=1e-6 * np.eye(6) + 4.0 * np.outer(along, along),
        free_directions=along[:, None],
    )
    decision = decide(measured, Prior(np.eye(4), 0.04 * np.eye(6)))
    assert decision.accepted
    # (3, 1) is (2, 2) along the corridor, which is not believed, and (1, -1) across it.
    np.testing.assert_allclose(decision.transform, pose((0, 0, 0.02), (1, -1, 0.1)), atol=1e-9)
    across = np.array([1.0, -1, 0, 0, 0, 0]) / np.sqrt(2)
    assert along @ decision.covariance @ along == pytest.approx(0.04)
    assert across @ decision.covariance @ across == pytest.approx(1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 3))
def test_degenerate_is_the_priors_likeliest_pose_among_those_that_fit(seed, count):
    """Oracle: a general-purpose minimiser over the free directions."""
    generator = np.random.default_rng(seed)
    prior = Prior(pose(generator.normal(size=3)), covariance_like(seed))
    free, _ = np.linalg.qr(generator.normal(size=(6, count)))
    true_error = generator.normal(scale=0.05, size=6)
    measured = answer(
        Status.DEGENERATE,
        moved(prior.transform, true_error),
        covariance=covariance_like(seed + 1, 1e-3),
        free_directions=free,
    )
    decision = decide(measured, prior)
    information = np.linalg.inv(prior.covariance)

    def unlikeliness(steps):
        error = true_error + free @ steps
        return error @ information @ error

    best = minimize(unlikeliness, np.zeros(count), tol=1e-12)
    found = error_between(decision.transform, prior.transform)
    np.testing.assert_allclose(found, true_error + free @ best.x, atol=2e-5)
    # Nowhere more certain than prior and measurement together, never less than the prior allows.
    together = np.linalg.inv(information + np.linalg.inv(measured.covariance))
    assert np.linalg.eigvalsh(decision.covariance - together).min() > -1e-9


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_degenerate_does_not_depend_on_the_unit_of_length(seed, unit):
    generator = np.random.default_rng(seed)
    prior = Prior(np.eye(4), covariance_like(seed))
    free = generator.normal(size=(6, 1))
    free /= np.linalg.norm(free)
    error = generator.normal(scale=0.02, size=6)
    covariance = covariance_like(seed + 1)
    units = np.array([unit] * 3 + [1.0] * 3)
    scaled_free = units[:, None] * free
    scaled = answer(
        Status.DEGENERATE,
        moved(np.eye(4), units * error),
        covariance=covariance * np.outer(units, units),
        free_directions=scaled_free / np.linalg.norm(scaled_free),
    )
    plain = answer(
        Status.DEGENERATE, moved(np.eye(4), error), covariance=covariance, free_directions=free
    )
    in_metres = decide(plain, prior)
    in_units = decide(scaled, Prior(np.eye(4), prior.covariance * np.outer(units, units)))
    np.testing.assert_allclose(
        in_units.transform[:3, 3] / unit, in_metres.transform[:3, 3], atol=1e-7
    )
    np.testing.assert_allclose(in_units.transform[:3, :3], in_metres.transform[:3, :3], atol=1e-7)
    np.testing.assert_allclose(
        in_units.covariance / np.outer(units, units), in_metres.covariance, rtol=1e-5, atol=1e-9
    )


def test_degenerate_without_named_directions_is_refused():
    assert not decide(answer(Status.DEGENERATE), PRIOR).accepted


@pytest.mark.parametrize(
    ('yaw_of_prior', 'expected'),
    [(0.1, 0.0), (1.6, np.pi / 2), (np.pi / 4, None), (2.5, None)],
)
def test_ambiguous_is_used_only_when_the_prior_expects_exactly_one(yaw_of_prior, expected):
    """Candidates at 0 and 90 deg, prior good to 20 deg: at 45 deg it expects both."""
    registration = answer(Status.AMBIGUOUS, alternatives=(pose((0, 0, np.pi / 2)),))
    deviation = np.radians(20.0) if expected is None and yaw_of_prior < 1 else 0.1
    prior = Prior(pose((0, 0, yaw_of_prior)), deviation**2 * np.eye(6))
    decision = decide(registration, prior)
    assert decision.accepted == (expected is not None)
    if decision.accepted:
        np.testing.assert_allclose(decision.transform, pose((0, 0, expected)), atol=1e-12)


def covariance_by_samples(points, normals, transform, count=20_000):
    """
    Oracle: how far fits of noisy points to their surfaces scatter about a pose.

    :param points: (N, 3) in the source frame; ``normals`` of where they land in the target.
    """
    noise, size = 1e-3, np.repeat([0.03, 0.1], 3)  # what else is known of the pose
    step = 1e-6

    def heights(error):
        return np.einsum('ij,ij->i', apply(moved(transform, error), points), normals)

    slopes = np.stack([heights(e) - heights(-e) for e in step * np.eye(6)], axis=1) / (2 * step)
    rows = np.concatenate([slopes / noise, np.diag(1.0 / size)])
    draws = np.random.default_rng(0).normal(size=(len(rows), count))
    return np.cov(np.linalg.lstsq(rows, draws, rcond=None)[0])


def test_the_covariance_turns_with_the_alternative_that_is_chosen():
    """A square post, of which a camera sees one side: its depth is sure, the rest is not."""
    generator = np.random.default_rng(5)
    side = np.stack([np.full(80, 0.05), *generator.uniform(-1, 1, (2, 80))], axis=1)
    side *= [1.0, 0.05, 0.2]
    post_from_camera = pose((0.1, 0.2, 0.3), (1.0, 0.4, -0.2))
    quarter = pose((0, 0, np.pi / 2))
    points = apply(np.linalg.inv(post_from_camera), side)
    normals = np.tile([1.0, 0.0, 0.0], (80, 1))
    registration = answer(
        Status.AMBIGUOUS,
        post_from_camera,
        covariance_by_samples(points, normals, post_from_camera),
        alternatives=(quarter @ post_from_camera,),
    )
    decision = decide(registration, Prior(quarter @ post_from_camera, 0.01 * np.eye(6)))
    np.testing.assert_allclose(decision.transform, quarter @ post_from_camera)
    expected = covariance_by_samples(points, apply(quarter, normals), decision.transform)
    sizes = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(
        decision.covariance / np.outer(sizes, sizes), expected / np.outer(sizes, sizes), atol=0.05
    )
    # The side looks along y now.
    assert np.sqrt(decision.covariance[1, 1]) < 0.2 * np.sqrt(decision.covariance[0, 0])
