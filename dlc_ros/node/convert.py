"""
What the localizer says and hears <-> fields of ROS messages; shared by both nodes.

Out: trees of plain values (dicts by field name, lists, numbers), which either node turns into its
own message classes. In: messages of any family, read by their attributes.
"""

import numpy as np

from dlc_ros.localization.declarations import topic_part
from dlc_ros.node.pointcloud2 import pack_points
from dlc_ros.registration.se3 import (
    make_transform,
    matrix_from_quaternion,
    quaternion_from_matrix,
)

_SECOND = 10**9
# How far a quaternion's length may be from one before it counts as damaged, not as rounded.
_UNIT_TOLERANCE = 1e-2


def stamp_from_ns(stamp_ns):
    """Nanoseconds -> values of ``builtin_interfaces/Time``."""
    sec, nanosec = divmod(int(stamp_ns), _SECOND)
    return {'sec': sec, 'nanosec': nanosec}


def ns_from_stamp(stamp):
    """``builtin_interfaces/Time`` -> nanoseconds."""
    return int(stamp.sec) * _SECOND + int(stamp.nanosec)


def matrix_from_transform(transform):
    """
    ``geometry_msgs/Transform`` -> (4, 4) float64.

    A quaternion that is not of unit length gives NaN, which whoever takes the transform refuses.
    """
    return _matrix(transform.translation, transform.rotation)


def matrix_from_pose(pose):
    """``geometry_msgs/Pose`` -> (4, 4) float64; see :func:`matrix_from_transform`."""
    return _matrix(pose.position, pose.orientation)


def arguments_of_initial_pose(message):
    """
    ``geometry_msgs/PoseWithCovarianceStamped`` -> arguments of ``Localizer.on_initial_pose``.

    :returns: stamp [ns], frame name, (4, 4) pose, (6, 6) covariance.
    """
    covariance = np.array(message.pose.covariance, dtype=np.float64).reshape(6, 6)
    stamp_ns = ns_from_stamp(message.header.stamp)
    return stamp_ns, message.header.frame_id, matrix_from_pose(message.pose.pose), covariance


def object_of_reference(text):
    """Which object ``~/load_reference`` is about: ``bracket`` of ``bracket=file``, else ''."""
    name, separator, _ = text.partition('=')
    return name if separator else ''


def transforms_without_parent(transforms, frame):
    """
    List of ``geometry_msgs/TransformStamped`` without those whose parent is a frame.

    A recording of a robot that localised itself has a map -> odom of its own; beside the one that
    is found now, consumers would see two.
    """
    return [t for t in transforms if t.header.frame_id.lstrip('/') != frame]


def tf_values(transforms):
    """:class:`StampedTransform` objects -> values of ``tf2_msgs/TFMessage``."""
    return {'transforms': [transform_values(transform) for transform in transforms]}


def transform_values(transform):
    """:class:`StampedTransform` -> values of ``geometry_msgs/TransformStamped``."""
    return {
        'header': _header(transform.stamp_ns, transform.parent),
        'child_frame_id': transform.child,
        'transform': {
            'translation': _named('xyz', transform.matrix[:3, 3]),
            'rotation': _named('xyzw', quaternion_from_matrix(transform.matrix)),
        },
    }


def pose_values(estimate):
    """:class:`PoseEstimate` -> values of ``geometry_msgs/PoseWithCovarianceStamped``."""
    return {
        'header': _header(estimate.stamp_ns, estimate.frame),
        'pose': {
            'pose': _pose(estimate.matrix),
            'covariance': np.asarray(estimate.covariance, dtype=np.float64).reshape(36),
        },
    }


def diagnostics_values(stamp_ns, statuses):
    """:class:`DiagnosticStatus` objects -> values of ``diagnostic_msgs/DiagnosticArray``."""
    entries = [
        {
            'level': status.level,
            'name': status.name,
            'message': status.message,
            'values': [{'key': key, 'value': value} for key, value in status.values.items()],
        }
        for status in statuses
    ]
    return {'header': _header(stamp_ns, ''), 'status': entries}


def cloud_values(stamp_ns, frame, points):
    """(N, 3) points -> values of ``sensor_msgs/PointCloud2``; ``data`` is a flat uint8 array."""
    packed = pack_points(points)._asdict()
    packed['fields'] = [field._asdict() for field in packed['fields']]
    return {'header': _header(stamp_ns, frame), **packed}


def hypotheses_values(hypotheses):
    """:class:`Hypotheses` -> values of ``geometry_msgs/PoseArray``."""
    return {
        'header': _header(hypotheses.stamp_ns, hypotheses.frame),
        'poses': [_pose(matrix) for matrix in hypotheses.poses()],
    }


def reference_values(reference):
    """:class:`ReferencePoints` -> values of ``sensor_msgs/PointCloud2``; it holds at all times."""
    return cloud_values(0, reference.name, reference.points)


def reference_topic(mode, name):
    """Topic of the references: ``~/reference`` or ``~/<object>/reference``."""
    return '~/reference' if mode == 'map' else f'~/{topic_part(name)}/reference'


def pose_topic(mode, name):
    """Topic of the poses: ``~/pose`` of the robot, ``~/<object>/pose`` of each object."""
    return '~/pose' if mode == 'map' else f'~/{topic_part(name)}/pose'


def aligned_topic(mode, name):
    """Topic of the aligned clouds: ``~/aligned`` or ``~/<object>/aligned``."""
    return '~/aligned' if mode == 'map' else f'~/{topic_part(name)}/aligned'


def hypotheses_topic(mode, name):
    """Topic of the poses that competed: ``~/hypotheses`` or ``~/<object>/hypotheses``."""
    return '~/hypotheses' if mode == 'map' else f'~/{topic_part(name)}/hypotheses'


def initial_pose_topic(name):
    """Topic of the initial poses of one object: ``~/<object>/initialpose``."""
    return f'~/{topic_part(name)}/initialpose'


def _pose(matrix):
    return {
        'position': _named('xyz', matrix[:3, 3]),
        'orientation': _named('xyzw', quaternion_from_matrix(matrix)),
    }


def _matrix(translation, rotation):
    quaternion = np.array([rotation.x, rotation.y, rotation.z, rotation.w], dtype=np.float64)
    if abs(np.linalg.norm(quaternion) - 1.0) < _UNIT_TOLERANCE:
        turn = matrix_from_quaternion(quaternion)
    else:
        turn = np.full((3, 3), np.nan)
    return make_transform(turn, [translation.x, translation.y, translation.z])


def _named(names, values):
    return dict(zip(names, map(float, values), strict=True))


def _header(stamp_ns, frame):
    return {'stamp': stamp_from_ns(stamp_ns), 'frame_id': frame}
