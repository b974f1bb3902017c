"""Odometry and accepted registrations -> poses in the reference's frame: self-made labels."""

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from dlc_ros.errors import CloudError, DlcError
from dlc_ros.registration.options import RegistrationOptions
from dlc_ros.registration.registrar import Registrar
from dlc_ros.registration.se3 import inverse, rotation_angle_deg, transform_points
from dlc_training.recordings.scans import thin
from dlc_training.recordings.trajectory import stand_upright

# Searches at most where every place and yaw is tried for one scan, what it looked through is
# evidence and so few fail; and where nothing is known of the attitude. There the scans of so much
# way about a place [median ranges], so many at most, are taken together: they see more.
_MOST_UPRIGHT, _MOST_SEARCHES = 40, 120
_WINDOW, _TOGETHER = 1.0, 12
# Odometry may tilt so much [deg] in the reference while its sensor stands upright.
_LEANING_DEG = 15.0
# Two places found agree if odometry between them does, to so much [m, deg] and per metre of way.
_AGREE_M, _AGREE_DEG = 0.25, 3.0
_AGREE_PER_M, _AGREE_DEG_PER_M = 0.04, 0.5
# What odometry may be off: at once, and per metre of way [m, rad].
_SIGMA_M, _SIGMA_RAD = 0.05, 0.02
_SIGMA_PER_M, _SIGMA_RAD_PER_M = 0.05, 0.01
# Between accepted scans so far apart [median ranges] odometry carries the pose.
_LONGEST_BRIDGE = 4.0


@dataclass(frozen=True)
class Anchored:
    """
    Poses of scans in the reference's frame.

    :param poses: (N, 4, 4) ``T_reference_sensor``; ``known`` (N,) bool: near an accepted one.
    :param accepted: (N,) bool: the scan itself was registered and the gate accepted it.
    """

    poses: np.ndarray
    known: np.ndarray
    accepted: np.ndarray


def anchor(index, odometry, reference, weights, median_range, first=None, quiet=False):
    """
    Place a recording in a reference that its odometry knows nothing of.

    Scans are searched for with the present weights until two of them agree with the odometry
    between them, where the sensor stands upright first as a node does in map mode; from there
    each scan is registered from where odometry carries the last accepted one, forwards and
    backwards. A scan that the gate rejects takes its pose from odometry between accepted
    neighbours, so the hard ones are labelled as well.

    :param index: :class:`~dlc_training.recordings.index.Index`.
    :param odometry: (N, 4, 4) of its scans, exact over short ways.
    :param reference: (M, 3) [m].
    :param weights: present weights file; None for those of the package.
    :param median_range: of the scans [m].
    :param first: (4, 4) ``T_reference_sensor`` of the first scan, if it is known.
    :return: :class:`Anchored`.
    :raises DlcError: the recording cannot be placed.
    """
    way = np.concatenate(
        [[0.0], np.cumsum(np.linalg.norm(np.diff(odometry[:, :3, 3], axis=0), axis=1))]
    )
    if first is not None:
        start, pose = 0, first
    else:
        start, pose = _found(index, odometry, way, reference, weights, median_range, quiet)
    carried = pose @ inverse(odometry[start]) @ odometry
    registrar = _registrar(reference, weights, stand_upright(carried, _LEANING_DEG))
    poses, accepted = _followed(index, odometry, way, registrar, start, pose, quiet)
    if not accepted.any():
        raise DlcError('the recording could not be placed: no scan was accepted near its start')
    known = _bridge(poses, odometry, accepted, way, _LONGEST_BRIDGE * median_range)
    return Anchored(poses, known, accepted)


def _registrar(reference, weights, upright):
    return Registrar(reference, weights, RegistrationOptions(device='cpu', upright=upright))


