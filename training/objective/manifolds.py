"""Where predictions live, and the path from a truth along a perturbation."""

import math
from dataclasses import dataclass
from numbers import Real

import torch

from dlc_ros.errors import ParameterError


@dataclass(frozen=True)
class Euclidean:
    """
    Plain vectors: ``move(truth, xi) = truth + radius * xi``.

    :param radius: how far a perturbation of length one lies from the truth: a number, or a
        tensor (D,) where the components have different units.
    :raises ParameterError: for a radius that is not above 0.
    """

    radius: float | torch.Tensor = 1.0

    def __post_init__(self):
        """Refuse what is no radius."""
        _check_radius('radius of Euclidean', self.radius)

    def size(self, truth):
        """
        Number of samples B and dimension D of a truth (B, D).

        :raises ParameterError: the truth is anything else, or not of the radius' dimension.
        """
        if not torch.is_tensor(truth) or truth.ndim != 2 or not truth.numel():
            raise ParameterError(
                f'the truth of Euclidean is a tensor (samples, dimension), got {_told(truth)}'
            )
        if torch.is_tensor(self.radius) and self.radius.shape not in ((), truth.shape[1:]):
            raise ParameterError(
                f'radius of Euclidean {_told(self.radius)} for a truth {_told(truth)}; give a '
                'number, or one a component'
            )
        return truth.shape[0], truth.shape[1]

    def move(self, truth, xi):
        """Truth (B, D) moved by xi (B, P, D) -> (B, P, D)."""
        return truth[:, None] + self.radius * xi

    def between(self, truth, predictions):
        """Perturbations (B, P, D) that move the truth (B, D) to predictions (B, P, D)."""
        return (predictions - truth[:, None]) / self.radius


@dataclass(frozen=True)
class RigidTransforms:
    """
    Rotations and translations of a source that is centred on its centroid.

    The path is ``R(lam) = exp(lam w) R*``, ``t(lam) = t* + lam v`` with ``xi = (w / angle,
    v / length)``: rotation about the cloud's own centre, so that a distant cloud is not swung
    by metres per degree.

    :param angle: [rad], number or tensor (P,): the angle of a perturbation of length one.
    :param length: network units, number or tensor (P,): the translation of length one.
    :raises ParameterError: for radii that are not above 0, or an angle of more than a turn.
    """

    angle: float | torch.Tensor
    length: float | torch.Tensor

    def __post_init__(self):
        """Refuse what are no radii; an angle of more than a turn is one in degrees."""
        _check_radius('angle [rad] of RigidTransforms', self.angle, 2 * math.pi)
        _check_radius('length of RigidTransforms', self.length)

    def size(self, truth):
        """
        Number of samples B and dimension of a truth (R (B, 3, 3), t (B, 3)).

        :raises ParameterError: the truth is anything else.
        """
        parts = truth if isinstance(truth, tuple) else (truth,)
        found = [tuple(part.shape) if torch.is_tensor(part) else None for part in parts]
        batch = found[0][0] if found and found[0] else 0
        if not batch or found != [(batch, 3, 3), (batch, 3)]:
            raise ParameterError(
                'the truth of RigidTransforms is a tuple of rotations (samples, 3, 3) and '
                f'translations (samples, 3), got {" and ".join(map(_told, parts)) or "none"}'
            )
        return batch, 6

    def move(self, truth, xi):
        """Truth (R (B, 3, 3), t (B, 3)) moved by xi (B, P, 6) -> (B, P, 3, 3), (B, P, 3)."""
        rotation, translation = truth
        with _exact(rotation):
            xi, rotation = _alike(xi, rotation[:, None])
            turn = exp_so3(_column(self.angle, xi) * xi[..., :3])
            return turn @ rotation, translation[:, None] + _column(self.length, xi) * xi[..., 3:]

    def between(self, truth, predictions):
        """Perturbations (B, P, 6) that move the truth to predictions (B, P, 3, 3), (B, P, 3)."""
        (rotation, translation), (turned, shifted) = truth, predictions
        with _exact(rotation):
            turned, rotation = _alike(turned, rotation[:, None])
            w = log_so3(turned @ rotation.transpose(-1, -2))
            v = shifted - translation[:, None]
            return torch.cat([w / _column(self.angle, w), v / _column(self.length, w)], -1)


