"""
Feature-metric registration of point clouds, with and without landscape shaping.

``python -m dlc_training.examples.feature_metric`` trains a small network once for each objective
and tells how far away the unchanged iteration may start, and how exact it ends.

The model is of the kind of Aoki et al., "PointNetLK", CVPR 2019, written anew and small: one
feature vector for a whole cloud, a PointNet's, and an inverse compositional Gauss-Newton
iteration on the difference of two such vectors. No correspondences exist, so its energy is far
from convex by nature. Clouds are unions of random boxes and ellipsoids, sampled twice; lengths
are in units of the target's mean distance from its centre.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from dlc_training.examples.study import main
from dlc_training.objective import RigidTransforms
from dlc_training.objective.manifolds import exp_so3

POINTS = 128
# A perturbation of length one: up to 135 deg and 0.75 units.
MANIFOLD = RigidTransforms(angle=0.75 * math.pi, length=0.75)


@dataclass(frozen=True)
class Clouds:
    """
    One batch.

    :param source: (B, N, 3); ``target`` (B, N, 3), centred.
    :param truth: poses of the source: rotation (B, 3, 3), translation (B, 3).
    :param start: the same, where the iteration starts from.
    """

    source: torch.Tensor
    target: torch.Tensor
    truth: tuple
    start: tuple


class FeatureMetric(nn.Module):
    """A feature vector of a cloud, and the iteration that makes two of them agree."""

    def __init__(self, channels=64, damping=1e-2, step=0.02):
        super().__init__()
        self.damping, self.step = damping, step
        self.point = nn.Sequential(
            nn.Linear(3, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU(), nn.Linear(48, channels)
        )

    def extract(self, points):
        """Clouds (..., N, 3) -> (..., 2 C): mean and soft maximum over the points."""
        features = self.point(points)
        soft = torch.logsumexp(4 * features, -2) / 4 - math.log(points.shape[-2]) / 4
        return torch.cat([features.mean(-2), soft], -1)

    def energy(self, batch):
        """
        Energy of poses, as a function: (R (B, P, 3, 3), t (B, P, 3)) -> (B, P).

        Half the squared difference of feature vectors, in units of the target's own: what
        :meth:`align` descends.
        """
        target = self.extract(batch.target)[:, None]
        unit = target.square().sum(-1).add(1e-6)

        def value(poses):
            difference = self.extract(_moved(batch.source[:, None], poses)) - target
            return difference.square().sum(-1) / unit / 2

        return value

    def align(self, batch, start, iterations):
        """
        Poses after each Gauss-Newton iteration from ``start``, as a list.

        The derivative of the target's features by its motion stays the same all along.
        """
        jacobian = self._jacobian(batch.target)  # (B, 2 C, 6)
        hessian = jacobian.transpose(1, 2) @ jacobian
        ridge = self.damping * hessian.diagonal(dim1=1, dim2=2).mean(-1).add(1e-9)
        hessian = hessian + ridge[:, None, None] * torch.eye(6)
        target = self.extract(batch.target)
        path = []
        for _ in range(iterations):
            residual = self.extract(_moved(batch.source, start)) - target
            gradient = jacobian.transpose(1, 2) @ residual[..., None]
            twist = torch.linalg.solve(hessian, gradient).squeeze(-1)
            longest = twist.norm(dim=-1, keepdim=True).clamp_min(1)
            turn, shift = (twist / longest).split(3, -1)
            turn = exp_so3(-turn)
            start = (turn @ start[0], (turn @ start[1][..., None]).squeeze(-1) - shift)
            path.append(start)
        return path

    def task_loss(self, batch):
        """Robust distance of the points after every iteration; later ones weigh more."""
        path = self.align(batch, batch.start, 6)
        weights = [0.5 ** (len(path) - k) for k in range(len(path))]
        errors = [point_error(batch, pose) for pose in path]
        robust = [(error / (error + 0.25)).mean() for error in errors]
        return sum(w * e for w, e in zip(weights, robust, strict=True)) / sum(weights)

    def evaluate(self, batch, starts):
        """Mean distance of the points (B,) where 30 iterations end."""
        with torch.no_grad():
            return point_error(batch, self.align(batch, starts, 30)[-1])

    def _jacobian(self, target):
        """Central differences of the features by rotation and translation of the cloud."""
        twists = self.step * torch.eye(6)
        ends = []
        for sign in (1, -1):
            turn, shift = (sign * twists).split(3, -1)
            poses = (
                exp_so3(turn).expand(len(target), -1, -1, -1),
                shift.expand(len(target), -1, -1),
            )
            ends.append(self.extract(_moved(target[:, None], poses)))
        return ((ends[0] - ends[1]) / (2 * self.step)).transpose(1, 2)


def point_error(batch, pose):
    """Mean distance (B,) between the source's points under two poses: this one, the true one."""
    return (_moved(batch.source, pose) - _moved(batch.source, batch.truth)).norm(dim=-1).mean(-1)


