"""Training poses that disagree with their clouds; the held-out part is never looked at here."""

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from dlc_ros.errors import CloudError
from dlc_ros.registration.cloud import LocalFrame
from dlc_ros.registration.refine import Refiner
from dlc_ros.registration.se3 import inverse, rotation_angle_deg

# ICP from a good pose moves the scan by no more than this [median ranges, deg] ...
_MOST_SHIFT, _MOST_TURN_DEG = 0.1, 3.0
_SHIFT_BOUNDS = (0.05, 0.5)
# ... and then so many of its points lie on the reference.
_LEAST_INLIERS = 0.3


@dataclass(frozen=True)
class Consistency:
    """
    What the clouds say of their poses, one entry for each scan that was asked for.

    :param kept: (K,) bool.
    :param shift: (K,) metres that ICP moves the scan by; ``turn_deg`` (K,); ``inliers`` (K,) share
        of points on the reference after it; ``residual`` (K,) point-to-plane [m].
    """

    kept: np.ndarray
    shift: np.ndarray
    turn_deg: np.ndarray
    inliers: np.ndarray
    residual: np.ndarray


def check_training_poses(index, poses, numbers, reference, median_range, quiet=False):
    """
    Compare poses with where ICP leaves the scans in the reference.

    :param index: :class:`~dlc_training.recordings.index.Index`.
    :param poses: (N, 4, 4) ``T_reference_sensor`` of all scans.
    :param numbers: (K,) scans of the training part.
    :param reference: (M, 3) [m].
    :param median_range: of the scans [m].
    """
    frame = LocalFrame.of(reference)
    refiner = Refiner(frame.localize(reference))
    most = float(np.clip(_MOST_SHIFT * median_range, *_SHIFT_BOUNDS))
    rows = []
    for n in tqdm(
        numbers, 'checking poses', unit='scan', disable=quiet or None, leave=False, mininterval=1
    ):
        pose = inverse(frame.transform) @ poses[n]
        try:
            found = refiner.refine(index.scan(n).astype(np.float64), pose, most)
        except (CloudError, RuntimeError):
            rows.append((False, np.inf, 180.0, 0.0, np.inf))
            continue
        error = inverse(pose) @ found.transform
        shift, turn = np.linalg.norm(error[:3, 3]), rotation_angle_deg(error[:3, :3])
        good = shift <= most and turn <= _MOST_TURN_DEG and found.inlier_fraction >= _LEAST_INLIERS
        rows.append((good, shift, turn, found.inlier_fraction, found.residual))
    columns = np.array(rows, float).reshape(-1, 5).T
    return Consistency(columns[0] > 0, *columns[1:])
