"""The mixture energy against plain loops, its descent against its own claim, Kabsch and scipy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from dlc_ros.registration.energy import BETAS, MixtureEnergy, weighted_procrustes


def random_rotations(rng, *shape):
    """Random rotations (*shape, 3, 3) as a float64 tensor."""
    matrices = Rotation.random(int(np.prod(shape)), random_state=rng).as_matrix()
    return torch.from_numpy(matrices.reshape(*shape, 3, 3))


def random_energy(rng, pairs=1, n=7, m=9, dtype=torch.float64, least_outlier=0.0):
    """Energy of unrelated clouds with affinities from flat to sharp and any outlier levels."""
    logits = torch.from_numpy(rng.normal(size=(pairs, n, m)) * rng.uniform(0, 8))
    tensors = (
        torch.from_numpy(rng.normal(size=(pairs, n, 3)) * rng.uniform(0.05, 1.0)),
        torch.from_numpy(rng.normal(size=(pairs, m, 3)) * rng.uniform(0.05, 1.0)),
        logits.softmax(-1),
        logits.softmax(-2),
        torch.from_numpy(rng.uniform(least_outlier, 1, (pairs, n))),
        torch.from_numpy(rng.uniform(least_outlier, 1, (pairs, m))),
    )
    return MixtureEnergy(*(tensor.to(dtype) for tensor in tensors))


def random_poses(rng, pairs, count, dtype=torch.float64):
    rotation = random_rotations(rng, pairs, count)
    translation = torch.from_numpy(rng.normal(size=(pairs, count, 3)) * 0.5)
    return rotation.to(dtype), translation.to(dtype)


def value_by_loops(energy, b, rotation, translation, beta):
    """Formula of the module's docstring, one point after the other."""
    source, target = energy.source[b].numpy(), energy.target[b].numpy()
    moved = [rotation @ x + translation for x in source]
    level = 1 / (2 * math.sqrt(beta))
    sides = []
    for points, others, affinity, outlier in (
        (moved, target, energy.forward_affinity[b].numpy(), energy.source_outlier[b].numpy()),
        (target, moved, energy.backward_affinity[b].numpy().T, energy.target_outlier[b].numpy()),
    ):
        total = 0.0
        for i, point in enumerate(points):
            mixture = sum(
                affinity[i, j] * math.exp(-beta * ((point - other) ** 2).sum() / 2)
                for j, other in enumerate(others)
            )
            total += math.log((1 - outlier[i]) * mixture + outlier[i] * level)
        sides.append(-total / len(points))
    return sum(sides) / 2


def support_by_loops(energy, b, rotation, translation, beta):
    source, target = energy.source[b].numpy(), energy.target[b].numpy()
    kernel = np.array(
        [
            [math.exp(-beta * ((rotation @ x + translation - y) ** 2).sum() / 2) for y in target]
            for x in source
        ]
    )
    forward = (kernel * energy.forward_affinity[b].numpy()).sum(1)
    backward = (kernel * energy.backward_affinity[b].numpy()).sum(0)
    return 0.5 * (
        np.average(forward, weights=1 - energy.source_outlier[b].numpy())
        + np.average(backward, weights=1 - energy.target_outlier[b].numpy())
    )


@pytest.mark.parametrize('beta', BETAS)
def test_value_and_support_are_those_of_plain_loops(beta):
    rng = np.random.default_rng(int(beta))
    energy = random_energy(rng, pairs=2, least_outlier=0.01)
    rotation, translation = random_poses(rng, 2, 3)
    value = energy.value(rotation, translation, beta)
    support = energy.support(rotation, translation, beta)
    for b in range(2):
        for p in range(3):
            pose = rotation[b, p].numpy(), translation[b, p].numpy()
            assert value[b, p] == pytest.approx(value_by_loops(energy, b, *pose, beta), rel=1e-9)
            assert support[b, p] == pytest.approx(
                support_by_loops(energy, b, *pose, beta), rel=1e-9
            )


