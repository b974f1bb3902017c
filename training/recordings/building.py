"""A generated building: a corridor, furnished rooms on both sides, a way through all of them."""

from dataclasses import dataclass

import numpy as np

HEIGHT = 2.7
_WALL, _DOOR, _CORRIDOR = 0.12, 1.1, 2.2
# Between a piece of furniture and the way of the robot [m].
_CLEAR = 0.75
_SIDES_OF_A_ROUND = 20


@dataclass(frozen=True)
class Building:
    """
    One floor, metres, z up, floor at z = 0, the corridor along x.

    :param vertices: (V, 3) float32 and ``triangles`` (T, 3) uint32: its surface.
    :param way: (W, 2) corner points of a way from one end of the corridor into every room and
        back out of it, clear of walls and furniture.
    :param rooms: (R, 4) x and y limits of the rooms: low x, low y, high x, high y.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    way: np.ndarray
    rooms: np.ndarray


def make_building(seed, rooms=8):
    """
    Make the building of this seed.

    :param seed: integer >= 0; the same seed gives the same building.
    :param rooms: number of rooms, an even number >= 2; half of them on each side.
    """
    rng = np.random.default_rng([seed, 23])
    shapes, limits, ways = [], [], []
    length = 0.0
    for side in (-1, 1):
        x = 0.0
        for _ in range(rooms // 2):
            size = np.array([rng.uniform(3.6, 6.0), rng.uniform(3.6, 6.0)])
            door = x + rng.uniform(0.9, size[0] - 0.9)
            near, far = side * _CORRIDOR / 2, side * (_CORRIDOR / 2 + size[1])
            limits.append((x, min(near, far), x + size[0], max(near, far)))
            ways.append(_way_through(limits[-1], door, side, rng))
            shapes += [
                _wall(x, near, x + size[0], near, gap=door),
                _wall(x, far, x + size[0], far),
                _wall(x, near, x, far),
                _wall(x + size[0], near, x + size[0], far),
            ]
            x += size[0]
        length = max(length, x)
    # The way visits the rooms in the order of their doors, so that place follows time roughly.
    order = np.argsort([way[0, 0] for way in ways])
    way = np.concatenate([[[0.6, 0.0]], *(ways[i] for i in order), [[length - 0.6, 0.0]]])
    limits = np.array(limits)[order]
    half = _CORRIDOR / 2
    shapes += [_wall(0.0, -half, 0.0, half), _wall(length, -half, length, half)]
    # Where one side is shorter the corridor still has its wall.
    shapes += [
        _wall(limits[limits[:, 1] * s >= 0][:, 2].max(), s * half, length, s * half)
        for s in (-1, 1)
    ]
    extent = np.abs(limits[:, [1, 3]]).max() + 0.5
    for z in (-0.05, HEIGHT + 0.05):
        shapes.append([_box((length / 2, 0, z), (length / 2 + 0.5, extent, 0.05), 0.0)])
    for room in limits:
        shapes.append(_furniture(room, way, rng))
    shapes.append(_along_corridor(length, way, rng))
    vertices, triangles = _joined([mesh for group in shapes for mesh in group])
    return Building(vertices, triangles, way, limits)


def round_column(centre, radius, low, high):
    """Mesh of an upright cylinder: vertices (V, 3), triangles (T, 3)."""
    angle = np.arange(_SIDES_OF_A_ROUND) * 2 * np.pi / _SIDES_OF_A_ROUND
    ring = np.stack([np.cos(angle), np.sin(angle)], -1) * radius + centre
    n = _SIDES_OF_A_ROUND
    vertices = np.concatenate(
        [
            np.column_stack([ring, np.full(n, low)]),
            np.column_stack([ring, np.full(n, high)]),
            [[*centre, low], [*centre, high]],
        ]
    )
    a = np.arange(n)
    b = (a + 1) % n
    triangles = np.concatenate(
        [
            np.stack([a, b, a + n], -1),
            np.stack([b, b + n, a + n], -1),
            np.stack([b, a, 0 * a + 2 * n], -1),
            np.stack([a + n, b + n, 0 * a + 2 * n + 1], -1),
        ]
    )
    return vertices, triangles


def _box(centre, half, yaw):
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half
    c, s = np.cos(yaw), np.sin(yaw)
    vertices = corners @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T + centre
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return vertices, np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])


def _wall(x0, y0, x1, y1, gap=None):
    """Boxes of a wall along x or y; a door of usual width at ``gap`` along x, with a lintel."""
    if max(abs(x1 - x0), abs(y1 - y0)) < 1e-9:
        return []
    low, high = np.minimum((x0, y0), (x1, y1)), np.maximum((x0, y0), (x1, y1))

    def piece(first, last, bottom=0.0):
        centre = np.array([*((first + last) / 2), (bottom + HEIGHT) / 2])
        half = np.array([*((last - first) / 2 + _WALL / 2), (HEIGHT - bottom) / 2])
        return _box(centre, half, 0.0)

    if gap is None:
        return [piece(low, high)]
    left, right = gap - _DOOR / 2, gap + _DOOR / 2
    return [
        piece(low, np.array([left, high[1]])),
        piece(np.array([right, low[1]]), high),
        piece(np.array([left, low[1]]), np.array([right, high[1]]), bottom=2.1),
    ]


def _way_through(room, door, side, rng):
    """From the corridor in front of the door around the room's middle and back (P, 2)."""
    x0, y0, x1, y1 = room
    margin = 1.25
    inner = np.array([x0 + margin, x1 - margin])
    deep = sorted((y0 + margin, y1 - margin), key=abs)
    near, far = deep[0], deep[1]
    entry = (door, side * (_CORRIDOR / 2 + 0.6))
    loop = [(inner[0], near), (inner[0], far), (inner[1], far), (inner[1], near)]
    if rng.uniform() < 0.5:
        loop.reverse()
    return np.array([(door, 0.0), entry, *loop, entry, (door, 0.0)])


