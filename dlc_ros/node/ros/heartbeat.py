"""The bond by which nav2's lifecycle manager knows that an active node is alive."""

import uuid

from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSProfile

try:
    from bond.msg import Status
except ImportError:  # a robot without nav2
    Status = None

# What nav2's own nodes announce [s].
_PERIOD, _TIMEOUT = 0.1, 4.0


class Heartbeat:
    """
    Says on ``bond`` that the node is there, from its making to :meth:`close`.

    It answers a manager that waits for the node, and watches none: a localizer goes on when the
    manager is gone. Without the package ``bond`` it does nothing.

    :param node: rclpy node, active; its name is the bond's.
    """

    def __init__(self, node):
        self._node, self._publisher = node, None
        if Status is None:
            return
        self._instance = str(uuid.uuid4())
        self._publisher = node.create_publisher(Status, 'bond', QoSProfile(depth=5))
        # A paused simulation must not look like a dead node.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_PERIOD, self._beat, clock=steady)

    def close(self):
        """Tell a manager that the bond ends, and stop."""
        if self._publisher is not None:
            self._node.destroy_timer(self._timer)
            if self._node.context.ok():  # which Ctrl-C ends before the node
                self._beat(active=False)
            self._node.destroy_publisher(self._publisher)
            self._publisher = None

    def _beat(self, active=True):
        if self._publisher.get_subscription_count():
            message = Status(id=self._node.get_name(), instance_id=self._instance, active=active)
            message.header.stamp = self._node.get_clock().now().to_msg()
            message.heartbeat_period, message.heartbeat_timeout = _PERIOD, _TIMEOUT
            self._publisher.publish(message)
