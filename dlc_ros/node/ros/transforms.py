"""Transforms from tf2, as the localizer asks for them."""

import functools

import tf2_ros
import yaml
from rclpy.duration import Duration
from rclpy.time import Time

from dlc_ros.errors import TransformUnavailable
from dlc_ros.node.convert import matrix_from_transform, ns_from_stamp


class Transforms:
    """
    A tf2 buffer that listens for as long as it is open.

    :param node: rclpy node whose executor feeds the buffer.
    :param timeout: longest wait for a transform [s]. A caller that may wait must not hold up that
        executor.
    :param heard: ``heard(parent, child, stamp_ns, static, names)``, called with every transform;
        see ``Localizer.on_transform``.
    """

    def __init__(self, node, timeout, heard):
        self._buffer = tf2_ros.Buffer()
        self._listener = _Listener(self._buffer, node, heard)
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


class _Listener(tf2_ros.TransformListener):
    """One subscription for the buffer and for whoever looks at single transforms."""

    def __init__(self, buffer, node, heard):
        self._heard = heard
        self._of = node
        self._static_senders = set()
        super().__init__(buffer, node)

    def callback(self, data):
        super().callback(data)
        self._tell(data, False)

    def static_callback(self, data):
        super().static_callback(data)
        self._tell(data, True)

    def _tell(self, message, static):
        names = functools.partial(self._others, static)
        for stamped in message.transforms:
            self._heard(
                stamped.header.frame_id.lstrip('/'),
                stamped.child_frame_id.lstrip('/'),
                ns_from_stamp(stamped.header.stamp),
                static,
                names,
            )

    def _others(self, static):
        """All other nodes that publish such transforms: rclpy does not tell which one sent it."""
        node = self._of
        found = {
            f'{info.node_namespace.rstrip("/")}/{info.node_name}'
            for info in node.get_publishers_info_by_topic('/tf_static' if static else '/tf')
        } - {node.get_fully_qualified_name()}
        if static:
            if self._static_senders - found:
                self._hear_static_anew()
            self._static_senders = found
        return found

    def _hear_static_anew(self):
        """Have those who are still there send their static transforms once more."""
        old = self.tf_static_sub
        self.tf_static_sub = self._of.create_subscription(
            old.msg_type,
            '/tf_static',
            self.static_callback,
            old.qos_profile,
            callback_group=old.callback_group,
        )
        self._of.destroy_subscription(old)
