"""Families of generated solids: what robots meet, in the rough; each maker draws one member."""

import numpy as np
from scipy.spatial.transform import Rotation

from dlc_training.data import furniture, household, vehicles
from dlc_training.data.primitives import Box, Ellipsoid, Frustum, Torus
from dlc_training.data.solid import Solid


def _random_rotation(rng):
    return Rotation.random(random_state=rng).as_matrix()


def _axis_rotation(rng):
    """One of the 24 rotations that keep the coordinate axes."""
    axes = np.eye(3)[rng.permutation(3)] * rng.choice((-1, 1), (3, 1))
    return axes * np.linalg.det(axes)


def _random_primitive(rng, size):
    kind = rng.choice(5, p=(0.38, 0.27, 0.12, 0.11, 0.12))
    aspect = rng.uniform(0.25, 1.0, 3)
    if kind == 0:
        if rng.uniform() < 0.4:
            aspect[rng.integers(3)] *= 0.2
        return Box(half=size * aspect)
    if kind == 1:
        radius = size * rng.uniform(0.12, 0.7)
        return Frustum(bottom=radius, top=radius, height=size * rng.uniform(0.3, 2.0))
    if kind == 2:
        return Frustum(
            bottom=size * rng.uniform(0.3, 0.8),
            top=size * rng.uniform(0.05, 0.5),
            height=size * rng.uniform(0.4, 1.6),
        )
    if kind == 3:
        return Torus(major=size * rng.uniform(0.45, 0.8), minor=size * rng.uniform(0.08, 0.25))
    return Ellipsoid(half=size * aspect)


def _attached(rng, parts, primitive, rotation):
    """Place a primitive so that its centre lies on the surface of one of the parts."""
    host = parts[rng.integers(len(parts))]
    points, _ = host.sample(1, rng)
    return primitive.placed(rotation, points[0])


def _cluster(rng):
    """Primitives of falling size grown on each other, anyhow turned; some cut."""
    parts = [_random_primitive(rng, 1.0).placed(_random_rotation(rng), np.zeros(3))]
    aligned = rng.uniform() < 0.4
    for _ in range(rng.integers(2, 8)):
        turn = _axis_rotation(rng) if aligned else _random_rotation(rng)
        parts.append(_attached(rng, parts, _random_primitive(rng, rng.uniform(0.3, 0.9)), turn))
    cuts = [
        _attached(rng, parts, _random_primitive(rng, rng.uniform(0.3, 0.6)), _axis_rotation(rng))
        for _ in range(rng.integers(0, 3))
    ]
    return Solid(tuple(parts), tuple(cuts))


def _machined(rng):
    """A plate or block with bosses, ribs, a bent flange and drilled holes."""
    half = np.array([rng.uniform(0.6, 1.0), rng.uniform(0.4, 0.9), rng.uniform(0.06, 0.35)])
    parts, cuts = [Box(half=half)], []
    if rng.uniform() < 0.6:  # flange at one edge
        height = rng.uniform(0.3, 0.9)
        thick = rng.uniform(0.05, 0.15)
        flange = Box(half=np.array([thick, half[1] * rng.uniform(0.5, 1.0), height / 2]))
        parts.append(flange.placed(np.eye(3), [half[0] - thick, 0, half[2] + height / 2]))
        if rng.uniform() < 0.6:
            hole = Frustum(bottom=0.2 * height, top=0.2 * height, height=1.0)
            turn = Rotation.from_euler('y', 90, degrees=True).as_matrix()
            where = [half[0], rng.uniform(-0.4, 0.4) * half[1], half[2] + height * 0.55]
            cuts.append(hole.placed(turn, np.array(where)))
    for _ in range(rng.integers(1, 5)):  # bosses and ribs on top
        where = rng.uniform(-0.75, 0.75, 2) * half[:2]
        tall = rng.uniform(0.15, 0.8)
        at = np.array([*where, half[2] + tall / 2])
        if rng.uniform() < 0.6:
            r = rng.uniform(0.08, 0.35)
            boss = Frustum(bottom=r, top=r * rng.uniform(0.6, 1.0), height=tall)
            parts.append(boss.placed(np.eye(3), at))
            if rng.uniform() < 0.5:
                bore = Frustum(bottom=0.55 * r, top=0.55 * r, height=3.0)
                cuts.append(bore.placed(np.eye(3), np.array([*where, 0.0])))
        else:
            rib = Box(half=np.array([rng.uniform(0.1, 0.5), rng.uniform(0.03, 0.1), tall / 2]))
            turn = Rotation.from_euler('z', rng.uniform(0, np.pi)).as_matrix()
            parts.append(rib.placed(turn, at))
    for _ in range(rng.integers(0, 5)):  # holes through the plate
        r = rng.uniform(0.05, 0.2)
        hole = Frustum(bottom=r, top=r, height=4 * half[2])
        cuts.append(hole.placed(np.eye(3), np.array([*(rng.uniform(-0.8, 0.8, 2) * half[:2]), 0])))
    return Solid(tuple(parts), tuple(cuts))