def test_perfect_match_costs_nothing_and_is_fully_supported():
    points = torch.randn(1, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rotation = random_rotations(np.random.default_rng(0), 1, 1)
    shift = torch.tensor([[[0.1, 0.2, 0.3]]], dtype=torch.float64)
    target = points @ rotation[0, 0].T + shift[0]
    certain, none = torch.eye(5, dtype=torch.float64)[None], torch.zeros(1, 5, dtype=torch.float64)
    energy = MixtureEnergy(points, target, certain, certain, none, none)
    assert energy.value(rotation, shift, 64.0).item() == pytest.approx(0, abs=1e-12)
    assert energy.support(rotation, shift, 64.0).item() == pytest.approx(1)


def test_undecided_descriptors_leave_a_square_its_four_turns():
    """One corner is named by the descriptors; without them every quarter turn is as good."""
    turns = [Rotation.from_euler('z', 90 * k, degrees=True).as_matrix() for k in range(4)]
    corners = torch.from_numpy(np.array([[1.0, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]]))[None]
    certain, some = torch.eye(4, dtype=torch.float64)[None], torch.full((1, 4), 0.1).double()
    energy = MixtureEnergy(corners, corners, certain, certain, some, some)
    poses = torch.from_numpy(np.array(turns))[None], torch.zeros(1, 4, 3, dtype=torch.float64)
    decided = energy.value(*poses, 16.0)[0]
    assert decided.argmin() == 0
    assert decided[1:].min() > decided[0] + 1
    undecided = energy.undecided().value(*poses, 16.0)[0]
    assert undecided.tolist() == pytest.approx([undecided[0].item()] * 4)
    # One corner in four is met, and a tenth of the points is taken for outliers.
    expected = -math.log(0.9 * (1 + 2 * math.exp(-32) + math.exp(-64)) / 4 + 0.1 / 8)
    assert undecided[0].item() == pytest.approx(expected)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_beta_may_be_a_number_or_a_tensor_per_pose(dtype):
    rng = np.random.default_rng(3)
    energy = random_energy(rng, pairs=2, dtype=dtype)
    rotation, translation = random_poses(rng, 2, len(BETAS), dtype)
    betas = torch.tensor(BETAS, dtype=dtype)[None, :, None, None]
    together = energy.value(rotation, translation, betas)
    for p, beta in enumerate(BETAS):
        alone = energy.value(rotation[:, p : p + 1], translation[:, p : p + 1], beta)
        torch.testing.assert_close(together[:, p : p + 1], alone)


def test_squared_distances_are_known_once_for_several_betas():
    rng = np.random.default_rng(4)
    energy = random_energy(rng)
    poses = random_poses(rng, 1, 2)
    square = energy.square_distances(*poses)
    moved = energy.source[0].numpy() @ poses[0][0, 1].numpy().T + poses[1][0, 1].numpy()
    expected = ((moved[:, None] - energy.target[0].numpy()[None]) ** 2).sum(-1)
    np.testing.assert_allclose(square[0, 1], expected, atol=1e-12)
    torch.testing.assert_close(energy.value_at(square, 16.0), energy.value(*poses, 16.0))


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 12),
    m=st.integers(1, 12),
    beta=st.floats(0.1, 1000.0),
    flat=st.booleans(),
)
def test_no_step_raises_the_energy(seed, n, m, beta, flat):
    rng = np.random.default_rng(seed)
    energy = random_energy(rng, n=n, m=m, least_outlier=1e-6)
    if flat:  # a plane leaves the rotation to the rule for equal singular values
        energy.source[..., 2], energy.target[..., 2] = 0, 0
    pose = random_poses(rng, 1, 3)
    values = [energy.value(*pose, beta)]
    for _ in range(5):
        pose = energy.step(*pose, beta)
        values.append(energy.value(*pose, beta))
    rises = torch.stack(values).diff(dim=0)
    assert rises.max() <= 1e-9, rises


