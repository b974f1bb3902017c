"""What the network reads of a cloud: keypoints with neighbourhoods and pose-equivariant frames."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from dlc_ros.registration.cloud import farthest_points

# Root mean square distance from the centroid of the target, in the network's units of length.
NORMALISED_RADIUS = 0.5
# Share of the normalised radius over which the side of a surface is judged (see `sides`).
_SIDE_SIGMA = 0.35


@dataclass(frozen=True)
class Patches:
    """
    Keypoints of a cloud, all lengths in the network's units, all float32.

    :param points: (K, 3) keypoints, spread by farthest point sampling, origin at ``centre``.
    :param normals: (K, 3) unit normals by principal components; the sign is arbitrary.
    :param sides: (K, 3) from the cloud's mass around the keypoint to the keypoint; points out of
        the body and, along the surface, away from its middle. Turns with the cloud.
    :param near: (K, S, 3) offsets from each keypoint to its nearest points.
    :param wide: (K, S, 3) offsets to a thinned, wider neighbourhood.
    :param centre: (3,) float64, origin of ``points`` in the cloud's own units.
    :param scale: the cloud's length units per network unit.
    """

    points: np.ndarray
    normals: np.ndarray
    sides: np.ndarray
    near: np.ndarray
    wide: np.ndarray
    centre: np.ndarray
    scale: float


def network_scale(points):
    """Length units of a target cloud (N, 3) per network unit; see :data:`NORMALISED_RADIUS`."""
    spread = np.sqrt(((points - points.mean(0)) ** 2).sum(1).mean())
    return float(spread / NORMALISED_RADIUS)


def extract_patches(points, scale, keypoints=256, neighbours=32, dense=1024, widening=3, rng=None):
    """
    Reduce a cloud to what the network reads.

    :param points: (N, 3) floats, finite, N >= 8.
    :param scale: length units per network unit, of the *target* for both clouds of a pair.
    :param keypoints: how many keypoints at most (K is the smaller of this and N).
    :param neighbours: offsets per keypoint and neighbourhood (S).
    :param dense: points that neighbourhoods are taken from; a random share of a larger cloud.
    :param widening: the wide neighbourhood takes every so manieth neighbour.
    :param rng: numpy Generator that thins the cloud; the default draws the same for equal input.
    """
    points = np.asarray(points, dtype=np.float64)
    centre = points.mean(0)
    if len(points) > dense:
        rng = rng or np.random.default_rng(0)
        points = points[rng.choice(len(points), dense, replace=False)]
    local = ((points - centre) / scale).astype(np.float32)
    keys = local[farthest_points(local, min(keypoints, len(local)))]
    count = min(neighbours * widening, len(local))
    _, index = cKDTree(local).query(keys, count)
    offsets = local[index] - keys[:, None]
    near = offsets[:, np.minimum(np.arange(neighbours), count - 1)]
    wide = offsets[:, np.minimum(np.arange(neighbours) * widening, count - 1)]
    return Patches(keys, _normals(near), _sides(keys), near, wide, centre, float(scale))


def _normals(offsets):
    """Direction of least spread of (K, S, 3) offsets, as (K, 3) unit vectors."""
    spread = offsets - offsets.mean(1, keepdims=True)
    _, vectors = np.linalg.eigh(np.einsum('ksi,ksj->kij', spread, spread))
    return np.ascontiguousarray(vectors[:, :, 0])


def _sides(keys):
    """Keypoint minus the Gaussian-weighted mean of all keypoints around it, (K, 3)."""
    # Not as a difference of squares: in garbage of all scales at once no zero would be left of it.
    offsets = keys[:, None] - keys[None]
    weight = np.exp(-np.einsum('ijx,ijx->ij', offsets, offsets) / (2 * _SIDE_SIGMA**2))
    return keys - (weight @ keys) / weight.sum(1, keepdims=True)
