"""Parameters of the lifecycle node: described, set while it runs, refused with the reason."""

import pytest

pytest.importorskip('rclpy', reason='source ROS 2 first (docs/ros2.md)')

from builtin_interfaces.msg import Time  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rcl_interfaces.msg import ParameterType  # noqa: E402
from rcl_interfaces.srv import DescribeParameters  # noqa: E402
from rclpy_harness import wait_for  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402

from dlc_ros.localization.parameters import describe  # noqa: E402

SECOND = 10**9


def test_every_parameter_is_described_with_type_and_range(start):
    harness = start()
    infos = describe()
    request = DescribeParameters.Request(names=[info.name for info in infos])
    response = harness.call(DescribeParameters, '/localizer/describe_parameters', request)
    types = {
        'bool': ParameterType.PARAMETER_BOOL,
        'integer': ParameterType.PARAMETER_INTEGER,
        'double': ParameterType.PARAMETER_DOUBLE,
        'string': ParameterType.PARAMETER_STRING,
        'string_array': ParameterType.PARAMETER_STRING_ARRAY,
    }
    assert len(infos) > 30
    for info, described in zip(infos, response.descriptors, strict=True):
        assert described.name == info.name
        assert described.type == types[info.type]
        assert info.description in described.description
        assert info.unit in described.description
        ranges = [*described.floating_point_range, *described.integer_range]
        limits = [(limit.from_value, limit.to_value) for limit in ranges]
        assert limits == ([] if info.low is None else [(info.low, info.high)])


@pytest.mark.scenario('scenarios', 'a parameter is set while it runs', 'rclpy')
def test_live_parameter_is_applied_at_once(robot, scan):
    assert robot.set_parameter('transform_tolerance', 3.0)[0]
    stamp = robot.drive(scan)
    wait_for(lambda: stamp + 3 * SECOND in [date for date, _ in robot.peer.corrections()])


def test_the_threshold_of_a_time_jump_follows_its_parameter(start, reference):
    harness = start(
        use_sim_time=True,
        diagnostics_rate=20.0,
        reference=str(reference),
        registration__use_predictor=False,
    )
    reports = harness.peer.listen(DiagnosticArray, '/diagnostics')
    clock = harness.peer.create_publisher(Clock, '/clock', 1)
    assert harness.change_state('configure')
    wait_for(clock.get_subscription_count)

    def jumps_at(seconds):
        """Jumps that were counted once the node knows that it is so late."""
        clock.publish(Clock(clock=Time(sec=seconds)))

        def told():
            for report in reports[::-1]:
                for status in report.status if report.header.stamp.sec == seconds else ():
                    if status.name == 'localizer: input':
                        return status
            clock.publish(Clock(clock=Time(sec=seconds)))

        return {entry.key: entry.value for entry in wait_for(told).values}['time jumps']

    before = int(jumps_at(1000))  # the change to simulated time may count
    assert jumps_at(995) == str(before + 1)
    assert harness.set_parameter('tracking.time_jump', 60.0)[0]
    assert jumps_at(990) == str(before + 1)
    assert jumps_at(900) == str(before + 2)


@pytest.mark.scenario(
    'scenarios', 'a parameter is set out of its range: refused with the range', 'rclpy'
)
def test_wrong_value_is_refused_with_its_range(robot):
    successful, reason = robot.set_parameter('hold_timeout', -1.0)
    assert not successful
    assert 'hold_timeout' in reason
    assert robot.node.get_parameter('hold_timeout').value == 2.0


def test_fixed_parameter_changes_only_before_configure(start):
    harness = start()
    assert harness.set_parameter('frames.map', 'site')[0]
    assert harness.change_state('configure')
    successful, reason = harness.set_parameter('frames.map', 'map')
    assert not successful
    assert 'frames.map' in reason
    assert harness.node.get_parameter('frames.map').value == 'site'


def test_values_that_contradict_each_other_are_refused(start):
    harness = start(publish_map_to_base=True, frames__odom='')
    successful, reason = harness.set_parameter('frames.odom', 'odom')
    assert not successful
    assert 'publish_map_to_base' in reason
