"""Paths on the manifolds against scipy, there and back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from dlc_ros.errors import ParameterError
from dlc_training.objective import Euclidean, RigidTransforms
from dlc_training.objective.manifolds import exp_so3, log_so3

SEEDS = st.integers(0, 2**32 - 1)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


@given(seed=SEEDS, exponent=st.floats(-12, 0.6))
def test_exponential_map_is_scipys(seed, exponent):
    w = np.random.default_rng(seed).normal(size=(2, 3, 3))
    w *= 10**exponent / np.linalg.norm(w, axis=-1, keepdims=True)
    expected = Rotation.from_rotvec(w.reshape(-1, 3)).as_matrix().reshape(2, 3, 3, 3)
    np.testing.assert_allclose(exp_so3(torch.from_numpy(w)), expected, atol=1e-12)
    single = exp_so3(torch.from_numpy(w).float())
    np.testing.assert_allclose(single, expected, atol=2e-6)


def test_exponential_map_is_the_matrix_exponential():
    x, y, z = 0.3, -1.2, 2.0
    generator = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    np.testing.assert_allclose(exp_so3(tensor([x, y, z])), expm(generator), atol=1e-12)


@pytest.mark.parametrize('length', [0.0, 1e-9, 1e-5, 0.5, 3.0])
def test_gradient_of_the_exponential_map_against_finite_differences(length):
    w = (tensor([1.0, -2.0, 2.0]) / 3 * length).requires_grad_()
    assert torch.autograd.gradcheck(exp_so3, (w,), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize('per_perturbation', [False, True])
def test_path_on_rigid_transforms(per_perturbation):
    rng = np.random.default_rng(0)
    truth = Rotation.random(2, random_state=rng), rng.normal(size=(2, 3))
    xi = rng.uniform(-0.5, 0.5, (2, 4, 6))
    angle, length = (rng.uniform(0.1, 3.0, 4), rng.uniform(0.1, 3.0, 4))
    if not per_perturbation:
        angle, length = np.full(4, 1.5), np.full(4, 0.2)
        manifold = RigidTransforms(1.5, 0.2)
    else:
        manifold = RigidTransforms(torch.from_numpy(angle), torch.from_numpy(length))
    given_ = (torch.from_numpy(truth[0].as_matrix()), torch.from_numpy(truth[1]))
    for lam in (0.0, 0.3, 1.0):
        rotation, translation = manifold.move(given_, torch.from_numpy(lam * xi))
        for b in range(2):
            for p in range(4):
                turned = Rotation.from_rotvec(lam * angle[p] * xi[b, p, :3]) * truth[0][b]
                shifted = truth[1][b] + lam * length[p] * xi[b, p, 3:]
                np.testing.assert_allclose(rotation[b, p], turned.as_matrix(), atol=1e-12)
                np.testing.assert_allclose(translation[b, p], shifted, atol=1e-12)


def test_euclidean_path():
    truth, xi = tensor([[1.0, 2.0]]), tensor([[[0.5, -1.0]]])
    torch.testing.assert_close(Euclidean(4.0).move(truth, xi), tensor([[[3.0, -2.0]]]))


def test_euclidean_path_with_a_unit_for_each_component():
    truth, xi = tensor([[1.0, 2.0]]), tensor([[[0.5, -1.0]]])
    manifold = Euclidean(tensor([4.0, 0.1]))
    torch.testing.assert_close(manifold.move(truth, xi), tensor([[[3.0, 1.9]]]))
    torch.testing.assert_close(manifold.between(truth, tensor([[[3.0, 1.9]]])), xi)


@given(seed=SEEDS, exponent=st.floats(-12, 0.6))
def test_logarithm_is_scipys(seed, exponent):
    w = np.random.default_rng(seed).normal(size=(5, 3))
    w *= 10**exponent / np.linalg.norm(w, axis=-1, keepdims=True)
    rotation = Rotation.from_rotvec(w)
    found = log_so3(torch.from_numpy(rotation.as_matrix())).numpy()
    # At a half turn both signs are right, so the rotations are compared.
    np.testing.assert_allclose(
        Rotation.from_rotvec(found).as_matrix(), rotation.as_matrix(), atol=1e-9
    )
    np.testing.assert_allclose(
        np.linalg.norm(found, axis=-1), rotation.magnitude(), rtol=1e-6, atol=1e-14
    )


@pytest.mark.parametrize('axis', [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.6, 0, 0.8), (-0.6, 0.8, 0)])
@pytest.mark.parametrize('angle', [0.0, 1e-8, 3.1, np.pi])
def test_logarithm_near_no_turn_and_half_turns(axis, angle):
    w = angle * np.array(axis, float)
    found = log_so3(torch.from_numpy(Rotation.from_rotvec(w).as_matrix())).numpy()
    assert min(np.abs(found - w).max(), np.abs(found + w).max() if angle > 3.14 else 9) < 1e-7


@pytest.mark.parametrize('rigid', [False, True])
def test_between_undoes_move(rigid):
    rng = np.random.default_rng(1)
    if rigid:
        truth = (
            torch.from_numpy(Rotation.random(2, random_state=rng).as_matrix()),
            torch.from_numpy(rng.normal(size=(2, 3))),
        )
        manifold = RigidTransforms(torch.from_numpy(rng.uniform(0.1, 3, 4)), 0.3)
        xi = torch.from_numpy(rng.uniform(-0.5, 0.5, (2, 4, 6)))
    else:
        truth, manifold = torch.from_numpy(rng.normal(size=(2, 3))), Euclidean(0.7)
        xi = torch.from_numpy(rng.normal(size=(2, 4, 3)))
    assert manifold.size(truth) == (2, xi.shape[-1])
    torch.testing.assert_close(manifold.between(truth, manifold.move(truth, xi)), xi)


@pytest.mark.parametrize('kind', [torch.float64, torch.float32])
def test_perturbations_of_single_precision_move_any_truth(kind):
    """Perturbations are drawn in float32, whatever the model computes in."""
    truth = exp_so3(tensor([[0.3, -0.2, 0.5]])).to(kind), tensor([[1.0, 2.0, 3.0]]).to(kind)
    xi = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(0))
    manifold = RigidTransforms(1.2, torch.full((4,), 0.4, dtype=torch.float64))
    turned, shifted = manifold.move(truth, xi)
    expected = Rotation.from_rotvec(1.2 * xi[0, :, :3].double().numpy()).as_matrix()
    limit = 1e-12 if kind == torch.float64 else 1e-6
    np.testing.assert_allclose(turned[0], expected @ truth[0][0].double().numpy(), atol=limit)
    np.testing.assert_allclose(manifold.between(truth, (turned, shifted)), xi, atol=20 * limit)


def test_rotations_stay_exact_under_autocast():
    """A mixed-precision loop runs the whole step under autocast, which rounds matrix products."""
    truth = exp_so3(torch.tensor([[0.3, -0.2, 0.5]])), torch.zeros(1, 3)
    xi = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(0))
    manifold = RigidTransforms(1.2, 0.4)
    exact = manifold.move(truth, xi)[0]
    with torch.autocast('cpu', torch.bfloat16):
        found = manifold.move(truth, xi)
        back = manifold.between(truth, found)
    assert torch.equal(found[0], exact)
    np.testing.assert_allclose(back, xi, atol=1e-5)


@pytest.mark.parametrize('value', [0, -0.1, float('nan'), float('inf'), '1', None, [0.3, 0.2]])
def test_a_radius_lies_above_nothing(value):
    """Of 0 every hinge is satisfied, of a list Python would repeat it."""
    for make in (Euclidean, lambda r: RigidTransforms(r, 1.0), lambda r: RigidTransforms(1.0, r)):
        with pytest.raises(ParameterError, match='RigidTransforms|Euclidean'):
            make(value)


def test_one_bad_radius_of_several_is_enough():
    with pytest.raises(ParameterError, match='above 0'):
        Euclidean(tensor([0.3, 0.0]))


def test_an_angle_in_degrees_is_refused():
    RigidTransforms(np.radians(255), 1.0)
    with pytest.raises(ParameterError, match=r'\[rad\].* 6.28, got 45'):
        RigidTransforms(45, 1.0)


@pytest.mark.parametrize(
    ('manifold', 'truth', 'said'),
    [
        (Euclidean(), torch.zeros(3), r'\(3,\)'),
        (Euclidean(), torch.zeros(0, 3), r'\(0, 3\)'),
        (Euclidean(), np.zeros((2, 3)), 'ndarray'),
        (Euclidean(), (torch.eye(3)[None], torch.zeros(1, 3)), 'tuple'),
        (Euclidean(torch.ones(2)), torch.zeros(4, 3), r'\(2,\) for a truth \(4, 3\)'),
        (RigidTransforms(1.0, 1.0), torch.zeros(4, 6), r'\(4, 6\)'),
        (RigidTransforms(1.0, 1.0), torch.eye(4)[None], r'\(1, 4, 4\)'),
        (RigidTransforms(1.0, 1.0), (torch.eye(3), torch.zeros(3)), r'\(3, 3\) and \(3,\)'),
        (RigidTransforms(1.0, 1.0), (torch.eye(3)[None], torch.zeros(2, 3)), r'\(2, 3\)'),
        (RigidTransforms(1.0, 1.0), (), 'none'),
    ],
)  # fmt: skip
def test_a_truth_of_another_form_is_refused(manifold, truth, said):
    with pytest.raises(ParameterError, match=f'truth of .*{said}|radius of .*{said}'):
        manifold.size(truth)
