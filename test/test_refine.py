"""ICP between surfaces: right answers, equal ones from both libraries, no input that crashes."""

import numpy as np
import pytest
import scenes
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from dlc_ros.registration.options import RegistrationOptions
from dlc_ros.registration.refine import Refiner, levels
from dlc_ros.registration.se3 import (
    exp_so3,
    inverse,
    is_rigid,
    make_transform,
    rotation_angle_deg,
    transform_points,
)

TRUTH = make_transform(exp_so3([0.4, -0.9, 2.0]), [0.5, -1.0, 3.0])
OFFSET = make_transform(exp_so3([0.08, -0.05, 0.06]), [0.03, 0.04, -0.03])
METHODS = ['GICP', 'PLANE_ICP', 'ICP']


@pytest.fixture(scope='module')
def bracket():
    """Source centred on its centroid, target, and their truth."""
    source, target = scenes.pair(scenes.bracket, np.random.default_rng(0), TRUTH)
    centre = source.mean(axis=0)
    return source - centre, target, TRUTH @ make_transform(translation=centre)


def errors(estimate, truth):
    return rotation_angle_deg(estimate, truth), np.linalg.norm(estimate[:3, 3] - truth[:3, 3])


@pytest.mark.parametrize('library', ['small_gicp', 'open3d'])
@pytest.mark.parametrize('method', METHODS)
def test_every_method_of_both_libraries_finds_the_pose(bracket, library, method):
    if library == 'open3d':
        pytest.importorskip('open3d')
    source, target, truth = bracket
    refiner = Refiner(target, RegistrationOptions(refiner=library, refine_method=method))
    found = refiner.refine(source, truth @ OFFSET)
    turn, shift = errors(found.transform, truth)
    assert turn < (1.0 if method == 'ICP' else 0.3) and shift < (0.03 if method == 'ICP' else 0.01)
    assert found.converged and found.inlier_fraction > 0.95
    assert is_rigid(found.transform, 1e-9)


@pytest.mark.parametrize('method', METHODS)
def test_open3d_and_small_gicp_agree(bracket, method):
    pytest.importorskip('open3d')
    source, target, truth = bracket
    one, two = (
        Refiner(target, RegistrationOptions(refiner=library, refine_method=method)).refine(
            source, truth @ OFFSET
        )
        for library in ('small_gicp', 'open3d')
    )
    turn, shift = errors(one.transform, two.transform)
    assert turn < 0.3 and shift < 0.01
    assert one.residual == pytest.approx(two.residual, rel=0.1)


def test_what_open3d_cannot_do_without(bracket, monkeypatch):
    import sys

    from dlc_ros.errors import ParameterError

    monkeypatch.setitem(sys.modules, 'open3d', None)
    with pytest.raises(ParameterError, match='install open3d or choose small_gicp'):
        Refiner(bracket[1], RegistrationOptions(refiner='open3d'))


def test_evidence_agrees_with_a_search_by_scipy(bracket):
    source, target, truth = bracket
    found = Refiner(target).refine(source, truth @ OFFSET).agreement
    moved = transform_points(found.transform, source)
    forward, _ = cKDTree(target).query(moved)
    backward, _ = cKDTree(moved).query(target)
    assert found.inlier_fraction == pytest.approx(np.mean(forward < found.distance))
    kernel = [np.maximum(0, 1 - (d / found.distance) ** 2) for d in (forward, backward)]
    assert found.score == pytest.approx((kernel[0].mean() + kernel[1].mean()) / 2)
    near = [np.mean(d < found.distance) for d in (forward, backward)]
    around = [np.mean(d < 3 * found.distance) for d in (forward, backward)]
    assert found.contrast == pytest.approx(sum(near) / sum(around))


