"""Which scans are for what, maps made of them, and the pairs that are learned from."""

import json

import numpy as np
import pytest

pytest.importorskip('rosbags')

from recordings import drive, indexed, turned  # noqa: E402
from scipy.spatial import cKDTree  # noqa: E402
from training_runs import QUICK, train  # noqa: E402

from dlc_ros.errors import FileError  # noqa: E402
from dlc_ros.registration.weights import load_weights  # noqa: E402
from dlc_training.recordings import index as index_module  # noqa: E402
from dlc_training.recordings import pairs as recorded_pairs  # noqa: E402
from dlc_training.recordings.map_building import (  # noqa: E402
    build_map,
    find_stable,
    take_drift_out,
)
from dlc_training.recordings.pairs import RecordedPairs, write_pairs  # noqa: E402
from dlc_training.recordings.split import Border, split  # noqa: E402
from dlc_training.recordings.truth import known_truth  # noqa: E402

# Easting and northing of a place in UTM coordinates, where float32 tells half metres apart.
UTM = np.array([4.5e5, 5.4e6, 300.0])


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    return drive(tmp_path_factory.mktemp('bag') / 'robot')


@pytest.fixture(scope='module')
def placed(bag, tmp_path_factory):
    """An index of the small robot, what it is placed in, and the folder they lie in."""
    folder = tmp_path_factory.mktemp('run')
    seen, index = indexed(bag, folder / 'index')
    poses = known_truth(seen)[0].at(index.stamps_ns)[0]
    everything = np.arange(len(index))
    reference = build_map(index, poses, everything, seen.ranges[1])
    stable = find_stable(index, poses, everything, seen.ranges[1])
    return folder, (index, poses, everything, reference, stable)


@pytest.fixture(scope='module')
def pairs(placed):
    folder, content = placed
    write_pairs(folder / 'pairs', *content)
    return folder / 'pairs'


def test_pairs_fit_and_hold_no_hint_of_the_answer(pairs):
    recorded = RecordedPairs(pairs)
    for draw in range(30):
        pair = recorded.pair(0, draw, draw % 8, 8)
        moved = pair.source @ pair.transform[:3, :3].T + pair.transform[:3, 3]
        right, wrong = (
            np.median(np.linalg.norm(points[::20, None] - pair.target[None], axis=-1).min(1))
            for points in (moved, moved + [0.7, 0.7, 0.7])
        )
        assert right < 0.25 and right < 0.7 * wrong
        assert np.abs(pair.source.mean(0)).max() < 1e-6
        assert np.isclose(np.linalg.det(pair.transform[:3, :3]), 1)


def test_of_a_large_map_the_network_sees_what_is_about_as_large_as_the_scan(placed):
    folder, (index, poses, everything, room, stable) = placed
    rooms = np.concatenate([room + [30.0 * k, 0, 0] for k in range(-3, 4)])
    write_pairs(folder / 'rooms', index, poses, everything, rooms, stable)
    recorded = RecordedPairs(folder / 'rooms')
    for draw in range(20):
        pair = recorded.pair(1, draw, draw % 8, 8)
        assert np.ptp(pair.target, axis=0).max() < 30


def test_no_target_shows_the_held_out_place(placed, monkeypatch):
    folder, (index, poses, everything, room, stable) = placed
    axis, at = np.array([0.6, 0.8, 0.0]), 1.0
    parts = split(index.stamps_ns, poses[:, :3, 3], 0.3, 'place')
    assert (parts.border.before(poses[:, :3, 3]) == ~parts.held_out).all()
    border = Border(axis, at)
    write_pairs(
        folder / 'border', index, poses, everything, room[border.before(room)], stable, border
    )
    # Unturned, and neither stretched nor mirrored, a target is as wide as the place it shows.
    for name, value in (
        ('_STRETCH', 0.0), ('_MIRRORED', 0.0), ('random_transform', lambda *_: np.eye(4)),
    ):  # fmt: skip
        monkeypatch.setattr(recorded_pairs, name, value)
    recorded = RecordedPairs(folder / 'border')
    wide = [np.ptp(recorded.pair(2, d, d % 8, 8).target @ axis) for d in range(40)]
    whole = np.ptp(room @ axis)
    assert max(wide) < at - (room @ axis).min() + 0.05 < whole - 0.5
    assert max(wide) > 0.6 * (at - (room @ axis).min())


