"""Registration pairs for training: two clouds that share no sample, and the pose between them."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from dlc_training.data.primitives import Box
from dlc_training.data.scene import Scene
from dlc_training.data.scene_pairs import fragment_pair, overlap, room_pair, scan_pair
from dlc_training.data.sensors import DepthCamera, looking_at
from dlc_training.data.solids import make_solid
from dlc_training.data.symmetry import symmetry_of

# Of each generated cloud.
FEWEST_POINTS = 300
_MOST_POINTS = 2500
_ATTEMPTS = 3
_CROPS = 10
# Share of the source that the target has too, within this share of the target's radius.
LEAST_OVERLAP, NEAR = 0.3, 0.08
_CROPS_NEAR = 0.08  # the same for solids in the unit sphere: the spacing of their sparsest cloud
# A cloud flatter than this is a bare wall, which tells no pose; a source smaller than this beside
# its target covers a handful of the target's keypoints.
_FLAT, _SMALL = 0.04, 0.3
_FEW_PARTS = 16


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
    :param kinds: mapping of kind (one of :data:`KINDS`) to its share. Where a sensor sees too
        little even in the third place it is put, the pair is a ``crop``.
    """
    rng = np.random.default_rng([seed, index])
    names = list(kinds)
    share = np.array([kinds[n] for n in names], float)
    kind = names[rng.choice(len(names), p=share / share.sum())]
    for _ in range(_ATTEMPTS):
        clouds = _MAKERS[kind](rng)
        if clouds is not None:
            return _scattered(rng, *clouds, kind)
    return _scattered(rng, *_crop(rng), 'crop')


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


def _solid(rng):
    """
    Draw a solid of training, one without symmetry if there is one among three.

    A symmetric one has several true poses, of which a pair names one: a loss that pulls away from
    the others teaches nothing. (One of many parts is hardly ever symmetric, and slow to tell.)
    """
    for _ in range(3):
        solid = make_solid(int(rng.integers(1_000_000)))
        if len(solid.parts) > _FEW_PARTS or symmetry_of(solid).trivial:
            break
    return solid


def _crop(rng):
    """Two samplings of a solid, each cropped by its own half-space, noisy, of other density."""
    solid = _solid(rng)
    sigma = 0.01 if rng.uniform() < 0.6 else rng.uniform(0.0, 0.025)
    for _ in range(_CROPS):
        clouds = _cropped(rng, solid, sigma)
        if overlap(*clouds, _CROPS_NEAR) >= LEAST_OVERLAP:
            break
    return clouds


def _cropped(rng, solid, sigma):
    """One try at what :func:`_crop` returns; opposite halves have next to nothing in common."""
    clouds = []
    for _ in range(2):
        count = 2048 if rng.uniform() < 0.6 else int(np.exp(rng.uniform(6.45, 8.0)))
        points, _ = solid.sample(count, rng)
        keep = rng.choice([0.7, 0.5, rng.uniform(0.5, 1.0)], p=[0.5, 0.2, 0.3])
        points = half_space_crop(points, keep, rng)
        clouds.append(points + _jitter(rng, points.shape, sigma))
    return clouds


