"""The scans that are kept, in shards: written once, continued after an interruption, reused."""

import hashlib
import json
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dlc_ros.errors import CloudError, FileError
from dlc_training.recordings.files import read_arrays, read_json, write_arrays, write_json

# Scans of a shard at most: some megabytes; and shards at least, so that many can share them.
_SHARD, _FEWEST_SHARDS = 64, 16
# Shards that are kept in memory.
_MOST_OPEN = 16
# Changes when the content of an index means something else.
_VERSION = 1


class Index:
    """
    Scans of a recording on disk.

    :param folder: with its ``index.json``.
    :raises FileError: there is none, or a shard of it is missing or damaged.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.facts = read_json(self.folder / 'index.json')
        if self.facts is None:
            raise FileError(f'{self.folder}: no index of a recording; run dlc-retrain again')
        arrays = read_arrays(self.folder / 'scans.npz')
        if arrays is None:
            raise FileError(f'{self.folder}/scans.npz is damaged; remove the folder and run again')
        self.stamps_ns = arrays['stamps_ns']
        self.shard_of, self.place_in = arrays['shard_of'], arrays['place_in']
        self._open = OrderedDict()

    def __len__(self):
        return len(self.stamps_ns)

    def scan(self, number):
        """Points (N, 3) float32 of one scan, in the sensor's frame."""
        points, ends = self._shard(int(self.shard_of[number]))
        place = int(self.place_in[number])
        return points[ends[place] : ends[place + 1]]

    def _shard(self, shard):
        if shard not in self._open:
            content = read_arrays(_shard_path(self.folder, shard))
            if content is None:
                raise FileError(
                    f'{_shard_path(self.folder, shard)} is missing or damaged; remove it and run '
                    'dlc-retrain again: the other shards are kept'
                )
            self._open[shard] = content['points'], content['ends']
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(shard)
        return self._open[shard]


def build_index(folder, recording, survey, reader, chosen, quiet=False):
    """
    Read the chosen clouds into shards, or find that this was done.

    :param folder: of the index; one of another recording or other settings is an error.
    :param recording: :class:`~dlc_training.recordings.sources.Recording`.
    :param survey: :class:`~dlc_training.recordings.survey.Survey`.
    :param reader: :class:`~dlc_training.recordings.scans.ScanReader`.
    :param chosen: (K,) indices of clouds in ``survey.stamps_ns``, increasing.
    :return: :class:`Index`; clouds that could not be used are counted in its ``facts``.
    :raises FileError: the folder cannot be written or holds another index.
    """
    folder = Path(folder)
    key = _key(recording, survey, reader, chosen)
    facts = read_json(folder / 'index.json')
    if facts is not None and facts['key'] == key and _whole(folder, facts):
        return Index(folder)
    started = read_json(folder / 'started.json')
    if started is not None and started['key'] != key:
        raise FileError(
            f'{folder} is the index of another recording or of other settings; use another --out '
            'or remove it'
        )
    write_json(folder / 'started.json', {'key': key})
    size = max(1, min(_SHARD, -(-len(chosen) // _FEWEST_SHARDS)))
    shards = [chosen[i : i + size] for i in range(0, len(chosen), size)]
    begun = time.monotonic()
    missing = [s for s in range(len(shards)) if read_arrays(_shard_path(folder, s)) is None]
    _ingest(folder, recording, survey, reader, shards, missing, quiet)
    _finish(folder, key, survey, shards, recording, time.monotonic() - begun)
    return Index(folder)


def _ingest(folder, recording, survey, reader, shards, missing, quiet):
    """Stream the recording once and write the shards that are missing, each when it is full."""
    wanted = {
        int(survey.stamps_ns[number]): (shard, number)
        for shard in missing
        for number in shards[shard]
    }
    if not wanted:
        return
    scans = {shard: {} for shard in missing}
    left = {shard: len(shards[shard]) for shard in missing}
    with tqdm(
        total=len(wanted),
        desc='indexing',
        unit='scan',
        disable=quiet or None,
        leave=False,
        mininterval=1,
    ) as bar:
        for stamp, cloud in survey.clouds(recording):
            if not wanted:
                break
            if stamp not in wanted:
                continue
            shard, number = wanted.pop(stamp)
            left[shard] -= 1
            bar.update()
            try:
                scans[shard][number] = reader.read(cloud, stamp)
            except CloudError:
                pass  # counted when the shard is closed
            if left[shard] == 0:
                _write_shard(folder, shard, shards[shard], scans.pop(shard))
    for shard, content in scans.items():  # of a recording whose end cannot be read
        _write_shard(folder, shard, shards[shard], content)


def _write_shard(folder, shard, numbers, scans):
    there = [number for number in numbers if number in scans]
    clouds = [scans[number] for number in there]
    write_arrays(
        _shard_path(folder, shard),
        points=np.concatenate(clouds) if clouds else np.zeros((0, 3), np.float32),
        ends=np.cumsum([0] + [len(cloud) for cloud in clouds]),
        numbers=np.array(there, np.int64),
    )


def _finish(folder, key, survey, shards, recording, seconds):
    numbers, shard_of, place_in, points = [], [], [], 0
    for shard in range(len(shards)):
        content = read_arrays(_shard_path(folder, shard))
        numbers.append(content['numbers'])
        shard_of.append(np.full(len(content['numbers']), shard))
        place_in.append(np.arange(len(content['numbers'])))
        points += len(content['points'])
    numbers = np.concatenate(numbers) if numbers else np.zeros(0, np.int64)
    if len(numbers) == 0:
        raise FileError(f'{recording.paths[0]}: none of the chosen clouds is usable')
    write_arrays(
        folder / 'scans.npz',
        stamps_ns=survey.stamps_ns[numbers],
        shard_of=np.concatenate(shard_of),
        place_in=np.concatenate(place_in),
    )
    chosen = sum(len(shard) for shard in shards)
    write_json(
        folder / 'index.json',
        {
            'version': _VERSION,
            'key': key,
            'scans': len(numbers),
            'unusable': chosen - len(numbers),
            'shards': len(shards),
            'points': points,
            'seconds': round(seconds, 1),
            'recordings': [path.name for path in recording.paths],
            'topic': survey.cloud_topic,
        },
    )


def _whole(folder, facts):
    return (folder / 'scans.npz').is_file() and all(
        _shard_path(folder, shard).is_file() for shard in range(facts['shards'])
    )


def _shard_path(folder, shard):
    return Path(folder) / f'shard_{shard:05d}.npz'


def _key(recording, survey, reader, chosen):
    """What the shards, and all that is made of them with the poses, depend on."""
    digest = hashlib.sha256(recording.fingerprint().encode())
    digest.update(survey.cloud_topic.encode() + survey.stamps_ns[chosen].tobytes())
    settings = [_VERSION, reader.nearest, reader.farthest, reader.voxel, survey.timing_text]
    digest.update(json.dumps(settings).encode())
    if reader.body is not None:
        digest.update(reader.body.cells.tobytes())
    if reader.trajectory is not None:
        digest.update(reader.trajectory.stamps_ns.tobytes() + reader.trajectory.poses.tobytes())
    return digest.hexdigest()
