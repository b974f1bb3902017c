"""Clouds through the middleware of ROS 2: QoS, size, format, and the node without ROS 2."""

import os

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='source ROS 2 first (docs/ros2.md)')

from rclpy.duration import Duration  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from rclpy.utilities import get_rmw_implementation_identifier  # noqa: E402
from rclpy_harness import wait_for  # noqa: E402
from sensor_msgs.msg import PointCloud2  # noqa: E402
from wire import Process  # noqa: E402

from dlc_ros.node.pointcloud2 import points_from_message  # noqa: E402

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


@pytest.fixture(scope='module')
def echo(tmp_path_factory):
    """A node without ROS 2, in a process: sends back every cloud."""
    pytest.importorskip('cyclonedds', reason='cyclonedds is not installed')
    script = tmp_path_factory.mktemp('echo') / 'echo.py'
    script.write_text(ECHO)
    distro = os.environ['ROS_DISTRO']  # decides how a node is announced
    with Process(script, os.environ['ROS_DOMAIN_ID'], ROS_DISTRO=distro) as process:
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


def test_ros_sees_a_node_without_ros_leave(start):
    pytest.importorskip('cyclonedds', reason='cyclonedds is not installed')
    from dlc_ros.node.dds.participant import Participant

    node = start('watching').peer
    with Participant('guest', domain_id=int(os.environ['ROS_DOMAIN_ID']), interface='lo') as guest:
        guest.publisher('~/out', 'sensor_msgs/msg/PointCloud2')
        wait_for(lambda: node.count_publishers('/guest/out') and 'guest' in node.get_node_names())
    # Of one that did not say so it is known when its lease ends, after 10 s.
    wait_for(lambda: not node.count_publishers('/guest/out'), 7.0)
    wait_for(lambda: 'guest' not in node.get_node_names(), 7.0)


@pytest.mark.scenario(
    'scenarios', 'clouds of 2.1 MB from rclpy to the embedded node and back', 'rclpy'
)
def test_big_clouds_there_and_back(start, echo, scenario):
    """Reliable, with the default settings of ROS 2's middleware."""
    node = start('big').peer
    points = np.random.default_rng(5).normal(size=(175_000, 3))
    back, small = [], []
    node.create_subscription(
        PointCloud2,
        '/dds/echo/out',
        lambda cloud: (back if cloud.width == len(points) else small).append(cloud),
        QoSProfile(depth=10),
    )
    publisher = node.create_publisher(PointCloud2, '/dds/echo/in', QoSProfile(depth=10))
    wait_for(publisher.get_subscription_count)
    wait_for(lambda: node.count_publishers('/dds/echo/out'))
    if get_rmw_implementation_identifier().startswith('rmw_fastrtps'):
        # Fast DDS knows a subscriber up to a second before Cyclone DDS knows the publisher, and
        # Cyclone DDS does not ask other makes for what was sent before.
        hello = node.make_cloud(points[:1], 'lidar', node.get_clock().now())
        wait_for(lambda: publisher.publish(hello) or small)
        # And it takes the first heartbeat that it hears, which may come amid a big cloud, for the
        # end of what was before: let one pass first.
        assert publisher.wait_for_all_acked(Duration(seconds=30))
    message = node.make_cloud(points, 'lidar', node.get_clock().now())
    count = scenario.size(5, 50)
    for i in range(count):
        publisher.publish(message)
        wait_for(lambda i=i: len(back) > i)
    scenario.saw(f'{len(back)} of {count} came back')
    np.testing.assert_array_equal(points_from_message(back[-1]), points.astype(np.float32))


def test_cloud_conversion_agrees_with_sensor_msgs_py():
    point_cloud2 = pytest.importorskip(
        'sensor_msgs_py.point_cloud2', reason='sensor_msgs_py is not installed'
    )
    from sensor_msgs.msg import PointField
    from std_msgs.msg import Header

    names = ('intensity', 'x', 'y', 'z', 'ring')
    coordinate = PointField.FLOAT64
    kinds = (PointField.FLOAT32, coordinate, coordinate, coordinate, PointField.UINT16)
    offsets = (0, 8, 16, 24, 38)  # with gaps
    fields = [
        PointField(name=name, offset=offset, datatype=kind, count=1)
        for name, offset, kind in zip(names, offsets, kinds, strict=True)
    ]
    rows = np.zeros(50, point_cloud2.dtype_from_fields(fields))
    for name in names:
        rows[name] = np.random.default_rng(3).integers(0, 1000, 50)
    message = point_cloud2.create_cloud(Header(), fields, rows)
    assert message.point_step == 40
    theirs = point_cloud2.read_points(message, field_names=['x', 'y', 'z'])
    np.testing.assert_array_equal(
        points_from_message(message), np.stack([theirs[name] for name in 'xyz'], axis=-1)
    )
