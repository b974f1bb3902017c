"""Generated solids: primitives joined and cut, in families that resemble what robots meet."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from dlc_training.data.primitives import Box, Ellipsoid, Frustum, Torus

# Seeds below are for training, the rest for evaluation: no shape is ever on both sides.
FIRST_EVALUATION_SEED = 10_000_000


@dataclass(frozen=True)
class Solid:
    """
    The union of ``parts`` minus the union of ``cuts``, in any frame.

    :param parts: primitives that are joined.
    :param cuts: primitives that are removed from the union.
    """

    parts: tuple
    cuts: tuple = ()

    def distance(self, points):
        """Signed distance bound of (..., 3) points: negative inside, at most the true distance."""
        inside = np.minimum.reduce([part.distance(points) for part in self.parts])
        for cut in self.cuts:
            inside = np.maximum(inside, -cut.distance(points))
        return inside

    def sample(self, n, rng):
        """
        Draw points uniformly from the surface.

        :param n: number of points.
        :param rng: numpy Generator.
        :return: points (n, 3) float64 and outward unit normals (n, 3).
        """
        found_points, found_normals, found = [], [], 0
        everything = (*self.parts, *self.cuts)
        areas = np.array([p.area for p in everything])
        share = areas / areas.sum()
        while found < n:
            counts = rng.multinomial(2 * n, share)
            for index, (primitive, count) in enumerate(zip(everything, counts, strict=True)):
                if count == 0:
                    continue
                points, normals = primitive.sample(count, rng)
                is_cut = index >= len(self.parts)
                keep = self._exposed(points, index, is_cut)
                found_points.append(points[keep])
                found_normals.append(-normals[keep] if is_cut else normals[keep])
                found += int(keep.sum())
        order = rng.permutation(found)[:n]
        return np.concatenate(found_points)[order], np.concatenate(found_normals)[order]

    def _exposed(self, points, index, is_cut):
        """Which surface points of primitive ``index`` lie on the surface of the whole."""
        keep = np.ones(len(points), bool)
        if is_cut:
            keep &= np.minimum.reduce([p.distance(points) for p in self.parts]) < 0
        for other, primitive in enumerate((*self.parts, *self.cuts)):
            if other != index and (other >= len(self.parts) or not is_cut):
                keep &= primitive.distance(points) > 0
        return keep

    def visible_from(self, eye, points, normals, steps=20):
        """
        Which surface points a sensor sees.

        Marches from each point towards the eye by the signed distance (sphere tracing); a ray
        that comes close to the surface again is blocked.

        :param eye: (3,) position of the sensor.
        :param points: (n, 3) points on the surface.
        :param normals: (n, 3) outward unit normals.
        :return: (n,) bool.
        """
        ray = eye - points
        length = np.linalg.norm(ray, axis=1)
        ray /= length[:, None]
        visible = np.einsum('ij,ij->i', ray, normals) > 0.05
        index = np.flatnonzero(visible)
        travelled = np.full(len(index), 0.02)
        start, direction, far = points[index] + 0.01 * normals[index], ray[index], length[index]
        active = np.ones(len(index), bool)
        for _ in range(steps):
            gap = self.distance(start[active] + travelled[active, None] * direction[active])
            blocked = gap < 1e-3
            rows = np.flatnonzero(active)
            visible[index[rows[blocked]]] = False
            travelled[rows] += np.maximum(gap, 0.01)
            active[rows[blocked]] = False
            active &= travelled < far
            if not active.any():
                break
        return visible

    def placed(self, rotation, translation):
        """The same solid moved by ``p -> rotation @ p + translation``."""
        return Solid(
            tuple(p.placed(rotation, translation) for p in self.parts),
            tuple(c.placed(rotation, translation) for c in self.cuts),
        )

    def scaled(self, factor):
        """The same solid scaled about the origin."""
        return Solid(
            tuple(_scaled(p, factor) for p in self.parts),
            tuple(_scaled(c, factor) for c in self.cuts),
        )


def make_solid(seed):
    """
    Make the solid of this seed, scaled into the unit sphere and centred.

    Below 1,000,000 lie the seeds of training, from :data:`FIRST_EVALUATION_SEED` on those of
    evaluation.

    :param seed: integer >= 0; the same seed gives the same solid.
    """
    rng = np.random.default_rng([seed, 7])
    family = rng.choice(len(_FAMILIES), p=_SHARES)
    solid = _FAMILIES[family](rng)
    points, _ = solid.sample(2000, rng)
    low, high = points.min(0), points.max(0)
    centre = (low + high) / 2
    radius = np.linalg.norm(points - centre, axis=1).max()
    return solid.placed(np.eye(3), -centre).scaled(1 / radius)


def _scaled(primitive, factor):
    fields = {k: v if k == 'rotation' else v * factor for k, v in primitive.__dict__.items()}
    return type(primitive)(**fields)


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


_FAMILIES = (_cluster, _machined, _furniture, _turned, _winged)
_SHARES = (0.3, 0.22, 0.24, 0.12, 0.12)
