"""Furniture in metres: each maker draws one piece that stands on z = 0, its front towards +x."""

import numpy as np

from dlc_training.data.blocks import ball, box, pillar, rod
from dlc_training.data.solid import Solid


def _legs(rng, w, d, h):
    """Legs under a board of half sizes ``w``, ``d`` at height ``h``: posts, sheets, a foot."""
    style = rng.uniform()
    r = rng.uniform(0.012, 0.04)
    if style < 0.55:
        splay = rng.uniform(0, 0.12) if rng.uniform() < 0.4 else 0.0
        corners = [(sx * (w - r), sy * (d - r)) for sx in (-1, 1) for sy in (-1, 1)]
        if rng.uniform() < 0.5:
            return [
                rod((x * (1 + splay), y * (1 + splay), 0), (x, y, h), r * 0.8, r)
                for x, y in corners
            ]
        return [box((x, y, h / 2), (r, r, h / 2)) for x, y in corners]
    if style < 0.75:  # sheets at both ends
        parts = [box((0, s * (d - 0.02), h / 2), (w, 0.012, h / 2)) for s in (-1, 1)]
        if rng.uniform() < 0.5:
            parts.append(box((-w * 0.8, 0, h * 0.6), (0.01, d, h * 0.35)))
        return parts
    column = pillar((0, 0, 0), rng.uniform(0.02, 0.06), h)
    if style < 0.88:
        return [column, pillar((0, 0, 0), 0.7 * min(w, d), 0.03)]
    spokes, reach = int(rng.integers(3, 6)), 0.9 * min(w, d)
    angles = 2 * np.pi * np.arange(spokes) / spokes + rng.uniform(0, 1)
    feet = [rod((0, 0, 0.08), (reach * np.cos(a), reach * np.sin(a), 0.03), 0.02) for a in angles]
    return [column, *feet]


def _boards(rng, x, half_width, low, high, thick):
    """A back between two heights at depth ``x``: a sheet, slats, or a frame with a gap."""
    style = rng.uniform()
    middle, tall = (low + high) / 2, (high - low) / 2
    if style < 0.5:
        return [box((x, 0, middle), (thick, half_width, tall))]
    posts = [box((x, s * half_width * 0.94, middle), (thick, 0.02, tall)) for s in (-1, 1)]
    count = int(rng.integers(2, 6))
    if style < 0.75:
        places = np.linspace(low + 0.05, high - 0.03, count)
        return posts + [box((x, 0, z), (thick * 0.7, half_width, 0.025)) for z in places]
    places = np.linspace(-0.8, 0.8, count) * half_width
    rails = [box((x, 0, high - 0.03), (thick, half_width, 0.03))]
    return posts + rails + [box((x, y, middle), (thick * 0.6, 0.012, tall)) for y in places]


def chair(rng):
    """A chair, a stool, an armchair, an office chair."""
    w, d, h = rng.uniform(0.18, 0.28), rng.uniform(0.18, 0.28), rng.uniform(0.38, 0.55)
    thick = rng.uniform(0.012, 0.05)
    if rng.uniform() < 0.8:
        parts = [box((0, 0, h), (w, d, thick))]
    else:
        parts = [pillar((0, 0, h - thick), min(w, d), 2 * thick)]
    parts += _legs(rng, w, d, h)
    if rng.uniform() < 0.9:
        high = h + rng.uniform(0.25, 0.7)
        lean = rng.uniform(0.0, 0.1)
        parts += _boards(rng, -w - lean, d * rng.uniform(0.7, 1.0), h + 0.02, high, 0.015)
    if rng.uniform() < 0.4:
        rest = h + rng.uniform(0.15, 0.28)
        for s in (-1, 1):
            parts.append(box((0, s * d, rest), (w * rng.uniform(0.6, 1), 0.025, 0.015)))
            parts.append(rod((w * 0.6, s * d, h), (w * 0.6, s * d, rest), 0.015))
    return Solid(tuple(parts))


def shell_chair(rng):
    """A seat of curved shells: pieces of upright rings and of bowls."""
    r, h, wall = rng.uniform(0.25, 0.4), rng.uniform(0.3, 0.5), rng.uniform(0.01, 0.06)
    tall = rng.uniform(0.2, 0.6)
    outer = pillar((0, 0, h), r, tall, r * rng.uniform(0.8, 1.2))
    inner = pillar((0, 0, h + wall), r - wall, tall + 0.1, outer.top - wall)
    front = box((r, 0, h + tall * 0.8), (r * rng.uniform(0.4, 1.1), 2 * r, tall * 0.7))
    body = [outer]
    if rng.uniform() < 0.5:
        body.append(ball((0, 0, h), (r * 0.95, r * 0.95, 0.12)))
    return Solid((*body, *_legs(rng, r * 0.6, r * 0.6, h)), (inner, front))


