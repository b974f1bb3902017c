"""What may change a pose, how a prior grows, and the life of a reference."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from dlc_ros.localization.decision import Prior, decide, error_between, moved
from dlc_ros.localization.declarations import PriorGrowth
from dlc_ros.localization.tracker import KnownPose, State, Tracker, predict
from dlc_ros.registration.result import Registration, Status

S = 10**9


def pose(rotvec=(0, 0, 0), translation=(0, 0, 0)):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rotvec).as_matrix()
    matrix[:3, 3] = translation
    return matrix


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


def scene(seconds=0.0, fixed=None, frame='cam'):
    return SimpleNamespace(
        stamp_ns=round((100 + seconds) * S), source_frame=frame, fixed_from_source=fixed
    )


def known(transform=None, covariance=None, fixed=None, accepted=True):
    return KnownPose(
        np.eye(4) if transform is None else transform,
        1e-6 * np.eye(6) if covariance is None else covariance,
        100 * S,
        'cam',
        fixed,
        accepted,
    )


def test_prior_follows_the_odometry_with_the_covariance_of_samples():
    """Oracle: 40,000 sampled errors of the last pose and of the motion, composed by scipy."""
    generator = np.random.default_rng(3)
    growth = PriorGrowth(
        linear_drift=0.2, angular_drift=0.04, min_translation=1e-6, min_rotation=1e-6
    )
    last = known(
        pose((0.3, -0.2, 1.0), (4, 5, 6)),
        covariance_like(5, 1e-2),
        fixed=pose((0, 0, 0.5), (1, 2, 3)),
    )
    now = scene(seconds=0.5, fixed=pose((0, 0.1, 0.9), (1, 4, 3)))
    prior = predict(last, now, growth)
    motion = np.linalg.inv(last.fixed_from_source) @ now.fixed_from_source
    np.testing.assert_allclose(prior.transform, last.transform @ motion, atol=1e-9)

    count = 40_000
    start = generator.multivariate_normal(np.zeros(6), last.covariance, count)
    drift = generator.normal(size=(count, 6)) * np.repeat([0.1, 0.02], 3)
    first = Rotation.from_rotvec(start[:, 3:]) * Rotation.from_matrix(last.transform[:3, :3])
    position = last.transform[:3, 3] + start[:, :3] + first.apply(motion[:3, 3] + drift[:, :3])
    second = first * Rotation.from_rotvec(drift[:, 3:]) * Rotation.from_matrix(motion[:3, :3])
    turned = second * Rotation.from_matrix(prior.transform[:3, :3]).inv()
    errors = np.hstack([position - prior.transform[:3, 3], turned.as_rotvec()])
    sampled = np.cov(errors.T)
    sizes = np.sqrt(np.diag(sampled))
    np.testing.assert_allclose(
        prior.covariance / np.outer(sizes, sizes), sampled / np.outer(sizes, sizes), atol=0.04
    )


@settings(deadline=None)
@given(st.floats(0.0, 1.9), st.floats(0.0, 1.9))
def test_without_odometry_the_pose_stays_and_only_gets_less_certain(first, second):
    growth = PriorGrowth()
    early, late = sorted([first, second])
    priors = [predict(known(), scene(seconds=t), growth) for t in (early, late)]
    for prior in priors:
        np.testing.assert_allclose(prior.transform, np.eye(4))
        assert np.linalg.eigvalsh(prior.covariance)[0] >= min(
            growth.min_translation, growth.min_rotation
        ) ** 2 * (1 - 1e-9)
    assert np.linalg.eigvalsh(priors[1].covariance - priors[0].covariance)[0] > -1e-12


def test_a_pose_that_says_too_little_gives_no_prior():
    growth = PriorGrowth(angular_speed=0.5, max_rotation=1.0)
    assert predict(known(), scene(seconds=1.9), growth) is not None
    assert predict(known(), scene(seconds=2.1), growth) is None
    # One free axis is not enough to give up: the others still tell where to look.
    wide = 1e-6 * np.eye(6)
    wide[5, 5] = 9.0
    assert predict(known(covariance=wide), scene(seconds=0.1), growth) is not None
    # Another sensor: usable only if both were seen in a fixed frame.
    assert predict(known(), scene(seconds=0.1, frame='other'), growth) is None
    placed = known(fixed=np.eye(4))
    assert predict(placed, scene(0.1, fixed=np.eye(4), frame='other'), growth) is not None


def states(tracker):
    return [(change.before, change.after) for change in tracker.take_changes()]


def test_life_of_a_reference():
    growth = PriorGrowth()
    tracker = Tracker('part', reference=object())
    assert tracker.state is State.WAITING

    assert tracker.begin(scene(), growth) is None
    assert tracker.state is State.SEARCHING
    tracker.fail('nothing there', lost_after=2)
    tracker.fail('nothing there', lost_after=2)
    tracker.fail('nothing there', lost_after=2)
    assert tracker.state is State.SEARCHING, 'what was never found cannot be lost'

    tracker.accept(known(), 'found')
    assert tracker.state is State.TRACKING
    assert tracker.begin(scene(0.1), growth) is not None
    tracker.fail('hidden', lost_after=2)
    assert tracker.state is State.TRACKING
    assert tracker.begin(scene(0.2), growth) is not None, 'one failure does not spend the prior'
    tracker.fail('hidden', lost_after=2)
    assert tracker.state is State.LOST
    assert tracker.begin(scene(0.3), growth) is None
    assert states(tracker) == [
        ('WAITING', 'SEARCHING'),
        ('SEARCHING', 'TRACKING'),
        ('TRACKING', 'LOST'),
        ('LOST', 'SEARCHING'),
    ]
    assert states(tracker) == []


def test_silence_loses_a_pose_before_the_next_cloud_is_searched():
    tracker = Tracker('part', reference=object())
    tracker.accept(known(), 'found')
    tracker.take_changes()
    assert tracker.begin(scene(seconds=60.0), PriorGrowth()) is None
    assert states(tracker) == [('TRACKING', 'LOST'), ('LOST', 'SEARCHING')]


def test_an_accepted_cloud_starts_the_count_of_failures_afresh():
    tracker = Tracker('part', reference=object())
    for _ in range(5):
        tracker.accept(known(), 'found')
        tracker.fail('hidden', lost_after=2)
    assert tracker.state is State.TRACKING


def test_a_given_pose_is_tried_then_given_up():
    growth = PriorGrowth()
    tracker = Tracker('part', reference=object())
    tracker.begin(scene(), growth)
    before = tracker.epoch
    tracker.start_from(known(accepted=False), 'given')
    assert tracker.epoch > before
    for _ in range(2):
        assert tracker.begin(scene(0.1), growth) is not None
        assert tracker.state is State.SEARCHING
        tracker.fail('not there', lost_after=2)
    assert tracker.begin(scene(0.2), growth) is None
    assert tracker.state is State.SEARCHING


def test_missing_transforms_wait_but_one_gap_does_not_interrupt_tracking():
    growth = PriorGrowth()
    tracker = Tracker('map', reference=object())
    tracker.block('no lidar', lost_after=3)
    assert (tracker.state, tracker.reason) == (State.WAITING, 'no lidar')
    tracker.accept(known(), 'found')
    tracker.block('no odom', lost_after=3)
    assert tracker.state is State.TRACKING
    tracker.block('no odom', lost_after=3)
    tracker.block('no odom', lost_after=3)
    assert tracker.state is State.WAITING
    assert tracker.begin(scene(0.4), growth) is not None, 'the pose was kept'
    assert tracker.state is State.SEARCHING, 'nothing is confirmed before a cloud confirms it'
    tracker.accept(known(), 'found')
    assert tracker.state is State.TRACKING


@pytest.mark.parametrize(
    ('doubt', 'state'),
    [
        (lambda tracker: tracker.silence('no cloud'), State.WAITING),
        (lambda tracker: tracker.expire('too old'), State.LOST),
        (lambda tracker: tracker.doubt_odometry('it jumped'), State.SEARCHING),
    ],
)
def test_a_pose_in_doubt_ends_tracking_and_stays_the_place_to_look_first(doubt, state):
    tracker = Tracker('map', reference=object())
    tracker.accept(known(), 'found')
    tracker.take_changes()
    doubt(tracker)
    doubt(tracker)
    assert states(tracker) == [('TRACKING', state.value)]
    assert tracker.begin(scene(0.1), PriorGrowth()) is not None


def test_odometry_in_doubt_no_longer_moves_the_prior():
    growth = PriorGrowth(linear_speed=2.0, min_translation=1e-3)
    tracker = Tracker('map', reference=object())
    tracker.accept(known(fixed=np.eye(4)), 'found')
    tracker.doubt_odometry('it jumped')
    prior = tracker.begin(scene(0.1, fixed=pose(translation=(50, 0, 0))), growth)
    np.testing.assert_allclose(prior.transform, np.eye(4))
    assert np.sqrt(prior.covariance[0, 0]) == pytest.approx(0.2, rel=0.01)


SURE = np.diag([0.002**2] * 3 + [0.004**2] * 3)


def rested(seconds, step=0.1, fixed=None, at=lambda t: np.eye(4)):
    """Tracker that was given a sure pose every ``step`` seconds; ``at(t)`` is where it was."""
    tracker = Tracker('part', reference=object())
    for number in range(round(seconds / step) + 1):
        t = number * step
        found = KnownPose(at(t), SURE, round((100 + t) * S), 'cam', fixed)
        tracker.accept(found, 'found')
    return tracker


def test_a_sensor_seen_to_rest_is_believed_to_rest_as_surely_as_it_was_seen():
    growth = PriorGrowth()
    prior = rested(1.2).begin(scene(1.3), growth)
    np.testing.assert_array_equal(prior.covariance, SURE)
    wide = rested(0.8).begin(scene(0.9), growth)
    assert np.sqrt(wide.covariance[0, 0]) > growth.min_translation


def test_a_creeping_sensor_does_not_rest():
    """Steps are smaller than the poses are sure; what counts is how far it came in all."""
    growth = PriorGrowth()
    tracker = rested(3.0, at=lambda t: pose(translation=(0.015 * t, 0, 0)))
    prior = tracker.begin(scene(3.1), growth)
    assert np.sqrt(prior.covariance[0, 0]) > growth.min_translation
    np.testing.assert_allclose(prior.transform, tracker.pose.transform)


def test_odometry_tells_of_motion_so_nothing_rests():
    growth = PriorGrowth()
    tracker = rested(3.0, fixed=np.eye(4))
    prior = tracker.begin(scene(3.1, fixed=np.eye(4)), growth)
    assert np.sqrt(prior.covariance[0, 0]) >= growth.min_translation


def test_one_bad_cloud_does_not_end_the_rest_and_two_do():
    growth = PriorGrowth()
    tracker = rested(2.0)
    tracker.fail('hidden', lost_after=5)
    np.testing.assert_array_equal(tracker.begin(scene(2.1), growth).covariance, SURE)
    tracker.fail('hidden', lost_after=5)
    assert tracker.begin(scene(2.2), growth).covariance[0, 0] > SURE[0, 0]


PAGE = Path(__file__).resolve().parent.parent / 'docs' / 'frames.md'


def what_happens(seed):
    """A random life: (before, after) of each change of state."""
    generator = np.random.default_rng(seed)
    growth = PriorGrowth()
    tracker, seconds = Tracker('map', reference=object()), 0.0
    events = {
        'cloud': lambda: tracker.begin(scene(seconds, fixed=np.eye(4)), growth),
        'accepted': lambda: tracker.accept(replace(known(fixed=np.eye(4)), stamp_ns=now()), ''),
        'rejected': lambda: tracker.fail('', 2),
        'no transform': lambda: tracker.block('', 2),
        'silence': lambda: tracker.silence(''),
        'expired': lambda: tracker.expire(''),
        'jump': lambda: tracker.doubt_odometry(''),
        'command': lambda: tracker.reset(''),
        'initial pose': lambda: tracker.start_from(known(accepted=False), ''),
    }

    def now():
        return scene(seconds).stamp_ns

    for _ in range(40):
        seconds += generator.choice([0.1, 0.1, 0.1, 60.0])
        event = generator.choice(list(events))
        if event in ('accepted', 'rejected'):
            events['cloud']()
        events[event]()
    return states(tracker)


def test_states_change_as_the_page_draws_them_and_in_no_other_way():
    drawn = re.findall(r'^ +(\w+) --> (\w+): ', PAGE.read_text(encoding='utf-8'), re.MULTILINE)
    seen = {change for seed in range(100) for change in what_happens(seed)}
    assert seen == {(before, after) for before, after in drawn if before != after}