def test_residual_is_the_noise_and_its_expectation_too():
    rng = np.random.default_rng(5)
    noise = 0.01
    source, target = scenes.pair(scenes.box, rng, np.eye(4), count=2000, noise=noise)
    found = Refiner(target).refine(source - source.mean(0), make_transform(None, source.mean(0)))
    # Both clouds are noisy; choosing near points takes a little off, the pitch adds a little.
    assert found.residual == pytest.approx(np.sqrt(2.0) * noise, rel=0.25)
    assert 1.0 < found.agreement.expected_residual / (np.sqrt(2.0) * noise) < 1.6
    assert 0.6 < found.agreement.residual_ratio < 1.1


def test_hessian_is_the_second_derivative_of_the_plane_distances(bracket):
    source, target, truth = bracket
    refiner = Refiner(target)
    found = refiner.refine(source, truth @ OFFSET).agreement
    moved = transform_points(found.transform, source)
    distances, indices = cKDTree(target).query(moved)
    near = distances < found.distance
    normals = refiner.target.normals[indices[near]]

    def cost(error):
        turned = exp_so3(error[3:]) @ found.transform[:3, :3]
        points = source[near] @ turned.T + found.transform[:3, 3] + error[:3]
        return 0.5 * np.sum(np.sum((points - moved[near]) * normals, axis=1) ** 2)

    step, axes = 1e-4, np.eye(6)
    numeric = np.array(
        [
            [
                (
                    cost(step * (a + b))
                    - cost(step * (a - b))
                    - cost(step * (b - a))
                    + cost(-step * (a + b))
                )
                / (4 * step**2)
                for a in axes
            ]
            for b in axes
        ]
    )
    np.testing.assert_allclose(found.hessian, numeric, rtol=1e-3, atol=1e-2)


def test_motion_matrix_is_the_mean_square_motion_of_the_points(bracket):
    source, target, truth = bracket
    found = Refiner(target).refine(source, truth).agreement
    moved = transform_points(found.transform, source)
    inliers = source[cKDTree(target).query(moved)[0] < found.distance]
    screw = 1e-5 * np.array([1.0, -2.0, 0.5, 0.3, 0.8, -0.4])
    turn = Rotation.from_rotvec(screw[3:]).as_matrix() @ found.transform[:3, :3]
    after = inliers @ turn.T + found.transform[:3, 3] + screw[:3]
    travelled = np.sum((after - transform_points(found.transform, inliers)) ** 2)
    assert screw @ found.motion @ screw == pytest.approx(travelled, rel=1e-3)


def test_equal_input_gives_equal_bits(bracket):
    source, target, truth = bracket
    one = Refiner(target).refine(source, truth @ OFFSET)
    two = Refiner(target.copy()).refine(source.copy(), truth @ OFFSET)
    np.testing.assert_array_equal(one.transform, two.transform)
    np.testing.assert_array_equal(one.hessian, two.hessian)


def test_thinning_does_not_pull_a_room_off_its_place():
    """Means of large voxels lie off the surface where things are thin; single points do not."""
    from dlc_training.data.rooms import make_room

    room, _ = make_room(2**31 + 4)
    rng = np.random.default_rng(0)
    source, target = (room.sample(60_000, rng)[0] for _ in range(2))
    source, target = (c + 0.01 * rng.normal(size=c.shape) for c in (source, target))
    centre = source.mean(axis=0)
    truth = make_transform(translation=centre)
    found = Refiner(target).refine(source - centre, truth @ OFFSET)
    turn, shift = errors(found.transform, truth)
    assert turn < 0.1 and shift < 8e-3


def test_candidates_on_thinned_clouds_lead_to_the_full_answer():
    rng = np.random.default_rng(8)
    source, target = scenes.pair(scenes.bracket, rng, TRUTH, count=30_000)
    centre = source.mean(axis=0)
    truth = TRUTH @ make_transform(translation=centre)
    refiner = Refiner(target)
    prepared = refiner.prepare(source - centre)
    assert len(prepared.coarse.points) < 2_000 < len(prepared.full.points) < 8_000
    candidate = refiner.compete(prepared, truth @ OFFSET)
    answer = refiner.finish(prepared, candidate)
    turn, shift = errors(answer.transform, truth)
    assert turn < 0.2 and shift < 5e-3
    assert answer.agreement.distance < candidate.agreement.distance


