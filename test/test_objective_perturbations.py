"""Perturbations: their distributions against scipy's, mined ones against a known descent."""

import numpy as np
import pytest
import torch
from scipy import stats

from dlc_training.objective import (
    DlcOptions,
    Euclidean,
    draw_perturbations,
    mined_perturbations,
    with_random_length,
)


def test_perturbations_fill_the_unit_ball_of_each_radius():
    options = DlcOptions(samples=50)
    xi, lam, index = draw_perturbations(40, 4, 6, options, torch.Generator().manual_seed(0))
    assert xi.shape == (40, 200, 6)
    assert lam.shape == (40, 200)
    np.testing.assert_array_equal(np.bincount(index), [50] * 4)
    length = xi.norm(dim=-1).flatten().numpy()
    for sample in (length, lam.flatten().numpy()):  # both uniform in 0..1
        np.testing.assert_allclose(
            np.quantile(sample, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03
        )
        assert 0 <= sample.min()
        assert sample.max() <= 1
    direction = xi / xi.norm(dim=-1, keepdim=True)
    np.testing.assert_allclose(direction.flatten(0, 1).mean(0), 0, atol=0.03)
    covariance = np.cov(direction.flatten(0, 1).numpy().T)
    np.testing.assert_allclose(covariance, np.eye(6) / 6, atol=0.01)


def test_mirrored_perturbations_come_in_pairs():
    options = DlcOptions(samples=3, mirrored=True)
    xi, lam, index = draw_perturbations(2, 4, 6, options, torch.Generator().manual_seed(0))
    assert xi.shape == (2, 24, 6)
    assert torch.equal(xi[:, 12:], -xi[:, :12])
    assert torch.equal(lam[:, 12:], lam[:, :12])
    assert torch.equal(index[12:], index[:12])
    np.testing.assert_array_equal(np.bincount(index), [6] * 4)


def test_perturbations_repeat_with_their_generator():
    first, again, other = (
        draw_perturbations(2, 4, 6, DlcOptions(), torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_gaussian_perturbations_are_normal():
    options = DlcOptions(samples=500, distribution='gaussian')
    xi, _, _ = draw_perturbations(20, 1, 6, options, torch.Generator().manual_seed(0))
    values = xi.flatten().numpy()
    assert stats.kstest(values, stats.norm(scale=6**-0.5).cdf).pvalue > 0.01
    assert xi.square().sum(-1).mean().item() == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize('distribution', ['uniform', 'gaussian'])
def test_new_lengths_keep_the_direction(distribution):
    options = DlcOptions(distribution=distribution)
    xi = torch.randn(5000, 3, generator=torch.Generator().manual_seed(0))
    again = with_random_length(xi, options, torch.Generator().manual_seed(1))
    length = again.norm(dim=-1)
    torch.testing.assert_close(
        again / length[:, None], xi / xi.norm(dim=-1, keepdim=True), rtol=0, atol=1e-5
    )
    assert length.max() <= 1 + 1e-6
    expected = {
        'uniform': stats.uniform.cdf(0.6),
        'gaussian': stats.chi(3, scale=3**-0.5).cdf(0.6),
    }
    share = (length < 0.6).float().mean().item()
    assert share == pytest.approx(expected[distribution], abs=0.02)


def test_lam_may_be_fixed_and_changes_nothing_else():
    drawn = [
        draw_perturbations(
            3, 2, 6, DlcOptions(lam=lam, samples=1), torch.Generator().manual_seed(0)
        )
        for lam in ('uniform', 0.5)
    ]
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert drawn[0][1].unique().numel() == drawn[0][1].numel()
    assert torch.equal(drawn[1][1], torch.full((3, 2 * 1), 0.5))


def test_mined_perturbations_are_the_minima_that_trap_the_descent():
    """Of cos(x) every 2 pi: a descent from x ends at the nearest minimum, which is known."""
    truth = torch.full((1, 1), torch.pi)
    manifold = Euclidean(10.0)
    xi = torch.tensor([[[0.05], [0.6], [-0.65], [0.99]]])

    def descend(omega):
        for _ in range(400):
            omega = omega + 0.1 * omega.sin()
        return omega

    mined = mined_perturbations(manifold, truth, xi, descend)
    # Offsets 0.5, 6, -6.5 and 9.9 from a minimum end 0, 1, -1 and 2 minima away; the last lies
    # beyond the radius and is brought back to it.
    expected = [0.0, 2 * np.pi / 10, -2 * np.pi / 10, 1.0]
    np.testing.assert_allclose(mined.flatten(), expected, atol=1e-4)
    assert not mined.requires_grad
