"""Registration pairs for training: two clouds that share no sample, and the pose between them."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from dlc_training.data.rooms import make_room
from dlc_training.data.solids import make_solid

# Of each generated cloud.
FEWEST_POINTS = 300


@dataclass(frozen=True)
class Pair:
    """
    One registration problem.

    :param source: (N, 3) float64.
    :param target: (M, 3) float64, the reference.
    :param transform: (4, 4) ``T_target_source``.
    :param kind: how it was made.
    """

    source: np.ndarray
    target: np.ndarray
    transform: np.ndarray
    kind: str


def make_pair(seed, index, kinds):
    """
    Make one training pair.

    :param seed: of the data set; ``index`` of the pair in it. Equal numbers, equal pair.
    :param kinds: mapping of kind (``crop``, ``view``, ``room``) to its share.
    """
    rng = np.random.default_rng([seed, index])
    names = list(kinds)
    share = np.array([kinds[n] for n in names], float)
    kind = names[rng.choice(len(names), p=share / share.sum())]
    source, target = _MAKERS[kind](rng)
    return _scattered(rng, source, target, kind)


def half_space_crop(points, keep, rng):
    """The share ``keep`` of the points that lies farthest along a random direction."""
    direction = rng.normal(size=3)
    depth = points @ (direction / np.linalg.norm(direction))
    return points[depth >= np.quantile(depth, 1 - keep)]


def random_transform(rng, reach):
    """Uniform rotation and translation U[-reach, reach]^3 as (4, 4)."""
    transform = np.eye(4)
    transform[:3, :3] = Rotation.random(random_state=rng).as_matrix()
    transform[:3, 3] = rng.uniform(-reach, reach, 3)
    return transform


def _crop(rng):
    """Two samplings of a solid, each cropped by its own half-space, noisy, of other density."""
    solid = make_solid(int(rng.integers(1_000_000)))
    sigma = 0.01 if rng.uniform() < 0.6 else rng.uniform(0.0, 0.025)
    clouds = []
    for _ in range(2):
        count = 2048 if rng.uniform() < 0.6 else int(np.exp(rng.uniform(6.7, 7.8)))
        points, _ = solid.sample(count, rng)
        keep = 0.7 if rng.uniform() < 0.6 else rng.uniform(0.5, 1.0)
        points = half_space_crop(points, keep, rng)
        clouds.append(points + _jitter(rng, points.shape, sigma))
    return clouds


def _view(rng):
    """A whole model, and what one sensor sees of it, with clutter around."""
    solid = make_solid(int(rng.integers(1_000_000)))
    target, _ = solid.sample(int(rng.integers(1200, 2500)), rng)
    eye = rng.normal(size=3)
    eye *= rng.uniform(1.8, 5.0) / np.linalg.norm(eye)
    points, normals = solid.sample(4000, rng)
    points = points[_seen(rng, solid, eye, points, normals)]
    if len(points) < FEWEST_POINTS:
        return _crop(rng)
    points = points[: int(rng.integers(FEWEST_POINTS, 2000))]
    if rng.uniform() < 0.5:
        points = np.concatenate([points, _clutter(rng, points)])
    sigma = rng.uniform(0.0, 0.02)
    return points + _jitter(rng, points.shape, sigma), target + _jitter(rng, target.shape, 0.005)


def _room(rng):
    """A map seen from some places in a room, and one scan from another place."""
    solid, half = make_room(int(rng.integers(1_000_000)))
    points, normals = solid.sample(3000, rng)
    spots = [
        np.append(rng.uniform(-0.8, 0.8, 2) * half[:2], rng.uniform(0.4, 1.6))
        for _ in range(int(rng.integers(1, 4)))
    ]
    mapped = np.zeros(len(points), bool)
    for spot in spots:
        mapped |= solid.visible_from(spot, points, normals)
    eye = spots[0] + np.append(rng.normal(size=2) * 0.8, 0.1 * rng.normal())
    again, normals = solid.sample(3000, rng)
    seen = _seen(rng, solid, eye, again, normals)
    if rng.uniform() < 0.5:  # a camera's field of view instead of a full turn
        towards = again - eye
        heading = rng.normal(size=3) * (1, 1, 0.2)
        cosine = towards @ heading / np.linalg.norm(heading) / np.linalg.norm(towards, axis=1)
        seen &= cosine > np.cos(np.radians(rng.uniform(35, 70)))
    source, target = again[seen][:2048], points[mapped][:2500]
    if min(len(source), len(target)) < FEWEST_POINTS:
        return _crop(rng)
    sigma = rng.uniform(0.0, 0.03)
    return source + _jitter(rng, source.shape, sigma), target + _jitter(rng, target.shape, sigma)


_MAKERS = {'crop': _crop, 'view': _view, 'room': _room}


def _seen(rng, solid, eye, points, normals):
    """Points visible from the eye, thinned as a sensor thins: by distance and incidence."""
    ray = eye - points
    distance = np.linalg.norm(ray, axis=1)
    cosine = np.abs(np.einsum('ij,ij->i', ray, normals)) / distance
    density = cosine / distance**2
    density /= np.quantile(density, 0.8) + 1e-12
    visible = solid.visible_from(eye, points, normals)
    # Between no thinning (a cloud that was voxel-filtered) and that of the raw sensor.
    return visible & (rng.uniform(size=len(points)) < density ** rng.choice((0.0, 0.5, 1.0)))


def _clutter(rng, points):
    """Foreign points, up to 30 % of the cloud: a patch of a supporting plane, blobs of others."""
    count = int(len(points) * rng.uniform(0.02, 0.3))
    reach = np.abs(points - points.mean(0)).max()
    if rng.uniform() < 0.5:
        normal = rng.normal(size=3)
        normal /= np.linalg.norm(normal)
        lowest = (points @ normal).min()
        patch = rng.uniform(-1.2, 1.2, (count, 3)) * reach + points.mean(0)
        return patch + np.outer(lowest - patch @ normal, normal)
    centre = points[rng.integers(len(points))] + rng.normal(size=3) * 0.5 * reach
    other, _ = make_solid(int(rng.integers(1_000_000))).sample(count, rng)
    return centre + other * reach * rng.uniform(0.1, 0.5)


def _jitter(rng, shape, sigma):
    return np.clip(rng.normal(0, 1, shape) * sigma, -5 * sigma, 5 * sigma)


def _scattered(rng, source, target, kind):
    """Move both clouds anywhere, so that no coordinate carries a hint of the answer."""
    common = random_transform(rng, 0.0)
    truth = random_transform(rng, 0.5)
    target = target @ common[:3, :3].T
    moved = (source @ common[:3, :3].T - truth[:3, 3]) @ truth[:3, :3]
    return Pair(rng.permutation(moved), rng.permutation(target), truth, kind)
