"""Trees of plain values (``dlc_ros.node.convert``) -> rclpy messages."""

import array

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from geometry_msgs.msg import Pose, TransformStamped
from sensor_msgs.msg import PointCloud2, PointField

# Classes of the repeated fields, by name: these messages have no two of one name.
_ELEMENTS = {
    'transforms': TransformStamped,
    'poses': Pose,
    'status': DiagnosticStatus,
    'values': KeyValue,
    'fields': PointField,
}


def build_message(kind, values):
    """
    Message of a class from a tree of plain values; what is not named keeps its default.

    :param kind: message class.
    :param values: dict field name -> value, dict (a nested message) or list of dicts.
    """
    return _fill(kind(), values)


def _fill(message, values):
    for name, value in values.items():
        if isinstance(value, dict):
            _fill(getattr(message, name), value)
        elif name in _ELEMENTS:
            setattr(message, name, [_fill(_ELEMENTS[name](), item) for item in value])
        elif isinstance(message, DiagnosticStatus) and name == 'level':
            message.level = bytes([value])
        elif isinstance(message, PointCloud2) and name == 'data':
            # rclpy checks every byte of a list or of bytes, and takes an array as it is.
            message.data = array.array('B', value.tobytes())
        else:
            setattr(message, name, value)
    return message
