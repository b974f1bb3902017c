"""Generated rooms: floor, walls and furniture, as one solid, in metres with z up."""

import numpy as np
from scipy.spatial.transform import Rotation

from dlc_training.data.primitives import Box
from dlc_training.data.solid import Solid
from dlc_training.data.solids import make_solid


def make_room(seed):
    """
    Make the room of this seed, floor at z = 0, centred on the origin.

    :param seed: integer >= 0; the same seed gives the same room.
    :return: the :class:`Solid`, and its half extents (3,) [m].
    """
    rng = np.random.default_rng([seed, 11])
    half = np.array([rng.uniform(1.5, 6.0), rng.uniform(1.5, 6.0), rng.uniform(1.1, 2.0)])
    parts = [Box(half=np.array([half[0], half[1], 0.05]))]
    wall = 0.05
    for axis in (0, 1):
        for side in (-1, 1):
            if rng.uniform() < 0.15:
                continue  # an open side: hall, window front
            size = np.array([half[0], half[1], half[2]])
            size[axis] = wall
            at = np.array([0.0, 0.0, half[2]])
            at[axis] = side * half[axis]
            parts.append(Box(half=size, translation=at))
    if rng.uniform() < 0.5:
        ceiling = np.array([0.0, 0.0, 2 * half[2]])
        parts.append(Box(half=np.array([half[0], half[1], 0.05]), translation=ceiling))
    for _ in range(rng.integers(2, 6)):
        parts.extend(_thing(rng, half))
    return Solid(tuple(parts)), half


def _thing(rng, half):
    """Parts of something that stands on the floor: a cupboard, a pillar, a generated solid."""
    where = rng.uniform(-0.9, 0.9, 2) * half[:2]
    turn = Rotation.from_euler('z', rng.choice((0, 0, 0, 0.25, 0.6)) * np.pi).as_matrix()
    if rng.uniform() < 0.45:
        size = rng.uniform(0.1, 0.8, 3)
        size[2] = min(size[2] * rng.uniform(0.5, 2.5), half[2])
        at = np.array([*where, size[2]])
        return [Box(half=size).placed(turn, at)]
    solid = make_solid(int(rng.integers(1 << 19)))
    size = rng.uniform(0.3, 1.0)
    lift = np.array([*where, 0.7 * size])
    return solid.scaled(size).placed(turn, lift).parts
