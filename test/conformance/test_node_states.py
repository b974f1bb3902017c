"""Both nodes: what clouds that are rejected, bad or too many change, and what is said of them."""

import time

import numpy as np
import pytest
from adapters import both
from rigs import SECOND, SETTLE, convert
from wire import wait_for

from dlc_ros.registration.result import Status


@pytest.mark.parametrize(
    'verdict',
    [
        {'status': Status.REJECTED, 'reason': 'too few inliers'},
        {'status': Status.AMBIGUOUS, 'reason': 'two places fit'},
        {'status': Status.DEGENERATE, 'reason': 'free along x'},
        {'confidence': 0.1, 'transform': np.full((4, 4), np.nan), 'reason': 'no finite'},
        RuntimeError('a library failed'),
    ],
    ids=['rejected', 'ambiguous', 'degenerate', 'not finite', 'exception'],
)
@both('an estimate that is not accepted changes no transform; the next good scan does')
def test_what_is_not_accepted_changes_nothing(robot_in_map, verdict):
    rig = robot_in_map
    rig.registrars.script.append(verdict)
    before = rig.count('input', 'clouds in')
    rig.scan()
    rig.counted('input', 'clouds in', before + 1)
    words = str(verdict) if isinstance(verdict, Exception) else verdict['reason']
    assert wait_for(lambda: words in str(rig.robot.status('pose of map'))), rig.robot.reports[-1]
    assert not rig.dates()
    assert rig.state('pose of map') == 'SEARCHING'
    rig.advance(0.1)
    rig.scan()
    rig.localised()


@both('SEARCHING, TRACKING, LOST and found again, each shown with its level')
def test_states_and_their_levels(robot_in_map):
    rig = robot_in_map
    rig.is_in('pose of map', 'WAITING')  # time has passed without a cloud
    assert rig.robot.status('pose of map')[0] == 2
    rig.registrars.script.append({'status': Status.REJECTED, 'reason': 'blinded'})
    rig.scan()
    rig.is_in('pose of map', 'SEARCHING')
    assert rig.robot.status('pose of map')[0] == 1
    rig.advance(0.1)
    rig.scan()
    rig.localised()
    rig.is_in('pose of map', 'TRACKING')
    assert rig.robot.status('pose of map')[0] == 0
    for i in range(5):
        rig.registrars.script.append({'status': Status.REJECTED, 'reason': 'blinded'})
        rig.advance(0.1)
        rig.scan()
        key = 'without a pose in a row'
        rig.counted('pose of map', key, i + 1 if i < 4 else 0)
    rig.is_in('pose of map', 'LOST')
    assert rig.robot.status('pose of map')[0] == 2
    rig.advance(0.1)
    rig.scan()
    rig.localised()
    rig.is_in('pose of map', 'TRACKING')


@both('a clock that goes back: poses are forgotten, the next scan is used')
def test_clock_that_goes_back(robot_in_map):
    rig = robot_in_map
    rig.scan()
    rig.localised()
    jumps = rig.count('input', 'time jumps')
    rig.advance(-3600.0)
    rig.counted('input', 'time jumps', jumps + 1)
    rig.is_in('pose of map', 'SEARCHING')
    rig.scan()
    rig.localised()
    rig.advance(7200.0)  # later than what other tests have seen


@both('a clock that goes back while clouds wait: none of the old time gives a pose')
def test_clouds_of_the_time_before_a_jump(robot_in_map):
    rig, old = robot_in_map, []

    def scan_on():
        rig.advance(0.2)
        rig.scan()
        old.append(rig.now_ns)

    received = rig.count('input', 'clouds in')
    skipped = rig.count('input', 'skipped (a newer one came)')
    rig.registrars.hold()
    try:
        scan_on()
        rig.counted('input', 'clouds in', received + 1)  # it is being registered
        key = 'skipped (a newer one came)'
        assert wait_for(lambda: scan_on() or rig.count('input', key) > skipped)
        time.sleep(SETTLE)  # the last of them waits
        skipped = rig.count('input', key)
        rig.advance(-3600.0)
        rig.counted('input', key, skipped + 1)
    finally:
        rig.registrars.go_on()
    rig.scan()
    rig.localised()
    stamps = {convert.ns_from_stamp(heard.header.stamp) for heard in rig.robot.poses}
    assert not stamps.intersection(old)
    assert all(date < old[0] for date in rig.dates())
    rig.advance(7200.0)  # later than what other tests have seen


BAD_CLOUDS = {
    'empty': ({'points': np.zeros((0, 3))}, 'empty'),
    'all NaN': ({'points': np.full((60, 3), np.nan)}, '0 finite points'),
    'no fields': ({'fields': []}, "no field 'x'"),
    'cut off': ({'data': np.zeros(7, np.uint8)}, 'has 7 bytes'),
    'no frame': ({'frame': ''}, 'names no frame'),
}


@pytest.mark.parametrize('kind', BAD_CLOUDS)
@both('a bad cloud is named, changes no transform, and the next good one is used')
def test_bad_cloud(robot_in_map, kind):
    rig = robot_in_map
    changes, words = BAD_CLOUDS[kind]
    rig.scan(**changes)
    rig.reported('input', words)
    assert not rig.dates()
    rig.advance(0.1)
    rig.scan()
    rig.localised()
    assert rig.reported('input', 'clouds arrive') == 0


@both('a cloud that is older than the last is dropped with a warning')
def test_late_cloud(robot_in_map):
    rig = robot_in_map
    rig.scan()
    rig.localised()
    rig.scan(stamp_ns=rig.now_ns - SECOND // 10)
    assert rig.reported('input', '0.100 s behind the last one') == 1
    assert rig.state('pose of map') == 'TRACKING'


@both('clouds that come faster than they are registered: the newest is used, the rest counted')
def test_newest_cloud_is_used(robot_in_map):
    rig = robot_in_map
    rig.scan()
    rig.localised()
    skipped = rig.count('input', 'skipped (a newer one came)')
    received = rig.count('input', 'clouds in')
    rig.registrars.hold()
    rig.advance(0.2)
    rig.scan()
    rig.counted('input', 'clouds in', received + 1)
    sent = 0

    def overtaken():
        """One more cloud, while the first is registered; the middleware keeps the newest, too."""
        nonlocal sent
        sent += 1
        rig.advance(0.2)
        rig.scan()
        return wait_for(lambda: rig.count('input', 'skipped (a newer one came)') > skipped, 0.5)

    assert wait_for(overtaken)
    rig.registrars.go_on()
    rig.localised()  # by the newest
    rig.advance(0.2)
    # The last may have come just after the first was done: then the one before was used as well.
    assert rig.count('input', 'clouds in') - received <= 3
    counted = rig.count('input', 'clouds in') + rig.count('input', 'skipped (a newer one came)')
    # The cloud before all these may not have been in the diagnostics when counting began.
    assert counted - received - skipped <= 1 + sent + 1


@both('a report that fails is logged, and the node goes on')
def test_a_report_that_fails_ends_nothing(robot_in_map, monkeypatch):
    rig, failed = robot_in_map, []

    def fail():
        failed.append(True)
        raise RuntimeError('the device is gone')

    monkeypatch.setattr('dlc_ros.localization.diagnostics.process_memory_mib', fail)
    assert wait_for(lambda: len(failed) > 3)
    monkeypatch.undo()
    rig.advance(0.1)
    rig.scan()
    rig.localised()