def exp_so3(w):
    """Rotation matrices (..., 3, 3) of rotation vectors (..., 3) [rad] (Rodrigues' formula)."""
    angle = w.square().sum(-1).clamp_min(1e-16).sqrt()[..., None, None]
    zero = torch.zeros_like(w[..., 0])
    x, y, z = w.unbind(-1)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    eye = torch.eye(3, dtype=w.dtype, device=w.device)
    half = torch.sin(angle / 2) / angle
    return eye + torch.sin(angle) / angle * cross + 2 * half.square() * (cross @ cross)


def log_so3(rotation):
    """
    Rotation vectors (..., 3) [rad], at most pi long, of rotation matrices (..., 3, 3).

    By way of the unit quaternion, from the largest of its four components, so that it is exact
    at half turns too (Shepperd, "Quaternion from rotation matrix", 1978).
    """
    r = rotation
    trace = r.diagonal(dim1=-2, dim2=-1).sum(-1)
    x, y, z = r.diagonal(dim1=-2, dim2=-1).unbind(-1)
    squares = torch.stack([trace, 2 * x - trace, 2 * y - trace, 2 * z - trace], -1)  # 4 q^2 - 1
    across = r - r.transpose(-1, -2)
    sums = r + r.transpose(-1, -2)
    # Row k of this matrix is 4 q_k q, whichever k is divided by.
    rows = torch.stack(
        [
            1 + squares[..., 0], across[..., 2, 1], across[..., 0, 2], across[..., 1, 0],
            across[..., 2, 1], 1 + squares[..., 1], sums[..., 0, 1], sums[..., 0, 2],
            across[..., 0, 2], sums[..., 0, 1], 1 + squares[..., 2], sums[..., 1, 2],
            across[..., 1, 0], sums[..., 0, 2], sums[..., 1, 2], 1 + squares[..., 3],
        ],
        -1,
    ).unflatten(-1, (4, 4))  # fmt: skip
    best = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    q = rows.gather(-2, best).squeeze(-2)
    q = q / q.norm(dim=-1, keepdim=True)
    q = torch.where(q[..., :1] < 0, -q, q)
    sine = q[..., 1:].norm(dim=-1, keepdim=True)
    half = torch.atan2(sine, q[..., :1]).clamp_max(math.pi / 2)
    # As the angle vanishes, angle / sine goes to 2.
    return q[..., 1:] * torch.where(sine > 1e-12, 2 * half / sine.clamp_min(1e-12), 2.0)


def _exact(tensor):
    """Keep autocast out: in bfloat16 a rotation is off by a quarter of a degree."""
    return torch.autocast(tensor.device.type, enabled=False)


def _alike(first, second):
    """Two tensors in the wider of their types; matrices of different ones do not multiply."""
    dtype = torch.promote_types(first.dtype, second.dtype)
    return first.to(dtype), second.to(dtype)


def _column(value, beside):
    """A number as it is, a tensor (P,) as (P, 1) of the type of the tensor ``beside``."""
    return value[:, None].to(beside.dtype) if torch.is_tensor(value) else value


def _check_radius(name, value, most=math.inf):
    """Raise ParameterError unless a number, or all of a tensor, lie above 0 and up to ``most``."""
    if not isinstance(value, Real | torch.Tensor):
        raise ParameterError(f'{name} is a number or a tensor, got {_told(value)}')
    values = torch.as_tensor(value)
    if not bool(((values > 0) & (values <= most) & torch.isfinite(values)).all()):
        upper = f' and at most {most:.2f}' if math.isfinite(most) else ' and finite'
        raise ParameterError(f'{name} has to be above 0{upper}, got {value}')


def _told(value):
    """What a value is, in a message: the shape of a tensor, the type of anything else."""
    return str(tuple(value.shape)) if torch.is_tensor(value) else type(value).__name__
