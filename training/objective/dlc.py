r"""
Deep Loss Convexification: hinges that bend an energy into a star-convex bowl about the truth.

Usable with any iterative torch model. Give the energy as a function of the prediction and the
manifold that the prediction lives on; the hinges are those of Zhang et al., "Deep Loss
Convexification for Learning Iterative Models", arXiv 2411.10649. With e* the energy at the truth,
e_1 at the truth moved by :math:`\xi` and e_l at the truth moved by :math:`\lambda \xi`:

=========  ==========================================================================
``minimum``  :math:`\max(0, e_* - e_\lambda)`
``growth``   :math:`\max(0, e_* - e_1 + \mu/2\,|\xi|^2)`
``star``     :math:`\max(0, e_\lambda - (1-\lambda) e_* - \lambda e_1
             + \lambda (1-\lambda) \mu/2\,|\xi|^2)`
=========  ==========================================================================
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dlc_ros.errors import ParameterError

Share = Annotated[float, Field(ge=0, le=1)]
HINGES = ('minimum', 'growth', 'star')


class DlcOptions(BaseModel):
    """How the landscape is shaped; lengths of perturbations are in units of their radius."""

    model_config = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)

    rho: float = Field(3.0, ge=0, description='Weight of the hinges beside the task loss.')
    mu: float = Field(1.0, ge=0, description='Strong convexity asked for, per squared radius.')
    samples: int = Field(2, ge=1, description='Perturbations per radius and step.')
    distribution: Literal['uniform', 'gaussian', 'mined'] = Field(
        'uniform', description='Of perturbations; mined: where the iteration ends from uniform.'
    )
    lam: Literal['uniform'] | Share = Field(
        'uniform', description='How far along the ray: uniform in 0..1, or always this share.'
    )
    mirrored: bool = Field(False, description='Use -xi beside every xi.')
    hinges: tuple[Literal[HINGES], ...] = Field(
        HINGES, min_length=1, description='Which of minimum, growth, star.'
    )
    reduction: Literal['sum', 'mean', 'max'] = Field('mean', description='Over samples.')

    @field_validator('lam', mode='wrap')
    @classmethod
    def _is_either(cls, lam, check):
        try:
            return check(lam)
        except ValidationError:  # which names the first of the two alone
            raise ValueError("Input should be 'uniform' or a share, 0 to 1") from None


def hinge_terms(at_truth, inner, outer, lam, square_norm, mu):
    """
    The three hinges, elementwise.

    :param at_truth: energies e* at the truth.
    :param inner: energies at the truth moved by ``lam * xi``; broadcasts with ``at_truth``.
    :param outer: energies at the truth moved by ``xi``.
    :param lam: 0..1, how far along the ray ``inner`` lies.
    :param square_norm: ``|xi|^2``.
    :param mu: strong convexity.
    :return: dict of tensors of non-negative values by hinge name.
    """
    signed = _signed(at_truth, inner, outer, lam, square_norm, mu)
    return {name: value.relu() for name, value in signed.items()}


def _signed(at_truth, inner, outer, lam, square_norm, mu):
    """What the hinges cut off at zero: negative where the inequality holds with room to spare."""
    bend = 0.5 * mu * square_norm
    chord = (1 - lam) * at_truth + lam * outer
    return {
        'minimum': at_truth - inner,
        'growth': at_truth - outer + bend,
        'star': inner - chord + lam * (1 - lam) * bend,
    }


def energy_along(energy, manifold, truth, xi):
    """
    Energies (B, P) of the truth moved by ``xi`` (B, P, D).

    :raises ParameterError: when the energy returns anything else; it might fit by broadcasting,
        and the hinges would compare different samples.
    """
    values = energy(manifold.move(truth, xi))
    asked = tuple(xi.shape[:-1])
    if not torch.is_tensor(values) or values.shape != asked:
        found = tuple(values.shape) if torch.is_tensor(values) else type(values).__name__
        raise ParameterError(
            f'the energy returned {found} for {asked[0]} samples with {asked[1]} predictions '
            f'each; give it a tensor {asked}, one energy a prediction'
        )
    return values


def violations(energy, manifold, truth, xi, lam, mu, at_truth):
    """
    Signed violations (B, P) of each hinge at perturbations, by name; positive: violated.

    Parameters are those of :func:`convexification_loss`.
    """
    outer = energy_along(energy, manifold, truth, xi)
    inner = energy_along(energy, manifold, truth, lam[..., None] * xi)
    return _signed(at_truth, inner, outer, lam, xi.square().sum(-1), mu)


def convexification_loss(
    energy: Callable, manifold, truth, xi, lam, options: DlcOptions, at_truth=None, weight=None
):
    """
    Weighted hinges of an energy at perturbations of the truth.

    :param energy: maps predictions of the manifold to energies (B, P).
    :param manifold: has ``move(truth, xi)``, the prediction reached from the truth along ``xi``.
    :param truth: what ``manifold.move`` takes; for B samples.
    :param xi: (B, P, D) perturbations, in units of the radius in which convexity is asked for.
    :param lam: (B, P) in 0..1.
    :param at_truth: (B, P) or (B, 1) energies at the truth where they are known already.
    :param weight: (B, P) in 0..1, for perturbations that hardly change the observation (a
        symmetric object): the energy must not be pushed up at a pose that is as right.
    :return: scalar ``rho *`` reduced hinges, and dict of (B, P) hinge values.
    :raises ParameterError: when the energy returns another shape.
    """
    if at_truth is None:
        at_truth = energy_along(energy, manifold, truth, torch.zeros_like(xi[:, :1]))
    signed = violations(energy, manifold, truth, xi, lam, options.mu, at_truth)
    terms = {name: value.relu() for name, value in signed.items()}
    total = sum(terms[name] for name in options.hinges)
    if weight is not None:
        total = total * weight
    reduced = {'mean': total.mean(-1), 'sum': total.sum(-1), 'max': total.amax(-1)}
    return options.rho * reduced[options.reduction].mean(), terms
