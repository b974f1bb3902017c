"""The drive through a building, here through one furnished room, with the node as a process."""

import numpy as np
import pytest
from scipy.spatial import cKDTree
from wire import room

for module in ('cyclonedds', 'rosbags', 'psutil', 'small_gicp'):
    pytest.importorskip(module, reason=f'{module} is not installed')

from dlc_ros.registration.se3 import exp_so3, inverse, make_transform, transform_points  # noqa: E402
from dlc_training.evaluate import node_speed  # noqa: E402
from dlc_training.evaluate.building import Building, make_building  # noqa: E402
from dlc_training.evaluate.eval_cli import main  # noqa: E402
from dlc_training.evaluate.node_process import NODE  # noqa: E402


def seen_from(pose, seed):
    return pose, transform_points(inverse(pose), room(1500, seed)).astype(np.float32)


@pytest.fixture
def building(monkeypatch):
    poses = [
        make_transform(exp_so3([0.0, 0.0, 0.3]), [1.0 + 0.05 * i, 0.8, 0.2]) for i in range(4)
    ]
    drive = [seen_from(pose, 20 + i) for i, pose in enumerate(poses)]
    drive.insert(2, (poses[1], None))  # a door: nothing is seen
    elsewhere = seen_from(make_transform(exp_so3([0.0, 0.0, 2.0]), [2.0, 1.2, 0.3]), 30)
    building = Building(room(3000).astype(np.float32), drive, [elsewhere])
    monkeypatch.setattr(node_speed, 'make_building', lambda places: building)


def test_a_drive_is_measured_and_judged(building):
    rows = {what: (value, limit) for what, value, _, limit in node_speed.measure(seconds=1.0)}
    assert len(rows) == 12
    found = {what: value for what, (value, _) in rows.items()}
    assert 0.0 < found['node: launch to the first transform, pose given'] < np.inf
    # A busy machine answers fewer, but what is answered is right and costs something.
    assert 0.0 < found['node: 10 Hz of 130k points in 500k, answered'] <= 100.0
    assert found['node: of these right within 1 deg / 0.1 m'] == 100.0
    assert found['node: stamp to transform, median'] > 0.0 and found['node: cores used'] > 0.0
    assert found['node: places found'] == 100.0
    assert rows['node: stamp to transform, 95th percentile'][1] == 100


def test_the_robot_drives_through_several_halls_and_stays_clear_of_things():
    building = make_building(rooms=2, steps=4, places=1)
    poses, scans = zip(*building.drive, strict=True)
    seen = [scan is not None for scan in scans]
    assert seen[:4] == seen[-4:] == [True] * 4 and not any(seen[4:-4])
    ways = np.linalg.norm(np.diff([pose[:3, 3] for pose in poses], axis=0), axis=1)
    assert ways.max() < 0.31 and ways.sum() > 5.0
    assert len(building.map) == 500_000 and len(building.places) == 1
    known = cKDTree(building.map)
    for pose, scan in [building.drive[0], building.drive[-1], *building.places]:
        level = np.abs(scan[:, 2]) < 0.05
        assert np.linalg.norm(scan[level], axis=1).min() > 0.4
        distances, _ = known.query(transform_points(pose, scan[::200].astype(float)))
        assert np.median(distances) < 0.5, 'what is seen there is on the map'


def test_two_nodes_take_turns_in_one_building(building, monkeypatch):
    """The second is the first under a launcher that is smaller than it."""
    monkeypatch.setattr(node_speed, '_TURN', 0.5)
    launched = f"sh -c '{NODE}; exit'"
    rows = {what: value for what, value, _, _ in node_speed.compare(launched, seconds=1.0)}
    for name in ('dlc-ros run', 'other'):
        assert rows[f'{name}: of these right within 1 deg / 0.1 m'] == 100.0
        assert rows[f'{name}: cores used'] > 0.0
        assert rows[f'{name}: processor time for each answer'] > 0.0
    assert 0.0 < rows['other: median latency, share of dlc-ros run'] < np.inf
    memory = [rows[f'{name}: resident memory'] for name in ('dlc-ros run', 'other')]
    assert memory[1] > 0.5 * memory[0]


def test_adapters_are_compared_with_something(capsys):
    assert main(['speed', '--only', 'adapters']) == 2
    assert 'give --node' in capsys.readouterr().err