def _furniture(rng):
    """A seat or table top on legs or a foot, with a back, arms or shelves: mirrored in y."""
    w, d, h = rng.uniform(0.4, 1.0), rng.uniform(0.4, 1.0), rng.uniform(0.3, 1.0)
    thick = rng.uniform(0.03, 0.15)
    parts = [Box(half=np.array([w, d, thick]))]
    if rng.uniform() < 0.7:
        r, inset = rng.uniform(0.03, 0.1), rng.uniform(0.75, 1.0)
        for sx in (-1, 1):
            for sy in (-1, 1):
                leg = Frustum(bottom=r * rng.uniform(0.5, 1.0), top=r, height=h)
                if rng.uniform() < 0.5:
                    leg = Box(half=np.array([r, r, h / 2]))
                at = np.array([sx * (w - r) * inset, sy * (d - r) * inset, -h / 2])
                parts.append(leg.placed(np.eye(3), at))
    else:
        column = Frustum(bottom=0.08, top=rng.uniform(0.04, 0.12), height=h)
        foot = Frustum(bottom=0.5 * w, top=0.4 * w, height=0.08)
        parts.append(column.placed(np.eye(3), np.array([0, 0, -h / 2])))
        parts.append(foot.placed(np.eye(3), np.array([0, 0, -h])))
    if rng.uniform() < 0.7:  # back
        tall, lean = rng.uniform(0.4, 1.1), rng.uniform(-0.3, 0.0)
        back = Box(half=np.array([rng.uniform(0.03, 0.1), d, tall / 2]))
        turn = Rotation.from_euler('y', lean).as_matrix()
        parts.append(back.placed(turn, np.array([-w, 0, tall / 2])))
    if rng.uniform() < 0.5:  # arms
        for sy in (-1, 1):
            arm = Box(half=np.array([w * 0.8, 0.06, rng.uniform(0.1, 0.3)]))
            parts.append(arm.placed(np.eye(3), np.array([0, sy * d, 0.2])))
    if rng.uniform() < 0.4:  # shelf below
        shelf = Box(half=np.array([w * 0.9, d * 0.9, 0.03]))
        parts.append(shelf.placed(np.eye(3), np.array([0, 0, -h * rng.uniform(0.4, 0.8)])))
    if rng.uniform() < 0.6:  # something that stands on it
        for _ in range(rng.integers(1, 4)):
            thing = _random_primitive(rng, rng.uniform(0.15, 0.4))
            at = np.array([*(rng.uniform(-0.7, 0.7, 2) * (w, d)), thick + 0.1])
            parts.append(thing.placed(_axis_rotation(rng), at))
    return Solid(tuple(parts))


def _turned(rng):
    """Stacked frusta about one axis (vase, bottle, lamp), usually with a handle or a spout."""
    radii = rng.uniform(0.08, 0.6, rng.integers(3, 7))
    parts, z = [], 0.0
    for bottom, top in zip(radii[:-1], radii[1:], strict=True):
        height = rng.uniform(0.15, 0.7)
        piece = Frustum(bottom=bottom, top=top, height=height)
        parts.append(piece.placed(np.eye(3), np.array([0, 0, z + height / 2])))
        z += height
    if rng.uniform() < 0.85:
        for _ in range(rng.integers(1, 3)):
            r = rng.uniform(0.15, 0.4)
            handle = Torus(major=r, minor=0.2 * r)
            if rng.uniform() < 0.4:
                handle = Box(half=np.array([r, 0.06, 0.1 + 0.2 * rng.uniform()]))
            turn = Rotation.from_euler('zx', [rng.uniform(0, 6.3), np.pi / 2]).as_matrix()
            at = turn @ np.array([radii.mean() + 0.5 * r, 0, 0])
            parts.append(handle.placed(turn, at + [0, 0, rng.uniform(0.2, 0.8) * z]))
    return Solid(tuple(parts))