def test_descent_reaches_the_truth_from_within_the_bowl():
    rng = np.random.default_rng(5)
    source = rng.uniform(-0.5, 0.5, (1, 40, 3))
    truth, shift = random_rotations(rng, 1, 1), torch.tensor([[[0.2, -0.1, 0.3]]])
    target = source @ truth[0].numpy().transpose(0, 2, 1) + shift[0].numpy()
    order = rng.permutation(40)
    flat = torch.full((1, 40, 40), 1 / 40, dtype=torch.float64)
    few = torch.full((1, 40), 0.05, dtype=torch.float64)
    energy = MixtureEnergy(
        torch.from_numpy(source), torch.from_numpy(target[:, order]), flat, flat, few, few
    )
    turn = torch.from_numpy(Rotation.from_rotvec([0.2, -0.3, 0.2]).as_matrix())
    pose = turn @ truth, shift.double() + 0.05
    for beta in BETAS:
        for _ in range(30):
            pose = energy.step(*pose, beta)
    np.testing.assert_allclose(pose[0], truth, atol=2e-3)
    np.testing.assert_allclose(pose[1], shift, atol=2e-3)


def test_affinities_alone_give_the_pose_when_they_name_the_matches():
    rng = np.random.default_rng(6)
    source = rng.normal(size=(1, 6, 3))
    truth = random_rotations(rng, 1, 1)
    target = source @ truth[0].numpy().transpose(0, 2, 1) + [0.3, 0.1, -0.2]
    # Rows of the target in another order, and one foreign point that claims to be an outlier.
    order = rng.permutation(6)
    affinity = torch.zeros(1, 6, 7, dtype=torch.float64)
    affinity[0, order, torch.arange(6)] = 1.0
    affinity[0, :, 6] = 0.5
    cloud = np.concatenate([target[:, order], [[[9.0, 9.0, 9.0]]]], 1)
    outlier = torch.zeros(1, 7, dtype=torch.float64)
    outlier[0, 6] = 1.0
    energy = MixtureEnergy(
        torch.from_numpy(source), torch.from_numpy(cloud), affinity, affinity,
        torch.zeros(1, 6, dtype=torch.float64), outlier,
    )  # fmt: skip
    rotation, translation = energy.from_affinities()
    np.testing.assert_allclose(rotation, truth, atol=1e-9)
    np.testing.assert_allclose(translation[0, 0], [0.3, 0.1, -0.2], atol=1e-9)


def procrustes_by_scipy(source, target, weights):
    """Every pair (i, j) as a correspondence of its own."""
    i, j = np.indices(weights.shape).reshape(2, -1)
    mass = weights.reshape(-1)
    mean_source = np.average(source[i], axis=0, weights=mass)
    mean_target = np.average(target[j], axis=0, weights=mass)
    rotation, _ = Rotation.align_vectors(target[j] - mean_target, source[i] - mean_source, mass)
    return rotation.as_matrix(), mean_target - rotation.apply(mean_source)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(3, 10),
    m=st.integers(3, 10),
    mirrored=st.booleans(),
    matched=st.booleans(),
)
def test_procrustes_agrees_with_scipy(seed, n, m, mirrored, matched):
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(n, 3)), rng.normal(size=(m, 3))
    weights = rng.uniform(0, 1, (n, m))
    if matched:
        m = n
        target = source @ Rotation.random(random_state=rng).as_matrix().T + rng.normal(size=3)
        weights = np.diag(rng.uniform(0.1, 1, n))
    if mirrored:
        target = target * (-1, 1, 1)
    rotation, translation = weighted_procrustes(
        *(torch.from_numpy(a) for a in (source, target, weights))
    )
    assert np.linalg.det(rotation) == pytest.approx(1)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    best, shift = procrustes_by_scipy(source, target, weights)

    def cost(rotation, translation):
        moved = source @ np.asarray(rotation).T + np.asarray(translation)
        return (weights * ((moved[:, None] - target[None]) ** 2).sum(-1)).sum()

    # The best rotation may not be unique (a mirrored sphere), the least cost is.
    assert cost(rotation, translation) == pytest.approx(cost(best, shift), rel=1e-7, abs=1e-10)


