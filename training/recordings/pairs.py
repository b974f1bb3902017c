"""Training pairs of a recording: scan to reference and scan to scan, as the engine reads them."""

import hashlib
import os
from pathlib import Path

import numpy as np

from dlc_ros.errors import FileError
from dlc_ros.registration.cloud import one_in_voxel
from dlc_ros.registration.se3 import inverse, transform_points
from dlc_ros.registration.surface import thin
from dlc_ros.registration.windows import window, window_radius
from dlc_training.data.pairs import FEWEST_POINTS, Pair, random_transform
from dlc_training.recordings.files import read_arrays, read_json, write_arrays, write_json
from dlc_training.recordings.index import Index
from dlc_training.recordings.map_building import StableCells
from dlc_training.recordings.split import Border

# Share of pairs that are scan to reference; the others are scan to scan.
_TO_REFERENCE = 0.75
# The reference of such a pair is a window: its radius, in those of the window that the registrar
# cuts for the scan, and how far its middle is off the scan's, in its own radii. A whole building
# described by the few keypoints of the network is another problem than it is asked to solve.
_SIZES, _AWAY = (0.75, 1.5), 1 / 3
# What moves stays in this share of the scans: a robot has to register among people.
_WITH_MOVING = 0.5
# Logarithm of the most that a pair is stretched by along each axis of its reference, and share of
# mirrored pairs: one building seen in its own shape alone would be learned by heart.
_STRETCH, _MIRRORED = 0.35, 0.5
# Points of a target, more than the network looks at. Of a scan as many as the registrar keeps,
# thinned evenly as it does; in the rest of the pairs fewer, as dense as the sensor saw them.
_TARGET_POINTS, _SCAN_POINTS = 4096, 4500
_EVEN, _FEWER = 0.7, (1024, 4096)
# Scans overlap by this share of their points: less teaches nothing, more is the same view.
OVERLAP = (0.3, 0.95)
_NEIGHBOURS = 8
# No scan may be drawn so many times as often as another one where lanes have shards of their own.
_UNEVEN = 2.0


