"""Which clouds of a recording are worth keeping: by way, by turn, and by time where it stands."""

import numpy as np

from dlc_ros.registration.se3 import rotation_angle_deg

# Way between two scans that are kept, in median ranges, and its bounds [m].
_STEP, _STEP_BOUNDS = 0.12, (0.05, 2.0)
_TURN_DEG = 12.0
# A sensor that went less than this, in median ranges, stands still: its scans are kept by time.
_STANDING = 0.1
_STANDING_SCANS = 120
# Kept of a second of driving at walking pace indoors: 3.5 in simulated buildings.
_A_SECOND = 3.5


def choose_keyframes(stamps_ns, poses, known, median_range, most):
    """
    Choose scans.

    :param stamps_ns: (N,) of the clouds; ``poses`` (N, 4, 4), ``known`` (N,) bool.
    :param median_range: of the clouds [m].
    :param most: at most so many; the step grows until it fits.
    :return: (K,) indices, increasing, and whether the sensor stands still.
    """
    usable = np.flatnonzero(known)
    if len(usable) == 0:
        return usable, True
    places = poses[usable, :3, 3]
    reach = float(np.linalg.norm(places - np.median(places, 0), axis=1).max())
    turn = max(
        rotation_angle_deg(poses[usable[0], :3, :3], poses[i, :3, :3])
        for i in usable[:: max(1, len(usable) // 200)]
    )
    if reach < _STANDING * median_range and turn < _TURN_DEG:
        count = min(most, _STANDING_SCANS, len(usable))
        return usable[np.unique(np.linspace(0, len(usable) - 1, count).round().astype(int))], True
    step = float(np.clip(_STEP * median_range, *_STEP_BOUNDS))
    angle = _TURN_DEG
    while True:
        chosen = _walk(usable, poses, step, angle)
        if len(chosen) <= most:
            return np.array(chosen), False
        step, angle = step * 1.25, angle * 1.25


def guess_keyframes(stamps_ns, most):
    """How many scans :func:`choose_keyframes` may choose, while no pose is known."""
    seconds = float(stamps_ns[-1] - stamps_ns[0]) * 1e-9
    return int(min(most, len(stamps_ns), max(_STANDING_SCANS, _A_SECOND * seconds)))


def _walk(usable, poses, step, angle_deg):
    chosen = [int(usable[0])]
    cosine = 1 + 2 * np.cos(np.radians(min(angle_deg, 179.0)))
    for i in usable[1:]:
        last = poses[chosen[-1]]
        moved = np.linalg.norm(poses[i, :3, 3] - last[:3, 3]) >= step
        # The trace of a relative rotation falls as its angle grows.
        if moved or np.einsum('ij,ij->', last[:3, :3], poses[i, :3, :3]) <= cosine:
            chosen.append(int(i))
    return chosen
