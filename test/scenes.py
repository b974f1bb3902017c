"""Surfaces with known freedoms, sampled at random; lengths in metres."""

import numpy as np


def plane(count, rng, size=(4.0, 4.0)):
    """A rectangle in z = 0: free along x, y and about z."""
    points = np.zeros((count, 3))
    points[:, :2] = (rng.random((count, 2)) - 0.5) * size
    return points


def corridor(count, rng, length=20.0, width=2.0, height=2.5):
    """Two walls, floor and ceiling along x, open at the ends: free along x."""
    points = (rng.random((count, 3)) - 0.5) * [length, width, height]
    walls = rng.random(count) < height / (width + height)
    side = np.where(rng.random(count) < 0.5, -0.5, 0.5)
    points[walls, 1] = side[walls] * width
    points[~walls, 2] = side[~walls] * height
    return points


def cylinder(count, rng, radius=0.5, height=2.0):
    """An open tube about z: free along z and about z."""
    angle = 2.0 * np.pi * rng.random(count)
    return np.c_[
        radius * np.cos(angle), radius * np.sin(angle), (rng.random(count) - 0.5) * height
    ]


def can(count, rng, radius=0.5, height=1.2):
    """A closed tin about z: free about z."""
    lids = rng.random(count) < radius / (radius + height)
    points = cylinder(count, rng, radius, height)
    shrink = np.sqrt(rng.random(lids.sum()))
    points[lids, :2] *= shrink[:, None]
    points[lids, 2] = np.sign(points[lids, 2]) * height / 2.0
    return points


def sphere(count, rng):
    """The unit sphere: free about every axis."""
    points = rng.normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def box(count, rng, size=(2.0, 1.2, 0.8)):
    """Surface of a box: nothing is free, half turns about x, y and z map it onto itself."""
    size = np.array(size)
    areas = size.prod() / size
    axis = rng.choice(3, count, p=areas / areas.sum())
    points = (rng.random((count, 3)) - 0.5) * size
    points[np.arange(count), axis] = np.where(rng.random(count) < 0.5, -0.5, 0.5) * size[axis]
    return points


def bracket(count, rng):
    """Two unequal boxes at an angle: nothing is free and nothing repeats."""
    foot = box(count // 2, rng, (2.0, 0.5, 0.4))
    arm = box(count - count // 2, rng, (0.5, 1.5, 0.7)) + [0.9, 0.8, 0.2]
    return np.vstack([foot, arm])


def pair(scene, rng, transform, count=2000, noise=0.005):
    """
    Two independent noisy samplings of a scene.

    :param transform: (4, 4) ``T_target_source``.
    :returns: source (count, 3) in the scene's frame, target (count, 3) moved by the transform.
    """
    source, target = scene(count, rng), scene(count, rng)
    target = target @ transform[:3, :3].T + transform[:3, 3]
    return (
        source + noise * rng.normal(size=source.shape),
        target + noise * rng.normal(size=target.shape),
    )


def finned_block(rng, density=600):
    """
    A block with a fin on three of its faces, and the other three.

    :param density: points on a square of surface of edge 1.
    :returns: points (N, 3) of the block of 1 x 0.8 x 0.6, (M, 3) of the plain faces alone, which
        an eye at 2.5, 2.2, -2.0 sees.
    """

    def sheet(lower, size):
        size = np.asarray(size)
        count = int(density * np.prod(size[size > 0.0]))
        return lower + rng.random((count, 3)) * size

    faces = [
        sheet(side * np.eye(3)[axis] * (1.0, 0.8, 0.6), np.where(np.arange(3) == axis, 0.0, size))
        for size in [np.array([1.0, 0.8, 0.6])]
        for axis in range(3)
        for side in (0, 1)
    ]
    fins = [
        sheet((0.5, 0.2, 0.6), (0.0, 0.4, 0.3)),
        sheet((-0.3, 0.4, 0.1), (0.3, 0.0, 0.4)),
        sheet((0.2, -0.3, 0.3), (0.6, 0.3, 0.0)),
    ]
    return np.vstack(faces + fins), np.vstack([faces[1], faces[3], faces[4]])
