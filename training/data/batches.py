"""Batches of pairs, as the network reads them; the same step gives the same batch everywhere."""

import os
import signal

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from dlc_ros.errors import ParameterError
from dlc_ros.registration.patches import extract_patches, network_scale
from dlc_training.data.kept import KeptBatches
from dlc_training.data.pairs import make_pair

# The kind of pairs that come from recordings; the others are generated.
RECORDED = 'recorded'

_FIELDS = ('points', 'normals', 'sides', 'near', 'wide')


def patch_tensors(patches):
    """Stack a list of :class:`Patches` of equal sizes into a dict of float32 tensors (B, ...)."""
    return {
        name: torch.from_numpy(np.stack([getattr(p, name) for p in patches])) for name in _FIELDS
    }


class Pairs(Dataset):
    """
    What one process needs of an endless, seeded sequence of pairs: generated ones and recorded.

    Pair ``index`` is number ``index % batch`` of its batch, whatever the number of processes; it
    is the same pair in each of them. Process ``rank`` of ``world`` takes each batch's numbers
    ``rank * batch / world`` and following, so a recording's shards, which are dealt to these
    numbers, are read by one process each.

    :param config: :class:`dlc_training.config.TrainingConfig`.
    :param first_step: step of the first batch.
    :param rank: of this process; ``world``: number of processes, which divides the batch.
    """

    def __init__(self, config, first_step=0, rank=0, world=1):
        batch = config.optimiser.batch
        if batch % world:
            raise ParameterError(
                f'optimiser.batch {batch} is not a multiple of the {world} processes'
            )
        self.config, self.first_step = config, first_step
        self.own, self.first_own = batch // world, rank * (batch // world)
        kinds = dict(config.data.kinds)
        share = kinds.pop(RECORDED, 0.0)
        self._generated = kinds
        self._recorded_share = share / (share + sum(kinds.values()))
        self._recordings = None

    def __len__(self):
        return max(self.config.optimiser.steps - self.first_step, 0) * self.own

    def __getitem__(self, item):
        step, number = divmod(item, self.own)
        step, lane = step + self.first_step, number + self.first_own
        index = step * self.config.optimiser.batch + lane
        net = self.config.net
        pair = self._pair(index, step, lane)
        scale = network_scale(pair.target)
        rng = np.random.default_rng([self.config.seed, index, 1])
        source, target = (
            extract_patches(cloud, scale, net.keypoints, net.neighbours, rng=rng)
            for cloud in (pair.source, pair.target)
        )
        rotation = pair.transform[:3, :3]
        shift = rotation @ source.centre + pair.transform[:3, 3] - target.centre
        return source, target, rotation.astype(np.float32), (shift / scale).astype(np.float32)

    def _pair(self, index, step, lane):
        seed = self.config.seed
        rng = np.random.default_rng([seed, index, 3])
        if rng.uniform() >= self._recorded_share:
            return make_pair(seed, index, self._generated)
        if self._recordings is None:  # opened in the process that reads
            from dlc_training.recordings.pairs import RecordedPairs

            self._recordings = [RecordedPairs(folder) for folder in self.config.data.recordings]
        sizes = np.array([len(recording) for recording in self._recordings], float)
        chosen = self._recordings[rng.choice(len(sizes), p=sizes / sizes.sum())]
        return chosen.pair(seed, step, lane, self.config.optimiser.batch)


def _collate(items):
    sources, targets, rotations, translations = zip(*items, strict=True)
    return {
        'source': patch_tensors(sources),
        'target': patch_tensors(targets),
        'rotation': torch.from_numpy(np.stack(rotations)),
        'translation': torch.from_numpy(np.stack(translations)),
    }


def _prepare_worker(_worker):
    torch.set_num_threads(1)
    # Ctrl-C reaches every process: the training process finishes its step and ends its workers.
    # A worker that is told to end does so as if it were done, which is no error in mid-step.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def batches(config, first_step, rank=0, world=1):
    """
    Iterate over a process's share of the batches of ``first_step`` to the last step.

    :param config: :class:`dlc_training.config.TrainingConfig`.
    :param rank: of this process; ``world``: number of processes.
    """
    pairs = Pairs(config, first_step, rank, world)
    workers = config.data.workers
    if config.data.keep:
        loaded, parts = KeptBatches(pairs, _collate, config.data.keep), {'batch_size': None}
    else:
        loaded, parts = pairs, {'batch_size': pairs.own, 'collate_fn': _collate}
    return DataLoader(
        loaded,
        num_workers=workers,
        worker_init_fn=_prepare_worker,
        prefetch_factor=8 if workers else None,
        **parts,
    )
