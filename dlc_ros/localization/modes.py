"""The two modes: what is registered to what, and which transform follows from it."""

from dataclasses import dataclass

import numpy as np

from dlc_ros.errors import CloudError, ParameterError, TransformUnavailable
from dlc_ros.localization.hold import HeldTransform
from dlc_ros.localization.output import PoseEstimate, StampedTransform
from dlc_ros.localization.segmentation import near_point, segment
from dlc_ros.localization.tracker import KnownPose
from dlc_ros.registration.cloud import validate_cloud
from dlc_ros.registration.se3 import (
    compose,
    covariance_of_compose,
    covariance_of_inverse,
    inverse,
    is_rigid,
    make_transform,
    symmetric,
    transform_points,
)


@dataclass(frozen=True)
class Scene:
    """
    A cloud, ready to be registered, and where it was taken.

    :param stamp_ns: of the cloud.
    :param source_frame: frame of ``points``: the robot's base in map mode, else the cloud's.
    :param points: (N, 3) float64, finite, in ``source_frame`` [m].
    :param fixed_from_source: (4, 4) at the stamp, or None where no fixed frame is configured.
    :param parent_from_source: (4, 4) at the stamp: where objects are published; the identity in
        map mode.
    """

    stamp_ns: int
    source_frame: str
    points: np.ndarray
    fixed_from_source: np.ndarray
    parent_from_source: np.ndarray


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

    def scene(self, stamp_ns, frame_id, points, _diameter):
        """
        Prepare a cloud.

        :raises CloudError: not a usable cloud.
        :raises TransformUnavailable: sensor or odometry transform missing at the stamp.
        """
        frames = self.parameters.frames
        points = validate_cloud(points, self.parameters.registration.min_points)
        if frame_id != frames.base:
            base_from_cloud = self._lookup(frames.base, frame_id, stamp_ns)
            points = transform_points(base_from_cloud, points)
        fixed = self._lookup(frames.odom, frames.base, stamp_ns) if frames.odom else None
        return Scene(stamp_ns, frames.base, points, fixed, np.eye(4))

    def region(self, scene, _prior, _cloud):
        """Points that may lie on the map: all."""
        return scene.points

    def pose(self, _name, scene, transform, covariance):
        """Pose of the robot that follows from an accepted ``T_map_base``."""
        frames = self.parameters.frames
        return PoseEstimate(frames.base, frames.map, scene.stamp_ns, transform, covariance)

    def transform(self, _name, scene, transform):
        """
        Transform to publish; None if none is asked for.

        :raises TransformUnavailable: map -> base_link was asked for, but base_link has a parent.
        """
        frames = self.parameters.frames
        tolerance = self.parameters.transform_tolerance
        if frames.odom:
            matrix = compose(transform, inverse(scene.fixed_from_source))
            correction = StampedTransform(frames.map, frames.odom, scene.stamp_ns, matrix)
            return self._held.take(correction, tolerance)
        if not self.parameters.publish_map_to_base:
            return None
        parent = self._parent_of(frames.base)
        if parent is not None and not (self._gave_parent and parent == frames.map):
            raise TransformUnavailable(
                f'{frames.map} -> {frames.base} is not published: {frames.base} already has the '
                f'parent {parent}; name the odometry in frames.odom'
            )
        self._gave_parent = True
        date_ns = scene.stamp_ns + round(tolerance * 1e9)
        return StampedTransform(frames.map, frames.base, date_ns, transform)

    def repeat(self, now_ns):
        """
        Give map -> odom again, or None.

        A map -> base_link is never repeated: without odometry it is wrong once the robot moves on.
        """
        parameters = self.parameters
        return self._held.repeat(now_ns, parameters.transform_tolerance, parameters.hold_timeout)

    def drop(self):
        """Repeat nothing any more."""
        self._held.drop()

    def restart(self):
        """Time jumped."""
        self._held.restart()

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


