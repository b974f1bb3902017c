"""ICP on full-resolution clouds: coarse to fine from a predicted pose, and what came of it."""

from dataclasses import dataclass

import numpy as np
import small_gicp

from dlc_ros.errors import ParameterError
from dlc_ros.registration.options import RegistrationOptions
from dlc_ros.registration.se3 import skew, transform_points
from dlc_ros.registration.surface import Surface

# Points of the two clouds that are refined. The reference is searched (its size costs a
# logarithm), the source is iterated over.
_MAX_REFERENCE = 50_000
_MAX_SOURCE = 6_000
# Finest correspondence distance in pitches of the coarser cloud: a correct neighbour is within
# about one, and noise of the order of the pitch must not cut it off.
_FINE_PITCHES = 2.0
# Factor between correspondence distances of successive levels, and how far the first one reaches
# as a share of the reference's radius (about 15 degrees of turn).
_LEVEL_FACTOR = 3.0
_COARSE_RADII = 0.25
# Points that the levels before the last one iterate over.
_COARSE_SOURCE = 1_500


@dataclass(frozen=True)
class Refinement:
    """
    What a refinement found, judged at full resolution whatever library ran it.

    :param transform: (4, 4) float64 ``T_target_source`` in the clouds' frames.
    :param hessian: (6, 6) ``sum J^T J`` of the point-to-plane residuals of the inliers, order
        x y z roll pitch yaw, target axes, error convention of :mod:`dlc_ros.registration.se3`.
    :param inlier_fraction: share of source points within ``distance`` of the target, 0..1.
    :param residual: root mean square point-to-plane distance of the inliers [m]; NaN if none.
    :param iterations: iterations of all levels.
    :param converged: the last level ended by itself and has inliers; not proof of being right.
    :param score: 0..1, agreement of the surfaces in both directions; ranks candidates.
    :param distance: finest correspondence distance [m].
    """

    transform: np.ndarray
    hessian: np.ndarray
    inlier_fraction: float
    residual: float
    iterations: int
    converged: bool
    score: float
    distance: float


class Refiner:
    """Refines poses of clouds against one reference, whose tree and normals are built once."""

    def __init__(self, reference, options=None):
        """
        Prepare the reference.

        :param reference: (N, 3) float64 in a local frame [m].
        :param options: :class:`RegistrationOptions`.
        """
        self.options = options or RegistrationOptions()
        self.target = Surface(
            reference, self.options.voxel_size, _MAX_REFERENCE, self.options.threads
        )
        self._backend = _open3d_align if self.options.refiner == 'open3d' else _small_gicp_align

    def prepare(self, source):
        """
        Reduce a source cloud once for any number of :meth:`refine` calls.

        :param source: (N, 3) float64 in a local frame [m].
        :returns: :class:`Surface`.
        """
        return Surface(source, self.options.voxel_size, _MAX_SOURCE, self.options.threads)

    def fine_distance(self, source):
        """Finest correspondence distance [m] for a prepared source."""
        if self.options.max_correspondence_distance > 0.0:
            return self.options.max_correspondence_distance
        return _FINE_PITCHES * max(self.target.pitch, source.pitch)

    def refine(self, source, init, start_distance=None):
        """
        Refine a pose.

        :param source: (N, 3) float64 points or what :meth:`prepare` made of them.
        :param init: (4, 4) ``T_target_source`` to start from.
        :param start_distance: correspondence distance of the first level [m]; default a quarter
            of the smaller cloud's radius.
        :returns: :class:`Refinement`.
        """
        source = source if isinstance(source, Surface) else self.prepare(source)
        fine = self.fine_distance(source)
        if start_distance is None:
            start_distance = _COARSE_RADII * min(self.target.radius, source.radius)
        transform, iterations, converged = np.asarray(init, dtype=np.float64), 0, False
        for distance in levels(start_distance, fine):
            transform, used, converged = self._backend(
                self.target, source, transform, distance, self.options
            )
            iterations += used
        return self.evaluate(source, transform, iterations, converged)

    def evaluate(self, source, transform, iterations=0, converged=True):
        """
        Evidence at a pose, without moving it.

        :param source: what :meth:`prepare` made.
        :param transform: (4, 4) ``T_target_source``.
        :param iterations: passed on into the answer.
        :param converged: passed on, unless there are too few inliers.
        :returns: :class:`Refinement`.
        """
        distance = self.fine_distance(source)
        moved = transform_points(transform, source.points)
        indices, forward = self.target.nearest(moved)
        near = forward < distance
        normals = self.target.normals[indices[near]]
        residuals = np.einsum('ij,ij->i', moved[near] - self.target.points[indices[near]], normals)
        levers = moved[near] - transform[:3, 3]
        jacobian = np.hstack([normals, np.cross(levers, normals)])
        return Refinement(
            transform=transform,
            hessian=jacobian.T @ jacobian,
            inlier_fraction=float(near.mean()),
            residual=float(np.sqrt(np.mean(residuals**2))) if near.any() else float('nan'),
            iterations=iterations,
            converged=bool(converged and near.sum() >= 6),
            score=float(np.mean(np.maximum(0.0, 1.0 - (forward / distance) ** 2))),
            distance=distance,
        )


