"""The demo's story: a smooth path, a blind interval, a jump, and a truth that holds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlc_ros.errors import DlcError
from dlc_ros.registration.se3 import inverse, is_rigid, rotation_angle_deg, transform_points

o3d = pytest.importorskip('open3d', reason='open3d is not installed')
pytest.importorskip('cyclonedds', reason='cyclonedds is not installed')

from dlc_ros.demo.camera import SimulatedCamera  # noqa: E402
from dlc_ros.demo.depth_camera import NO_NOISE, DepthCamera, Intrinsics  # noqa: E402
from dlc_ros.demo.part import build_part  # noqa: E402
from dlc_ros.demo.scenario import Scenario, View  # noqa: E402
from dlc_ros.demo.scene import build_scene  # noqa: E402
from dlc_ros.localization.parameters import Parameters  # noqa: E402
from dlc_ros.localization.segmentation import segment  # noqa: E402


def poses_and_jumps(scenario):
    """Times, poses, and for each step between clouds whether the camera jumps in it."""
    times = np.arange(scenario.frames) / scenario.rate
    jumps = np.array([scenario.jumps(t) for t in times])
    return times, [scenario.camera_pose(t) for t in times], np.diff(jumps)


@given(seed=st.integers(0, 1000), duration=st.floats(10, 200))
@settings(max_examples=30, deadline=None)
def test_path_is_smooth_but_for_jumps_of_at_least_120_deg(seed, duration):
    scenario = Scenario(duration=duration, seed=seed)
    _, poses, jumps = poses_and_jumps(scenario)
    assert all(is_rigid(pose, 1e-9) for pose in poses)
    turns = np.array([rotation_angle_deg(a, b) for a, b in zip(poses, poses[1:], strict=False)])
    steps = np.linalg.norm(np.diff([pose[:3, 3] for pose in poses], axis=0), axis=1)
    assert set(jumps) <= {0, 1}
    assert turns[jumps == 1].min() >= 120.0
    # Else it turns by less than 25 deg/s and moves by less than 0.3 m/s.
    assert turns[jumps == 0].max() * scenario.rate < 25.0
    assert steps[jumps == 0].max() * scenario.rate < 0.3


@given(seed=st.integers(0, 1000), duration=st.floats(10, 200))
@settings(max_examples=30, deadline=None)
def test_camera_reappears_on_another_side_than_where_it_was_blinded(seed, duration):
    scenario = Scenario(duration=duration, seed=seed)
    times, _, jumps = poses_and_jumps(scenario)
    seen = max(t for t in times if t < scenario.blind_from)
    again = min(t for t in times if t >= scenario.sees_again)
    assert times[1:][jumps == 1][0] == again
    moved = rotation_angle_deg(scenario.camera_pose(seen), scenario.camera_pose(again))
    assert moved >= 120.0


def test_camera_stays_long_enough_to_be_found_between_two_jumps():
    times, _, jumps = poses_and_jumps(Scenario())
    at = times[1:][jumps == 1]
    assert len(at) > 10
    assert np.diff(at).min() >= 1.5


def test_blind_interval_has_every_kind_of_bad_cloud():
    scenario = Scenario()
    views = [scenario.view(index / scenario.rate) for index in range(scenario.frames)]
    assert [v for v, before in zip(views, [None, *views], strict=False) if v is not before] == [
        View.PART,
        View.COVER,
        View.NAN,
        View.EMPTY,
        View.PART,
    ]
    assert views.count(View.PART) == 0.9 * len(views) == 270


def test_truth_puts_the_seen_points_on_the_part():
    """Mesh -> world -> camera -> points -> inverse truth lands on the mesh in its own frame."""
    scenario = Scenario(seed=4)
    mesh_scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    for mesh in build_part():
        mesh_scene.add_triangles(mesh)
    camera = DepthCamera(build_scene(), Intrinsics(160, 120, 420.0), NO_NOISE)
    for t in (0.0, 20.0, 35.0, 59.9):
        cloud = camera.capture(scenario.camera_pose(t), np.random.default_rng(0)).reshape(-1, 3)
        points = transform_points(inverse(scenario.truth(t)), cloud[np.isfinite(cloud[:, 2])])
        inside = (np.abs(points[:, :2]) < [0.09, 0.06]).all(axis=1) & (points[:, 2] > 0.03)
        assert inside.sum() > 500
        distance = mesh_scene.compute_distance(
            o3d.core.Tensor(points[inside].astype(np.float32))
        ).numpy()
        assert distance.max() < 1e-4


def test_clouds_show_what_the_scenario_says():
    scenario = Scenario(duration=30.0)
    camera = SimulatedCamera(scenario)
    clouds = {}
    for t in np.arange(0.0, 30.0, 0.5):
        clouds.setdefault(scenario.view(t), camera.capture(t))
    assert np.isfinite(clouds[View.PART][..., 2]).mean() > 0.9
    assert clouds[View.EMPTY].size == 0
    assert np.isnan(clouds[View.NAN]).all()
    # Points in plenty, and all of them nearer than anything on the table.
    cover = clouds[View.COVER][..., 2]
    assert np.isfinite(cover).all()
    assert cover.max() < 0.3 < np.nanmin(clouds[View.PART][..., 2])


def test_cutting_the_table_away_leaves_the_part():
    """The plate's top, with things beside it, must not be taken for another table."""
    scenario = Scenario(seed=1)
    camera = SimulatedCamera(scenario)
    diameter = 0.26
    for t in np.arange(0.0, 60.0, 3.1):
        if scenario.view(t) is not View.PART:
            continue
        cloud = camera.capture(t).reshape(-1, 3).astype(np.float64)
        points = cloud[np.isfinite(cloud[:, 2])]
        on_part = transform_points(inverse(scenario.truth(t)), points)
        of_part = (np.abs(on_part[:, :2]) < [0.1, 0.07]).all(axis=1) & (on_part[:, 2] > 0.01)
        kept = segment(points, diameter, Parameters().segmentation)
        on_table = transform_points(scenario.camera_pose(t), kept)[:, 2] < 0.003
        assert len(kept) > 0.9 * of_part.sum()
        assert on_table.mean() < 0.05


def test_same_seed_gives_the_same_clouds():
    first, second, other = (
        SimulatedCamera(Scenario(seed=seed)).capture(1.0) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other, equal_nan=True)


@pytest.mark.parametrize(
    'values',
    [{'duration': value} for value in (3.0, float('nan'), float('inf'))] + [{'rate': 0.0}],
)
def test_impossible_scenarios_are_refused(values):
    with pytest.raises(DlcError, match=next(iter(values))):
        Scenario(**values)
