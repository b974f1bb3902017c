"""Pairs of crops of one shape: ``so3-crop``, ``rpmnet-crop`` and ``self``."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from dlc_training.evaluate.pair import (
    EVERYTHING,
    JITTER,
    Pair,
    Prior,
    apply,
    crop_half_space,
    jitter,
    move_plane,
    pose,
)

SO3_BINS = (0.0, 15.0, 30.0, 45.0, 60.0, 90.0, 135.0, 180.0)
EULER_BINS = (0.0, 15.0, 30.0, 45.0, 60.0, 90.0)

SAMPLES = 2048
TRANSLATION = 0.5
EULER_RANGE = np.pi / 4
EULER_POINTS = 1024  # the clouds hold this many before the crop, so 717 after a crop to 70 %

# Second moments about the identity of a rotation Euler U[0, 45] deg per axis and of a translation
# U[-0.5, 0.5] per axis: a uniform variable on [0, a] has the second moment a^2 / 3.
EULER_PRIOR = Prior(np.eye(4), np.diag([TRANSLATION**2 / 3] * 3 + [EULER_RANGE**2 / 3] * 3))


@dataclass(frozen=True)
class CropOptions:
    """
    What the clouds of ``so3-crop`` are like; the defaults are the protocol.

    :param keep: share of each sampling that its half-space keeps, 0..1.
    :param sigma: standard deviation of the noise of each coordinate.
    :param foreign: share of each cloud that is replaced by points anywhere in the ball about it.
    :param source_samples: points of the source before the crop.
    :param target_samples: points of the target before the crop.
    """

    keep: float = 0.7
    sigma: float = JITTER
    foreign: float = 0.0
    source_samples: int = SAMPLES
    target_samples: int = SAMPLES


def _cloud(points, rng, sigma=JITTER):
    return rng.permutation(jitter(points, rng, sigma)).astype(np.float32)


def _foreign(points, options, rng):
    """Points (n, 3) of which a share is replaced by uniform ones of the ball about them."""
    count = round(options.foreign * len(points))
    if count == 0:
        return points
    centre = points.mean(0)
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    reach = np.linalg.norm(points - centre, axis=1).max()
    ball = centre + reach * direction * rng.uniform(size=(count, 1)) ** (1 / 3)
    return rng.permutation(np.concatenate([points[count:], ball])).astype(np.float32)


def _anywhere(angle, rng):
    """Pose of the shape, and a true pose that turns by ``angle`` [deg] about any axis."""
    shape_pose = pose(Rotation.random(random_state=rng).as_matrix())
    axis = rng.normal(size=3)
    rotation = Rotation.from_rotvec(np.radians(angle) * axis / np.linalg.norm(axis)).as_matrix()
    return shape_pose, pose(rotation, rng.uniform(-TRANSLATION, TRANSLATION, 3))


def so3_crop_pair(shapes, index, seed, pairs_per_bin, options=CropOptions(), angle=None):
    """
    Draw pair ``index`` of ``so3-crop``: all rotations, nothing known beforehand.

    Two independent samplings of 2048 points, each cropped by its own half-space, jittered and
    shuffled; a random common frame; the true rotation has exactly the angle of the bin about a
    random axis, the translation is U[-0.5, 0.5]^3.

    :param options: :class:`CropOptions`, for sweeps.
    :param angle: initial rotation [deg]; None takes the bin that ``index`` lies in.
    :return: :class:`Pair`.
    """
    rng = np.random.default_rng([seed, 1, index])
    angle = SO3_BINS[index // pairs_per_bin] if angle is None else angle
    shape = shapes.index_of(index)
    sizes = options.source_samples, options.target_samples
    samplings = shapes.draw(shape, sizes, rng)
    shape_pose, truth = _anywhere(angle, rng)
    source, source_plane = crop_half_space(samplings[0], options.keep, rng)
    target, target_plane = crop_half_space(samplings[1], options.keep, rng)
    to_source = np.linalg.inv(truth) @ shape_pose
    return Pair(
        index=index,
        bin=angle,
        shape=shape,
        source=_foreign(_cloud(apply(to_source, source), rng, options.sigma), options, rng),
        target=_foreign(_cloud(apply(shape_pose, target), rng, options.sigma), options, rng),
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


def self_pair(shapes, index, seed, pairs_per_bin):
    """
    Draw pair ``index`` of ``self``: the same 2048 noisy points twice, in another order.

    Rotations and translations are those of ``so3-crop``.

    :return: :class:`Pair`.
    """
    rng = np.random.default_rng([seed, 4, index])
    angle = SO3_BINS[index // pairs_per_bin]
    shape = shapes.index_of(index)
    (points,) = shapes.draw(shape, (SAMPLES,), rng)
    shape_pose, truth = _anywhere(angle, rng)
    target = jitter(apply(shape_pose, points), rng)
    source = apply(np.linalg.inv(truth), target)
    return Pair(
        index=index,
        bin=angle,
        shape=shape,
        source=rng.permutation(source).astype(np.float32),
        target=target.astype(np.float32),
        truth=truth,
        shape_pose=shape_pose,
        clean=apply(shape_pose, points).astype(np.float32),
        source_plane=EVERYTHING,
        target_plane=EVERYTHING,
    )
