"""Which proper rotations carry a shape onto itself, and pose errors modulo those."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from dlc_training.evaluate.baselines import GicpOptions, PreparedGicp
from dlc_training.evaluate.pair import pose

FOLDS = (8, 6, 5, 4, 3, 2)
# A surface of revolution fits itself at any angle; no fold above shares these with a circle.
FREE_ANGLES = np.radians([101.0, 29.0, 67.0, 149.0])
TOLERANCE = 1.2  # of the distance between two independent samplings of the same surface
SAME_AXIS = np.cos(np.radians(8.0))
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
    n = 2, 3, 4, 5, 6, 8, about the coordinate axes, the principal axes (where moments are equal,
    all directions between them, every 5 to 8 deg) and the axes of cube and icosahedron, as far as
    the second moments allow them; a candidate that nearly fits is refined by GICP before it is
    judged. Products of found elements complete the group.

    :param points: (n, 3) noise-free samples of the whole surface.
    :return: :class:`SymmetryGroup`.
    """
    search = _Search(np.asarray(points, float))
    found, free_axes, axes = [], [], []
    for axis in _candidate_axes(search.moments):
        folds = search.possible_folds(axis)
        if not folds or any(abs(axis @ a) > SAME_AXIS for a in axes):
            continue
        refined = search.free_axis(axis) if len(folds) > 1 else None
        if refined is not None:
            free_axes.append(refined)
            axes.append(_axis(refined[0]))
            if len(free_axes) > 1:
                return SymmetryGroup(search.centre, sphere=True)
            continue
        for fold in folds:
            element = search.refine(axis, 2 * np.pi / fold)
            if element is not None:  # lower folds about this axis are its powers or none
                found.append(element)
                axes.append(_axis(element[0]))
                break
    if free_axes:
        axis = _axis(free_axes[0][0])
        flip = search.refine(_perpendicular(axis), np.pi)
        flips = [flip] if flip else []
        elements = np.stack([np.eye(3), *(rotation for rotation, _ in flips)])
        centre = _common_centre(search.centre, [free_axes[0], *flips])
        return SymmetryGroup(centre, elements, axis)
    elements = np.stack(search.closure([rotation for rotation, _ in found]))
    return SymmetryGroup(_common_centre(search.centre, found), elements)


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

    def _roughly_refined(self, rotation, iterations=6):
        """Point-to-point ICP of few points of the first half onto the second half."""
        first, shift = self._halves[0][:256], np.zeros(3)
        for _ in range(iterations):
            distance, nearest = self._trees[1].query(first @ rotation.T + shift)
            keep = distance <= 3 * self._limits[0]
            if keep.sum() < 10:
                break
            rotation, shift = _kabsch(first[keep], self._halves[1][nearest[keep]])
        return rotation, shift

    @cached_property
    def _gicp(self):
        return PreparedGicp(*self._halves, GicpOptions())

    def _refined(self, rotation, shift):
        T = self._gicp.refine(pose(rotation, shift), (3 * self._limits[0], self._limits[0]))
        return T[:3, :3], T[:3, 3]

    def _aligned(self, axis, angle):
        """Where the cloud settles on itself near a turn: (rotation, shift), or None."""
        rotation = Rotation.from_rotvec(angle * axis).as_matrix()
        if not self._nearly_fits(rotation, np.zeros(3), 1.5, 128):
            return None
        rotation, shift = self._roughly_refined(rotation)
        if not self._nearly_fits(rotation, shift, 1.0, 512):
            return None
        rotation, shift = self._refined(rotation, shift)
        return (rotation, shift) if self.fits(rotation, shift) else None

    def refine(self, axis, angle):
        """The symmetry near a turn by ``angle`` about ``axis``: (rotation, shift), or None."""
        element = self._aligned(axis, angle)
        if element is None or abs(_angle(element[0], np.eye(3)) - angle) > np.radians(4):
            return None
        # A symmetry of finite order turns by exactly 2 pi / n.
        return Rotation.from_rotvec(angle * _axis(element[0])).as_matrix(), element[1]

    def free_axis(self, axis):
        """One turn (rotation, shift) about the axis of revolution near ``axis``, or None."""
        element = self._aligned(axis, FREE_ANGLES[0])
        # The turn itself may have slid; its axis may not.
        if element is None or _angle(element[0], np.eye(3)) < np.radians(20):
            return None
        axis_found = _axis(element[0])
        if abs(axis_found @ axis) < SAME_AXIS:
            return None
        centre = _common_centre(np.zeros(3), [element])
        for angle in FREE_ANGLES:
            rotation = Rotation.from_rotvec(angle * axis_found).as_matrix()
            if not self.fits(rotation, centre - rotation @ centre):
                return None
        return element

    def closure(self, generators):
        """The products of the generators, as far as they map the cloud onto itself."""
        elements = [np.eye(3)]
        queue = list(generators)
        while queue:
            new = queue.pop()
            if any(_angle(new, e) < SAME_ELEMENT for e in elements):
                continue
            # Products add up the errors of their factors: each is refined anew.
            element = self.refine(_axis(new), _angle(new, np.eye(3)))
            if element is not None:
                elements.append(element[0])
                queue += [element[0] @ g for g in generators]
        return elements


def _kabsch(a, b):
    """Rotation and shift of least squares from points ``a`` onto ``b``."""
    centre_a, centre_b = a.mean(0), b.mean(0)
    u, _, vt = np.linalg.svd((b - centre_b).T @ (a - centre_a))
    rotation = u @ np.diag((1, 1, np.linalg.det(u) * np.linalg.det(vt))) @ vt
    return rotation, centre_b - rotation @ centre_a


def _axis(rotation):
    turn = Rotation.from_matrix(rotation).as_rotvec()
    return turn / np.linalg.norm(turn)


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
    if moments[2] - moments[0] < 0.05 * moments.sum():
        axes += _half_sphere(300)
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


def _half_sphere(count):
    """Directions spread evenly over half a sphere (Fibonacci lattice)."""
    height = (np.arange(count) + 0.5) / count
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    radius = np.sqrt(1 - height**2)
    return list(np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1))


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
