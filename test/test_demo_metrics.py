"""The demo's verdict on logs made by hand."""

import numpy as np
import pytest

pytest.importorskip('open3d', reason='open3d is not installed')

from dlc_ros.demo.metrics import Estimate, Frame, RunLog, evaluate, table  # noqa: E402
from dlc_ros.demo.scenario import View  # noqa: E402
from dlc_ros.registration.se3 import make_transform, matrix_from_rpy  # noqa: E402

SECOND = 1_000_000_000
LATENCY = SECOND // 20


def truth_at(t):
    return make_transform(matrix_from_rpy([0.1 * t, 0.3, -0.2]), [0.01 * t, 0.02, 0.5])


def frames(duration=20.0, blind=(8.0, 10.0), jumps=(10.0, 16.0, 18.0), rate=10.0):
    """200 clouds, blind and moved from 8 s to 10 s, moved with open eyes at 16 s and 18 s."""
    result = {}
    for index in range(int(duration * rate)):
        t = index / rate
        stamp = int(t * SECOND)
        view = View.COVER if blind[0] <= t < blind[1] else View.PART
        result[stamp] = Frame(stamp, view, sum(t >= jump for jump in jumps), truth_at(t))
    return result


def estimate(frame, rotation_deg=0.0, translation=0.0, latency=LATENCY):
    offset = make_transform(matrix_from_rpy([0, 0, np.radians(rotation_deg)]))
    matrix = frame.truth @ offset
    matrix[0, 3] += translation
    return Estimate(frame.stamp_ns, frame.stamp_ns + latency, matrix)


def perfect_log(keep=lambda frame: True, **error):
    log = RunLog(frames=frames())
    log.estimates = [
        estimate(frame, **error)
        for frame in log.frames.values()
        if frame.view is View.PART and keep(frame)
    ]
    log.processed = len(log.frames)
    return log


def test_perfect_run_passes():
    report = evaluate(perfect_log())
    assert report.passed and report.failures == ()
    assert report.success == 1.0
    assert (report.frames, report.blind, report.registered) == (200, 20, 180)
    assert report.rate == pytest.approx(10.0)
    assert (report.skipped, report.rejected, report.wrong) == (0, 20, 0)
    assert report.time_to_find == pytest.approx(0.05)
    assert report.time_to_recover == pytest.approx(0.05)
    assert report.latency_ms == pytest.approx((50.0, 50.0))
    assert (report.jumps, report.found_again) == (2, 2)
    assert report.time_after_jump == pytest.approx(0.05)


def test_errors_are_measured():
    report = evaluate(perfect_log(rotation_deg=2.0, translation=0.004))
    assert report.passed
    assert report.rotation_deg == pytest.approx((2.0, 2.0))
    assert report.translation_m == pytest.approx((0.004, 0.004))


@pytest.mark.parametrize(
    ('error', 'passes'),
    [
        ({'rotation_deg': 2.9}, True),
        ({'rotation_deg': 3.1}, False),
        ({'translation': 0.0099}, True),
        ({'translation': 0.0101}, False),
    ],
)
def test_limits_of_a_right_transform(error, passes):
    report = evaluate(perfect_log(**error))
    assert report.passed is passes
    assert report.wrong == (0 if passes else 180)


@pytest.mark.parametrize(('every', 'passes'), [(30, True), (10, False)])
def test_missing_transforms_count_against_the_visible_frames(every, passes):
    """A visible frame without a transform is a failure, whoever lost it."""
    log = perfect_log(keep=lambda frame: (frame.stamp_ns * 10 // SECOND) % every != 5)
    report = evaluate(log)
    assert report.passed is passes
    assert report.success == pytest.approx(1 - 1 / every, abs=0.01)


def without(begin, end):
    """A log without the transforms of the clouds from ``begin`` to ``end`` seconds."""
    return perfect_log(keep=lambda frame: not begin <= frame.stamp_ns / SECOND < end)


def test_clouds_during_the_search_count_against_the_visible_frames():
    report = evaluate(without(10.0, 10.5))
    assert report.time_to_recover == pytest.approx(0.55)
    assert (report.visible, report.success) == (180, pytest.approx(175 / 180))
    assert report.passed


def test_recovery_that_takes_too_long_fails_though_enough_frames_are_right():
    log = RunLog(frames=frames(duration=200.0))
    log.estimates = [
        estimate(frame)
        for frame in log.frames.values()
        if frame.view is View.PART and not 10.0 <= frame.stamp_ns / SECOND < 13.0
    ]
    report = evaluate(log)
    assert report.success > 0.95
    assert report.time_to_recover == pytest.approx(3.05)
    (failure,) = report.failures
    assert 'recover' in failure and '3.1 s' in failure


def test_first_transform_that_comes_too_late_fails():
    report = evaluate(without(0.0, 3.0))
    assert report.time_to_find == pytest.approx(3.05)
    assert any('find' in failure for failure in report.failures)


def test_jump_that_is_not_found_before_the_next():
    report = evaluate(without(16.0, 18.0))
    assert (report.jumps, report.found_again) == (2, 1)
    assert report.time_to_recover == pytest.approx(0.05)
    assert report.success == pytest.approx(160 / 180)


def test_run_that_was_never_blind_shows_no_recovery():
    log = RunLog(frames=frames(blind=(0.0, 0.0), jumps=()))
    log.estimates = [estimate(frame) for frame in log.frames.values()]
    report = evaluate(log)
    assert np.isinf(report.time_to_recover) and not report.passed


def test_wrong_transforms_do_not_end_the_recovery():
    log = perfect_log()
    log.estimates = [
        estimate(log.frames[e.stamp_ns], rotation_deg=170.0) if e.stamp_ns >= 10 * SECOND else e
        for e in log.estimates
    ]
    report = evaluate(log)
    assert np.isinf(report.time_to_recover)
    assert report.wrong == 100
    assert 'never' in ' '.join(report.failures)
    assert report.success == pytest.approx(80 / 180)


def test_transform_of_a_blind_cloud_fails_the_run():
    log = perfect_log()
    covered = next(frame for frame in log.frames.values() if frame.view is View.COVER)
    log.estimates.append(estimate(covered))
    report = evaluate(log)
    assert report.while_blind == 1
    assert not report.passed


def test_second_contradicting_transform_of_a_cloud_is_a_failure_of_that_cloud():
    log = perfect_log()
    log.estimates.append(estimate(log.frames[5 * SECOND], rotation_deg=20.0))
    report = evaluate(log)
    assert report.wrong == 1
    assert report.success < 1.0


def test_transform_with_a_stamp_of_no_cloud_is_wrong():
    log = perfect_log()
    log.estimates.append(Estimate(123, 456, np.eye(4)))
    assert evaluate(log).wrong == 1


def test_silence_fails_with_reasons_and_a_readable_table():
    log = perfect_log(keep=lambda frame: False)
    report = evaluate(log)
    assert len(report.failures) == 3
    assert report.success == 0.0
    assert np.isnan(report.rotation_deg).all()
    assert 'success' in table(report)


def test_clouds_the_node_never_looked_at_are_skipped():
    log = perfect_log()
    log.processed -= 7
    report = evaluate(log)
    assert (report.skipped, report.rejected) == (7, 13)
