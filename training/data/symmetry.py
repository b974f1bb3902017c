"""Rotations that carry a solid onto itself, read off the primitives that it is made of."""

from dataclasses import dataclass

import numpy as np

from dlc_training.data.primitives import Box, Ellipsoid, Frustum, Torus

_FOLDS = (8, 6, 5, 4, 3, 2)
# No fold above shares this angle with a circle [rad].
_ANY_ANGLE = 1.0
# Of the solid's radius: far above rounding, far below what is built on purpose.
_TOLERANCE = 1e-6
_LARGEST_GROUP = 60


@dataclass(frozen=True, eq=False)
class Symmetry:
    """
    Proper rotations that map a solid onto itself.

    :param centre: (3,) fixed point of all of them.
    :param elements: (k, 3, 3) rotations, the identity first.
    :param axis: (3,) unit axis of a solid of revolution, or None; then each element stands for
        itself times all turns about the axis.
    """

    centre: np.ndarray
    elements: np.ndarray
    axis: np.ndarray | None = None

    @property
    def trivial(self):
        """Whether nothing but the identity belongs to it."""
        return self.axis is None and len(self.elements) == 1


def symmetry_of(solid):
    """
    Find the symmetry of a solid.

    A rotation belongs to it when it carries every part onto an equal part, and every cut onto an
    equal cut. So what is found is certain; a symmetry that the primitives do not show (two boxes
    that together make a cube) is not found. Turns by 2 pi / n, n = 2, 3, 4, 5, 6, 8, and their
    products are looked for, about axes of primitives and directions towards them and between.

    :param solid: :class:`dlc_training.data.solid.Solid`.
    :return: :class:`Symmetry`.
    """
    search = _Search(solid)
    generators, axis = [], None
    axes = search.axes()
    angles = [_ANY_ANGLE, *(2 * np.pi / fold for fold in _FOLDS)]
    rotations = _about(axes, np.array(angles)[:, None])
    done = np.zeros(len(axes), bool)  # lower folds about an axis are powers of the highest
    for angle, candidates in zip(angles, rotations, strict=True):
        for number in np.flatnonzero(search.may_carry(candidates) & ~done):
            if search.carries(candidates[number]):
                done[number] = True
                if angle == _ANY_ANGLE:
                    axis = axes[number]
                else:
                    generators.append(candidates[number])
    if axis is None:
        return Symmetry(search.centre, _closure(generators))
    # Beside the turns about the axis there are at most those that swap its ends.
    across = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    flip = _about(across / np.linalg.norm(across), np.float64(np.pi))
    elements = [np.eye(3), flip] if search.carries(flip) else [np.eye(3)]
    return Symmetry(search.centre, np.array(elements), axis)


class _Search:
    """Tests of rotations on one solid."""

    def __init__(self, solid):
        self._primitives = [*solid.parts, *solid.cuts]
        count = len(solid.parts)
        places = np.array([p.translation for p in self._primitives])
        # Parts go onto parts, so their mean stays where it is.
        self.centre = places[:count].mean(0)
        self._places = places - self.centre
        self._turns = np.array([p.rotation for p in self._primitives])
        self._limit = _TOLERANCE * solid.sphere[1]
        shapes = [(*_shape(p), index < count) for index, p in enumerate(self._primitives)]
        self._equal = np.eye(len(shapes), dtype=bool)
        for i, shape in enumerate(shapes):
            for j in range(i):
                self._equal[i, j] = self._equal[j, i] = _same(shape, shapes[j], self._limit)

    def axes(self):
        """Unit directions about which the solid may turn, one of +-each."""
        offsets = [*self._places]
        for row, place in zip(self._equal, self._places, strict=True):
            offsets += [place + other for other in self._places[row]]
        offsets += [column for turn in self._turns for column in turn.T]
        lengths = np.linalg.norm(offsets, axis=1)
        units = np.array(offsets)[lengths > 100 * self._limit]
        units /= np.linalg.norm(units, axis=1, keepdims=True)
        # Of +-each the one whose first large component is positive.
        leading = np.argmax(np.abs(units) > 1e-3, axis=1)
        units *= np.sign(units[np.arange(len(units)), leading])[:, None]
        _, kept = np.unique(np.rint(units * 1e7), axis=0, return_index=True)
        return units[kept]

    def may_carry(self, rotations):
        """Which of (n, 3, 3) rotations carry a telling primitive to where an equal one is."""
        offsets = np.linalg.norm(self._places, axis=1)
        alike = np.where(offsets > self._limit, self._equal.sum(1), len(offsets) + 1)
        telling = int(np.lexsort((-offsets, alike))[0])
        moved = rotations @ self._places[telling]
        gaps = np.abs(moved[:, None] - self._places[self._equal[telling]]).max(2)
        return gaps.min(1) < self._limit

    def carries(self, rotation):
        """Whether a rotation about the centre carries every primitive onto an equal one."""
        moved = self._places @ rotation.T
        gaps = np.linalg.norm(moved[:, None] - self._places, axis=2)
        meets = self._equal & (gaps < self._limit)
        if not meets.any(1).all():
            return False
        for index, primitive in enumerate(self._primitives):
            turned = rotation @ self._turns[index]
            onto = (self._turns[other].T @ turned for other in np.flatnonzero(meets[index]))
            if not any(_leaves(primitive, turn) for turn in onto):
                return False
        return True


def _shape(primitive):
    """Type and measures of a primitive, wherever it is."""
    measures = [
        value
        for name, value in primitive.__dict__.items()
        if name not in ('rotation', 'translation', 'area')
    ]
    return type(primitive), np.concatenate([np.ravel(m) for m in measures])


def _same(a, b, limit):
    (kind, measures, is_part), (other, others, also_part) = a, b
    if kind is not other or is_part != also_part or len(measures) != len(others):
        return False
    return bool((np.abs(measures - others) < limit).all())


def _leaves(primitive, turn, tolerance=1e-6):
    """Whether a rotation (3, 3) in a primitive's own frame maps the primitive onto itself."""
    if isinstance(primitive, Box):
        size = np.abs(turn)
        permutes = (np.minimum(size, 1 - size) < tolerance).all()
        return bool(permutes and np.allclose(size @ primitive.half, primitive.half, rtol=1e-6))
    if isinstance(primitive, Ellipsoid):
        form = np.diag(primitive.half**2)
        return bool(np.allclose(turn @ form @ turn.T, form, atol=tolerance * form.max()))
    if isinstance(primitive, Torus):
        return bool(abs(turn[2, 2]) > 1 - tolerance)
    if isinstance(primitive, Frustum):
        ends_alike = abs(primitive.top - primitive.bottom) < tolerance * primitive.radius
        return bool((abs(turn[2, 2]) if ends_alike else turn[2, 2]) > 1 - tolerance)
    return bool(np.allclose(turn, np.eye(3), atol=tolerance))


def _about(axis, angle):
    """Rotations (..., 3, 3) about unit axes (..., 3) by angles (...) (Rodrigues)."""
    x, y, z = np.moveaxis(np.asarray(axis), -1, 0)
    zero = 0 * x
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    sine, cosine = (f(angle)[..., None, None] for f in (np.sin, np.cos))
    return np.eye(3) + sine * cross + (1 - cosine) * cross @ cross


def _closure(generators):
    """All products of the generators, the identity first."""
    elements, queue = [np.eye(3)], list(generators)
    while queue and len(elements) < _LARGEST_GROUP:
        new = queue.pop()
        if any(np.allclose(new, element, atol=1e-5) for element in elements):
            continue
        elements.append(new)
        queue += [new @ generator for generator in generators]
    return np.array(elements)
