"""
Several instances of one model before one sensor.

Each has a name of its own and is followed on its own, but one cloud shows them all and the model
fits each of them. So what was found on a cloud is taken out of it for the other instances, those
that are tracked first; and a pose that fits another instance as well is no ambiguity.
"""

from collections import Counter

import numpy as np

from dlc_ros.localization.segmentation import near_point
from dlc_ros.registration.se3 import inverse, transform_points

# Points this near to a model's bounding box belong to the instance, in diameters.
_MARGIN = 0.03
# Poses farther apart than this show other points of the cloud: other instances. In diameters.
_APART = 0.5


class Claims:
    """
    Which points of a scene are taken by the instances that were found in it.

    :param scene: :class:`~dlc_ros.localization.scene.Scene`.
    :param clouds: the :class:`~dlc_ros.localization.references.ReferenceCloud` of each name.
    """

    def __init__(self, scene, clouds):
        self._points = scene.points
        names = Counter(cloud.sha256 for cloud in clouds)
        self._free = {model: None for model, count in names.items() if count > 1}

    def shared(self, cloud):
        """Whether several names share the model of a reference."""
        return cloud.sha256 in self._free

    def points_for(self, cloud):
        """(M, 3) points of the scene that no other instance of the same model has taken [m]."""
        free = self._free.get(cloud.sha256)
        return self._points if free is None else self._points[free]

    def take(self, cloud, transform):
        """
        Take the points of an instance.

        :param cloud: its reference.
        :param transform: (4, 4) accepted ``T_reference_source``.
        """
        if not self.shared(cloud):
            return
        margin = _MARGIN * cloud.diameter
        low, high = cloud.points.min(axis=0) - margin, cloud.points.max(axis=0) + margin
        placed = transform_points(transform, self._points)
        outside = ((placed < low) | (placed > high)).any(axis=1)
        free = self._free[cloud.sha256]
        self._free[cloud.sha256] = outside if free is None else free & outside


def points_of_one(registration, cloud, points):
    """
    Points around one instance, if all that makes a registration ambiguous are other instances.

    :param registration: :class:`dlc_ros.Registration` of ``points`` onto the model.
    :param cloud: :class:`~dlc_ros.localization.references.ReferenceCloud`.
    :param points: (N, 3) in the source frame [m].
    :returns: (M, 3) of them near the chosen pose; None if another pose fits the same points.
    """
    middle = cloud.points.mean(axis=0)[None]
    chosen = transform_points(inverse(registration.transform), middle)[0]
    for alternative in registration.alternatives:
        other = transform_points(inverse(alternative), middle)[0]
        if np.linalg.norm(other - chosen) < _APART * cloud.diameter:
            return None
    return near_point(points, chosen, 0.55 * cloud.diameter)