@pytest.mark.parametrize('shift', [50.0, 1e3, 1e6])
def test_clouds_out_of_reach_are_no_success(bracket, shift):
    source, target, truth = bracket
    far = make_transform(translation=[shift, 0, 0]) @ truth
    found = Refiner(target).refine(source, far)
    assert not found.converged
    assert found.inlier_fraction == 0.0 and found.score == 0.0 and np.isnan(found.residual)
    np.testing.assert_array_equal(found.hessian, np.zeros((6, 6)))


def test_options_set_voxels_and_distance(bracket):
    source, target, truth = bracket
    options = RegistrationOptions(voxel_size=0.2, max_correspondence_distance=0.3)
    refiner = Refiner(target, options)
    assert len(refiner.target) < len(target) / 3
    assert refiner.refine(source, truth).agreement.distance == 0.3


@given(st.floats(1e-3, 10.0), st.floats(1e-3, 10.0))
def test_levels_go_down_to_the_fine_distance(coarse, fine):
    steps = levels(coarse, fine)
    assert steps[-1] == fine and steps == sorted(steps, reverse=True)
    if coarse > fine:
        assert steps[0] == pytest.approx(coarse) or len(steps) == 1


@settings(max_examples=40)
@given(
    st.integers(0, 10_000),
    st.sampled_from([10, 31, 200]),
    st.sampled_from([10, 40, 200]),
    st.sampled_from(['noise', 'plane', 'grid', 'repeated', 'needle']),
    st.sampled_from(METHODS),
)
def test_no_cloud_breaks_it(seed, sources, targets, shape, method):
    rng = np.random.default_rng(seed)

    def cloud(count):
        points = rng.normal(size=(count, 3))
        if shape == 'plane':
            points[:, 2] = 0.0
        elif shape == 'grid':
            points = np.round(points)
        elif shape == 'repeated':
            points = points[rng.integers(0, 4, count)]
        elif shape == 'needle':
            points *= [1.0, 1e-3, 1e-3]
        return points

    source = cloud(sources)
    options = RegistrationOptions(refine_method=method)
    found = Refiner(cloud(targets), options).refine(source - source.mean(0), np.eye(4))
    assert is_rigid(found.transform, 1e-6)
    assert 0.0 <= found.inlier_fraction <= 1.0 and 0.0 <= found.score <= 1.0
    assert np.isfinite(found.hessian).all()


@pytest.mark.parametrize('turn', [0.0, 0.7])
def test_scan_lines_do_not_tilt_the_normals(turn):
    """Rows of points, far apart beside the spacing within them, as a LiDAR sees the ground."""
    rng = np.random.default_rng(1)
    near, far = np.meshgrid(np.arange(-2.0, 2.0, 0.01), 1.2 ** np.arange(1.0, 14.0))
    ground = np.c_[near.ravel(), far.ravel(), np.zeros(near.size)]
    ground += 1e-3 * rng.normal(size=ground.shape)
    rotation = exp_so3([0.2, turn, 0.4])
    up = Refiner(ground @ rotation.T).target.normals @ rotation[:, 2]
    # Nearest rows excepted, ten neighbours are of one row, and any plane through it fits.
    assert np.mean(np.degrees(np.arccos(np.minimum(np.abs(up), 1.0))) < 10.0) > 0.9


def test_recorded_lidar_pair(shared_data):
    from dlc_ros.files import read_cloud, read_transform

    folder = shared_data / 'lidar_pair'
    source, target = read_cloud(folder / 'source.ply'), read_cloud(folder / 'target.ply')
    truth = read_transform(folder / 'T_target_source.txt')
    centre = source.mean(axis=0)
    start = make_transform(translation=centre)
    found = Refiner(target).refine(source - centre, start)
    turn, shift = errors(found.transform @ inverse(start), truth)
    assert turn < 1.0 and shift < 0.1