def table(rng):
    """A table, a desk with drawers, a bench."""
    w, d = rng.uniform(0.3, 0.6), rng.uniform(0.35, 1.1)
    h, thick = rng.uniform(0.35, 0.95), rng.uniform(0.008, 0.04)
    top = box((0, 0, h), (w, d, thick))
    if rng.uniform() < 0.25:
        top = pillar((0, 0, h - thick), w, 2 * thick)
        d = w
    parts = [top, *_legs(rng, w * 0.92, d * 0.92, h)]
    if rng.uniform() < 0.4:
        side, wide = rng.choice((-1, 1)), rng.uniform(0.15, 0.4) * d
        low = rng.uniform(0.0, 0.5) * h
        parts.append(box((0, side * (d - wide), (h + low) / 2), (w * 0.9, wide, (h - low) / 2)))
        parts += [
            box((w * 0.9, side * (d - wide), z), (0.02, wide * 0.8, 0.01))
            for z in np.linspace(low, h, 4)[1:]
        ]
    if rng.uniform() < 0.3:
        parts.append(box((0, 0, h * rng.uniform(0.2, 0.5)), (w * 0.85, d * 0.85, 0.01)))
    if rng.uniform() < 0.25:
        rise = rng.uniform(0.1, 0.5)
        parts.append(box((-w, 0, h + rise), (0.015, d, rise)))
        parts.append(box((-w * 0.7, 0, h + 1.9 * rise), (w * 0.3, d, 0.01)))
    if rng.uniform() < 0.2:  # an L
        parts.append(box((w + 0.4, d * 0.7, h), (0.5, d * 0.3, thick)))
        parts.append(box((w + 0.85, d * 0.7, h / 2), (0.02, d * 0.3, h / 2)))
    return Solid(tuple(parts))


def sofa(rng):
    """A sofa, an armchair, a corner sofa, with cushions."""
    w, d, h = rng.uniform(0.35, 0.5), rng.uniform(0.4, 1.2), rng.uniform(0.3, 0.45)
    arm, back = rng.uniform(0.05, 0.15), rng.uniform(0.3, 0.55)
    parts = [box((0, 0, h / 2 + 0.05), (w, d, h / 2))]
    parts.append(box((-w, 0, (h + back) / 2 + 0.05), (arm, d, (h + back) / 2)))
    for s in (-1, 1):
        if rng.uniform() < 0.9:
            rise = h + rng.uniform(0.1, 0.25)
            parts.append(box((0, s * (d + arm), rise / 2), (w, arm, rise / 2)))
            if rng.uniform() < 0.3:
                parts.append(rod((-w, s * (d + arm), rise), (w, s * (d + arm), rise), arm * 1.2))
    seats = int(rng.integers(1, 4))
    for k in range(seats):
        y = (2 * (k + 0.5) / seats - 1) * d
        parts.append(box((0.05, y, h + 0.1), (w * 0.85, 0.95 * d / seats, 0.06)))
        if rng.uniform() < 0.6:
            parts.append(ball((-w * 0.6, y, h + 0.3), (0.1, 0.8 * d / seats, 0.2), 0, -0.3))
    if rng.uniform() < 0.3:
        side = rng.choice((-1, 1))
        parts.append(box((w + 0.4, side * d * 0.7, h / 2 + 0.05), (0.5, d * 0.3, h / 2)))
    return Solid(tuple(parts))


def bed(rng):
    """A bed with boards, pillows, a blanket, drawers, a canopy."""
    w, d, h = rng.uniform(0.9, 1.1), rng.uniform(0.4, 1.0), rng.uniform(0.25, 0.55)
    thick = rng.uniform(0.06, 0.15)
    parts = [box((0, 0, h), (w, d, thick))]
    if rng.uniform() < 0.6:
        parts.append(box((0, 0, h / 2), (w * 0.97, d * 0.95, h / 2)))
    else:
        parts += _legs(rng, w, d, h)
    for x, share in ((-w, 0.95), (w, 0.5)):
        if rng.uniform() < share:
            high = h + rng.uniform(0.1, 0.8 if x < 0 else 0.4)
            parts.append(box((x, 0, high / 2), (0.03, d * rng.uniform(1, 1.1), high / 2)))
    for y in (-0.5, 0.5) if d > 0.6 else (0,):
        pillow = (0.2, 0.35 * max(d, 0.6), 0.08)
        parts.append(ball((-w * 0.75, y * d, h + thick + 0.04), pillow, rng.normal() * 0.1))
    if rng.uniform() < 0.6:
        parts.append(box((w * 0.2, 0, h + 0.02), (w * 0.75, d * 1.04, thick)))
    if rng.uniform() < 0.2:
        tall = rng.uniform(1.4, 2.0)
        parts += [rod((x, y, 0), (x, y, tall), 0.025) for x in (-w, w) for y in (-d, d)]
        parts.append(box((0, 0, tall), (w, d, 0.02)))
    for s in (-1, 1):
        if rng.uniform() < 0.25:
            parts.append(box((-w + 0.2, s * (d + 0.3), h * 0.6), (0.2, 0.22, h * 0.6)))
    return Solid(tuple(parts))


