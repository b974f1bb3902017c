"""One solid: primitives joined and cut; its distance, and samples of its surface."""

from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch

# Surfaces closer than this touch: far above rounding, far below what a sensor resolves.
_TOUCHING = 1e-9


@dataclass(frozen=True, eq=False)
class Solid:
    """
    The union of ``parts`` minus the union of ``cuts``, in any frame.

    :param parts: primitives that are joined.
    :param cuts: primitives that are removed from the union.
    :param inner_faces: whether faces of one part inside of another belong to the surface, as in
        collections of CAD models, whose parts overlap as they come; sampled, but never seen.
    """

    parts: tuple
    cuts: tuple = ()
    inner_faces: bool = False

    def distance(self, points):
        """Signed distance bound of (..., 3) points: negative inside, at most the true distance."""
        return self._combined([p.distance(points) for p in (*self.parts, *self.cuts)])

    def _combined(self, distances):
        """Distance to the whole from the distances to each part and each cut, in that order."""
        library = torch if isinstance(distances[0], torch.Tensor) else np
        inside = reduce(library.minimum, distances[: len(self.parts)])
        for cut in distances[len(self.parts) :]:
            inside = library.maximum(inside, -cut)
        return inside

    @property
    def sphere(self):
        """Centre (3,) and radius of a sphere that holds the solid."""
        centre = np.mean([p.translation for p in self.parts], axis=0)
        return centre, max(
            float(np.linalg.norm(p.translation - centre)) + p.radius for p in self.parts
        )

    def sample(self, n, rng):
        """
        Draw points uniformly from the surface.

        :param n: number of points.
        :param rng: numpy Generator.
        :return: points (n, 3) float64 and outward unit normals (n, 3).
        """
        everything = (*self.parts, *self.cuts)
        areas = np.array([p.area for p in everything])
        share = areas / areas.sum()
        found, drawn, batches = 0, 0, []
        while found < n:
            # As many as are likely to do, by the share that was kept so far.
            count = int(1.1 * (n - found) / max(found / drawn if drawn else 0.8, 0.1)) + 16
            counts = rng.multinomial(count, share)
            pieces = [
                (
                    primitive.sample(k, rng),
                    np.full(k, index),
                    np.sign(len(self.parts) - index - 0.5),
                )
                for index, (primitive, k) in enumerate(zip(everything, counts, strict=True))
                if k
            ]
            points = np.concatenate([sample[0] for sample, _, _ in pieces])
            normals = np.concatenate([sign * sample[1] for sample, _, sign in pieces])
            keep = self._exposed(points, normals, np.concatenate([i for _, i, _ in pieces]))
            batches.append((points[keep], normals[keep]))
            drawn, found = drawn + count, found + int(keep.sum())
        points, normals = (np.concatenate(values) for values in zip(*batches, strict=True))
        order = rng.permutation(found)[:n]
        return points[order], normals[order]

    def _exposed(self, points, normals, index):
        """
        Which points on the surface of primitive ``index`` (n,) lie on the surface of the whole.

        Where surfaces touch (a boss stands on a plate), a distance of zero does not tell inside
        from outside, and rounding decides. There, what lies just above and below a point does;
        of faces that coincide the first primitive's counts.
        """
        if self.inner_faces:
            return self._uncut(points, index)
        distances = np.stack([p.distance(points) for p in (*self.parts, *self.cuts)])
        keep = np.abs(self._combined(distances)) < _TOUCHING
        rows = np.flatnonzero(keep & ((np.abs(distances) < _TOUCHING).sum(0) > 1))
        if len(rows):
            step = 1e3 * _TOUCHING * normals[rows]
            between = self.distance(points[rows] + step) > 0
            between &= self.distance(points[rows] - step) < 0
            earlier = np.arange(len(distances))[:, None] < index[rows]
            between &= ~(earlier & (np.abs(distances[:, rows]) < _TOUCHING)).any(0)
            keep[rows] = between
        return keep

    def _uncut(self, points, index):
        """Which points on the surface of primitive ``index`` (n,) no cut took away."""
        keep = np.ones(len(points), bool)
        for number, cut in enumerate(self.cuts, len(self.parts)):
            keep &= (index == number) | (cut.distance(points) > -_TOUCHING)
        rows = np.flatnonzero(index >= len(self.parts))
        if len(rows):  # a cut has walls only where there was something to cut
            inside = [p.distance(points[rows]) < _TOUCHING for p in self.parts]
            keep[rows] &= np.logical_or.reduce(inside)
        return keep

    def placed(self, rotation, translation):
        """The same solid moved by ``p -> rotation @ p + translation``."""
        return Solid(
            tuple(p.placed(rotation, translation) for p in self.parts),
            tuple(c.placed(rotation, translation) for c in self.cuts),
            self.inner_faces,
        )

    def scaled(self, factor):
        """The same solid scaled about the origin."""
        return Solid(
            tuple(_scaled(p, factor) for p in self.parts),
            tuple(_scaled(c, factor) for c in self.cuts),
            self.inner_faces,
        )


def _scaled(primitive, factor):
    fields = {k: v if k == 'rotation' else v * factor for k, v in primitive.__dict__.items()}
    return type(primitive)(**fields)