def levels(coarse, fine):
    """Correspondence distances from ``coarse`` down to ``fine`` [m], geometric, at least one."""
    if coarse <= fine:
        return [fine]
    count = max(1, round(np.log(coarse / fine) / np.log(_LEVEL_FACTOR)))
    return [fine * (coarse / fine) ** (i / count) for i in range(count, -1, -1)]


def _small_gicp_align(target, source, init, distance, options):
    """One level with small_gicp: transform (4, 4), iterations, converged."""
    result = small_gicp.align(
        target.cloud,
        source.cloud,
        target.tree,
        init,
        registration_type=options.refine_method,
        max_correspondence_distance=distance,
        num_threads=options.threads,
        max_iterations=options.max_iterations,
        rotation_epsilon=1e-4,
        translation_epsilon=1e-4 * target.radius,
    )
    transform = np.asarray(result.T_target_source)
    if not np.isfinite(transform).all():
        return init, 0, False
    return transform, int(result.iterations) + 1, bool(result.converged)


def _open3d_align(target, source, init, distance, options):
    """One level with open3d: transform (4, 4), iterations, converged."""
    try:
        from open3d.pipelines import registration as o3d
    except ImportError as error:
        raise ParameterError(
            f'refiner: open3d cannot be imported ({error}); install it or use small_gicp'
        ) from None
    method = {
        'GICP': o3d.TransformationEstimationForGeneralizedICP,
        'PLANE_ICP': o3d.TransformationEstimationPointToPlane,
        'ICP': o3d.TransformationEstimationPointToPoint,
    }[options.refine_method]()
    criteria = o3d.ICPConvergenceCriteria(
        relative_fitness=1e-7, relative_rmse=1e-7, max_iteration=options.max_iterations
    )
    register = o3d.registration_icp
    if options.refine_method == 'GICP':
        register = o3d.registration_generalized_icp
    result = register(
        _open3d_cloud(source), _open3d_cloud(target), distance, init, method, criteria
    )
    return np.array(result.transformation), options.max_iterations, result.fitness > 0.0


def _open3d_cloud(surface):
    """open3d's view of a surface, with the same normals and covariances, made once."""
    import open3d

    if surface.open3d_cloud is None:
        cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(surface.points))
        cloud.normals = open3d.utility.Vector3dVector(surface.normals)
        covariances = np.ascontiguousarray(np.asarray(surface.cloud.covs())[:, :3, :3])
        cloud.covariances = open3d.utility.Matrix3dVector(covariances)
        surface.open3d_cloud = cloud
    return surface.open3d_cloud
