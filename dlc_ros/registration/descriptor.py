"""The network: pose-invariant descriptors of keypoints, attention within and across two clouds."""

from dataclasses import asdict, dataclass

import torch
from torch import nn
from torch.nn import functional

from dlc_ros.registration.energy import MixtureEnergy

# Below this length [network units] a side vector says nothing about inside and outside.
_SIDE_NOISE = 0.03


# Smallest and largest value of each option: a card cannot ask for more than about 200 MB.
_LIMITS = {
    'width': (8, 512),
    'heads': (1, 16),
    'layers': (1, 12),
    'keypoints': (16, 1024),
    'neighbours': (4, 128),
    'affinity_width': (4, 512),
}


@dataclass(frozen=True)
class NetOptions:
    """
    Architecture: what must agree between a weights file and the network that reads it.

    :raises ValueError: for a value out of its limits; one line.
    """

    width: int = 96
    heads: int = 4
    layers: int = 3
    keypoints: int = 160
    neighbours: int = 32
    affinity_width: int = 64

    def __post_init__(self):
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise ValueError(f'{name} must be {low} to {high}, got {value!r:.40}')
        if self.width % 2 or self.width % self.heads:
            raise ValueError(
                f'width must be even and a multiple of heads ({self.heads}), got {self.width}'
            )


