"""The loss of a registration network: correspondence likelihood, pose error, shaped landscape."""

import math
from dataclasses import dataclass, fields, replace

import torch

from dlc_ros.registration.energy import BETAS, MixtureEnergy
from dlc_training.objective import (
    RigidTransforms,
    convexification_loss,
    draw_perturbations,
    make_objective,
    mined_perturbations,
    with_random_length,
)
from dlc_training.objective.manifolds import exp_so3

# How sharply a correspondence is asked for, and overlap is judged [1 / network units^2].
_CORRESPONDENCE_BETA, _OVERLAP_BETA = 128.0, 64.0
# Mean distance [network units] by which a moved cloud must differ to count as another pose.
_DIFFERENT = 0.05
_POINTS_COMPARED = 96
# Of the descent from a perturbation to the minimum that it belongs to.
_MINING_STEPS = 4


@dataclass(frozen=True)
class Part:
    """
    Which samples of a step's batch a call sees, where the batch is split.

    Losses of all parts, weighted by their number of samples, sum to the loss of the whole batch:
    perturbations are drawn for the whole, and what is normalised, is so by the whole.

    :param first: index of the first sample; ``total`` samples in the whole batch.
    :param overlap: (2,) mean of :func:`overlap_mass` over the whole batch.
    :param size: samples in this part.
    """

    first: int
    total: int
    overlap: torch.Tensor
    size: int

    def of(self, drawn):
        """Rows of this part from a tensor drawn for the whole batch."""
        return drawn[self.first : self.first + self.size]


class RegistrationLoss:
    """
    Task loss and hinges on :class:`dlc_ros.registration.energy.MixtureEnergy`.

    :param config: :class:`dlc_training.config.ObjectiveConfig`.
    """

    def __init__(self, config):
        self.config = config
        self.objective = make_objective(config.name, config)

    def __call__(self, energy, rotation, translation, strength, generator, part=None):
        """
        Loss of one batch, or of a part of it.

        :param energy: landscape of B pairs.
        :param rotation: (B, 3, 3) true poses; ``translation`` (B, 3) in network units.
        :param strength: 0..1, share of rho in force (warm-up and ramp).
        :param generator: torch Generator of the perturbations.
        :param part: :class:`Part`; None where the batch is whole.
        :return: scalar loss, dict of detached scalars for the log.
        """
        truth = rotation, translation
        betas = torch.tensor(BETAS, device=rotation.device)[None, :, None, None]
        square = energy.square_distances(rotation[:, None], translation[:, None])
        at_truth = energy.value_at(square, betas)  # (B, 4)
        if part is None:
            mass = overlap_mass(square[:, 0]).mean(-1)
            part = Part(0, len(rotation), mass, len(rotation))
        match, overlap = _correspondence(energy, square[:, 0], part.overlap)
        pose = self._pose_error(energy, rotation, translation)
        loss = match + overlap + self.config.pose_weight * pose
        log = {
            'match': match.detach(),
            'overlap': overlap.detach(),
            'pose': pose.detach(),
            'at_truth': at_truth[:, 2].detach().mean(),
        }
        if self.objective.shapes and strength > 0:
            nearest = square[:, 0].detach().amin(-1)
            shaped, more = self._shape(energy, truth, at_truth, nearest, generator, part)
            loss = loss + strength * shaped
            log.update(more)
        return loss, log

    def _pose_error(self, energy, rotation, translation):
        """Robust point distance of every unrolled iteration; later ones weigh more."""
        true = energy.source @ rotation.transpose(-1, -2) + translation[:, None]
        turn, shift = energy.from_affinities()
        total = 0.0
        for weight, beta in ((0.25, 16.0), (0.25, 64.0), (0.5, None)):
            moved = energy.source @ turn[:, 0].transpose(-1, -2) + shift
            distance = (moved - true).square().sum(-1).add(1e-8).sqrt()
            total = total + weight * (distance / (distance + 0.25)).mean()
            if beta is not None:
                turn, shift = energy.step(turn, shift, beta)
        return total

    def _shape(self, energy, truth, at_truth, nearest, generator, part):
        """Hinges at perturbations of every beta's radius, and at mined wrong minima."""
        options, device = self.config.dlc, at_truth.device
        xi, lam, index = draw_perturbations(part.total, len(BETAS), 6, options, generator, device)
        betas = torch.tensor(BETAS, device=device)[index][None, :, None, None]
        angle = torch.tensor(self.config.radii_deg, device=device)[index] * math.pi / 180
        length = torch.tensor(self.config.radii_length, device=device)[index]
        # Rotation and translation each within their radius: halves of one unit ball in 6-D
        # would hardly ever reach the rim of either.
        halves = [with_random_length(half, options, generator) for half in xi.split(3, -1)]
        xi = torch.cat(halves, -1) / math.sqrt(2)
        if options.mirrored:  # the lengths were drawn anew, of either side
            xi = torch.cat([xi.chunk(2, 1)[0], -xi.chunk(2, 1)[0]], 1)
        xi, lam = part.of(xi), part.of(lam)
        manifold = RigidTransforms(angle * math.sqrt(2), length * math.sqrt(2))
        fixed = _without_gradient(energy)
        if options.distribution == 'mined':
            ends = mined_perturbations(
                manifold, truth, xi, lambda poses: _descended(fixed, poses, index)
            )
            xi = _within_radii(ends)

        def weigh(xi):
            with torch.no_grad():
                return _difference(energy, manifold.move(truth, xi), nearest)

        xi = self.objective.hardest(
            lambda pose: fixed.value(*pose, betas),
            manifold, truth, xi, lam, at_truth[:, index], weigh, _within_radii,
        )  # fmt: skip
        shaped, terms = convexification_loss(
            lambda pose: energy.value(*pose, betas),
            manifold, truth, xi, lam, options, at_truth[:, index], weigh(xi),
        )  # fmt: skip
        log = {f'hinge_{name}': value.detach().mean() for name, value in terms.items()}
        if self.config.mined:
            with torch.no_grad():
                poses = self._mine(energy, generator, part)
                weight = _difference(energy, poses, nearest)
            wrong = energy.value(*poses, 64.0)
            growth = (at_truth[:, 2:3] - wrong + 0.5 * options.mu).relu() * weight
            shaped = shaped + options.rho * growth.mean()
            log['hinge_mined'] = growth.detach().mean()
            log['ranked'] = ((wrong > at_truth[:, 2:3]) | (weight < 0.2)).float().mean()
        return shaped, log

    def _mine(self, energy, generator, part):
        """Where the descent ends from random rotations: (B, P) poses, most of them wrong."""
        w = torch.randn(part.total, self.config.mined, 3, generator=generator)
        w = w / w.norm(dim=-1, keepdim=True) * math.pi
        w = w * torch.rand(part.total, self.config.mined, 1, generator=generator)
        rotation = exp_so3(part.of(w).to(energy.source.device))
        translation = torch.zeros_like(rotation[..., 0])
        for beta in (4.0, 16.0, 64.0):
            rotation, translation = energy.step(rotation, translation, beta)
        return rotation, translation


