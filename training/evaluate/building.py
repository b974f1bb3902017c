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


@dataclass(frozen=True)
class Building:
    """
    A map and what is measured in it.

    :param map: (500,000, 3) float32 [m].
    :param drive: list of (T_map_lidar (4, 4), scan (N, 3) float32): steps of 0.1 m along a line.
    :param places: the same, somewhere in each hall.
    """

    map: np.ndarray
    drive: list
    places: list


def make_building(seed=0, steps=20, places=6):
    """
    Draw a building of halls with racks, side by side, from the evaluation range of seeds.

    :param seed: >= 0.
    :param steps: scans of the drive.
    :param places: scans elsewhere.
    """
    rng = np.random.default_rng([FIRST_EVALUATION_SEED + seed, 50])
    halls = _halls(rng)
    share = -(-int(1.1 * MAP_POINTS) // len(halls))
    clouds, drive, elsewhere = [], [], []
    for number, (scene, half, centre) in enumerate(halls):
        points = [np.zeros((0, 3))]
        while sum(map(len, points)) < share:
            stand = _stand(rng, half)
            points.append(apply(stand, _MAPPER.scan(scene, stand, rng).points) + centre)
        clouds.append(np.concatenate(points)[:share])
        if number == 0:
            start = _stand(rng, 0.5 * half)
            for step in range(steps):
                at = start.copy()
                at[:3, 3] += 0.1 * step * start[:3, 0]
                drive.append(_scan(rng, scene, at, centre))
        if len(elsewhere) < places:
            elsewhere.append(_scan(rng, scene, _stand(rng, half), centre))
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


def _stand(rng, half):
    """Pose (4, 4) of an upright sensor in a hall."""
    at = np.append(rng.uniform(-0.7, 0.7, 2) * half[:2], _HEIGHT)
    return pose(Rotation.from_euler('z', rng.uniform(0.0, 2.0 * np.pi)).as_matrix(), at)


def _scan(rng, scene, stand, centre):
    points = _SCANNER.scan(scene, stand, rng).points
    kept = np.sort(rng.permutation(len(points))[:SCAN_POINTS])
    placed = stand.copy()
    placed[:3, 3] += centre
    return placed, points[kept].astype(np.float32)
