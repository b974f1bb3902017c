"""Batches of generated pairs, as the network reads them; the same step gives the same batch."""

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from dlc_ros.registration.patches import extract_patches, network_scale
from dlc_training.data.pairs import make_pair

_FIELDS = ('points', 'normals', 'sides', 'near', 'wide')


def patch_tensors(patches):
    """Stack a list of :class:`Patches` of equal sizes into a dict of float32 tensors (B, ...)."""
    return {
        name: torch.from_numpy(np.stack([getattr(p, name) for p in patches])) for name in _FIELDS
    }


class GeneratedPairs(Dataset):
    """
    Pairs ``start`` to ``start + count`` of an endless, seeded sequence.

    :param config: :class:`dlc_training.config.TrainingConfig`.
    """

    def __init__(self, config, start, count):
        self.config, self.start, self.count = config, start, count

    def __len__(self):
        return self.count

    def __getitem__(self, item):
        index = self.start + item
        net = self.config.net
        pair = make_pair(self.config.seed, index, self.config.data.kinds)
        scale = network_scale(pair.target)
        rng = np.random.default_rng([self.config.seed, index, 1])
        source, target = (
            extract_patches(cloud, scale, net.keypoints, net.neighbours, rng=rng)
            for cloud in (pair.source, pair.target)
        )
        rotation = pair.transform[:3, :3]
        shift = rotation @ source.centre + pair.transform[:3, 3] - target.centre
        return source, target, rotation.astype(np.float32), (shift / scale).astype(np.float32)


def _collate(items):
    sources, targets, rotations, translations = zip(*items, strict=True)
    return {
        'source': patch_tensors(sources),
        'target': patch_tensors(targets),
        'rotation': torch.from_numpy(np.stack(rotations)),
        'translation': torch.from_numpy(np.stack(translations)),
    }


def _one_thread(_worker):
    torch.set_num_threads(1)


def batches(config, first_step):
    """Iterate over the batches of steps ``first_step`` to the last one of the configuration."""
    size, steps = config.optimiser.batch, config.optimiser.steps
    pairs = GeneratedPairs(config, first_step * size, max(steps - first_step, 0) * size)
    workers = config.data.workers
    return DataLoader(
        pairs,
        batch_size=size,
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_one_thread,
        prefetch_factor=8 if workers else None,
    )
