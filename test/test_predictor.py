"""Metres at the border, the network's units inside: answers move as the clouds move."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from test_descriptor import surface_cloud, tensors
from test_energy import support_by_loops, value_by_loops

from dlc_ros.registration.descriptor import DescriptorNet, NetOptions
from dlc_ros.registration.energy import MixtureEnergy
from dlc_ros.registration.hypotheses import rotation_cover
from dlc_ros.registration.patches import extract_patches
from dlc_ros.registration.predictor import RANKING_BETA, Predictor
from dlc_ros.registration.prior import PosePrior
from dlc_ros.registration.weights import save_weights

OPTIONS = NetOptions(width=32, heads=2, layers=1, keypoints=40, neighbours=8, affinity_width=16)


@pytest.fixture(scope='module')
def predictor(tmp_path_factory):
    """Random weights: what holds for them holds for all."""
    torch.manual_seed(4)
    path = tmp_path_factory.mktemp('weights') / 'random.safetensors'
    save_weights(path, DescriptorNet(OPTIONS), {'name': 'random'})
    return Predictor.load(path)


@pytest.fixture(scope='module')
def clouds():
    """Source and target [m], in frames of their own."""
    return surface_cloud(1, 600) * 2.0 + [1.0, 2.0, -1.0], surface_cloud(2, 700) * 2.0 - 0.5


def landscape_of(predictor, source, target):
    described = predictor.describe(target)
    return predictor.landscape(predictor.describe(source, described.scale), described)


@pytest.fixture(scope='module')
def landscape(predictor, clouds):
    return landscape_of(predictor, *clouds)


def rigid(rotvec=(0.0, 0.0, 0.0), translation=(0.0, 0.0, 0.0)):
    transform = np.eye(4)
    transform[:3, :3] = Rotation.from_rotvec(rotvec).as_matrix()
    transform[:3, 3] = translation
    return transform


def apply(transform, points):
    return points @ transform[:3, :3].T + transform[:3, 3]


def some_poses(seed=0, count=6):
    rng = np.random.default_rng(seed)
    return np.stack([rigid(rng.normal(size=3), rng.normal(size=3)) for _ in range(count)])


MOTION = rigid((0.4, -1.1, 0.7), (3.0, -20.0, 7.0))


def test_energies_are_those_of_the_keypoints_in_metres(predictor, landscape, clouds):
    net = predictor.loaded.net
    target = clouds[1]
    scale = 2 * np.sqrt(((target - target.mean(0)) ** 2).sum(1).mean())
    patches = [
        extract_patches(cloud, scale, OPTIONS.keypoints, OPTIONS.neighbours) for cloud in clouds
    ]
    with torch.no_grad():
        inner = net(*(tensors(p, torch.float32) for p in patches))
    # Keypoints in metres, moved in metres; beta is per squared unit of the network.
    source, target = (
        torch.from_numpy(p.points.astype(float) * scale + p.centre)[None] / scale for p in patches
    )
    mixture = MixtureEnergy(
        source, target, inner.forward_affinity, inner.backward_affinity,
        inner.source_outlier, inner.target_outlier,
    )  # fmt: skip
    poses = some_poses(1)
    energies, support = landscape.energies(poses, 16.0), landscape.support(poses, 16.0)
    for pose, energy, share in zip(poses, energies, support, strict=True):
        arguments = mixture, 0, pose[:3, :3], pose[:3, 3] / scale, 16.0
        assert energy == pytest.approx(value_by_loops(*arguments), abs=1e-4)
        assert share == pytest.approx(support_by_loops(*arguments), abs=1e-4)


def test_hypotheses_come_best_first_with_their_own_energies(landscape):
    found = landscape.propose(keep=6)
    assert 1 <= len(found) <= 6
    energies = [hypothesis.energy for hypothesis in found]
    assert energies == sorted(energies)
    transforms = np.stack([hypothesis.transform for hypothesis in found])
    assert transforms.dtype == np.float64
    np.testing.assert_allclose(
        landscape.energies(transforms, RANKING_BETA), energies, rtol=1e-4, atol=1e-4
    )
    rotations = transforms[:, :3, :3]
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), [np.eye(3)] * len(found), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1)
    np.testing.assert_array_equal(transforms[:, 3], [[0, 0, 0, 1]] * len(found))


def test_more_hypotheses_on_demand_and_the_same_ones_twice(landscape):
    few, many, again = (landscape.propose(keep=keep) for keep in (1, 20, 20))
    assert len(few) == 1
    assert 8 < len(many) <= 20
    for first, second in zip(many, again, strict=True):
        np.testing.assert_array_equal(first.transform, second.transform)


@pytest.mark.parametrize('which', ['source', 'target', 'both'])
def test_energies_move_with_the_clouds(predictor, landscape, clouds, which):
    source, target = clouds
    poses = some_poses(2)
    expected = landscape.energies(poses)
    if which in ('source', 'both'):
        source, poses = apply(MOTION, source), poses @ np.linalg.inv(MOTION)
    if which in ('target', 'both'):
        target, poses = apply(MOTION, target), MOTION @ poses
    moved = landscape_of(predictor, source, target)
    np.testing.assert_allclose(moved.energies(poses), expected, atol=2e-3)


@pytest.mark.parametrize('factor', [1e-3, 250.0])
def test_energies_do_not_depend_on_the_unit_of_length(predictor, landscape, clouds, factor):
    poses = some_poses(3)
    expected = landscape.energies(poses)
    poses[:, :3, 3] *= factor
    scaled = landscape_of(predictor, *(factor * cloud for cloud in clouds))
    np.testing.assert_allclose(scaled.energies(poses), expected, atol=2e-3)


def test_a_far_frame_costs_no_precision(predictor, landscape, clouds):
    far = rigid(translation=(448_251.0, 5_411_932.0, 312.0))
    poses = some_poses(4)
    away = landscape_of(predictor, apply(far, clouds[0]), apply(far, clouds[1]))
    np.testing.assert_allclose(
        away.energies(far @ poses @ np.linalg.inv(far)), landscape.energies(poses), atol=2e-3
    )


def test_proposals_move_with_the_clouds(predictor, landscape, clouds):
    """The starts of a moved source are the same poses if the motion maps the cover to itself."""
    turn = rigid(translation=(5.0, -3.0, 2.0))
    turn[:3, :3] = rotation_cover('cube')[7]
    moved = landscape_of(predictor, apply(turn, clouds[0]), apply(MOTION, clouds[1]))
    # Nor does the target's motion matter, as long as the starts are turned with it.
    straight = landscape_of(predictor, apply(turn, clouds[0]), clouds[1])
    best = landscape.propose(keep=1)[0]
    again = straight.propose(keep=1)[0]
    np.testing.assert_allclose(again.transform @ turn, best.transform, atol=5e-3)
    assert again.energy == pytest.approx(best.energy, abs=2e-3)
    pose = MOTION @ again.transform
    assert moved.energies(pose[None])[0] == pytest.approx(best.energy, abs=2e-3)


def test_a_tight_prior_keeps_its_hypothesis_near(landscape, clouds):
    mean = some_poses(5)[0]
    mean[:3, 3] = clouds[1].mean(0) - mean[:3, :3] @ clouds[0].mean(0)
    covariance = np.diag([1e-4] * 3 + [0.01**2] * 3)
    (found,) = landscape.propose(PosePrior(mean, covariance), keep=4)
    # One descent from the mean: it goes down from there.
    assert found.energy < landscape.energies(mean[None])[0]


def test_a_wide_prior_has_more_starts_than_its_mean(landscape):
    mean = some_poses(6)[0]
    wide = landscape.propose(PosePrior(mean, np.diag([1.0] * 3 + [0.5**2] * 3)), keep=4)
    tight = landscape.propose(PosePrior(mean, np.diag([1e-4] * 6)), keep=4)
    assert len(wide) > len(tight)


def test_what_a_prior_rules_out_takes_no_place_among_the_proposals(predictor):
    """Far turns fit as well as random weights can tell; the prior allows none of them."""
    bar = surface_cloud(7, 900) * [1.0, 0.4, 0.4]
    landscape = landscape_of(predictor, bar[::2], bar[1::2])
    free = landscape.propose(keep=4)
    prior = PosePrior(np.eye(4), np.diag([0.2**2] * 3 + [np.radians(26) ** 2] * 3))
    assert not all(prior.plausible(hypothesis.transform) for hypothesis in free)
    found = landscape.propose(prior, keep=4)
    assert found
    assert all(prior.plausible(hypothesis.transform) for hypothesis in found)


def test_descent_in_network_units_is_that_of_the_energy(landscape):
    start = rigid((0.3, 0.2, -0.5))[None]
    ends = landscape.descend_network(start, (4.0, 16.0, 16.0))
    values = [
        landscape.value_network(
            torch.from_numpy(pose[None, :, :3, :3]).float(),
            torch.from_numpy(pose[None, :, :3, 3]).float(),
            16.0,
        ).item()
        for pose in (landscape.descend_network(start, (4.0,)), ends)
    ]
    assert values[1] <= values[0] + 1e-5
    np.testing.assert_allclose(np.linalg.det(ends[:, :3, :3]), 1, atol=1e-5)
