"""
Refits what the gate knows: how much each kind of evidence counts, and how wide covariances are.

Right poses are those of clear pairs of crops, of every stratum; wrong ones the other candidates of
these pairs, and whatever the registrar answers to pairs without an answer. All on shapes of seeds
that no protocol uses.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import chi2

from dlc_ros.registration.confidence import TERMS, Model
from dlc_ros.registration.se3 import log_so3
from dlc_training.data import scene_pairs
from dlc_training.evaluate import crops, negatives, partial_view, strata
from dlc_training.evaluate.methods import digest_of_answers
from dlc_training.evaluate.metrics import (
    SUCCESS,
    is_within,
    rotation_error_deg,
    translation_error,
)
from dlc_training.evaluate.negatives import KINDS, draw_negative
from dlc_training.evaluate.shapes import open_shapes
from dlc_training.evaluate.strata import STRATA, clear_pairs
from dlc_training.evaluate.symmetry import nearest_truth
from dlc_training.evaluate.watched import Watched

CALIBRATION_SEED = 2000  # evaluations count up from 0, tuning uses 1000
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
INSIDE = float(chi2.ppf(0.95, 6))
NAMES = tuple(TERMS)
_DRAWN_BY = (negatives, strata, partial_view, crops, scene_pairs)
_RIDGE = 1e-3
# How much the choice among candidates counts beside telling right from wrong.
_DUELS = 0.5
# Terms of the two models, with descriptors and without. Of those that were tried these few tell
# right from wrong; the others add nothing to them.
GEOMETRY = ('log_typical', 'log_systematic', 'hovering', 'log_hold')
LEARNED = (*GEOMETRY, 'log_support')


class Example(NamedTuple):
    """
    One pose and its evidence.

    :param group: the pair it belongs to; ``kind`` of that pair.
    :param features: (F,) what the model's weights multiply, bias left out.
    :param right: whether the pose is the true one.
    :param answer: whether it is what the registrar answered.
    """

    group: int
    kind: str
    features: np.ndarray
    right: bool
    answer: bool


def features_of(fit):
    """List of F numbers that a model's weights multiply, in the order of :data:`NAMES`."""
    return [float(TERMS[name].value(fit)) for name in NAMES]


def examples_of(group, kind, rows):
    """List of :class:`Example` of rows (features, right, answer); none where nothing matched."""
    return [Example(group, kind, *row) for row in rows if np.isfinite(row[0]).all()]


def watch_pair(pair, group, weights):
    """
    Run the registrar on a pair with a true answer.

    :return: JSON-able dict: ``rows``, a list of (features, right, answer), empty where the
        registrar refused to search; ``distance``, the squared Mahalanobis distance of the
        answer's error, or None if the answer is wrong.
    """
    registrar = Watched(pair.target, weights, threads=1)
    found = registrar.register(pair.source)
    if registrar.fit is None:
        return {'rows': [], 'distance': None}
    true_pose, true_fit = registrar.refined(pair.truth)

    def nearest(transform):
        return nearest_truth(pair.truth, transform, group, pair.shape_pose)

    def right(transform):
        true = nearest(transform)
        errors = rotation_error_deg(transform, true), translation_error(transform, true)
        return is_within(*errors, SUCCESS)

    rows = [
        (features_of(fit), right(transform), False)
        for transform, fit in zip(
            [*found.candidates, true_pose], [*registrar.fits, true_fit], strict=True
        )
    ]
    answered = right(found.transform)
    rows.append((features_of(registrar.fit), answered, True))
    distance = mahalanobis(found, nearest(found.transform)) if answered else None
    return {'rows': rows, 'distance': distance}


def watch_negative(shapes, kind, index, seed, weights):
    """
    Run the registrar on a pair without an answer.

    :return: list of (features, right, answer), empty where the registrar refused to search.
    """
    negative = draw_negative(shapes, kind, index, seed)
    registrar = Watched(negative.target, weights, threads=1)
    found = registrar.register(negative.source)
    if registrar.fit is None:
        return []
    right = False
    if negative.truth is not None:
        errors = (
            rotation_error_deg(found.transform, negative.truth),
            translation_error(found.transform, negative.truth),
        )
        right = is_within(*errors, SUCCESS)
    return [(features_of(registrar.fit), right, True)]


def mahalanobis(found, truth):
    """Squared Mahalanobis distance of a registration's error under its own covariance."""
    error = np.empty(6)
    error[:3] = truth[:3, 3] - found.transform[:3, 3]
    error[3:] = log_so3(truth[:3, :3] @ found.transform[:3, :3].T)
    return float(error @ np.linalg.solve(found.covariance, error))


def collect(runner, weights, shapes, pairs, without):
    """
    All examples, and the Mahalanobis distances by stratum.

    :param runner: :class:`~dlc_training.evaluate.runner.Runner`.
    :param shapes: as for ``--shapes``.
    :param pairs: of each stratum.
    :param without: pairs of each kind without an answer.
    """
    shapes = open_shapes(shapes, CALIBRATION_SEED)
    key = digest_of_answers(weights, shapes, CALIBRATION_SEED, _DRAWN_BY)
    examples, distances, group = [], {}, 0
    for stratum in STRATA:
        clear = clear_pairs(runner, shapes, stratum, pairs, CALIBRATION_SEED)
        tasks = [(*pair, weights) for pair in clear]
        distances[stratum] = []
        for seen in runner.resume(stratum, watch_pair, tasks, key):
            group += 1
            examples += examples_of(group, stratum, seen['rows'])
            if seen['distance'] is not None:
                distances[stratum].append(seen['distance'])
    for kind in KINDS:
        tasks = [(shapes, kind, i, CALIBRATION_SEED, weights) for i in range(without)]
        for rows in runner.resume(kind, watch_negative, tasks, key):
            group += 1
            examples += examples_of(group, kind, rows)
    return examples, distances


