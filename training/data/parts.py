"""Parts of machines and of bodies: plates and brackets, rods, pipework, organic blends."""

import numpy as np
from scipy.spatial.transform import Rotation

from dlc_training.data.blend import Blend
from dlc_training.data.blocks import ball, rod
from dlc_training.data.draws import attached, axis_rotation, random_primitive, random_rotation
from dlc_training.data.primitives import Box, Ellipsoid, Frustum
from dlc_training.data.solid import Solid


def machined(rng):
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


def rods(rng):
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
            body = random_primitive(rng, rng.uniform(0.3, 0.7))
            parts.append(body.placed(random_rotation(rng), where))
    return Solid(tuple(parts))


def pipework(rng):
    """Pipes along the axes with flanges, elbows, tees, valves."""
    parts, at = [], np.zeros(3)
    radius = rng.uniform(0.06, 0.16)
    axis = int(rng.integers(3))
    for _ in range(rng.integers(2, 6)):
        step = np.zeros(3)
        step[axis] = rng.choice((-1, 1)) * rng.uniform(0.4, 1.2)
        parts.append(rod(at, at + step, radius))
        along = step / np.linalg.norm(step)
        style = rng.uniform()
        if style < 0.5:  # flange
            middle = at + step * rng.uniform(0.2, 0.8)
            thick = rng.uniform(0.02, 0.06)
            parts.append(rod(middle - thick * along, middle + thick * along, radius * 1.7))
        elif style < 0.75:  # tee or valve
            side = np.roll(along, 1) * rng.uniform(0.2, 0.5)
            middle = at + step * rng.uniform(0.3, 0.7)
            parts.append(rod(middle, middle + side, radius * rng.uniform(0.5, 1.0)))
            if rng.uniform() < 0.6:
                wheel = side / np.linalg.norm(side) * 0.02
                parts.append(rod(middle + side, middle + side + wheel, radius * 1.8))
        at = at + step
        parts.append(ball(at, np.full(3, radius * rng.uniform(1.0, 1.4))))
        axis = int((axis + rng.integers(1, 3)) % 3)
    if rng.uniform() < 0.4:
        parts.append(attached(rng, parts, random_primitive(rng, 0.5), axis_rotation(rng)))
    return Solid(tuple(parts))


def organic(rng):
    """Limbs that flow into each other: animals, handles, bones; now and then on a block."""
    count = int(rng.integers(2, 6))
    joints = [np.zeros(3), rng.normal(size=3) * (0.7, 0.2, 0.2)]
    starts, ends = [joints[0]], [joints[1]]
    radii = [rng.uniform(0.15, 0.35)]
    for _ in range(count - 1):
        start = joints[rng.integers(len(joints))]
        heading = rng.normal(size=3)
        ends.append(start + heading * rng.uniform(0.3, 1.0) / np.linalg.norm(heading))
        starts.append(start)
        joints.append(ends[-1])
        radii.append(rng.uniform(0.06, 0.25))
    middle = np.mean(joints, axis=0)
    body = Blend(
        starts=np.array(starts) - middle,
        ends=np.array(ends) - middle,
        radii=np.array(radii),
        softness=rng.uniform(0.05, 0.4),
    )
    parts = [body]
    if rng.uniform() < 0.3:
        parts.append(attached(rng, parts, random_primitive(rng, 0.5), axis_rotation(rng)))
    return Solid(tuple(parts))