def _clear_of(way, point, reach):
    """Whether a disc keeps its distance from a polyline."""
    a, b = way[:-1], way[1:]
    along = b - a
    share = ((point - a) * along).sum(1) / np.maximum((along**2).sum(1), 1e-12)
    nearest = a + np.clip(share, 0, 1)[:, None] * along
    return np.linalg.norm(nearest - point, axis=1).min() > reach + _CLEAR


def _furniture(room, way, rng):
    """Cupboards along the walls, tables, shelves, columns, bins: meshes inside one room."""
    x0, y0, x1, y1 = room
    meshes = []
    for _ in range(60):
        if len(meshes) > 14:
            break
        half = rng.uniform((0.15, 0.15), (0.7, 0.4))
        reach = float(np.linalg.norm(half))
        place = rng.uniform((x0, y0), (x1, y1))
        against = rng.uniform() < 0.75
        yaw = rng.choice((0.0, np.pi / 2)) if against else rng.uniform(0, np.pi)
        size = half if yaw == 0.0 else half[::-1]
        if against:  # pushed to the nearest wall
            gaps = np.array([place[0] - x0, x1 - place[0], place[1] - y0, y1 - place[1]])
            wall = int(gaps.argmin())
            edge = (x0, x1, y0, y1)[wall]
            inwards = size[wall // 2] + _WALL / 2
            place[wall // 2] = edge + (inwards if wall % 2 == 0 else -inwards)
            reach = float(size.max())
        if not _clear_of(way, place, reach):
            continue
        inside = (place - size > (x0, y0)).all() and (place + size < (x1, y1)).all()
        if not inside:
            continue
        meshes += _piece(place, half, yaw, rng)
    return meshes


def _piece(place, half, yaw, rng):
    kind = rng.choice(('cupboard', 'table', 'shelf', 'column'), p=(0.4, 0.25, 0.2, 0.15))
    if kind == 'column':
        return [round_column(place, rng.uniform(0.12, 0.3), 0.0, rng.choice((0.6, 1.1, HEIGHT)))]
    if kind == 'table':
        top = rng.uniform(0.65, 0.95)
        body = [_box((*place, top), (*half, 0.03), yaw)]
        return [*body, _box((*place, top / 2), (0.06, 0.06, top / 2), yaw)]
    if kind == 'shelf':
        boards = np.arange(0.3, rng.uniform(1.3, 2.2), 0.4)
        return [_box((*place, z), (half[0], half[1], 0.02), yaw) for z in boards]
    height = rng.uniform(0.25, 1.1)
    return [_box((*place, height), (*half, height), yaw)]


def _along_corridor(length, way, rng):
    meshes = []
    for _ in range(12):
        side = rng.choice((-1, 1))
        half = np.array([rng.uniform(0.1, 0.5), rng.uniform(0.06, 0.12)])
        place = np.array([rng.uniform(0.5, length - 0.5), side * (_CORRIDOR / 2 - half[1])])
        doors = way[np.abs(way[:, 1]) < 1e-9, 0]
        if np.abs(doors - place[0]).min() < half[0] + _DOOR:
            continue
        height = rng.uniform(0.2, 1.1)
        meshes.append(_box((*place, height), (*half, height), 0.0))
    return meshes


def _joined(meshes):
    offset, vertices, triangles = 0, [], []
    for points, faces in meshes:
        vertices.append(points)
        triangles.append(faces + offset)
        offset += len(points)
    return (
        np.concatenate(vertices).astype(np.float32),
        np.concatenate(triangles).astype(np.uint32),
    )
