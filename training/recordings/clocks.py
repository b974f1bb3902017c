"""Whose clock stamps the clouds: that of the transforms and poses, or another."""

from array import array

import numpy as np
from scipy.ndimage import median_filter

# Clocks that differ by more are not the same clock [s].
_TOLERANCE_S = 0.5
# Messages whose delay is kept of a topic, evenly over all of it; an even number.
_MOST = 4000
# Neighbours among which a delay is the usual one: some transforms are dated ahead.
_NEIGHBOURS = 9


class Lags:
    """How long after their stamps messages were recorded, thinned evenly over the recording."""

    def __init__(self):
        self._bags, self._lags = array('q'), array('q')
        self._every, self._seen = 1, 0

    def __bool__(self):
        return self._seen > 0

    def add(self, bag_ns, stamp_ns):
        """Take in a message: its time of recording and its stamp [ns]."""
        if self._seen % self._every == 0:
            self._bags.append(bag_ns)
            self._lags.append(bag_ns - stamp_ns)
            if len(self._bags) == _MOST:
                self._bags, self._lags = self._bags[::2], self._lags[::2]
                self._every *= 2
        self._seen += 1

    def at(self, bags_ns):
        """Delays [s] at times of recording (N,), and (N,) bool: between the first and the last."""
        bags = np.asarray(self._bags)
        order = np.argsort(bags, kind='stable')
        bags = bags[order]
        lags = median_filter(np.asarray(self._lags)[order] * 1e-9, _NEIGHBOURS, mode='nearest')
        return np.interp(bags_ns, bags, lags), (bags_ns >= bags[0]) & (bags_ns <= bags[-1])


def one_clock(headers_ns, bags_ns, others):
    """
    Stamps of clouds on the clock of the transforms and poses.

    Delays are compared at the same times of recording. A simulation that is slower than the clock
    it is recorded by, or a bag that was replayed at another pace, has delays that grow from the
    first message to the last, of clouds and transforms alike.

    :param headers_ns: (N,) int64 as the clouds have them; all 0 if they are not stamped.
    :param bags_ns: (N,) int64 when they were recorded.
    :param others: :class:`Lags` of transforms and poses.
    :return: (N,) int64 stamps, and a sentence for people or ''.
    """
    if not headers_ns.any():
        return bags_ns, 'the clouds are not stamped: the times of recording are used'
    lags = (bags_ns - headers_ns) * 1e-9
    lag, apart = float(np.median(lags)), np.zeros(len(lags))
    if others:
        there, between = others.at(bags_ns)
        apart = (lags - there)[between] if between.any() else lags - there
    shift = float(np.median(apart))
    if abs(shift) > _TOLERANCE_S:
        return headers_ns + round(shift * 1e9), (
            f'the clouds are stamped by another clock: {lag:.3f} s before the times of recording, '
            f'transforms and poses {lag - shift:.3f} s; the clouds are moved by {shift:.3f} s '
            f'(delivery varies by {_spread(apart):.3f} s, and poses are as exact as that)'
        )
    if abs(lag) > _TOLERANCE_S:
        return headers_ns, (
            f'stamps lie {lag:.1f} s before the times of recording (varying by '
            f'{_spread(lags):.1f} s), for clouds and poses alike: the stamps are used'
        )
    return headers_ns, ''


def _spread(values):
    """From the 5 % quantile to that of 95 %."""
    return float(np.subtract(*np.percentile(values, (95, 5))))
