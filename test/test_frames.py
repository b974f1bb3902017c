"""The contract of docs/frames.md: what a consumer of the transforms sees, at every moment."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rig import MAP_FROM_ODOM, REJECTED, Rig, at, odom_from_base, pose

from dlc_ros.errors import TransformUnavailable
from dlc_ros.localization.parameters import from_flat
from dlc_ros.localization.transforms import TransformTree

TICK = 0.01


class World:
    """
    A robot with a 10 Hz LiDAR, 50 Hz odometry and a consumer of its transforms, in steps of 10 ms.

    A scan is heard 20 ms after its stamp and registered ``latency`` after it. As a node does, its
    output is published, then what the timer says; the timer turns at ``publish_rate`` besides.

    :param rig: the localizer, its own tree fed by the odometry.
    :param latency: of a registered scan, stamp to output [s].
    """

    def __init__(self, rig, latency):
        self.rig, self.latency = rig, latency
        self.consumer = TransformTree()
        self.now = 0.0
        self.dates = []  # of what was published: (when, date), seconds
        self._step = 0
        self.map_from_odom = MAP_FROM_ODOM
        # What the consumer saw, by the state that the localizer was in.
        self.seen = Counter()
        self.failed = Counter()

    def run(self, seconds, scans=True):
        for _ in range(round(seconds / TICK)):
            self._step += 1
            self.now = self._step * TICK
            if self._step % 2 == 0:
                self._odometry()
            if scans and (self._step - round(self.latency / TICK)) % 10 == 0:
                self._scan()
            if self._step % 5 == 0:
                self._hear(self.rig.localizer.on_timer(at(self.now)))
            if self._step % 2 == 0:
                self._consume()

    def _odometry(self):
        for tree in (self.rig.tree, self.consumer):
            tree.insert('odom', 'base_link', at(self.now), odom_from_base(self.now))

    def _scan(self):
        stamp = self.now - self.latency
        if stamp < 0.02:
            return
        points = self.rig.lidar_points(stamp)
        output = self.rig.localizer.on_cloud(
            at(stamp), 'lidar', points, arrival_ns=at(stamp + 0.02)
        )
        self._hear(output)
        if output.transforms:
            self._hear(self.rig.localizer.on_timer(at(self.now)))

    def _hear(self, output):
        for sent in output.transforms:
            assert self.consumer.insert(sent.parent, sent.child, sent.stamp_ns, sent.matrix)
            self.dates.append((self.now, (sent.stamp_ns - at(0)) * 1e-9))

    def _consume(self):
        """Where am I now? As a costmap or a controller asks, at 50 Hz."""
        state = self.rig.state(seconds=self.now)
        try:
            found = self.consumer.lookup('map', 'base_link', at(self.now))
        except TransformUnavailable:
            self.failed[state] += 1
            return
        self.seen[state] += 1
        truth = self.map_from_odom @ odom_from_base(self.now)
        np.testing.assert_allclose(found, truth, atol=1e-6)


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path, {'mode': 'map', 'reference': 'map', 'lookup_timeout': 0.0})


@pytest.mark.parametrize('latency', [0.03, 0.08, 0.25])
def test_a_consumer_at_50_hz_sees_no_gap_while_tracking(rig, latency):
    world = World(rig, latency)
    world.run(10.0)
    assert world.failed['TRACKING'] == 0
    assert world.seen['TRACKING'] > 475


def test_some_rejected_scans_leave_no_gap(rig):
    world = World(rig, 0.08)
    world.run(1.0)
    for _ in range(10):
        rig.registrar.verdicts.extend([REJECTED] * 4 + [{}])
        world.run(0.5)
    assert (world.failed['TRACKING'], world.seen['LOST'], world.seen['SEARCHING']) == (0, 0, 0)


def test_after_it_was_lost_a_consumer_sees_a_stop_and_then_the_truth_again(rig):
    world = World(rig, 0.08)
    world.run(2.0)
    rig.registrar.verdicts.extend([REJECTED] * 30)
    world.run(3.2)
    known = round((world.seen['LOST'] + world.seen['SEARCHING']) * 0.02, 3)
    assert known <= rig.parameters.transform_tolerance, 'no longer than dated ahead'
    assert world.failed['SEARCHING'] > 100
    before = world.seen['TRACKING']
    world.run(2.0)
    assert world.failed['TRACKING'] == 0
    assert world.seen['TRACKING'] >= before + 90


def test_a_blind_sensor_is_bridged_by_the_odometry_for_hold_timeout_then_it_stops(rig):
    world = World(rig, 0.08)
    world.run(2.0)
    scans_until = 2.0 - 0.08
    world.run(5.0, scans=False)
    tolerance, hold = rig.parameters.transform_tolerance, rig.parameters.hold_timeout
    assert world.failed['TRACKING'] == 0
    last_date = world.dates[-1][1]
    assert scans_until + hold - 0.15 < last_date <= scans_until + hold + tolerance
    assert rig.state(seconds=world.now) == 'WAITING'


def test_dates_run_ahead_by_the_tolerance_and_never_back(rig):
    world = World(rig, 0.08)
    world.run(3.0)
    published, dates = np.array(world.dates).T
    assert (np.diff(dates) > 0).all()
    ahead = dates - published
    assert ahead[0] == pytest.approx(-0.08), 'the first one holds from the scan on'
    assert ahead[1:].min() > 0.0
    assert ahead.max() <= rig.parameters.transform_tolerance + 1e-6


# Where the odometry is looked up


def test_the_odometry_is_that_of_the_scans_stamp_not_of_now(rig):
    """Between the stamp and the answer the robot moved by 0.25 m and turned."""
    for seconds in (1.0, 1.5):
        rig.tree.insert('odom', 'base_link', at(seconds), odom_from_base(seconds))
    *_, correction = rig.localizer.on_cloud(at(1.0), 'lidar', rig.lidar_points(1.0)).transforms
    np.testing.assert_allclose(correction.matrix, MAP_FROM_ODOM, atol=1e-9)


def test_between_two_stamps_it_is_interpolated(rig):
    for seconds in (1.0, 1.02):
        rig.tree.insert('odom', 'base_link', at(seconds), odom_from_base(seconds))
    points = rig.lidar_points(1.01)
    *_, correction = rig.localizer.on_cloud(at(1.01), 'lidar', points).transforms
    np.testing.assert_allclose(correction.matrix, MAP_FROM_ODOM, atol=1e-4)


def test_map_to_base_is_dated_ahead_and_never_repeated(tmp_path):
    rig = Rig(
        tmp_path,
        {'mode': 'map', 'reference': 'map', 'frames.odom': '', 'publish_map_to_base': True},
    )
    (sent,) = rig.localizer.on_cloud(at(0), 'lidar', rig.lidar_points(0)).transforms
    assert (sent.parent, sent.child) == ('map', 'base_link')
    assert sent.stamp_ns == at(rig.parameters.transform_tolerance)
    assert rig.localizer.on_timer(at(0.05)).transforms == ()


def test_frames_have_the_names_that_are_configured(tmp_path):
    names = {'frames.map': 'site', 'frames.odom': '/wheel_odom', 'frames.base': 'chassis'}
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map', **names}, with_lidar=False)
    rig.tree.insert('chassis', 'lidar', 0, np.eye(4), static=True)
    rig.tree.insert('wheel_odom', 'chassis', at(0), pose((0, 0, 0.1), (1, 0, 0)))
    output = rig.localizer.on_cloud(at(0), 'lidar', rig.cloud)
    assert (output.transforms[0].parent, output.transforms[0].child) == ('site', 'wheel_odom')
    assert (output.poses[0].frame, output.poses[0].name) == ('site', 'chassis')
    assert from_flat(names).frames.odom == 'wheel_odom'


def test_the_page_names_tests_that_exist():
    folder = Path(__file__).resolve().parent
    page = (folder.parent / 'docs' / 'frames.md').read_text(encoding='utf-8')
    file, named = None, 0
    for token in re.findall(r'`((?:\.\.\.|[\w/]*test_)[\w.]*)`', page):
        if token.endswith('.py'):
            file = (folder / token).read_text(encoding='utf-8')
            continue
        pattern = re.escape(token).replace(r'\.\.\.', '.*')
        assert any(re.fullmatch(pattern, name) for name in re.findall(r'def (test_\w+)', file)), (
            token
        )
        named += 1
    assert named > 30
