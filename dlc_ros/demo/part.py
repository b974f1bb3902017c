"""
The machine part that the demo looks for: its meshes, and points drawn from its surface.

The part is a list of closed bodies that overlap where they are welded together. A ray sees their
union by itself, since its first hit is outside of them all; points drawn from the surface leave
out what lies inside another body.
"""

import numpy as np

# Bodies overlap by this much [m], so that no two faces coincide.
WELD = 1e-3
# Longest edge [m] of an outline before it is triangulated: shorter than half the distance of any
# two outlines of one body, so that every edge is one of the Delaunay triangulation.
LONGEST_EDGE = 3e-3
# How far beside the surface [m] a point is asked whether it lies inside another body.
PROBE = 1e-4


def build_part():
    """
    A casting of 0.20 x 0.14 x 0.10 m that looks different from every side.

    A base plate with holes, a slot and a cut corner carries a bored boss with a rib, a pin, and a
    wall with a window, bent over at the top and stiffened by a gusset. Frame: origin in the middle
    of the plate's underside, x along its long side, z up; the part stands on z = 0.

    :returns: list of open3d.t.geometry.TriangleMesh, closed, normals outside.
    """
    top = 0.024
    bore = circle((-0.052, 0.018), 0.018)
    plate = extrude(
        [(-0.100, -0.035), (-0.070, -0.070), (0.100, -0.070), (0.100, 0.070), (-0.100, 0.070)],
        [
            bore,
            circle((-0.084, 0.056), 0.006),
            circle((0.050, 0.052), 0.009),
            rectangle((-0.052, -0.054), (-0.014, -0.040)),
        ],
        (0.0, top),
    )
    boss = extrude(circle((-0.052, 0.018), 0.030), [bore], (top - WELD, 0.068))
    pin = extrude(circle((0.015, -0.045), 0.011), [], (top - WELD, 0.054))
    # Drawn in a plane of their own, (u, v) = (x, z), and raised along -y.
    rib = stand_along_y(
        extrude([(-0.023, top - WELD), (0.030, top - WELD), (-0.023, 0.058)], [], (0.012, 0.024))
    )
    gusset = stand_along_y(
        extrude(
            [(0.026, top - WELD), (0.066 + WELD, top - WELD), (0.066 + WELD, 0.072)],
            [],
            (-0.008, 0.002),
        )
    )
    # (u, v) = (y, z), raised along x.
    wall = stand_along_x(
        extrude(
            rectangle((-0.058, top - WELD), (0.034, 0.100)),
            [circle((0.016, 0.070), 0.012)],
            (0.066, 0.084),
        )
    )
    flange = extrude(
        rectangle((0.024, -0.058 + WELD), (0.066 + WELD, -0.006)), [], (0.084, 0.100 - WELD)
    )
    return [plate, boss, pin, rib, gusset, wall, flange]


def circle(centre, radius):
    """
    Outline of a circle.

    :param centre: (2,) [m].
    :param radius: [m].
    :returns: (N, 2) counter-clockwise corners.
    """
    sides = max(12, int(np.ceil(2.0 * np.pi * radius / LONGEST_EDGE)))
    angle = 2.0 * np.pi * np.arange(sides) / sides
    return np.asarray(centre) + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def rectangle(low, high):
    """
    Outline of an axis-parallel rectangle.

    :param low, high: (2,) opposite corners [m].
    :returns: (4, 2) counter-clockwise corners.
    """
    return np.array([low, (high[0], low[1]), high, (low[0], high[1])], dtype=np.float64)


def extrude(outline, holes, span):
    """
    Closed body over a flat outline with holes.

    :param outline: (N, 2) counter-clockwise corners [m].
    :param holes: list of (M, 2) counter-clockwise corners, inside the outline.
    :param span: lower and upper z [m].
    :returns: open3d.t.geometry.TriangleMesh.
    """
    import open3d as o3d

    # A hole's loop runs clockwise: material is on the left of every edge of every loop.
    loops = [divide_edges(outline)] + [divide_edges(hole)[::-1] for hole in holes]
    flat = np.concatenate(loops)
    count = len(flat)
    cap = triangulate(loops)
    walls = []
    start = 0
    for loop in loops:
        a = start + np.arange(len(loop))
        b = start + (np.arange(len(loop)) + 1) % len(loop)
        walls += [np.stack([a, b, b + count], axis=1), np.stack([a, b + count, a + count], axis=1)]
        start += len(loop)
    vertices = np.concatenate([np.insert(flat, 2, z, axis=1) for z in span])
    triangles = np.concatenate([cap[:, ::-1], cap + count, *walls])
    return o3d.t.geometry.TriangleMesh(
        o3d.core.Tensor(vertices.astype(np.float32)), o3d.core.Tensor(triangles.astype(np.int64))
    )