class ObjectMode:
    """
    Where objects are before a sensor; ``source`` is the cloud's frame.

    The cloud is registered onto the model, which gives ``T_object_cloud``; published is its
    inverse, ``T_parent_object``, with the covariance moved accordingly.

    :param lookup: ``lookup(target, source, stamp_ns) -> (4, 4)``; stamp 0 is the latest.
    """

    def __init__(self, parameters, lookup):
        self.parameters = parameters
        self._lookup = lookup

    @property
    def search_budget(self):
        """
        Seconds that a global search may take after a rejected tracking attempt.

        An object that was carried off is so found at once, on the cloud that shows it.
        """
        return self.parameters.objects.search_budget

    def scene(self, stamp_ns, frame_id, points, diameter):
        """
        Prepare a cloud: crop it, drop the plane that the objects stand on.

        :raises CloudError: not a usable cloud, or nothing left of it.
        :raises TransformUnavailable: a configured parent or fixed frame is missing at the stamp.
        """
        parameters = self.parameters
        parent, fixed = parameters.frames.parent, parameters.objects.fixed_frame
        min_points = parameters.registration.min_points
        points = validate_cloud(points, min_points)
        fixed_from_source = self._lookup(fixed, frame_id, stamp_ns) if fixed else None
        parent_from_source = np.eye(4)
        if parent and parent != frame_id:
            parent_from_source = self._lookup(parent, frame_id, stamp_ns)
        kept = segment(points, diameter, parameters.segmentation)
        if len(kept) < min_points:
            raise CloudError(
                f'cloud: {len(kept)} of {len(points)} points are left after segmentation; no '
                'object in view, or check the segmentation parameters'
            )
        return Scene(stamp_ns, frame_id, kept, fixed_from_source, parent_from_source)

    def region(self, scene, prior, cloud):
        """
        Points that may lie on the object: with a prior, those near where it is expected.

        :param scene: :class:`Scene`.
        :param prior: :class:`~dlc_ros.localization.decision.Prior`, or None.
        :param cloud: :class:`~dlc_ros.localization.references.ReferenceCloud`.
        :returns: (M, 3) points in the scene's source frame.
        """
        if prior is None or not self.parameters.segmentation.crop_to_prior:
            return scene.points
        center = make_transform(translation=cloud.points.mean(axis=0))
        expected = compose(inverse(prior.transform), center)
        covariance = covariance_of_compose(
            inverse(prior.transform),
            covariance_of_inverse(prior.transform, prior.covariance),
            center,
        )
        reach = 3.0 * np.sqrt(np.linalg.eigvalsh(covariance[:3, :3])[-1])
        return near_point(scene.points, expected[:3, 3], 0.5 * cloud.diameter + reach)

    def pose(self, name, scene, transform, covariance):
        """Pose of the object that follows from an accepted ``T_object_source``."""
        covariance = covariance_of_compose(
            scene.parent_from_source,
            None,
            inverse(transform),
            covariance_of_inverse(transform, covariance),
        )
        published = self.transform(name, scene, transform)
        return PoseEstimate(name, published.parent, scene.stamp_ns, published.matrix, covariance)

    def transform(self, name, scene, transform):
        """Transform to publish, dated as the cloud."""
        parent = self.parameters.frames.parent or scene.source_frame
        matrix = compose(scene.parent_from_source, inverse(transform))
        return StampedTransform(parent, name, scene.stamp_ns, matrix)

    def repeat(self, _now_ns):
        """Give None: an object may be moved by anybody at any time, so nothing is repeated."""
        return None

    def drop(self):
        """Repeat nothing any more: nothing is."""

    def restart(self):
        """Time jumped: nothing is held."""

    def given_pose(self, stamp_ns, frame_id, matrix, covariance, cloud_frame):
        """
        Pose of the object that an operator gave, seen from the last cloud's frame.

        :raises TransformUnavailable: no cloud yet, or ``frame_id`` cannot be transformed to it.
        """
        source = self.parameters.frames.cloud or cloud_frame
        if not source:
            raise TransformUnavailable("no cloud yet, so the sensor's frame is not known")
        frame_from_source = np.eye(4)
        if frame_id != source:
            frame_from_source = near(self._lookup, frame_id, source, stamp_ns)
        fixed = self.parameters.objects.fixed_frame
        return KnownPose(
            compose(inverse(matrix), frame_from_source),
            covariance_of_compose(
                inverse(matrix), covariance_of_inverse(matrix, covariance), frame_from_source
            ),
            stamp_ns,
            source,
            near(self._lookup, fixed, source, stamp_ns) if fixed else None,
            accepted=False,
        )


def near(lookup, target, source, stamp_ns):
    """Look up at the stamp, else the latest: what a hand points at is not exact to a tick."""
    try:
        return lookup(target, source, stamp_ns or 0)
    except TransformUnavailable:
        return lookup(target, source, 0)


def checked_covariance(frame_id, pose, covariance, growth):
    """
    Check a pose that an operator gave and complete its covariance.

    :param frame_id: frame of the pose.
    :param pose: (4, 4).
    :param covariance: (6, 6); an axis without a variance (RViz leaves z, roll and pitch so) gets
        that of ``growth``.
    :param growth: :class:`~dlc_ros.localization.declarations.PriorGrowth`.
    :returns: (6, 6) positive definite.
    :raises ParameterError: no frame, not rigid, or not a covariance.
    """
    if not frame_id:
        raise ParameterError('it names no frame')
    if not is_rigid(pose):
        raise ParameterError('it is not a rigid transform with a unit quaternion')
    covariance = np.asarray(covariance, dtype=np.float64)
    if covariance.shape != (6, 6) or not np.isfinite(covariance).all():
        raise ParameterError('its covariance is not a finite 6x6 matrix')
    covariance = symmetric(covariance)
    default = np.repeat([growth.initial_translation, growth.initial_rotation], 3) ** 2
    covariance += np.diag(np.where(np.diag(covariance) == 0.0, default, 0.0))
    if np.linalg.eigvalsh(covariance)[0] <= 0.0:
        raise ParameterError('its covariance is not positive definite')
    return covariance
