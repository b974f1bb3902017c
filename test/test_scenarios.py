"""What happens to a robot: carried off, blinded, misled. Each change of state is said once."""

import numpy as np
import pytest
from rig import (
    BASE_FROM_LIDAR,
    MAP_FROM_ODOM,
    REJECTED,
    Rig,
    apply,
    at,
    odom_from_base,
    pose,
)
from test_localizer import angle_between, room

from dlc_ros.localization.localizer import Localizer
from dlc_ros.localization.parameters import Parameters, from_flat
from dlc_ros.localization.transforms import TransformTree


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path, {'mode': 'map', 'reference': 'map'})


def said(rig):
    """Changes of state, as they were logged."""
    return [text.split(': ')[1] for text in rig.messages if ' -> ' in text]


class Clock:
    """Turns the localizer's timer at 20 Hz, as a node does."""

    def __init__(self, rig, seconds=0.0):
        self._rig, self._now = rig, seconds

    def until(self, seconds):
        """Transforms that were repeated meanwhile."""
        repeated = []
        while self._now < seconds:
            self._now += 0.05
            output = self._rig.localizer.on_timer(at(self._now))
            repeated += output.transforms
        return repeated


# The sensor


def test_a_sensor_that_falls_silent_and_comes_back(rig):
    clock = Clock(rig)
    rig.scan(0.0)
    repeated = clock.until(5.0)
    assert repeated[-1].stamp_ns <= at(2.0 + rig.parameters.transform_tolerance)
    assert rig.state(seconds=5.0) == 'WAITING'
    assert 'no cloud for 2 s' in rig.status('pose of map', 5.0).message
    assert rig.status('input', 5.0).level == 2
    assert rig.scan(5.1).transforms
    assert rig.calls[-1].init is not None, 'the odometry tells where to look first'
    assert said(rig) == [
        'WAITING -> SEARCHING',
        'SEARCHING -> TRACKING',
        'TRACKING -> WAITING',
        'WAITING -> SEARCHING',
        'SEARCHING -> TRACKING',
    ]


def test_a_wrong_topic_is_said_once_and_silence_after_clouds_again(rig):
    def told():
        return sum('no cloud on points for 2 s: is topics.points' in m for m in rig.messages)

    rig.localizer.diagnostics(at(-20))
    rig.localizer.diagnostics(at(-15))
    assert told() == 0, 'a node that is not active takes no clouds'
    rig.localizer.on_activated(at(-10))
    clock = Clock(rig, -10.0)
    clock.until(-8.1)
    assert told() == 0, 'none could come before'
    clock.until(-7.9)
    assert told() == 1
    clock.until(-1.0)
    assert told() == 1
    rig.scan(0.0)
    clock.until(1.5)
    assert told() == 1
    clock.until(9.0)
    assert told() == 2


def test_clouds_that_are_refused_are_no_silence(tmp_path):
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map', 'frames.cloud': 'lidar'})
    clock = Clock(rig)
    for i in range(50):
        output = rig.scan(0.1 * i, frame='rear_lidar')
        rig.localizer.on_published(output, at(0.1 * i))
        clock.until(0.1 * i)
    assert sum("in the frame 'rear_lidar'" in text for text in rig.messages) == 1
    assert not [text for text in rig.messages if 'no cloud on' in text]
    assert rig.state(seconds=5.0) == 'WAITING'


def test_a_search_that_finds_nothing_says_why_once(rig):
    def told():
        return sum('not found in 5 clouds, searching on: too few in' in m for m in rig.messages)

    rig.registrar.verdicts.extend([REJECTED] * 12)
    for i in range(12):
        rig.scan(0.1 * i)
        assert told() == (i >= 4)
    assert rig.scan(2.0).transforms
    rig.registrar.verdicts.extend([REJECTED] * 9)
    for i in range(9):
        rig.scan(3.0 + 0.1 * i)
    assert told() == 1, 'that it was lost has been said'
    rig.registrar.verdicts.append(REJECTED)
    rig.scan(4.0)
    assert told() == 2


def test_a_start_without_odometry_does_not_use_a_given_pose_up(rig):
    """The sensor is up before the odometry; then somebody stands in its way."""
    for i in range(10):
        rig.localizer.on_cloud(at(0.1 * i), 'lidar', rig.lidar_points(0.1 * i))
    rig.tree.insert('odom', 'base_link', at(1.0), odom_from_base(1.0))
    guess = MAP_FROM_ODOM @ odom_from_base(1.0)
    assert rig.localizer.on_initial_pose(0, 'map', guess, np.zeros((6, 6))).accepted
    for i in range(10, 20):
        rig.localizer.on_cloud(at(0.1 * i + 0.05), 'lidar', rig.lidar_points(0.1 * i))
    rig.registrar.verdicts.append(REJECTED)
    rig.scan(2.1)
    assert rig.scan(2.2).transforms
    assert [call.init is None for call in rig.calls] == [False, False]
    assert not [text for text in rig.messages if 'not found near' in text]


