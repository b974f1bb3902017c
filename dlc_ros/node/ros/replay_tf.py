"""``replay_tf``: the transforms of a recording, without the recorded pose of the robot."""

import functools
import sys

import rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from dlc_ros.node.convert import transforms_without_parent
from dlc_ros.node.ros.process import ros


class ReplayTf(Node):
    """
    Passes ``/recorded/tf`` and ``/recorded/tf_static`` on to ``/tf`` and ``/tf_static``.

    Transforms whose parent is the frame in the parameter ``drop_parent`` are left out; an empty
    one passes all.
    """

    def __init__(self):
        super().__init__('replay_tf')
        self._dropped = self.declare_parameter('drop_parent', 'map').value
        for topic, durability in (
            ('tf', DurabilityPolicy.VOLATILE),
            ('tf_static', DurabilityPolicy.TRANSIENT_LOCAL),
        ):
            profile = QoSProfile(depth=100, durability=durability)
            publisher = self.create_publisher(TFMessage, f'/{topic}', profile)
            relay = functools.partial(self._relay, publisher)
            self.create_subscription(TFMessage, f'/recorded/{topic}', relay, profile)

    def _relay(self, publisher, message):
        message.transforms = transforms_without_parent(message.transforms, self._dropped)
        if message.transforms:
            publisher.publish(message)


def main(argv=None):
    """
    Run until it is shut down.

    :param argv: arguments, ROS's own among them; None takes sys.argv.
    :returns: exit code.
    """
    with ros(argv):
        rclpy.spin(ReplayTf())
    return 0


if __name__ == '__main__':
    sys.exit(main())
