"""Pairs whose truth is ambiguous: another pose explains both crops as well as the true one."""

import numpy as np
from dlc_training.evaluate.baselines import GicpOptions, PreparedGicp, start_rotations
from dlc_training.evaluate.metrics import (
    SUCCESS,
    is_within,
    rotation_error_deg,
    translation_error,
)
from dlc_training.evaluate.protocols import apply, pose
from dlc_training.evaluate.symmetry import nearest_truth
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

START_POINTS = 400
START_DISTANCES = (0.2, 0.08)
FINEST_DISTANCE = 0.08
MIN_OVERLAP = 0.8  # of what both crops see at the truth
TOLERANCE = (1.15, 1.3)  # of the 95th and 99th percentile of the distances at the truth
SLIDE = (0.12, np.radians(8.0))  # just outside of what counts as success


def is_ambiguous(pair, group):
    """
    Whether a wrong pose explains the two clouds of a pair as well as the truth does.

    Under a pose, each crop's kept half-space tells which points of the other cloud it must have
    seen too. A pose *explains* the pair when those points have neighbours as near as at the truth:
    the 95th and 99th percentile of the nearest-neighbour distances, both ways together, within
    1.15 and 1.3 times those at the truth (their sampling error is a few per cent), and at least
    80 % as many points are seen twice, for apart everything agrees. So a mug whose handle was cut
    off one cloud is ambiguous, a mug whose handle both clouds should show is not; a plate that may
    slide is. Poses equivalent by ``group`` are right, not ambiguous.

    The search: GICP from the truth turned about the centre of the overlap by the rotations of the
    cube in the shape's own axes and of the icosahedron, and from the truth moved along the two
    least observable directions.

    :param pair: :class:`~dlc_training.evaluate.protocols.Pair`.
    :param group: :class:`~dlc_training.evaluate.symmetry.SymmetryGroup` of its shape.
    """
    check = _Explains(pair)
    for candidate in _candidates(pair, check):
        right = nearest_truth(pair.truth, candidate, group, pair.shape_pose)
        errors = rotation_error_deg(candidate, right), translation_error(candidate, right)
        if not is_within(*errors, SUCCESS) and check(candidate):
            return True
    return False


class _Explains:
    def __init__(self, pair):
        self._pair = pair
        self._source = pair.source.astype(float)
        self._target = pair.target.astype(float)
        self._trees = cKDTree(self._source), cKDTree(self._target)
        distances = self._distances(pair.truth)
        self._least = MIN_OVERLAP * len(distances)
        self._limits = np.multiply(TOLERANCE, np.percentile(distances, (95, 99)))

    def _distances(self, T):
        """Distance to the nearest neighbour of all points that both crops must hold."""
        moved = apply(T, self._source)
        back = apply(np.linalg.inv(T), self._target)
        there = moved[_inside(self._pair.target_plane, moved)]
        here = back[_inside(self._pair.source_plane, back)]
        return np.concatenate([self._trees[1].query(there)[0], self._trees[0].query(here)[0]])

    def overlap_centre(self):
        """Centre of the source points that the target's crop saw too, target frame."""
        moved = apply(self._pair.truth, self._source)
        return moved[_inside(self._pair.target_plane, moved)].mean(0)

    def __call__(self, T):
        distances = self._distances(T)
        if len(distances) < self._least:
            return False
        return bool((np.percentile(distances, (95, 99)) <= self._limits).all())


def _inside(plane, points):
    return points @ plane[:3] >= plane[3]


def _candidates(pair, check):
    few = pair.source[:: max(1, len(pair.source) // START_POINTS)]
    gicp = PreparedGicp(few, pair.target, GicpOptions(iterations=15))
    centre = check.overlap_centre()
    for rotation in _rotations(pair.shape_pose[:3, :3]):
        turn = pose(rotation, centre - rotation @ centre)
        yield gicp.refine(turn @ pair.truth, START_DISTANCES)
    for step in _weak_directions(gicp, pair.truth, centre):
        for sign in (-1, 1):
            turn = Rotation.from_rotvec(sign * step[:3]).as_matrix()
            slide = pose(turn, centre - turn @ centre + sign * step[3:])
            yield gicp.refine(slide @ pair.truth, (FINEST_DISTANCE,))


def _rotations(shape_axes):
    cube = shape_axes @ start_rotations() @ shape_axes.T
    everything = np.concatenate([cube, Rotation.create_group('I').as_matrix()])
    angles = Rotation.from_matrix(everything).magnitude()
    return everything[angles > 1e-6]


def _weak_directions(gicp, truth, centre):
    """
    The two least observable steps at the truth, (rotation vector, translation) of target axes.

    They are eigenvectors of the GICP Hessian in units of :data:`SLIDE`, each step as long as one
    unit. The Hessian is one of a right perturbation (source axes, rotation first), here taken
    about ``centre``.
    """
    result = gicp.align(truth, FINEST_DISTANCE, 1)
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
        yield np.concatenate([T[:3, :3] @ step[:3], T[:3, :3] @ step[3:]])
