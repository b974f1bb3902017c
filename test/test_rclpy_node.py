"""The lifecycle node on a real ROS 2: over its middleware, from clouds to transforms."""

import numpy as np
import pytest

try:
    import rclpy
except ImportError:
    pytest.skip(
        'rclpy is not importable: source ROS 2 first (docs/ros2.md)', allow_module_level=True
    )

from geometry_msgs.msg import PoseWithCovarianceStamped
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.parameter import Parameter
from rclpy.time import Time
from rclpy_harness import Harness, isolate, room, stamp_ns, wait_for
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Empty, String
from std_srvs.srv import Trigger

from dlc_ros.errors import ParameterError
from dlc_ros.localization.localizer import Localizer
from dlc_ros.localization.parameters import describe, from_flat
from dlc_ros.node.pointcloud2 import points_from_message
from dlc_ros.node.ros.localizer_node import LocalizerNode
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


def count(robot, task, key):
    return float(robot.peer.status(task)[2].get(key, '0'))


def test_scan_in_correction_out(robot, scan):
    stamp = drive(robot, scan)
    wait_for(robot.peer.corrections)
    wait_for(lambda: len(robot.peer.corrections()) > 5)
    dates = [date for date, _ in robot.peer.corrections()]
    expected = T_MAP_BASE @ inverse(T_ODOM_BASE)
    for _, matrix in robot.peer.corrections():
        np.testing.assert_allclose(matrix, expected, atol=2e-3)
    assert dates[0] == stamp + SECOND // 5
    assert all(later > sooner for sooner, later in zip(dates, dates[1:], strict=False))

    (pose,) = wait_for(lambda: poses_of(robot, stamp))
    assert pose.header.frame_id == 'map'
    assert pose.pose.pose.position.x == pytest.approx(T_MAP_BASE[0, 3], abs=2e-3)
    covariance = np.array(pose.pose.covariance).reshape(6, 6)
    assert np.linalg.eigvalsh(covariance)[0] > 0.0
    assert np.sqrt(covariance.diagonal().max()) < 0.05


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


def test_missing_sensor_transform_is_an_error_and_no_identity(start, reference, scan):
    robot = start(
        reference=str(reference),
        registration__use_predictor=False,
        lookup_timeout=0.0,
        diagnostics_rate=20.0,
    )
    robot.activate()
    drive(robot, scan)
    wait_for(lambda: count(robot, 'input', 'unusable: no transform') == 1)
    level, message, _ = robot.peer.status('input')
    assert level == 2
    assert 'base_link' in message and 'lidar' in message
    assert not robot.peer.corrections()
    robot.peer.send_transform('base_link', 'lidar', T_BASE_SENSOR)
    wait_for(lambda: drive(robot, scan) and robot.peer.corrections())


def test_odometry_that_comes_late_is_waited_for(start, reference, scan):
    robot = start(reference=str(reference), registration__use_predictor=False, lookup_timeout=10.0)
    robot.activate()
    robot.peer.send_transform('base_link', 'lidar', T_BASE_SENSOR)
    now = robot.peer.get_clock().now()
    before = Time(nanoseconds=now.nanoseconds - SECOND)
    robot.peer.send_transform('odom', 'base_link', np.eye(4), before)
    robot.peer.send_cloud(scan, 'lidar', now)
    wait_for(lambda: count(robot, 'input', 'clouds in') == 1)
    robot.peer.send_transform('odom', 'base_link', T_ODOM_BASE, now)
    wait_for(lambda: poses_of(robot, now.nanoseconds))


def test_relocalise_by_service_and_by_topic_stops_the_correction(robot, scan):
    topic = robot.peer.create_publisher(Empty, '/localizer/relocalize', 1)
    wait_for(topic.get_subscription_count)
    for ask in (
        lambda: robot.call(Trigger, '/localizer/relocalize', Trigger.Request()).success,
        lambda: topic.publish(Empty()) is None,
    ):
        drive(robot, scan)
        wait_for(lambda: robot.peer.status('pose of map')[2].get('state') == 'TRACKING')
        assert ask()
        wait_for(lambda: robot.peer.status('pose of map')[2].get('state') == 'SEARCHING')


