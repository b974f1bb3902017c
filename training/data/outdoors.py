"""Streets, yards and parks in metres: ground, house fronts, trees, poles, cars, people."""

import numpy as np

from dlc_training.data import vehicles
from dlc_training.data.blocks import ball, box, rod, turn
from dlc_training.data.household import person
from dlc_training.data.interiors import Place
from dlc_training.data.solid import Solid


def make_outdoors(rng):
    """Draw a street or an open place; what drives and walks may move."""
    half = np.array([rng.uniform(15, 45), rng.uniform(8, 30), 4.0])
    fixed = [Solid((box((0, 0, -0.5), (2.5 * half[0], 2.5 * half[1], 0.5)),))]
    fixed += _relief(rng, half)
    movable = []
    for side in (-1, 1):
        style, x = rng.uniform(), -half[0] * rng.uniform(0.9, 1.3)
        while x < half[0]:
            long = rng.uniform(3, 12)
            x += long
            if style < 0.7 and rng.uniform() < 0.8:
                front = vehicles.building_front(rng, long)
                back = half[1] + rng.uniform(0, 3)
                spin = turn(0.0 if side > 0 else np.pi)
                fixed.append(front.placed(spin, np.array([x, side * back, 0.0])))
            elif style < 0.85:
                hedge = (long, rng.uniform(0.1, 0.6), rng.uniform(0.4, 1.2))
                fixed.append(Solid((box((x, side * half[1], hedge[2]), hedge),)))
            x += long + (0.0 if rng.uniform() < 0.4 else rng.uniform(1, 6))
        for x in np.arange(-half[0], half[0], rng.uniform(4, 15)):
            at = np.array([x + rng.normal(), side * half[1] * rng.uniform(0.55, 0.9), 0.0])
            maker = vehicles.tree if rng.uniform() < 0.6 else vehicles.pole
            fixed.append(maker(rng).placed(turn(rng.uniform(0, 6.3)), at))
        for x in np.arange(-half[0], half[0], rng.uniform(5, 8)):
            if rng.uniform() < 0.5:
                at = np.array([x + rng.normal() * 0.4, side * half[1] * rng.uniform(0.3, 0.5), 0])
                spin = turn(rng.choice((0, np.pi)) + rng.normal() * 0.05)
                movable.append(vehicles.car(rng).placed(spin, at))
    for _ in range(int(rng.integers(0, 6))):
        at = np.append(rng.uniform(-0.8, 0.8, 2) * half[:2] * (1, 0.5), 0.0)
        movable.append(person(rng).placed(np.eye(3), at))
    return Place(tuple(fixed), tuple(movable), half)


def _relief(rng, half):
    """Curbs, mounds, a ramp, fences: ground is seldom a plane."""
    solids = []
    if rng.uniform() < 0.6:
        for side in (-1, 1):
            curb = (2 * half[0], 0.35 * half[1], rng.uniform(0.05, 0.2))
            solids.append(Solid((box((0, side * half[1] * rng.uniform(0.85, 1.0), 0), curb),)))
    for _ in range(int(rng.integers(0, 5))):
        at = np.append(rng.uniform(-1, 1, 2) * half[:2], 0.0)
        size = (rng.uniform(2, 9), rng.uniform(2, 9), rng.uniform(0.1, 1.2))
        solids.append(Solid((ball(at, size, rng.uniform(0, 6.3)),)))
    if rng.uniform() < 0.3:
        y, long = rng.uniform(-1, 1) * half[1], half[0] * rng.uniform(0.3, 1)
        rails = [rod((-long, y, z), (long, y, z), 0.04) for z in (0.4, 0.9)]
        posts = [rod((x, y, 0), (x, y, 1.0), 0.05) for x in np.arange(-long, long, 2.5)]
        solids.append(Solid((*rails, *posts)))
    return solids