def _winged(rng):
    """A body with mirrored wings, fins and pods: aircraft, tools, fish."""
    length = rng.uniform(0.7, 1.0)
    slim = rng.uniform(0.08, 0.25)
    parts = [Ellipsoid(half=np.array([length, slim, slim * rng.uniform(0.7, 1.3)]))]
    for _ in range(rng.integers(1, 4)):
        span, chord = rng.uniform(0.2, 0.9), rng.uniform(0.05, 0.3)
        sweep, lift = rng.uniform(-0.6, 0.6), rng.uniform(-0.3, 0.3)
        at = np.array([rng.uniform(-0.9, 0.7) * length, span / 2, rng.uniform(-1, 1) * slim])
        for side in (1, -1):
            wing = Box(half=np.array([chord, span / 2, rng.uniform(0.015, 0.04)]))
            turn = Rotation.from_euler('zx', [side * sweep, side * lift]).as_matrix()
            parts.append(wing.placed(turn, at * [1, side, 1]))
    if rng.uniform() < 0.7:
        fin = Box(half=np.array([rng.uniform(0.08, 0.25), 0.02, rng.uniform(0.1, 0.35)]))
        parts.append(fin.placed(np.eye(3), np.array([-0.85 * length, 0, slim + 0.1])))
    if rng.uniform() < 0.5:
        pod = Frustum(bottom=0.07, top=0.09, height=0.4)
        turn = Rotation.from_euler('y', 90, degrees=True).as_matrix()
        for side in (1, -1):
            parts.append(pod.placed(turn, np.array([0.2, side * rng.uniform(0.2, 0.5), -slim])))
    return Solid(tuple(parts))


def _hollow(rng):
    """A vessel: a body whose inside is cut out from above, with handles, a foot or a lid."""
    w, d, h = rng.uniform(0.4, 1.0), rng.uniform(0.3, 1.0), rng.uniform(0.3, 1.0)
    wall = rng.uniform(0.04, 0.12)
    if rng.uniform() < 0.45:
        parts = [Box(half=np.array([w, d, h / 2]))]
        inner = Box(half=np.array([w - wall, d - wall, h / 2]))
    else:
        foot = w * rng.uniform(0.4, 1.0)
        parts = [Frustum(bottom=foot, top=w, height=h)]
        inner = Frustum(bottom=max(foot - wall, 0.05), top=w - wall, height=h)
    cuts = [inner.placed(np.eye(3), np.array([0, 0, wall]))]
    for _ in range(rng.integers(1, 4)):
        angle = rng.uniform(0, 2 * np.pi)
        turn = Rotation.from_euler('z', angle).as_matrix()
        at = turn @ np.array([w + 0.1, 0, rng.uniform(-0.3, 0.3) * h])
        if rng.uniform() < 0.5:
            handle = Torus(major=rng.uniform(0.12, 0.3) * h + 0.05, minor=0.04)
            tilt = turn @ Rotation.from_euler('x', np.pi / 2).as_matrix()
            parts.append(handle.placed(tilt, at))
        else:
            spout = _random_primitive(rng, rng.uniform(0.15, 0.35))
            parts.append(spout.placed(turn @ _axis_rotation(rng), at))
    return Solid(tuple(parts), tuple(cuts))


def _shelves(rng):
    """A carcass of panels with shelves and things on them, or doors and drawers in front."""
    w, d, h = rng.uniform(0.3, 0.9), rng.uniform(0.15, 0.5), rng.uniform(0.4, 1.0)
    thick = rng.uniform(0.015, 0.05)
    parts = [
        Box(half=np.array([thick, d, h])).placed(np.eye(3), np.array([x, 0, 0])) for x in (-w, w)
    ]
    if rng.uniform() < 0.7:
        back = Box(half=np.array([w, thick, h]))
        parts.append(back.placed(np.eye(3), np.array([0, -d, 0])))
    for z in np.sort(rng.uniform(-1, 1, rng.integers(2, 6))) * h:
        reach = d * rng.uniform(0.5, 1.0)
        shelf = Box(half=np.array([w, reach, thick]))
        parts.append(shelf.placed(np.eye(3), np.array([0, reach - d, z])))
        if rng.uniform() < 0.5:
            thing = _random_primitive(rng, rng.uniform(0.1, 0.3))
            at = np.array([rng.uniform(-0.7, 0.7) * w, 0, z + 0.1])
            parts.append(thing.placed(_axis_rotation(rng), at))
    if rng.uniform() < 0.4:
        door = Box(half=np.array([w * 0.5, thick, h * 0.6]))
        at = np.array([w * rng.choice((-0.5, 0.5)), d, -h * 0.35])
        parts.append(door.placed(np.eye(3), at))
    return Solid(tuple(parts))


