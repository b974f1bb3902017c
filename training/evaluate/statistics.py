"""Intervals and paired tests for success rates."""

import numpy as np
from scipy.stats import binomtest, norm


def wilson_interval(successes, trials, level=0.95):
    """
    Wilson score interval of a share (Wilson, JASA 1927).

    :param successes: number of successes.
    :param trials: number of trials; none gives (0, 1).
    :param level: coverage.
    :return: (low, high), 0..1.
    """
    if trials == 0:
        return 0.0, 1.0
    z = norm.ppf(0.5 + level / 2)
    share = successes / trials
    scale = 1 + z**2 / trials
    centre = (share + z**2 / (2 * trials)) / scale
    half = z / scale * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def paired_difference(first, second, clusters=None, level=0.95, draws=5000, seed=0):
    """
    Mean difference of two methods on the same pairs, with a percentile bootstrap interval.

    Whole clusters are drawn with replacement: pairs of one shape are not independent.

    :param first: (n,) values (success as 0/1, or an error) of one method.
    :param second: (n,) those of the other, same pairs.
    :param clusters: (n,) label of each pair's cluster; default: every pair is its own.
    :param level: coverage.
    :param draws: bootstrap draws.
    :param seed: seed of the draws.
    :return: (mean of first - second, low, high); NaN without pairs.
    """
    difference = np.asarray(first, float) - np.asarray(second, float)
    n = len(difference)
    if n == 0:
        return float('nan'), float('nan'), float('nan')
    labels = np.arange(n) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    sums, sizes = np.bincount(labels, difference), np.bincount(labels)
    rng = np.random.default_rng(seed)
    # How often each cluster is drawn is all that the mean depends on.
    counts = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=draws)
    means = (counts @ sums) / (counts @ sizes)
    low, high = np.percentile(means, (50 - 50 * level, 50 + 50 * level))
    return float(difference.mean()), float(low), float(high)


def mcnemar(first, second):
    """
    Exact McNemar test (McNemar, Psychometrika 1947): two success rates on the same pairs.

    :param first: (n,) bool.
    :param second: (n,) bool.
    :return: (pairs that only ``first`` solved, pairs that only ``second`` solved, two-sided p).
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    disagreements = only_first + only_second
    p = binomtest(only_first, disagreements).pvalue if disagreements else 1.0
    return only_first, only_second, float(p)
