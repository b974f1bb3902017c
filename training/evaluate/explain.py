"""
Why a registration failed: was the truth never proposed, or proposed and not chosen?

The registrar runs again on the pair and is watched; beside its candidates the pose that the
refinement reaches from the truth itself is judged by the same measures.
"""

from collections import Counter

import numpy as np

from dlc_training.evaluate.metrics import is_within, rotation_error_deg, translation_error
from dlc_training.evaluate.symmetry import nearest_truth
from dlc_training.evaluate.watched import Watched

OUTCOMES = {
    'choice': 'a right candidate was refined, but another was chosen',
    'start': 'no candidate was right; the truth, had it been proposed, would have won',
    'rank': 'no candidate was right; the truth would have lost to the chosen one',
    'refinement': 'the refinement leaves the truth when it starts there',
}
_MEASURES = ('confidence', 'support', 'residual_ratio', 'contrast', 'coverage', 'energy')
_LOWER_IS_BETTER = ('residual_ratio', 'energy')


def explain(pair, group, limits, weights=None):
    """
    Run the registrar on a pair once more and tell what became of the truth.

    :param pair: :class:`~dlc_training.evaluate.pair.Pair`.
    :param group: symmetry group of its shape.
    :param limits: of success, degrees and length.
    :param weights: weights file; None for the shipped ones.
    :return: JSON-able dict: ``outcome`` (key of :data:`OUTCOMES`, or ``right``), ``candidates``
        (how many), ``rank`` (of the best right one by confidence, 0 is first; None: there is
        none), ``error`` (degrees, length) of the answer, and ``chosen``, ``best_right``,
        ``truth``: dicts of the measures of that pose, or None.
    """
    registrar = Watched(pair.target, weights, threads=1)
    known = () if pair.prior is None else (pair.prior.transform, pair.prior.covariance)
    found = registrar.register(pair.source, *known)
    truth, fit = registrar.refined(pair.truth)

    def error(transform):
        true = nearest_truth(pair.truth, transform, group, pair.shape_pose)
        return rotation_error_deg(transform, true), translation_error(transform, true)

    poses = np.array([*found.candidates, truth])
    right = [is_within(*error(pose), limits) for pose in poses]
    measures = [
        {**_of(fit, registrar), 'energy': float(energy)}
        for fit, energy in zip([*registrar.fits, fit], registrar.energies(poses), strict=True)
    ]
    order = sorted(range(len(poses) - 1), key=lambda i: -measures[i]['confidence'])
    ranks = [rank for rank, index in enumerate(order) if right[index]]
    chosen = measures[registrar.chosen]
    if is_within(*error(found.transform), limits):
        outcome = 'right'
    elif ranks:
        outcome = 'choice'
    elif not right[-1]:
        outcome = 'refinement'
    else:
        wins = measures[-1]['confidence'] > chosen['confidence']
        outcome = 'start' if wins else 'rank'
    return {
        'outcome': outcome,
        'candidates': len(found.candidates),
        'rank': ranks[0] if ranks else None,
        'error': error(found.transform),
        'chosen': chosen,
        'best_right': measures[order[ranks[0]]] if ranks else None,
        'truth': measures[-1],
    }


def _of(fit, registrar):
    numbers = {name: getattr(fit, name) for name in _MEASURES[1:-1]}
    numbers = {name: value and float(value) for name, value in numbers.items()}
    return {'confidence': registrar.confidence(fit), **numbers}


def explanation(rows):
    """
    Text about many explained failures.

    :param rows: list of what :func:`explain` returned for failed pairs.
    """
    counts = Counter(row['outcome'] for row in rows)
    lines = [f'{len(rows)} failures of dlc_ros on clear pairs{":" if rows else ""}']
    for outcome, meaning in OUTCOMES.items():
        chosen = [row for row in rows if row['outcome'] == outcome]
        if not chosen:
            continue
        lines.append(f'{counts[outcome]:5} {outcome}: {meaning}')
        for name in _MEASURES:
            lines.append(_compared(chosen, name))
    if counts['right']:
        lines.append(f'{counts["right"]:5} right when run again')
    return '\n'.join(line for line in lines if line)


def _compared(rows, name):
    """One measure at the chosen pose and at the truth, medians."""
    values = [(row['chosen'][name], row['truth'][name]) for row in rows]
    if any(value is None for pair in values for value in pair):
        return ''
    wrong, true = np.array(values).T
    better = true < wrong if name in _LOWER_IS_BETTER else true > wrong
    return (
        f'        {name:14} {np.median(wrong):6.3f} chosen, {np.median(true):6.3f} at the truth,'
        f' better there in {100 * better.mean():3.0f} %'
    )
