"""A lifecycle node under test, and a peer that talks to it over the middleware."""

import os
import threading
import time

import numpy as np
import rclpy
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from tf2_ros import StaticTransformBroadcaster, TransformBroadcaster
from wire import free_domain

from dlc_ros.node.ros.localizer_node import LocalizerNode
from dlc_ros.registration.se3 import make_transform, matrix_from_rpy, quaternion_from_matrix

# For anything that is certain to happen; a busy machine may take a while over it.
PATIENCE_S = 120.0
# A robot in a room: where its lidar is, and where it stands.
T_BASE_SENSOR = make_transform(matrix_from_rpy([0.0, 0.1, 0.3]), [0.2, 0.0, 0.5])
T_ODOM_BASE = make_transform(matrix_from_rpy([0.0, 0.0, -0.4]), [0.8, -0.3, 0.0])
T_MAP_BASE = make_transform(matrix_from_rpy([0.0, 0.0, 0.06]), [0.12, -0.07, 0.0])


def isolate():
    """Let rclpy hear nobody but this test run and what it starts: call it before rclpy.init."""
    os.environ['ROS_DOMAIN_ID'] = str(free_domain(10))
    if os.environ.get('ROS_DISTRO') == 'humble':
        os.environ['ROS_LOCALHOST_ONLY'] = '1'
    else:
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'


class Harness:
    """
    Runs a :class:`LocalizerNode` and a peer, each in an executor and a thread of its own.

    :param name: of the node.
    :param values: dict of parameters, by flat name, as a YAML file would give them.
    """

    def __init__(self, name, values):
        self.node = _make_node(name, values)
        self.peer = Peer()
        self._nodes = [self.node]
        self._spinning = [Spinning(self.node), Spinning(self.peer)]

    def close(self):
        for spinning in self._spinning:
            spinning.stop()
        for node in self._nodes:
            node.close()
        self.peer.destroy_node()

    def add_node(self, name, values):
        """One more node, in the executor of the first."""
        self._nodes.append(_make_node(name, values))
        self._spinning[0].add(self._nodes[-1])

    def activate(self):
        """Configure and activate through the services that a lifecycle manager uses."""
        assert self.change_state('configure')
        assert self.change_state('activate')
        wait_for(lambda: self.peer.points.get_subscription_count() == 1)

    def change_state(self, transition, name=None):
        """Ask for a transition by its label or its number; returns whether it succeeded."""
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request()
        if isinstance(transition, str):
            request.transition.label = transition
        else:
            request.transition.id = transition
        name = name or self.node.get_name()
        return self.call(ChangeState, f'/{name}/change_state', request).success

    def drive(self, points, odom_from_base=T_ODOM_BASE):
        """Send one scan of now with the odometry at its stamp; returns the stamp [ns]."""
        time = self.peer.get_clock().now()
        self.peer.send_transform('odom', 'base_link', odom_from_base, time)
        self.peer.send_cloud(points, 'lidar', time)
        return time.nanoseconds

    def set_parameter(self, name, value):
        """Set through the service; returns (successful, reason)."""
        message = Parameter(name, value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[message])
        service = f'/{self.node.get_name()}/set_parameters'
        (result,) = self.call(SetParameters, service, request).results
        return result.successful, result.reason

    def call(self, kind, name, request):
        """Call a service and return its response."""
        return self.peer.call(kind, name, request)


class SpinningPeer:
    """A peer alone, in an executor and a thread of its own."""

    def __init__(self):
        self.peer = Peer()
        self._spinning = Spinning(self.peer)

    def close(self):
        self._spinning.stop()
        self.peer.destroy_node()


class Spinning:
    """An executor in a thread of its own, which must end before its nodes are destroyed."""

    def __init__(self, node):
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def add(self, node):
        self._executor.add_node(node)

    def stop(self):
        # An executor that is shut down while it spins may trip over what it has just freed.
        self._stopping.set()
        self._thread.join()
        self._executor.shutdown()

    def _spin(self):
        while not self._stopping.is_set():
            self._executor.spin_once(timeout_sec=0.1)


def _make_node(name, values):
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    return LocalizerNode(name, parameter_overrides=overrides)


