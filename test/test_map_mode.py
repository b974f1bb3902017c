"""The localizer in a map: what is published, when, and what a rejection changes."""

import numpy as np
import pytest
from rig import (
    BASE_FROM_LIDAR,
    MAP_FROM_ODOM,
    REJECTED,
    Rig,
    at,
    odom_from_base,
    pose,
)

from dlc_ros.registration.result import Status


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path, {'mode': 'map', 'reference': 'map'})


def test_map_to_odom_puts_the_robot_where_it_is_at_every_scan(rig):
    """Oracle: the truth, composed without the project's own arithmetic."""
    for seconds in np.arange(0, 4, 0.25):
        output = rig.scan(seconds)
        *_, correction = output.transforms
        assert (correction.parent, correction.child) == ('map', 'odom')
        np.testing.assert_allclose(correction.matrix, MAP_FROM_ODOM, atol=1e-9)
        (estimate,) = output.poses
        assert (estimate.name, estimate.frame) == ('base_link', 'map')
        assert estimate.stamp_ns == at(seconds)
        truth = MAP_FROM_ODOM @ odom_from_base(seconds)
        np.testing.assert_allclose(estimate.matrix, truth, atol=1e-9)
    assert rig.state() == 'TRACKING'
    assert rig.status('pose of map').values['registered'] == '16'


def test_the_prior_is_the_last_pose_moved_by_the_odometry(rig):
    rig.scan(0.0)
    rig.scan(1.5)
    first, second = rig.calls
    assert first.init is None and first.init_covariance is None
    np.testing.assert_allclose(second.init, MAP_FROM_ODOM @ odom_from_base(1.5), atol=1e-9)
    assert np.linalg.eigvalsh(second.init_covariance)[0] > 0


def test_the_registrar_knows_where_the_cloud_was_seen_from(rig):
    rig.scan(0.0)
    np.testing.assert_allclose(rig.calls[0].viewpoint, BASE_FROM_LIDAR[:3, 3], atol=1e-9)


def test_clouds_of_another_frame_were_seen_from_that_of_the_sensor(tmp_path):
    """Such are merged and filtered ones, which come in the frame of the robot."""
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map', 'frames.sensor': 'mast'})
    base_from_mast = pose((0.3, -0.1, 0.2), (0.1, 0.0, 1.8))
    rig.tree.insert('base_link', 'mast', 0, base_from_mast, static=True)
    rig.scan(0.0)
    np.testing.assert_allclose(rig.calls[0].viewpoint, base_from_mast[:3, 3], atol=1e-9)


def test_transforms_are_dated_forward_and_dates_only_grow(rig):
    tolerance = rig.parameters.transform_tolerance
    *_, first = rig.scan(0.0).transforms
    assert first.stamp_ns == at(tolerance)
    (repeated,) = rig.localizer.on_timer(at(0.5)).transforms
    assert repeated.stamp_ns == at(0.5 + tolerance)
    # A scan that took long to register is older than what the timer has said since.
    (second,) = rig.scan(0.4).transforms
    assert second.stamp_ns > repeated.stamp_ns
    (third,) = rig.localizer.on_timer(at(0.6)).transforms
    assert third.stamp_ns > second.stamp_ns
    assert rig.localizer.on_timer(at(0.6)).transforms == ()


def test_the_last_accepted_transform_is_held_then_stops(rig):
    *_, accepted = rig.scan(0.0).transforms
    rig.registrar.verdicts.extend([REJECTED] * 20)
    for seconds in (0.5, 1.0, 1.5, 2.0):
        assert rig.scan(seconds - 0.01).transforms == ()
        (repeated,) = rig.localizer.on_timer(at(seconds)).transforms
        np.testing.assert_array_equal(repeated.matrix, accepted.matrix)
    assert rig.localizer.on_timer(at(2.01)).transforms == ()


def test_a_rejected_estimate_alters_nothing(rig):
    assert rig.localizer.on_timer(at(0)).transforms == ()
    rig.scan(0.0)
    wrong = {**REJECTED, 'transform': pose((0, 0, 3), (99, 0, 0))}
    rig.registrar.verdicts.append(wrong)
    output = rig.scan(0.2)
    assert (output.transforms, output.poses, output.aligned) == ((), (), ())
    (repeated,) = rig.localizer.on_timer(at(0.3)).transforms
    np.testing.assert_allclose(repeated.matrix, MAP_FROM_ODOM, atol=1e-9)
    rig.scan(0.4)
    np.testing.assert_allclose(rig.calls[-1].init, MAP_FROM_ODOM @ odom_from_base(0.4), atol=1e-9)


def test_lost_after_several_rejections_then_searched_globally(rig):
    rig.scan(0.0)
    lost_after = rig.parameters.tracking.lost_after
    rig.registrar.verdicts.extend([REJECTED] * lost_after)
    for i in range(1, lost_after + 1):
        output = rig.scan(0.1 * i)
    assert [change.after for change in output.changes] == ['LOST']
    assert all(call.init is not None for call in rig.calls[1:])
    assert rig.status('pose of map').level == 2
    output = rig.scan(2.0)
    assert rig.calls[-1].init is None
    assert [change.after for change in output.changes] == ['SEARCHING', 'TRACKING']
    np.testing.assert_allclose(output.transforms[0].matrix, MAP_FROM_ODOM, atol=1e-9)


