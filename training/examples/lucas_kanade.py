"""
2-D Lucas-Kanade alignment of images from two sensors, with and without landscape shaping.

``python -m dlc_training.examples.lucas_kanade`` trains a small feature extractor once for each
objective and tells how far away the unchanged iteration may start, and how exact it ends.

The iteration is inverse compositional (Baker and Matthews, "Lucas-Kanade 20 Years On", IJCV
2004) on learned features, the task that of Zhang et al., "PRISE", CVPR 2023, in small: the
template is a grey image; the other image shows the same scene under a similarity transform, with
another, nonlinear brightness, a shading and noise. A warp is ``p = (a, b, x, y)``: the point z of
the complex plane goes to ``(1 + a + ib) z + x + iy``; units are half widths of the template.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from dlc_training.examples.study import main
from dlc_training.objective import Euclidean

SIZE = 32  # template [pixels]; the other image is half as large again
REACH = 1.5
# A perturbation of length one: 0.5 in turn and scale (27 deg, 50 %), 0.5 half widths (8 pixels).
MANIFOLD = Euclidean(radius=0.5)


@dataclass(frozen=True)
class Images:
    """
    One batch.

    :param template: (B, 1, 32, 32); ``image`` (B, 1, 48, 48).
    :param truth: (B, 4) warps of the template's points into the image.
    :param start: (B, 4) warps that the iteration starts from.
    """

    template: torch.Tensor
    image: torch.Tensor
    truth: torch.Tensor
    start: torch.Tensor


class LucasKanade(nn.Module):
    """Learned features of both images, and the iteration that aligns them."""

    def __init__(self, channels=8, damping=1e-2):
        super().__init__()
        self.damping = damping
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2), nn.ELU(),
            nn.Conv2d(16, 16, 3, padding=2, dilation=2), nn.ELU(),
            nn.Conv2d(16, channels, 3, padding=1),
        )  # fmt: skip

    def extract(self, images):
        """Features (B, C, h, w) whose mean is zero and whose mean square over an image is one."""
        features = self.features(_standardised(images))
        features = features - features.mean((2, 3), keepdim=True)
        return features / features.square().mean((1, 2, 3), keepdim=True).add(1e-6).sqrt()

    def energy(self, batch):
        """
        Energy of warps, as a function: (B, P, 4) -> (B, P).

        Half the mean squared difference of features, over the template; what :meth:`align`
        descends.
        """
        template, image = self.extract(batch.template), self.extract(batch.image)
        return lambda warps: _residual(template, image, warps).square().mean((2, 3)) / 2

    def align(self, batch, start, iterations):
        """
        Warps (B, 4) after each Gauss-Newton iteration from ``start`` (B, 4), as a list.

        The template's steepest descent images and Hessian stay the same all along.
        """
        template, image = self.extract(batch.template), self.extract(batch.image)
        steepest = _steepest_descent(template)  # (B, C * n, 4)
        hessian = steepest.transpose(1, 2) @ steepest
        ridge = self.damping * hessian.diagonal(dim1=1, dim2=2).mean(-1)
        hessian = hessian + ridge[:, None, None] * torch.eye(4)
        path = []
        for _ in range(iterations):
            residual = _residual(template, image, start[:, None])[:, 0].flatten(1)
            step = torch.linalg.solve(hessian, (steepest.transpose(1, 2) @ residual[..., None]))
            start = compose(start, inverse(step.squeeze(-1).clamp(-0.5, 0.5)))
            path.append(start)
        return path

    def task_loss(self, batch):
        """Robust distance of the corners after every iteration; later ones weigh more."""
        path = self.align(batch, batch.start, 6)
        weights = [0.5 ** (len(path) - k) for k in range(len(path))]
        errors = [corner_error(warp, batch.truth) for warp in path]
        robust = [(error / (error + 0.25)).mean() for error in errors]
        return sum(w * e for w, e in zip(weights, robust, strict=True)) / sum(weights)

    def evaluate(self, batch, starts):
        """Corner error [pixels of the template] (B,) where 30 iterations end."""
        with torch.no_grad():
            return SIZE / 2 * corner_error(self.align(batch, starts, 30)[-1], batch.truth)


def compose(first, second):
    """Warp (..., 4) that applies ``second``, then ``first``."""
    a, b = 1 + first[..., 0], first[..., 1]
    c, d = 1 + second[..., 0], second[..., 1]
    x, y = second[..., 2], second[..., 3]
    return torch.stack(
        [
            a * c - b * d - 1,
            a * d + b * c,
            a * x - b * y + first[..., 2],
            a * y + b * x + first[..., 3],
        ],
        -1,
    )


def inverse(warp):
    """Warp (..., 4) that undoes ``warp``."""
    a, b, x, y = (warp + warp.new_tensor([1.0, 0, 0, 0])).unbind(-1)
    square = a.square() + b.square()
    a, b = a / square, -b / square
    return torch.stack([a - 1, b, b * y - a * x, -b * x - a * y], -1)


def moved(warp, points):
    """Points (n, 2) moved by warps (..., 4) -> (..., n, 2)."""
    a, b, x, y = (value[..., None] for value in warp.unbind(-1))
    u, v = points.unbind(-1)
    return torch.stack([(1 + a) * u - b * v + x, b * u + (1 + a) * v + y], -1)


def corner_error(warp, truth):
    """Mean distance (B,) of the template's corners between two warps [half widths]."""
    corners = torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
    return (moved(warp, corners) - moved(truth, corners)).norm(dim=-1).mean(-1)


