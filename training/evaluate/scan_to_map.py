"""``scan-to-map``: one LiDAR scan in a map that was surveyed on another pass."""

from functools import lru_cache

import numpy as np
from scipy.spatial.transform import Rotation

from dlc_training.data.interiors import make_corridor, make_hall, make_interior
from dlc_training.data.outdoors import make_outdoors
from dlc_training.data.scene import Scene
from dlc_training.data.scene_pairs import changed
from dlc_training.data.sensors import SpinningLidar
from dlc_training.data.solids import FIRST_EVALUATION_SEED
from dlc_training.evaluate.pair import EVERYTHING, Pair, Prior, apply, pose

# Yaw error of the start [deg]; the last bin has no start at all.
YAW_BINS = (0.0, 15.0, 30.0, 60.0, 90.0, 135.0, 180.0, np.inf)
LARGEST_SHIFT = 10.0  # of the start [m]
PAIRS_PER_MAP = 4
KINDS = ('hall', 'floor', 'corridor', 'street')
_STANDS = 8
_MAPPER = SpinningLidar(rings=64, columns=1024, lowest_deg=-40.0, highest_deg=20.0, near=0.3)
_SCANNER = SpinningLidar(rings=32, columns=1024, lowest_deg=-25.0, highest_deg=15.0, near=0.3)


class Maps:
    """
    Places of the evaluation range of seeds, and their maps.

    Every fourth is a hall with racks, a furnished floor of six rooms, a corridor, and a street or
    open place. Map ``index`` of evaluation seed ``s`` is drawn from the numbers
    ``(FIRST_EVALUATION_SEED + s, index)``.

    :param seed: of the evaluation, >= 0.
    """

    label = 'generated places'

    def __init__(self, seed):
        self._seed = FIRST_EVALUATION_SEED + seed

    def name(self, index):
        """Name of map ``index``."""
        return f'{KINDS[index % 4]}_{index}'

    def surveyed(self, index):
        """See :func:`_surveyed`."""
        return _surveyed(self._seed, index, KINDS[index % 4])


@lru_cache(maxsize=2)
def _surveyed(seed, index, kind):
    """
    One place, mapped once and visited later, when some of what can be moved has moved.

    :return: map (M, 3) float32; the :class:`Scene` of the later visit; list of (low, high)
        corners in x and y where a robot may stand.
    """
    rng = np.random.default_rng([seed, index])
    before, after, areas = _place(rng, kind)
    scene, clouds = Scene(before), []
    for number in range(_STANDS):
        stand = _stand(rng, areas[number % len(areas)])
        points = _MAPPER.scan(scene, stand, rng).points
        clouds.append(apply(stand, points))
    cloud = np.concatenate(clouds)
    return cloud.astype(np.float32), Scene(after), areas


def _place(rng, kind):
    if kind != 'floor':
        make = {'hall': make_hall, 'corridor': make_corridor, 'street': make_outdoors}[kind]
        place = make(rng)
        share = 0.5 if kind == 'street' else 0.85
        reach = share * place.half[:2]
        return *changed(rng, place), [(-reach, reach)]
    before, after, areas = [], [], []
    corner = np.zeros(2)
    for _row in range(2):
        corner[0] = 0.0
        deepest = 0.0
        for _ in range(3):
            room = make_interior(rng)
            centre = corner + room.half[:2] + 0.3
            at = np.append(centre, 0.0)
            for solids, own in zip((before, after), changed(rng, room), strict=True):
                solids += [solid.placed(np.eye(3), at) for solid in own]
            areas.append((centre - 0.7 * room.half[:2], centre + 0.7 * room.half[:2]))
            corner[0] += 2 * room.half[0] + 0.6
            deepest = max(deepest, 2 * room.half[1] + 0.6)
        corner[1] += deepest
    return tuple(before), tuple(after), areas


def _stand(rng, area):
    """Pose (4, 4) of an upright sensor somewhere in an area."""
    at = np.append(rng.uniform(*area), rng.uniform(0.8, 1.6))
    tilt = np.radians(1.0) * rng.normal(size=2)
    return pose(Rotation.from_euler('zyx', (rng.uniform(0, 2 * np.pi), *tilt)).as_matrix(), at)


def repeated_rooms(index, seed):
    """
    A map of two equal rooms far apart, and a scan taken in one of them.

    Drawn again while more than 1 % of the scan lies outside of its room: what is seen through a
    door tells the rooms apart.

    :return: source (n, 3), target (m, 3) float32.
    """
    rng = np.random.default_rng([FIRST_EVALUATION_SEED + seed, 1_000_000 + index])
    while True:
        room = make_interior(rng)
        reach = 0.7 * room.half[:2]
        solids = (*room.fixed, *room.movable)
        scene = Scene(solids)
        stand = _stand(rng, (-reach, reach))
        source = _SCANNER.scan(scene, stand, rng).points
        outside = np.abs(apply(stand, source)[:, :2]) > room.half[:2] + 0.4
        if len(source) > 2000 and outside.any(axis=1).mean() < 0.01:
            break
    aside = np.array((4 * room.half[0] + 5.0, 0.0, 0.0))
    clouds = []
    for number in range(6):
        there = _stand(rng, (-reach, reach))
        seen = apply(there, _SCANNER.scan(scene, there, rng).points)
        inside = (np.abs(seen[:, :2]) <= room.half[:2] + 0.4).all(axis=1)
        clouds.append(seen[inside] + (number % 2) * aside)
    return source.astype(np.float32), np.concatenate(clouds).astype(np.float32)


def scan_to_map_pair(maps, index, seed, pairs_per_bin):
    """
    Draw pair ``index`` of ``scan-to-map``.

    The map holds 8 scans of a 64-ring LiDAR (at least 50,000 points, at most half a million); the
    source is one scan of a 32-ring LiDAR elsewhere in the place, up to 30,000 points, after up to
    80 % of what can be moved was moved, taken away or brought. The bin is the yaw error of the
    start, whose position is off by up to 10 m, within the map; its covariance says so. In the
    last bin there is no start.

    :param maps: :class:`Maps`.
    :return: :class:`Pair`, lengths in metres.
    """
    yaw = YAW_BINS[index // pairs_per_bin]
    which = index // PAIRS_PER_MAP
    target, scene, areas = maps.surveyed(which)
    rng = np.random.default_rng([seed, 8, index])
    for _ in range(20):
        truth = _stand(rng, areas[rng.integers(len(areas))])
        source = _SCANNER.scan(scene, truth, rng).points
        if len(source) > 2000:
            break
    prior = None
    if np.isfinite(yaw):
        size = np.ptp(target[:, :2], axis=0).min()
        away, side = rng.uniform(0, min(LARGEST_SHIFT, 0.5 * size)), rng.uniform(0, 2 * np.pi)
        turn = np.radians(yaw * rng.choice((-1, 1)))
        start = pose(
            Rotation.from_euler('z', turn).as_matrix() @ truth[:3, :3],
            truth[:3, 3] + away * np.array((np.cos(side), np.sin(side), 0.0)),
        )
        shift = max(away, 1.0) / np.sqrt(2)
        tilt = np.radians(2.0)
        spread = np.array((shift, shift, 0.1, tilt, tilt, np.radians(max(yaw, 5.0))))
        prior = Prior(start, np.diag(spread**2))
    return Pair(
        index=index,
        bin=yaw,
        shape=which,
        source=source.astype(np.float32),
        target=target,
        truth=truth,
        shape_pose=np.eye(4),
        clean=target,
        source_plane=EVERYTHING,
        target_plane=EVERYTHING,
        prior=prior,
    )
