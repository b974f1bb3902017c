"""What stands on counters, tables and shelves: kitchens, and small things on boards."""

import numpy as np

from dlc_training.data import household
from dlc_training.data.blocks import box, pillar, rod, turn
from dlc_training.data.primitives import Box
from dlc_training.data.solid import Solid

_SMALL = (
    household.bottle,
    household.vessel,
    household.books,
    household.carton,
    household.heap,
    household.plant,
    household.radio,
    household.screen,
)


def kitchen_counter(rng, reach):
    """A kitchen along y, its back at x = 0: counter, sink, tap, wall cupboards, tall units."""
    deep, high = rng.uniform(0.28, 0.34), rng.uniform(0.84, 0.95)
    long = min(reach * rng.uniform(0.7, 1.0), 2.5)
    base = box((deep, 0, high / 2), (deep, long, high / 2))
    top = box((deep + 0.02, 0, high), (deep + 0.02, long, 0.02))
    basin = rng.uniform(-0.7, 0.7) * long
    cut = box((deep, basin, high), (0.2, rng.uniform(0.2, 0.4), 0.18))
    solids = [Solid((base, top), (cut,))]
    tap = np.array([0.08, basin, high])
    head = tap + (0, 0, 0.25)
    extras = [rod(tap, head, 0.018), rod(head, head + (0.2, 0, -0.02), 0.015)]
    doors = int(rng.integers(2, 6))
    for y in (2 * (np.arange(doors) + 0.5) / doors - 1) * long:
        extras.append(
            box((2 * deep + 0.01, y, 0.5 * high), (0.01, 0.92 * long / doors, 0.4 * high))
        )
        extras.append(box((2 * deep + 0.03, y, 0.85 * high), (0.015, 0.1, 0.01)))
    first = -long
    while first < long:  # cupboards on the wall, a hood, open boards
        wide = rng.uniform(0.2, 0.5)
        style = rng.uniform()
        if style < 0.6:
            low = rng.uniform(1.35, 1.55)
            extras.append(box((0.17, first + wide, low + 0.35), (0.17, 0.98 * wide, 0.35)))
        elif style < 0.7:
            extras.append(box((0.25, first + wide, 1.6), (0.25, wide, 0.05)))
            extras.append(box((0.12, first + wide, 1.9), (0.12, 0.12, 0.3)))
        elif style < 0.85:
            for z in (1.4, 1.75):
                extras.append(box((0.11, first + wide, z), (0.11, wide, 0.012)))
                for y in rng.uniform(-0.8, 0.8, 3) * wide:
                    tall = rng.uniform(0.08, 0.25)
                    extras.append(
                        pillar((0.1, first + wide + y, z), rng.uniform(0.03, 0.06), tall)
                    )
        first += 2 * wide
    if rng.uniform() < 0.4:
        side = rng.choice((-1, 1))
        tall = rng.uniform(1.6, 2.1)
        extras.append(box((deep, side * (long + 0.3), tall / 2), (deep, 0.3, tall / 2)))
    if rng.uniform() < 0.5:  # a hob
        y = rng.uniform(-0.7, 0.7) * long
        extras += [
            pillar((deep + dx, y + dy, high + 0.02), 0.08, 0.015)
            for dx in (-0.13, 0.13)
            for dy in (-0.13, 0.13)
        ]
    solids.append(Solid(tuple(extras)))
    things = []
    for y in np.arange(-0.95 * long, 0.95 * long, rng.uniform(0.15, 0.4)):
        if abs(y - basin) > 0.35:
            at = np.array([rng.uniform(0.4, 1.6) * deep, y + rng.normal() * 0.04, high + 0.02])
            things.append(_small_thing(rng).placed(turn(rng.uniform(0, 6.3)), at))
    return solids, things


def _small_thing(rng):
    return resolved(_SMALL[rng.integers(len(_SMALL))](rng))


def things_on(rng, piece):
    """Small things on the widest board of a piece of furniture."""
    boards = [
        p for p in piece.parts if isinstance(p, Box) and p.half[0] > 0.15 and p.half[1] > 0.2
    ]
    if not boards:
        return []
    board = max(boards, key=lambda p: p.half[0] * p.half[1] + 0.2 * p.translation[2])
    height = board.translation[2] + board.half[2]
    things = []
    for _ in range(int(rng.integers(0, 6))):
        at = board.translation[:2] + rng.uniform(-0.85, 0.85, 2) * board.half[:2]
        thing = _small_thing(rng)
        things.append(thing.placed(turn(rng.uniform(0, 6.3)), np.append(at, height)))
    return things


def resolved(solid):
    """Without what a sensor does not resolve in a room: hollows of small things."""
    return Solid(solid.parts) if solid.cuts and reach_along(solid, 2) < 0.6 else solid


def reach_along(solid, axis):
    """Largest coordinate of the bounding boxes of a solid's parts along an axis."""
    return max(p.translation[axis] + _extent(p, axis) for p in solid.parts)


def _extent(primitive, axis):
    row = primitive.rotation[axis]
    if hasattr(primitive, 'half'):
        return float(abs(row) @ primitive.half)
    radius = max(primitive.bottom, primitive.top)
    return float(abs(row[2]) * primitive.height / 2 + np.hypot(row[0], row[1]) * radius)
