"""Pairs of places: what moved really moved, what stayed stayed, clouds lie on what was there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlc_training.data import scene_pairs
from dlc_training.data.blocks import box
from dlc_training.data.interiors import Place, make_corridor, make_hall, make_interior
from dlc_training.data.outdoors import make_outdoors
from dlc_training.data.pairs import LEAST_OVERLAP, make_pair
from dlc_training.data.preview import main
from dlc_training.data.scene import Scene
from dlc_training.data.scene_pairs import (
    changed,
    fragment_pair,
    fused,
    overlap,
    room_pair,
    scan_pair,
)
from dlc_training.data.sensors import DepthCamera, SpinningLidar, looking_at
from dlc_training.data.solid import Solid

PLACES = [make_interior, make_hall, make_corridor, make_outdoors]
QUIET = {'noise': 0.0, 'dropout': 0.0}


def distance(solids, points):
    return np.minimum.reduce([solid.distance(points) for solid in solids])


def poses_of(solids):
    return [np.concatenate([p.translation for p in s.parts]) for s in solids]


@pytest.mark.parametrize('make', PLACES)
def test_places_repeat_have_a_floor_and_room_for_a_sensor(make):
    for seed in range(4):
        place, again = (make(np.random.default_rng(seed)) for _ in range(2))
        for solids, same in ((place.fixed, again.fixed), (place.movable, again.movable)):
            for one, other in zip(poses_of(solids), poses_of(same), strict=True):
                np.testing.assert_array_equal(one, other)
        rng = np.random.default_rng(seed)
        spots = np.append(rng.uniform(-0.9, 0.9, (200, 2)) * place.half[:2], np.ones((200, 1)), 1)
        free = distance(place.fixed + place.movable, spots) > 0.1
        assert free.mean() > 0.25, seed
        down = np.tile([0, 0, -1.0], (200, 1))
        fall = Scene(place.fixed).cast(spots, down).ranges.numpy()
        assert np.quantile(fall[free], 0.9) == pytest.approx(1.0, abs=0.25), seed


@pytest.mark.parametrize('make', PLACES)
def test_what_is_changed_moves_and_the_rest_stays(make):
    gone = moved = still = quiet = 0
    for seed in range(12):
        rng = np.random.default_rng([seed, 1])
        place = make(rng)
        before, after = changed(rng, place)
        count = len(place.fixed)
        assert before[:count] == place.fixed == after[:count]
        quiet += before == after == place.fixed + place.movable
        had, has = before[count:], after[count:]
        originals = set(map(id, place.movable))
        assert set(map(id, had)) <= originals
        at_both = set(map(id, had)) & set(map(id, has))
        pushed = [solid for solid in has if id(solid) not in originals]
        still += len(at_both)
        moved += len(pushed)
        gone += len(originals - at_both) - len(pushed)
        floor = [solid.sphere[0][2] for solid in had]
        for solid in pushed:
            # On the same board or floor, elsewhere than anything that was there before.
            centre = solid.sphere[0]
            assert min(abs(z - centre[2]) for z in floor) < 1e-9
            assert min(np.linalg.norm(other.sphere[0] - centre) for other in had) > 0
    assert 1 <= quiet <= 10
    assert min(gone, moved, still) > 0


def test_a_scan_differs_where_something_moved_and_only_there():
    rng = np.random.default_rng(17)
    place = make_interior(rng)
    before, after = changed(rng, place)
    assert before != after
    lidar, pose = SpinningLidar(rings=32, columns=400, **QUIET, reach=1e9), np.eye(4)
    pose[2, 3] = 1.3
    scans = [lidar.scan(Scene(s), pose, np.random.default_rng(0)) for s in (before, after)]
    kept = [s for s in before if any(s is other for other in after)]
    there = [scan.points + pose[:3, 3] for scan in scans]
    for points, solids in zip(there, (before, after), strict=True):
        assert np.abs(distance(solids, points)).max() < 1e-3
    off = [np.abs(distance(kept, points)) > 1e-2 for points in there]
    assert max(share.mean() for share in off) > 0.005
    # What does not lie on anything that stayed lies on something that was there once only.
    for points, apart, solids in zip(there, off, (before, after), strict=True):
        once = [s for s in solids if not any(s is other for other in kept)]
        if apart.any():
            assert np.abs(distance(once, points[apart])).max() < 1e-3


@settings(max_examples=20)
@given(share=st.floats(0.05, 0.95), seed=st.integers(0, 1000))
def test_overlap_of_two_strips(share, seed):
    """Points spread over a unit square and the same square shifted: what is shared is known."""
    rng = np.random.default_rng(seed)
    source, target = np.append(rng.uniform(0, 1, (2, 4000, 2)), np.zeros((2, 4000, 1)), 2)
    found = overlap(source, target + (1 - share, 0, 0), 0.05)
    assert found == pytest.approx(share + 0.05, abs=0.05)


@pytest.mark.parametrize('kind', ['fragment', 'scan', 'room'])
def test_pairs_of_places_overlap(kind):
    shares = []
    for index in range(8):
        pair = make_pair(21, index, {kind: 1.0})
        if pair.kind == kind:
            moved = pair.source @ pair.transform[:3, :3].T + pair.transform[:3, 3]
            spread = np.sqrt(((pair.target - pair.target.mean(0)) ** 2).sum(1).mean())
            # Counted by hand: all distances, none of a tree.
            gaps = ((moved[:, None] - pair.target) ** 2).sum(2).min(1) ** 0.5
            shares.append((gaps < 0.0801 * spread).mean())
    assert len(shares) >= 6
    assert min(shares) >= LEAST_OVERLAP - 0.01
    assert max(shares) > 0.5


def test_fused_images_lie_on_what_was_there():
    place = make_interior(np.random.default_rng(2))
    solids = place.fixed + place.movable
    camera = DepthCamera(width=40, height=30, **QUIET, bleeding=0.0, disparity_step=0.0, far=8.0)
    eye = np.array([0.3, 0.2, 1.4])
    poses = [looking_at(eye + (0.1 * k, 0, 0), np.array([2.0, 0.5, 0.8])) for k in range(3)]
    cloud = fused(np.random.default_rng(3), Scene(solids), camera, poses)
    assert 300 < len(cloud) < 3600
    error = np.abs(distance(solids, cloud))
    # Believed poses are off by a centimetre, means of a voxel by a part of its 9 cm.
    assert np.median(error) < 0.02
    assert np.quantile(error, 0.95) < 0.09


@pytest.mark.parametrize('make', [fragment_pair, room_pair, scan_pair])
def test_a_sensor_that_sees_nothing_is_no_accident(make, monkeypatch):
    """Inside a cupboard, say: the maker returns an empty cloud, and another place is drawn."""
    nothing = Place((Solid((box((0, 0, 900), (0.1, 0.1, 0.1)),)),), (), np.array([2.0, 2.0, 1.3]))
    for name in ('make_interior', 'make_hall', 'make_corridor', 'make_outdoors'):
        monkeypatch.setattr(scene_pairs, name, lambda rng: nothing)
    for seed in range(6):
        source, target = make(np.random.default_rng(seed))
        assert source.shape == target.shape == (0, 3)


def test_the_preview_is_drawn_and_refuses_what_it_cannot_do(tmp_path, capsys):
    picture = tmp_path / 'pairs.png'
    assert main(['--kind', 'scan', '--count', '2', '--out', str(picture)]) == 0
    assert picture.read_bytes().startswith(b'\x89PNG')
    assert picture.stat().st_size > 10_000
    for wrong in (
        ['--count', '0', '--out', str(picture)],
        ['--out', str(tmp_path / 'no' / 'pairs.png')],
        ['--count', '1', '--out', str(tmp_path / 'pairs.xyz')],
    ):
        assert main(['--kind', 'solid', *wrong]) == 2
        message = capsys.readouterr().err
        assert message.count('\n') == 1
        assert 'Traceback' not in message