def make_batch(size, generator, spread=0.6):
    """
    Pairs of clouds that share no sample; starts up to ``spread`` radii from the truth.

    :return: :class:`Clouds`.
    """
    shape = _Shape(size, generator)
    target, seen = shape.sample(POINTS, generator), shape.sample(POINTS, generator)
    centre = target.mean(1, keepdim=True)
    scale = (target - centre).norm(dim=-1).mean(1)[:, None, None]
    target, seen = ((cloud - centre) / scale for cloud in (target, seen))
    # The source is centred on its own points, in a frame of its own: seen = R source + t.
    rotation = exp_so3(math.pi * _in_ball(size, generator))
    translation = seen.mean(1)
    source = (seen - translation[:, None]) @ rotation
    truth = rotation, translation
    start = perturbed(truth, spread * torch.rand(size, 1, generator=generator), generator)
    return Clouds(source, target, truth, start)


def perturbed(truth, length, generator):
    """Poses ``length`` radii (a number or (B, 1)) away from the truth."""
    xi = torch.randn(len(truth[0]), 6, generator=generator)
    xi = length * xi / xi.norm(dim=-1, keepdim=True)
    rotation, translation = MANIFOLD.move(truth, xi[:, None])
    return rotation[:, 0], translation[:, 0]


class _Shape:
    """Unions of four random boxes and ellipsoids; nothing about them is symmetric."""

    def __init__(self, size, generator, parts=4):
        self.centre = 1.6 * torch.rand(size, parts, 3, generator=generator) - 0.8
        self.half = 0.15 + 0.55 * torch.rand(size, parts, 3, generator=generator)
        self.turn = exp_so3(math.pi * _in_ball(size * parts, generator)).unflatten(
            0, (size, parts)
        )
        self.round = torch.rand(size, parts, generator=generator) < 0.5

    def sample(self, count, generator):
        """Points (B, count, 3) on the surfaces, with noise of 0.01."""
        size, parts = self.round.shape
        part = torch.randint(parts, (size, count), generator=generator)
        ball = torch.randn(size, count, 3, generator=generator)
        box = ball / ball.abs().amax(-1, keepdim=True)
        ball = ball / ball.norm(dim=-1, keepdim=True)

        def of(values):
            index = part.reshape(size, count, *[1] * (values.ndim - 2))
            return values.gather(1, index.expand(-1, -1, *values.shape[2:]))

        points = of(self.half) * torch.where(of(self.round)[..., None], ball, box)
        points = (of(self.turn) @ points[..., None]).squeeze(-1) + of(self.centre)
        return points + 0.01 * torch.randn(points.shape, generator=generator)


def _in_ball(count, generator):
    direction = torch.randn(count, 3, generator=generator)
    radius = torch.rand(count, 1, generator=generator) ** (1 / 3)
    return radius * direction / direction.norm(dim=-1, keepdim=True)


def _moved(points, pose):
    """Points (..., N, 3) moved by poses R (..., 3, 3), t (..., 3)."""
    rotation, translation = pose
    return points @ rotation.transpose(-1, -2) + translation[..., None, :]


if __name__ == '__main__':
    main('Feature-metric registration', FeatureMetric, make_batch, perturbed, MANIFOLD,
         'point error', 0.4)  # fmt: skip
