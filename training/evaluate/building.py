"""A building of 50 m x 50 m, its map, and the scans of a robot that drives through it."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from dlc_training.data.interiors import make_hall
from dlc_training.data.scene import Scene
from dlc_training.data.scene_pairs import changed
from dlc_training.data.sensors import SpinningLidar
from dlc_training.data.solids import FIRST_EVALUATION_SEED
from dlc_training.evaluate.pair import apply, pose

SIDE = 50.0
MAP_POINTS = 500_000
SCAN_POINTS = 130_000
# Height of the sensor above the floor [m].
_HEIGHT = 1.0
_MAPPER = SpinningLidar(rings=64, columns=1024, lowest_deg=-40.0, highest_deg=25.0, near=0.3)
_SCANNER = SpinningLidar(rings=128, columns=1100, lowest_deg=-30.0, highest_deg=25.0, near=0.3)
# Places from which each hall is surveyed.
_SURVEYS = 6
# The robot's way between two scans, and while it goes through a door blind [m].
_STEP, _BLIND_STEP = 0.1, 0.3
# What the robot keeps to everything at the height of its sensor, and where that is looked at [m].
_CLEARANCE = 0.5
_LANES, _ALONG = 0.25, 0.1
_DIRECTIONS = 24


@dataclass(frozen=True)
class Building:
    """
    A map and what is measured in it.

    :param map: (500,000, 3) float32 [m].
    :param drive: list of (T_map_lidar (4, 4), scan (N, 3) float32): steps of 0.1 m along an aisle
        of each of several halls; between two halls steps of 0.3 m, where the scan is None.
    :param places: the same, somewhere in each hall.
    """

    map: np.ndarray
    drive: list
    places: list


def make_building(seed=0, rooms=3, steps=60, places=6):
    """
    Draw a building of halls with racks, side by side, from the evaluation range of seeds.

    :param seed: >= 0.
    :param rooms: halls that the drive goes through.
    :param steps: scans of the drive in each of them, at most.
    :param places: scans elsewhere.
    """
    rng = np.random.default_rng([FIRST_EVALUATION_SEED + seed, 50])
    halls = _halls(rng)
    share = -(-int(1.1 * MAP_POINTS) // len(halls))
    clouds, drive, elsewhere = [], [], []
    for number, (scene, half, centre) in enumerate(halls):
        stands = [_stand(rng, scene, half) for _ in range(_SURVEYS)]
        points = [apply(stand, _MAPPER.scan(scene, stand, rng).points) for stand in stands]
        clouds.append(rng.permutation(np.concatenate(points))[:share] + centre)
        if number < rooms:
            stands = _aisle(rng, scene, half, steps)
            if drive:
                drive += _blind(drive[-1][0], _placed(stands[0], centre))
            drive += [_scan(rng, scene, stand, centre) for stand in stands]
        if len(elsewhere) < places:
            elsewhere.append(_scan(rng, scene, _stand(rng, scene, half), centre))
    cloud = rng.permutation(np.concatenate(clouds))[:MAP_POINTS]
    return Building(cloud.astype(np.float32), drive, elsewhere)


def _halls(rng):
    """(scene, half size, centre) of halls that fill the side in rows."""
    halls, corner = [], np.zeros(3)
    while corner[1] < SIDE:
        corner[0], deepest = 0.0, 0.0
        while corner[0] < SIDE:
            hall = make_hall(rng)
            solids, _ = changed(rng, hall)
            centre = corner + [hall.half[0], hall.half[1], 0.0]
            halls.append((Scene(solids), hall.half, centre))
            corner[0] += 2.0 * hall.half[0] + 0.5
            deepest = max(deepest, 2.0 * hall.half[1] + 0.5)
        corner[1] += deepest
    return halls


def _stand(rng, scene, half):
    """Pose (4, 4) of an upright sensor where there is room for it in a hall."""
    at = None
    while at is None or not _clear(scene, [at])[0]:
        at = np.append(rng.uniform(-0.7, 0.7, 2) * half[:2], _HEIGHT)
    return pose(Rotation.from_euler('z', rng.uniform(0.0, 2.0 * np.pi)).as_matrix(), at)


def _aisle(rng, scene, half, steps):
    """Poses (4, 4) along the longest way between the racks, as far as the steps go."""
    lanes = np.arange(-half[1], half[1], _LANES)
    along = np.arange(-half[0], half[0], _ALONG)
    free = np.array([_clear(scene, [(x, y, _HEIGHT) for x in along]) for y in lanes])
    best = (0, 0, 0)  # points, lane, first
    for lane, row in enumerate(free):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row, [0]])))
        for first, end in edges.reshape(-1, 2):
            best = max(best, (end - first, lane, first))
    count, lane, first = best
    turn = Rotation.from_euler('z', rng.uniform(0.0, 2.0 * np.pi)).as_matrix()
    ways = along[first] + np.arange(0.0, count * _ALONG - 1e-9, _STEP)[:steps]
    return [pose(turn, (x, lanes[lane], _HEIGHT)) for x in ways]


def _clear(scene, places):
    """Whether nothing is near places (P, 3), (P,); inside of a thing its sides are near."""
    angles = np.arange(_DIRECTIONS) * (2.0 * np.pi / _DIRECTIONS)
    ways = np.column_stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)])
    origins = np.repeat(np.asarray(places), _DIRECTIONS, axis=0)
    ranges = scene.cast(origins, np.tile(ways, (len(places), 1)), 2.0 * _CLEARANCE).ranges
    return ranges.numpy().reshape(len(places), _DIRECTIONS).min(axis=1) >= _CLEARANCE


def _blind(start, end):
    """From a pose to another one without scans: list of (pose, None)."""
    turn = Rotation.from_matrix(start[:3, :3].T @ end[:3, :3]).as_rotvec()
    way = end[:3, 3] - start[:3, 3]
    count = int(np.ceil(np.linalg.norm(way) / _BLIND_STEP))
    return [
        (
            pose(
                start[:3, :3] @ Rotation.from_rotvec(s * turn).as_matrix(), start[:3, 3] + s * way
            ),
            None,
        )
        for s in np.arange(1, count) / count
    ]


def _placed(stand, centre):
    """A pose in a hall as one in the building."""
    placed = stand.copy()
    placed[:3, 3] += centre
    return placed


def _scan(rng, scene, stand, centre):
    points = _SCANNER.scan(scene, stand, rng).points
    kept = np.sort(rng.permutation(len(points))[:SCAN_POINTS])
    return _placed(stand, centre), points[kept].astype(np.float32)
