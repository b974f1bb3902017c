"""The worst perturbation within the radius, by projected gradient ascent."""

import torch
from pydantic import BaseModel, ConfigDict, Field

from dlc_training.objective.dlc import energy_along, violations


class AscentOptions(BaseModel):
    """How the worst perturbation is looked for."""

    model_config = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)

    steps: int = Field(3, ge=1, description='Gradient-ascent steps on xi.')
    rate: float = Field(0.2, gt=0, le=2, description='Length of a step, in radii.')


def in_unit_ball(xi):
    """``xi`` (..., D), shortened to length one where it is longer."""
    return xi / xi.norm(dim=-1, keepdim=True).clamp_min(1)


def worst_perturbations(
    energy, manifold, truth, xi, lam, dlc, ascent, at_truth=None, weigh=None, project=in_unit_ball
):
    """
    Perturbations that violate the hinges most, found by climbing from random ones.

    Normalised steps uphill on the *signed* violations (where all hinges are satisfied their own
    gradient is zero and would lead nowhere), projected back after each; of the points on the way
    each ray keeps its worst, so that the result is never milder than the start.

    :param energy: maps predictions to energies (B, P), of a model whose weights are held fixed.
    :param xi: (B, P, D) start; ``lam`` (B, P) stays as it is.
    :param dlc: :class:`DlcOptions`; ``ascent``: :class:`AscentOptions`.
    :param at_truth: (B, P) energies at the truth, if known; ``weigh``: maps xi to the weights
        (B, P) of the hinges there; ``project``: back to where perturbations may lie.
    :return: (B, P, D), without a gradient.
    """
    if at_truth is None:
        with torch.no_grad():
            at_truth = energy_along(energy, manifold, truth, torch.zeros_like(xi[:, :1]))
    at_truth = at_truth.detach()
    worst, most = xi, None
    for step in range(ascent.steps + 1):
        climbing = step < ascent.steps
        xi = xi.detach().requires_grad_(climbing)
        with torch.set_grad_enabled(climbing):
            signed = violations(energy, manifold, truth, xi, lam, dlc.mu, at_truth)
            uphill = sum(signed[name] for name in dlc.hinges).sum()
        with torch.no_grad():
            violated = sum(signed[name].relu() for name in dlc.hinges)
            if weigh is not None:
                violated = violated * weigh(xi)
            worse = violated > most if most is not None else torch.ones_like(violated).bool()
            worst = torch.where(worse[..., None], xi, worst)
            most = torch.where(worse, violated, most) if most is not None else violated
        if climbing:
            (slope,) = torch.autograd.grad(uphill, xi)
            slope = slope / slope.norm(dim=-1, keepdim=True).clamp_min(1e-12)
            xi = project(xi.detach() + ascent.rate * slope)
    return worst.detach()
