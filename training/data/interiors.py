"""Furnished rooms, kitchens, halls and corridors in metres: what stays, and what people move."""

from dataclasses import dataclass

import numpy as np

from dlc_training.data import furniture, household
from dlc_training.data.blocks import box, pillar, rod, turn
from dlc_training.data.countertops import kitchen_counter, reach_along, resolved, things_on
from dlc_training.data.primitives import Box
from dlc_training.data.solid import Solid

_BESIDE_WALLS = (
    furniture.cabinet,
    furniture.shelf,
    furniture.sofa,
    furniture.bed,
    furniture.table,
    household.curtain,
    household.plant,
    furniture.lamp,
)
_IN_THE_MIDDLE = (furniture.table, furniture.chair, furniture.chair, household.carton)


@dataclass(frozen=True, eq=False)
class Place:
    """
    Somewhere a sensor may be.

    :param fixed: tuple of solids that stay.
    :param movable: tuple of solids that people carry away, push or walk off with.
    :param half: (3,) half extents of the free space [m]; it reaches from -half to half in x and
        y and from 0 to 2 half in z.
    """

    fixed: tuple
    movable: tuple
    half: np.ndarray


def make_interior(rng):
    """Draw a furnished room, with a kitchen counter or without."""
    half = np.array([rng.uniform(1.3, 3.5), rng.uniform(1.3, 3.5), rng.uniform(1.15, 1.6)])
    fixed = _shell(rng, half)
    movable = []
    walls = list(rng.permutation(4))
    if rng.uniform() < 0.5:
        wall = walls.pop()
        kitchen, things = kitchen_counter(rng, half[1 - wall // 2])
        fixed += [_against(rng, solid, wall, 0.0, half) for solid in kitchen]
        movable += [_against(rng, solid, wall, 0.0, half) for solid in things]
    for wall in walls:
        along = -half[1 - wall // 2]
        while along < half[1 - wall // 2] - 0.4:
            maker = _BESIDE_WALLS[rng.integers(len(_BESIDE_WALLS))]
            piece = resolved(maker(rng))
            reach = reach_along(piece, 1)
            along += reach + rng.uniform(0.0, 0.5)
            if along + reach > half[1 - wall // 2] or rng.uniform() < 0.25:
                along += reach
                continue
            gap = rng.uniform(0.0, 0.1) + reach_along(piece, 0)
            fixed.append(_against(rng, piece, wall, along, half, gap))
            if rng.uniform() < 0.6:
                for thing in things_on(rng, piece):
                    movable.append(_against(rng, thing, wall, along, half, gap))
            along += reach
    for _ in range(int(rng.integers(1, 6))):
        maker = _IN_THE_MIDDLE[rng.integers(len(_IN_THE_MIDDLE))]
        piece = resolved(maker(rng))
        spin, at = (
            turn(rng.uniform(0, 2 * np.pi)),
            np.append(rng.uniform(-0.7, 0.7, 2) * half[:2], 0),
        )
        movable.append(piece.placed(spin, at))
        if maker is furniture.table:
            movable += [thing.placed(spin, at) for thing in things_on(rng, piece)]
    movable += _bystanders(rng, half, 0.25)
    return Place(tuple(fixed), tuple(movable), half)


def make_hall(rng):
    """Draw a warehouse or workshop: racks with pallets and cartons, columns, machines."""
    half = np.array([rng.uniform(5, 14), rng.uniform(4, 10), rng.uniform(2, 4)])
    fixed, movable = _shell(rng, half), []
    pitch = rng.uniform(2.6, 4.5)
    for y in np.arange(-half[1] + 1.0, half[1] - 0.8, pitch):
        start, end = rng.uniform(-0.95, -0.5) * half[0], rng.uniform(0.4, 0.95) * half[0]
        rack, goods = _rack(rng, start, end, y, rng.uniform(2.0, 1.7 * half[2]))
        fixed.append(rack)
        movable += goods
    for _ in range(int(rng.integers(0, 7))):
        at = np.append(rng.uniform(-0.9, 0.9, 2) * half[:2], 0.0)
        fixed.append(Solid((pillar(at, rng.uniform(0.1, 0.3), 2 * half[2]),)))
    for _ in range(int(rng.integers(2, 8))):
        at = np.append(rng.uniform(-0.9, 0.9, 2) * half[:2], 0.0)
        movable.append(_pallet(rng).placed(turn(rng.choice((0, np.pi / 2, 0.3))), at))
    movable += _bystanders(rng, half, 0.5)
    return Place(tuple(fixed), tuple(movable), half)


def make_corridor(rng):
    """Draw a corridor with door frames, niches, pipes, radiators and things left standing."""
    half = np.array([rng.uniform(5, 15), rng.uniform(0.8, 1.6), rng.uniform(1.15, 1.5)])
    fixed, movable = _shell(rng, half), []
    for side in (-1, 1):
        y = side * half[1]
        for x in np.arange(-half[0] + 0.8, half[0] - 0.8, rng.uniform(2.0, 4.0)):
            x = x + rng.uniform(-0.5, 0.5)
            style = rng.uniform()
            if style < 0.5:  # a door in its frame
                posts = [box((x + s * 0.5, y, 1.05), (0.06, 0.1, 1.05)) for s in (-1, 1)]
                posts.append(box((x, y, 2.1), (0.56, 0.1, 0.05)))
                if rng.uniform() < 0.3:
                    posts.append(box((x - 0.5, y - side * 0.4, 1.05), (0.02, 0.4, 1.0), 0.3))
                fixed.append(Solid(tuple(posts)))
            elif style < 0.65:
                fixed.append(Solid((box((x, y, 0.5), (0.5, 0.12, 0.3)),)))
            elif style < 0.75:
                fixed.append(Solid((box((x, y, half[2]), (0.25, 0.2, half[2])),)))
            elif style < 0.9:
                piece = resolved(furniture.cabinet(rng))
                spin = turn(-side * np.pi / 2)
                fixed.append(
                    piece.placed(spin, np.array([x, y - side * reach_along(piece, 0), 0.0]))
                )
        if rng.uniform() < 0.5:
            z = rng.uniform(0.8, 1.9) * half[2]
            fixed.append(Solid((rod((-half[0], y, z), (half[0], y, z), rng.uniform(0.03, 0.1)),)))
    for _ in range(int(rng.integers(1, 6))):
        maker = (furniture.chair, household.carton, household.plant, furniture.shelf)[
            rng.integers(4)
        ]
        at = np.append(rng.uniform(-0.9, 0.9, 2) * half[:2], 0.0)
        movable.append(resolved(maker(rng)).placed(turn(rng.uniform(0, 6.3)), at))
    movable += _bystanders(rng, half, 0.4)
    return Place(tuple(fixed), tuple(movable), half)


def _shell(rng, half):
    """Floor, ceiling and walls with openings, pillars, window sills and doors."""
    x, y, z = half
    solids = [Solid((box((0, 0, -0.05), (x + 0.3, y + 0.3, 0.05)),))]
    if rng.uniform() < 0.7:
        solids.append(Solid((box((0, 0, 2 * z + 0.05), (x + 0.3, y + 0.3, 0.05)),)))
    for wall in range(4):
        if rng.uniform() < 0.1:
            continue  # an open side
        axis, side = wall // 2, (-1, 1)[wall % 2]
        long = half[1 - axis]
        pieces = [(-long, long, 0.0, 2 * z)]
        if rng.uniform() < 0.5:  # a door or a window
            middle, wide = rng.uniform(-0.7, 0.7) * long, min(rng.uniform(0.4, 1.2), 0.5 * long)
            low = rng.choice((0.0, 0.9))
            pieces = [
                (-long, middle - wide, 0.0, 2 * z),
                (middle + wide, long, 0.0, 2 * z),
                (middle - wide, middle + wide, min(2.1, 1.7 * z), 2 * z),
            ]
            if low:
                pieces.append((middle - wide, middle + wide, 0.0, low))
        for first, last, low, high in pieces:
            if last - first < 0.05:
                continue
            size = np.array([0.05, 0.05, (high - low) / 2])
            at = np.array([0.0, 0.0, (high + low) / 2])
            size[1 - axis], at[1 - axis] = (last - first) / 2, (first + last) / 2
            at[axis] = side * (half[axis] + 0.05)
            solids.append(Solid((Box(translation=at, half=size),)))
        if rng.uniform() < 0.3:
            at = np.array([0.0, 0.0, z])
            at[axis], at[1 - axis] = side * half[axis], rng.uniform(-1, 1) * long
            solids.append(Solid((box(at, (rng.uniform(0.1, 0.3), rng.uniform(0.1, 0.3), z)),)))
        if rng.uniform() < 0.3:  # a picture, a board, a radiator
            at = np.array([0.0, 0.0, rng.uniform(0.4, 1.4) * z])
            at[axis], at[1 - axis] = side * half[axis], rng.uniform(-0.7, 0.7) * long
            size = np.array([0.0, 0.0, rng.uniform(0.2, 0.5)])
            size[axis], size[1 - axis] = rng.uniform(0.02, 0.1), rng.uniform(0.2, 0.7)
            solids.append(Solid((Box(translation=at, half=size),)))
    return solids


def _against(rng, solid, wall, along, half, gap=0.0):
    """Place a solid with its back against a wall, ``along`` metres from the wall's middle."""
    axis, side = wall // 2, (-1, 1)[wall % 2]
    at = np.zeros(3)
    at[axis], at[1 - axis] = side * (half[axis] - gap), along
    yaw = {(0, -1): 0.0, (0, 1): np.pi, (1, -1): np.pi / 2, (1, 1): -np.pi / 2}[axis, side]
    return solid.placed(turn(yaw), at)


def _rack(rng, start, end, y, high):
    """Shelving along x from ``start`` to ``end``: frames, beams, and goods on pallets."""
    deep = rng.uniform(0.35, 0.6)
    bays = max(int((end - start) / rng.uniform(1.6, 2.9)), 1)
    places = np.linspace(start, end, bays + 1)
    levels = np.arange(0.15, high, rng.uniform(0.6, 1.6))
    parts = [
        box((x, y + s * deep, high / 2), (0.05, 0.04, high / 2)) for x in places for s in (-1, 1)
    ]
    for z in levels:
        parts += [
            box(((start + end) / 2, y + s * deep, z), ((end - start) / 2, 0.025, 0.06))
            for s in (-1, 1)
        ]
    goods = []
    wide = (end - start) / bays
    for z in levels:
        for x in (places[:-1] + places[1:]) / 2:
            if rng.uniform() < 0.6:
                half = np.array(
                    [rng.uniform(0.2, 0.42) * wide, rng.uniform(0.5, 0.95) * deep, 0.0]
                )
                half[2] = rng.uniform(0.1, 0.5)
                shift = rng.uniform(-0.1, 0.1) * wide
                goods.append(Solid((box((x + shift, y, z + 0.06 + half[2]), half),)))
    return Solid(tuple(parts)), goods


def _pallet(rng):
    """A loaded pallet, a drum, a trolley."""
    style = rng.uniform()
    if style < 0.25:
        return Solid((pillar((0, 0, 0), rng.uniform(0.25, 0.35), rng.uniform(0.8, 1.0)),))
    parts = [box((0, 0, 0.12), (0.6, 0.4, 0.025))]
    parts += [box((0, y, 0.05), (0.6, 0.05, 0.05)) for y in (-0.35, 0, 0.35)]
    for _ in range(int(rng.integers(0, 6))):
        half = rng.uniform(0.1, 0.3, 3)
        at = np.append(rng.uniform(-0.3, 0.3, 2), 0.145 + half[2] * rng.choice((1, 2.5)))
        parts.append(box(at, half, rng.normal() * 0.05))
    if style > 0.8:
        parts.append(rod((-0.6, 0, 0.1), (-0.75, 0, 1.1), 0.02))
    return Solid(tuple(parts))


def _bystanders(rng, half, chance):
    """People who happen to be there."""
    people = []
    while rng.uniform() < chance and len(people) < 4:
        at = np.append(rng.uniform(-0.8, 0.8, 2) * half[:2], 0.0)
        people.append(household.person(rng).placed(turn(rng.uniform(0, 6.3)), at))
    return people
