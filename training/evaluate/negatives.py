"""Pairs of clouds without a true answer, hard ones: what a gate must reject."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from dlc_training.evaluate.baselines import (
    GicpOptions,
    PreparedGicp,
    aligned_centroids,
    start_rotations,
)
from dlc_training.evaluate.crops import SAMPLES, CropOptions
from dlc_training.evaluate.pair import apply, crop_half_space, jitter, pose
from dlc_training.evaluate.partial_view import partial_view_pair
from dlc_training.evaluate.strata import PLACES, place_pair

# A source fits a whole surface when all but this share of its noise-free points lie this near.
MISFITTING_SHARE, MISFIT = 0.12, 0.06
_CHECKED, _FINER = 200, 6
_ATTEMPTS = 20


@dataclass(frozen=True)
class Negative:
    """
    Two clouds that do not belong together.

    :param kind: key of :data:`KINDS`.
    :param source: (n, 3) float32.
    :param target: (m, 3) float32.
    :param truth: (4, 4) ``T_target_source`` of two crops that hardly overlap, or of a shape of
        which a part was exchanged: no mistake if it is found all the same; else None.
    """

    kind: str
    source: np.ndarray
    target: np.ndarray
    truth: np.ndarray | None = None


def draw_negative(shapes, kind, index, seed):
    """
    Draw pair ``index`` of a kind.

    Drawn again until it has no answer: from none of 25 starts does a GICP of the noise-free
    source onto the whole target bring all but 12 % of it within 0.06, six standard deviations of
    the noise. What is seen decides, so a mug and the same mug without its handle are no pair
    where the crop hid the handle. Views and places, which are whole scenes, are taken as drawn.

    :param shapes: see :func:`~dlc_training.evaluate.shapes.open_shapes`.
    :param kind: key of :data:`KINDS`.
    :return: :class:`Negative`.
    """
    rng = np.random.default_rng([seed, 5, list(KINDS).index(kind), index])
    if kind in SCENES:
        source, target = KINDS[kind](shapes, index, rng)
        return Negative(kind, source, target)
    for _ in range(_ATTEMPTS):
        source, target, whole, same = KINDS[kind](shapes, index, rng)
        if not _fits(source, whole):
            break
    motion = pose(Rotation.random(random_state=rng).as_matrix(), rng.normal(size=3))
    truth = np.linalg.inv(motion) if same else None
    return Negative(kind, _noisy(apply(motion, source), rng), _noisy(target, rng), truth)


def _another(shapes, index, rng):
    """A crop of another shape."""
    first, second = (_some_shape(shapes, rng, index) for _ in range(2))
    source, _ = crop_half_space(shapes.draw(first, (SAMPLES,), rng)[0], _KEEP, rng)
    whole = shapes.draw(second, (SAMPLES,), rng)[0]
    return source, crop_half_space(whole, _KEEP, rng)[0], whole, False


def _apart(shapes, index, rng):
    """Two crops of one shape from opposite sides that hardly overlap; the pose is not asked."""
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    source, target = shapes.draw(_some_shape(shapes, rng, index), (SAMPLES, SAMPLES), rng)
    # A tenth of the surface is seen by both.
    first, second = (points @ direction for points in (source, target))
    source = source[first >= np.quantile(first, 0.45)]
    target = target[second <= np.quantile(second, 0.55)]
    return source, target, target, True


def _noise(shapes, index, rng):
    """No surface at all: a ball, a shell or a flat patch of noise as large as the target."""
    target, _ = crop_half_space(
        shapes.draw(_some_shape(shapes, rng, index), (SAMPLES,), rng)[0], _KEEP, rng
    )
    count = len(target)
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    form = rng.integers(3)
    if form == 0:
        points = direction * rng.uniform(size=(count, 1)) ** (1 / 3)
    elif form == 1:
        points = direction * rng.normal(1.0, 0.1, (count, 1))
    else:
        points = rng.uniform(-1, 1, (count, 3)) * (1.0, 1.0, 0.1)
    return points * target.std(0) * 1.7, target, target, False


def _look_alike(shapes, index, rng):
    """The same shape, but stretched, mirrored, scaled or with a part of another one."""
    which = _some_shape(shapes, rng, index)
    points, whole = shapes.draw(which, (SAMPLES, SAMPLES), rng)
    change = rng.integers(4)
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    if change == 0:
        points = points + rng.uniform(0.15, 0.3) * np.outer(points @ axis, axis)
    elif change == 1:
        points = points - 2 * np.outer(points @ axis, axis)
    elif change == 2:
        points = points * rng.choice((rng.uniform(0.75, 0.87), rng.uniform(1.15, 1.3)))
    else:
        other = shapes.draw(_some_shape(shapes, rng, index), (SAMPLES,), rng)[0]
        height, foreign = points @ axis, other @ axis
        points = np.concatenate(
            [
                points[height <= np.quantile(height, 0.65)],
                other[foreign > np.quantile(foreign, 0.65)],
            ]
        )
    source, _ = crop_half_space(points, _KEEP, rng)
    return source, crop_half_space(whole, _KEEP, rng)[0], whole, change == 3


def _another_view(shapes, index, rng):
    """What a sensor sees of one shape among other things, and the model of another one."""
    seed, first, second = rng.integers(1_000), rng.integers(4_000), rng.integers(4_000)
    source = partial_view_pair(shapes, int(first), int(seed), 1_000).source
    return source, partial_view_pair(shapes, int(second), int(seed), 1_000).target


def _another_place(shapes, index, rng):
    """Clouds of two places of one kind: rooms, what a camera saw of them, LiDAR scans."""
    kind = PLACES[index % len(PLACES)]
    first, second = (place_pair(kind, int(n), 0) for n in rng.integers(10**6, 10**9, 2))
    return first.source, second.target


KINDS = {
    'another shape': _another,
    'too little overlap': _apart,
    'noise': _noise,
    'look-alike': _look_alike,
    'another view': _another_view,
    'another place': _another_place,
}
SCENES = ('another view', 'another place')
_KEEP = CropOptions().keep


def _some_shape(shapes, rng, index):
    """Shape of any pair near ``index``: a few thousand shapes are enough."""
    return shapes.index_of(int(rng.integers(4000)) + index % 4000)


def _noisy(points, rng):
    return rng.permutation(jitter(points, rng)).astype(np.float32)


def _fits(source, whole):
    """Whether some pose lays nearly all of a noise-free source on a whole surface."""
    few = source[:: max(1, len(source) // _CHECKED)]
    gicp = PreparedGicp(few, whole, GicpOptions(iterations=10))
    tree = cKDTree(whole)

    def misfitting(T):
        return float(np.mean(tree.query(apply(T, few))[0] > MISFIT))

    ends = []
    for rotation in [np.eye(3), *start_rotations()]:
        T = gicp.align(aligned_centroids(few, whole, rotation), 0.3).T_target_source
        ends.append((misfitting(T), T))
    ends.sort(key=lambda end: end[0])
    finer = (gicp.align(T, 0.1).T_target_source for _, T in ends[:_FINER])
    return any(misfitting(T) < MISFITTING_SHARE for T in finer)