def divide_edges(outline):
    """Corners of a closed outline, with points added so that no edge is too long."""
    outline = np.asarray(outline, dtype=np.float64)
    pieces = []
    for start, end in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        steps = max(1, int(np.ceil(np.linalg.norm(end - start) / LONGEST_EDGE - 1e-9)))
        pieces.append(start + (end - start) * (np.arange(steps) / steps)[:, None])
    return np.concatenate(pieces)


def triangulate(loops):
    """
    Triangles of a flat region.

    :param loops: list of (N, 2) closed outlines, material on the left of every edge.
    :returns: (T, 3) int indices into the concatenated loops, counter-clockwise.
    """
    from scipy.spatial import Delaunay

    points = np.concatenate(loops)
    triangles = Delaunay(points).simplices
    corners = points[triangles]
    edges = corners[:, 1:] - corners[:, :1]
    area = edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]
    triangles = np.where(area[:, None] < 0.0, triangles[:, ::-1], triangles)
    # Corners on one straight side of the outline give triangles without area.
    solid = np.abs(area) > 1e-3 * LONGEST_EDGE**2
    return triangles[solid & inside(corners.mean(axis=1), loops)]


def inside(points, loops):
    """Whether (N, 2) points lie in a region, by counting the edges right of them (even-odd)."""
    crossings = np.zeros(len(points), dtype=int)
    x, y = points.T
    for loop in loops:
        for (x0, y0), (x1, y1) in zip(loop, np.roll(loop, -1, axis=0), strict=True):
            if y0 != y1:
                at = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
                crossings += ((y0 > y) != (y1 > y)) & (x < at)
    return crossings % 2 == 1


def stand_along_x(mesh):
    """A body drawn in (y, z) and raised along x, put into x y z: (u, v, w) -> (w, u, v)."""
    return turned(mesh, [[0, 0, 1], [1, 0, 0], [0, 1, 0]])


def stand_along_y(mesh):
    """A body drawn in (x, z) and raised along -y, put into x y z: (u, v, w) -> (u, -w, v)."""
    return turned(mesh, [[1, 0, 0], [0, 0, -1], [0, 1, 0]])


def turned(mesh, rotation):
    """A mesh turned about the origin."""
    return mesh.rotate(np.array(rotation, dtype=np.float64), np.zeros(3))


def sample_surface(bodies, count, seed):
    """
    Points spread evenly over the surface of overlapping bodies.

    :param bodies: list of open3d.t.geometry.TriangleMesh, closed.
    :param count: number of points.
    :param seed: of the random generator.
    :returns: points (count, 3) float64 [m] and unit normals (count, 3), in the bodies' frame.

    Triangles are drawn by area, points in one by the square-root map of R. Osada et al., "Shape
    distributions", ACM TOG 21(4), 2002; points inside another body are drawn again.
    """
    rng = np.random.default_rng(seed)
    corners = np.concatenate([triangle_corners(mesh) for mesh in bodies])
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    double_area = np.linalg.norm(cross, axis=1)
    probability = double_area / double_area.sum()
    points, normals = np.zeros((0, 3)), np.zeros((0, 3))
    while len(points) < count:
        chosen = rng.choice(len(corners), size=count, p=probability)
        root, along = np.sqrt(rng.random(count)), rng.random(count)
        weights = np.stack([1.0 - root, root * (1.0 - along), root * along], axis=1)
        drawn = np.einsum('nk,nkd->nd', weights, corners[chosen])
        outward = cross[chosen] / double_area[chosen, None]
        free = ~occupied(bodies, drawn + PROBE * outward)
        points = np.concatenate([points, drawn[free]])
        normals = np.concatenate([normals, outward[free]])
    return points[:count], normals[:count]


def occupied(bodies, points):
    """
    Whether points lie inside one of the bodies.

    :param bodies: list of open3d.t.geometry.TriangleMesh, closed.
    :param points: (N, 3) [m].
    :returns: (N,) bool.
    """
    import open3d as o3d

    query = o3d.core.Tensor(np.asarray(points, dtype=np.float32))
    result = np.zeros(len(points), dtype=bool)
    for mesh in bodies:
        scene = o3d.t.geometry.RaycastingScene(nthreads=1)
        scene.add_triangles(mesh)
        # More than one ray: a ray that grazes an edge is outvoted.
        result |= scene.compute_occupancy(query, nthreads=1, nsamples=3).numpy() > 0.5
    return result


def triangle_corners(mesh):
    """Corners (T, 3, 3) float64 of a mesh's triangles."""
    vertices = mesh.vertex.positions.numpy().astype(np.float64)
    return vertices[mesh.triangle.indices.numpy()]
