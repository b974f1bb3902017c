"""What the node publishes while it is active, and its diagnostics."""

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseArray, PoseWithCovarianceStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import PointCloud2
from tf2_msgs.msg import TFMessage

from dlc_ros.node import convert
from dlc_ros.node.ros.messages import build_message


class Outlets:
    """
    Publishers of transforms, poses, references, aligned clouds and hypotheses.

    :param node: rclpy node.
    :param mode: ``map`` or ``object``: decides the topics' names.
    """

    def __init__(self, node, mode):
        self._node = node
        self._mode = mode
        self._tf = node.create_publisher(TFMessage, '/tf', QoSProfile(depth=100))
        self._by_topic = {}
        self._shown = {}  # hashes of the references that were published, by name

    def prepare(self, name):
        """Open the topics of a reference, so that they can be found before its first pose."""
        self._pose(name)
        self._aligned(name)
        self._hypotheses(name)
        self._reference(name)

    def publish_references(self, references):
        """Show :class:`ReferencePoints` that are new; who comes later gets them too."""
        for reference in references:
            if self._shown.get(reference.name) != reference.sha256:
                self._shown[reference.name] = reference.sha256
                message = build_message(PointCloud2, convert.reference_values(reference))
                self._reference(reference.name).publish(message)

    def publish(self, output):
        """Publish an :class:`~dlc_ros.localization.output.Output`."""
        if output.transforms:
            self._tf.publish(build_message(TFMessage, convert.tf_values(output.transforms)))
        for pose in output.poses:
            message = build_message(PoseWithCovarianceStamped, convert.pose_values(pose))
            self._pose(pose.name).publish(message)

    def publish_debug(self, output):
        """Publish what costs something to make, where somebody listens."""
        for cloud in output.aligned:
            publisher = self._aligned(cloud.name)
            if publisher.get_subscription_count():
                values = convert.cloud_values(cloud.stamp_ns, cloud.frame, cloud.points())
                publisher.publish(build_message(PointCloud2, values))
        for hypotheses in output.hypotheses:
            publisher = self._hypotheses(hypotheses.name)
            if publisher.get_subscription_count():
                values = convert.hypotheses_values(hypotheses)
                publisher.publish(build_message(PoseArray, values))

    def close(self):
        """Destroy the publishers."""
        for publisher in (self._tf, *self._by_topic.values()):
            self._node.destroy_publisher(publisher)
        self._by_topic.clear()

    def _pose(self, name):
        topic = convert.pose_topic(self._mode, name)
        return self._publisher(PoseWithCovarianceStamped, topic, 10)

    def _aligned(self, name):
        return self._publisher(PointCloud2, convert.aligned_topic(self._mode, name), 2)

    def _hypotheses(self, name):
        return self._publisher(PoseArray, convert.hypotheses_topic(self._mode, name), 10)

    def _reference(self, name):
        topic = convert.reference_topic(self._mode, name)
        return self._publisher(PointCloud2, topic, 1, DurabilityPolicy.TRANSIENT_LOCAL)

    def _publisher(self, kind, topic, depth, durability=DurabilityPolicy.VOLATILE):
        # A reference may be loaded, and so named, while the node runs.
        if topic not in self._by_topic:
            self._by_topic[topic] = self._node.create_publisher(
                kind,
                topic,
                QoSProfile(depth=depth, durability=durability),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
        return self._by_topic[topic]


class DiagnosticsOutlet:
    """
    Publisher of ``/diagnostics``.

    :param node: rclpy node.
    """

    def __init__(self, node):
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)

    def publish(self, now_ns, statuses):
        """Publish a list of :class:`~dlc_ros.localization.output.DiagnosticStatus`."""
        values = convert.diagnostics_values(now_ns, statuses)
        self._publisher.publish(build_message(DiagnosticArray, values))

    def close(self):
        """Destroy the publisher."""
        self._node.destroy_publisher(self._publisher)
