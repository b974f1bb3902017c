"""Errors of one registration against its truth."""

import numpy as np
from scipy.spatial import cKDTree

SUCCESS = (5.0, 0.1)  # deg, and 5 % of the diameter of the unit sphere
STRICT = (1.0, 0.02)  # 1 deg / 1 %


def rotation_error_deg(estimate, truth):
    """
    RRE, the angle of ``R_est^T R_gt`` in degrees; equals arccos((trace - 1) / 2).

    The angle is taken from sine and cosine, since arccos loses half of the digits near zero.

    :param estimate: (4, 4).
    :param truth: (4, 4).
    """
    relative = estimate[:3, :3].T @ truth[:3, :3]
    cosine = (np.trace(relative) - 1) / 2
    skew = relative - relative.T
    sine = np.linalg.norm((skew[2, 1], skew[0, 2], skew[1, 0])) / 2
    return float(np.degrees(np.arctan2(sine, cosine)))


def translation_error(estimate, truth):
    """RTE = ``|t_est - t_gt|``, in the unit of the translations."""
    return float(np.linalg.norm(estimate[:3, 3] - truth[:3, 3]))


def is_within(rotation_error, distance, limits):
    """Whether both errors lie below ``limits`` (degrees, length)."""
    return bool(rotation_error < limits[0] and distance < limits[1])


def modified_chamfer(source, target, clean, estimate, truth):
    """
    Chamfer distance against clean clouds, as RPM-Net (Yew and Lee, CVPR 2020, eq. 11) defines it.

    The mean squared distance of the registered source to the clean target, plus that of the target
    to the clean source under the estimate: each noisy partial cloud is compared with a whole one.

    :param source: (n, 3) noisy source.
    :param target: (m, 3) noisy target.
    :param clean: (k, 3) noise-free cloud of the whole shape, target frame.
    :param estimate: (4, 4) ``T_target_source``.
    :param truth: (4, 4).
    """
    registered = source @ estimate[:3, :3].T + estimate[:3, 3]
    drift = estimate @ np.linalg.inv(truth)
    clean_source = clean @ drift[:3, :3].T + drift[:3, 3]
    there, _ = cKDTree(clean).query(registered)
    back, _ = cKDTree(clean_source).query(target)
    return float(np.mean(there**2) + np.mean(back**2))
