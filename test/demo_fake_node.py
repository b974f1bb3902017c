"""
A node for tests of the demo: it hears the truth and publishes it, well or badly.

usage: demo_fake_node.py right | wrong | careless | silent | dies
"""

import sys
import time

import numpy as np

from dlc_ros.localization.output import DiagnosticStatus, StampedTransform
from dlc_ros.node import convert
from dlc_ros.node.dds import qos
from dlc_ros.node.dds.participant import Participant
from dlc_ros.node.pointcloud2 import points_from_message
from dlc_ros.registration.se3 import exp_so3, make_transform

BEHAVIOURS = ('right', 'wrong', 'careless', 'silent', 'dies')
# Dies after so many clouds.
LIFETIME = 20
# A cloud whose points are nearer than this [m] shows something on the lens.
NEAREST_PART = 0.3


class FakeNode:
    """Answers clouds with the truth at their stamp; ``careless`` also those without the part."""

    def __init__(self, behaviour):
        self.behaviour = behaviour
        self.clouds = 0
        self._answerable = set()
        self._truths = {}
        self._node = Participant('fake_node', interface='lo')
        self._tf = self._node.publisher('/tf', 'tf2_msgs/msg/TFMessage', qos.TF)
        self._diagnostics = self._node.publisher(
            '/diagnostics', 'diagnostic_msgs/msg/DiagnosticArray'
        )
        self._node.subscribe('/demo/truth', 'tf2_msgs/msg/TFMessage', self._on_truth, qos.TF)
        self._node.subscribe(
            '/camera/points', 'sensor_msgs/msg/PointCloud2', self._on_cloud, qos.CLOUD
        )

    def run(self):
        """Report until ended from outside, or until it is time to die."""
        while self.behaviour != 'dies' or self.clouds < LIFETIME:
            values = {'state': 'TRACKING', 'clouds in': str(self.clouds)}
            status = DiagnosticStatus(0, 'fake_node: input', 'clouds arrive', values)
            self._diagnostics.publish(convert.diagnostics_values(time.time_ns(), [status]))
            time.sleep(0.1)
        print('fake node: out of memory', file=sys.stderr)
        return 3

    def _on_cloud(self, message):
        self.clouds += 1
        depth = points_from_message(message)[:, 2]
        shows_part = np.isfinite(depth).any() and np.nanmedian(depth) > NEAREST_PART
        if self.behaviour == 'careless' or (shows_part and self.behaviour != 'silent'):
            self._answerable.add(convert.ns_from_stamp(message.header.stamp))
            self._answer()

    def _on_truth(self, message):
        (true,) = message.transforms
        self._truths[convert.ns_from_stamp(true.header.stamp)] = true
        self._answer()

    def _answer(self):
        """Publish for every cloud whose truth is known; either may arrive first."""
        for stamp_ns in sorted(self._answerable & self._truths.keys()):
            self._answerable.remove(stamp_ns)
            true = self._truths.pop(stamp_ns)
            matrix = convert.matrix_from_transform(true.transform)
            if self.behaviour == 'wrong':
                matrix = matrix @ make_transform(exp_so3([0.0, 0.0, 0.5]))
            transform = StampedTransform(true.header.frame_id, 'part', stamp_ns, matrix)
            self._tf.publish(convert.tf_values([transform]))


if __name__ == '__main__':
    if sys.argv[1] not in BEHAVIOURS:
        sys.exit(__doc__)
    sys.exit(FakeNode(sys.argv[1]).run())
