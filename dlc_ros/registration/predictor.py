"""The learned pose predictor: descriptors once per cloud, starts, descent, ranking."""

from dataclasses import dataclass

import numpy as np
import torch

from dlc_ros.registration.energy import BETAS
from dlc_ros.registration.hypotheses import (
    agreeing_starts,
    centred_starts,
    cover_for_basin,
    distinct,
    prior_starts,
    rotation_cover,
)
from dlc_ros.registration.patches import extract_patches, network_scale
from dlc_ros.registration.weights import load_weights

# Hypotheses are ranked where a wrong pose is told from a right one best: sharp enough to see
# misfit, wide enough to forgive what the refinement will mend.
RANKING_BETA = BETAS[2]
_FEATURE_STARTS = 16
_DESCENDING = 8
# First betas of a descent from anywhere.
_COARSE = (BETAS[0], BETAS[1])
# Poses that are evaluated together on a CPU: their pairs of keypoints then fit its cache, and the
# allocator keeps the memory.
_AT_ONCE = 8
# Standard deviations [rad, network units] of a prior from whose mean alone it is descended.
_NEAR_ANGLE, _NEAR_LENGTH = 0.15, 0.1


@dataclass(frozen=True)
class Hypothesis:
    """A pose (4, 4) of the source and its energy at the ranking beta; lower is better."""

    transform: np.ndarray
    energy: float


@dataclass(frozen=True)
class Described:
    """A cloud as the network keeps it: encoded tensors, origin and scale of their units."""

    encoded: dict
    centre: np.ndarray
    scale: float


class Predictor:
    """
    Runs one network on one device.

    :param loaded: :class:`dlc_ros.registration.weights.LoadedWeights`, moved to ``device``.
    """

    def __init__(self, loaded, device='cpu'):
        self.loaded, self.device = loaded, torch.device(device)

    @classmethod
    def load(cls, path=None, device='cpu'):
        """Read a weights file (None: the shipped one); see :func:`load_weights` for errors."""
        return cls(load_weights(path, device), device)

    @torch.inference_mode()
    def describe(self, points, scale=None):
        """
        Encode a cloud.

        :param points: (N, 3) metres, local frame.
        :param scale: metres per network unit; None for a reference, that sets its own.
        """
        options = self.loaded.net.options
        scale = scale or network_scale(points)
        patches = extract_patches(points, scale, options.keypoints, options.neighbours)
        tensors = {
            name: torch.from_numpy(getattr(patches, name)[None]).to(self.device)
            for name in ('points', 'normals', 'sides', 'near', 'wide')
        }
        return Described(self.loaded.net.encode(tensors), patches.centre, patches.scale)

    @torch.inference_mode()
    def landscape(self, source, target):
        """Let two described clouds see each other; returns their :class:`Landscape`."""
        energy = self.loaded.net.match(source.encoded, target.encoded)
        return Landscape(energy, source, target, cover_for_basin(self.loaded.basin_deg))


