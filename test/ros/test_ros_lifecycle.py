"""Transitions of the lifecycle node: what it does in each state, and that nothing is left."""

import contextlib
import functools
import gc
import os
import threading
from unittest import mock

import numpy as np
import psutil
import pytest
from fake_registrar import FakeRegistrar

pytest.importorskip('rclpy', reason='source ROS 2 first (docs/ros2.md)')

from geometry_msgs.msg import PoseWithCovarianceStamped  # noqa: E402
from rclpy_harness import PATIENCE_S, T_BASE_SENSOR, Harness, wait_for  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from dlc_ros.localization.localizer import Localizer  # noqa: E402

SECOND = 10**9


def test_deactivated_it_publishes_nothing_and_activated_it_goes_on(robot, scan):
    robot.drive(scan)
    wait_for(robot.peer.corrections)
    assert robot.change_state('deactivate')
    wait_for(lambda: robot.peer.points.get_subscription_count() == 0)
    heard = len(robot.peer.corrections())
    silent_from = robot.peer.get_clock().now().nanoseconds
    wait_for(lambda: robot.peer.get_clock().now().nanoseconds > silent_from + SECOND // 2)
    assert len(robot.peer.corrections()) == heard
    assert robot.change_state('activate')
    wait_for(lambda: robot.peer.points.get_subscription_count() == 1)
    stamp = robot.drive(scan)
    wait_for(lambda: robot.peer.poses_at(stamp))


def test_cleanup_leaves_no_endpoint_and_configure_works_again(start, reference):
    # A name of its own: nodes of earlier tests leave the graph a little late.
    harness = start('recycled', reference=str(reference), registration__use_predictor=False)
    node = harness.node

    def endpoints():
        return [
            sorted(ask(node.get_name(), node.get_namespace()))
            for ask in (
                node.get_publisher_names_and_types_by_node,
                node.get_subscriber_names_and_types_by_node,
                node.get_service_names_and_types_by_node,
            )
        ]

    before = endpoints()
    for _ in range(2):
        harness.activate()
        assert endpoints() != before
        assert harness.change_state('deactivate')
        assert harness.change_state('cleanup')
        wait_for(lambda: endpoints() == before)
    assert harness.change_state('shutdown')


@pytest.mark.scenario('scenarios', 'cleanup while an object is added: nothing is left', 'rclpy')
def test_cleanup_while_an_object_is_loaded_leaves_nobody_who_listens(start, reference, tmp_path):
    loading, may_end = threading.Event(), threading.Event()

    def make(*arguments):
        if loads:
            loading.set()
            assert may_end.wait(PATIENCE_S)
        loads.append(arguments)
        return FakeRegistrar(*arguments)

    loads = []
    other = tmp_path / 'other.npy'
    np.save(other, np.random.default_rng(1).uniform(-1, 1, (60, 3)))
    names = {'objects__names': ['part'], 'objects__references': [str(reference)]}
    harness = start('adder', mode='object', **names)
    factory = functools.partial(Localizer, registrar_factory=make)
    with mock.patch('dlc_ros.node.ros.session.Localizer', factory):
        assert harness.change_state('configure')
    load = harness.peer.create_publisher(String, '/adder/load_reference', 1)
    given = harness.peer.create_publisher(PoseWithCovarianceStamped, '/adder/added/initialpose', 1)
    wait_for(load.get_subscription_count)
    load.publish(String(data=f'added={other}'))
    wait_for(loading.is_set)
    threading.Timer(0.5, may_end.set).start()
    assert harness.change_state('cleanup')
    assert may_end.is_set(), 'the command ends first'
    given.publish(PoseWithCovarianceStamped())
    subscribed = harness.node.get_subscriber_names_and_types_by_node('adder', '/')
    assert not [topic for topic, _ in subscribed if topic.endswith('initialpose')]


def test_a_message_that_the_node_trips_over_ends_nothing(robot, scan, monkeypatch):
    def fail(*_arguments):
        failed.append(True)
        raise RuntimeError('nobody foresaw it')

    failed = []
    monkeypatch.setattr('dlc_ros.node.ros.session.arguments_of_initial_pose', fail)
    pose = robot.peer.create_publisher(PoseWithCovarianceStamped, '/initialpose', 1)
    wait_for(pose.get_subscription_count)
    pose.publish(PoseWithCovarianceStamped())
    wait_for(lambda: failed)
    monkeypatch.setattr('dlc_ros.localization.diagnostics.process_memory_mib', fail)
    answer = robot.call(Trigger, '/localizer/relocalize', Trigger.Request())
    assert (answer.success, answer.message) == (False, 'internal error: nobody foresaw it')
    monkeypatch.undo()
    stamp = robot.drive(scan)
    wait_for(lambda: robot.peer.poses_at(stamp))


@pytest.mark.scenario('scenarios', 'a transition that the state does not have: refused', 'rclpy')
def test_a_transition_that_the_state_does_not_have_is_refused_and_the_node_goes_on(
    start, reference
):
    harness = start('asked', reference=str(reference), registration__use_predictor=False)
    configure, cleanup, activate, deactivate = 1, 2, 3, 4  # lifecycle_msgs/Transition
    for transition, impossible in (
        (None, (activate, deactivate, cleanup, 77)),
        (configure, (configure, deactivate)),
        (activate, (configure, activate, cleanup)),
        (deactivate, (deactivate,)),
        (cleanup, (cleanup, deactivate)),
    ):
        assert transition is None or harness.change_state(transition)
        for number in impossible:
            assert not harness.change_state(number)
    assert harness.change_state('shutdown')


@pytest.mark.scenario(
    'scenarios', 'configure, activate, deactivate, cleanup over and over: nothing is left', 'rclpy'
)
def test_cleanup_frees_everything_however_often(start, reference, scenario):
    harness = start('again', reference=str(reference), registration__use_predictor=False)
    process, held, sizes = psutil.Process(), [], []

    def localizers():
        gc.collect()
        return sum(isinstance(thing, Localizer) for thing in gc.get_objects())

    before = localizers()  # of nodes of other tests
    cycles = scenario.size(6, 100)
    for _ in range(cycles):
        harness.activate()
        harness.peer.send_transform('base_link', 'lidar', T_BASE_SENSOR)
        assert harness.change_state('deactivate')
        assert harness.change_state('cleanup')
        files = len(os.listdir('/proc/self/fd'))
        held.append((localizers(), threading.active_count(), files))
        sizes.append(process.memory_info().rss)
    assert held[-1] == held[1]
    assert held[-1][0] == before
    warm = sizes[cycles // 3]
    grown = sizes[-1] - warm
    scenario.saw(f'{cycles} cycles, {grown / 2**20:+.1f} MiB of {warm / 2**20:.0f} MiB')
    # What one cycle uses is about 4 MiB; a leak of a tenth of it shows in 100 cycles.
    assert grown < 16 * 2**20


@pytest.mark.scenario(
    'scenarios', 'a lifecycle manager brings two nodes of one process up and down', 'rclpy'
)
def test_a_manager_brings_several_nodes_of_one_process_up_and_down(reference):
    """As nav2's lifecycle manager: transition by transition, in order, and back."""
    from lifecycle_msgs.srv import GetState

    values = {'reference': str(reference), 'registration.use_predictor': False}
    with contextlib.ExitStack() as opened:
        harness = Harness('front', values)
        opened.callback(harness.close)
        harness.add_node('rear', values)

        def states():
            return [
                harness.call(
                    GetState, f'/{name}/get_state', GetState.Request()
                ).current_state.label
                for name in ('front', 'rear')
            ]

        for transition, state in (
            ('configure', 'inactive'),
            ('activate', 'active'),
            ('deactivate', 'inactive'),
            ('cleanup', 'unconfigured'),
        ):
            for name in ('front', 'rear'):
                assert harness.change_state(transition, name)
            assert states() == [state, state]
