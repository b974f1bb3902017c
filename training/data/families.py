"""Families of generated solids: what robots meet, in the rough; each maker draws one member."""

import numpy as np
from scipy.spatial.transform import Rotation

from dlc_training.data.cad import cad_model
from dlc_training.data.draws import attached, axis_rotation, random_primitive, random_rotation
from dlc_training.data.parts import machined, organic, pipework, rods
from dlc_training.data.primitives import Box, Ellipsoid, Frustum, Torus
from dlc_training.data.solid import Solid


def _cluster(rng):
    """Primitives of falling size grown on each other, anyhow turned; some cut."""
    parts = [random_primitive(rng, 1.0).placed(random_rotation(rng), np.zeros(3))]
    aligned = rng.uniform() < 0.4
    for _ in range(rng.integers(2, 8)):
        turn = axis_rotation(rng) if aligned else random_rotation(rng)
        parts.append(attached(rng, parts, random_primitive(rng, rng.uniform(0.3, 0.9)), turn))
    cuts = [
        attached(rng, parts, random_primitive(rng, rng.uniform(0.3, 0.6)), axis_rotation(rng))
        for _ in range(rng.integers(0, 3))
    ]
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
            thing = random_primitive(rng, rng.uniform(0.15, 0.4))
            at = np.array([*(rng.uniform(-0.7, 0.7, 2) * (w, d)), thick + 0.1])
            parts.append(thing.placed(axis_rotation(rng), at))
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
            spout = random_primitive(rng, rng.uniform(0.15, 0.35))
            parts.append(spout.placed(turn @ axis_rotation(rng), at))
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
            thing = random_primitive(rng, rng.uniform(0.1, 0.3))
            at = np.array([rng.uniform(-0.7, 0.7) * w, 0, z + 0.1])
            parts.append(thing.placed(axis_rotation(rng), at))
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


# Makers, and how often each is drawn.
FAMILIES = (
    cad_model,
    _cluster,
    machined,
    _furniture,
    _turned,
    _winged,
    _hollow,
    _shelves,
    _slab,
    rods,
    pipework,
    organic,
)
SHARES = (0.5, 0.09, 0.1, 0.06, 0.03, 0.04, 0.05, 0.03, 0.02, 0.02, 0.045, 0.015)