class RecordedPairs:
    """
    Pairs of one recording, addressed so that every process gives the same pair.

    Draws are dealt to *lanes*, which are drawn from equally often: a lane owns some shards of the
    index, about as many scans as the others have, and visits these in a random order, shard after
    shard, each once a round. A process that serves some of the lanes therefore reads their shards
    alone, and holds one for each lane (as many as an :class:`Index` keeps open; of more lanes than
    that each pair reads its shard anew). Where shards are too few or too unequal for that, lanes
    share them.

    :param folder: what :func:`write_pairs` wrote.
    :raises FileError: it is missing or damaged.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        facts, arrays = (
            read_json(self.folder / 'pairs.json'),
            read_arrays(self.folder / 'pairs.npz'),
        )
        if facts is None or arrays is None:
            raise FileError(f'{self.folder}: no pairs of a recording; run dlc-retrain again')
        self.facts = facts
        self.index = Index(self.folder / facts['index'])
        self._numbers, self._poses = arrays['numbers'], arrays['poses']
        self._neighbours = arrays['neighbours']
        self._reference = arrays['reference']
        self._stable = StableCells(arrays['stable'], facts['stable_edge'])
        self._border = Border(*facts['border']) if facts['border'] else None
        centred = self._reference - self._reference.mean(0)
        self._axes = np.linalg.eigh(centred.T @ centred)[1]
        shards = self.index.shard_of[self._numbers]
        self._by_shard = [np.flatnonzero(shards == s) for s in np.unique(shards)]
        self._lanes, self._order = {}, {}

    def __len__(self):
        return len(self._numbers)

    def pair(self, seed, draw, lane, lanes):
        """
        One pair.

        :param seed: of the data set.
        :param draw: number of the draw in this lane, >= 0.
        :param lane: 0..lanes-1.
        :return: :class:`~dlc_training.data.pairs.Pair` of kind ``recorded``.
        """
        place = self._scan_of(seed, draw, lane, lanes)
        rng = np.random.default_rng([seed, lane, draw, 41])
        neighbours = self._neighbours[place]
        neighbours = neighbours[neighbours >= 0]
        source, target = self._source(place, rng), None
        if rng.uniform() >= _TO_REFERENCE and len(neighbours):
            target = self._other_scan(int(rng.choice(neighbours)))
        if target is None:
            target = self._window(place, rng)
        target = target[_some(rng, len(target), _TARGET_POINTS)].astype(np.float64)
        source = transform_points(self._poses[place], source)
        stretch = self._stretch(rng)
        return _moved_anywhere(rng, source @ stretch, target @ stretch)

    def _stretch(self, rng):
        """(3, 3), symmetric: the same other shape for both clouds of a pair."""
        sizes = np.exp(rng.uniform(-_STRETCH, _STRETCH, 3))
        if rng.uniform() < _MIRRORED:
            sizes[rng.integers(3)] *= -1
        return (self._axes * sizes) @ self._axes.T

    def lane(self, lane, lanes):
        """Shards of a lane: a list of arrays of the scans, as numbers from 0, of each."""
        if lanes not in self._lanes:
            self._lanes[lanes] = _dealt([len(shard) for shard in self._by_shard], lanes)
        return [self._by_shard[shard] for shard in self._lanes[lanes][lane]]

    def _scan_of(self, seed, draw, lane, lanes):
        shards = self.lane(lane, lanes)
        turn, at = divmod(draw, sum(map(len, shards)))
        if self._order.get(lane, (None,))[0] != (seed, turn, lanes):
            rng = np.random.default_rng([seed, lane, turn, 43])
            order = np.concatenate(
                [rng.permutation(shards[i]) for i in rng.permutation(len(shards))]
            )
            self._order[lane] = (seed, turn, lanes), order
        return int(self._order[lane][1][at])

    def _source(self, place, rng):
        if rng.uniform() < _WITH_MOVING:
            points = self.index.scan(self._numbers[place]).astype(np.float64)
        else:
            points = self._still(place)
        even = rng.uniform() < _EVEN
        if even and len(points) > _SCAN_POINTS:
            return thin(points, _SCAN_POINTS, one_in_voxel)
        count = _SCAN_POINTS if even else int(np.exp(rng.uniform(*np.log(_FEWER))))
        return points[_some(rng, len(points), count)]

    def _still(self, place):
        """A scan without what moves, if enough is left."""
        points = self.index.scan(self._numbers[place]).astype(np.float64)
        still = self._stable.hold(transform_points(self._poses[place], points))
        return points[still] if still.sum() >= 2 * FEWEST_POINTS else points

    def _other_scan(self, place):
        """A scan in the reference's frame, or None where too little of it may be trained on."""
        points = transform_points(self._poses[place], self._still(place))
        if self._border is not None:
            points = points[self._border.before(points)]
        return points if len(points) >= FEWEST_POINTS else None

    def _window(self, place, rng):
        """The reference around a scan, as the registrar cuts it, not knowing quite where."""
        scan = transform_points(
            self._poses[place], self.index.scan(self._numbers[place]).astype(np.float64)
        )
        radius = window_radius(scan) * float(np.exp(rng.uniform(*np.log(_SIZES))))
        aside = rng.normal(size=3) * (1, 1, 0.1)
        aside *= rng.uniform(0, _AWAY) * radius / np.linalg.norm(aside)
        near = window(self._reference, scan.mean(0) + aside, radius)
        return self._reference[near] if near.sum() >= 2 * FEWEST_POINTS else self._reference


