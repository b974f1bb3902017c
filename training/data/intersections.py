"""Where rays enter and leave convex primitives, in closed form."""

import numpy as np
import torch

from dlc_training.data.primitives import Box, Ellipsoid, Frustum

# Smallest divisor: a ray parallel to a face is taken as turned by a hair.
_TINY = 1e-9
# Share of a squared distance that rounding in float32 may take.
_ROUNDING = 4e-6


class Pack:
    """
    ``n`` primitives of one type; all tensors are float32 on one device.

    :param primitives: sequence of the type that the subclass names in ``kind``.
    """

    def __init__(self, primitives, device):
        self.device = device
        self.rotation = self._stacked([p.rotation for p in primitives])
        self.translation = self._stacked([p.translation for p in primitives])
        self.radius = self._stacked([p.radius for p in primitives]) * (1 + 1e-5)

    def _stacked(self, rows):
        return torch.from_numpy(np.array(rows, np.float32)).to(self.device)

    def meet(self, origins, directions, limit):
        """
        Where rays run inside primitives.

        :param origins: (R, 3) or, common to all rays, (1, 3).
        :param directions: (R, 3), unit.
        :param limit: largest range.
        :return: tensors (K,) of rays, primitives, and ray lengths at entry and exit; among them
            are all that meet, entry <= exit, and some that do not.
        """
        chosen = self._in_view(origins, directions, limit)
        rays, index = self._near(origins, directions, limit, chosen)
        index = chosen[index]
        start = origins.expand_as(directions)[rays]
        return rays, index, *self.spans(start, directions[rays], index)

    def _in_view(self, origins, directions, limit):
        """Primitives whose bounding spheres touch the cone around rays of one origin."""
        axis = directions.mean(0)
        axis = axis / axis.norm().clip(min=1e-6)
        widest = (directions @ axis).min()
        if len(origins) > 1 or widest <= 0:
            return torch.arange(len(self.radius), device=self.device)
        offset = self.translation - origins
        along = offset @ axis
        across = ((offset**2).sum(1) - along**2).clip(min=0).sqrt()
        # Distance to the surface of the cone; behind the origin that to the origin is larger.
        apart = across * widest - along * (1 - widest**2).clip(min=0).sqrt()
        keep = (apart <= self.radius) & (along > -self.radius) & (along < limit + self.radius)
        return keep.nonzero()[:, 0]

    def _near(self, origins, directions, limit, chosen):
        """Pairs of rays and chosen primitives whose bounding sphere they meet, ray by ray."""
        # About the mean origin: coordinates of a map may be large against its primitives.
        middle = origins.mean(0)
        centres, starts = self.translation[chosen] - middle, origins - middle
        passing = directions @ centres.T - (starts * directions).sum(1, keepdim=True)
        square = (centres**2).sum(1) + (starts**2).sum(1, keepdim=True)
        if len(starts) > 1:
            square = square - 2 * starts @ centres.T
        radius = self.radius[chosen]
        touched = passing * passing >= square * (1 - _ROUNDING) - radius**2
        touched &= (passing > -radius) & (passing < limit + radius)
        return touched.nonzero(as_tuple=True)

    def spans(self, origins, directions, index):
        """
        Where each ray runs inside one primitive.

        :param origins: (K, 3).
        :param directions: (K, 3), unit.
        :param index: (K,) the primitive for each ray.
        :return: two (K,) tensors, ray lengths at entry and exit; a miss has entry > exit.
        """
        # Start the ray where it passes the centre: a quadratic about a distant origin would lose
        # all digits of a small primitive.
        offset = origins - self.translation[index]
        passing = -(offset * directions).sum(1)
        rotation = self.rotation[index]
        start = _turned_back(offset + passing[:, None] * directions, rotation)
        enter, exit_ = self._local_spans(start.T, _turned_back(directions, rotation).T, index)
        return passing + enter, passing + exit_

    def normals(self, points, index):
        """Outward unit normals (K, 3) at surface points (K, 3) of primitives ``index`` (K,)."""
        rotation = self.rotation[index]
        local = _turned_back(points - self.translation[index], rotation)
        return torch.einsum('rj,rij->ri', self._local_normals(local, index), rotation)


