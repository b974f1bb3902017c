"""What counts as silence, by the node's clock, and what a robot does until clouds come again."""

import pytest
from rig import Rig, at, object_rig, seen
from test_scenarios import Clock


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path, {'mode': 'map', 'reference': 'map'})


def test_a_long_silence_is_bridged_as_long_as_asked_for_and_warned_of(tmp_path):
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map', 'hold_timeout': 10.0})
    clock = Clock(rig)
    rig.scan(0.0, arrival_ns=at(0.05))
    assert clock.until(9.9)[-1].stamp_ns > at(9.9)
    assert (rig.state(seconds=9.9), rig.status('input', 9.9).level) == ('TRACKING', 2)
    assert sum('no cloud on points for 2 s' in text for text in rig.messages) == 1
    repeated = clock.until(13.0)
    assert repeated[-1].stamp_ns <= at(10.0 + rig.parameters.transform_tolerance)
    assert rig.state(seconds=13.0) == 'WAITING'
    assert rig.scan(13.1).transforms
    assert rig.calls[-1].init is not None


def test_a_clock_that_is_behind_the_stamps_does_not_bridge_a_silence_for_ever(rig):
    rig.scan(100.0, arrival_ns=at(0.0))
    Clock(rig).until(1.9)
    assert rig.state(seconds=1.9) == 'TRACKING'
    Clock(rig, 1.9).until(2.2)
    assert rig.state(seconds=2.2) == 'WAITING'


def test_the_topic_is_named_as_the_graph_names_it(tmp_path):
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map', 'topics.points': 'scan'})
    rig.localizer.on_activated(at(0.0), '/robot1/velodyne')
    assert rig.messages[-1] == 'map mode: waiting for clouds on /robot1/velodyne'
    Clock(rig).until(2.2)
    assert sum('no cloud on /robot1/velodyne for 2 s' in text for text in rig.messages) == 1


def test_the_start_of_a_simulated_clock_is_no_silence(rig):
    """It stands at 0, then leaps to the time of the recording."""
    rig.localizer.on_activated(0)
    rig.localizer.on_timer(0)
    clock = Clock(rig)
    clock.until(1.9)
    assert rig.status('pose of map', 1.9).message == 'WAITING: no cloud yet'
    clock.until(2.2)
    assert 'no cloud for 2 s' in rig.status('pose of map', 2.2).message


def test_a_node_that_was_deactivated_does_not_miss_clouds(rig):
    rig.scan(0.0)
    rig.localizer.on_deactivated()
    assert rig.status('input', 6.0).level == 0
    assert 'the node is not active' in rig.status('pose of map', 6.0).message
    rig.localizer.on_activated(at(7.0))
    assert rig.localizer.on_timer(at(7.1)).transforms == ()
    assert not [text for text in rig.messages if 'no cloud on' in text]
    assert len(rig.scan(8.0).transforms) == 2, 'the first after a stop, dated as the scan too'
    assert rig.calls[-1].init is not None


@pytest.mark.parametrize('notices', ['timer', 'publisher'])
def test_a_cloud_that_takes_long_by_the_nodes_clock_is_no_silence(tmp_path, notices):
    """Simulated time runs faster than the wall's: what counts is the time that was simulated."""
    rig = object_rig(tmp_path)

    if notices == 'timer':
        rig.registrar.before_answer = lambda: rig.localizer.on_timer(at(3.0))
    output = seen(rig, 0.0, arrival_ns=at(0.0))
    if notices == 'publisher':
        rig.localizer.on_published(output, at(3.0))
    assert rig.localizer.on_timer(at(3.1)).changes == ()
    assert rig.state('mug', 4.9) == 'TRACKING'
    assert rig.state('mug', 5.1) == 'WAITING', 'it counts from when the cloud was done'


def test_a_paused_clock_is_no_silence(rig):
    rig.scan(0.0)
    for _ in range(100):
        rig.localizer.on_timer(at(0.1))
    assert rig.state(seconds=0.1) == 'TRACKING'
