r"""
Objectives that flatten the loss over *weights*, to compare Deep Loss Convexification with.

Both take the gradient at weights that were moved uphill, and apply it to the unmoved ones:

- ``sam``, Foret et al., "Sharpness-Aware Minimization", ICLR 2021:
  :math:`w + r\, g / |g|`, over all weights at once.
- ``awp``, Wu et al., "Adversarial Weight Perturbation", NeurIPS 2020:
  :math:`w_l + \gamma\, |w_l|\, g_l / |g_l|` for each weight matrix l alone; biases and scales
  stay.
"""

from contextlib import contextmanager

import torch
from pydantic import BaseModel, ConfigDict, Field


class SamOptions(BaseModel):
    """Sharpness-aware minimisation."""

    model_config = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)

    radius: float = Field(0.05, gt=0, description='Length of the move of all weights together.')


class AwpOptions(BaseModel):
    """Adversarial weight perturbation."""

    model_config = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)

    gamma: float = Field(0.01, gt=0, description="Length of a layer's move / its weights' norm.")


def sam_move(parameters, radius):
    """Move uphill of each parameter, from the gradients it holds; all together ``radius`` long."""
    gradients = [_gradient(p) for p in parameters]
    norm = torch.stack([g.norm() for g in gradients]).norm().clamp_min(1e-12)
    return [radius / norm * g for g in gradients]


def awp_move(parameters, gamma):
    """Move uphill of each weight matrix by ``gamma`` of its own norm; zero for vectors."""
    moves = []
    for parameter in parameters:
        gradient = _gradient(parameter)
        if parameter.ndim < 2:
            moves.append(torch.zeros_like(gradient))
        else:
            reach = gamma * parameter.detach().norm()
            moves.append(reach / gradient.norm().clamp_min(1e-12) * gradient)
    return moves


@contextmanager
def moved(parameters, moves):
    """Weights plus their moves for a while; the very same bits again afterwards."""
    before = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for parameter, move in zip(parameters, moves, strict=True):
            parameter.add_(move)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)


def _gradient(parameter):
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.detach()
