"""Which proper rotations carry a shape onto itself, and pose errors modulo those."""

from dataclasses import dataclass, field
from itertools import product

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

FOLDS = (8, 6, 5, 4, 3, 2)
# A surface of revolution fits itself at any angle; no fold above shares these with a circle.
CONTINUOUS_ANGLES = np.radians([29.0, 67.0, 101.0, 149.0])
TOLERANCE = 1.2  # of the distance between two independent samplings of the same surface
SAME_ELEMENT = np.radians(10.0)  # elements of a group with folds up to 8 lie further apart


@dataclass(frozen=True)
class SymmetryGroup:
    """
    Proper rotations that map a shape onto itself.

    :param centre: (3,) fixed point of all of them, shape frame.
    :param elements: (k, 3, 3) rotations; the identity comes first.
    :param axis: (3,) unit axis of a surface of revolution, or None; then each element stands for
        itself times all turns about the axis.
    :param sphere: all rotations belong to the group.
    """

    centre: np.ndarray
    elements: np.ndarray = field(default_factory=lambda: np.eye(3)[None])
    axis: np.ndarray | None = None
    sphere: bool = False

    @property
    def label(self):
        """``none``, the number of rotations, or what turns freely."""
        if self.sphere:
            return 'sphere'
        if self.axis is not None:
            return 'axis and flips' if len(self.elements) > 1 else 'axis'
        return 'none' if len(self.elements) == 1 else str(len(self.elements))

    def nearest(self, rotation):
        """The element nearest to ``rotation`` (3, 3), as a (4, 4) transform about the centre."""
        best = self._nearest_rotation(rotation)
        T = np.eye(4)
        T[:3, :3] = best
        T[:3, 3] = self.centre - best @ self.centre
        return T

    def _nearest_rotation(self, rotation):
        if self.sphere:
            return rotation
        # trace(g^T R) = 1 + 2 cos(angle between g and R)
        if self.axis is None:
            return self.elements[np.argmax(np.einsum('kij,ij->k', self.elements, rotation))]
        candidates = []
        for element in self.elements:
            # Of all turns about the axis the one nearest to a quaternion (v, w) has half the
            # angle atan2(v . axis, w): the twist of the swing-twist decomposition.
            x, y, z, w = Rotation.from_matrix(element.T @ rotation).as_quat()
            twist = 2 * np.arctan2(np.dot((x, y, z), self.axis), w)
            candidates.append(element @ Rotation.from_rotvec(twist * self.axis).as_matrix())
        return max(candidates, key=lambda g: np.sum(g * rotation))


def nearest_truth(truth, estimate, group, shape_pose):
    """
    The true pose that is nearest to an estimate, of all that the shape's symmetry allows.

    A symmetry ``g`` of the shape in its own frame is ``G = P g P^-1`` in the target frame, where
    ``P`` places the shape there; then ``G truth`` explains the clouds as well as ``truth``.

    :param truth: (4, 4) ``T_target_source``.
    :param estimate: (4, 4).
    :param group: :class:`SymmetryGroup` in the shape's frame.
    :param shape_pose: (4, 4) ``P``.
    :return: (4, 4).
    """
    back = np.linalg.inv(shape_pose)
    wanted = back[:3, :3] @ estimate[:3, :3] @ truth[:3, :3].T @ shape_pose[:3, :3]
    return shape_pose @ group.nearest(wanted) @ back @ truth