@pytest.mark.parametrize('gap', ['no odometry', 'empty'])
def test_a_gap_in_what_can_be_used_does_not_send_the_robot_searching_everywhere(rig, gap):
    rig.scan(0.0)
    for i in range(1, 6):
        points = rig.lidar_points(0.1 * i)
        if gap == 'empty':
            rig.tree.insert('odom', 'base_link', at(0.1 * i), odom_from_base(0.1 * i))
            points = points[:0]
        rig.localizer.on_cloud(at(0.1 * i), 'lidar', points)
    assert rig.state() == ('LOST' if gap == 'empty' else 'WAITING')
    assert rig.localizer.on_timer(at(0.55)).transforms == ()
    rig.registrar.verdicts.append(REJECTED)
    rig.scan(0.6)
    assert rig.scan(0.7).transforms
    assert rig.calls[-1].init is not None


def test_a_pose_that_no_cloud_confirms_in_time_is_lost_but_where_to_look_first(tmp_path):
    """Two clouds a second are too slow to be rejected five times within the hold."""
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map', 'hold_timeout': 1.2})
    clock = Clock(rig)
    rig.scan(0.0)
    rig.registrar.verdicts.extend([REJECTED] * 3)
    for seconds in (0.5, 1.0, 1.5):
        clock.until(seconds)
        rig.scan(seconds)
    assert clock.until(1.9) == []
    assert said(rig)[-2:] == ['TRACKING -> LOST', 'LOST -> SEARCHING']
    assert rig.scan(2.0).transforms
    assert rig.calls[-1].init is not None
    assert rig.state(seconds=2.0) == 'TRACKING'


# The odometry


def test_odometry_that_jumps_stops_what_is_published_until_a_cloud_confirms(rig):
    """After a reset of its odometry the robot's old map -> odom puts it somewhere else."""
    rig.scan(0.0)
    rig.scan(0.1)
    reset = np.linalg.inv(odom_from_base(0.2))  # the odometry starts at zero again
    rig.tree.clear()
    rig.tree.insert('odom', 'base_link', at(0.2), reset @ odom_from_base(0.2) @ pose((0, 0, 2.5)))
    rig.registrar.verdicts.append(REJECTED)
    rig.localizer.on_cloud(at(0.2), 'lidar', rig.lidar_points(0.2))
    assert rig.localizer.on_timer(at(0.25)).transforms == ()
    entry = rig.status('input', 0.25)
    assert (entry.level, entry.values['odometry jumps']) == (1, '1')
    assert 'the odometry jumped by' in entry.message
    assert said(rig)[-1] == 'TRACKING -> SEARCHING'
    # It is looked for where it was last, whatever the odometry says.
    expected = MAP_FROM_ODOM @ odom_from_base(0.1)
    np.testing.assert_allclose(rig.calls[-1].init, expected, atol=1e-9)

    rig.tree.insert('odom', 'base_link', at(0.3), pose((0, 0, 2.5)))
    *_, correction = rig.localizer.on_cloud(at(0.3), 'lidar', rig.lidar_points(0.3)).transforms
    truth = MAP_FROM_ODOM @ odom_from_base(0.3)
    np.testing.assert_allclose(correction.matrix @ pose((0, 0, 2.5)), truth, atol=1e-9)
    assert rig.status('input', 0.3).level == 0


def test_fast_motion_is_no_jump(rig):
    for i in range(5):
        seconds = 0.1 * i
        rig.tree.insert('odom', 'base_link', at(seconds), pose((0, 0, 0.9 * i), (1.9 * i, 0, 0)))
        rig.localizer.on_cloud(at(seconds), 'lidar', rig.lidar_points(0))
    assert rig.status('input', 0.4).values['odometry jumps'] == '0'


# Time and the map


def test_a_bag_that_loops_starts_afresh_each_time(tmp_path):
    """Stamps go back and nobody tells: what is known of the old time is forgotten everywhere."""
    restarts = []
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map'})
    rig.localizer = Localizer(
        rig.parameters,
        rig.tree.lookup,
        on_restart=lambda: (restarts.append(1), rig.tree.clear()),
        registrar_factory=rig._make,
    )
    for loop in range(3):
        accepted = 0
        for seconds in np.arange(0, 30, 0.5):
            output = rig.scan(seconds)
            accepted += len(output.poses)
            for transform in output.transforms:
                np.testing.assert_allclose(transform.matrix, MAP_FROM_ODOM, atol=1e-9)
        assert accepted >= 59, 'at most the cloud that shows the jump has no odometry'
        assert len(restarts) == loop