class Landscape:
    """
    The energy over poses of one source in one target, poses in metres at the border.

    :param cover: of the rotations, for a descent without a prior; see :func:`rotation_cover`.
    """

    def __init__(self, energy, source, target, cover='cube'):
        self._energy, self._source, self._target = energy, source, target
        self._cover = cover

    @torch.inference_mode()
    def propose(self, prior=None, keep=4):
        """
        Descend from many starts and keep the best distinct ends.

        Starts are sets of agreeing correspondences, and a cover of all rotations without, poses
        inside the covariance with a prior. All take the coarse betas; what is worse than the
        best is dropped before the sharp ones, and so is what a prior rules out: the flip of a
        nearly symmetric thing must not take the place of what is allowed.

        :param prior: :class:`~dlc_ros.registration.prior.PosePrior` or None.
        :param keep: number of hypotheses at most.
        :return: list of :class:`Hypothesis`, best first.
        """
        if prior is None:
            groups = [(*self._centred(rotation_cover(self._cover)), _COARSE), self._agreeing()]
        else:
            groups = [self._inside(prior)]
            if self._wide(prior):
                groups.append(self._agreeing())
        return self._hypotheses(*self._best(self._energy, groups, prior, keep), prior)

    @torch.inference_mode()
    def propose_undecided(self, prior, keep=4):
        """
        Descend under a wide prior by geometry alone, as if all descriptors were alike.

        Those may have decided for one of several equal poses, and the prior for another.

        :returns: as :meth:`propose`; empty under a narrow prior.
        """
        if not self._wide(prior):
            return []
        inside = self._inside(prior)
        groups = [inside, (*self._centred(inside[0]), _COARSE)]
        ends = self._best(self._energy.undecided(), groups, prior, -(-keep // 2))
        return self._hypotheses(*ends, prior)

    def _inside(self, prior):
        """Poses inside the covariance of a prior, a group of starts."""
        starts = prior_starts(self._to_network(prior.transform[None])[0], prior.covariance)
        return (*self._on_device(starts), (BETAS[1], BETAS[1]))

    def _hypotheses(self, rotation, translation, prior):
        """Distinct ones of some poses that the prior allows, best first."""
        rotation, translation = self._allowed(rotation, translation, prior)
        values = self._value(self._energy, rotation, translation, RANKING_BETA)
        order = distinct(rotation, translation, values, len(values))
        transforms = self._to_metres(rotation[order], translation[order])
        return [Hypothesis(t, float(values[i])) for t, i in zip(transforms, order, strict=True)]

    def _on_device(self, tensors):
        return [tensor.to(self._energy.source.device) for tensor in tensors]

    def _centred(self, rotations):
        """Poses that turn the source as given and bring its centroid to the target's."""
        (rotations,) = self._on_device([rotations])
        return centred_starts(rotations, self._energy.source[0], self._energy.target[0])

    def _agreeing(self):
        """Poses by agreeing correspondences, a group of starts that needs no coarse descent."""
        return (*agreeing_starts(self._energy, _FEATURE_STARTS), ())

    def _best(self, energy, groups, prior, keep):
        """
        Descend from groups of starts and keep the best distinct ends that the prior allows.

        :param groups: of rotations (P, 3, 3), translations (P, 3) and the betas to begin with.
        """
        ends = [self._descend(energy, *start, betas) for *start, betas in groups]
        rotation, translation = map(torch.cat, zip(*ends, strict=True))
        stages = (((BETAS[1], BETAS[2]), max(_DESCENDING, keep)), ((BETAS[2], BETAS[3]), keep))
        for betas, left in stages:
            rotation, translation = self._allowed(rotation, translation, prior)
            # The first value is only used to prune: rank, keep the best distinct, then descend.
            values = self._value(energy, rotation, translation, betas[0])
            best = distinct(rotation, translation, values, left)
            rotation, translation = self._descend(energy, rotation[best], translation[best], betas)
        return rotation, translation

    @torch.inference_mode()
    def energies(self, transforms, beta=RANKING_BETA):
        """Energies (P,) of poses (P, 4, 4) in metres; lower is better."""
        return self._value(self._energy, *self._poses(transforms), beta).cpu().numpy()

    @torch.inference_mode()
    def support(self, transforms, beta=BETAS[-1]):
        """Support (P,) of poses (P, 4, 4) in metres, 0..1; see :meth:`MixtureEnergy.support`."""
        rotation, translation = self._poses(transforms)
        return self._energy.support(rotation[None], translation[None], beta)[0].cpu().numpy()

    @torch.inference_mode()
    def descend_network(self, transforms, betas):
        """Where the descent ends from poses (P, 4, 4), both in network units."""
        poses = torch.from_numpy(np.asarray(transforms, np.float32)).to(self._energy.source.device)
        rotation, translation = self._descend(
            self._energy, poses[:, :3, :3], poses[:, :3, 3], betas
        )
        out = np.tile(np.eye(4), (len(poses), 1, 1))
        out[:, :3, :3], out[:, :3, 3] = rotation.cpu().numpy(), translation.cpu().numpy()
        return out

    @torch.inference_mode()
    def value_network(self, rotation, translation, beta):
        """Energy (1, P) of poses (1, P, 3, 3), (1, P, 3) in network units, as training sees it."""
        return self._energy.value(rotation, translation, beta).cpu()

    def _poses(self, transforms):
        poses = torch.from_numpy(self._to_network(np.asarray(transforms, float)))
        poses = poses.float().to(self._energy.source.device)
        return poses[:, :3, :3], poses[:, :3, 3]

    def _allowed(self, rotation, translation, prior):
        """Those of the poses that a prior does not rule out; all where it rules out every one."""
        if prior is None:
            return rotation, translation
        poses = self._to_metres(rotation, translation)
        kept = [k for k, pose in enumerate(poses) if prior.plausible(pose)]
        return (rotation[kept], translation[kept]) if kept else (rotation, translation)

    def _wide(self, prior):
        """Whether a prior leaves more open than one descent from its mean covers."""
        sigma = np.sqrt(np.diag(prior.covariance))
        return sigma[3:].max() > _NEAR_ANGLE or sigma[:3].max() > _NEAR_LENGTH * self._target.scale

    def _descend(self, energy, rotation, translation, betas):
        ends = []
        for pose in self._batches(rotation, translation):
            for beta in betas:
                pose = energy.step(*pose, beta)
            ends.append(pose)
        rotations, translations = zip(*ends, strict=True)
        return torch.cat(rotations, 1)[0], torch.cat(translations, 1)[0]

    def _value(self, energy, rotation, translation, beta):
        batches = self._batches(rotation, translation)
        return torch.cat([energy.value(*pose, beta) for pose in batches], 1)[0]

    def _batches(self, rotation, translation):
        """Poses (P, ...) as pairs of (1, p, ...): all at once on a GPU, few at a time on a CPU."""
        size = _AT_ONCE if rotation.device.type == 'cpu' else max(len(rotation), 1)
        parts = zip(rotation.split(size), translation.split(size), strict=True)
        return [(part[0][None], part[1][None]) for part in parts]

    def _to_network(self, transforms):
        """Poses (P, 4, 4) between the clouds' frames -> between the networks' frames."""
        out = transforms.copy()
        moved = transforms[:, :3, :3] @ self._source.centre + transforms[:, :3, 3]
        out[:, :3, 3] = (moved - self._target.centre) / self._target.scale
        return out

    def _to_metres(self, rotation, translation):
        out = np.tile(np.eye(4), (len(rotation), 1, 1))
        rotation = _orthonormal(rotation.cpu().double().numpy())
        out[:, :3, :3] = rotation
        shift = translation.cpu().double().numpy() * self._target.scale + self._target.centre
        out[:, :3, 3] = shift - rotation @ self._source.centre
        return out


def _orthonormal(rotation):
    """Nearest rotations: single precision leaves (P, 3, 3) orthonormal to 1e-6 only."""
    u, _, vh = np.linalg.svd(rotation)
    return u @ vh