def _found(index, odometry, way, reference, weights, median_range, quiet):
    """A scan and its pose (4, 4), which another one agrees with."""
    tried = recognised = 0
    for upright in (True, False):  # of a sensor that does not stand upright the gate takes none
        registrar = _registrar(reference, weights, upright)

        def cloud_of(n, upright=upright):
            """What one sensor sees from its own place, or what lies about it."""
            return index.scan(n) if upright else _gathered(index, odometry, way, n, median_range)

        numbers = _spread(len(index), _MOST_UPRIGHT if upright else _MOST_SEARCHES)
        answers = []
        for n in tqdm(numbers, 'searching', unit='place', disable=quiet or None, leave=False):
            try:
                answer = registrar.register(cloud_of(n))
            except CloudError:
                continue
            if not answer.accepted:
                continue
            for other, pose in answers:
                apart = abs(way[n] - way[other])
                if _agree(pose, answer.transform, odometry[other], odometry[n], apart):
                    return n, answer.transform
            answers.append((n, answer.transform))
        tried, recognised = tried + len(numbers), recognised + len(answers)
    raise DlcError(
        f'the recording could not be placed in the reference: {recognised} of {tried} searches '
        'were accepted with the present weights, and no two of them agree with the way between '
        'them; give --initial-pose (of the first cloud in the reference), or poses in the '
        "reference's frame as --trajectory"
    )


def _spread(count, most):
    """At most so many of 0..count-1, early ones spread over all of them: golden steps."""
    steps = (np.arange(min(most, count)) * 0.618034 % 1 * count).astype(int)
    return list(dict.fromkeys(steps.tolist()))


def _gathered(index, odometry, way, n, median_range):
    """Scans about one, in its frame, as one cloud (N, 3)."""
    near = np.flatnonzero(np.abs(way - way[n]) <= _WINDOW * median_range)
    near = near[np.linspace(0, len(near) - 1, min(len(near), _TOGETHER)).astype(int)]
    back = inverse(odometry[n])
    cloud = [transform_points(back @ odometry[m], index.scan(m)) for m in near]
    return thin(np.concatenate(cloud).astype(float))


def _followed(index, odometry, way, registrar, start, pose, quiet):
    """From one scan's pose on, both ways: poses (N, 4, 4), and which were accepted (N,)."""
    poses, accepted = odometry.copy(), np.zeros(len(index), bool)
    runs = (range(start, len(index)), range(start - 1, -1, -1))
    with tqdm(
        total=len(index), desc='placing', unit='scan', disable=quiet or None, leave=False,
        mininterval=1,
    ) as bar:  # fmt: skip
        for run in runs:
            last, at = pose, start
            for n in run:
                guess = last @ inverse(odometry[at]) @ odometry[n]
                answer = _near(registrar, index.scan(n), guess, abs(way[n] - way[at]))
                if answer is not None:
                    poses[n], accepted[n] = answer, True
                    last, at = answer, n
                bar.update()
    return poses, accepted


def _agree(first, second, odometry_first, odometry_second, way):
    seen = inverse(first) @ second
    driven = inverse(odometry_first) @ odometry_second
    error = inverse(seen) @ driven
    shift = np.linalg.norm(error[:3, 3])
    return (
        shift < _AGREE_M + _AGREE_PER_M * way
        and rotation_angle_deg(error[:3, :3]) < _AGREE_DEG + _AGREE_DEG_PER_M * way
    )


def _near(registrar, cloud, guess, moved):
    sigma = [_SIGMA_M + _SIGMA_PER_M * moved] * 3 + [_SIGMA_RAD + _SIGMA_RAD_PER_M * moved] * 3
    try:
        answer = registrar.register(cloud, guess, np.diag(np.square(sigma)))
    except CloudError:
        return None
    return answer.transform if answer.accepted else None


def _bridge(poses, odometry, accepted, way, longest):
    """Fill poses between accepted scans by odometry from both sides; returns which are known."""
    known = accepted.copy()
    there = np.flatnonzero(accepted)
    for n in np.flatnonzero(~accepted):
        place = np.searchsorted(there, n)
        sides = [there[i] for i in (place - 1, place) if 0 <= i < len(there)]
        sides = [m for m in sides if abs(way[n] - way[m]) <= longest]
        if len(sides) < 2:
            continue
        carried = [poses[m] @ inverse(odometry[m]) @ odometry[n] for m in sides]
        near = int(abs(way[n] - way[sides[1]]) < abs(way[n] - way[sides[0]]))
        poses[n], known[n] = carried[near], True
    return known
