"""Simulated sensors: where their rays go, how their errors are spread, what they lose."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.transform import Rotation

from dlc_training.data.blocks import box, turn
from dlc_training.data.scene import Scene
from dlc_training.data.sensors import DepthCamera, SolidStateLidar, SpinningLidar, looking_at

# Smallest p-value of a right sensor here; seeds are fixed, so it never varies.
RARE = 1e-4
STILL = {'noise': 0.0, 'dropout': 0.0, 'reach': 1e4}
EXACT = {'noise': 0.0, 'dropout': 0.0, 'bleeding': 0.0, 'disparity_step': 0.0}


def wall(distance, axis=0, reach=60.0):
    """A wall across an axis whose face lies at this distance."""
    centre, half = np.zeros(3), np.full(3, reach)
    centre[axis], half[axis] = distance + 0.5, 0.5
    return box(centre, half)


def at(x=0.0, y=0.0, z=0.0, yaw=0.0):
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn(yaw), (x, y, z)
    return pose


def in_scene(scan, pose):
    return scan.points @ pose[:3, :3].T + pose[:3, 3]


# ---------------------------------------------------------------------------- depth camera


def test_a_camera_sees_a_wall_as_a_plane_within_its_field():
    camera = DepthCamera(width=80, height=60, field_deg=70.0, **EXACT)
    pose = looking_at(np.array([0.0, 0, 0]), np.array([1.0, 0, 0]))
    scan = camera.scan(Scene([wall(2.0)]), pose, np.random.default_rng(0))
    assert len(scan) == 80 * 60
    np.testing.assert_allclose(scan.points[:, 2], 2.0, atol=1e-5)
    edge = 2.0 * np.tan(np.radians(35))
    pixel = 2 * edge / 80
    for axis, reach in ((0, edge), (1, edge * 60 / 80)):
        assert -reach <= scan.points[:, axis].min() < -reach + pixel
        assert reach - pixel < scan.points[:, axis].max() <= reach + 1e-6
    np.testing.assert_array_equal(scan.times, 0)
    np.testing.assert_array_equal(scan.parts, 0)
    # Upright: the image's y runs down where the scene's z runs up, its x to the right.
    moved = in_scene(scan, pose)
    np.testing.assert_allclose(moved[:, 2], -scan.points[:, 1], atol=1e-12)
    np.testing.assert_allclose(moved[:, 1], -scan.points[:, 0], atol=1e-12)


def test_depth_noise_grows_with_the_square_of_the_depth():
    camera = DepthCamera(**{**EXACT, 'noise': 0.004})
    pose = looking_at(np.zeros(3), np.array([1.0, 0, 0]))
    for depth in (1.0, 2.0, 4.0):
        scan = camera.scan(Scene([wall(depth)]), pose, np.random.default_rng(1))
        error = (scan.points[:, 2] - depth) / (0.004 * depth**2)
        assert stats.kstest(error, 'norm').pvalue > RARE


def test_depths_are_multiples_in_disparity():
    camera = DepthCamera(**{**EXACT, 'disparity_step': 0.004, 'noise': 0.002})
    pose = looking_at(np.zeros(3), np.array([1.0, 0.4, 0]))
    scan = camera.scan(Scene([wall(3.0)]), pose, np.random.default_rng(2))
    steps = 1 / (scan.points[:, 2] * 0.004)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
    assert len(np.unique(np.rint(steps))) > 10


def test_pixels_beside_a_jump_lie_between_its_sides_as_often_as_told():
    scene = Scene([wall(3.0), box((2.0, 0, 0), (0.1, 0.4, 0.4))])
    pose = looking_at(np.zeros(3), np.array([1.0, 0, 0]))
    camera = DepthCamera(width=160, height=120, **{**EXACT, 'bleeding': 0.5})
    counts = []
    for seed in range(20):
        scan = camera.scan(scene, pose, np.random.default_rng(seed))
        between = (scan.points[:, 2] > 1.9 + 1e-4) & (scan.points[:, 2] < 3 - 1e-4)
        # They are flung to and fro along the rays through the box's edge: 0.4 wide at 1.9.
        edge = np.abs(scan.points[:, :2] / scan.points[:, 2:]).max(1)
        focal = 80 / np.tan(np.radians(35))
        np.testing.assert_allclose(edge[between], 0.4 / 1.9, atol=1.5 / focal)
        counts.append(between.sum())
    # Two of the box's four sides cross the axis that is compared; each has 2 * 0.4 / 1.9 focal
    # pixels, and the pixel on one side of it (not on both) sees a jump.
    side = 2 * 0.4 / 1.9 * focal
    assert np.mean(counts) == pytest.approx(0.5 * 2 * side, rel=0.15)
    plain = DepthCamera(width=160, height=120, **EXACT).scan(scene, pose, np.random.default_rng(0))
    assert set(np.round(plain.points[:, 2], 3)) == {1.9, 3.0}


def test_a_camera_loses_grazed_surfaces_near_far_and_by_chance():
    pose = looking_at(np.array([0, 0, 1.0]), np.array([1.0, 0, 1.0]))
    floor = Scene([box((0, 0, -0.5), (90, 90, 0.5))])
    camera = DepthCamera(**{**EXACT, 'grazing_deg': 20.0, 'far': 50.0})
    scan = camera.scan(floor, pose, np.random.default_rng(3))
    angle = np.degrees(np.arcsin(1.0 / np.linalg.norm(scan.points, axis=1)))
    assert 20 < angle.min() < 21
    camera = DepthCamera(**{**EXACT, 'near': 2.0, 'far': 2.5})
    depth = camera.scan(floor, pose, np.random.default_rng(3)).points[:, 2]
    assert depth.min() > 2.0
    assert depth.max() < 2.5
    camera = DepthCamera(**{**EXACT, 'dropout': 0.3})
    ahead = Scene([wall(2.0)])
    kept = [len(camera.scan(ahead, pose, np.random.default_rng(s))) for s in range(5)]
    assert stats.binomtest(sum(kept), 5 * 160 * 120, 0.7).pvalue > RARE
    assert len(camera.scan(Scene([]), pose, np.random.default_rng(0))) == 0


# ---------------------------------------------------------------------------------- LiDARs


def test_rings_and_times_of_a_spinning_lidar():
    lidar = SpinningLidar(rings=16, columns=400, lowest_deg=-15, highest_deg=15, **STILL)
    scene = Scene([wall(10.0), wall(10.0, axis=1)])  # ahead and to the left
    scan = lidar.scan(scene, at(), np.random.default_rng(4))
    x, y, z = scan.points.T
    on_wall = np.where(scan.parts == 0, x, y)
    np.testing.assert_allclose(on_wall, 10.0, atol=1e-4)
    tilt = np.degrees(np.arctan2(z, np.hypot(x, y)))
    rings = np.linspace(-15, 15, 16)
    np.testing.assert_allclose(tilt, rings[np.rint((tilt + 15) / 2).astype(int)], atol=1e-4)
    assert len(np.unique(np.rint(tilt))) == 16
    # Counter-clockwise at a steady rate, once around from behind in one period.
    turned = (np.arctan2(y, x) + np.pi) / (2 * np.pi)
    late = turned - scan.times / 0.1
    assert late.min() >= -1e-9
    assert late.max() < 1 / 400
    assert (np.diff(scan.times) >= 0).all()


def test_range_noise_is_normal_and_along_the_ray():
    lidar = SpinningLidar(rings=32, columns=500, **{**STILL, 'noise': 0.03})
    scan = lidar.scan(Scene([wall(5.0)]), at(), np.random.default_rng(5))
    range_ = np.linalg.norm(scan.points, axis=1)
    true = 5.0 / (scan.points[:, 0] / range_)
    assert stats.kstest((range_ - true) / 0.03, 'norm').pvalue > RARE


@pytest.mark.parametrize('distance', [20.0, 40.0])
def test_distant_and_slant_surfaces_return_less(distance):
    """Half of the pulses at `reach` head on; the strength falls with the square and the cosine."""
    lidar = SpinningLidar(rings=24, columns=3000, far=1000.0, noise=0.0, dropout=0.1, reach=30.0)
    everything = SpinningLidar(rings=24, columns=3000, far=1000.0, **{**STILL, 'reach': 1e9})
    scene = Scene([wall(distance)])
    rng = np.random.default_rng
    offered = everything.scan(scene, at(), rng(6)).points
    found = lidar.scan(scene, at(), rng(6)).points
    for low, high in ((0.9, 1.0), (0.5, 0.7), (0.2, 0.4)):
        cosine, seen = (p[:, 0] / np.linalg.norm(p, axis=1) for p in (offered, found))
        mine = cosine[(cosine > low) & (cosine <= high)]
        strength = mine * (30.0 / (distance / mine)) ** 2
        expected = 0.9 * (1 - 0.5**strength)
        count = ((seen > low) & (seen <= high)).sum()
        spread = np.sqrt((expected * (1 - expected)).sum())
        assert abs(count - expected.sum()) < 4 * spread + 2
    head_on = 0.9 * (1 - 0.5 ** ((30 / distance) ** 2))
    assert 0.2 < head_on < 0.85


def test_a_moving_lidar_smears_what_it_sees_by_its_motion():
    """Towards a wall at 5 m/s while turning at 1 rad/s: each point is seen at its own time."""
    lidar = SpinningLidar(rings=8, columns=720, **STILL)
    end = at(x=0.5, yaw=0.1)
    scan = lidar.scan(Scene([wall(10.0)]), at(), np.random.default_rng(7), end_pose=end)
    turns = Rotation.from_euler('z', scan.times[:, None])
    undone = turns.apply(scan.points) + np.outer(5.0 * scan.times, (1, 0, 0))
    np.testing.assert_allclose(undone[:, 0], 10.0, atol=1e-4)
    assert np.ptp(scan.points[:, 0]) > 0.2


def test_a_thinned_scan_is_a_random_share_of_the_whole():
    lidar = SpinningLidar(rings=16, columns=500, **STILL)
    scene = Scene([box((0, 0, -2), (90, 90, 0.5)), wall(30.0), wall(20.0, axis=1)])
    whole = lidar.scan(scene, at(), np.random.default_rng(8))
    some = lidar.scan(scene, at(), np.random.default_rng(8), share=0.2)
    assert len(some) == pytest.approx(0.2 * len(whole), rel=0.1)
    assert stats.ks_2samp(some.times, whole.times).pvalue > RARE
    assert stats.ks_2samp(some.points[:, 2], whole.points[:, 2]).pvalue > RARE


def test_a_solid_state_lidar_fills_its_cone_without_repeating():
    lidar = SolidStateLidar(pulses=20_000, field_deg=60.0, **STILL)
    scene = Scene([wall(10.0)])
    first, second = (lidar.scan(scene, at(), np.random.default_rng(s)) for s in (9, 10))
    for scan in (first, second):
        assert len(scan) == 20_000
        off = np.degrees(np.arccos(scan.points[:, 0] / np.linalg.norm(scan.points, axis=1)))
        assert off.max() <= 30.0 + 1e-3
        assert (off > 27).mean() > 0.05
        around = np.arctan2(scan.points[:, 2], scan.points[:, 1])
        assert np.histogram(around, 12, (-np.pi, np.pi))[0].min() > 0.02 * len(scan)
        assert scan.times.max() < 0.1
    assert not np.allclose(first.points, second.points, atol=0.1)


@pytest.mark.parametrize('sensor', [DepthCamera(), SpinningLidar(), SolidStateLidar()])
def test_equal_seeds_give_equal_scans(sensor):
    scene = Scene([wall(3.0), wall(4.0, axis=1), wall(3.0, axis=2)])
    one, same, other = (sensor.scan(scene, at(), np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.points, same.points)
    np.testing.assert_array_equal(one.parts, same.parts)
    assert len(one) != len(other) or not np.array_equal(one.points, other.points)


def test_a_camera_looks_where_it_is_told():
    rng = np.random.default_rng(11)
    for _ in range(20):
        eye, target = rng.normal(size=(2, 3))
        pose = looking_at(eye, target, roll=0.3)
        ahead = np.linalg.inv(pose) @ np.append(target, 1)
        np.testing.assert_allclose(ahead[:2], 0, atol=1e-9)
        assert ahead[2] == pytest.approx(np.linalg.norm(target - eye))
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
        assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
    assert np.isfinite(looking_at(np.zeros(3), np.array([0, 0, -1.0]))).all()