def cabinet(rng):
    """A cabinet, dresser, wardrobe or fridge: a body with doors, drawers, handles, feet."""
    w, d, h = rng.uniform(0.2, 0.4), rng.uniform(0.2, 0.9), rng.uniform(0.5, 2.1)
    lift = rng.uniform(0.03, 0.15) if rng.uniform() < 0.5 else 0.0
    parts = [box((0, 0, lift + h / 2), (w, d, h / 2))]
    if lift:
        parts += [
            box((x, y, lift / 2), (0.025, 0.025, lift / 2))
            for x in (-w + 0.03, w - 0.03)
            for y in (-d + 0.03, d - 0.03)
        ]
    if rng.uniform() < 0.5:
        parts.append(box((0.01, 0, lift + h), (w + 0.03, d + 0.03, 0.02)))
    columns, rows = int(rng.integers(1, 4)), int(rng.integers(1, 6))
    for j in range(columns):
        y = (2 * (j + 0.5) / columns - 1) * d
        for k in range(rows):
            z = lift + h * (k + 0.5) / rows
            proud = rng.choice((0.008, 0.015, 0.015, 0.2), p=(0.4, 0.3, 0.22, 0.08))
            size = (proud, 0.93 * d / columns, 0.46 * h / rows)
            parts.append(box((w + proud, y, z), size))
            if rng.uniform() < 0.7:
                grip = (0.012, 0.05, 0.01) if rows > 2 else (0.012, 0.01, 0.08)
                side = rng.choice((-0.7, 0, 0.7)) * d / columns
                parts.append(box((w + 2 * proud + 0.015, y + side, z), grip))
    if rng.uniform() < 0.3:
        rise = rng.uniform(0.2, 0.5)
        parts.append(box((-w + 0.03, 0, lift + h + rise), (0.02, d * 0.8, rise)))
    return Solid(tuple(parts))


def shelf(rng, filled=None):
    """An open shelf of panels with books and boxes on its boards."""
    w, d, h = rng.uniform(0.12, 0.3), rng.uniform(0.25, 0.9), rng.uniform(0.6, 2.1)
    thick = rng.uniform(0.008, 0.02)
    boards = int(rng.integers(2, 7))
    uprights = int(rng.integers(2, 5))
    levels = np.linspace(thick, h - thick, boards)
    parts = [box((0, y, h / 2), (w, thick, h / 2)) for y in np.linspace(-d, d, uprights)]
    parts += [box((0, 0, z), (w, d, thick)) for z in levels]
    if rng.uniform() < 0.6:
        parts.append(box((-w, 0, h / 2), (0.006, d, h / 2)))
    filled = rng.uniform(0, 1) if filled is None else filled
    gap = h / max(boards - 1, 1) - 2 * thick
    for z in levels[:-1]:
        y = -d + 0.03
        while y < d - 0.1:
            width = rng.uniform(0.015, 0.14)
            if rng.uniform() < filled:
                tall = gap * rng.uniform(0.3, 0.9)
                deep = w * rng.uniform(0.4, 0.9)
                at = (w * rng.uniform(-0.2, 0.2), y + width, z + thick + tall / 2)
                if width > 0.05 and rng.uniform() < 0.3:
                    parts.append(pillar((at[0], at[1], z + thick), 0.8 * width, tall))
                else:
                    parts.append(box(at, (deep, width * 0.9, tall / 2)))
            y += 2 * width + (0.0 if rng.uniform() < 0.6 else rng.uniform(0, 0.3))
    return Solid(tuple(parts))


