"""LiDAR odometry of a recording without poses: continued where it was interrupted."""

import numpy as np
import pytest

pytest.importorskip('rosbags')
pytest.importorskip('kiss_icp')

from recordings import FIRST, STEP, Robot, pose_at, room_points  # noqa: E402
from scipy.spatial.transform import Rotation  # noqa: E402

from dlc_training.recordings import odometry  # noqa: E402
from dlc_training.recordings.scans import find_timing  # noqa: E402
from dlc_training.recordings.sources import Recording  # noqa: E402
from dlc_training.recordings.survey import survey  # noqa: E402

COUNT, BLIND = 60, range(5, 17)


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    """A sensor that drives for six seconds; in some clouds of the second one it sees nothing."""
    path, world = tmp_path_factory.mktemp('bag') / 'robot', room_points(8000)
    with Robot(path) as robot:
        for i in range(COUNT):
            pose = pose_at(0.0 if i in BLIND else 0.1 * max(0, i - len(BLIND) if i > 16 else i))
            rng = np.random.default_rng(i)
            seen = world[rng.choice(len(world), 5 if i in BLIND else 1500, replace=False)]
            robot.cloud(FIRST + i * STEP, (seen - pose[:3, 3]) @ pose[:3, :3])
    return path


def test_interrupted_odometry_goes_on_from_the_right_cloud(bag, tmp_path, monkeypatch):
    """Clouds without a pose count as clouds, not as poses: else the way jumps where it goes on."""
    monkeypatch.setattr(odometry, '_SAVE_EVERY', 10)
    monkeypatch.setattr(odometry, '_WARM_UP', 8)
    recording = Recording([bag])
    seen = survey(recording, quiet=True)
    whole = odometry.lidar_odometry(recording, seen, quiet=True)
    assert len(whole.stamps_ns) == COUNT - len(BLIND)
    clouds = seen.clouds

    def cut_off(recording):
        for number, cloud in enumerate(clouds(recording)):
            if number == 45:
                raise KeyboardInterrupt
            yield cloud

    monkeypatch.setattr(seen, 'clouds', cut_off)
    with pytest.raises(KeyboardInterrupt):
        odometry.lidar_odometry(recording, seen, tmp_path, quiet=True)
    monkeypatch.setattr(seen, 'clouds', clouds)
    again = odometry.lidar_odometry(recording, seen, tmp_path, quiet=True)
    assert (again.stamps_ns == whole.stamps_ns).all()
    apart = np.linalg.norm((again.poses - whole.poses)[:, :3, 3], axis=1)
    assert apart.max() < 0.05


def test_a_sweep_that_is_shorter_than_the_time_between_clouds_is_undone(tmp_path):
    """Two clouds a second, swept in a tenth of one, by a sensor at 1 m/s and 30 deg/s."""
    world, count, sweep = room_points(20000), 14, 0.1

    def at(seconds):
        turn = Rotation.from_euler('z', 30.0 * seconds, degrees=True).as_matrix()
        return turn, np.array([np.sin(seconds), 1.0 - np.cos(seconds), 0.0])

    with Robot(tmp_path / 'bag') as robot:
        for i in range(count):
            seen = world[np.random.default_rng(i).choice(len(world), 3000, replace=False)]
            offsets = np.linspace(0.0, sweep, len(seen), dtype=np.float32)
            poses = [at(0.5 * i + float(offset)) for offset in offsets]
            points = [turn.T @ (p - shift) for p, (turn, shift) in zip(seen, poses, strict=True)]
            extra = {'time': offsets}
            robot.cloud(FIRST + i * 500_000_000, np.array(points), extra=extra)
    recording = Recording([tmp_path / 'bag'])
    seen = survey(recording, quiet=True)
    seen.timing, _ = find_timing([c for _, c in seen.clouds(recording)], sweep)
    way = odometry.lidar_odometry(recording, seen, quiet=True)
    ends = np.array([at(0.5 * i + sweep)[1] for i in range(count)])
    turn, shift = at(sweep)  # the first pose is where its sweep ends
    errors = np.linalg.norm(way.poses[:, :3, 3] - (ends - shift) @ turn, axis=1)
    assert errors.max() < 0.1, errors
