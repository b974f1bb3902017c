"""The landscape that the run-time iteration descends: its basin, its rays, its hinges."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from dlc_ros.registration.energy import BETAS
from dlc_ros.registration.predictor import Predictor
from dlc_training.evaluate.ambiguity import is_ambiguous
from dlc_training.evaluate.crops import so3_crop_pair
from dlc_training.evaluate.pair import pose
from dlc_training.evaluate.statistics import wilson_interval
from dlc_training.evaluate.symmetry import find_symmetries, nearest_truth
from dlc_training.objective import RigidTransforms, hinge_terms

ANGLES = (15, 30, 45, 60, 75, 90, 120, 150, 180)
LENGTHS = (0.0, 0.25, 0.5)
# An end of the descent counts as the truth when the refinement takes it from there: within this
# many degrees, and this share of a network unit (the reference's rms radius is half a unit).
REACHED_DEG, REACHED_LENGTH = 15.0, 0.15
# Radius of the bowl asked for at each beta: what training asks for by default.
RADII_DEG, RADII_LENGTH = (180.0, 90.0, 45.0, 20.0), (0.5, 0.3, 0.15, 0.08)
# Steps after which the descent from the truth has settled.
_SETTLING = 12
_SCHEDULE = (BETAS[0], BETAS[1], BETAS[1], BETAS[2], BETAS[2], BETAS[3])


def measure_basin(weights, shapes, pairs=100, seed=0, starts=4):
    """
    Share of starts that the descent brings to the truth, by how far away they are.

    No features-only stage: every start descends the energy from the first beta on. Rotations
    are about the centroid of the source, translations in network units. As for every success, a
    pose that the shape's symmetry makes as true is reached too, and pairs whose crops leave the
    truth open are left out.

    :param weights: weights file; None for the shipped ones.
    :param shapes: as for :func:`so3_crop_pair`.
    :param pairs: number of pairs of ``so3-crop`` that are drawn.
    :param starts: random directions per pair and cell.
    :return: JSON-able dict: ``cells`` of angle, length, share, interval; ``radius_deg``, the
        largest angle up to which 95 % reach the truth at zero translation error; ``pairs``, how
        many of those drawn were clear.
    """
    predictor = Predictor.load(weights)
    hits = {(a, length): [] for a in ANGLES for length in LENGTHS}
    clear = 0
    for index in range(pairs):
        problem = _problem(predictor, shapes, index, seed, pairs)
        group = find_symmetries(shapes.dense(problem.drawn.shape))
        if is_ambiguous(problem.drawn, group):
            continue
        clear += 1
        truth, rng = problem.truth, problem.rng
        for angle, length in hits:
            perturbed = [_perturbed(truth, angle, length, rng) for _ in range(starts)]
            ends = problem.landscape.descend_network(np.array(perturbed), _SCHEDULE)
            hits[angle, length] += [_reached(end, problem.nearest(end, group)) for end in ends]
    cells = []
    for (angle, length), found in hits.items():
        low, high = wilson_interval(sum(found), len(found))
        share = float(np.mean(found)) if found else 0.0
        cells.append(
            {'angle_deg': angle, 'length': length, 'share': share, 'low': low, 'high': high}
        )
    radius = 0
    for cell in (c for c in cells if c['length'] == 0.0):
        if cell['share'] < 0.95:
            break
        radius = cell['angle_deg']
    return {'pairs': clear, 'starts': starts, 'radius_deg': radius, 'cells': cells}


def measure_rays(weights, shapes, pairs=100, seed=0, rays=4, steps=20, mu=1.0):
    """
    Rays from the truth at every beta: does the energy only rise within the beta's radius.

    :param rays: random rays per pair and beta; ``steps`` points on each.
    :param mu: strong convexity of the hinges that are counted.
    :return: list of JSON-able dicts by beta: ``radius_deg``; ``rising`` (share of rays on which
        the energy never falls by more than 0.1 % of its rise), ``rising_settled`` (likewise for
        rays that leave the energy's own minimum nearest to the truth, where its bias does not
        count), ``satisfied`` (share of growth and star hinges that are zero), ``curve`` (mean
        energy above the truth's at each step) and ``quartiles`` (lower and upper, likewise).
    """
    predictor = Predictor.load(weights)
    names = ('rising', 'rising_settled', 'satisfied', 'curve')
    found = [{name: [] for name in names} for _ in BETAS]
    generator = torch.Generator().manual_seed(seed)
    lam = torch.linspace(0, 1, steps)
    for index in range(pairs):
        problem = _problem(predictor, shapes, index, seed, pairs)
        landscape, truth = problem.landscape, problem.truth
        true = _tensors(truth[None])
        for beta, angle, length, row in zip(BETAS, RADII_DEG, RADII_LENGTH, found, strict=True):
            xi = torch.randn(rays, 2, 3, generator=generator)
            xi = xi / xi.norm(dim=-1, keepdim=True) * torch.rand(rays, 2, 1, generator=generator)
            xi = xi.flatten(1) / np.sqrt(2)
            path = (lam[None, :, None] * xi[:, None]).flatten(0, 1)[None]
            scale = np.sqrt(2)
            manifold = RigidTransforms(np.radians(angle) * scale, length * scale)
            settled = landscape.descend_network(truth[None], (beta,) * _SETTLING)
            for name, start in (('rising_settled', _tensors(settled)), ('rising', true)):
                energies = landscape.value_network(*manifold.move(start, path), beta)
                energies = energies.reshape(rays, steps)
                rise = energies - energies[:, :1]
                tolerance = 1e-3 * rise[:, -1:].abs()
                row[name] += ((rise.diff(dim=1) >= -tolerance).all(1)).tolist()
            terms = hinge_terms(
                energies[:, :1], energies[:, 1:-1], energies[:, -1:], lam[None, 1:-1],
                xi.square().sum(-1, keepdim=True), mu,
            )  # fmt: skip
            for name in ('growth', 'star'):
                row['satisfied'] += (terms[name] <= 0).flatten().tolist()
            row['curve'] += rise.tolist()
    return [
        {
            'beta': beta,
            'radius_deg': radius,
            'rising': float(np.mean(row['rising'])),
            'rising_settled': float(np.mean(row['rising_settled'])),
            'satisfied': float(np.mean(row['satisfied'])),
            'curve': np.mean(row['curve'], 0).tolist(),
            'quartiles': np.percentile(row['curve'], (25, 75), axis=0).tolist(),
        }
        for beta, radius, row in zip(BETAS, RADII_DEG, found, strict=True)
    ]


def measure_bias(weights, shapes, pairs=100, seed=0):
    """
    How far the minimum of the sharpest energy lies from the truth, on each pair.

    The descent starts at the truth, so this is the bias of the energy and no failure to find it.

    :return: JSON-able dict: ``angle_deg`` and ``length`` (network units), one number a pair.
    """
    predictor = Predictor.load(weights)
    angles, lengths = [], []
    for index in range(pairs):
        problem = _problem(predictor, shapes, index, seed, pairs)
        landscape, truth = problem.landscape, problem.truth
        (end,) = landscape.descend_network(truth[None], (BETAS[-1],) * _SETTLING)
        angles.append(_angle_deg(end, truth))
        lengths.append(float(np.linalg.norm(end[:3, 3] - truth[:3, 3])))
    return {'angle_deg': angles, 'length': lengths}


def slices(weights, shapes, pairs=2, seed=0, steps=41):
    """
    Two-dimensional cuts through the energy about the truth, at every beta.

    Across: a turn about a random axis, -180 to 180 deg; up: one about an axis at right angles to
    it. The same axes for every weights file.

    :return: JSON-able dict: ``angles_deg`` (S,) and ``energies`` [pair][beta] (S, S), each above
        the energy at the truth; rows are turns about the second axis.
    """
    predictor = Predictor.load(weights)
    angles = np.linspace(-180.0, 180.0, steps)
    across, up = (a.ravel() for a in np.meshgrid(np.radians(angles), np.radians(angles)))
    energies = []
    for index in range(pairs):
        problem = _problem(predictor, shapes, index, seed, pairs)
        landscape, truth = problem.landscape, problem.truth
        first, second = np.linalg.qr(problem.rng.normal(size=(3, 3)))[0][:2]
        turns = Rotation.from_rotvec(np.outer(across, first) + np.outer(up, second))
        rotation = torch.tensor(turns.as_matrix() @ truth[:3, :3])[None].float()
        shift = torch.tensor(truth[:3, 3]).float().expand(1, len(across), 3)
        true = torch.tensor(truth[None, None, :3, :3]).float(), shift[:, :1]
        cuts = []
        for beta in BETAS:
            value = landscape.value_network(rotation, shift, beta) - landscape.value_network(
                *true, beta
            )
            cuts.append(np.round(value.reshape(steps, steps).numpy(), 4).tolist())
        energies.append(cuts)
    return {'angles_deg': angles.tolist(), 'energies': energies}


@dataclass(frozen=True)
class _Problem:
    """
    One pair as the network sees it: lengths in its units, origins at the clouds' centroids.

    :param landscape: energy over poses.
    :param truth: (4, 4) true pose.
    :param drawn: the pair itself.
    :param frames: (4, 4) target and source frames of the network, in those of the pair; scaled.
    :param rng: numpy Generator of its own.
    """

    landscape: object
    truth: np.ndarray
    drawn: object
    frames: tuple
    rng: np.random.Generator

    def nearest(self, end, group):
        """True pose (4, 4) nearest to ``end``, of all that the symmetry of the shape allows."""
        target, source = self.frames
        estimate = target @ end @ np.linalg.inv(source)
        true = nearest_truth(self.drawn.truth, estimate, group, self.drawn.shape_pose)
        return np.linalg.inv(target) @ true @ source


def _problem(predictor, shapes, index, seed, pairs):
    """Pair ``index`` of ``so3-crop`` as a :class:`_Problem`."""
    drawn = so3_crop_pair(shapes, index, seed, pairs)
    target = predictor.describe(drawn.target)
    source = predictor.describe(drawn.source, target.scale)
    frames = tuple(
        pose(target.scale * np.eye(3), described.centre) for described in (target, source)
    )
    return _Problem(
        landscape=predictor.landscape(source, target),
        truth=np.linalg.inv(frames[0]) @ drawn.truth @ frames[1],
        drawn=drawn,
        frames=frames,
        rng=np.random.default_rng([seed, 3, index]),
    )


def _perturbed(truth, angle, length, rng):
    axis, shift = rng.normal(size=(2, 3))
    turn = Rotation.from_rotvec(np.radians(angle) * axis / np.linalg.norm(axis)).as_matrix()
    moved = pose(turn @ truth[:3, :3], truth[:3, 3] + length * shift / np.linalg.norm(shift))
    return moved


def _tensors(transforms):
    """Rotations (B, 3, 3) and translations (B, 3) of transforms (B, 4, 4), float32."""
    return (
        torch.tensor(transforms[:, :3, :3]).float(),
        torch.tensor(transforms[:, :3, 3]).float(),
    )


def _angle_deg(end, truth):
    return float(np.degrees(Rotation.from_matrix(end[:3, :3] @ truth[:3, :3].T).magnitude()))


def _reached(end, truth):
    return bool(
        _angle_deg(end, truth) < REACHED_DEG
        and np.linalg.norm(end[:3, 3] - truth[:3, 3]) < REACHED_LENGTH
    )
