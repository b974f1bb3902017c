"""Vehicles and what stands outdoors, in metres: each maker draws one on z = 0, front to +x."""

import numpy as np

from dlc_training.data.blocks import ball, box, pillar, rod
from dlc_training.data.solid import Solid


def airplane(rng):
    """An airplane: body, swept wings, tail, engines; mirrored in y."""
    long, r = rng.uniform(4, 20), 0.0
    r = long * rng.uniform(0.045, 0.09)
    parts = [rod((-0.62 * long, 0, 0), (0.62 * long, 0, 0), r)]
    if rng.uniform() < 0.5:
        parts = [ball((0, 0, 0), (long, r, r))]
    else:
        parts.append(ball((0.62 * long, 0, 0), (long * rng.uniform(0.1, 0.3), r, r)))
        parts.append(rod((-long, 0, r * 0.5), (-0.62 * long, 0, 0), r * 0.25, r))
    span, chord = long * rng.uniform(0.5, 1.1), long * rng.uniform(0.08, 0.2)
    sweep, lift = rng.uniform(-0.1, 0.65), rng.uniform(-0.05, 0.12)
    root, high = long * rng.uniform(-0.15, 0.25), r * rng.uniform(-0.8, 0.9)
    tail = (-0.92 * long, long * rng.uniform(0.15, 0.4), r * rng.uniform(0.2, 2.5))
    for s in (-1, 1):
        parts += _wing(root, s, high, span, chord, sweep, lift)
        parts += _wing(tail[0], s, tail[2], tail[1], chord * 0.5, sweep * 1.2, lift)
    fin = long * rng.uniform(0.12, 0.3)
    parts.append(
        box((-0.9 * long - 0.2 * fin, 0, fin * 0.8), (fin * 0.45, 0.01 * long, fin), 0, -0.4)
    )
    for _ in range(int(rng.integers(0, 3))):
        out, size = rng.uniform(0.15, 0.6) * span, r * rng.uniform(0.25, 0.5)
        at = root - out * np.tan(sweep) + chord * rng.uniform(0.3, 1.0)
        for s in (-1, 1):
            drop = high - size * rng.uniform(0.5, 1.4)
            parts.append(rod((at - 2 * size, s * out, drop), (at + 2 * size, s * out, drop), size))
    if rng.uniform() < 0.3:
        parts.append(box((long, 0, 0), (0.02 * long, 0.01 * long, 0.18 * long), 0, 0))
    if rng.uniform() < 0.3:
        wheels = [(0.6 * long, 0), (root, -0.15 * span), (root, 0.15 * span)]
        parts += [rod((x, y, 0), (x, y, -2 * r), 0.15 * r) for x, y in wheels]
    return Solid(tuple(parts))


def _wing(root, side, high, span, chord, sweep, lift):
    """A wing of two panels, the outer one narrower."""
    panels, inner = [], 0.0
    for share, width in ((0.45, 1.0), (1.0, 0.6)):
        outer = share * span
        middle = (inner + outer) / 2
        half = (outer - inner) / 2
        at = np.array([root - middle * np.tan(sweep), side * middle, high + middle * lift])
        panel = box(at, (chord * width, half / np.cos(sweep), chord * 0.07), side * sweep)
        panels.append(panel)
        inner = outer
    return panels


def car(rng):
    """A car, a van, a truck."""
    long, wide = rng.uniform(1.7, 2.6), rng.uniform(0.75, 1.0)
    clear, belt = rng.uniform(0.2, 0.4), rng.uniform(0.75, 1.1)
    roof = belt + rng.uniform(0.35, 0.7)
    parts = [box((0, 0, (clear + belt) / 2), (long, wide, (belt - clear) / 2))]
    style = rng.uniform()
    if style < 0.6:
        middle, half = long * rng.uniform(-0.3, 0.1), long * rng.uniform(0.35, 0.6)
        parts.append(box((middle, 0, (belt + roof) / 2), (half, 0.88 * wide, (roof - belt) / 2)))
        glass = (0.02, 0.85 * wide, 0.75 * (roof - belt))
        for s in (-1, 1):
            parts.append(
                box((middle + s * (half + 0.15), 0, (belt + roof) / 2), glass, 0, -s * 0.7)
            )
    elif style < 0.8:
        roof = rng.uniform(1.8, 2.4)
        parts.append(box((-0.15 * long, 0, roof / 2 + 0.2), (0.85 * long, wide, roof / 2 - 0.2)))
    else:
        tall = rng.uniform(1.8, 3.0)
        parts.append(box((0.75 * long, 0, 1.3), (0.25 * long, wide, 0.9)))
        parts.append(box((-0.3 * long, 0, 0.8 + tall / 2), (0.72 * long, wide * 1.1, tall / 2)))
    r = rng.uniform(0.28, 0.4)
    for x in (-0.62 * long, 0.62 * long):
        for s in (-1, 1):
            parts.append(rod((x, s * (wide - 0.2), r), (x, s * (wide + 0.02), r), r))
    if rng.uniform() < 0.4:
        parts += [box((0.3 * long, s * (wide + 0.1), belt), (0.05, 0.1, 0.08)) for s in (-1, 1)]
    return Solid(tuple(parts))


