"""Map mode: the robot in a map, published as map -> odom (REP-105)."""

import numpy as np

from dlc_ros.errors import TransformUnavailable
from dlc_ros.localization.hold import HeldTransform
from dlc_ros.localization.initial_pose import near
from dlc_ros.localization.output import PoseEstimate, StampedTransform
from dlc_ros.localization.scene import Scene, measure, viewpoint_in
from dlc_ros.localization.tracker import KnownPose
from dlc_ros.localization.units import LARGEST_MAP
from dlc_ros.registration.covariance import covariance_of_compose
from dlc_ros.registration.se3 import (
    compose,
    inverse,
    make_transform,
    matrix_from_rpy,
    transform_points,
)


class MapMode:
    """
    Where the robot is in a map; ``source`` is its base, ``fixed`` its odometry.

    The cloud is moved into the base frame before it is registered: the base is upright, so that
    a map and a scan share the direction of gravity whatever way the sensor is mounted, and its
    origin is the point whose covariance is published.

    :param lookup: ``lookup(target, source, stamp_ns) -> (4, 4)``; stamp 0 is the latest.
    :param parent_of: ``parent_of(frame) -> str | None``: the frame's parent in the transform
        tree.
    """

    largest_reference = LARGEST_MAP

    def __init__(self, parameters, lookup, parent_of):
        self.parameters = parameters
        self._lookup = lookup
        self._parent_of = parent_of
        self._held = HeldTransform()
        self._gave_parent = False  # whether base's parent in the tree is our own doing

    @property
    def search_budget(self):
        """
        Seconds that a global search may take after a rejected tracking attempt: none.

        A scan that a crowd hides must not make the robot jump to a room that looks alike.
        """
        return 0.0

    def scene(self, cloud, _diameter):
        """
        Prepare a :class:`~dlc_ros.localization.scene.Cloud`.

        :returns: :class:`~dlc_ros.localization.scene.Scene`.
        :raises CloudError: not a usable cloud.
        :raises TransformUnavailable: sensor or odometry transform missing at the stamp.
        """
        frames = self.parameters.frames
        measured = measure(cloud, frames.odom, self._lookup, self.parameters)
        points, viewpoint = measured.points, np.zeros(3)
        if cloud.frame != frames.base:
            base_from_cloud = self._lookup(frames.base, cloud.frame, cloud.stamp_ns)
            points, viewpoint = transform_points(base_from_cloud, points), base_from_cloud[:3, 3]
        if frames.sensor:
            viewpoint = viewpoint_in(frames.base, frames.sensor, cloud, self._lookup)
        fixed = self._lookup(frames.odom, frames.base, cloud.stamp_ns) if frames.odom else None
        return Scene(cloud.stamp_ns, frames.base, points, viewpoint, fixed, np.eye(4), measured)

    def child(self, _name):
        """Name of the frame that gets its parent from here, or None."""
        frames = self.parameters.frames
        if not self.parameters.publish_tf:
            return None
        return frames.odom or (frames.base if self.parameters.publish_map_to_base else None)

    def yields_to(self, parent):
        """
        Whether the child may have this parent, from others.

        A base that has one beside the map gets none from here, of which :meth:`transforms` tells:
        nobody sees two, unless one was published before.
        """
        frames = self.parameters.frames
        return not (frames.odom or self._gave_parent) and parent != frames.map

    def region(self, points, _prior, _cloud):
        """Points that may lie on the map: all."""
        return points

    def frame(self, _scene):
        """Name of the frame in which poses are given."""
        return self.parameters.frames.map

    def place(self, _scene, transform):
        """Pose (4, 4) of the robot that follows from a ``T_map_base``: the same."""
        return transform

    def pose(self, _name, scene, transform, covariance):
        """Pose of the robot that follows from an accepted ``T_map_base``."""
        frames = self.parameters.frames
        return PoseEstimate(frames.base, frames.map, scene.stamp_ns, transform, covariance)

    def transforms(self, _name, scene, transform, fresh):
        """
        Transforms to publish, as a tuple; empty if none is asked for.

        :param fresh: whether the pose was not known before.
        :raises TransformUnavailable: map -> base_link was asked for, but base_link has a parent.
        """
        frames = self.parameters.frames
        tolerance = self.parameters.transform_tolerance
        if frames.odom:
            matrix = compose(transform, inverse(scene.fixed_from_source))
            correction = StampedTransform(frames.map, frames.odom, scene.stamp_ns, matrix)
            given = self._held.take(correction, tolerance, fresh)
            return given if self.parameters.publish_tf else ()
        if not (self.parameters.publish_map_to_base and self.parameters.publish_tf):
            return ()
        parent = self._parent_of(frames.base)
        if parent is not None and not (self._gave_parent and parent == frames.map):
            raise TransformUnavailable(
                f'{frames.map} -> {frames.base} is not published: {frames.base} already has the '
                f'parent {parent}; name the odometry in frames.odom'
            )
        self._gave_parent = True
        date_ns = scene.stamp_ns + round(tolerance * 1e9)
        return (StampedTransform(frames.map, frames.base, date_ns, transform),)

    def repeat(self, now_ns):
        """
        Give map -> odom again, or None.

        A map -> base_link is never repeated: without odometry it is wrong once the robot moves on.
        """
        parameters = self.parameters
        if not parameters.publish_tf:
            return None
        return self._held.repeat(now_ns, parameters.transform_tolerance, parameters.hold_timeout)

    def expired(self, now_ns):
        """Whether there is a map -> odom that is too old to be repeated."""
        return self._held.expired(now_ns, self.parameters.hold_timeout)

    def bridges(self, now_ns):
        """Whether the odometry carries the last pose on while no cloud comes."""
        return self._held.lasts(now_ns, self.parameters.hold_timeout)

    def restart(self):
        """Time jumped."""
        self._held.restart()

    def configured_pose(self):
        """Pose of the robot in the map that ``initial_pose`` sets, or None."""
        given, growth = self.parameters.initial_pose, self.parameters.prior
        if not given.set:
            return None
        rotation = matrix_from_rpy((given.roll, given.pitch, given.yaw))
        deviations = np.repeat([growth.initial_translation, growth.initial_rotation], 3)
        return KnownPose(
            make_transform(rotation, (given.x, given.y, given.z)),
            np.diag(deviations**2),
            None,
            self.parameters.frames.base,
            accepted=False,
        )

    def given_pose(self, stamp_ns, frame_id, matrix, covariance, _cloud_frame):
        """
        Pose of the robot that an operator gave, in the map.

        :raises TransformUnavailable: ``frame_id`` cannot be transformed to the map.
        """
        frames = self.parameters.frames
        map_from_frame = np.eye(4)
        if frame_id != frames.map:
            map_from_frame = near(self._lookup, frames.map, frame_id, stamp_ns)
        fixed = near(self._lookup, frames.odom, frames.base, stamp_ns) if frames.odom else None
        return KnownPose(
            compose(map_from_frame, matrix),
            covariance_of_compose(map_from_frame, None, matrix, covariance),
            stamp_ns,
            frames.base,
            fixed,
            accepted=False,
        )
