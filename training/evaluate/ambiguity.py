"""Pairs whose truth is ambiguous: another pose explains both crops as well as the true one."""

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from dlc_training.evaluate.baselines import GicpOptions, PreparedGicp, start_rotations
from dlc_training.evaluate.metrics import (
    SUCCESS,
    is_within,
    rotation_error_deg,
    translation_error,
)
from dlc_training.evaluate.pair import apply, pose
from dlc_training.evaluate.symmetry import nearest_truth

START_POINTS, START_DISTANCE = 150, 0.15
FINE_POINTS, FINE_DISTANCE = 400, 0.08
REFINED_STARTS = 12
MIN_OVERLAP = 0.8  # of what both crops see at the truth
# Of the 95th and 99th percentile of the distances between points, and of the mean distance to the
# other surface, all at the truth; their sampling errors are 2 to 5 %.
TOLERANCE = (1.15, 1.3, 1.1)
NORMAL_NEIGHBOURS = 20
SLIDE = (0.12, np.radians(8.0))  # just outside of what counts as success


def is_ambiguous(pair, group):
    """
    Whether a wrong pose explains the two clouds of a pair as well as the truth does.

    Under a pose, each crop's kept half-space tells which points of the other cloud it must have
    seen too. A pose *explains* the pair when those points have neighbours as near as at the truth:
    the 95th and 99th percentile of the nearest-neighbour distances and the mean distance to the
    other surface, both ways together, within 1.15, 1.3 and 1.1 times those at the truth, and at
    least 80 % as many points are seen twice, for apart everything agrees. So a mug whose handle
    was cut off one cloud is ambiguous, a mug whose handle both clouds should show is not; a plate
    that may slide is. Poses equivalent by ``group`` are right, not ambiguous.

    The search: a short GICP from the truth turned about the centre of the overlap by the rotations
    of the cube in the shape's own axes and of the icosahedron, the 12 wrong ones that fit best
    refined; and GICP from the truth moved along its two least observable directions.

    :param pair: :class:`~dlc_training.evaluate.pair.Pair`.
    :param group: :class:`~dlc_training.evaluate.symmetry.SymmetryGroup` of its shape.
    """
    check = _Explains(pair)
    wrong = IsWrong(pair, group)
    return any(wrong(T) and check(T) for T in _candidates(pair, check, wrong))


class IsWrong:
    """Tells whether a pose of a pair is no success, modulo the shape's symmetry."""

    def __init__(self, pair, group):
        self._pair, self._group = pair, group

    def __call__(self, T):
        truth = nearest_truth(self._pair.truth, T, self._group, self._pair.shape_pose)
        return not is_within(rotation_error_deg(T, truth), translation_error(T, truth), SUCCESS)


class _Explains:
    """The question whether a pose explains a pair, asked of many poses."""

    def __init__(self, pair):
        clouds = pair.source.astype(float), pair.target.astype(float)
        self.source, self.target = (_Surface(cloud) for cloud in clouds)
        self._planes = pair.source_plane, pair.target_plane
        moved = apply(pair.truth, self.source.points)
        overlap = moved[_inside(self._planes[1], moved)]
        self.overlap_centre = overlap.mean(0)
        self._seen_share = MIN_OVERLAP * len(overlap) / len(moved)
        count, *at_truth = self._fit(pair.truth)
        self._least = MIN_OVERLAP * count
        self._limits = np.multiply(TOLERANCE, at_truth)

    def _fit(self, T):
        """How many points both crops must hold, and how far they lie from each other."""
        moved = apply(T, self.source.points)
        back = apply(np.linalg.inv(T), self.target.points)
        there = self.target.distances(moved[_inside(self._planes[1], moved)])
        here = self.source.distances(back[_inside(self._planes[0], back)])
        to_point, to_plane = np.concatenate([there, here], axis=1)
        if len(to_point) == 0:
            return 0, np.inf, np.inf, np.inf
        return len(to_point), *np.percentile(to_point, (95, 99)), np.mean(to_plane)

    def misfit(self, T, points):
        """Mean distance of those source ``points`` that the target must hold; inf if too few."""
        moved = apply(T, points)
        seen = moved[_inside(self._planes[1], moved)]
        enough = len(seen) >= self._seen_share * len(points)
        return self.target.distances(seen)[0].mean() if enough else np.inf

    def __call__(self, T):
        count, *fit = self._fit(T)
        return bool(count >= self._least and (fit <= self._limits).all())