def tree(rng):
    """A tree: trunk, branches and crowns of leaves, or a cone."""
    h, r = rng.uniform(3, 10), rng.uniform(0.08, 0.3)
    trunk = rod((0, 0, 0), (*rng.normal(0, 0.2, 2), h * 0.6), r, r * 0.6)
    if rng.uniform() < 0.3:
        return Solid((trunk, pillar((0, 0, 0.15 * h), 0.22 * h, 0.85 * h, 0.02)))
    parts = [trunk]
    for _ in range(int(rng.integers(3, 9))):
        crown = rng.uniform(0.1, 0.25, 3) * h
        at = np.array([*rng.normal(0, 0.13 * h, 2), h * rng.uniform(0.5, 0.95)])
        parts.append(ball(at, crown, rng.uniform(0, 6.3)))
    return Solid(tuple(parts))


def pole(rng):
    """A lamp post, sign, traffic light or bollard."""
    h, r = rng.uniform(1, 7), rng.uniform(0.03, 0.12)
    parts = [rod((0, 0, 0), (0, 0, h), r)]
    yaw = rng.uniform(0, 2 * np.pi)
    style = rng.uniform()
    if style < 0.4:
        out = np.array([np.cos(yaw), np.sin(yaw), 0.1]) * rng.uniform(0.5, 2)
        parts.append(rod((0, 0, h), out + (0, 0, h), r * 0.7))
        parts.append(box(out + (0, 0, h), (0.3, 0.12, 0.06), yaw))
    elif style < 0.8:
        size = rng.uniform(0.2, 0.6, 2)
        parts.append(box((0, 0, h - size[1]), (0.02, *size), yaw))
    return Solid(tuple(parts))


def building_front(rng, long=None):
    """A house with window and door recesses, a balcony, a roof, along x; its front towards -y."""
    long = rng.uniform(4, 14) if long is None else long
    deep, floors = rng.uniform(3, 6), int(rng.integers(1, 5))
    storey = rng.uniform(2.6, 3.4)
    h = floors * storey
    parts = [box((0, deep, h / 2), (long, deep, h / 2))]
    count = int(rng.integers(2, 7))
    wide, tall, proud = 0.25 * long / count, rng.uniform(0.5, 0.9), rng.uniform(0.05, 0.25)
    for k in range(floors):
        for x in (2 * (np.arange(count) + 0.5) / count - 1) * long:
            if rng.uniform() < 0.85:
                z = storey * (k + 0.55)
                parts.append(box((x, -proud, z - tall), (wide * 1.1, proud, 0.06)))
                if rng.uniform() < 0.3:
                    parts.append(box((x, -0.5, z - tall), (1.5 * wide, 0.5, 0.5)))
                else:
                    parts += [box((x + s * wide, 0, z), (0.08, proud, tall)) for s in (-1, 1)]
    if rng.uniform() < 0.5:
        rise = rng.uniform(1, 2.5)
        lean = np.arctan2(deep, rise)
        half = np.hypot(deep, rise) / 2 + 0.3
        for s in (-1, 1):
            roof = box((0, 0, 0), (half, long, 0.1), 0, -s * (np.pi / 2 - lean))
            roof = roof.placed(np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]), np.zeros(3))
            parts.append(roof.placed(np.eye(3), np.array([0, deep - s * deep / 2, h + rise / 2])))
    if rng.uniform() < 0.4:
        parts.append(box((rng.uniform(-0.6, 0.6) * long, -0.8, 1.3), (1.0, 0.8, 1.3)))
    return Solid(tuple(parts))