def make_batch(size, generator, spread=0.6):
    """
    Pairs of images that nobody has seen; starts up to ``spread`` radii from the truth.

    :return: :class:`Images`.
    """
    scene = _Scene(size, generator)
    truth = 0.15 * torch.randn(size, 4, generator=generator).clamp(-2, 2)
    template = scene(_grid(SIZE).expand(size, -1, -1, -1))
    # Point q of the image shows what the template shows at the inverse warp of q.
    seen = REACH * _grid(SIZE * 3 // 2)
    back = moved(inverse(truth), seen.flatten(0, 1)).unflatten(1, seen.shape[:2])
    other = _second_sensor(scene(back), generator)
    start = perturbed(truth, spread * torch.rand(size, 1, generator=generator), generator)
    return Images(_noisy(template, generator), other, truth, start)


def perturbed(truth, length, generator):
    """Warps (B, 4) ``length`` radii (a number or (B, 1)) away from the truth."""
    xi = torch.randn(truth.shape, generator=generator)
    xi = length * xi / xi.norm(dim=-1, keepdim=True)
    return MANIFOLD.move(truth, xi[:, None])[:, 0]


class _Scene:
    """Grey values anywhere in the plane: waves of several lengths under soft-edged patches."""

    def __init__(self, size, generator, waves=12, patches=6):
        def rand(*shape):
            return torch.rand(size, *shape, generator=generator)

        angle, length = 2 * math.pi * rand(waves), 0.4 * 5 ** rand(waves)
        self.wave = torch.stack([angle.cos(), angle.sin()], -1) * (2 * math.pi / length)[..., None]
        self.phase, self.height = 2 * math.pi * rand(waves), length.sqrt()
        self.centre, self.radius = 3 * rand(patches, 2) - 1.5, 0.15 + 0.35 * rand(patches)
        self.tone = 4 * rand(patches) - 2

    def __call__(self, points):
        """Points (B, h, w, 2) -> (B, 1, h, w)."""
        phase = torch.einsum('bhwx,bkx->bhwk', points, self.wave) + self.phase[:, None, None]
        grey = (self.height[:, None, None] * phase.sin()).sum(-1) / 3
        away = (points[..., None, :] - self.centre[:, None, None]).norm(dim=-1)
        inside = torch.sigmoid((self.radius[:, None, None] - away) / 0.03)
        return (grey + (self.tone[:, None, None] * inside).sum(-1))[:, None]


def _second_sensor(grey, generator):
    """Brightness folded, perhaps inverted, a shading across the image, noise."""
    size, _, height, width = grey.shape

    def rand(low, high):
        return low + (high - low) * torch.rand(size, 1, 1, 1, generator=generator)

    sign = torch.where(rand(0, 1) < 0.5, -1.0, 1.0)
    grey = sign * torch.tanh(_standardised(grey) + rand(-0.5, 0.5))
    along = _grid(height)[None, None, ..., 0] * rand(-0.5, 0.5)
    across = _grid(width)[None, None, ..., 1] * rand(-0.5, 0.5)
    return _noisy(grey + along + across, generator)


def _noisy(images, generator):
    return images + 0.1 * torch.randn(images.shape, generator=generator)


def _standardised(images):
    spread, mean = torch.std_mean(images, (1, 2, 3), keepdim=True)
    return (images - mean) / spread.clamp_min(1e-6)


def _grid(size):
    """Pixel centres (size, size, 2) as (x, y) in -1..1."""
    side = (2 * torch.arange(size) + 1) / size - 1
    return torch.stack(torch.meshgrid(side, side, indexing='xy'), -1)


def _residual(template, image, warps):
    """Feature differences (B, P, C, n) between the image under the warps and the template."""
    places = moved(warps, _grid(SIZE).flatten(0, 1)) / REACH  # (B, P, n, 2)
    seen = functional.grid_sample(image, places, align_corners=False, padding_mode='border')
    return seen.transpose(1, 2) - template.flatten(2)[:, None]


def _steepest_descent(template):
    """Derivatives (B, C * n, 4) of the template's features by the warp, at the identity."""
    padded = functional.pad(template, (1, 1, 1, 1), mode='replicate')
    scale = SIZE / 4  # two pixels are 4 / SIZE half widths
    dx = scale * (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]).flatten(2)
    dy = scale * (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]).flatten(2)
    u, v = _grid(SIZE).flatten(0, 1).unbind(-1)
    columns = [dx * u + dy * v, dy * u - dx * v, dx, dy]
    return torch.stack(columns, -1).flatten(1, 2)


if __name__ == '__main__':
    main(
        '2-D Lucas-Kanade', LucasKanade, make_batch, perturbed, MANIFOLD, 'corner error [px]', 1.0
    )