def find_symmetries(points):
    """
    Find the rotations about its centre that map a sampled surface onto itself.

    The cloud is split in two independent halves. A rotation belongs to the group when the moved
    first half lies as near to the second, and back, as the unmoved one does: the 95th and the 99th
    percentile of the nearest-neighbour distances within 1.2 times theirs. (The 95th alone would
    not notice a handle that makes up 3 % of the surface.) Candidates are turns by 2 pi / n,
    n = 2, 3, 4, 5, 6, 8, about the coordinate axes, the principal axes (in a plane of equal
    moments all directions, every 5 deg) and the axes of cube and icosahedron, as far as the second
    moments allow them; a candidate that nearly fits is refined before it is judged. Products of
    found elements complete the group.

    :param points: (n, 3) noise-free samples of the whole surface.
    :return: :class:`SymmetryGroup`.
    """
    search = _Search(np.asarray(points, float))
    found, free_axes = [], []
    for axis in _candidate_axes(search.moments):
        folds = search.possible_folds(axis)
        if any(abs(axis @ a) > np.cos(np.radians(8)) for a in free_axes):
            continue
        if len(folds) > 1:
            refined = search.free_axis(axis)
            if refined is not None:
                free_axes.append(refined)
                if len(free_axes) > 1:
                    return SymmetryGroup(search.centre, sphere=True)
                continue
        for fold in folds:
            angle = 2 * np.pi / fold
            if _known(Rotation.from_rotvec(angle * axis).as_matrix(), found):
                break  # its powers are then known too
            element = search.refine(axis, angle)
            if element is not None:
                found.append(element)
                break
    if free_axes:
        axis = free_axes[0]
        flip = search.refine(_perpendicular(axis), np.pi)
        found = [flip] if flip else []
        elements = np.stack([np.eye(3), *(rotation for rotation, _ in found)])
        return SymmetryGroup(_common_centre(search.centre, found), elements, axis)
    elements = np.stack(search.closure([rotation for rotation, _ in found]))
    return SymmetryGroup(_common_centre(search.centre, found), elements)


def _known(rotation, found):
    return any(_angle(rotation, other) < SAME_ELEMENT for other, _ in found)


class _Search:
    """Tests of rotations on one cloud."""

    def __init__(self, points):
        order = np.random.default_rng(0).permutation(len(points))
        half = len(points) // 2
        self.centre = points.mean(0)
        centred = points - self.centre
        self.moments = centred.T @ centred / len(points)
        self._halves = [centred[order[:half]], centred[order[half:]]]
        self._trees = [cKDTree(h) for h in self._halves]
        self._limits = TOLERANCE * self._percentiles(np.eye(3), np.zeros(3))

    def possible_folds(self, axis):
        """
        The folds that the second moments allow about ``axis``.

        An axis of symmetry is a principal axis; from three-fold on all moments across it are
        equal.
        """
        moments, largest = self.moments, np.trace(self.moments)
        along = axis @ moments @ axis
        if np.linalg.norm(moments @ axis - along * axis) > 0.03 * largest:
            return ()
        u = _perpendicular(axis)
        v = np.cross(axis, u)
        across = np.array([[u @ moments @ u, u @ moments @ v], [v @ moments @ u, v @ moments @ v]])
        low, high = np.linalg.eigvalsh(across)
        return FOLDS if high - low < 0.05 * largest else (2,)

    def _percentiles(self, rotation, shift):
        first, second = self._halves
        there, _ = self._trees[1].query(first @ rotation.T + shift)
        back, _ = self._trees[0].query((second - shift) @ rotation)
        return np.maximum(np.percentile(there, (95, 99)), np.percentile(back, (95, 99)))

    def fits(self, rotation, shift=(0, 0, 0)):
        """Whether the moved cloud lies on the cloud."""
        return bool((self._percentiles(rotation, np.asarray(shift)) <= self._limits).all())

    def _nearly_fits(self, rotation, shift, factor, count):
        moved = self._halves[0][:count] @ rotation.T + shift
        return np.percentile(self._trees[1].query(moved)[0], 80) <= factor * self._limits[0]

    def _icp(self, rotation, shift, count, iterations):
        """Point-to-point ICP of the first ``count`` points onto the second half."""
        first = self._halves[0][:count]
        for _ in range(iterations):
            distance, nearest = self._trees[1].query(first @ rotation.T + shift)
            keep = distance <= 3 * self._limits[0]
            if keep.sum() < 10:
                break
            rotation, shift = _kabsch(first[keep], self._halves[1][nearest[keep]])
        return rotation, shift

    def refine(self, axis, angle):
        """The symmetry near a turn by ``angle`` about ``axis``: (rotation, shift), or None."""
        rotation, shift = Rotation.from_rotvec(angle * axis).as_matrix(), np.zeros(3)
        if not self._nearly_fits(rotation, shift, 2.5, 128):
            return None
        if self.fits(rotation):
            return rotation, shift
        rotation, shift = self._icp(rotation, shift, 256, 6)
        if not self._nearly_fits(rotation, shift, 1.0, 512):
            return None
        rotation, shift = self._icp(rotation, shift, None, 3)
        turn = Rotation.from_matrix(rotation).as_rotvec()
        if abs(np.linalg.norm(turn) - angle) > np.radians(4) or not self.fits(rotation, shift):
            return None
        # A symmetry of finite order turns by exactly 2 pi / n.
        return Rotation.from_rotvec(angle * turn / np.linalg.norm(turn)).as_matrix(), shift

    def free_axis(self, axis):
        """The refined axis of a surface of revolution near ``axis``, or None."""
        axes = []
        for angle in CONTINUOUS_ANGLES:
            element = self.refine(axis, angle)
            if element is None:
                return None
            axes.append(Rotation.from_matrix(element[0]).as_rotvec())
        mean = np.sum(axes, axis=0)
        return mean / np.linalg.norm(mean)

    def closure(self, generators):
        """The products of the generators, as far as they map the cloud onto itself."""
        elements = [np.eye(3)]
        queue = list(generators)
        while queue:
            new = queue.pop()
            if all(_angle(new, e) > SAME_ELEMENT for e in elements) and self.fits(new):
                elements.append(new)
                queue += [new @ g for g in generators]
        return elements


