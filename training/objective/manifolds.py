"""Where predictions live, and the path from a truth along a perturbation."""

from dataclasses import dataclass

import torch


class Euclidean:
    """Plain vectors: ``move(truth, xi) = truth + scale * xi``."""

    def __init__(self, scale=1.0):
        self.scale = scale

    def move(self, truth, xi):
        """Truth (B, D) moved by xi (B, P, D) -> (B, P, D)."""
        return truth[:, None] + self.scale * xi


@dataclass(frozen=True)
class RigidTransforms:
    """
    Rotations and translations of a source that is centred on its centroid.

    The path is ``R(lam) = exp(lam w) R*``, ``t(lam) = t* + lam v`` with ``xi = (w / angle,
    v / length)``: rotation about the cloud's own centre, so that a distant cloud is not swung
    by metres per degree.

    :param angle: [rad], number or tensor (P,): the angle of a perturbation of length one.
    :param length: network units, number or tensor (P,): the translation of length one.
    """

    angle: float | torch.Tensor
    length: float | torch.Tensor

    def move(self, truth, xi):
        """Truth (R (B, 3, 3), t (B, 3)) moved by xi (B, P, 6) -> (B, P, 3, 3), (B, P, 3)."""
        rotation, translation = truth
        angle, length = _column(self.angle), _column(self.length)
        turned = exp_so3(angle * xi[..., :3]) @ rotation[:, None]
        return turned, translation[:, None] + length * xi[..., 3:]


def exp_so3(w):
    """Rotation matrices (..., 3, 3) of rotation vectors (..., 3) [rad] (Rodrigues' formula)."""
    angle = w.square().sum(-1).clamp_min(1e-16).sqrt()[..., None, None]
    zero = torch.zeros_like(w[..., 0])
    x, y, z = w.unbind(-1)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    eye = torch.eye(3, dtype=w.dtype, device=w.device)
    half = torch.sin(angle / 2) / angle
    return eye + torch.sin(angle) / angle * cross + 2 * half.square() * (cross @ cross)


def _column(value):
    return value[:, None] if torch.is_tensor(value) else value