def test_a_corridor_corrects_across_and_keeps_the_odometry_along(rig):
    rig.scan(0.0)
    truth = MAP_FROM_ODOM @ odom_from_base(0.2)
    slid = pose(translation=(0.7, 0.03, 0)) @ truth
    rig.registrar.verdicts.append(
        {'status': Status.DEGENERATE, 'transform': slid, 'free_directions': np.eye(6)[:, :1]}
    )
    (estimate,) = rig.scan(0.2).poses
    expected = pose(translation=(0, 0.03, 0)) @ truth
    np.testing.assert_allclose(estimate.matrix, expected, atol=1e-3)
    assert estimate.covariance[0, 0] > 3 * estimate.covariance[1, 1]


def test_of_what_competed_the_one_that_is_used_comes_first(rig):
    rig.scan(0.0)
    truth = MAP_FROM_ODOM @ odom_from_base(0.1)
    other = pose((0, 0, np.pi)) @ truth
    among = {'transform': other, 'alternatives': (truth,), 'candidates': (other, truth)}
    for prior_decides in (True, False):
        status = Status.AMBIGUOUS if prior_decides else Status.REJECTED
        rig.registrar.verdicts.append({'status': status, **among})
        output = rig.scan(0.1 if prior_decides else 0.2)
        first, *others = output.hypotheses[0].poses()
        np.testing.assert_allclose(first, truth if prior_decides else other, atol=1e-9)
        assert len(others) == 2
        assert [np.allclose(p.matrix, first) for p in output.poses] == [True] * prior_decides


def test_without_odometry_a_transform_only_on_request(tmp_path):
    settings = {'mode': 'map', 'reference': 'map', 'frames.odom': ''}
    silent = Rig(tmp_path, settings)
    output = silent.localizer.on_cloud(at(0), 'lidar', silent.lidar_points(0))
    assert output.transforms == ()
    np.testing.assert_allclose(output.poses[0].matrix, MAP_FROM_ODOM, atol=1e-9)

    asked = Rig(tmp_path, {**settings, 'publish_map_to_base': True})
    for seconds in (0, 1):
        output = asked.localizer.on_cloud(at(seconds), 'lidar', asked.lidar_points(0))
        (transform,) = output.transforms
        assert (transform.parent, transform.child) == ('map', 'base_link')
        np.testing.assert_allclose(transform.matrix, MAP_FROM_ODOM, atol=1e-9)
        # The tree hears the localizer's own transform; that is no other parent.
        asked.tree.insert('map', 'base_link', transform.stamp_ns, transform.matrix)
    assert asked.localizer.on_timer(at(1.1)).transforms == ()


@pytest.mark.parametrize('parent', ['odom', 'map'])
def test_a_second_parent_of_the_base_is_refused(tmp_path, parent):
    rig = Rig(
        tmp_path,
        {'mode': 'map', 'reference': 'map', 'frames.odom': '', 'publish_map_to_base': True},
    )
    rig.tree.insert(parent, 'base_link', at(0), np.eye(4))
    output = rig.localizer.on_cloud(at(0), 'lidar', rig.lidar_points(0))
    assert output.transforms == ()
    assert len(output.poses) == 1
    entry = rig.status('output')
    assert entry.level == 2
    assert f'already has the parent {parent}' in entry.message


def test_a_missing_sensor_transform_is_an_error_and_never_identity(tmp_path):
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map'}, with_lidar=False)
    output = rig.scan(0.0)
    assert (output.transforms, output.poses, rig.calls) == ((), (), [])
    assert rig.state() == 'WAITING'
    entry = rig.status('input')
    assert entry.level == 2
    assert "nobody publishes the frame 'lidar'" in entry.message
    rig.add_lidar()
    *_, correction = rig.scan(0.1).transforms
    np.testing.assert_allclose(correction.matrix, MAP_FROM_ODOM, atol=1e-9)
    assert rig.status('input').level == 0


def test_odometry_that_ends_before_the_scan_is_not_extrapolated(rig):
    rig.scan(0.0)
    assert rig.localizer.on_cloud(at(0.2), 'lidar', rig.lidar_points(0.2)).transforms == ()
    assert 'odom <- base_link' in rig.status('input').message
    assert rig.state() == 'TRACKING'
    assert rig.scan(0.3).transforms
    assert rig.calls[-1].init is not None


def test_the_aligned_cloud_lies_on_the_map(rig):
    (aligned,) = rig.scan(0.0).aligned
    assert aligned.frame == 'map'
    np.testing.assert_allclose(aligned.points(), rig.cloud, atol=1e-5)


def test_a_filter_may_publish_the_transform_from_the_poses(tmp_path):
    """An EKF takes the poses in and publishes map -> odom: nobody else may."""
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map', 'publish_tf': False})
    for i in range(3):
        output = rig.scan(0.1 * i)
        assert output.transforms == ()
        robot = MAP_FROM_ODOM @ odom_from_base(0.1 * i)
        np.testing.assert_allclose(output.poses[0].matrix, robot, atol=1e-9)
        assert rig.localizer.on_timer(at(0.1 * i + 0.05)).transforms == ()
    rig.localizer.on_transform('map', 'odom', at(0.3), names=lambda: ['/ekf'])
    assert rig.status('output').level == 0, 'it is the one that should'