class Boxes(Pack):
    """Packed :class:`Box`."""

    kind = Box

    def __init__(self, boxes, device):
        super().__init__(boxes, device)
        self.half = self._stacked([b.half for b in boxes])

    def meet(self, origins, directions, limit):
        """
        See :meth:`Pack.meet`.

        Boxes are many and often long, with spheres that nearly all rays meet: testing all pairs
        in a few sweeps is faster than picking some.
        """
        if len(origins) > 1:
            return super().meet(origins, directions, limit)
        chosen = self._in_view(origins, directions, limit)
        enter = exit_ = None
        offset = (origins - self.translation[chosen])[:, None]
        starts = (offset @ self.rotation[chosen])[:, 0]
        for k in range(3):
            half = self.half[chosen, k]
            speed = directions @ (self.rotation[chosen, :, k] / half[:, None]).T
            inverse = speed.add_(_TINY).reciprocal_()
            middle = inverse * (-starts[:, k] / half)
            inverse.abs_()
            low, high = middle - inverse, middle.add_(inverse)
            enter = low if enter is None else torch.maximum(enter, low, out=enter)
            exit_ = high if exit_ is None else torch.minimum(exit_, high, out=exit_)
        rays, column = ((enter <= exit_) & (exit_ > 0)).nonzero(as_tuple=True)
        return rays, chosen[column], enter[rays, column], exit_[rays, column]

    def _local_spans(self, start, speed, index):
        inverse = 1 / _away_from_zero(speed)
        middle, reach = -start * inverse, self.half[index].T * inverse.abs()
        return (middle - reach).amax(0), (middle + reach).amin(0)

    def _local_normals(self, local, index):
        relative = local / self.half[index]
        axis = relative.abs().argmax(1, keepdim=True)
        return torch.zeros_like(local).scatter_(1, axis, relative.gather(1, axis).sign())


class Ellipsoids(Pack):
    """Packed :class:`Ellipsoid`."""

    kind = Ellipsoid

    def __init__(self, ellipsoids, device):
        super().__init__(ellipsoids, device)
        self.half = self._stacked([e.half for e in ellipsoids])

    def _local_spans(self, start, speed, index):
        half = self.half[index].T
        start, speed = start / half, speed / half
        square = (speed**2).sum(0)
        nearest = -(start * speed).sum(0) / square
        height = ((start + nearest * speed) ** 2).sum(0)
        reach = ((1 - height) / square).clip(min=0).sqrt()
        reach[height >= 1] = -1.0
        return nearest - reach, nearest + reach

    def _local_normals(self, local, index):
        return torch.nn.functional.normalize(local / self.half[index] ** 2, dim=1)


class Frusta(Pack):
    """
    Packed :class:`Frustum`.

    Between the planes of its caps a frustum is where the quadratic
    ``x^2 + y^2 - (middle + slope z)^2`` is negative; being convex it meets a ray in one span, that
    starts at a cap if the ray crosses the cap's plane inside, and at a root otherwise.
    """

    kind = Frustum

    def __init__(self, frusta, device):
        super().__init__(frusta, device)
        bottom, top, height = (
            self._stacked([getattr(f, name) for f in frusta])
            for name in ('bottom', 'top', 'height')
        )
        self.half = height / 2
        self.middle = (bottom + top) / 2  # radius at local z: middle + slope z
        self.slope = (top - bottom) / height

    def _local_spans(self, start, speed, index):
        half, middle, slope = self.half[index], self.middle[index], self.slope[index]
        (x, y, z), (u, v, w) = start, speed
        inverse = 1 / _away_from_zero(w)
        centre, reach = -z * inverse, (half * inverse).abs()
        low, high = centre - reach, centre + reach
        rim, growth = middle + slope * z, slope * w
        a = _away_from_zero(u * u + v * v - growth * growth)
        b = x * u + y * v - rim * growth
        c = x * x + y * y - rim * rim
        root = b * b - a * c
        missed = root < 0
        root = root.clip(min=0).sqrt()
        first, second = (-b - root) / a, (-b + root) / a
        first, second = torch.minimum(first, second), torch.maximum(first, second)
        at_low = ((a * low + 2 * b) * low + c) <= 0
        at_high = ((a * high + 2 * b) * high + c) <= 0
        enter = torch.where(at_low, low, torch.where(first >= low, first, second))
        exit_ = torch.where(at_high, high, torch.where(second <= high, second, first))
        missed |= (enter < low) | (enter > high) | (exit_ < low) | (exit_ > high)
        return enter, torch.where(missed & ~(at_low & at_high), enter - 1, exit_)

    def _local_normals(self, local, index):
        half, middle, slope = self.half[index], self.middle[index], self.slope[index]
        x, y, z = local.unbind(1)
        radius = (x * x + y * y).sqrt().clip(min=1e-12)
        slant = (1 + slope**2).sqrt()
        side = torch.stack([x / radius / slant, y / radius / slant, -slope / slant], 1)
        cap = torch.zeros_like(local)
        cap[:, 2] = z.sign()
        on_cap = (half - z.abs()).abs() < (radius - middle - slope * z).abs() / slant
        return torch.where(on_cap[:, None], cap, side)


PACKS = (Boxes, Frusta, Ellipsoids)


def _away_from_zero(values):
    return torch.where(values.abs() < _TINY, torch.full_like(values, _TINY), values)


def _turned_back(vectors, rotation):
    """Vectors (K, 3) times the transposes of (K, 3, 3) rotations."""
    return (vectors[:, :, None] * rotation).sum(1)
