"""Where the descent starts: agreeing correspondences, covers of the rotations, a prior."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from dlc_ros.registration.energy import weighted_procrustes

# How far two keypoints that mean the same place may lie apart [network units]: their spacing.
_SAMPLING_ERROR = 0.1
_CORRESPONDENCES = 192
_MEMBERS = 24
# A rotation below this [rad] moves no keypoint out of the reach of the first beta.
_NOTICEABLE = 0.1


# Covers of all rotations by the rotations of a solid: scipy's name of the group, and the angle
# [deg] within which every rotation has one of them. Few starts first.
_COVERS = {'tetrahedron': ('T', 90.0), 'cube': ('O', 62.8), 'icosahedron': ('I', 44.5)}


def rotation_cover(name='cube'):
    """
    Rotations such that no rotation is far from all of them.

    :param name: ``tetrahedron`` (12, every rotation within 90 deg), ``cube`` (24, within 62.8
        deg), ``icosahedron`` (60, within 44.5 deg) or ``yaw`` (12 about z, within 15 deg).
    :return: (P, 3, 3) float32 tensor.
    """
    if name == 'yaw':
        matrices = Rotation.from_euler('z', np.arange(12)[:, None] * 30, degrees=True).as_matrix()
    else:
        matrices = Rotation.create_group(_COVERS[name][0]).as_matrix()
    return torch.from_numpy(matrices.astype(np.float32))


def cover_for_basin(radius_deg):
    """
    Name of the smallest cover from which the descent reaches every rotation.

    :param radius_deg: how far from the truth a start may be turned, as measured for the weights
        (``landscape.basin.radius_deg`` of the model card); None where nobody measured it.
    :return: name for :func:`rotation_cover`; ``cube`` for an unknown radius, the densest cover
        for one that none of them reaches.
    """
    if radius_deg is None:
        return 'cube'
    enough = [name for name, (_, reach) in _COVERS.items() if reach <= radius_deg]
    return enough[0] if enough else list(_COVERS)[-1]


def centred_starts(rotations, source, target):
    """Poses (P, 3, 3), (P, 3) that bring the centroid of the source to that of the target."""
    shift = target.mean(0) - (rotations @ source.mean(0))
    return rotations, shift


def agreeing_starts(energy, count):
    """
    Poses on which many correspondences agree.

    The best mutual affinities are taken as correspondences. Two of them agree when they keep
    their distance; sets of second order (pairs that agree and share many that agree with both)
    are grown around the best supported ones. After Chen et al., "SC2-PCR: A Second Order
    Spatial Compatibility for Efficient and Robust Point Cloud Registration", CVPR 2022.

    :param energy: :class:`MixtureEnergy` of one pair.
    :param count: how many poses, P.
    :return: rotations (P, 3, 3), translations (P, 3), best supported first.
    """
    affinity = energy.mutual_affinity()[0]
    columns = affinity.shape[1]
    score, index = affinity.flatten().topk(min(_CORRESPONDENCES, affinity.numel()))
    source = energy.source[0, index // columns]
    target = energy.target[0, index % columns]
    stretch = torch.cdist(source, source) - torch.cdist(target, target)
    agree = (1 - (stretch / (2 * _SAMPLING_ERROR)).square()).clamp_min(0)
    weight = score.sqrt() / score.sqrt().max().clamp_min(1e-12)
    second = agree * ((agree * weight) @ agree)
    support = second @ weight * weight
    # Each seed is the best supported one that the seeds before it do not explain.
    seeds = []
    left = support.clone()
    for _ in range(min(count, len(score))):
        best = int(left.argmax())
        seeds.append(best)
        left = left * (1 - agree[best])
        left[best] = -1
    member_weight, members = (second[seeds] * weight).topk(min(_MEMBERS, len(score)), -1)
    return weighted_procrustes(
        source[members], target[members], torch.diag_embed(member_weight + 1e-9)
    )


def prior_starts(transform, covariance):
    """
    The prior's mean, and turns of 0.75 and 1.5 standard deviations either way about each axis.

    An axis with a smaller standard deviation than :data:`_NOTICEABLE` is left alone.

    :param transform: (4, 4) network units.
    :param covariance: (6, 6), x y z roll pitch yaw.
    :return: rotations (P, 3, 3), translations (P, 3), float32 tensors.
    """
    sigma = np.sqrt(np.maximum(np.diag(covariance)[3:], 0))
    turns = [np.zeros(3)]
    for axis in range(3):
        for factor in (-1.5, -0.75, 0.75, 1.5):
            if sigma[axis] > _NOTICEABLE:
                turn = np.zeros(3)
                turn[axis] = factor * sigma[axis]
                turns.append(turn)
    rotations = Rotation.from_rotvec(np.array(turns)).as_matrix() @ transform[:3, :3]
    translations = np.repeat(transform[None, :3, 3], len(turns), 0)
    return (
        torch.from_numpy(rotations.astype(np.float32)),
        torch.from_numpy(translations.astype(np.float32)),
    )


def distinct(rotation, translation, energies, keep, angle_deg=15.0, length=0.15):
    """
    Indices of the best ``keep`` poses, none within both distances of a better one.

    :param rotation: (P, 3, 3); ``translation`` (P, 3) of a source near the origin.
    :param energies: (P,), lower is better.
    """
    order = energies.argsort().tolist()
    cosine = np.cos(np.radians(angle_deg))
    trace = torch.einsum('pij,qij->pq', rotation, rotation)
    near = ((trace - 1) / 2 > cosine) & (torch.cdist(translation, translation) < length)
    chosen = []
    for index in order:
        if not any(near[index, other] for other in chosen):
            chosen.append(index)
        if len(chosen) == keep:
            break
    return chosen
