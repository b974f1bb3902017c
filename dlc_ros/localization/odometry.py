"""Odometry that cannot be true: it was reset, or its wheels slipped."""

import numpy as np

from dlc_ros.registration.se3 import compose, inverse, log_so3

# Clouds nearer in time than this [s] tell no speed.
_LEAST_INTERVAL = 0.02


class OdometryWatch:
    """Compares where consecutive clouds were taken; holds no lock."""

    def __init__(self):
        self._before = None

    def jump(self, scene, growth):
        """
        Tell whether the fixed frame jumped between the last cloud and this one.

        :param scene: :class:`~dlc_ros.localization.scene.Scene`.
        :param growth: :class:`~dlc_ros.localization.declarations.PriorGrowth`.
        :returns: one sentence, or '' if the motion is possible or not known.
        """
        before, self._before = self._before, scene
        if (
            before is None
            or before.fixed_from_source is None
            or scene.fixed_from_source is None
            or before.source_frame != scene.source_frame
        ):
            return ''
        motion = compose(inverse(before.fixed_from_source), scene.fixed_from_source)
        seconds = max((scene.stamp_ns - before.stamp_ns) * 1e-9, _LEAST_INTERVAL)
        length = float(np.linalg.norm(motion[:3, 3]))
        angle = float(np.linalg.norm(log_so3(motion[:3, :3])))
        if length <= growth.max_linear_speed * seconds and (
            angle <= growth.max_angular_speed * seconds
        ):
            return ''
        return (
            f'the odometry jumped by {length:.2f} m and {np.degrees(angle):.0f} deg in '
            f'{seconds:.2f} s'
        )

    def forget(self):
        """Start afresh after a jump of time."""
        self._before = None
