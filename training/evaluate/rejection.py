"""``dlc-eval rejection``: what is turned away, what is not, and whether covariances are honest."""

import numpy as np
from scipy.stats import chi2

from dlc_ros.registration.options import RegistrationOptions
from dlc_ros.registration.registrar import Registrar
from dlc_ros.registration.se3 import exp_so3
from dlc_training.data import scene_pairs
from dlc_training.evaluate import crops, degenerate, negatives, partial_view, strata
from dlc_training.evaluate.calibration import mahalanobis
from dlc_training.evaluate.crops import SAMPLES
from dlc_training.evaluate.methods import digest_of_answers
from dlc_training.evaluate.metrics import (
    SUCCESS,
    is_within,
    rotation_error_deg,
    translation_error,
)
from dlc_training.evaluate.pair import apply, jitter, pose
from dlc_training.evaluate.scan_to_map import repeated_rooms
from dlc_training.evaluate.strata import STRATA, clear_pairs
from dlc_training.evaluate.symmetry import find_symmetries, nearest_truth

INSIDE = float(chi2.ppf(0.95, 6))
# From the default on: what a lower one would have made AMBIGUOUS or DEGENERATE is not known.
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_USED = ('ACCEPTED', 'DEGENERATE')  # of such answers a robot uses something
_DRAWN_BY = (negatives, degenerate, strata, partial_view, crops, scene_pairs)


def _registrar(target, weights, upright=False):
    options = RegistrationOptions(device='cpu', threads=1, upright=upright)
    return Registrar(target, weights, options)


def _errors(found, truth):
    return rotation_error_deg(found.transform, truth), translation_error(found.transform, truth)


def judge_negative(shapes, kind, index, seed, weights):
    """Answer to a pair without a true one: dict of ``status``, ``confidence`` and ``right``."""
    pair = negatives.draw_negative(shapes, kind, index, seed)
    found = _registrar(pair.target, weights).register(pair.source)
    right = pair.truth is not None and is_within(*_errors(found, pair.truth), SUCCESS)
    return {'status': found.status.value, 'confidence': found.confidence, 'right': right}


def judge_degenerate(kind, index, seed, weights):
    """
    Answer to a pair that slides, with a start: without one most of them are ambiguous as well.

    The start is off by 5 deg and 0.05, with standard deviations of 8 deg and 0.1.

    :return: JSON-able dict: ``status``; ``expected`` and ``found`` numbers of free directions;
        ``angle_deg``, the largest angle between what is free and what was found to be (turns
        measured at the source's radius; None unless the numbers agree); ``along`` and ``across``,
        standard deviations along what is free (the smallest) and across it (the largest), as
        shares of the source's radius.
    """
    pair = degenerate.draw_degenerate(kind, index, seed)
    rng = np.random.default_rng([seed, 11, index])
    turn, shift = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
    start = pair.truth.copy()
    start[:3, :3] = exp_so3(np.radians(5.0) * turn) @ start[:3, :3]
    start[:3, 3] += 0.05 * shift
    spread = np.diag(np.repeat((0.1, np.radians(8.0)), 3) ** 2)
    found = _registrar(pair.target, weights).register(pair.source, start, spread)
    radius = float(np.sqrt(np.mean(np.sum((pair.source - pair.source.mean(0)) ** 2, 1))))
    # About the source's centroid, lengths in radii: then turns and shifts compare.
    centre = apply(found.transform, pair.source.mean(0)[None])[0]
    to_centre = np.eye(6)
    x, y, z = centre - found.transform[:3, 3]
    to_centre[:3, 3:] = [[0, z, -y], [-z, 0, x], [y, -x, 0]]
    to_centre[:3] /= radius
    expected = np.linalg.qr(to_centre @ pair.screws(found.transform))[0]
    covariance = to_centre @ found.covariance @ to_centre.T
    across = np.linalg.svd(expected.T)[2][expected.shape[1] :].T
    angle = None
    if found.free_directions.shape[1] == expected.shape[1]:
        free = np.linalg.qr(to_centre @ found.free_directions)[0]
        cosines = np.linalg.svd(expected.T @ free, compute_uv=False)
        angle = float(np.degrees(np.arccos(np.clip(cosines.min(), 0, 1))))
    return {
        'status': found.status.value,
        'expected': expected.shape[1],
        'found': found.free_directions.shape[1],
        'angle_deg': angle,
        'along': float(np.sqrt(np.linalg.eigvalsh(expected.T @ covariance @ expected)[0])),
        'across': float(np.sqrt(np.linalg.eigvalsh(across.T @ covariance @ across)[-1])),
    }


def judge_symmetric(shapes, index, seed, weights):
    """Answer to two whole clouds of a shape: JSON-able ``status``; None if it has no symmetry."""
    group = find_symmetries(shapes.dense(index))
    if len(group.elements) == 1 or group.axis is not None or group.sphere:
        return None
    rng = np.random.default_rng([seed, 10, index])
    source, target = shapes.draw(index, (SAMPLES, SAMPLES), rng)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    motion = pose(turn * np.linalg.det(turn), rng.uniform(-0.5, 0.5, 3))
    source, target = jitter(apply(motion, source), rng), jitter(target, rng)
    found = _registrar(target, weights).register(source)
    return {'status': found.status.value, 'order': len(group.elements)}


def judge_repeated(index, seed, weights):
    """Answer to a scan in a map of two equal rooms: JSON-able ``status``."""
    source, target = repeated_rooms(index, seed)
    found = _registrar(target, weights, upright=True).register(source)
    return {'status': found.status.value}


