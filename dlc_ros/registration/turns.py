"""Rotations by which a doubtful pose may be wrong; each is worth trying with every shift."""

from itertools import product

import numpy as np
from scipy.spatial.transform import Rotation

# Turns that cover a prior, in its standard deviations either way about each axis, and the largest
# of them [rad]: what lies between is within reach of the refinement.
_SIGMAS = 0.9
_LARGEST = 0.5
# Turns nearer to another one than this [rad] are the same one.
_SAME = np.radians(12.0)


def likely_turns(rotation, source, prior=None):
    """
    Rotations at which a source may lie instead.

    Half of a thing is easily laid on its other half. Therefore half turns about its principal
    axes: those of its points, which a crop skews, and those of its normals, which say nothing of
    a cube. No turn at all is one of them, since long things slide along themselves. Where a prior
    is known, turns that cover it are added.

    :param rotation: (3, 3) of the doubtful pose.
    :param source: :class:`~dlc_ros.registration.surface.Surface`.
    :param prior: :class:`~dlc_ros.registration.prior.PosePrior` or None.
    :returns: (P, 3, 3) of which no two are alike, the given rotation first.
    """
    turns = [rotation]
    for moments in (np.cov(source.points.T), source.normals.T @ source.normals):
        for axis in np.linalg.eigh(moments)[1].T:
            turns.append(rotation @ (2.0 * np.outer(axis, axis) - np.eye(3)))
    if prior is not None:
        steps = np.minimum(_SIGMAS * np.sqrt(np.diag(prior.covariance)[3:]), _LARGEST)
        around = Rotation.from_rotvec(steps * np.array(list(product((-1, 0, 1), repeat=3))))
        turns.extend(around.as_matrix() @ prior.transform[:3, :3])
    return _distinct(np.array(turns))


def _distinct(turns):
    """Those of the turns (P, 3, 3) that are not near an earlier one."""
    traces = np.einsum('pij,qij->pq', turns, turns)
    near = traces > 1.0 + 2.0 * np.cos(_SAME)
    chosen = []
    for index in range(len(turns)):
        if not near[index, chosen].any():
            chosen.append(index)
    return turns[chosen]
