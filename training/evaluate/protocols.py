"""Pairs of clouds with a known truth, as the named protocols draw them."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

SO3_BINS = (0.0, 15.0, 30.0, 45.0, 60.0, 90.0, 135.0, 180.0)
EULER_BINS = (0.0, 15.0, 30.0, 45.0, 60.0, 90.0)

SAMPLES = 2048
JITTER, JITTER_CLIP = 0.01, 0.05
TRANSLATION = 0.5
EULER_RANGE = np.pi / 4
EULER_POINTS = 1024  # the clouds hold this many before the crop, so 717 after a crop to 70 %


@dataclass(frozen=True)
class Prior:
    """
    What is known of the pose beforehand.

    :param transform: (4, 4) ``T_target_source``.
    :param covariance: (6, 6), order x y z [m] roll pitch yaw [rad], axes of the target frame.
    """

    transform: np.ndarray
    covariance: np.ndarray


# Second moments about the identity of a rotation Euler U[0, 45] deg per axis and of a translation
# U[-0.5, 0.5] per axis: a uniform variable on [0, a] has the second moment a^2 / 3.
EULER_PRIOR = Prior(np.eye(4), np.diag([TRANSLATION**2 / 3] * 3 + [EULER_RANGE**2 / 3] * 3))


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
    :param source_plane: (4,) the kept half-space of the source, ``plane[:3] @ p >= plane[3]``.
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


def jitter(points, rng):
    """Add N(0, 0.01) clipped at 0.05 to each coordinate."""
    noise = rng.normal(scale=JITTER, size=points.shape)
    return points + np.clip(noise, -JITTER_CLIP, JITTER_CLIP)


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


def _cloud(points, rng):
    return rng.permutation(jitter(points, rng)).astype(np.float32)


def so3_crop_pair(shapes, index, seed, pairs_per_bin, keep=0.7):
    """
    Draw pair ``index`` of ``so3-crop``: all rotations, nothing known beforehand.

    Two independent samplings of 2048 points, each cropped by its own half-space, jittered and
    shuffled; a random common frame; the true rotation has exactly the angle of the bin about a
    random axis, the translation is U[-0.5, 0.5]^3.

    :return: :class:`Pair`.
    """
    rng = np.random.default_rng([seed, 1, index])
    angle = SO3_BINS[index // pairs_per_bin]
    shape = shapes.index_of(index)
    samplings = shapes.draw(shape, (SAMPLES, SAMPLES), rng)
    shape_pose = pose(Rotation.random(random_state=rng).as_matrix())
    axis = rng.normal(size=3)
    rotation = Rotation.from_rotvec(np.radians(angle) * axis / np.linalg.norm(axis)).as_matrix()
    truth = pose(rotation, rng.uniform(-TRANSLATION, TRANSLATION, 3))
    source, source_plane = crop_half_space(samplings[0], keep, rng)
    target, target_plane = crop_half_space(samplings[1], keep, rng)
    to_source = np.linalg.inv(truth) @ shape_pose
    return Pair(
        index=index,
        bin=angle,
        shape=shape,
        source=_cloud(apply(to_source, source), rng),
        target=_cloud(apply(shape_pose, target), rng),
        truth=truth,
        shape_pose=shape_pose,
        clean=apply(shape_pose, samplings[1]).astype(np.float32),
        source_plane=move_plane(to_source, source_plane),
        target_plane=move_plane(shape_pose, target_plane),
    )


def rpmnet_crop_pair(shapes, index, seed, pairs_per_bin, keep=0.7):
    """
    Draw pair ``index`` of ``rpmnet-crop``: Euler angles U[0, 45] deg, comparable with tables.

    As in RPM-Net (Yew and Lee, CVPR 2020) both clouds start from the *same* 2048 points; each is
    cropped by its own half-space and resampled to 717 points (so some samples are shared, with
    independent jitter). The source is the cloud that is moved by the drawn transform; the truth is
    its inverse. A method may start from the identity with :data:`EULER_PRIOR`.

    :return: :class:`Pair`.
    """
    rng = np.random.default_rng([seed, 2, index])
    shape = shapes.index_of(index)
    (points,) = shapes.draw(shape, (SAMPLES,), rng)
    x, y, z = rng.uniform(0, EULER_RANGE, 3)
    rotation = Rotation.from_euler('XYZ', (x, y, z)).as_matrix()  # Rx(x) @ Ry(y) @ Rz(z)
    moved = pose(rotation, rng.uniform(-TRANSLATION, TRANSLATION, 3))
    count = int(np.ceil(keep * EULER_POINTS))
    source, source_plane = crop_half_space(points, keep, rng)
    target, target_plane = crop_half_space(points, keep, rng)
    truth = np.linalg.inv(moved)
    angle = np.degrees(np.linalg.norm(Rotation.from_matrix(rotation).as_rotvec()))
    return Pair(
        index=index,
        bin=EULER_BINS[np.searchsorted(EULER_BINS, angle, side='right') - 1],
        shape=shape,
        source=_cloud(apply(moved, source[rng.permutation(len(source))[:count]]), rng),
        target=_cloud(target[rng.permutation(len(target))[:count]], rng),
        truth=truth,
        shape_pose=np.eye(4),
        clean=points.astype(np.float32),
        source_plane=move_plane(moved, source_plane),
        target_plane=target_plane,
        prior=EULER_PRIOR,
    )


@dataclass(frozen=True)
class Protocol:
    """
    A named way to draw pairs.

    :param draw: function (shapes, index, seed, pairs_per_bin) -> :class:`Pair`.
    :param drawn_bins: number of bins that are drawn, ``pairs_per_bin`` pairs each.
    :param bin_label: what the bins are, for people.
    :param with_chamfer: published tables give the modified chamfer distance.
    """

    draw: object
    drawn_bins: int
    bin_label: str
    with_chamfer: bool = False

    def pairs(self, shapes, pairs_per_bin, seed):
        """All pairs, one after another; the same arguments give the same pairs."""
        for index in range(self.drawn_bins * pairs_per_bin):
            yield self.draw(shapes, index, seed, pairs_per_bin)


PROTOCOLS = {
    'so3-crop': Protocol(so3_crop_pair, len(SO3_BINS), 'initial rotation [deg]'),
    'rpmnet-crop': Protocol(rpmnet_crop_pair, 1, 'initial rotation from [deg]', True),
}