def test_initial_pose_from_an_operator_is_where_the_search_starts(robot, scan):
    turned = make_transform(matrix_from_rpy([0.0, 0.0, 2.6]), [1.5, -1.0, 0.0])
    in_base = transform_points(T_BASE_SENSOR, scan)
    moved = transform_points(inverse(turned @ T_BASE_SENSOR) @ T_MAP_BASE, in_base)
    drive(robot, moved)
    wait_for(lambda: count(robot, 'pose of map', 'rejected') == 1)
    publisher = robot.peer.create_publisher(PoseWithCovarianceStamped, 'initialpose', 1)
    wait_for(publisher.get_subscription_count)
    message = PoseWithCovarianceStamped()
    message.header.frame_id = 'map'
    message.pose.pose.position.x, message.pose.pose.position.y = 1.4, -1.1
    message.pose.pose.orientation.z = float(np.sin(1.3))
    message.pose.pose.orientation.w = float(np.cos(1.3))
    publisher.publish(message)
    wait_for(lambda: 'given' in robot.peer.status('pose of map')[1])
    stamp = drive(robot, moved)
    (pose,) = wait_for(lambda: poses_of(robot, stamp))
    assert pose.pose.pose.position.x == pytest.approx(1.5, abs=5e-3)
    assert pose.pose.pose.position.y == pytest.approx(-1.0, abs=5e-3)


@pytest.mark.parametrize(
    ('damage', 'word'),
    [
        (lambda cloud: cloud.fields.pop(), "field 'z'"),
        (lambda cloud: setattr(cloud, 'data', cloud.data[: len(cloud.data) // 2]), 'cut off'),
        (lambda cloud: setattr(cloud, 'width', 0), 'empty'),
    ],
)
def test_bad_cloud_is_named_and_the_next_good_one_is_used(robot, scan, damage, word):
    time = robot.peer.get_clock().now()
    robot.peer.send_transform('odom', 'base_link', T_ODOM_BASE, time)
    message = robot.peer.make_cloud(scan, 'lidar', time)
    damage(message)
    robot.peer.points.publish(message)
    wait_for(lambda: count(robot, 'input', 'unusable: bad cloud') == 1)
    assert word in robot.peer.status('input')[1]
    assert not robot.peer.corrections()
    stamp = drive(robot, scan)
    wait_for(lambda: poses_of(robot, stamp))


def test_reference_loaded_while_it_runs_and_a_missing_one_refused(start, reference, scan):
    robot = start(registration__use_predictor=False, diagnostics_rate=20.0)
    robot.activate()
    robot.peer.send_transform('base_link', 'lidar', T_BASE_SENSOR)
    publisher = robot.peer.create_publisher(String, '/localizer/load_reference', 1)
    wait_for(publisher.get_subscription_count)
    publisher.publish(String(data='/nowhere/map.pcd'))
    refused = wait_for(lambda: robot.peer.status('input')[2].get('last refused command'))
    assert '/nowhere/map.pcd' in refused
    publisher.publish(String(data=str(reference)))
    wait_for(lambda: 'reference sha256' in robot.peer.status('model of map')[2])
    stamp = drive(robot, scan)
    wait_for(lambda: poses_of(robot, stamp))


def test_simulated_time_that_jumps_back_starts_afresh(start, reference, scan):
    robot = start(
        use_sim_time=True,
        reference=str(reference),
        registration__use_predictor=False,
        diagnostics_rate=20.0,
    )
    clock = robot.peer.create_publisher(Clock, '/clock', 1)
    wait_for(clock.get_subscription_count)
    robot.activate()
    robot.peer.send_transform('base_link', 'lidar', T_BASE_SENSOR)

    def at(seconds):
        time = Time(seconds=seconds)
        clock.publish(Clock(clock=time.to_msg()))
        wait_for(lambda: robot.node.get_clock().now().nanoseconds == time.nanoseconds)
        stamp = drive(robot, scan, time)
        wait_for(lambda: poses_of(robot, stamp))

    at(1000)
    at(100)
    assert count(robot, 'input', 'time jumps') == 1


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


def test_live_parameter_is_applied_at_once(robot, scan):
    assert set_parameter(robot, 'transform_tolerance', 3.0)[0]
    stamp = drive(robot, scan)
    wait_for(robot.peer.corrections)
    assert robot.peer.corrections()[0][0] == stamp + 3 * SECOND


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


@pytest.mark.parametrize(
    ('name', 'value', 'words'),
    [
        ('hold_timout', 1.0, ['hold_timout', 'hold_timeout']),
        ('hold_timeout', 1e9, ['hold_timeout', '3600']),
        ('mode', 'submarine', ['mode', 'object']),
    ],
)
def test_wrong_override_is_an_error_that_names_it(name, value, words):
    with pytest.raises(ParameterError) as caught:
        LocalizerNode(parameter_overrides=[Parameter(name, value=value)])
    assert all(word in str(caught.value) for word in words)


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