@pytest.mark.parametrize('mirrored', [False, True])
def test_procrustes_of_generic_clouds_is_scipys_transform(mirrored):
    rng = np.random.default_rng(8)
    source = rng.normal(size=(12, 3)) * (3, 2, 1)
    target = source @ Rotation.random(random_state=rng).as_matrix().T + 0.05 * rng.normal(
        size=(12, 3)
    )
    target = target * ((-1, 1, 1) if mirrored else (1, 1, 1))
    weights = np.diag(rng.uniform(0.1, 1, 12))
    rotation, translation = weighted_procrustes(
        *(torch.from_numpy(a) for a in (source, target, weights))
    )
    best, shift = procrustes_by_scipy(source, target, weights)
    np.testing.assert_allclose(rotation, best, atol=1e-9)
    np.testing.assert_allclose(translation, shift, atol=1e-9)


def test_procrustes_without_weight_is_the_identity():
    points = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    rotation, translation = weighted_procrustes(points, points + 1, torch.zeros(4, 4))
    torch.testing.assert_close(rotation, torch.eye(3))
    torch.testing.assert_close(translation, torch.zeros(3))


def rotation_of(spread):
    """Public road to the inner rotation: correspondences whose covariance is ``spread``."""
    # sum_i w x_i y_i^T with unit x_i = e_i and y_i the rows of spread, minus the means, which
    # opposite points cancel.
    eye = torch.eye(3, dtype=spread.dtype)
    source, target = torch.cat([eye, -eye]), torch.cat([spread, -spread])
    return weighted_procrustes(source, target, torch.eye(6, dtype=spread.dtype))[0]


def spread_with(singular_values, seed, determinant=1):
    rng = np.random.default_rng(seed)
    u, v = (Rotation.random(random_state=rng).as_matrix() for _ in range(2))
    return torch.from_numpy(u @ np.diag(singular_values) @ (v * (1, 1, determinant)))


@pytest.mark.parametrize(
    ('values', 'determinant'),
    [
        ((3.0, 2.0, 1.0), 1),
        ((3.0, 2.0, 1.0), -1),
        ((2.0, 2.0, 1.0), 1),
        ((2.0, 2.0 + 1e-9, 1.0), 1),
        ((2.0, 2.0, 2.0), 1),
        ((2.0, 2.0, 1.0), -1),
        ((3.0, 1.0, 0.0), 1),
    ],
    ids=[
        'generic',
        'mirrored',
        'two equal',
        'nearly equal',
        'all equal',
        'mirrored equal',
        'flat',
    ],
)
def test_gradient_of_the_rotation_against_finite_differences(values, determinant):
    spread = spread_with(values, seed=9, determinant=determinant).requires_grad_()
    assert torch.autograd.gradcheck(rotation_of, (spread,), eps=1e-6, atol=1e-6)


def test_gradient_stays_finite_where_the_rotation_is_not_unique():
    for spread in (torch.zeros(3, 3), torch.diag(torch.tensor([1.0, 0, 0]))):
        spread = spread.double().requires_grad_()
        rotation_of(spread).sum().backward()
        assert spread.grad.isfinite().all()
    # Mirrored with the two smallest equal: the rotation jumps, the gradient must not be NaN.
    spread = spread_with((2.0, 1.0, 1.0), seed=2, determinant=-1).requires_grad_()
    rotation_of(spread).sum().backward()
    assert spread.grad.isfinite().all()


def test_gradient_of_two_unrolled_steps_against_finite_differences():
    rng = np.random.default_rng(11)
    energy = random_energy(rng, n=5, m=6, least_outlier=0.1)
    pose = random_poses(rng, 1, 1)

    def unrolled(forward, backward, outlier):
        bent = MixtureEnergy(
            energy.source, energy.target, forward, backward, outlier, energy.target_outlier
        )
        moved = bent.step(*bent.step(*pose, 4.0), 16.0)
        return *moved, bent.value(*moved, 64.0)

    inputs = (energy.forward_affinity, energy.backward_affinity, energy.source_outlier)
    inputs = tuple(tensor.clone().requires_grad_() for tensor in inputs)
    assert torch.autograd.gradcheck(unrolled, inputs, eps=1e-6, atol=1e-5)