def _view(rng):
    """A whole model, and what a depth camera sees of it among other things."""
    solid = _solid(rng)
    target, _ = solid.sample(int(rng.integers(1000, 2500)), rng)
    eye = rng.normal(size=3)
    eye *= rng.uniform(1.8, 5.0) / np.linalg.norm(eye)
    around, reach = [], 1.0
    if rng.uniform() < 0.5:
        around, reach = _surroundings(rng, target, eye), rng.uniform(1.0, 1.2)
    half_field = np.arcsin(min(reach / np.linalg.norm(eye), 0.8))
    camera = DepthCamera(
        width=44,
        height=44,
        field_deg=2 * np.degrees(half_field),
        near=0.1,
        far=20.0,
        noise=0.0,
        disparity_step=0.0,
        bleeding=rng.uniform(0.0, 0.1),
        dropout=rng.uniform(0.0, 0.2),
        grazing_deg=rng.uniform(3, 15),
    )
    pose = looking_at(eye, rng.normal(size=3) * 0.03)
    scan = camera.scan(Scene((solid, *around)), pose, rng)
    own = scan.parts == 0
    # Foreign points are at most a third: more of them is a matter for segmentation.
    foreign = rng.permutation(np.flatnonzero(~own))[: int(own.sum() * rng.uniform(0.05, 0.45))]
    points = np.concatenate([scan.points[own], scan.points[foreign]])
    if own.sum() < FEWEST_POINTS:
        return None
    points = rng.permutation(points)[: int(rng.integers(FEWEST_POINTS, 2000))]
    sigma = rng.uniform(0.0, 0.02)
    source = points @ pose[:3, :3].T + pose[:3, 3]
    return source + _jitter(rng, source.shape, sigma), target + _jitter(rng, target.shape, 0.005)


def _surroundings(rng, points, eye):
    """Things around a model: a plane that it stands on, other solids beside and behind it."""
    things = []
    if rng.uniform() < 0.7:
        up = rng.normal(size=3) + 0.3 * eye
        up /= np.linalg.norm(up)
        plane = Box(half=np.array([2.5, 2.5, 0.05]))
        turn = Rotation.align_vectors([up], [[0.0, 0.0, 1.0]])[0].as_matrix()
        things.append(plane.placed(turn, up * ((points @ up).min() - 0.05)))
    for _ in range(int(rng.integers(0, 4))):
        size = rng.uniform(0.15, 0.6)
        aside = rng.normal(size=3)
        aside *= rng.uniform(0.8, 1.3) / np.linalg.norm(aside)
        if aside @ eye > 0:  # in front it would hide most of the model
            aside -= 0.7 * (aside @ eye) / (eye @ eye) * eye
        thing = make_solid(int(rng.integers(1_000_000)))
        things.append(thing.scaled(size).placed(np.eye(3), aside))
    return things


def _of_scene(maker):
    """The maker of a pair of scene clouds, or of None where too little is seen of both."""

    def make(rng):
        source, target = (rng.permutation(cloud)[: _size(rng)] for cloud in maker(rng))
        if min(len(source), len(target)) < FEWEST_POINTS:
            return None
        own, spread = (np.linalg.eigvalsh(np.cov(cloud.T)) for cloud in (source, target))
        if own[0] < _FLAT**2 * own.sum() or spread[0] < _FLAT**2 * spread.sum():
            return None
        if own.sum() < _SMALL**2 * spread.sum():
            return None
        shared = overlap(source, target, NEAR * np.sqrt(spread.sum()))
        return (source, target) if shared >= LEAST_OVERLAP else None

    return make


_MAKERS = {
    'crop': _crop,
    'view': _view,
    'fragment': _of_scene(fragment_pair),
    'scan': _of_scene(scan_pair),
    'room': _of_scene(room_pair),
}


def _jitter(rng, shape, sigma):
    return np.clip(rng.normal(0, 1, shape) * sigma, -5 * sigma, 5 * sigma)


KINDS = tuple(_MAKERS)


def _size(rng):
    """Points at most of a scene's cloud; a fifth of the clouds are much thinner than others."""
    return _MOST_POINTS if rng.uniform() < 0.8 else int(np.exp(rng.uniform(5.75, 7.0)))


def _scattered(rng, source, target, kind):
    """Move both clouds anywhere, so that no coordinate carries a hint of the answer."""
    common = random_transform(rng, 0.0)
    truth = random_transform(rng, 0.5)
    target = target @ common[:3, :3].T
    moved = (source @ common[:3, :3].T - truth[:3, 3]) @ truth[:3, :3]
    return Pair(rng.permutation(moved), rng.permutation(target), truth, kind)
