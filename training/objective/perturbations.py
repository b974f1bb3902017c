"""Where the landscape is shaped: random perturbations of the truth, and how far along each ray."""

import math

import torch

from dlc_ros.errors import ParameterError


def draw_perturbations(batch, radii, dimension, options, generator, device='cpu'):
    """
    Random perturbations in units of their radius, and random ``lam``.

    ``uniform`` draws a random direction and a length uniform in 0..1; ``gaussian`` the normal
    distribution whose expected squared length is one.

    :param batch: B.
    :param radii: number of radii R; each gets ``samples`` perturbations (twice if mirrored).
    :param options: :class:`dlc_training.objective.DlcOptions`.
    :return: xi (B, P, D), lam (B, P) and index of the radius (P,), P = R * samples * (1 or 2).
    """
    count = radii * options.samples
    xi = torch.randn(batch, count, dimension, generator=generator)
    if options.distribution == 'gaussian':
        xi = xi / math.sqrt(dimension)
    else:
        xi = with_random_length(xi, options, generator)
    lam = torch.rand(batch, count, generator=generator)
    if options.lam != 'uniform':
        lam = torch.full_like(lam, options.lam)
    index = torch.arange(radii).repeat_interleave(options.samples)
    if options.mirrored:
        xi, lam, index = torch.cat([xi, -xi], 1), torch.cat([lam, lam], 1), index.repeat(2)
    return xi.to(device), lam.to(device), index.to(device)


def with_random_length(xi, options, generator):
    """
    Directions of ``xi`` (..., D) with new lengths, at most one.

    Uniform in 0..1, or those of the Gaussian of :func:`draw_perturbations`, cut off at one.
    """
    if options.distribution == 'gaussian':
        length = torch.randn(xi.shape, generator=generator).norm(dim=-1, keepdim=True)
        length = (length / math.sqrt(xi.shape[-1])).clamp_max(1)
    else:
        length = torch.rand(*xi.shape[:-1], 1, generator=generator)
    return xi / xi.norm(dim=-1, keepdim=True).clamp_min(1e-9) * length.to(xi.device)


def mined_perturbations(manifold, truth, xi, descend):
    """
    Perturbations of the wrong answers that the iteration gives when it starts at ``xi``.

    They are harder than random ones: hinges there act on the very minima that trap the method.
    Longer than the radius they are shortened to it, along the same ray.

    :param descend: maps predictions of the manifold to those that the iteration reaches.
    :return: (B, P, D), without a gradient.
    :raises ParameterError: when ``descend`` does not return an end for every start.
    """
    with torch.no_grad():
        predictions = descend(manifold.move(truth, xi))
        ends = None if predictions is None else manifold.between(truth, predictions)
    if ends is None or ends.shape != xi.shape:
        found = 'nothing' if ends is None else f'predictions {tuple(ends.shape[:2])}'
        raise ParameterError(
            f'descend= returned {found} for predictions {tuple(xi.shape[:2])}; return where the '
            'iteration ends from each'
        )
    return ends / ends.norm(dim=-1, keepdim=True).clamp_min(1)
