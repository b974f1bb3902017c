"""
What is cut from a sensor's view before an object in it is registered.

A thing on a table is a small part of what a depth camera sees, and the table fits almost anything.
Two cuts, both told from the cloud alone:

1. range: what is nearer than ``min_range`` or farther than ``max_range`` from the sensor;
2. supporting planes: the plane with the most points goes, with everything behind it (the floor
   below the table's edge, the wall's other side), if it holds a large share of the points *and*
   covers more area than a disk of the largest reference's diameter. No flat face of the object
   does, even with a few things that happen to lie in its plane beside it. What is left may show
   another such plane (a wall), so this repeats.

Other things on the table are cut only once it is known where the object should be: then what is
farther from there than the object reaches goes too. A global search has to cope with them.
"""

import numpy as np

# Planes that are removed at most: a floor or table, and two walls.
_MAX_PLANES = 3
# Points that vote; more make no better plane.
_VOTERS = 2000
# Chance to miss a plane that holds just the required share.
_MISS = 1e-4
# Default distance, relative to the reference's diameter: below it an object has no detail to
# lose, above it a depth camera has little noise at the range where it resolves the object.
_RELATIVE_DISTANCE = 0.02


def segment(points, diameter, settings):
    """
    Points that may belong to an object.

    :param points: (N, 3) float64, finite, in the sensor's frame: the sensor is the origin [m].
    :param diameter: of the largest reference [m].
    :param settings: :class:`~dlc_ros.localization.declarations.Segmentation`.
    :returns: (M, 3) float64, M <= N, rows of ``points`` in their order.
    """
    points = crop(points, settings.min_range, settings.max_range)
    if not settings.remove_plane:
        return points
    distance = settings.plane_distance or _RELATIVE_DISTANCE * diameter
    for _ in range(_MAX_PLANES):
        plane = dominant_plane(points, distance, settings.plane_share)
        if plane is None:
            break
        height = points @ plane[:3] + plane[3]
        on_plane = np.abs(height) <= distance
        if _area(points[on_plane], diameter) <= 0.25 * np.pi * diameter**2:
            break
        points = points[height > distance]
    return points


def crop(points, min_range, max_range):
    """
    Points whose distance from the origin lies between two ranges.

    :param points: (N, 3) [m].
    :param min_range: [m].
    :param max_range: [m]; 0 is no limit.
    """
    if min_range <= 0.0 and max_range <= 0.0:
        return points
    distance = np.linalg.norm(points, axis=1)
    return points[(distance >= min_range) & (distance <= (max_range or np.inf))]


def near_point(points, center, radius):
    """
    Points inside of a sphere.

    :param points: (N, 3) [m].
    :param center: (3,) [m].
    :param radius: [m].
    """
    return points[np.linalg.norm(points - center, axis=1) <= radius]


def dominant_plane(points, distance, share, seed=0):
    """
    The plane with the most points, by random sampling (RANSAC) and a least-squares fit.

    :param points: (N, 3) float64, finite [m].
    :param distance: points this near belong to it [m].
    :param share: a plane with a smaller share of the points is not one.
    :param seed: of the sampling; the same seed and points give the same plane.
    :returns: (4,) ``a b c d`` with unit normal, ``ax + by + cz + d > 0`` on the origin's side;
        None if there is no such plane.
    """
    if len(points) < 3:
        return None
    generator = np.random.default_rng(seed)
    if len(points) > _VOTERS:
        voters = points[generator.choice(len(points), _VOTERS, replace=False)]
    else:
        voters = points
    trials = int(np.ceil(np.log(_MISS) / np.log1p(-(min(share, 0.95) ** 3))))
    corners = voters[generator.integers(len(voters), size=(trials, 3))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    usable = lengths > 1e-12
    if not usable.any():
        return None
    normals = normals[usable] / lengths[usable, None]
    offsets = -np.einsum('ij,ij->i', normals, corners[usable, 0])
    votes = (np.abs(voters @ normals.T + offsets) <= distance).sum(axis=0)
    best = int(votes.argmax())
    normal, offset = normals[best], offsets[best]
    # Three noisy points tilt the plane; the fit to all that voted for it straightens it.
    for _ in range(2):
        members = voters[np.abs(voters @ normal + offset) <= distance]
        if len(members) < max(3.0, share * len(voters)):
            return None
        center = members.mean(axis=0)
        normal = np.linalg.eigh((members - center).T @ (members - center))[1][:, 0]
        offset = -normal @ center
    sign = 1.0 if offset >= 0.0 else -1.0
    return sign * np.append(normal, offset)


def _area(points, diameter, seed=0):
    """
    Area of a plane that its points cover [m^2], counted in squares of an eighth of ``diameter``.

    A square counts if it is at least a tenth as full as the one of the median point: a few noisy
    points of a table that is gone do not widen the plate that lies on it.
    """
    if len(points) < 3:
        return 0.0
    if len(points) > _VOTERS:
        chosen = np.random.default_rng(seed).choice(len(points), _VOTERS, replace=False)
        points = points[chosen]
    axes = np.linalg.eigh(np.cov(points.T))[1][:, 1:]
    edge = diameter / 8.0
    squares = np.floor(points @ axes / edge).astype(np.int64)
    counts = np.unique(squares, axis=0, return_counts=True)[1]
    typical = np.median(np.repeat(counts, counts))
    return np.count_nonzero(counts >= 0.1 * typical) * edge**2
