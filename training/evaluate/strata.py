"""Good pairs by what makes them hard: the strata of calibration and of false rejects."""

from dlc_training.evaluate.crops import SO3_BINS, CropOptions, so3_crop_pair

STRATA = {
    'easy': CropOptions(keep=0.9),
    'so3-crop': CropOptions(),
    'hard': CropOptions(keep=0.6),
    'noisy': CropOptions(sigma=0.025),
    'sparse': CropOptions(source_samples=700, target_samples=1400),
    'dense': CropOptions(source_samples=12_000, target_samples=12_000),
}


def stratum_pairs(shapes, stratum, count, seed):
    """
    Draw ``count`` pairs of a stratum, initial rotations in turn from all bins of ``so3-crop``.

    :param stratum: key of :data:`STRATA`.
    :return: list of :class:`~dlc_training.evaluate.pair.Pair`, none of them of another stratum's
        shape.
    """
    first = list(STRATA).index(stratum) * 10_000
    bins = len(SO3_BINS)
    return [
        so3_crop_pair(
            shapes, first + index, seed, 1, STRATA[stratum], angle=SO3_BINS[index % bins]
        )
        for index in range(count)
    ]
