"""From answers on the same problems to one sentence: whether to deploy."""

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from dlc_training.evaluate.statistics import paired_difference, wilson_interval

# Points of success on generated shapes that new weights may lose.
FORGETTING = 1.0
# Neighbouring scans see the same: so many of them are one cluster of the bootstrap, which needs
# some of those; fewer scans than this tell nothing.
_CLUSTER, _FEWEST_CLUSTERS, _FEWEST_SCANS = 10, 12, 24
# Gains of which any one is enough, and the level of the interval of each (Bonferroni): chance
# passes for one of them no more often than for a single one at 95 %.
_GAINS = 3
_GAIN_LEVEL = 1 - 0.05 / _GAINS


def compare(old, new, clusters=None):
    """
    Success of two weights on the same problems.

    :param old: (N,) bool; ``new`` (N,) bool.
    :param clusters: (N,) labels of what is not independent.
    :return: dict with the shares, their intervals, the difference and its interval, in points;
        ``gain``: the lower end of its interval at the level that a gain is told by.
    """
    difference, low, high = paired_difference(new, old, clusters)
    independent = len(old) if clusters is None else len(np.unique(clusters))
    _, gain, _ = paired_difference(new, old, clusters, _level(independent))
    return {
        'count': len(old),
        'old': 100 * float(np.mean(old)),
        'new': 100 * float(np.mean(new)),
        'old_interval': [100 * v for v in wilson_interval(int(np.sum(old)), len(old))],
        'new_interval': [100 * v for v in wilson_interval(int(np.sum(new)), len(new))],
        'difference': 100 * difference,
        'interval': [100 * low, 100 * high],
        'gain': 100 * gain,
    }


def compare_scans(old, new):
    """:func:`compare` of scans in the order of the way: neighbours are not independent."""
    count = len(old)
    clusters = np.arange(count) // max(1, min(_CLUSTER, count // _FEWEST_CLUSTERS))
    return compare(old, new, clusters)


def _level(clusters):
    """
    Level to draw a bootstrap of so many clusters at, for an interval of :data:`_GAIN_LEVEL`.

    Percentiles of few clusters lie too close (Hesterberg, The American Statistician 2015).
    """
    count = max(clusters, 2)
    quantile = student.ppf(0.5 + _GAIN_LEVEL / 2, count - 1)
    return 1 - 2 * float(norm.cdf(-quantile * np.sqrt(count / (count - 1))))


def verdict(scores, caveat=''):
    """
    One sentence whether to deploy.

    What counts is a clear gain where the whole reference is searched, in what is found or in what
    of it the gate accepts, or in windows, where the network answers alone; and that nothing got
    worse: a clear loss in any of these, more wrong answers accepted, generated shapes forgotten.

    :param scores: dict of what :func:`compare` says of the held-out scans: ``held_out``, searched
        for in the whole reference; ``accepted``, of these both right and accepted by the gate;
        ``windows``, in the part of the reference about them; then ``wrong``, how many wrong
        answers the gate accepted with the ``old`` and the ``new`` weights; and ``benchmark``, of
        generated shapes, None if it was not run.
    :param caveat: clause that says what keeps the held-out poses from being a truth; '' for none.
    :return: (whether to deploy, the sentence).
    """
    held_out, accepted, windows = (scores[name] for name in ('held_out', 'accepted', 'windows'))
    wrong, benchmark = scores['wrong'], scores['benchmark']
    found = f'the new ones place {_score(held_out)} in the whole reference'
    more = (
        f', the gate accepts {_score(accepted)} and of the wrong answers {wrong["new"]} (before: '
        f'{wrong["old"]}), and in the part of the reference about each scan, nothing known of its '
        f'attitude, they place {_score(windows)}'
    )
    caveat = f'; {caveat}' if caveat else ''
    if held_out['count'] < _FEWEST_SCANS:
        few = f'{held_out["count"]} held-out scans are too few to tell'
        return False, f'Keep the old weights: {few}, {found}{caveat}.'
    if any(part['interval'][1] < 0 for part in (held_out, accepted, windows)):
        return False, f'Keep the old weights: something got clearly worse, {found}{more}{caveat}.'
    gains = (held_out, accepted, windows) if held_out['difference'] >= 0 else (held_out,)
    if not any(part['gain'] > 0 for part in gains):
        level = f'at {100 * _GAIN_LEVEL:.1f} %, which one of {_GAINS} gains needs'
        none = f'no gain could be shown ({level})'
        return False, f'Keep the old weights: {none}, {found}{more}{caveat}.'
    only = forgotten = ''
    lost = 0.0 if benchmark is None else -benchmark['difference']
    if lost > FORGETTING:
        how = 'clearly' if benchmark['interval'][1] < 0 else 'by a difference that may be chance'
        only = ' only where this recording is typical'
        forgotten = f', but they lose {lost:.1f} points on generated shapes ({how})'
    if wrong['new'] > wrong['old']:  # first: nowhere may a robot trust a gate that got worse
        then = f', and then deploy them{only}' if only else ''
        return False, (
            f'Fit the gate before you deploy the new weights{then}; it lets more wrong answers '
            f'pass: {found}{more}{forgotten}{caveat}.'
        )
    if only:
        return False, f'Deploy the new weights{only}: {found}{more}{forgotten}{caveat}.'
    return True, f'Deploy the new weights: {found}{more}{caveat}.'


def _score(compared):
    low, high = compared['interval']
    return (
        f'{compared["new"]:.0f} % of {compared["count"]} held-out scans (before: '
        f'{compared["old"]:.0f} %; {compared["difference"]:+.0f} points, 95 % interval '
        f'{low:+.0f} to {high:+.0f})'
    )
