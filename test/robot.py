"""The rest of a robot, over the wire: publishes clouds and transforms, keeps what a node says."""

import time

import numpy as np
from cyclonedds.builtin import (
    BuiltinDataReader,
    BuiltinTopicDcpsPublication,
    BuiltinTopicDcpsSubscription,
)
from cyclonedds.core import Policy
from cyclonedds.util import duration
from wire import LOOPBACK, SOON, wait_for

from dlc_ros.node import convert
from dlc_ros.node.dds import qos
from dlc_ros.node.dds.endpoints import SETTLE
from dlc_ros.node.dds.participant import Participant
from dlc_ros.registration.se3 import quaternion_from_matrix

TF, CLOUD = 'tf2_msgs/msg/TFMessage', 'sensor_msgs/msg/PointCloud2'
EMPTY, STRING = 'std_msgs/msg/Empty', 'std_msgs/msg/String'
POSE = 'geometry_msgs/msg/PoseWithCovarianceStamped'
POSES = 'geometry_msgs/msg/PoseArray'
DIAGNOSTICS = 'diagnostic_msgs/msg/DiagnosticArray'
CLOCK = 'rosgraph_msgs/msg/Clock'


class Robot:
    """
    Sensors, odometry and operator around one localizer.

    :param domain_id: DDS domain.
    :param node: name of the localizer.
    :param namespace: of the localizer and of this robot.
    """

    def __init__(self, domain_id, node='localizer', namespace='/'):
        self.node = f'{namespace.rstrip("/")}/{node}'
        self.participant = Participant('robot', namespace, domain_id=domain_id, interface=LOOPBACK)
        self.transforms, self.poses, self.reports = [], [], []
        self.participant.subscribe('tf', TF, self._on_tf, qos.TF)
        self.participant.subscribe('/diagnostics', DIAGNOSTICS, self._on_diagnostics)
        self._publishers = {
            'points': self._offer('points', CLOUD, qos.CLOUD),
            'tf': self._offer('tf', TF, qos.TF),
            'tf_static': self._offer('tf_static', TF, qos.TF_STATIC),
            'initialpose': self._offer('initialpose', POSE),
            'relocalize': self._offer(f'{self.node}/relocalize', EMPTY),
            'save_pose': self._offer(f'{self.node}/save_pose', EMPTY),
            'load_reference': self._offer(f'{self.node}/load_reference', STRING),
            'load_weights': self._offer(f'{self.node}/load_weights', STRING),
        }

    def close(self):
        self.participant.close()

    def wait_for_node(self):
        def heard():
            # Its own subscription to /tf counts as one.
            return all(
                publisher.subscriber_count >= (2 if name == 'tf' else 1)
                for name, publisher in self._publishers.items()
            )

        assert wait_for(heard), 'the node does not subscribe to everything'
        time.sleep(SETTLE)

    def offer_clock(self):
        """Publish simulated time from now on, with ``send('clock', ...)``."""
        self._publishers['clock'] = self._offer('/clock', CLOCK)
        assert self._publishers['clock'].wait_for_subscribers(timeout=60.0)

    def follow_poses(self, topic):
        """Keep the poses of a topic; the subscription to it."""
        return self.participant.subscribe(topic, POSE, self.poses.append)

    def send(self, name, values):
        self._publishers[name].publish(values)

    def send_cloud(self, stamp_ns, points, frame='camera', **changes):
        values = convert.cloud_values(stamp_ns, frame, points)
        self.send('points', {**values, **changes})

    def send_transform(self, name, stamp_ns, parent, child, matrix):
        header = {'stamp': convert.stamp_from_ns(stamp_ns), 'frame_id': parent}
        translation = dict(zip('xyz', matrix[:3, 3].tolist(), strict=True))
        rotation = dict(zip('xyzw', quaternion_from_matrix(matrix).tolist(), strict=True))
        transform = {'translation': translation, 'rotation': rotation}
        stamped = {'header': header, 'child_frame_id': child, 'transform': transform}
        self.send(name, {'transforms': [stamped]})

    def send_initial_pose(self, frame, matrix, topic='initialpose'):
        """Send a pose as RViz does; a matrix of zeros gives a quaternion of zeros."""
        if topic not in self._publishers:
            self._publishers[topic] = self._offer(topic, POSE)
            assert self._publishers[topic].wait_for_subscribers(timeout=SOON)
        quaternion = quaternion_from_matrix(matrix) if matrix.any() else np.zeros(4)
        pose = {
            'position': dict(zip('xyz', matrix[:3, 3].tolist(), strict=True)),
            'orientation': dict(zip('xyzw', quaternion.tolist(), strict=True)),
        }
        covariance = np.diag([0.25, 0.25, 0.25, 0.1, 0.1, 0.1]).reshape(36)
        self.send(
            topic,
            {'header': {'frame_id': frame}, 'pose': {'pose': pose, 'covariance': covariance}},
        )

    def found(self, parent, child, after_ns=0, since=0):
        """
        Transforms of two frames that the node published, newest last: (date [ns], (4, 4)).

        :param after_ns: only of later dates.
        :param since: how many of ``transforms`` to leave out.
        """
        return [
            (convert.ns_from_stamp(t.header.stamp), convert.matrix_from_transform(t.transform))
            for t in self.transforms[since:]
            if (t.header.frame_id, t.child_frame_id) == (parent, child)
            and convert.ns_from_stamp(t.header.stamp) > after_ns
        ]

    def status(self, task):
        """Newest diagnostic status of a task: (level, message, values)."""
        for report in reversed(list(self.reports)):
            for status in report.status:
                if status.name.endswith(f': {task}'):
                    return status.level, status.message, {v.key: v.value for v in status.values}
        return None, '', {}

    def endpoints(self):
        """
        What others announce in discovery: set of (direction, topic, type, reliability,
        durability, user data).

        Directions are the other's: ``out`` is published by it. Topics and types are named as on
        the wire.
        """
        ours = self.participant._participant
        key = str(ours.guid).replace('-', '')[:24]
        seen = set()
        for direction, kind in (
            ('out', BuiltinTopicDcpsPublication),
            ('in', BuiltinTopicDcpsSubscription),
        ):
            reader = BuiltinDataReader(ours, kind)
            for found in reader.take_iter(timeout=duration(milliseconds=50)):
                if found.qos is not None and not str(found.key).replace('-', '').startswith(key):
                    seen.add(_announced(direction, found))
        return seen

    def _offer(self, topic, kind, profile=qos.DEFAULT):
        return self.participant.publisher(topic, kind, profile)

    def _on_tf(self, message):
        self.transforms.extend(message.transforms)

    def _on_diagnostics(self, message):
        # Other robots of the same domain report there too.
        if message.status and message.status[0].name.startswith(self.node.rpartition('/')[2]):
            self.reports.append(message)


def _announced(direction, found):
    # Whether a class is "in" the QoS tells only that it has a policy of that kind.
    reliable = isinstance(found.qos[Policy.Reliability], Policy.Reliability.Reliable)
    latched = found.qos[Policy.Durability] == Policy.Durability.TransientLocal
    data = found.qos[Policy.Userdata].data if Policy.Userdata in found.qos else b''
    return (
        direction,
        found.topic_name,
        found.type_name,
        'reliable' if reliable else 'best effort',
        'transient local' if latched else 'volatile',
        data,
    )
