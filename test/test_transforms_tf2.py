"""The node without tf2 looks transforms up as tf2 does: both are asked the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

tf2_ros = pytest.importorskip(
    'tf2_ros', reason='tf2_ros is not importable: source ROS 2 first (docs/ros2.md)'
)

from geometry_msgs.msg import TransformStamped  # noqa: E402
from rclpy.time import Time  # noqa: E402

from dlc_ros.errors import TransformUnavailable  # noqa: E402
from dlc_ros.localization.transforms import TransformTree  # noqa: E402

FRAMES = [f'f{i}' for i in range(7)]
BEGIN, MILLISECOND = 1_700_000_000 * 10**9, 10**6


def stamped(parent, child, stamp_ns, rotation, translation):
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = parent, child
    message.header.stamp = Time(nanoseconds=stamp_ns).to_msg()
    place, turn = message.transform.translation, message.transform.rotation
    place.x, place.y, place.z = translation
    turn.x, turn.y, turn.z, turn.w = rotation.as_quat()
    return message


class Both:
    """A tree and a tf2 buffer that were told the same."""

    def __init__(self):
        self._tree = TransformTree()
        self._buffer = tf2_ros.Buffer()

    def insert(self, parent, child, stamp_ns, seed, static):
        rotation = Rotation.random(random_state=seed)
        translation = np.random.default_rng(seed).uniform(-5.0, 5.0, 3).tolist()
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = rotation.as_matrix(), translation
        self._tree.insert(parent, child, stamp_ns, matrix, static=static)
        put = self._buffer.set_transform_static if static else self._buffer.set_transform
        put(stamped(parent, child, stamp_ns, rotation, translation), 'test')

    def of_tf2(self, target, source, stamp_ns):
        """(4, 4), or None where it knows none."""
        try:
            found = self._buffer.lookup_transform_core(target, source, Time(nanoseconds=stamp_ns))
        except tf2_ros.TransformException:
            return None
        place, turn = found.transform.translation, found.transform.rotation
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).as_matrix()
        matrix[:3, 3] = place.x, place.y, place.z
        return matrix

    def of_tree(self, target, source, stamp_ns):
        """(4, 4), or None where it knows none."""
        try:
            return self._tree.lookup(target, source, stamp_ns)
        except TransformUnavailable:
            return None


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_question_has_the_answer_of_tf2(data):
    """Trees of moving and resting frames, gaps in time, frames that nobody knows, two roots."""
    both = Both()
    offsets = st.integers(0, 9_000)  # ms: less than what both keep
    for number, child in enumerate(FRAMES[1:], start=1):
        if data.draw(st.integers(0, 9)) == 0:
            continue  # a frame without a parent
        parent = FRAMES[data.draw(st.integers(0, number - 1))]
        static = data.draw(st.integers(0, 3)) == 0
        for offset in data.draw(st.lists(offsets, min_size=1, max_size=5, unique=True)):
            seed = data.draw(st.integers(0, 10**6))
            both.insert(parent, child, BEGIN + offset * MILLISECOND, seed, static)
    for _ in range(6):
        target, source = (data.draw(st.sampled_from([*FRAMES, 'nobody'])) for _ in range(2))
        latest = data.draw(st.integers(0, 3)) == 0
        stamp_ns = 0 if latest else BEGIN + data.draw(offsets) * MILLISECOND
        expected = both.of_tf2(target, source, stamp_ns)
        found = both.of_tree(target, source, stamp_ns)
        assert (found is None) == (expected is None), (target, source, stamp_ns)
        if expected is not None:
            np.testing.assert_allclose(found, expected, atol=1e-6)