def test_same_draw_same_pair_in_any_order(pairs):
    there, back = RecordedPairs(pairs), RecordedPairs(pairs)
    forward = [there.pair(3, d, d % 4, 4) for d in range(12)]
    for d in reversed(range(12)):
        again = back.pair(3, d, d % 4, 4)
        assert (again.source == forward[d].source).all()
        assert (again.transform == forward[d].transform).all()


@pytest.mark.parametrize('world', [1, 2, 4])
def test_each_shard_is_read_once_a_round_by_one_process(pairs, world):
    lanes = 8
    reads = []
    for rank in range(world):
        recorded = RecordedPairs(pairs)
        opened, inner = [], recorded.index._shard

        def watched(shard, inner=inner, opened=opened):
            opened.append(shard)
            return inner(shard)

        recorded.index._shard = watched
        for lane in range(rank * lanes // world, (rank + 1) * lanes // world):
            for draw in range(sum(map(len, recorded.lane(lane, lanes)))):
                recorded.pair(0, draw, lane, lanes)
        reads.append(set(opened))
        runs = [s for i, s in enumerate(opened) if i == 0 or opened[i - 1] != s]
        assert len(runs) == len(set(runs))
    assert sorted(s for shards in reads for s in shards) == list(range(14))


@pytest.mark.parametrize('lanes', [1, 3, 8, 64])
@pytest.mark.parametrize(
    'sizes', [[25] * 6 + [1, 1] + [25] * 6, [25] * 6 + [1, 1], [30], [40, 1], list(range(1, 31))]
)
def test_no_scan_is_drawn_much_oftener_than_another(pairs, sizes, lanes):
    recorded = RecordedPairs(pairs)
    recorded._by_shard = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    often = np.zeros(sum(sizes))
    for lane in range(lanes):
        own = np.concatenate(recorded.lane(lane, lanes))
        often[own] += 1.0 / len(own)
    assert often.max() <= 2.0 * often.min() + 1e-9


def test_a_shard_stays_open_while_its_lane_visits_it(pairs, monkeypatch):
    """Lanes take turns, pair by pair: none may close what another one will read next."""
    recorded, opened, read = RecordedPairs(pairs), [], index_module.read_arrays

    def watched(path):
        opened.append(path)
        return read(path)

    monkeypatch.setattr(index_module, 'read_arrays', watched)
    for draw in range(3):
        for lane in range(8):
            recorded.pair(0, draw, lane, 8)
    assert len(opened) == len(set(opened)) >= 8


def test_processes_see_the_same_batches_whatever_their_number(pairs):
    from dlc_training.config import load_config
    from dlc_training.data.batches import batches

    config = load_config('smoke', [
        f'data.recordings=["{pairs}"]', 'data.kinds={crop: 1, recorded: 3}', 'optimiser.batch=4',
        'optimiser.steps=3',
    ])  # fmt: skip
    whole = list(batches(config, 0))
    halves = [list(batches(config, 0, rank, 2)) for rank in range(2)]
    for step, batch in enumerate(whole):
        for name in ('rotation', 'translation'):
            both = np.concatenate([halves[rank][step][name].numpy() for rank in range(2)])
            assert (both == batch[name].numpy()).all()


def test_card_of_weights_names_the_recordings_and_not_where_they_lie(pairs, tmp_path):
    settings = [
        f'data.recordings=["{pairs}"]', 'data.kinds={crop: 1, recorded: 3}', 'optimiser.batch=4',
        f'data.keep={tmp_path / "batches"}', 'optimiser.steps=1',
    ]  # fmt: skip
    assert train(tmp_path, *QUICK, *settings) == 0
    card = load_weights(tmp_path / 'weights.safetensors').card
    assert card['data'] == 'pairs of pairs; beside them generated solids and rooms'
    assert "'data.recordings=[pairs]'" in card['command'] and 'batches' not in card['command']
    assert card['configuration']['data']['recordings'] == ['pairs']
    assert str(tmp_path.parent) not in json.dumps(card)
    settings = [f'initial_weights={tmp_path / "weights.safetensors"}', 'optimiser.steps=1']
    assert train(tmp_path / 'on', *QUICK, *settings) == 0
    then = load_weights(tmp_path / 'on' / 'weights.safetensors').card
    assert then['data'].endswith('no recorded or downloaded data; before that, see continued_from')
    assert then['continued_from']['data'] == card['data']


def test_pairs_that_are_not_there_are_one_clear_error(tmp_path):
    with pytest.raises(FileError, match='no pairs of a recording'):
        RecordedPairs(tmp_path)


def test_far_from_the_origin_maps_and_pairs_are_what_they_are_near_it(placed, tmp_path):
    _, (index, poses, everything, _, _) = placed
    ranges, built, fits = 3.0, [], []
    for shift in (np.zeros(3), UTM):
        moved = poses.copy()
        moved[:, :3, 3] += shift
        corrected = take_drift_out(index, moved, ranges, quiet=True)
        assert np.abs(corrected[:, :3, 3] - moved[:, :3, 3]).max() < 0.1
        room = build_map(index, moved, everything, ranges)
        built.append(room - shift)
        folder = tmp_path / f'{shift[1]:.0f}'
        write_pairs(
            folder, index, moved, everything, room, find_stable(index, moved, everything, ranges)
        )
        recorded = RecordedPairs(folder)
        for draw in range(10):
            pair = recorded.pair(0, draw, 0, 8)
            seen = pair.source @ pair.transform[:3, :3].T + pair.transform[:3, 3]
            fits.append(np.median(cKDTree(pair.target).query(seen)[0]))
    assert abs(len(built[0]) / len(built[1]) - 1) < 0.05
    assert cKDTree(built[0]).query(built[1])[0].max() < 0.2
    assert np.median(fits[10:]) < 1.2 * np.median(fits[:10])


def test_other_pairs_in_the_same_folder_are_refused_and_the_same_ones_found(placed, tmp_path):
    """What was trained on one half must not be continued, and judged, with the other."""
    _, (index, poses, everything, room, stable) = placed
    write_pairs(tmp_path / 'pairs', index, poses, everything[:20], room, stable)
    written = {f: f.stat().st_mtime_ns for f in (tmp_path / 'pairs').iterdir()}
    write_pairs(tmp_path / 'pairs', index, poses, everything[:20], room, stable)
    border = Border(np.array([1.0, 0.0, 0.0]), 1.0)
    for others in (
        (poses, everything[20:], room, stable),
        (poses, everything[:20], room[:-1], stable),
        (turned(1.0) @ poses, everything[:20], room, stable),
        (poses, everything[:20], room, stable, border),
    ):
        with pytest.raises(FileError, match='another split; use another --out'):
            write_pairs(tmp_path / 'pairs', index, *others)
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / 'pairs').iterdir()} == written


@pytest.mark.parametrize('by', ['place', 'time'])
def test_scans_whose_place_is_not_known_have_no_say_in_the_split(by):
    rng = np.random.default_rng(0)
    places, stamps = rng.uniform((0, 0, 0), (30, 4, 0), (80, 3)), np.arange(80) * 10**9
    known = rng.uniform(size=80) < 0.6
    alone = split(stamps[known], places[known], 3.0, by)
    places[~known] += (500.0, -900.0, 0.0)  # in a frame of their own, as odometry has them
    found = split(stamps, places, 3.0, by, known=known)
    assert (found.train[known] == alone.train).all() and not found.train[~known].any()
    assert (found.held_out[known] == alone.held_out).all() and not found.held_out[~known].any()
    assert (found.beyond(stamps, places)[known] == alone.held_out).all()