def write_pairs(folder, index, poses, numbers, reference, stable, border=None):
    """
    Write what :class:`RecordedPairs` reads beside the index, or find that this was done.

    :param folder: to make; one that holds other pairs is an error, since what was trained on
        those would be continued, and judged, with these.
    :param index: :class:`Index`.
    :param poses: (N, 4, 4) ``T_reference_sensor`` of all scans.
    :param numbers: (K,) scans of the training part that were kept.
    :param reference: (M, 3) the training part of the reference.
    :param stable: :class:`StableCells` in the reference's frame.
    :param border: :class:`~dlc_training.recordings.split.Border` of the held-out place, if there
        is one: no target shows what lies beyond it.
    :raises FileError: the folder cannot be written, or holds other pairs.
    """
    folder = Path(folder)
    edges = None if border is None else [border.axis.tolist(), border.at]
    digest = hashlib.sha256(f'{index.facts["key"]} {stable.edge} {edges}'.encode())
    for array in (numbers, poses[numbers], reference, stable.keys):
        digest.update(np.ascontiguousarray(array).tobytes())
    facts = read_json(folder / 'pairs.json')
    if facts is not None and facts.get('content') != digest.hexdigest():
        raise FileError(
            f'{folder} holds pairs of another reference, other poses or another split; use '
            f'another --out, or remove {folder.parent} to start again'
        )
    if facts is not None and read_arrays(folder / 'pairs.npz') is not None:
        return
    write_arrays(
        folder / 'pairs.npz',
        numbers=numbers,
        poses=poses[numbers],
        neighbours=_overlapping(index, poses, numbers, stable.edge),
        reference=reference,  # not in float32, which is half a metre wide in UTM coordinates
        stable=stable.keys,
    )
    write_json(
        folder / 'pairs.json',
        {
            'index': os.path.relpath(index.folder, folder),
            'stable_edge': stable.edge,
            'border': edges,
            'content': digest.hexdigest(),
            'scans': len(numbers),
        },
    )


def _overlapping(index, poses, numbers, edge):
    """
    For each scan those of the same shard that see :data:`OVERLAP` of it, (K, 8), -1 for none.

    Neighbours are taken from one shard so that a pair never needs two.
    """
    from dlc_training.recordings.map_building import cell_keys

    out = np.full((len(numbers), _NEIGHBOURS), -1)
    shards = index.shard_of[numbers]
    for shard in np.unique(shards):
        places = np.flatnonzero(shards == shard)
        cells = [
            np.unique(cell_keys(transform_points(poses[n], index.scan(n)), 2 * edge))
            for n in numbers[places]
        ]
        for i, place in enumerate(places):
            share = np.array(
                [np.isin(cells[i], other, assume_unique=True).mean() for other in cells]
            )
            share[i] = 0
            good = np.flatnonzero((share >= OVERLAP[0]) & (share <= OVERLAP[1]))
            # The least overlap first: those are the pairs that teach most.
            good = good[np.argsort(share[good])][:_NEIGHBOURS]
            out[place, : len(good)] = places[good]
    return out


def _some(rng, count, most):
    return slice(None) if count <= most else rng.choice(count, most, replace=False)


def _dealt(sizes, lanes):
    """Numbers of the shards, of these sizes, for each lane: the largest to the emptiest."""
    for count in range(min(lanes, len(sizes)), 0, -1):
        groups, filled = [[] for _ in range(count)], np.zeros(count, int)
        for shard in np.argsort(sizes, kind='stable')[::-1]:
            emptiest = int(filled.argmin())
            groups[emptiest].append(int(shard))
            filled[emptiest] += sizes[shard]
        often = np.bincount(np.arange(lanes) % count) / filled
        if often.max() <= _UNEVEN * often.min():
            break  # one group for all lanes passes at last
    return [groups[lane % count] for lane in range(lanes)]


def _moved_anywhere(rng, source, target):
    """Two clouds that lie right, each in a frame of its own: no coordinate hints at the answer."""
    to_target, from_source = random_transform(rng, 0.0), random_transform(rng, 0.0)
    to_target[:3, 3] = -to_target[:3, :3] @ target.mean(0)
    from_source[:3, 3] = source.mean(0)
    moved = transform_points(inverse(from_source), source)
    return Pair(
        rng.permutation(moved),
        rng.permutation(transform_points(to_target, target)),
        to_target @ from_source,
        'recorded',
    )