def _slab(rng):
    """A flat body with small relief: keyboard, door, display on a stand."""
    w, d = rng.uniform(0.6, 1.0), rng.uniform(0.2, 0.8)
    thick = rng.uniform(0.02, 0.08)
    parts = [Box(half=np.array([w, d, thick]))]
    for _ in range(rng.integers(2, 7)):
        size = np.array([*rng.uniform(0.04, 0.3, 2), rng.uniform(0.02, 0.12)])
        relief = Box(half=size)
        if rng.uniform() < 0.4:
            relief = Frustum(bottom=size[0], top=size[0] * 0.8, height=2 * size[2])
        at = np.array([*(rng.uniform(-0.9, 0.9, 2) * (w, d)), rng.choice((-1, 1)) * thick])
        parts.append(relief.placed(np.eye(3), at))
    if rng.uniform() < 0.5:
        length = rng.uniform(0.2, 0.6)
        stand = Box(half=np.array([rng.uniform(0.05, 0.3), 0.04, length]))
        turn = Rotation.from_euler('x', rng.uniform(-1.2, 1.2)).as_matrix()
        parts.append(stand.placed(turn, np.array([0, -0.8 * d, -0.8 * length])))
    return Solid(tuple(parts))


def _rods(rng):
    """A bent line of rods with a body at its end: lamp arm, pipe run, string instrument."""
    parts, at, heading = [], np.zeros(3), rng.normal(size=3)
    for _ in range(rng.integers(2, 6)):
        heading = heading / np.linalg.norm(heading)
        length, radius = rng.uniform(0.3, 0.9), rng.uniform(0.03, 0.1)
        turn = Rotation.align_vectors([heading], [[0.0, 0.0, 1.0]])[0].as_matrix()
        rod = Frustum(bottom=radius, top=radius * rng.uniform(0.7, 1.3), height=length)
        parts.append(rod.placed(turn, at + heading * length / 2))
        at = at + heading * length
        if rng.uniform() < 0.4:
            parts.append(Ellipsoid(half=radius * rng.uniform(1.2, 2.0, 3)).placed(turn, at))
        side = rng.normal(size=3)
        heading = heading * rng.uniform(-0.2, 1.0) + side / np.linalg.norm(side)
    for where in (np.zeros(3), at):
        if rng.uniform() < 0.7:
            body = _random_primitive(rng, rng.uniform(0.3, 0.7))
            parts.append(body.placed(_random_rotation(rng), where))
    return Solid(tuple(parts))


def _cad(rng):
    """
    Something as a collection of CAD models holds it: furniture, vehicles, household.

    Half of the models keep the faces inside, where parts overlap; parts may be missing, and the
    proportions differ from what a carpenter would build.
    """
    solid = _CAD[rng.choice(len(_CAD), p=_CAD_SHARES)](rng)
    parts = list(solid.parts)
    if rng.uniform() < 0.3 and len(parts) > 4:
        del parts[rng.integers(len(parts))]
    if rng.uniform() < 0.15:  # something else that came with it
        other = _CAD[rng.integers(len(_CAD))](rng)
        centre, radius = solid.sphere
        shift = centre + rng.uniform(-0.5, 0.5, 3) * radius
        parts += other.scaled(0.4 * radius / other.sphere[1]).placed(np.eye(3), shift).parts
    return Solid(tuple(parts), solid.cuts, inner_faces=bool(rng.uniform() < 0.5))


_CAD, _CAD_WEIGHTS = zip(
    *(
        (furniture.chair, 3),
        (furniture.shell_chair, 2),
        (furniture.table, 2),
        (furniture.sofa, 2),
        (furniture.bed, 2),
        (furniture.cabinet, 2),
        (furniture.shelf, 2),
        (furniture.lamp, 1),
        (furniture.stairs, 1),
        (furniture.bathtub, 1),
        (furniture.toilet, 1),
        (household.bottle, 0.5),
        (household.vessel, 1.2),
        (household.plant, 2),
        (household.screen, 1),
        (household.keyboard, 0.7),
        (household.radio, 1),
        (household.guitar, 1.3),
        (household.curtain, 0.7),
        (household.tent, 0.7),
        (household.person, 0.5),
        (household.carton, 0.3),
        (vehicles.airplane, 2.5),
        (vehicles.car, 1),
    ),
    strict=True,
)
_CAD_SHARES = np.array(_CAD_WEIGHTS) / sum(_CAD_WEIGHTS)

# Makers, and how often each is drawn.
FAMILIES = (
    _cad,
    _cluster,
    _machined,
    _furniture,
    _turned,
    _winged,
    _hollow,
    _shelves,
    _slab,
    _rods,
)
SHARES = (0.5, 0.1, 0.1, 0.07, 0.04, 0.05, 0.05, 0.04, 0.02, 0.03)
