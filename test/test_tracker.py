"""How a prior grows, and the life of a reference."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import pose
from scipy.spatial.transform import Rotation
from test_decision import covariance_like

from dlc_ros.localization.declarations import PriorGrowth
from dlc_ros.localization.tracker import KnownPose, State, Tracker, predict

S = 10**9


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


@pytest.mark.parametrize('accepted', [True, False])
@pytest.mark.parametrize('not_looked_at', [Tracker.skip, Tracker.block])
def test_only_clouds_that_were_registered_use_a_pose_up(not_looked_at, accepted):
    growth = PriorGrowth()
    tracker = Tracker('map', reference=object())
    tracker.start_from(known(accepted=accepted), 'given')
    for attempt in range(3):
        for _ in range(9):
            not_looked_at(tracker, 'nothing to see', lost_after=3)
        assert tracker.begin(scene(0.1), growth) is not None
        assert tracker.state is State.SEARCHING
        tracker.fail('not there', lost_after=3)
        assert (tracker.pose is None) == (attempt == 2)


def test_clouds_that_cannot_be_looked_at_end_tracking_and_leave_the_pose():
    tracker = Tracker('map', reference=object())
    tracker.accept(known(), 'found')
    tracker.take_changes()
    tracker.fail('hidden', lost_after=3)
    tracker.skip('empty', lost_after=3)
    assert tracker.state is State.TRACKING
    tracker.skip('empty', lost_after=3)
    assert states(tracker) == [('TRACKING', 'LOST')]
    assert tracker.begin(scene(0.3), PriorGrowth()) is not None


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
        'unusable': lambda: tracker.skip('', 2),
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