def overlap_mass(square):
    """
    How many points of each cloud overlap the other at the truth, (2, B): source, target.

    :param square: (B, N, M) squared distances at the truth.
    """
    return torch.stack(
        [torch.exp(-0.5 * _OVERLAP_BETA * square.amin(a)).sum(-1) for a in (-1, -2)]
    )


def _correspondence(energy, square, mass):
    """
    Likelihood of the true pose, in parts: where overlapping points go, and which overlap.

    The mixture's own likelihood has a trap: while affinities are still flat, calling everything
    an outlier is best, and no gradient reaches the affinities any more. So whether a point
    overlaps is taken from the truth here.

    :param square: (B, N, M) squared distances at the truth.
    :param mass: (2,) mean of :func:`overlap_mass` over the whole batch.
    """
    kernel = torch.exp(-0.5 * _CORRESPONDENCE_BETA * square)
    match, overlap = 0.0, 0.0
    for axis, affinity, outlier, whole in (
        (-1, energy.forward_affinity, energy.source_outlier, mass[0]),
        (-2, energy.backward_affinity, energy.target_outlier, mass[1]),
    ):
        inlier = torch.exp(-0.5 * _OVERLAP_BETA * square.amin(axis))
        log = (kernel * affinity).sum(axis).clamp_min(1e-6).log()
        match = match - 0.5 * (inlier * log).sum(-1).mean() / whole
        probability = outlier.clamp(1e-4, 1 - 1e-4)
        cross = inlier * (1 - probability).log() + (1 - inlier) * probability.log()
        overlap = overlap - 0.5 * cross.mean()
    return match, overlap


def _within_radii(xi):
    """Rotation and translation, each shortened to its own radius where it is longer."""
    halves = xi.split(3, -1)
    longest = math.sqrt(0.5)
    return torch.cat(
        [half / (half.norm(dim=-1, keepdim=True) / longest).clamp_min(1) for half in halves], -1
    )


def _without_gradient(energy):
    """The same landscape of a network whose weights are held fixed."""
    detached = {field.name: getattr(energy, field.name).detach() for field in fields(energy)}
    return replace(energy, **detached)


def _descended(energy: MixtureEnergy, poses, index):
    """Poses (B, P) after some steps, each at the beta whose index (P,) it has."""
    rotation, translation = (value.clone() for value in poses)
    for k, beta in enumerate(BETAS):
        own = index == k
        turn, shift = rotation[:, own], translation[:, own]
        for _ in range(_MINING_STEPS):
            turn, shift = energy.step(turn, shift, beta)
        rotation[:, own], translation[:, own] = turn, shift
    return rotation, translation


def _difference(energy, poses, nearest):
    """
    How different the moved cloud really is, 0..1 (B, P): 0 for a symmetry of the object.

    :param nearest: (B, N) squared distance of each source point to the target at the truth.
    """
    rotation, translation = poses
    stride = max(1, energy.source.shape[1] // _POINTS_COMPARED)
    points = energy.source[:, ::stride]
    moved = points[:, None] @ rotation.transpose(-1, -2) + translation[:, :, None]
    target = energy.target[:, None].expand(-1, moved.shape[1], -1, -1)
    distance = torch.cdist(moved, target).amin(-1)  # (B, P, n)
    before = nearest[:, None, ::stride].sqrt()
    overlapping = (before < 0.15).float()
    more = ((distance - before) * overlapping).sum(-1) / overlapping.sum(-1).clamp_min(1)
    return (more / _DIFFERENT).clamp(0, 1)
