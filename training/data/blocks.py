"""Placed primitives in a word: what furniture, vehicles and scenes are put together from."""

import math

import numpy as np

from dlc_training.data.primitives import Box, Ellipsoid, Frustum


def box(centre, half, yaw=0.0, pitch=0.0):
    """
    Build a cuboid.

    :param centre: (3,).
    :param half: (3,) half edge lengths.
    :param yaw: turn about z [rad].
    :param pitch: turn about its own y, before the yaw [rad].
    """
    return Box(turn(yaw, pitch), np.array(centre, float), half=np.array(half, float))


def ball(centre, half, yaw=0.0, pitch=0.0):
    """Build an ellipsoid of semi-axes ``half``; see :func:`box`."""
    return Ellipsoid(turn(yaw, pitch), np.array(centre, float), half=np.array(half, float))


def rod(start, end, radius, end_radius=None):
    """Build a frustum from ``start`` (3,) to ``end`` (3,) with the radii at its ends."""
    (ax, ay, az), (bx, by, bz) = start, end
    x, y, z = bx - ax, by - ay, bz - az
    length = math.sqrt(x * x + y * y + z * z)
    x, y, z = x / length, y / length, z / length
    # Any axes across complete the frame: a frustum is round.
    if abs(z) < 0.9:
        flat = math.hypot(x, y)
        across = (-y / flat, x / flat, 0.0)
    else:
        flat = math.hypot(y, z)
        across = (0.0, z / flat, -y / flat)
    u, v, w = across
    frame = [[u, y * w - z * v, x], [v, z * u - x * w, y], [w, x * v - y * u, z]]
    return Frustum(
        np.array(frame),
        np.array([(ax + bx) / 2, (ay + by) / 2, (az + bz) / 2]),
        bottom=float(radius),
        top=float(radius if end_radius is None else end_radius),
        height=length,
    )


def pillar(at, radius, height, top_radius=None):
    """Build an upright frustum on the point ``at`` (3,)."""
    return Frustum(
        np.eye(3),
        np.array([at[0], at[1], at[2] + height / 2], float),
        bottom=float(radius),
        top=float(radius if top_radius is None else top_radius),
        height=float(height),
    )


def turn(yaw, pitch=0.0):
    """(3, 3) rotation by ``pitch`` about y, then ``yaw`` about z [rad]."""
    c, s = math.cos(yaw), math.sin(yaw)
    cp, sp = math.cos(pitch), math.sin(pitch)
    return np.array([[c * cp, -s, c * sp], [s * cp, c, s * sp], [-sp, 0.0, cp]])
