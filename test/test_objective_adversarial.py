"""The worst perturbation: where it is known by hand, and never milder than where it started."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dlc_training.objective import (
    AscentOptions,
    DlcOptions,
    Euclidean,
    convexification_loss,
    draw_perturbations,
    worst_perturbations,
)

MANIFOLD = Euclidean()


def draw(seed, batch=3, count=8, dimension=2):
    generator = torch.Generator().manual_seed(seed)
    xi, lam, _ = draw_perturbations(batch, 1, dimension, DlcOptions(samples=count), generator)
    return torch.zeros(batch, dimension), xi, lam


def bumps(omega):
    return torch.sin(5 * omega[..., 0]) * torch.cos(3 * omega[..., 1])


def test_of_a_slope_it_is_the_lowest_point_of_the_ball():
    """Of e(x) = a.x the growth hinge is largest at -a / |a|."""
    truth, xi, lam = draw(0)
    slope = torch.tensor([3.0, -4.0])
    worst = worst_perturbations(
        lambda omega: omega @ slope, MANIFOLD, truth, xi, lam,
        DlcOptions(hinges=('growth',)), AscentOptions(steps=60, rate=0.3),
    )  # fmt: skip
    np.testing.assert_allclose(worst, np.broadcast_to([-0.6, 0.8], worst.shape), atol=2e-3)


def test_satisfied_hinges_still_show_the_way():
    """Their own gradient is zero; the signed violation leads on to the dip behind the hill."""

    def energy(omega):  # a bowl with a well at 0.9
        x = omega[..., 0]
        return x.square() - 2 * torch.exp(-((x - 0.9) ** 2) / 0.08)

    truth, lam = torch.zeros(1, 1), torch.full((1, 1), 0.5)
    start = torch.tensor([[[0.45]]])
    dlc = DlcOptions(hinges=('growth',), mu=0.1)
    assert convexification_loss(energy, MANIFOLD, truth, start, lam, dlc)[0] == 0
    ascent = AscentOptions(steps=8, rate=0.1)
    worst = worst_perturbations(energy, MANIFOLD, truth, start, lam, dlc, ascent)
    assert worst.item() == pytest.approx(0.9, abs=0.1)
    assert convexification_loss(energy, MANIFOLD, truth, worst, lam, dlc)[0] > 0.1


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), steps=st.integers(1, 5), rate=st.floats(0.01, 2))
def test_it_is_never_milder_and_stays_in_the_ball(seed, steps, rate):
    truth, xi, lam = draw(seed)
    dlc = DlcOptions(mu=0.3)
    worst = worst_perturbations(
        bumps, MANIFOLD, truth, xi, lam, dlc, AscentOptions(steps=steps, rate=rate)
    )

    def violated(at):
        _, terms = convexification_loss(bumps, MANIFOLD, truth, at, lam, dlc)
        return sum(terms.values())

    assert (violated(worst) >= violated(xi) - 1e-6).all()
    assert worst.norm(dim=-1).max() <= 1 + 1e-5


def test_it_is_close_to_the_worst_of_a_grid():
    truth, xi, lam = draw(1, batch=1, count=40)
    lam = torch.full_like(lam, 0.5)
    dlc, ascent = DlcOptions(mu=0.3), AscentOptions(steps=10, rate=0.1)
    worst = worst_perturbations(bumps, MANIFOLD, truth, xi, lam, dlc, ascent)
    side = torch.linspace(-1, 1, 81)
    grid = torch.cartesian_prod(side, side)
    grid = grid[grid.norm(dim=-1) <= 1][None]

    def largest(at):
        half = torch.full(at.shape[:2], 0.5)
        _, terms = convexification_loss(bumps, MANIFOLD, truth, at, half, dlc)
        return sum(terms.values()).max().item()

    assert largest(worst) > 0.98 * largest(grid)


def test_equivalent_poses_do_not_attract_it():
    """Two wells at +-0.8; where the right one does not count, the rays go to the left one."""

    def energy(omega):
        return (omega[..., 0].abs() - 0.8).abs()

    truth, lam = torch.zeros(1, 1), torch.full((1, 20), 0.5)
    xi = torch.linspace(-0.3, 0.3, 20)[None, :, None]
    worst = worst_perturbations(
        energy, MANIFOLD, truth, xi, lam, DlcOptions(hinges=('growth',)),
        AscentOptions(steps=8, rate=0.1), weigh=lambda at: (at[..., 0] < 0).float(),
    )  # fmt: skip
    assert (worst[xi < 0] < -0.7).all()
    assert torch.equal(worst[xi > 0], xi[xi > 0])


def test_weights_of_the_model_get_no_gradient():
    theta = torch.ones(2, requires_grad=True)
    truth, xi, lam = draw(2)
    worst_perturbations(
        lambda omega: bumps(omega * theta), MANIFOLD, truth, xi, lam, DlcOptions(), AscentOptions()
    )
    assert theta.grad is None


@pytest.mark.parametrize('values', [{'steps': 0}, {'rate': 0}, {'rate': 3}, {'step': 1}])
def test_impossible_options_are_refused(values):
    with pytest.raises(ValidationError, match=next(iter(values))):
        AscentOptions(**values)
