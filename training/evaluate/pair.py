"""One registration problem with a known truth, and what is needed to draw one."""

from dataclasses import dataclass

import numpy as np

JITTER, JITTER_CLIP = 0.01, 5.0  # standard deviation, and its largest multiple
# The half-space that holds every point.
EVERYTHING = np.array((0.0, 0.0, 0.0, -1.0))


@dataclass(frozen=True)
class Prior:
    """
    What is known of the pose beforehand.

    :param transform: (4, 4) ``T_target_source``.
    :param covariance: (6, 6), order x y z [m] roll pitch yaw [rad], axes of the target frame.
    """

    transform: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class Pair:
    """
    One registration problem; lengths in units of the shape's bounding radius.

    :param index: number of the pair within its protocol.
    :param bin: lower edge of its bin of the initial rotation [deg].
    :param shape: index of the shape.
    :param source: (n, 3) float32 noisy cloud, source frame.
    :param target: (m, 3) float32 noisy cloud, target frame.
    :param truth: (4, 4) ``T_target_source``.
    :param shape_pose: (4, 4), moves the shape's own frame to the target frame.
    :param clean: (k, 3) float32 noise-free cloud of the whole shape, target frame.
    :param source_plane: (4,) the kept half-space of the source, ``plane[:3] @ p >= plane[3]``;
        :data:`EVERYTHING` where nothing was cut off.
    :param target_plane: (4,) that of the target.
    :param prior: what a method may know beforehand, or None.
    """

    index: int
    bin: float
    shape: int
    source: np.ndarray
    target: np.ndarray
    truth: np.ndarray
    shape_pose: np.ndarray
    clean: np.ndarray
    source_plane: np.ndarray
    target_plane: np.ndarray
    prior: Prior | None = None


def crop_half_space(points, keep, rng):
    """
    Keep the points on one side of a random plane.

    :param points: (n, 3).
    :param keep: share of points to keep, 0..1.
    :param rng: numpy Generator.
    :return: the kept points (round(keep n), 3), and the plane (4,): ``plane[:3] @ p >= plane[3]``
        holds for the kept points and for no other.
    """
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    height = points @ direction
    order = np.argsort(-height, kind='stable')
    count = round(keep * len(points))
    last_kept = height[order[count - 1]]
    first_cut = height[order[count]] if count < len(points) else last_kept
    offset = (last_kept + first_cut) / 2
    return points[np.sort(order[:count])], np.append(direction, offset)


def jitter(points, rng, sigma=JITTER):
    """Add N(0, sigma), clipped at five sigma, to each coordinate."""
    noise = rng.normal(scale=sigma, size=points.shape)
    return points + np.clip(noise, -JITTER_CLIP * sigma, JITTER_CLIP * sigma)


def pose(rotation=None, translation=None):
    """(4, 4) transform of a rotation matrix and a translation."""
    T = np.eye(4)
    if rotation is not None:
        T[:3, :3] = rotation
    if translation is not None:
        T[:3, 3] = translation
    return T


def apply(T, points):
    """Points (n, 3) moved by a (4, 4) transform."""
    return points @ T[:3, :3].T + T[:3, 3]


def move_plane(T, plane):
    """The half-space ``plane`` (4,) moved by a (4, 4) rigid transform."""
    normal = T[:3, :3] @ plane[:3]
    return np.append(normal, plane[3] + normal @ T[:3, 3])
