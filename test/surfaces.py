"""Primitives, and whether samples of a surface have the distribution they should."""

import numpy as np
from scipy import stats
from scipy.spatial.transform import Rotation

from dlc_training.data.primitives import Box, Ellipsoid, Frustum, Torus

PRIMITIVES = {
    'box': Box(half=np.array([0.9, 0.5, 0.2])),
    'cylinder': Frustum(bottom=0.4, top=0.4, height=1.2),
    'frustum': Frustum(bottom=0.7, top=0.25, height=0.8),
    'cone': Frustum(bottom=0.0, top=0.6, height=1.0),
    'sphere': Ellipsoid(half=np.full(3, 0.7)),
    'ellipsoid': Ellipsoid(half=np.array([1.0, 0.4, 0.6])),
    'torus': Torus(major=0.8, minor=0.25),
}
TURN = Rotation.from_rotvec([0.4, -0.8, 1.3]).as_matrix()
SHIFT = np.array([0.3, -2.0, 1.1])
# Smallest p-value of a right sampler among all tests here; seeds are fixed, so it never varies.
RARE = 1e-4


def uniform(sample, cdf=None):
    """Whether a sample follows a distribution function on its support (Kolmogorov-Smirnov)."""
    return stats.kstest(sample, cdf or 'uniform').pvalue > RARE


def shares(counts, expected):
    """Whether counts follow expected shares (chi-square)."""
    counts, expected = np.asarray(counts), np.asarray(expected, float)
    return stats.chisquare(counts, expected / expected.sum() * counts.sum()).pvalue > RARE
