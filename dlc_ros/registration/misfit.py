"""Structure in what is left between two surfaces: noise averages out in a region, misfit not."""

import numpy as np

from dlc_ros.registration.cloud import farthest_points

# Regions that the matched points are split into, about equally large, and the points that one
# needs for its mean to say something.
_REGIONS = 12
_FEWEST = 5
# Standard deviations per median of absolute values, of a normal distribution.
_DEVIATIONS = 1.4826


def regions(points):
    """
    Split points into regions, each about a point that lies far from those of the others.

    :param points: (N, 3), N >= 1.
    :returns: (N,) int, number of the region.
    """
    centres = points[farthest_points(points, min(_REGIONS, len(points)))]
    square = np.square(centres).sum(axis=1) - 2.0 * points @ centres.T
    return square.argmin(axis=1)


def typical_deviation(residuals):
    """
    Standard deviation of most of some residuals, by their median: what few are does not count.

    :param residuals: (N,) about zero [m], N > 0.
    :returns: [m].
    """
    return _DEVIATIONS * float(np.median(np.abs(residuals)))


def systematic_misfit(labels, residuals, normals):
    """
    How far whole regions lie off the surface: root mean square of their mean plane distances.

    Normals have no sign, so within a region those count that agree with its main one.

    :param labels: (N,) of :func:`regions`.
    :param residuals: (N,) signed plane distances along ``normals`` [m].
    :param normals: (N, 3) of the planes.
    :returns: float [m]; 0 without a region of a few points.
    """
    counts = np.bincount(labels)
    moments = np.stack(
        [np.bincount(labels, normals[:, i] * normals[:, j]) for i in range(3) for j in range(3)]
    )
    main = np.linalg.eigh(moments.T.reshape(-1, 3, 3))[1][:, :, -1]
    signs = np.sign(np.einsum('ij,ij->i', normals, main[labels]))
    means = np.bincount(labels, signs * residuals) / np.maximum(counts, 1)
    weights = np.where(counts >= _FEWEST, counts, 0)
    return float(np.sqrt(weights @ means**2 / max(weights.sum(), 1)))


def correlation(labels, residuals, jacobian):
    """
    How many points share one error: by what factor regions pull harder than chance.

    The cluster-robust ("sandwich") estimate of a covariance takes the sums of each region's
    forces ``J^T r`` for its noise (K.-Y. Liang and S. L. Zeger, "Longitudinal data analysis using
    generalized linear models", Biometrika 1986). From a dozen regions its directions are mere
    chance, what holds in most of the six is not: their median is returned.

    :param labels: (N,) of :func:`regions`.
    :param residuals: (N,) plane distances [m].
    :param jacobian: (N, 6) their rows.
    :returns: float; 1 for independent residuals, 0 where that cannot be told.
    """
    variance = np.mean(residuals**2) if len(residuals) else 0.0
    if variance <= 0.0:
        return 0.0
    forces = np.stack([np.bincount(labels, column * residuals) for column in jacobian.T])
    hessian = jacobian.T @ jacobian
    scale = np.sqrt(np.maximum(np.diag(hessian), 1e-300))
    resistance, directions = np.linalg.eigh(hessian / scale[:, None] / scale)
    pulls = np.square(directions.T @ (forces / scale[:, None])).sum(axis=1)
    return float(np.median(pulls / np.maximum(resistance, 1e-9)) / variance)