def judge_good(pair, group, weights):
    """
    Answer to a pair with a true one.

    :return: JSON-able dict ``status``, ``confidence``, ``right``, ``distance`` (squared
        Mahalanobis distance of the error under the answer's covariance) and ``spread``, the
        geometric mean of the six standard deviations.
    """
    found = _registrar(pair.target, weights).register(pair.source)
    truth = nearest_truth(pair.truth, found.transform, group, pair.shape_pose)
    return {
        'status': found.status.value,
        'confidence': found.confidence,
        'right': is_within(*_errors(found, truth), SUCCESS),
        'distance': mahalanobis(found, truth),
        'spread': float(np.exp(np.linalg.slogdet(found.covariance)[1] / 12)),
    }


def measure(runner, shapes, weights, seed, count, pairs):
    """
    All four parts.

    :param runner: :class:`~dlc_training.evaluate.runner.Runner`.
    :param count: pairs of each kind without an answer.
    :param pairs: of each degenerate kind, symmetric shapes, and pairs of each stratum.
    :return: JSON-able dict ``negatives``, ``degenerate``, ``ambiguous``, ``good``: by kind or
        stratum, lists of what the ``judge_`` functions return.
    """
    found = {'negatives': {}, 'degenerate': {}, 'ambiguous': {}, 'good': {}}
    key = digest_of_answers(weights, shapes, seed, _DRAWN_BY)
    for kind in negatives.KINDS:
        tasks = [(shapes, kind, i, seed, weights) for i in range(count)]
        found['negatives'][kind] = runner.resume(kind, judge_negative, tasks, key)
    for kind in degenerate.KINDS:
        tasks = [(kind, i, seed, weights) for i in range(pairs)]
        found['degenerate'][kind] = runner.resume(kind, judge_degenerate, tasks, key)
    # About one shape in ten has a discrete symmetry.
    tasks = [(shapes, shapes.index_of(i), seed, weights) for i in range(12 * pairs)]
    symmetric = runner.resume('symmetric', judge_symmetric, tasks, key)
    found['ambiguous']['symmetric, seen whole'] = [row for row in symmetric if row][:pairs]
    tasks = [(i, seed, weights) for i in range(pairs)]
    found['ambiguous']['two equal rooms'] = runner.resume('rooms', judge_repeated, tasks, key)
    for stratum in STRATA:
        tasks = [(*pair, weights) for pair in clear_pairs(runner, shapes, stratum, pairs, seed)]
        found['good'][stratum] = runner.resume(stratum, judge_good, tasks, key)
    return found


def used(row):
    """Whether a robot would use anything of an answer."""
    return row['status'] in _USED


def summarise(found):
    """
    Shares of :func:`measure`'s answers.

    :return: JSON-able dict of lists of rows, one a kind or stratum, of numbers by name.
    """
    return {
        'negatives': [_negative(kind, rows) for kind, rows in found['negatives'].items()],
        'degenerate': [_degenerate(kind, rows) for kind, rows in found['degenerate'].items()],
        'ambiguous': [
            {
                'kind': kind,
                'of': len(rows),
                'said so': sum(row['status'] == 'AMBIGUOUS' for row in rows),
                'used': sum(map(used, rows)),
            }
            for kind, rows in found['ambiguous'].items()
        ],
        'good': [_good(stratum, rows) for stratum, rows in found['good'].items()],
        'trade_off': [_at_threshold(found, threshold) for threshold in THRESHOLDS],
    }


def _at_threshold(found, threshold):
    """What a higher threshold than the default one would let pass and turn away."""

    def passed(row):
        return used(row) and row['confidence'] >= threshold

    good = [row for rows in found['good'].values() for row in rows]
    right = [row for row in good if row['right']]
    wrong = [row for row in good if not row['right']]
    accepted = {
        kind: [sum(passed(row) for row in rows if not row['right']),
               sum(not row['right'] for row in rows)]
        for kind, rows in found['negatives'].items()
    }  # fmt: skip
    return {
        'min_confidence': threshold,
        'right': len(right),
        'false rejects': sum(row['confidence'] < threshold for row in right),
        'wrong': len(wrong),
        'wrong used': sum(map(passed, wrong)),
        'accepted': accepted,
    }


def _negative(kind, rows):
    wrong = [row for row in rows if not row['right']]
    return {
        'kind': kind,
        'of': len(wrong),
        'accepted': sum(map(used, wrong)),
        'highest confidence': max((row['confidence'] for row in wrong), default=None),
    }


def _degenerate(kind, rows):
    angles = [row['angle_deg'] for row in rows if row['angle_deg'] is not None]
    return {
        'kind': kind,
        'of': len(rows),
        'said so': sum(row['status'] == 'DEGENERATE' for row in rows),
        'right directions': sum(angle < 10.0 for angle in angles),
        'along': float(np.median([row['along'] for row in rows])),
        'across': float(np.median([row['across'] for row in rows])),
    }


def _good(stratum, rows):
    right = [row for row in rows if row['right']]
    trusted = [row for row in right if used(row)]
    wrong = [row for row in rows if not row['right']]
    return {
        'kind': stratum,
        'of': len(rows),
        'right': len(right),
        'false rejects': sum(row['status'] == 'REJECTED' for row in right),
        'wrong used': sum(map(used, wrong)),
        'trusted': len(trusted),
        'inside': sum(row['distance'] < INSIDE for row in trusted),
        'spread': float(np.median([row['spread'] for row in trusted])) if trusted else None,
    }