def fit_model(examples, names, false_rejects, without=KINDS):
    """
    Logistic regression of "right", better evidence never counting against a pose.

    Two losses, two to one: right against wrong poses of all pairs, both classes weighing the
    same; and the right against each wrong candidate of the same pair, which is what the choice
    among candidates asks. The bias is then set to reject a given share of right answers at a
    confidence of one half.

    :param examples: list of :class:`Example`.
    :param names: features to use; the others weigh nothing.
    :param false_rejects: share of right answers, 0..1.
    :param without: kinds of examples whose pairs have no answer.
    :return: :class:`~dlc_ros.registration.confidence.Model`.
    """
    used = [i for i, name in enumerate(NAMES) if name in names]
    x = np.array([example.features for example in examples])[:, used]
    right = np.array([example.right for example in examples])
    scale = x.std(0) + 1e-9
    duels = _duels(examples, x / scale)
    x = np.hstack([np.ones((len(x), 1)), x / scale])
    weight = np.where(right, 0.5 / max(right.sum(), 1), 0.5 / max((~right).sum(), 1))
    sign = np.where(right, -1.0, 1.0)

    def loss(w):
        margin = sign * (x @ w)
        slope = weight * sign * expit(margin)
        value, gradient = weight @ np.logaddexp(0, margin), x.T @ slope
        if len(duels):
            lead = -(duels @ w[1:])
            value += _DUELS * np.logaddexp(0, lead).mean()
            gradient[1:] -= _DUELS * duels.T @ expit(lead) / len(duels)
        value += _RIDGE * w[1:] @ w[1:]
        gradient[1:] += 2 * _RIDGE * w[1:]
        return value, gradient

    bounds = [(None, None)]
    bounds += [(0, None) if TERMS[NAMES[i]].sign > 0 else (None, 0) for i in used]
    found = minimize(loss, np.zeros(len(used) + 1), jac=True, method='L-BFGS-B', bounds=bounds)
    weights = np.zeros(len(NAMES))
    weights[used] = found.x[1:] / scale
    answers = [e for e in examples if e.answer and e.right and e.kind not in without]
    answers = [example.features @ weights for example in answers]
    bias = -np.quantile(answers, false_rejects) if answers else found.x[0]
    return Model(float(bias), {NAMES[i]: float(weights[i]) for i in used})


def _duels(examples, x):
    """Differences of features, right minus wrong candidate of the same pair."""
    by_group = {}
    for row, example in zip(x, examples, strict=True):
        by_group.setdefault(example.group, ([], []))[int(example.right)].append(row)
    pairs = [
        best - other
        for wrong, right in by_group.values()
        for best in right[-1:]
        for other in wrong
    ]
    return np.array(pairs).reshape(-1, x.shape[1])


def confidences(model, examples):
    """Confidence of each example under a model."""
    weights = np.array([model.weights.get(name, 0.0) for name in NAMES])
    logits = np.array([model.bias + example.features @ weights for example in examples])
    return expit(logits)


def halves(examples, names, false_rejects, without=KINDS):
    """Confidence of each example under a model fitted to the pairs of the other half."""
    half = np.array([example.group % 2 for example in examples])
    out = np.empty(len(examples))
    for side in (0, 1):
        others = [e for e, h in zip(examples, half, strict=True) if h != side]
        mine = [e for e, h in zip(examples, half, strict=True) if h == side]
        out[half == side] = confidences(fit_model(others, names, false_rejects, without), mine)
    return out


def trade_off(examples, sure, without=KINDS):
    """
    What each threshold lets pass and turns away, answers only.

    :param sure: confidence of each example.
    :param without: as for :func:`fit_model`.
    :return: list of JSON-able dicts by threshold: ``false_rejects`` (share of right answers),
        ``wrong_accepted`` (share of wrong answers to clear pairs), and per kind of negative
        ``[accepted, of]``.
    """
    rows = []
    for threshold in THRESHOLDS:
        row = {'min_confidence': threshold}
        picked = [
            (example, value >= threshold)
            for example, value in zip(examples, sure, strict=True)
            if example.answer
        ]
        clear = [(e.right, accepted) for e, accepted in picked if e.kind not in without]
        right = [accepted for is_right, accepted in clear if is_right]
        wrong = [accepted for is_right, accepted in clear if not is_right]
        row['false_rejects'] = 1 - float(np.mean(right)) if right else None
        row['wrong_accepted'] = float(np.mean(wrong)) if wrong else None
        for kind in without:
            passed = [accepted for e, accepted in picked if e.kind == kind and not e.right]
            row[kind] = [int(sum(passed)), len(passed)]
        rows.append(row)
    return rows


def widths(distances):
    """
    How well covariances fit, by stratum.

    :param distances: dict stratum -> squared Mahalanobis distances of right answers.
    :return: dict stratum -> ``inside`` (share inside the 95 % ellipsoid), ``of`` (answers), and
        ``factor``, by which covariances would have to be multiplied to hold 95 %.
    """
    found = {}
    for stratum, values in distances.items():
        if values:
            values = np.array(values)
            found[stratum] = {
                'inside': float(np.mean(values < INSIDE)),
                'of': len(values),
                'factor': float(np.quantile(values, 0.95) / INSIDE),
            }
    return found
