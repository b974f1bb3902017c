"""Batches on disk: runs that are compared see the same pairs, which are made once."""

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch.utils.data import Dataset

from dlc_training.recordings.files import write_whole


class KeptBatches(Dataset):
    """
    The batches of a sequence of pairs, kept in a folder; item ``k`` is the batch of step ``k``.

    Batches are found again by all that they depend on but the generators themselves: after a
    change of those the folder has to be removed.

    :param pairs: :class:`dlc_training.data.batches.Pairs`.
    :param collate: makes a batch, a dict of tensors and of dicts of tensors, of a list of pairs.
    :param folder: of any number of such sequences; about 1 MB for a batch of 4.
    """

    def __init__(self, pairs, collate, folder):
        self._pairs, self._collate = pairs, collate
        config = pairs.config
        same = {
            'seed': config.seed,
            'batch': config.optimiser.batch,
            'keypoints': config.net.keypoints,
            'neighbours': config.net.neighbours,
            'data': config.data.model_dump(include={'kinds', 'recordings'}),
        }
        key = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:12]
        self._folder = Path(folder) / key

    def __len__(self):
        return len(self._pairs) // self._pairs.own

    def __getitem__(self, item):
        pairs = self._pairs
        step = pairs.first_step + item
        path = self._folder / f'{step:06d}-{pairs.first_own}-{pairs.own}.safetensors'
        try:
            return _nested(load_file(path))
        except (OSError, SafetensorError):  # not made yet, or damaged
            pass
        batch = self._collate([pairs[item * pairs.own + k] for k in range(pairs.own)])
        content = save(_flat(batch))
        write_whole(path, lambda file: file.write(content), 'data.keep')
        return batch


def _flat(batch):
    flat = {}
    for name, value in batch.items():
        if isinstance(value, dict):
            flat.update({f'{name}.{inner}': part.contiguous() for inner, part in value.items()})
        else:
            flat[name] = value.contiguous()
    return flat


def _nested(flat):
    batch = {}
    for name, tensor in flat.items():
        outer, _, inner = name.partition('.')
        if inner:
            batch.setdefault(outer, {})[inner] = tensor
        else:
            batch[outer] = tensor
    return batch