class Peer(Node):
    """Publishes what sensors and operators publish; keeps what the node says."""

    def __init__(self):
        super().__init__('peer')
        self.points = self.create_publisher(PointCloud2, 'points', QoSProfile(depth=10))
        self.static = StaticTransformBroadcaster(self)
        self.moving = TransformBroadcaster(self)
        self.transforms, self.poses = [], []
        self.create_subscription(TFMessage, '/tf', self._on_tf, QoSProfile(depth=100))
        self.create_subscription(
            PoseWithCovarianceStamped, '/localizer/pose', self.poses.append, 10
        )

    def call(self, kind, name, request):
        """Call a service, while the peer is spun elsewhere, and return its response."""
        client = self.create_client(kind, name)
        assert client.wait_for_service(PATIENCE_S)
        future = client.call_async(request)
        wait_for(future.done)
        self.destroy_client(client)
        return future.result()

    def listen(self, kind, topic):
        """List that grows by the messages of a topic."""
        heard = []
        self.create_subscription(kind, topic, heard.append, 100)
        return heard

    def listen_to_tf(self, topic):
        """List that grows by the transforms of a topic."""
        heard = []
        self.create_subscription(
            TFMessage, topic, lambda message: heard.extend(message.transforms), 100
        )
        return heard

    def offer_clouds(self, topic):
        """Publisher of clouds; reliable, so that it suits every subscription."""
        return self.create_publisher(PointCloud2, topic, 1)

    def repeat_cloud(self, publisher, points, frame):
        """Publish a cloud now: what is best effort may be lost, so tests send it again."""
        publisher.publish(self.make_cloud(points, frame, self.get_clock().now()))
        time.sleep(0.1)
        return True

    def _on_tf(self, message):
        self.transforms.extend(message.transforms)

    def corrections(self):
        """Every map -> odom that was heard, as (date in ns, (4, 4))."""
        return [
            (stamp_ns(entry.header.stamp), matrix_of(entry.transform))
            for entry in list(self.transforms)
            if (entry.header.frame_id, entry.child_frame_id) == ('map', 'odom')
        ]

    def poses_at(self, stamp):
        """Poses that were heard for a cloud of that stamp [ns]."""
        return [pose for pose in self.poses if stamp_ns(pose.header.stamp) == stamp]

    def send_transform(self, parent, child, matrix, time=None):
        """Static, unless ``time`` (:class:`rclpy.time.Time`) is given."""
        stamped = TransformStamped()
        stamped.header.frame_id, stamped.child_frame_id = parent, child
        translation, rotation = stamped.transform.translation, stamped.transform.rotation
        translation.x, translation.y, translation.z = map(float, matrix[:3, 3])
        quaternion = map(float, quaternion_from_matrix(matrix))
        rotation.x, rotation.y, rotation.z, rotation.w = quaternion
        if time is None:
            self.static.sendTransform(stamped)
        else:
            stamped.header.stamp = time.to_msg()
            self.moving.sendTransform(stamped)

    def send_cloud(self, points, frame, time):
        self.points.publish(self.make_cloud(points, frame, time))

    @staticmethod
    def make_cloud(points, frame, time):
        """An unorganised cloud of float32 x, y, z, packed here and not by the code under test."""
        data = np.ascontiguousarray(points, dtype='<f4')
        message = PointCloud2(
            header=Header(frame_id=frame, stamp=time.to_msg()),
            height=1,
            width=len(data),
            fields=[
                PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
                for i, name in enumerate('xyz')
            ],
            point_step=12,
            row_step=12 * len(data),
        )
        message.data.frombytes(data.tobytes())
        return message


def wait_for(condition, patience_s=PATIENCE_S):
    """Wait until ``condition()`` is true and return what it gave; fails after the patience."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError('what was waited for did not happen')


def stamp_ns(stamp):
    return rclpy.time.Time.from_msg(stamp).nanoseconds


def matrix_of(transform):
    """(4, 4) of a geometry_msgs/Transform, by scipy."""
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    rotation = transform.rotation
    matrix[:3, :3] = Rotation.from_quat(
        [rotation.x, rotation.y, rotation.z, rotation.w]
    ).as_matrix()
    matrix[:3, 3] = [transform.translation.x, transform.translation.y, transform.translation.z]
    return matrix


def room(rng, count):
    """(count, 3) points on floor, walls and furniture of an L-shaped room [m]."""
    # Corner and the two edges of each face; areas decide how the points are shared out.
    faces = np.array(
        [
            [[-5, -4, 0], [10, 0, 0], [0, 4, 0]],
            [[-5, 0, 0], [5, 0, 0], [0, 4, 0]],
            [[-5, -4, 0], [10, 0, 0], [0, 0, 3]],
            [[5, -4, 0], [0, 4, 0], [0, 0, 3]],
            [[0, 0, 0], [5, 0, 0], [0, 0, 3]],
            [[0, 0, 0], [0, 4, 0], [0, 0, 3]],
            [[-5, 4, 0], [5, 0, 0], [0, 0, 3]],
            [[-5, -4, 0], [0, 8, 0], [0, 0, 3]],
            [[-3, -2, 0], [0.7, 0.3, 0], [0, 0, 1.2]],
            [[-3, -2, 1.2], [0.7, 0.3, 0], [-0.3, 0.7, 0]],
        ]
    )
    areas = np.linalg.norm(np.cross(faces[:, 1], faces[:, 2]), axis=1)
    face = faces[rng.choice(len(faces), count, p=areas / areas.sum())]
    along = rng.uniform(size=(count, 2, 1))
    return face[:, 0] + along[:, 0] * face[:, 1] + along[:, 1] * face[:, 2]