def _kabsch(a, b):
    """Rotation and shift of least squares from points ``a`` onto ``b``."""
    centre_a, centre_b = a.mean(0), b.mean(0)
    u, _, vt = np.linalg.svd((b - centre_b).T @ (a - centre_a))
    rotation = u @ np.diag((1, 1, np.linalg.det(u) * np.linalg.det(vt))) @ vt
    return rotation, centre_b - rotation @ centre_a


def _angle(a, b):
    return np.arccos(np.clip((np.sum(a * b) - 1) / 2, -1, 1))


def _perpendicular(axis):
    other = np.eye(3)[np.argmin(np.abs(axis))]
    direction = np.cross(axis, other)
    return direction / np.linalg.norm(direction)


def _candidate_axes(second_moments):
    """Unit directions, one of +-each, most likely first."""
    moments, vectors = np.linalg.eigh(second_moments)
    axes = [*np.eye(3), *vectors.T]
    for i, j in ((0, 1), (1, 2)):
        if moments[j] - moments[i] < 0.05 * moments.sum():
            turns = np.radians(np.arange(5, 180, 5))
            axes += [np.cos(t) * vectors[:, i] + np.sin(t) * vectors[:, j] for t in turns]
    axes += [v for v in product((-1.0, 0.0, 1.0), repeat=3) if any(v)]
    golden = (1 + np.sqrt(5)) / 2
    icosahedral = [(0, 1, golden), (0, golden, 1 / golden), (1, golden**2, golden)]
    for corner in icosahedral:
        for signs in product((-1, 1), repeat=3):
            axes += [np.roll(np.multiply(signs, corner), k) for k in range(3)]
    kept = []
    for axis in axes:
        unit = np.asarray(axis, float) / np.linalg.norm(axis)
        if all(abs(unit @ k) < np.cos(np.radians(0.5)) for k in kept):
            kept.append(unit)
    return kept


def _common_centre(centre, found):
    """
    The point that all found symmetries leave fixed, least squares, nearest to ``centre``.

    About ``centre`` an element reads ``p -> R p + s``: its fixed point ``c`` solves
    ``(I - R) c = s``.
    """
    if not found:
        return centre
    left = np.concatenate([np.eye(3) - rotation for rotation, _ in found])
    right = np.concatenate([shift for _, shift in found])
    return centre + np.linalg.lstsq(left, right, rcond=1e-3)[0]
