"""Hinges of Deep Loss Convexification: zero on star-convex functions, known elsewhere."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.spatial.transform import Rotation

from dlc_training.objective import (
    HINGES,
    DlcOptions,
    Euclidean,
    convexification_loss,
    draw_perturbations,
    hinge_terms,
)

SEEDS = st.integers(0, 2**32 - 1)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def perturbations(seed, batch=2, count=9, dimension=3):
    generator = torch.Generator().manual_seed(seed)
    options = DlcOptions(samples=count)
    xi, lam, _ = draw_perturbations(batch, 1, dimension, options, generator)
    truth = torch.randn(batch, dimension, generator=generator)
    return truth.double(), xi.double(), lam.double()


# ---------------------------------------------------------------- functions known to be bowls


@settings(max_examples=30)
@given(seed=SEEDS, mu=st.floats(0, 10), scale=st.floats(0.01, 10))
def test_a_strongly_convex_quadratic_violates_nothing(seed, mu, scale):
    """Curvature at least mu per squared unit of xi: eigenvalues from mu to mu + 5."""
    truth, xi, lam = perturbations(seed)
    rng = np.random.default_rng(seed)
    basis = torch.from_numpy(Rotation.random(random_state=rng).as_matrix())
    hessian = basis @ torch.diag(mu + tensor(rng.uniform(0, 5, 3))) @ basis.T

    def energy(omega):
        offset = (omega - truth[:, None]) / scale
        return 0.5 * torch.einsum('bpi,ij,bpj->bp', offset, hessian, offset) - 3.0

    loss, terms = convexification_loss(
        energy, Euclidean(scale), truth, xi, lam, DlcOptions(mu=mu, rho=1.0)
    )
    assert loss.item() == pytest.approx(0, abs=1e-9)
    for value in terms.values():
        assert value.max() < 1e-9


@settings(max_examples=30)
@given(
    seed=SEEDS, power=st.sampled_from([1.0, 1.5, 2.0, 4.0]), norm=st.sampled_from([1, 2, 'inf'])
)
def test_norms_and_their_powers_violate_nothing(seed, power, norm):
    truth, xi, lam = perturbations(seed)
    order = math.inf if norm == 'inf' else norm

    def energy(omega):
        return torch.linalg.vector_norm(omega - truth[:, None], ord=order, dim=-1) ** power

    loss, _ = convexification_loss(
        energy, Euclidean(), truth, xi, lam, DlcOptions(mu=0.0, rho=1.0)
    )
    assert loss.item() == pytest.approx(0, abs=1e-9)


def test_star_convex_but_not_convex_violates_nothing():
    """A valley that winds: |x| (2 + sin(3 angle)) grows along every ray, but is not convex."""
    truth, xi, lam = perturbations(5, count=400, dimension=2)

    def energy(omega):
        offset = omega - truth[:, None]
        angle = torch.atan2(offset[..., 1], offset[..., 0])
        return offset.norm(dim=-1) * (2 + torch.sin(3 * angle))

    loss, _ = convexification_loss(energy, Euclidean(), truth, xi, lam, DlcOptions(mu=0.0))
    assert loss.item() == pytest.approx(0, abs=1e-9)


# ----------------------------------------------------------------- violations known by hand


@pytest.mark.parametrize(
    ('energies', 'lam', 'square', 'mu', 'expected'),
    [
        # e* = 1, e_inner = 0.5: lower inside than at the truth by 0.5; outside higher by 1.
        ((1.0, 0.5, 2.0), 0.5, 1.0, 0.0, (0.5, 0.0, 0.0)),
        # Equal everywhere: growth misses mu/2 |xi|^2, star a quarter of it.
        ((0.0, 0.0, 0.0), 0.5, 4.0, 1.0, (0.0, 2.0, 0.5)),
        # A plateau beyond a bowl: inner 1 of outer 1 lies above the chord at lam 0.25 by 0.75.
        ((0.0, 1.0, 1.0), 0.25, 1.0, 0.0, (0.0, 0.0, 0.75)),
        # A deeper bowl elsewhere: outside lower by 3, growth 3 + mu/2.
        ((0.0, 0.0, -3.0), 0.5, 1.0, 2.0, (0.0, 4.0, 1.75)),
        # A strongly convex parabola with exactly the curvature asked for.
        ((0.0, 0.125, 0.5), 0.5, 1.0, 1.0, (0.0, 0.0, 0.0)),
    ],
)
def test_hinges_known_by_hand(energies, lam, square, mu, expected):
    terms = hinge_terms(*map(tensor, energies), tensor(lam), tensor(square), mu)
    assert tuple(terms) == HINGES
    assert [value.item() for value in terms.values()] == pytest.approx(expected)


def loss_of_concave(xi, lam, weight=None, **options):
    """e(x) = -|x|^2 / 2 about the origin: every hinge is open, each by a known amount."""
    truth = torch.zeros(xi.shape[0], xi.shape[-1], dtype=xi.dtype)

    def energy(omega):
        return -0.5 * omega.square().sum(-1)

    return convexification_loss(
        energy, Euclidean(), truth, xi, lam, DlcOptions(**options), weight=weight
    )


def test_loss_of_a_concave_function_is_the_closed_form():
    xi, lam = tensor([[1.0, 0.0], [0.0, 2.0]]), tensor([0.5, 0.25])
    loss, terms = loss_of_concave(xi[None], lam[None], mu=1.0, rho=1.0)
    square = np.array([1.0, 4.0])
    step = np.array([0.5, 0.25])
    expected = {
        'minimum': 0.5 * step**2 * square,
        'growth': square,
        'star': step * (1 - step) * square,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name][0], value)
    assert loss.item() == pytest.approx(sum(v.mean() for v in expected.values()))


@pytest.mark.parametrize('names', [('growth',), ('growth', 'star'), ('minimum', 'star'), HINGES])
@pytest.mark.parametrize('reduction', ['sum', 'mean', 'max'])
def test_choice_of_hinges_and_reduction(names, reduction):
    xi, lam = tensor([[1.0], [2.0], [3.0]]), tensor([0.5, 0.5, 0.5])
    xi, lam = torch.stack([xi, 2 * xi]), torch.stack([lam, lam])
    loss, terms = loss_of_concave(xi, lam, rho=0.3, hinges=names, reduction=reduction)
    total = sum(terms[name].numpy() for name in names)
    reduced = {'sum': total.sum(1), 'mean': total.mean(1), 'max': total.max(1)}[reduction]
    assert loss.item() == pytest.approx(0.3 * reduced.mean())


def test_weight_suppresses_equivalent_poses():
    xi, lam = tensor([[1.0], [2.0]])[None], tensor([0.5, 0.5])[None]
    alone, _ = loss_of_concave(xi[:, 1:], lam[:, 1:], reduction='sum')
    weighed, _ = loss_of_concave(xi, lam, weight=tensor([0.0, 1.0])[None], reduction='sum')
    none, _ = loss_of_concave(xi, lam, weight=tensor([0.0, 0.0])[None], reduction='sum')
    half, _ = loss_of_concave(xi, lam, weight=tensor([0.0, 0.5])[None], reduction='sum')
    assert weighed.item() == pytest.approx(alone.item())
    assert half.item() == pytest.approx(alone.item() / 2)
    assert none.item() == 0


def test_energy_at_the_truth_may_be_given():
    truth, xi, lam = perturbations(1)
    calls = []

    def energy(omega):
        calls.append(omega)
        return torch.cos(omega.sum(-1))

    without, _ = convexification_loss(energy, Euclidean(), truth, xi, lam, DlcOptions())
    assert len(calls) == 3
    at_truth = torch.cos(truth.sum(-1))[:, None].expand(xi.shape[:2])
    given_, _ = convexification_loss(
        energy, Euclidean(), truth, xi, lam, DlcOptions(), at_truth=at_truth
    )
    assert len(calls) == 5
    assert given_.item() == pytest.approx(without.item())


def test_gradient_with_respect_to_the_energy_against_finite_differences():
    truth, xi, lam = perturbations(2, count=4)
    theta = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    theta.requires_grad_()

    def loss(theta):
        def energy(omega):
            return torch.sin(2 * omega @ theta).sum(-1)

        return convexification_loss(energy, Euclidean(), truth, xi, lam, DlcOptions())[0]

    assert loss(theta).item() > 0
    assert torch.autograd.gradcheck(loss, (theta,), eps=1e-6, atol=1e-6)


def test_descent_on_the_hinges_turns_a_saddle_into_a_bowl():
    """The purpose of it all: theta learns a landscape whose minimum is the truth."""
    truth, xi, lam = perturbations(3, batch=1, count=200, dimension=2)
    curvature = torch.tensor([1.0, -1.0], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([curvature], lr=0.1)
    for _ in range(200):

        def energy(omega):
            return 0.5 * (curvature * (omega - truth[:, None]).square()).sum(-1)

        loss, _ = convexification_loss(energy, Euclidean(), truth, xi, lam, DlcOptions(mu=0.5))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert curvature.min() > 0.45
    assert loss.item() < 1e-3


# ---------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    'values',
    [
        {'rho': -1}, {'mu': -0.1}, {'samples': 0}, {'samples': 1.5}, {'hinges': ()},
        {'hinges': ('growth', 'convexity')}, {'hinges': 'growth'}, {'reduction': 'median'},
        {'lambda': 0.5}, {'lam': 1.5}, {'lam': 'half'}, {'distribution': 'cauchy'},
    ],
)  # fmt: skip
def test_impossible_options_are_refused(values):
    with pytest.raises(ValidationError, match=next(iter(values))):
        DlcOptions(**values)


def test_options_cannot_change_during_a_run():
    with pytest.raises(ValidationError):
        DlcOptions().rho = 1.0
