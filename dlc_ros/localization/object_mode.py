"""Object mode: models before a sensor, published as parent -> object."""

import numpy as np

from dlc_ros.errors import CloudError, TransformUnavailable
from dlc_ros.localization.initial_pose import near
from dlc_ros.localization.output import PoseEstimate, StampedTransform
from dlc_ros.localization.scene import Scene, measure, viewpoint_in
from dlc_ros.localization.segmentation import near_point, segment
from dlc_ros.localization.tracker import KnownPose
from dlc_ros.localization.units import LARGEST_OBJECT, unit_doubt
from dlc_ros.registration.covariance import covariance_of_compose, covariance_of_inverse
from dlc_ros.registration.se3 import compose, inverse, make_transform


class ObjectMode:
    """
    Where objects are before a sensor; ``source`` is the cloud's frame.

    The cloud is registered onto the model, which gives ``T_object_cloud``; published is its
    inverse, ``T_parent_object``, with the covariance moved accordingly.

    :param lookup: ``lookup(target, source, stamp_ns) -> (4, 4)``; stamp 0 is the latest.
    """

    largest_reference = LARGEST_OBJECT

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

    def scene(self, cloud, diameter):
        """
        Prepare a cloud: crop it, drop the plane that the objects stand on.

        :param cloud: :class:`~dlc_ros.localization.scene.Cloud`.
        :param diameter: of the largest reference [m].
        :returns: :class:`~dlc_ros.localization.scene.Scene`.
        :raises CloudError: not a usable cloud, or nothing left of it.
        :raises TransformUnavailable: a configured parent, fixed or sensor frame is missing at the
            stamp.
        """
        parameters = self.parameters
        stamp_ns, frame = cloud.stamp_ns, cloud.frame
        parent, fixed = parameters.frames.parent, parameters.objects.fixed_frame
        measured = measure(cloud, fixed, self._lookup, parameters)
        fixed_from_source = self._lookup(fixed, frame, stamp_ns) if fixed else None
        parent_from_source = np.eye(4)
        if parent and parent != frame:
            parent_from_source = self._lookup(parent, frame, stamp_ns)
        viewpoint = None
        if parameters.objects.free_space:
            sensor = parameters.frames.sensor or frame
            viewpoint = viewpoint_in(frame, sensor, cloud, self._lookup)
        kept = segment(measured.points, diameter, parameters.segmentation)
        if len(kept) < parameters.registration.min_points:
            raise CloudError(
                f'cloud: {len(kept)} of {len(measured.points)} points are left after '
                'segmentation; '
                + (
                    unit_doubt(
                        measured.median_range,
                        diameter,
                        self.largest_reference,
                        parameters.reference_unit,
                    )
                    or 'no object in view, or check the segmentation parameters'
                )
            )
        return Scene(
            stamp_ns, frame, kept, viewpoint, fixed_from_source, parent_from_source, measured
        )

    def child(self, name):
        """Name of the frame that gets its parent from here, the object's, or None."""
        return name if self.parameters.publish_tf else None

    def yields_to(self, _parent):
        """Whether an object may have this parent, from others: none."""
        return False

    def region(self, points, prior, cloud):
        """
        Points that may lie on the object: with a prior, those near where it is expected.

        :param points: (N, 3) in the scene's source frame [m].
        :param prior: :class:`~dlc_ros.localization.decision.Prior`, or None.
        :param cloud: :class:`~dlc_ros.localization.references.ReferenceCloud`.
        :returns: (M, 3) of them.
        """
        if prior is None or not self.parameters.segmentation.crop_to_prior:
            return points
        center = make_transform(translation=cloud.points.mean(axis=0))
        expected = compose(inverse(prior.transform), center)
        covariance = covariance_of_compose(
            inverse(prior.transform),
            covariance_of_inverse(prior.transform, prior.covariance),
            center,
        )
        reach = 3.0 * np.sqrt(np.linalg.eigvalsh(covariance[:3, :3])[-1])
        return near_point(points, expected[:3, 3], 0.5 * cloud.diameter + reach)

    def frame(self, scene):
        """Name of the frame in which poses are given."""
        return self.parameters.frames.parent or scene.source_frame

    def place(self, scene, transform):
        """Pose (4, 4) of the object that follows from a ``T_object_source``."""
        return compose(scene.parent_from_source, inverse(transform))

    def pose(self, name, scene, transform, covariance):
        """Pose of the object that follows from an accepted ``T_object_source``."""
        covariance = covariance_of_compose(
            scene.parent_from_source,
            None,
            inverse(transform),
            covariance_of_inverse(transform, covariance),
        )
        place = self.place(scene, transform)
        return PoseEstimate(name, self.frame(scene), scene.stamp_ns, place, covariance)

    def transforms(self, name, scene, transform, _fresh):
        """
        Tuple of the transform to publish, dated as the cloud.

        :raises TransformUnavailable: the cloud's frame is called as the object is.
        """
        if not self.parameters.publish_tf:
            return ()
        frame = self.frame(scene)
        if frame == name:
            raise TransformUnavailable(
                f'{name} is not published: the cloud comes in a frame of that name too; rename '
                'the object in objects.names'
            )
        return (StampedTransform(frame, name, scene.stamp_ns, self.place(scene, transform)),)

    def repeat(self, _now_ns):
        """Give None: an object may be moved by anybody at any time, so nothing is repeated."""
        return None

    def expired(self, _now_ns):
        """Nothing is held, so nothing expires."""
        return False

    def bridges(self, _now_ns):
        """Nothing carries a pose on while no cloud comes."""
        return False

    def restart(self):
        """Time jumped: nothing is held."""

    def configured_pose(self):
        """Give None: nobody knows beforehand where an object lies."""
        return None

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
