"""One level of ICP between two surfaces, by the library that the options choose."""

from typing import NamedTuple

import numpy as np
import small_gicp

from dlc_ros.errors import ParameterError
from dlc_ros.registration.surface import usable_threads


class Limits(NamedTuple):
    """
    When correspondences and iterations of one level end.

    :param distance: correspondence distance [m].
    :param epsilon: smallest step [rad, radii of the target].
    :param iterations: at most.
    """

    distance: float
    epsilon: float
    iterations: int


def align(target, source, init, limits, options):
    """
    Run one level of ICP.

    :param target: :class:`~dlc_ros.registration.surface.Surface`.
    :param source: likewise.
    :param init: (4, 4) ``T_target_source`` to start from.
    :param limits: :class:`Limits`.
    :param options: :class:`~dlc_ros.registration.options.RegistrationOptions`.
    :returns: transform (4, 4), which may be no rigid one; iterations; whether it ended by itself,
        or with open3d whether it found correspondences.
    :raises ParameterError: the chosen library is not installed.
    """
    run = _align_open3d if options.refiner == 'open3d' else _align_small_gicp
    return run(target, source, init, limits, options)


def _align_small_gicp(target, source, init, limits, options):
    """One level with small_gicp: transform (4, 4), iterations, whether it ended by itself."""
    result = small_gicp.align(
        target.whole.cloud,
        source.cloud,
        target.whole.tree,
        init,
        registration_type=options.refine_method,
        max_correspondence_distance=limits.distance,
        num_threads=usable_threads(options.threads),
        max_iterations=limits.iterations,
        rotation_epsilon=limits.epsilon,
        translation_epsilon=limits.epsilon * target.radius,
    )
    return np.array(result.T_target_source), int(result.iterations) + 1, bool(result.converged)


def _align_open3d(target, source, init, limits, options):
    """One level with open3d: transform (4, 4), iterations, whether it found correspondences."""
    o3d = require_open3d()
    criteria = o3d.ICPConvergenceCriteria(
        relative_fitness=limits.epsilon**2,
        relative_rmse=limits.epsilon**2,
        max_iteration=limits.iterations,
    )
    arguments = (source.open3d, target.open3d, limits.distance, init)
    if options.refine_method == 'GICP':
        estimation = o3d.TransformationEstimationForGeneralizedICP()
        result = o3d.registration_generalized_icp(*arguments, estimation, criteria)
    else:
        estimation = {
            'PLANE_ICP': o3d.TransformationEstimationPointToPlane,
            'ICP': o3d.TransformationEstimationPointToPoint,
        }[options.refine_method]()
        result = o3d.registration_icp(*arguments, estimation, criteria)
    # open3d does not tell how many iterations it took.
    return np.array(result.transformation), limits.iterations, result.fitness > 0.0


def require_open3d():
    """open3d's registration module, or one clear error."""
    try:
        import open3d
    except ImportError as error:
        raise ParameterError(
            f'refiner: open3d cannot be imported ({error}); install open3d or choose small_gicp'
        ) from None
    return open3d.pipelines.registration