class DescriptorNet(nn.Module):
    """
    Two sets of patches in, the energy of their relative pose out.

    Every input is turned into numbers that do not change when a cloud is moved: a neighbourhood
    is read in the frame of its keypoint's normal and side vector, attention sees how two
    keypoints lie to each other. Signs that the cloud does not determine (which way a normal
    points on a thin plate) fade out smoothly instead of flipping.

    Shape letters: B pairs, N keypoints, S neighbours, C channels, H heads.
    """

    def __init__(self, options=None):
        super().__init__()
        self.options = options or NetOptions()
        o = self.options
        self.local = nn.ModuleList([_Neighbourhood(o.width // 2) for _ in range(2)])
        self.embed = nn.Sequential(nn.Linear(o.width, o.width), nn.LayerNorm(o.width))
        self.relation = nn.Sequential(nn.Linear(_RELATIONS, 24), nn.ReLU())
        self.bias = nn.Linear(24, o.heads * o.layers)
        self.blocks = nn.ModuleList([_Block(o.width, o.heads) for _ in range(o.layers)])
        self.norm = nn.LayerNorm(o.width)
        self.affinity = nn.Linear(o.width, o.affinity_width, bias=False)
        self.log_temperature = nn.Parameter(torch.tensor(0.0))
        self.outlier = nn.Linear(o.width, 1)

    @classmethod
    def from_description(cls, description):
        """Rebuild the network of :meth:`description`."""
        return cls(NetOptions(**description))

    def description(self):
        """Plain dict that names the architecture."""
        return asdict(self.options)

    def encode(self, patches):
        """
        Everything that one cloud contributes on its own; cached for a reference.

        :param patches: dict of tensors ``points`` (B, N, 3), ``normals`` (B, N, 3), ``sides``
            (B, N, 3), ``near`` and ``wide`` (B, N, S, 3).
        :return: dict with ``points``, ``features`` (B, N, C), ``relations`` (B, N, N, 24) and the
            attention biases ``bias`` (layers tuple of (B, H, N, N)).
        """
        frame, trust = _frames(patches['normals'], patches['sides'])
        features = torch.cat(
            [
                encoder(patches[name], frame, patches['normals'])
                for encoder, name in zip(self.local, ('near', 'wide'), strict=True)
            ],
            -1,
        )
        relations = self.relation(
            _relations(patches['points'], frame, patches['normals'], patches['sides'], trust)
        )
        biases = self.bias(relations).permute(0, 3, 1, 2).chunk(self.options.layers, 1)
        return {
            'points': patches['points'],
            'features': self.embed(features),
            'relations': relations,
            'bias': biases,
        }

    def match(self, source, target):
        """
        Let two encoded clouds see each other.

        :return: :class:`dlc_ros.registration.energy.MixtureEnergy` of the pose of the source.
        """
        fs, ft = source['features'], target['features']
        for layer, block in enumerate(self.blocks):
            fs = block.within(fs, source['bias'][layer], source['relations'])
            ft = block.within(ft, target['bias'][layer], target['relations'])
            fs, ft = block.across(fs, ft), block.across(ft, fs)
        fs, ft = self.norm(fs), self.norm(ft)
        qs, qt = (functional.normalize(self.affinity(f), dim=-1) for f in (fs, ft))
        # Half precision is for the network; the landscape is always single precision.
        logits = (10 * self.log_temperature.exp() * qs @ qt.transpose(-1, -2)).float()
        return MixtureEnergy(
            source['points'],
            target['points'],
            logits.softmax(-1),
            logits.softmax(-2),
            self.outlier(fs).squeeze(-1).float().sigmoid(),
            self.outlier(ft).squeeze(-1).float().sigmoid(),
        )

    def forward(self, source, target):
        """:meth:`match` of the :meth:`encode` of both; see there for shapes."""
        return self.match(self.encode(source), self.encode(target))


_RELATIONS = 21


def _frames(normals, sides):
    """
    Soft local frames.

    :return: (B, N, 3, 3), rows: normal towards the outside, side vector within the surface, and
        their cross product, each shrunk towards zero where the cloud does not determine it; and
        (B, N, 1) how far the outside is known, 0..1.
    """
    height = (normals * sides).sum(-1, keepdim=True)
    trust = height / (height.square() + _SIDE_NOISE**2).sqrt()
    outward = normals * trust
    along = sides - normals * height
    along = along / (along.square().sum(-1, keepdim=True) + _SIDE_NOISE**2).sqrt()
    return torch.stack([outward, along, torch.linalg.cross(outward, along)], -2), trust.abs()


def _relations(points, frame, normals, sides, trust):
    """How keypoint j lies to keypoint i, as (B, N, N, 21) numbers that no motion changes."""
    offset = points[:, None] - points[:, :, None]  # [i, j] = p_j - p_i
    distance = offset.square().sum(-1, keepdim=True).add(1e-8).sqrt()
    direction = offset / (distance + 0.05)
    from_i = torch.einsum('bnax,bnmx->bnma', frame, direction)
    from_j = torch.einsum('bmax,bnmx->bnma', frame, direction)
    tilt_i = torch.einsum('bnx,bnmx->bnm', normals, direction).abs()
    tilt_j = torch.einsum('bmx,bnmx->bnm', normals, direction).abs()
    between = torch.einsum('bnx,bmx->bnm', normals, normals).abs()
    outward = torch.einsum('bnx,bmx->bnm', frame[:, :, 0], frame[:, :, 0])
    side = torch.einsum('bnx,bmx->bnm', sides, sides)
    centres = torch.linspace(0.0, 1.5, 8, device=points.device, dtype=points.dtype)
    radial = torch.exp(-((distance - centres) ** 2) / (2 * 0.2**2))
    known = trust * trust.transpose(1, 2)
    rest = torch.stack([tilt_i, tilt_j, between, outward, side, known], -1)
    return torch.cat([radial, from_i, from_j, rest, distance], -1)


class _Neighbourhood(nn.Module):
    """PointNet over the neighbours of each keypoint, read in the keypoint's own frame."""

    def __init__(self, width):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2 * width))
        self.outer = nn.Sequential(nn.ReLU(), nn.Linear(2 * width, width))

    def forward(self, offsets, frame, normals):
        """Offsets (B, N, S, 3), frame (B, N, 3, 3), normals (B, N, 3) -> (B, N, C)."""
        offsets = 5 * offsets  # about one network input unit at the rim of a neighbourhood
        seen = torch.einsum('bnax,bnsx->bnsa', frame, offsets)
        height = torch.einsum('bnx,bnsx->bns', normals, offsets).abs()[..., None]
        square = offsets.square().sum(-1, keepdim=True)
        flat = (square - height.square()).clamp_min(0).add(1e-6).sqrt()
        inputs = torch.cat([seen, height, flat, square, seen[..., 1:].abs()], -1)
        return self.outer(self.inner(inputs).amax(-2))


class _Block(nn.Module):
    """Attention within a cloud (with the geometry between keypoints), then across, then an MLP."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm_within = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.geometry = nn.Linear(24 * heads, width, bias=False)
        self.out_within = nn.Linear(width, width)
        self.norm_across = nn.LayerNorm(width)
        self.q, self.kv = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out_across = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )

    def _split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def within(self, features, bias, relations):
        q, k, v = map(self._split, self.qkv(self.norm_within(features)).chunk(3, -1))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + bias
        weights = scores.softmax(-1)  # (B, H, N, N)
        gathered = (weights @ v).transpose(1, 2).flatten(-2)
        seen = (weights.transpose(1, 2) @ relations).flatten(-2)  # (B, N, H * 24)
        return features + self.out_within(gathered) + self.geometry(seen)

    def across(self, features, other):
        q = self._split(self.q(self.norm_across(features)))
        k, v = map(self._split, self.kv(self.norm_across(other)).chunk(2, -1))
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        seen = (weights @ v).transpose(1, 2).flatten(-2)
        features = features + self.out_across(seen)
        return features + self.mlp(self.norm_mlp(features))