def lamp(rng):
    """A standing, a desk, or a hanging lamp."""
    h, shade = rng.uniform(0.3, 1.7), rng.uniform(0.08, 0.25)
    tall = shade * rng.uniform(0.6, 1.8)
    parts = [pillar((0, 0, 0), shade * rng.uniform(0.5, 1), 0.03)]
    if rng.uniform() < 0.35:  # with a bent arm
        knee = np.array([rng.uniform(-0.4, 0.4) * h, 0, h * rng.uniform(0.4, 0.7)])
        head = np.array([rng.uniform(0.1, 0.6) * h, rng.uniform(-0.2, 0.2) * h, h])
        parts += [rod((0, 0, 0), knee, 0.012), rod(knee, head, 0.012)]
        parts.append(rod(head, head + (0.12 * h, 0, -0.08 * h), shade * 0.3, shade * 0.6))
        return Solid(tuple(parts))
    parts.append(rod((0, 0, 0), (0, 0, h), rng.uniform(0.008, 0.03)))
    if rng.uniform() < 0.3:
        parts.append(ball((0, 0, h * 0.35), (0.08, 0.08, h * 0.2)))
    style = rng.uniform()
    if style < 0.3:
        parts.append(box((0, 0, h), (shade, shade * rng.uniform(0.4, 1), tall / 2)))
        return Solid(tuple(parts))
    if style < 0.5:
        parts.append(ball((0, 0, h), (shade, shade, shade * rng.uniform(0.6, 1))))
        return Solid(tuple(parts))
    top = shade * rng.uniform(0.3, 1)
    parts.append(pillar((0, 0, h - tall / 2), shade, tall, top))
    inner = pillar((0, 0, h - tall / 2 - 0.02), shade - 0.008, tall + 0.05, top - 0.008)
    return Solid(tuple(parts), (inner,))


def stairs(rng):
    """A flight of steps, solid or open, with or without a rail."""
    steps, rise, run = int(rng.integers(3, 12)), rng.uniform(0.14, 0.22), rng.uniform(0.2, 0.32)
    wide = rng.uniform(0.3, 0.9)
    solid = rng.uniform() < 0.5
    parts = []
    for k in range(steps):
        z = rise * (k + 1)
        low = 0.0 if solid else z - rng.uniform(0.03, 0.05)
        parts.append(box((run * k, 0, (z + low) / 2), (run / 2, wide, (z - low) / 2)))
    start, end = np.array([0, 0, rise]), np.array([run * (steps - 1), 0, rise * steps])
    for s in (-1, 1):
        side = np.array([0, s * wide, 0])
        if not solid:
            parts.append(rod(start + side, end + side, 0.03))
        if rng.uniform() < 0.6:
            up = np.array([0, 0, rng.uniform(0.7, 1.0)])
            parts.append(rod(start + side + up, end + side + up, 0.025))
            for k in range(0, steps, int(rng.integers(1, 4))):
                foot = np.array([run * k, s * wide, rise * (k + 1)])
                parts.append(rod(foot, foot + up, 0.012))
    return Solid(tuple(parts))


def bathtub(rng):
    """A tub or basin cut out of a block, straight or rounded at its end."""
    w, d, h = rng.uniform(0.6, 0.95), rng.uniform(0.3, 0.45), rng.uniform(0.4, 0.65)
    wall = rng.uniform(0.02, 0.08)
    parts = [box((0, 0, h / 2), (w, d, h / 2))]
    if rng.uniform() < 0.5:
        parts.append(pillar((w, 0, 0), d, h))
    cuts = [ball((0, 0, h), (w - wall, d - wall, h - wall))]
    if rng.uniform() < 0.5:
        cuts = [box((0, 0, h), (w - 2 * wall, d - wall, h - wall))]
    if rng.uniform() < 0.6:
        parts.append(rod((-w + 0.05, 0, h), (-w + 0.05, 0, h + 0.12), 0.02))
        parts.append(rod((-w + 0.05, 0, h + 0.12), (-w + 0.2, 0, h + 0.1), 0.015))
    return Solid(tuple(parts), tuple(cuts))


def toilet(rng):
    """A toilet: a bowl on a foot, a tank behind, a lid."""
    h, w = rng.uniform(0.36, 0.44), rng.uniform(0.17, 0.22)
    long = rng.uniform(0.2, 0.28)
    parts = [
        pillar((-0.05, 0, 0), w * 0.6, h * 0.8, w * 0.8),
        ball((0.05, 0, h * 0.75), (long, w, h * 0.28)),
        box((-long - 0.02, 0, h + 0.18), (0.09, w * rng.uniform(1, 1.3), rng.uniform(0.15, 0.22))),
    ]
    if rng.uniform() < 0.5:
        parts.append(box((-long + 0.1, 0, h + 0.2), (0.012, w * 0.95, 0.2), 0, -0.15))
    else:
        parts.append(box((0.05, 0, h), (long, w, 0.02)))
        return Solid(tuple(parts))
    return Solid(tuple(parts), (ball((0.05, 0, h), (long * 0.75, w * 0.7, h * 0.35)),))
