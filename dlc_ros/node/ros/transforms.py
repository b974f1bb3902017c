"""Transforms from tf2, as the localizer asks for them."""

import tf2_ros
import yaml
from rclpy.duration import Duration
from rclpy.time import Time

from dlc_ros.errors import TransformUnavailable
from dlc_ros.node.convert import matrix_from_transform


class Transforms:
    """
    A tf2 buffer that listens for as long as it is open.

    :param node: rclpy node whose executor feeds the buffer.
    :param timeout: longest wait for a transform [s]. A caller that may wait must not hold up that
        executor.
    """

    def __init__(self, node, timeout):
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)
        self._timeout = Duration(seconds=timeout)

    def lookup(self, target, source, stamp_ns):
        """
        Where ``source`` is in ``target``.

        :param stamp_ns: nanoseconds; 0 is the latest.
        :returns: (4, 4) float64 ``T_target_source``.
        :raises TransformUnavailable: not known at that time within the timeout.
        """
        time = Time(nanoseconds=stamp_ns)
        try:
            stamped = self._buffer.lookup_transform(target, source, time, self._timeout)
        except tf2_ros.TransformException as error:
            raise TransformUnavailable(f'no transform {target} <- {source}: {error}') from None
        return matrix_from_transform(stamped.transform)

    def parent_of(self, frame):
        """Name of a frame's parent in the tree, or None."""
        frames = yaml.safe_load(self._buffer.all_frames_as_yaml()) or {}
        return frames[frame]['parent'] if frame in frames else None

    def clear(self):
        """Forget what was received; static transforms stay."""
        self._buffer.clear()

    def close(self):
        """Stop listening."""
        self._listener.unregister()
