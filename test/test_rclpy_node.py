"""What only the rclpy node has: its life cycle, its services, parameters that are set."""

import contextlib
import gc
import os
import threading

import numpy as np
import psutil
import pytest

try:
    import rclpy
except ImportError:
    pytest.skip(
        'rclpy is not importable: source ROS 2 first (docs/ros2.md)', allow_module_level=True
    )

from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy_harness import Harness, isolate, room, stamp_ns, wait_for
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import Trigger
from wire import Process

from dlc_ros.localization.localizer import Localizer
from dlc_ros.localization.parameters import describe, from_flat
from dlc_ros.node.pointcloud2 import points_from_message
from dlc_ros.registration.se3 import inverse, make_transform, matrix_from_rpy, transform_points

SECOND = 10**9
T_BASE_SENSOR = make_transform(matrix_from_rpy([0.0, 0.1, 0.3]), [0.2, 0.0, 0.5])
T_ODOM_BASE = make_transform(matrix_from_rpy([0.0, 0.0, -0.4]), [0.8, -0.3, 0.0])
T_MAP_BASE = make_transform(matrix_from_rpy([0.0, 0.0, 0.06]), [0.12, -0.07, 0.0])


@pytest.fixture(scope='module', autouse=True)
def middleware():
    isolate()
    rclpy.init()
    yield
    rclpy.try_shutdown()
    gc.collect()  # nodes have cycles, and the participant stays as long as they do


@pytest.fixture(scope='module')
def reference(tmp_path_factory):
    path = tmp_path_factory.mktemp('reference') / 'room.npy'
    np.save(path, room(np.random.default_rng(1), 20000))
    return path


@pytest.fixture(scope='module')
def scan():
    """Points in the sensor's frame: another sample of the same room."""
    points = room(np.random.default_rng(2), 8000)
    return transform_points(inverse(T_MAP_BASE @ T_BASE_SENSOR), points)


@pytest.fixture
def start():
    """Starts a node with parameters; every node that was started is closed."""
    started = []

    def run(name='localizer', **values):
        values = {key.replace('__', '.'): value for key, value in values.items()}
        started.append(Harness(name, values))
        return started[-1]

    yield run
    for harness in started:
        harness.close()


@pytest.fixture
def robot(start, reference):
    """A node that localises in the room, active, with all transforms it needs."""
    harness = start(
        reference=str(reference),
        registration__use_predictor=False,
        transform_tolerance=0.2,
        publish_rate=50.0,
        diagnostics_rate=20.0,
    )
    harness.activate()
    harness.peer.send_transform('base_link', 'lidar', T_BASE_SENSOR)
    return harness


def drive(robot, points, time=None):
    """One scan with the odometry at its stamp; returns the stamp."""
    time = time or robot.peer.get_clock().now()
    robot.peer.send_transform('odom', 'base_link', T_ODOM_BASE, time)
    robot.peer.send_cloud(points, 'lidar', time)
    return time.nanoseconds


def poses_of(robot, stamp):
    return [pose for pose in robot.peer.poses if stamp_ns(pose.header.stamp) == stamp]


def test_same_answer_as_the_localizer_in_python(robot, scan, reference):
    stamp = drive(robot, scan)
    (pose,) = wait_for(lambda: poses_of(robot, stamp))
    looked_up = {('base_link', 'lidar'): T_BASE_SENSOR, ('odom', 'base_link'): T_ODOM_BASE}
    localizer = Localizer(
        from_flat({'reference': str(reference), 'registration.use_predictor': False}),
        lambda target, source, _: looked_up[target, source],
    )
    (estimate,) = localizer.on_cloud(stamp, 'lidar', scan.astype(np.float32)).poses
    position = pose.pose.pose.position
    np.testing.assert_allclose(
        [position.x, position.y, position.z], estimate.matrix[:3, 3], atol=1e-6
    )
    np.testing.assert_allclose(
        np.array(pose.pose.covariance), estimate.covariance.reshape(36), rtol=1e-3, atol=1e-12
    )


