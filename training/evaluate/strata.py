"""Good pairs by what makes them hard: the strata of calibration and of false rejects."""

import numpy as np

from dlc_training.data.pairs import make_pair
from dlc_training.data.solids import FIRST_EVALUATION_SEED
from dlc_training.evaluate.crops import SO3_BINS, CropOptions, so3_crop_pair
from dlc_training.evaluate.pair import EVERYTHING, Pair, apply, pose
from dlc_training.evaluate.partial_view import FOREIGN_BINS, partial_view_pair
from dlc_training.evaluate.protocols import PROTOCOLS
from dlc_training.evaluate.runner import digest_of

_CROPS = {
    'easy': CropOptions(keep=0.9),
    'so3-crop': CropOptions(),
    'hard': CropOptions(keep=0.6),
    'noisy': CropOptions(sigma=0.025),
    'sparse': CropOptions(source_samples=700, target_samples=1400),
    'dense': CropOptions(source_samples=12_000, target_samples=12_000),
}
_VIEWS = 'view'
# Kinds of :mod:`dlc_training.data.pairs`, of which up to 80 % of what can move has moved.
PLACES = ('fragment', 'room', 'scan')
STRATA = (*_CROPS, _VIEWS, *PLACES)
# Indices of shapes of each stratum, of which the first half is for pairs.
_BLOCK = 10_000


def stratum_pairs(shapes, stratum, count, seed):
    """
    Draw ``count`` pairs of a stratum.

    Crops have initial rotations in turn from all bins of ``so3-crop``; views, foreign points from
    all bins of ``partial-view``; places are scaled into the unit sphere, so that what counts as
    right is the same for all.

    :param stratum: one of :data:`STRATA`.
    :return: list of :class:`~dlc_training.evaluate.pair.Pair`, none of them of another stratum's
        shape.
    """
    numbers = range(count)
    if stratum in PLACES:
        return [place_pair(stratum, number, seed) for number in numbers]
    if stratum == _VIEWS:
        # The bins of the protocol are blocks of indices; crops leave the ends of these free.
        each, bins = 2 * _BLOCK, len(FOREIGN_BINS)
        return [
            partial_view_pair(shapes, (n % bins) * each + each - _BLOCK // 2 + n, seed, each)
            for n in numbers
        ]
    first = STRATA.index(stratum) * _BLOCK
    options, bins = _CROPS[stratum], len(SO3_BINS)
    return [
        so3_crop_pair(shapes, first + number, seed, 1, options, angle=SO3_BINS[number % bins])
        for number in numbers
    ]


def clear_pairs(runner, shapes, stratum, count, seed):
    """
    The pairs of a stratum whose truth is clear, each with the symmetry group of its shape.

    :param runner: :class:`~dlc_training.evaluate.runner.Runner`.
    :return: list of (pair, group).
    """
    pairs = stratum_pairs(shapes, stratum, count, seed)
    name = 'so3-crop'
    if stratum == _VIEWS:
        name = 'partial-view'
    elif stratum in PLACES:
        name = 'scan-to-map'  # no shape of it is taken to be symmetric
    groups, ambiguous = runner.judge(PROTOCOLS[name], shapes, pairs, digest_of(pairs))
    return [
        (pair, groups[pair.shape]) for pair, flag in zip(pairs, ambiguous, strict=True) if not flag
    ]


def place_pair(kind, index, seed):
    """
    Draw a pair of clouds of one generated place, the target scaled into the unit sphere.

    :param kind: ``fragment``, ``room`` or ``scan``.
    :return: :class:`~dlc_training.evaluate.pair.Pair`, its shape is its index.
    """
    attempt = 0
    while True:
        drawn = make_pair(FIRST_EVALUATION_SEED + seed, index * 1000 + attempt, {kind: 1.0})
        if drawn.kind == kind:  # else too little was seen
            break
        attempt += 1
    to_source, to_target = (pose(translation=-c.mean(0)) for c in (drawn.source, drawn.target))
    source, target = apply(to_source, drawn.source), apply(to_target, drawn.target)
    scale = 1.0 / np.linalg.norm(target, axis=1).max()
    truth = to_target @ drawn.transform @ np.linalg.inv(to_source)
    truth[:3, 3] *= scale
    return Pair(
        index=index,
        bin=0.0,
        shape=index,
        source=(scale * source).astype(np.float32),
        target=(scale * target).astype(np.float32),
        truth=truth,
        shape_pose=np.eye(4),
        clean=(scale * target).astype(np.float32),
        source_plane=EVERYTHING,
        target_plane=EVERYTHING,
    )
