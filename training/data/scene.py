"""A scene of solids that rays are cast into: what lasers and depth cameras measure."""

from dataclasses import dataclass

import numpy as np
import torch

from dlc_training.data.intersections import PACKS
from dlc_training.data.solid import Solid

# Rays at once: neighbours in a sensor's image look into a narrow cone, which spares many tests.
_BLOCK = 2048
_MARCHES = 96
# A marched ray has arrived when this near [m], or this share of its length.
_ARRIVED, _ARRIVED_SHARE = 1e-4, 1e-5


@dataclass(frozen=True)
class Hits:
    """
    What rays met.

    :param ranges: (R,) [m], inf where nothing.
    :param normals: (R, 3) unit normals of the surface, outward; zero where nothing.
    :param parts: (R,) int64, index of the solid in the scene; -1 where nothing.
    """

    ranges: torch.Tensor
    normals: torch.Tensor
    parts: torch.Tensor


class Scene:
    """
    Solids at fixed places.

    Boxes, frusta and ellipsoids are met in closed form, cut ones too; a solid with any other
    primitive by marching along its distance. A solid that holds the origin of a ray is not seen
    by it: walls are bodies, rooms the space between them.

    :param solids: sequence of :class:`Solid` or of primitives.
    :param device: where rays are computed, ``'cpu'`` or a CUDA device.
    """

    def __init__(self, solids, device='cpu'):
        self.device = torch.device(device)
        self.solids = tuple(s if isinstance(s, Solid) else Solid((s,)) for s in solids)
        self._marched, primitives, owner, cut = [], [], [], []
        kinds = {pack.kind for pack in PACKS}
        for number, solid in enumerate(self.solids):
            members = (*solid.parts, *solid.cuts)
            if not all(type(p) in kinds for p in members):
                self._marched.append((number, solid))
                continue
            if solid.cuts:
                first = len(primitives)
                middle = first + len(solid.parts)
                cut.append((range(first, middle), range(middle, first + len(members))))
            primitives += members
            owner += [number] * len(members)
        # Packed type by type: `order` maps the rows of all packs to the primitives as listed.
        self._packs, order = [], []
        for pack in PACKS:
            members = [i for i, p in enumerate(primitives) if type(p) is pack.kind]
            if members:
                self._packs.append((len(order), pack([primitives[i] for i in members], device)))
                order += members
        row = np.empty(len(order), np.int64)
        row[order] = np.arange(len(order))
        self._owner = torch.tensor(owner, dtype=torch.int64)[order].to(self.device)
        self._is_cut = torch.zeros(len(order), dtype=torch.bool)
        # Column of each row in the table of its cut solid, for the rows that have one.
        self._cut_solids = []
        for parts, cuts in cut:
            rows = torch.from_numpy(row[[*parts, *cuts]])
            column = torch.full((len(order),), -1)
            column[rows] = torch.arange(len(rows))
            self._is_cut[rows[len(parts) :]] = True
            self._cut_solids.append((len(parts), column.to(self.device)))
        self._is_cut = self._is_cut.to(self.device)

    @torch.inference_mode()
    def cast(self, origins, directions, limit=np.inf):
        """
        Cast rays; neighbours in the arrays should look about the same way, for speed.

        :param origins: (3,) or (R, 3) [m], numpy or torch.
        :param directions: (R, 3) unit vectors, numpy or torch.
        :param limit: range beyond which nothing is looked for [m].
        :return: :class:`Hits` of float32 tensors on the scene's device.
        """
        origins = torch.as_tensor(origins, dtype=torch.float32).to(self.device).reshape(-1, 3)
        directions = torch.as_tensor(directions, dtype=torch.float32).to(self.device)
        blocks = [
            self._cast_block(
                origins if len(origins) == 1 else origins[first : first + _BLOCK],
                directions[first : first + _BLOCK],
                limit,
            )
            for first in range(0, len(directions), _BLOCK)
        ]
        return Hits(*(torch.cat(values) for values in zip(*blocks, strict=True)))

    def _cast_block(self, origins, directions, limit):
        ranges = directions.new_full((len(directions),), limit)
        normals = torch.zeros_like(directions)
        parts = torch.full((len(directions),), -1, dtype=torch.int64, device=self.device)
        if self._packs:
            self._meet_convex(origins, directions, ranges, normals, parts)
        for number, solid in self._marched:
            self._meet_marched(number, solid, origins, directions, ranges, normals, parts)
        ranges[parts < 0] = torch.inf
        return ranges, normals, parts

    def _meet_convex(self, origins, directions, ranges, normals, parts):
        rays, rows, enter, exit_ = self._spans(origins, directions, float(ranges[0]))
        surface = torch.where((enter > exit_) | (enter <= 0), torch.inf, enter)
        surface[self._is_cut[rows]] = torch.inf
        for part_count, column in self._cut_solids:
            self._cut(part_count, column[rows], rays, enter, exit_, surface)
        nearest = torch.full_like(ranges, torch.inf)
        nearest.scatter_reduce_(0, rays, surface, 'amin')
        first = (surface == nearest[rays]) & (surface < ranges[rays])
        hit, row = rays[first], rows[first]
        ranges[hit] = nearest[hit]
        parts[hit] = self._owner[row]
        points = origins.expand_as(directions)[hit] + nearest[hit, None] * directions[hit]
        for offset, pack in self._packs:
            mine = ((row >= offset) & (row < offset + len(pack.radius))).nonzero()[:, 0]
            outward = pack.normals(points[mine], row[mine] - offset)
            # The wall of a cut faces into the cut.
            outward[self._is_cut[row[mine]]] *= -1
            normals[hit[mine]] = outward

    def _spans(self, origins, directions, limit):
        """Rays, rows of primitives near them, and where each such ray enters and leaves."""
        found = []
        for offset, pack in self._packs:
            rays, index, enter, exit_ = pack.meet(origins, directions, limit)
            found.append((rays, index + offset, enter, exit_))
        return [torch.cat(values) for values in zip(*found, strict=True)]

    def _cut(self, part_count, column, rays, enter, exit_, surface):
        """
        Where rays enter one cut solid, written into ``surface``.

        A ray enters it where it enters a part outside of every cut, or where it leaves a cut
        inside a part and outside of the other cuts.
        """
        pairs = ((column >= 0) & (enter <= exit_)).nonzero()[:, 0]
        if not len(pairs):
            return
        touched, line = torch.unique(rays[pairs], return_inverse=True)
        place, width = column[pairs], int(column.max()) + 1
        # Tables of rays by members; an absent span ends before it begins.
        low = enter.new_full((len(touched), max(width, part_count)), torch.inf)
        high = torch.full_like(low, -torch.inf)
        low[line, place], high[line, place] = enter[pairs], exit_[pairs]
        from_, to = low[:, None, part_count:], high[:, None, part_count:]
        starts = low[:, :part_count].clone()
        hidden = ((from_ <= starts[..., None]) & (starts[..., None] < to)).any(2)
        starts[hidden | (starts <= 0)] = torch.inf
        ends = high[:, part_count:].clone()
        inside = (low[:, None, :part_count] < ends[..., None]) & (
            ends[..., None] < high[:, None, :part_count]
        )
        hidden = ((from_ < ends[..., None]) & (ends[..., None] < to)).any(2)
        ends[~inside.any(2) | hidden | (ends <= 0)] = torch.inf
        surface[pairs] = torch.cat([starts, ends], 1)[line, place]

    def _meet_marched(self, number, solid, origins, directions, ranges, normals, parts):
        centre, radius = solid.sphere
        centre = torch.as_tensor(centre, dtype=torch.float32, device=self.device)
        offset = centre - origins
        passing = (offset * directions).sum(1)
        square = radius**2 - (offset**2).sum(1) + passing**2
        reach = square.clip(min=0).sqrt()
        near = (square > 0) & (passing + reach > 0) & (passing - reach < ranges)
        rays = near.nonzero()[:, 0]
        start, heading = origins.expand_as(directions)[rays], directions[rays]
        along = (passing - reach)[rays].clip(min=0)
        end = torch.minimum((passing + reach)[rays], ranges[rays])
        arrived = torch.zeros(len(rays), dtype=torch.bool, device=self.device)
        moving = torch.arange(len(rays), device=self.device)
        for _ in range(_MARCHES):
            if not len(moving):
                break
            gap = solid.distance(start[moving] + along[moving, None] * heading[moving])
            along[moving] += gap.clip(min=0)
            close = gap < _ARRIVED + _ARRIVED_SHARE * along[moving]
            arrived[moving[close]] = True
            moving = moving[~close & (along[moving] < end[moving])]
        arrived &= (along < end) & (along > 0)
        hit = rays[arrived]
        ranges[hit] = along[arrived]
        parts[hit] = number
        if len(hit):
            points = start[arrived] + along[arrived, None] * heading[arrived]
            normals[hit] = _gradient(solid, points)


def _gradient(solid, points, step=2e-3):
    """Unit gradient of the distance by differences at the corners of a tetrahedron."""
    corners = points.new_tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    values = solid.distance(points[:, None] + step * corners)
    return torch.nn.functional.normalize(values @ corners, dim=1)
