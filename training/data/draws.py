"""Random primitives, turns and places: what families of solids are grown from."""

import numpy as np
from scipy.spatial.transform import Rotation

from dlc_training.data.primitives import Box, Ellipsoid, Frustum, Torus


def random_rotation(rng):
    return Rotation.random(random_state=rng).as_matrix()


def axis_rotation(rng):
    """One of the 24 rotations that keep the coordinate axes."""
    axes = np.eye(3)[rng.permutation(3)] * rng.choice((-1, 1), (3, 1))
    return axes * np.linalg.det(axes)


def random_primitive(rng, size):
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


def attached(rng, parts, primitive, rotation):
    """Place a primitive so that its centre lies on the surface of one of the parts."""
    host = parts[rng.integers(len(parts))]
    points, _ = host.sample(1, rng)
    return primitive.placed(rotation, points[0])
