"""Where a source is believed to be before it is looked at, and what that rules out."""

import numpy as np

from dlc_ros.errors import ParameterError
from dlc_ros.registration.covariance import covariance_of_compose, symmetric
from dlc_ros.registration.se3 import compose, inverse, is_rigid, log_so3, nearest_rigid, numbers

# Standard deviations of an initial pose that comes without a covariance: a person's click or a
# guess from a plan. The length is a share of the reference's radius.
DEFAULT_ROTATION = np.radians(30.0)
DEFAULT_LENGTH = 0.3
# Smallest standard deviations that are believed: a 2D initial pose has zeros for z, roll, pitch.
_LEAST_ROTATION = np.radians(1.0)
_LEAST_LENGTH = 0.01
# Share of these below which no prior is believed where it is weighed against points.
_SHARPEST = 0.1
# By how much of its largest entry a covariance may miss symmetry: float32 sums do.
_ASYMMETRY = 1e-3
# Squared Mahalanobis distance (6 degrees of freedom) beyond which one in 10,000 true poses lies.
_IMPLAUSIBLE = 27.86
# The same for one in 1,000: what the points say contradicts the prior.
_CONTRADICTED = 22.46
# How much farther a rival must be for the prior to decide: odds of 100 to 1.
_DECISIVE = 9.21


class PosePrior:
    """
    Gaussian belief about ``T_target_source`` between two local frames.

    :ivar transform: (4, 4) mean.
    :ivar covariance: (6, 6), order x y z roll pitch yaw, target axes; generous, it tells where to
        look.
    :ivar belief: (6, 6) the same as it was given, to be weighed against points.
    """

    def __init__(self, transform, covariance, belief=None):
        self.transform, self.covariance = transform, covariance
        self.belief = covariance if belief is None else belief
        self._information = np.linalg.inv(covariance)

    @classmethod
    def of(cls, init, covariance, target_frame, source_frame, radius):
        """
        Check a user's initial pose and bring it into the local frames.

        :param init: (4, 4) ``T_target_source``.
        :param covariance: (6, 6) of it, or None for the default.
        :param target_frame: :class:`LocalFrame` of the reference.
        :param source_frame: :class:`LocalFrame` of the source.
        :param radius: of the reference [m].
        :raises ParameterError: not a rigid transform, not a covariance.
        """
        if not is_rigid(init):
            raise ParameterError(
                'init: expected a rigid (4, 4) transform T_target_source (rotation without scale'
                f' or mirror, last row 0 0 0 1), got {" ".join(str(init).split())}'
            )
        ahead = compose(inverse(target_frame.transform), nearest_rigid(init))
        local = compose(ahead, source_frame.transform)
        least = np.repeat([_LEAST_LENGTH * radius, _LEAST_ROTATION], 3)
        if covariance is None:
            wide = np.repeat([DEFAULT_LENGTH * radius, DEFAULT_ROTATION], 3)
            return cls(local, np.diag(wide**2))
        covariance = _checked_covariance(covariance)
        moved = covariance_of_compose(ahead, covariance, source_frame.transform)
        belief = moved + np.diag((_SHARPEST * least) ** 2)
        return cls(local, moved + np.diag(least**2), belief)

    def reach(self, radius):
        """Root mean square displacement of a source point of that radius under the prior [m]."""
        variances = np.diag(self.covariance)
        # A turn moves a point by its distance from the axis: 2/3 of the squared radius.
        return float(np.sqrt(variances[:3].sum() + 2.0 / 3.0 * radius**2 * variances[3:].sum()))

    def beside(self):
        """
        Poses one standard deviation to either side, on the floor.

        What stands near a wall of a map is drawn to the nearer of its two sides.

        :returns: list of 4 poses (4, 4).
        """
        poses = []
        for axis, sigma in enumerate(np.sqrt(np.diag(self.covariance)[:2])):
            for shift in (-sigma, sigma):
                pose = self.transform.copy()
                pose[axis, 3] += shift
                poses.append(pose)
        return poses

    def is_near(self, radius):
        """Whether a source of that radius [m] moves by less than it under the prior."""
        return self.reach(radius) < radius

    def error(self, transform):
        """(6,) by which a pose (4, 4) differs from the mean, order and axes of ``covariance``."""
        turn = log_so3(transform[:3, :3] @ self.transform[:3, :3].T)
        return np.concatenate([transform[:3, 3] - self.transform[:3, 3], turn])

    def distance(self, transform):
        """Squared Mahalanobis distance of a pose (4, 4) from the mean."""
        error = self.error(transform)
        return float(error @ self._information @ error)

    def contradicted(self, transform, covariance):
        """Whether a measured pose (4, 4) with a covariance (6, 6) is hardly the believed one."""
        error = self.error(transform)
        return bool(error @ np.linalg.solve(self.belief + covariance, error) > _CONTRADICTED)

    def plausible(self, transform):
        """Whether a pose is not too far from the mean to be true."""
        return self.distance(transform) < _IMPLAUSIBLE

    def separates(self, chosen, rival):
        """Whether the prior decides between two poses that explain the clouds as well."""
        return self.distance(rival) - self.distance(chosen) > _DECISIVE


def _checked_covariance(covariance):
    """(6, 6) float64, symmetric and without negative variances, or ParameterError."""
    matrix = numbers(covariance, (6, 6))
    if not np.isfinite(matrix).all():
        raise ParameterError(
            'init_covariance: expected a finite (6, 6) matrix in the order x y z roll pitch yaw'
        )
    largest = np.abs(matrix).max()
    if np.abs(matrix - matrix.T).max() > _ASYMMETRY * largest:
        raise ParameterError('init_covariance: is not symmetric, so it is no covariance')
    matrix = symmetric(matrix)
    if np.linalg.eigvalsh(matrix)[0] < -1e-9 * max(largest, 1.0):
        raise ParameterError(
            'init_covariance: has a negative variance; it must be symmetric positive semi-definite'
        )
    return matrix
