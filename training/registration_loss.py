"""The loss of a registration network: correspondence likelihood, pose error, shaped landscape."""

import math
from dataclasses import dataclass

import torch

from dlc_ros.registration.energy import BETAS
from dlc_training.objective import RigidTransforms, convexification_loss, draw_perturbations
from dlc_training.objective.manifolds import exp_so3

# How sharply a correspondence is asked for, and overlap is judged [1 / network units^2].
_CORRESPONDENCE_BETA, _OVERLAP_BETA = 128.0, 64.0
# Mean distance [network units] by which a moved cloud must differ to count as another pose.
_DIFFERENT = 0.05
_POINTS_COMPARED = 96


@dataclass(frozen=True)
class RegistrationLoss:
    """
    Task loss and hinges on :class:`dlc_ros.registration.energy.MixtureEnergy`.

    :param config: :class:`dlc_training.config.ObjectiveConfig`.
    """

    config: object

    def __call__(self, energy, rotation, translation, strength, generator):
        """
        Loss of one batch.

        :param energy: landscape of B pairs.
        :param rotation: (B, 3, 3) true poses; ``translation`` (B, 3) in network units.
        :param strength: 0..1, share of rho in force (warm-up and ramp).
        :param generator: torch Generator of the perturbations.
        :return: scalar loss, dict of detached scalars for the log.
        """
        truth = rotation, translation
        betas = torch.tensor(BETAS, device=rotation.device)[None, :, None, None]
        square = energy.square_distances(rotation[:, None], translation[:, None])
        at_truth = energy.value_at(square, betas)  # (B, 4)
        match, overlap = _correspondence(energy, square[:, 0])
        pose = self._pose_error(energy, rotation, translation)
        loss = match + overlap + self.config.pose_weight * pose
        log = {
            'match': match.detach(),
            'overlap': overlap.detach(),
            'pose': pose.detach(),
            'at_truth': at_truth[:, 2].detach().mean(),
        }
        if self.config.name == 'dlc' and strength > 0:
            nearest = square[:, 0].detach().amin(-1)
            shaped, more = self._shape(energy, truth, at_truth, nearest, generator)
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

    def _shape(self, energy, truth, at_truth, nearest, generator):
        """Hinges at random perturbations of every beta's radius, and at mined wrong minima."""
        options, device = self.config.dlc, at_truth.device
        batch = at_truth.shape[0]
        xi, lam, index = draw_perturbations(batch, len(BETAS), 6, options, generator, device)
        betas = torch.tensor(BETAS, device=device)[index][None, :, None, None]
        angle = torch.tensor(self.config.radii_deg, device=device)[index] * math.pi / 180
        length = torch.tensor(self.config.radii_length, device=device)[index]
        # Rotation and translation each within their radius: halves of one unit ball in 6-D
        # would hardly ever reach the rim of either.
        xi = torch.cat([_rescaled(xi[..., :3], generator), _rescaled(xi[..., 3:], generator)], -1)
        xi = xi / math.sqrt(2)
        manifold = RigidTransforms(angle * math.sqrt(2), length * math.sqrt(2))
        with torch.no_grad():
            weight = _difference(energy, manifold.move(truth, xi), nearest)
        shaped, terms = convexification_loss(
            lambda pose: energy.value(*pose, betas),
            manifold, truth, xi, lam, options, at_truth[:, index], weight,
        )  # fmt: skip
        log = {f'hinge_{name}': value.detach().mean() for name, value in terms.items()}
        if self.config.mined:
            with torch.no_grad():
                poses = self._mine(energy, generator)
                weight = _difference(energy, poses, nearest)
            wrong = energy.value(*poses, 64.0)
            growth = (at_truth[:, 2:3] - wrong + 0.5 * options.mu).relu() * weight
            shaped = shaped + options.rho * growth.mean()
            log['hinge_mined'] = growth.detach().mean()
            log['ranked'] = ((wrong > at_truth[:, 2:3]) | (weight < 0.2)).float().mean()
        return shaped, log

    def _mine(self, energy, generator):
        """Where the descent ends from random rotations: (B, P) poses, most of them wrong."""
        batch, device = energy.source.shape[0], energy.source.device
        w = torch.randn(batch, self.config.mined, 3, generator=generator)
        w = w / w.norm(dim=-1, keepdim=True) * math.pi
        w = w * torch.rand(batch, self.config.mined, 1, generator=generator)
        rotation = exp_so3(w.to(device))
        translation = torch.zeros_like(rotation[..., 0])
        for beta in (4.0, 16.0, 64.0):
            rotation, translation = energy.step(rotation, translation, beta)
        return rotation, translation


def _correspondence(energy, square):
    """
    Likelihood of the true pose, in parts: where overlapping points go, and which overlap.

    The mixture's own likelihood has a trap: while affinities are still flat, calling everything
    an outlier is best, and no gradient reaches the affinities any more. So whether a point
    overlaps is taken from the truth here.

    :param square: (B, N, M) squared distances at the truth.
    """
    kernel = torch.exp(-0.5 * _CORRESPONDENCE_BETA * square)
    match, overlap = 0.0, 0.0
    for axis, affinity, outlier in (
        (-1, energy.forward_affinity, energy.source_outlier),
        (-2, energy.backward_affinity, energy.target_outlier),
    ):
        inlier = torch.exp(-0.5 * _OVERLAP_BETA * square.amin(axis))
        log = (kernel * affinity).sum(axis).clamp_min(1e-6).log()
        match = match - 0.5 * (inlier * log).sum(-1).mean() / inlier.sum(-1).mean()
        probability = outlier.clamp(1e-4, 1 - 1e-4)
        cross = inlier * (1 - probability).log() + (1 - inlier) * probability.log()
        overlap = overlap - 0.5 * cross.mean()
    return match, overlap


def _rescaled(v, generator):
    """Direction of v with a length uniform in 0..1."""
    length = torch.rand(*v.shape[:-1], 1, generator=generator).to(v.device)
    return v / v.norm(dim=-1, keepdim=True).clamp_min(1e-9) * length


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