def test_deactivated_it_publishes_nothing_and_activated_it_goes_on(robot, scan):
    drive(robot, scan)
    wait_for(robot.peer.corrections)
    assert robot.change_state('deactivate')
    wait_for(lambda: robot.peer.points.get_subscription_count() == 0)
    heard = len(robot.peer.corrections())
    silent_from = robot.peer.get_clock().now().nanoseconds
    wait_for(lambda: robot.peer.get_clock().now().nanoseconds > silent_from + SECOND // 2)
    assert len(robot.peer.corrections()) == heard
    assert robot.change_state('activate')
    wait_for(lambda: robot.peer.points.get_subscription_count() == 1)
    stamp = drive(robot, scan)
    wait_for(lambda: poses_of(robot, stamp))


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


@pytest.mark.scenario('scenarios', 'QoS overrides', 'rclpy')
def test_qos_of_clouds_can_be_overridden(start):
    override = 'qos_overrides./points.subscription.reliability'
    harness = start('chosen', registration__use_predictor=False, **{override: 'reliable'})
    harness.activate()
    offered = wait_for(
        lambda: [
            info.qos_profile.reliability
            for info in harness.peer.get_subscriptions_info_by_topic('/points')
            if info.node_name == 'chosen'
        ]
    )
    assert offered == [ReliabilityPolicy.RELIABLE]


def test_qos_that_does_not_exist_is_not_activated(start):
    override = 'qos_overrides./points.subscription.reliability'
    harness = start('mistaken', registration__use_predictor=False, **{override: 'sometimes'})
    assert harness.change_state('configure')
    assert not harness.change_state('activate')
    assert harness.change_state('cleanup')


def test_services_answer_with_what_was_done(start, reference, scan, tmp_path):
    file = tmp_path / 'pose.yaml'
    robot = start(
        reference=str(reference),
        registration__use_predictor=False,
        saved_pose__file=str(file),
    )
    robot.activate()
    answer = robot.call(Trigger, '/localizer/save_pose', Trigger.Request())
    assert not answer.success and 'no confirmed pose' in answer.message
    robot.peer.send_transform('base_link', 'lidar', T_BASE_SENSOR)
    stamp = drive(robot, scan)
    wait_for(lambda: poses_of(robot, stamp))
    answer = robot.call(Trigger, '/localizer/save_pose', Trigger.Request())
    assert answer.success and str(file) in answer.message and file.is_file()
    answer = robot.call(Trigger, '/localizer/relocalize', Trigger.Request())
    assert answer.success and answer.message == 'searching globally'


ECHO = """
import sys, time
from dlc_ros.node.dds import qos
from dlc_ros.node.dds.participant import Participant

kind = 'sensor_msgs/msg/PointCloud2'
with Participant('echo', '/dds', domain_id=int(sys.argv[1])) as node:
    out = node.publisher('~/out', kind, qos.CLOUD)
    node.subscribe('~/in', kind, out.write, qos.NEWEST_CLOUD)
    time.sleep(600)
"""


@pytest.fixture(scope='module')
def echo(tmp_path_factory):
    """A node without ROS 2, in a process: sends back every cloud."""
    pytest.importorskip('cyclonedds', reason='cyclonedds is not installed')
    script = tmp_path_factory.mktemp('echo') / 'echo.py'
    script.write_text(ECHO)
    with Process(script, os.environ['ROS_DOMAIN_ID']) as process:
        yield process


@pytest.mark.scenario('scenarios', 'ROS 2 lists the embedded node and its topics', 'rclpy')
def test_ros_lists_a_node_without_ros(start, echo):
    node = start('listing').peer
    wait_for(lambda: ('echo', '/dds') in node.get_node_names_and_namespaces())
    kinds = ['sensor_msgs/msg/PointCloud2']
    wait_for(
        lambda: (
            node.get_publisher_names_and_types_by_node('echo', '/dds')
            == [('/dds/echo/out', kinds)]
        )
    )
    wait_for(
        lambda: (
            node.get_subscriber_names_and_types_by_node('echo', '/dds')
            == [('/dds/echo/in', kinds)]
        )
    )


@pytest.mark.scenario(
    'scenarios', 'clouds of 2.1 MB from rclpy to the embedded node and back', 'rclpy'
)
def test_big_clouds_there_and_back(start, echo, scenario):
    """Reliable, with the default settings of ROS 2's middleware."""
    node = start('big').peer
    back = []
    node.create_subscription(PointCloud2, '/dds/echo/out', back.append, QoSProfile(depth=10))
    publisher = node.create_publisher(PointCloud2, '/dds/echo/in', QoSProfile(depth=10))
    wait_for(publisher.get_subscription_count)
    wait_for(lambda: node.count_publishers('/dds/echo/out'))
    points = np.random.default_rng(5).normal(size=(175_000, 3))
    message = node.make_cloud(points, 'lidar', node.get_clock().now())
    count = scenario.size(5, 50)
    for i in range(count):
        publisher.publish(message)
        wait_for(lambda i=i: len(back) > i)
    scenario.saw(f'{len(back)} of {count} came back')
    np.testing.assert_array_equal(points_from_message(back[-1]), points.astype(np.float32))


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


def set_parameter(harness, name, value):
    """Set through the service; returns (successful, reason)."""
    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    (result,) = harness.call(SetParameters, '/localizer/set_parameters', request).results
    return result.successful, result.reason


@pytest.mark.scenario('scenarios', 'a parameter is set while it runs', 'rclpy')
def test_live_parameter_is_applied_at_once(robot, scan):
    assert set_parameter(robot, 'transform_tolerance', 3.0)[0]
    stamp = drive(robot, scan)
    wait_for(lambda: stamp + 3 * SECOND in [date for date, _ in robot.peer.corrections()])


@pytest.mark.scenario(
    'scenarios', 'a parameter is set out of its range: refused with the range', 'rclpy'
)
def test_wrong_value_is_refused_with_its_range(robot):
    successful, reason = set_parameter(robot, 'hold_timeout', -1.0)
    assert not successful
    assert 'hold_timeout' in reason
    assert robot.node.get_parameter('hold_timeout').value == 2.0


def test_fixed_parameter_changes_only_before_configure(start):
    harness = start()
    assert set_parameter(harness, 'frames.map', 'site')[0]
    assert harness.change_state('configure')
    successful, reason = set_parameter(harness, 'frames.map', 'map')
    assert not successful
    assert 'frames.map' in reason
    assert harness.node.get_parameter('frames.map').value == 'site'


def test_values_that_contradict_each_other_are_refused(start):
    harness = start(publish_map_to_base=True, frames__odom='')
    successful, reason = set_parameter(harness, 'frames.odom', 'odom')
    assert not successful
    assert 'publish_map_to_base' in reason


def test_cloud_conversion_agrees_with_sensor_msgs_py():
    point_cloud2 = pytest.importorskip(
        'sensor_msgs_py.point_cloud2', reason='sensor_msgs_py is not installed'
    )
    from sensor_msgs.msg import PointField
    from std_msgs.msg import Header

    names = ('intensity', 'x', 'y', 'z', 'ring')
    coordinate = PointField.FLOAT64
    kinds = (PointField.FLOAT32, coordinate, coordinate, coordinate, PointField.UINT16)
    offsets = (0, 8, 16, 24, 32)
    fields = [
        PointField(name=name, offset=offset, datatype=kind, count=1)
        for name, offset, kind in zip(names, offsets, kinds, strict=True)
    ]
    rows = np.zeros(50, point_cloud2.dtype_from_fields(fields, point_step=40))
    for name in names:
        rows[name] = np.random.default_rng(3).integers(0, 1000, 50)
    message = point_cloud2.create_cloud(Header(), fields, rows, point_step=40)
    theirs = point_cloud2.read_points(message, field_names=['x', 'y', 'z'])
    np.testing.assert_array_equal(
        points_from_message(message), np.stack([theirs[name] for name in 'xyz'], axis=-1)
    )