class _Surface:
    """A cloud with a tree and estimated normals."""

    def __init__(self, points):
        import small_gicp

        self.points = points
        cloud = small_gicp.PointCloud(points)
        small_gicp.estimate_normals(cloud, num_neighbors=NORMAL_NEIGHBOURS)
        self._normals = np.asarray(cloud.normals())[:, :3]
        self._tree = cKDTree(points)

    def distances(self, points):
        """Distance of points to the nearest point and to the plane through it, (2, n)."""
        distance, nearest = self._tree.query(points)
        away = np.einsum('ij,ij->i', points - self.points[nearest], self._normals[nearest])
        return np.stack([distance, np.abs(away)])


def _inside(plane, points):
    return points @ plane[:3] >= plane[3]


def _candidates(pair, check, wrong):
    centre = check.overlap_centre
    few = pair.source[:: max(1, len(pair.source) // START_POINTS)]
    rough = PreparedGicp(few, pair.target, GicpOptions(iterations=15))
    ends = []
    for turn in turned_starts(pair.shape_pose[:3, :3], centre):
        T = rough.refine(turn @ pair.truth, (START_DISTANCE,))
        if wrong(T):
            ends.append((check.misfit(T, few), T))
    some = pair.source[:: max(1, len(pair.source) // FINE_POINTS)]
    fine = PreparedGicp(some, pair.target, GicpOptions(iterations=15))
    for _, T in sorted(ends, key=lambda end: end[0])[:REFINED_STARTS]:
        yield fine.refine(T, (FINE_DISTANCE,))
    for T in weak_directions(fine, pair.truth, centre):
        yield fine.refine(T, (FINE_DISTANCE,))


def turned_starts(shape_axes, centre):
    """
    Turns about a point to look for other poses from.

    :param shape_axes: (3, 3) axes of the shape; the rotations of the cube are taken in them.
    :param centre: (3,) point that stays.
    :return: list of (4, 4), those of the cube and of the icosahedron without the identity.
    """
    cube = shape_axes @ start_rotations() @ shape_axes.T
    everything = np.concatenate([cube, Rotation.create_group('I').as_matrix()])
    angles = Rotation.from_matrix(everything).magnitude()
    return [pose(turn, centre - turn @ centre) for turn in everything[angles > 1e-6]]


def weak_directions(gicp, truth, centre):
    """
    The truth (4, 4) moved either way along its two least observable directions.

    They are eigenvectors of the GICP Hessian in units of :data:`SLIDE`, each step as long as one
    unit. The Hessian is one of a right perturbation (source axes, rotation first), here taken
    about ``centre``.
    """
    result = gicp.align(truth, FINE_DISTANCE, 1)
    T = result.T_target_source
    local = T[:3, :3].T @ (centre - T[:3, 3])
    # A turn w about the local centre and a shift v are the right perturbation (w, v + c x w).
    x, y, z = local
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    about_centre = np.block([[np.eye(3), np.zeros((3, 3))], [cross, np.eye(3)]])
    units = np.repeat((SLIDE[1], SLIDE[0]), 3)
    scaled = about_centre @ np.diag(units)
    _, vectors = np.linalg.eigh(scaled.T @ result.H @ scaled)
    for vector in vectors[:, :2].T:
        step = units * vector / np.abs(vector).max()
        for sign in (-1, 1):
            turn = Rotation.from_rotvec(sign * T[:3, :3] @ step[:3]).as_matrix()
            shift = sign * T[:3, :3] @ step[3:]
            yield pose(turn, centre - turn @ centre + shift) @ truth