def test_a_reference_swapped_at_run_time_is_searched_anew(rig, tmp_path):
    rig.scan(0.0)
    moved = pose((0, 0, 1), (3, 3, 0))
    np.save(tmp_path / 'floor2.npy', apply(moved, rig.cloud))
    assert rig.localizer.load_reference(str(tmp_path / 'floor2.npy')).accepted
    assert rig.localizer.on_timer(at(0.05)).transforms == (), 'the old map says nothing here'
    *_, correction = rig.scan(0.1).transforms
    np.testing.assert_allclose(correction.matrix, moved @ MAP_FROM_ODOM, atol=1e-9)
    assert said(rig)[-2:] == ['TRACKING -> SEARCHING', 'SEARCHING -> TRACKING']
    assert rig.status('model of map', 0.1).values['reference'].endswith('floor2.npy')


def test_every_change_of_state_stands_in_the_diagnostics(rig):
    rig.scan(0.0)
    rig.localizer.relocalize()
    values = rig.status('pose of map').values
    assert values['last transition'] == 'TRACKING -> SEARCHING: asked to relocalise'
    assert values['transitions'] == '3'
    rig.scan(0.1)
    assert rig.status('pose of map', 0.1).values['transitions'] == '4'
    assert len(said(rig)) == 4


# A room, the real registrar, the weights of the package


class Robot:
    """A robot in a room that is a half turn from looking the same, but for a pillar."""

    def __init__(self, tmp_path, **parameters):
        self._generator = np.random.default_rng(0)
        np.save(tmp_path / 'room.npy', room(self._generator, 12_000))
        self.tree = TransformTree()
        self.tree.insert('base_link', 'lidar', 0, BASE_FROM_LIDAR, static=True)
        flat = {'mode': 'map', 'reference': str(tmp_path / 'room.npy'), **parameters}
        self.localizer = Localizer(from_flat(flat), self.tree.lookup)
        self.changes = []
        self._now = 0.0

    def stand(self, place, scans):
        """Scan from one place with resting odometry; the outputs."""
        outputs = []
        for _ in range(scans):
            self._now += 0.1
            self.tree.insert('odom', 'base_link', at(self._now), np.eye(4))
            scan = apply(np.linalg.inv(place @ BASE_FROM_LIDAR), room(self._generator, 5_000))
            outputs.append(self.localizer.on_cloud(at(self._now), 'lidar', scan))
            self.changes += [(c.before, c.after) for c in outputs[-1].changes]
            for found in outputs[-1].poses:
                assert np.linalg.norm(found.matrix[:3, 3] - place[:3, 3]) < 0.05
                assert angle_between(found.matrix, place) < np.radians(1.0)
        return outputs


FIRST = pose((0, 0, 0.4), (4.0, 2.0, 0.5))
SECOND = pose((0, 0, 2.5), (6.0, 3.5, 0.5))
# What a robot here sees fits a half turn away almost as well, which is nearer to SECOND.
THIRD = pose((0, 0, -1.2), (1.0, 4.0, 0.5))


def test_a_robot_that_is_carried_off_says_so_and_finds_itself(tmp_path):
    robot = Robot(tmp_path)
    lost_after = Parameters().tracking.lost_after
    assert robot.stand(FIRST, 2)[0].transforms
    for place in (SECOND, THIRD):
        robot.changes.clear()
        outputs = robot.stand(place, lost_after + 2)
        assert [bool(output.transforms) for output in outputs] == [False] * lost_after + [True] * 2
        assert robot.changes == [
            ('TRACKING', 'LOST'),
            ('LOST', 'SEARCHING'),
            ('SEARCHING', 'TRACKING'),
        ]


def test_an_initial_pose_in_the_wrong_place_is_given_up_for_a_global_search(tmp_path):
    robot = Robot(tmp_path)
    robot.tree.insert('odom', 'base_link', at(0), np.eye(4))
    wrong = pose((0, 0, -0.5), (1.5, 4.0, 0.5))
    assert robot.localizer.on_initial_pose(at(0), 'map', wrong, np.zeros((6, 6))).accepted
    outputs = robot.stand(FIRST, 6)
    assert [bool(output.transforms) for output in outputs] == [False] * 5 + [True]
    assert robot.changes == [('WAITING', 'SEARCHING'), ('SEARCHING', 'TRACKING')]
