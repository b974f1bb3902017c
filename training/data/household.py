"""Things of a household in metres: each maker draws one that stands on z = 0."""

import numpy as np

from dlc_training.data.blocks import ball, box, pillar, rod, turn
from dlc_training.data.solid import Solid


def bottle(rng):
    """A bottle or can: stacked rings about z, nearly always closed."""
    r, h = rng.uniform(0.025, 0.06), rng.uniform(0.12, 0.32)
    neck = r * rng.uniform(0.25, 0.6)
    low = h * rng.uniform(0.45, 0.7)
    high = low + (h - low) * rng.uniform(0.3, 0.7)
    parts = [pillar((0, 0, 0), r * rng.uniform(0.85, 1), low, r)]
    parts += [pillar((0, 0, low), r, high - low, neck), pillar((0, 0, high), neck, h - high)]
    if rng.uniform() < 0.4:
        parts.append(pillar((0, 0, h), neck * 1.3, 0.02))
    if rng.uniform() < 0.3:
        parts.append(box((r, 0, low * 0.8), (0.6 * r, 0.25 * r, low * 0.15)))
    return Solid(tuple(parts))


def vessel(rng):
    """A cup, mug, bowl, pot, pan or vase, hollow, with or without handles."""
    r, h = rng.uniform(0.04, 0.15), rng.uniform(0.04, 0.25)
    foot, wall = r * rng.uniform(0.4, 1.05), rng.uniform(0.003, 0.012)
    parts = [pillar((0, 0, 0), foot, h, r)]
    cuts = [pillar((0, 0, wall), foot - wall, h, r - wall)]
    if rng.uniform() < 0.3:
        parts = [ball((0, 0, h), (r, r, h))]
        cuts = [
            ball((0, 0, h), (r - wall, r - wall, h - wall)),
            box((0, 0, 1.5 * h), (r, r, h / 2)),
        ]
    style = rng.uniform()
    if style < 0.35:  # ear
        out, z = r + 0.35 * h + 0.01, 0.55 * h
        ear = [(r * 0.9, 0.8 * h), (out, z + 0.2 * h), (out, z - 0.15 * h), (r * 0.8, 0.3 * h)]
        ends = [np.array([x, 0, z]) for x, z in ear]
        parts += [rod(a, b, 0.008) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    elif style < 0.55:  # a long handle
        parts.append(rod((r, 0, 0.8 * h), (r * rng.uniform(2, 4), 0, 0.9 * h), 0.01))
    elif style < 0.7:
        parts += [box((0, s * (r + 0.02), 0.8 * h), (0.04, 0.02, 0.008)) for s in (-1, 1)]
    if rng.uniform() < 0.2:
        parts.append(rod((-r * 0.8, 0, 0.4 * h), (-r * 1.8, 0, h), 0.02, 0.01))
    return Solid(tuple(parts), tuple(cuts))


def plant(rng):
    """A plant in a pot: stems and leaves, which are thin."""
    r, h = rng.uniform(0.06, 0.2), rng.uniform(0.08, 0.3)
    parts = [pillar((0, 0, 0), r * rng.uniform(0.6, 1), h, r)]
    if rng.uniform() < 0.25:
        parts = [box((0, 0, h / 2), (r * rng.uniform(1, 3), r, h / 2))]
    spread = rng.uniform(0.2, 0.8)
    for _ in range(int(rng.integers(5, 16))):
        yaw = rng.uniform(0, 2 * np.pi)
        heading = np.array([np.cos(yaw) * spread, np.sin(yaw) * spread, rng.uniform(0.2, 1.2)])
        base = np.array([*(rng.uniform(-0.5, 0.5, 2) * r), h])
        tip = base + heading * rng.uniform(0.1, 0.6)
        if rng.uniform() < 0.6:
            parts.append(rod(base, tip, 0.006))
            base = tip
        pitch = np.arctan2(np.hypot(heading[0], heading[1]), heading[2])
        leaf = (0.004, rng.uniform(0.02, 0.07), rng.uniform(0.06, 0.25))
        parts.append(ball(base + 0.7 * leaf[2] * heading, leaf, yaw, pitch))
    return Solid(tuple(parts))


def screen(rng):
    """A monitor, a television, a laptop."""
    w, h = rng.uniform(0.15, 0.5), rng.uniform(0.1, 0.3)
    thick, lift = rng.uniform(0.006, 0.04), rng.uniform(0.05, 0.2)
    style = rng.uniform()
    if style < 0.3:
        lean = rng.uniform(-0.1, 0.5)
        parts = [box((0.7 * h, 0, 0.01), (0.7 * h, w, 0.01))]
        parts.append(box((-h * np.sin(lean), 0, h * np.cos(lean)), (0.006, w, h), 0, -lean))
        return Solid(tuple(parts))
    parts = [box((0, 0, lift + h), (thick, w, h))]
    if style < 0.5:  # a deep tube behind
        parts.append(box((-0.12, 0, lift + h), (0.12, 0.8 * w, 0.8 * h)))
    if rng.uniform() < 0.5:
        parts.append(box((thick, 0, lift + h), (0.006, w * 0.93, h * 0.9)))
    parts.append(rod((-thick, 0, 0), (-thick, 0, lift + h), 0.02))
    foot = rng.uniform(0.08, 0.15)
    parts.append(box((0, 0, 0.008), (foot, rng.uniform(0.3, 0.8) * w, 0.008)))
    return Solid(tuple(parts))


def keyboard(rng):
    """A keyboard or remote control: a thin wedge with rows of keys or a few blocks."""
    w, d, h = rng.uniform(0.05, 0.1), rng.uniform(0.12, 0.25), rng.uniform(0.005, 0.015)
    parts = [box((0, 0, h), (w, d, h), 0, rng.uniform(0, 0.1))]
    right = d * rng.uniform(0.3, 0.95)
    for x in np.linspace(-0.7, 0.7, int(rng.integers(2, 6))) * w:
        parts.append(box((x, (right - d) / 2, 2 * h), (0.11 * w, (d + right) / 2 * 0.93, 0.005)))
    if right < 0.8 * d:
        parts.append(box((0, (d + right) / 2, 2 * h), (0.7 * w, (d - right) * 0.4, 0.005)))
    if rng.uniform() < 0.2:
        parts.append(rod((-w, 0, h), (-w - 0.15, rng.uniform(-0.1, 0.1), h), 0.004))
    return Solid(tuple(parts))


def radio(rng):
    """A radio, a speaker, an oven, an amplifier: a box with knobs, a handle, an aerial."""
    w, d, h = rng.uniform(0.05, 0.2), rng.uniform(0.1, 0.3), rng.uniform(0.08, 0.25)
    parts = [box((0, 0, h), (w, d, h))]
    for _ in range(int(rng.integers(1, 6))):
        at = np.array([w, *(rng.uniform(-0.8, 0.8, 2) * (d, h))]) + (0, 0, h)
        if rng.uniform() < 0.6:
            parts.append(rod(at, at + (rng.uniform(0.01, 0.04), 0, 0), rng.uniform(0.1, 0.4) * h))
        else:
            parts.append(box(at, (0.01, *(rng.uniform(0.1, 0.4, 2) * (d, h)))))
    if rng.uniform() < 0.4:
        parts += [box((0, s * 0.7 * d, 2.2 * h), (0.01, 0.01, 0.25 * h)) for s in (-1, 1)]
        parts.append(rod((0, -0.7 * d, 2.45 * h), (0, 0.7 * d, 2.45 * h), 0.012))
    if rng.uniform() < 0.4:
        parts.append(rod((-w, -0.8 * d, 2 * h), (-w, rng.uniform(-1, 1) * d, 4 * h), 0.004))
    return Solid(tuple(parts))


def guitar(rng):
    """A stringed instrument: a flat body of discs, a neck, a head; lying on its back."""
    r, thick = rng.uniform(0.15, 0.22), rng.uniform(0.015, 0.06)
    second = r * rng.uniform(0.6, 0.95)
    shift = r * rng.uniform(0.9, 1.3)
    parts = [pillar((0, 0, 0), r, 2 * thick), pillar((shift, 0, 0), second, 2 * thick)]
    if rng.uniform() < 0.4:
        for s in (-1, 1):
            horn = np.array([shift + rng.uniform(0.8, 1.5) * second, s * second * 0.9, thick])
            parts.append(rod((shift, s * second * 0.5, thick), horn, 0.06, 0.02))
    end = shift + second + rng.uniform(0.3, 0.55)
    parts.append(box(((shift + end) / 2, 0, 2 * thick + 0.01), ((end - shift) / 2, 0.03, 0.012)))
    parts.append(box((end + 0.07, 0, 2 * thick), (0.08, 0.04, 0.01), 0, 0.15))
    parts.append(box((-0.4 * r, 0, 2 * thick), (0.02, 0.08, 0.012)))
    cuts = ()
    if rng.uniform() < 0.4:
        cuts = (pillar((0.6 * shift, 0, thick), 0.3 * r, 3 * thick),)
    return Solid(tuple(parts), cuts)


def books(rng):
    """A pile or a row of books or boxes."""
    parts, z = [], 0.0
    for _ in range(int(rng.integers(1, 6))):
        h = rng.uniform(0.008, 0.06)
        half = (rng.uniform(0.06, 0.16), rng.uniform(0.05, 0.12), h)
        parts.append(box((*rng.normal(0, 0.01, 2), z + h), half, rng.normal() * 0.2))
        z += 2 * h
    return Solid(tuple(parts))


def carton(rng):
    """A carton, closed or open with flaps."""
    w, d, h = rng.uniform(0.08, 0.3), rng.uniform(0.08, 0.35), rng.uniform(0.06, 0.3)
    body = box((0, 0, h), (w, d, h))
    if rng.uniform() < 0.65:
        return Solid((body,))
    flaps = []
    for s in (-1, 1):
        lean = s * rng.uniform(0.2, 1.3)
        flaps.append(
            box((s * (w + 0.5 * d * np.sin(abs(lean))), 0, 2 * h), (0.004, d, 0.5 * w), 0, lean)
        )
    return Solid((body, *flaps), (box((0, 0, h + 0.01), (w - 0.006, d - 0.006, h)),))


def heap(rng):
    """Soft things in a heap: bags, clothes, fruit."""
    parts = []
    for _ in range(int(rng.integers(1, 6))):
        half = rng.uniform(0.03, 0.15, 3)
        at = np.array([*rng.normal(0, 0.12, 2), half[2] * 0.8])
        parts.append(ball(at, half, rng.uniform(0, 6.3), rng.normal() * 0.3))
    return Solid(tuple(parts))


def curtain(rng):
    """A hanging cloth in folds, or a tent of leaning sheets."""
    h, count, fold = rng.uniform(0.5, 2.2), int(rng.integers(4, 14)), rng.uniform(0.03, 0.12)
    parts, lean = [], rng.uniform(0.3, 1.2)
    for k in range(count):
        y = (k - count / 2) * 2 * fold * np.cos(lean)
        yaw = (lean if k % 2 else -lean) * rng.uniform(0.8, 1.1)
        parts.append(box((0, y, h / 2), (0.004, fold, h / 2), yaw))
    reach = count * fold * np.cos(lean)
    if rng.uniform() < 0.6:
        parts.append(rod((0, -reach, h), (0, reach, h), 0.015))
    return Solid(tuple(parts))


def tent(rng):
    """Two leaning sheets, gables, poles; or a dome."""
    w, d, h = rng.uniform(0.6, 1.2), rng.uniform(0.6, 1.5), rng.uniform(0.6, 1.3)
    if rng.uniform() < 0.3:
        body = ball((0, 0, 0), (w, d, h))
        hollow = ball((0, 0, 0), (w - 0.02, d - 0.02, h - 0.02))
        ground = box((0, 0, -h), (2 * w, 2 * d, h))
        door = box((w, 0, 0), (w * 0.4, 0.3 * d, 0.6 * h))
        return Solid((body,), (hollow, ground, door))
    lean = np.arctan2(w, h)
    slope = np.hypot(w, h) / 2
    parts = [box((s * w / 2, 0, h / 2), (0.008, d, slope), 0, -s * lean) for s in (-1, 1)]
    parts += [rod((0, s * d, 0), (0, s * d, h), 0.02) for s in (-1, 1)]
    if rng.uniform() < 0.5:
        parts.append(box((0, 0, 0.005), (w, d, 0.005)))
    if rng.uniform() < 0.4:
        out = rng.uniform(0.3, 0.8)
        parts.append(box((0, d + out / 2, h * 0.9), (w * 0.6, out / 2, 0.008)))
        parts += [
            rod((s * w * 0.5, d + out, 0), (s * w * 0.5, d + out, h * 0.9), 0.02) for s in (-1, 1)
        ]
    return Solid(tuple(parts))


def person(rng):
    """A standing or walking person."""
    h = rng.uniform(1.5, 1.95)
    stride = rng.uniform(0, 0.25)
    yaw = rng.uniform(0, 2 * np.pi)
    frame = turn(yaw)
    hip, shoulder = 0.5 * h, 0.82 * h
    parts = [
        ball((0, 0, 0.66 * h), (0.13, 0.2, 0.19 * h), yaw),
        ball((0, 0, 0.93 * h), (0.09, 0.08, 0.075 * h), yaw),
        rod((0, 0, shoulder), (0, 0, 0.9 * h), 0.06),
    ]
    for s in (-1, 1):
        foot = frame @ np.array([s * stride, s * 0.1, 0])
        hand = frame @ np.array([-s * stride + rng.uniform(0, 0.3), s * 0.28, hip])
        parts.append(rod(foot, frame @ np.array([0, s * 0.09, hip]), 0.06, 0.085))
        parts.append(rod(frame @ np.array([0, s * 0.2, shoulder]), hand, 0.05, 0.04))
    return Solid(tuple(parts))
