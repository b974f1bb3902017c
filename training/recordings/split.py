"""Train and held-out parts, by time or by place, never by random frame."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

# A sensor whose places spread less than this [median ranges] has no other place to be judged at.
_SPREAD = 1.5
# Nothing is trained on so near to the held-out part [median ranges], or [share of the duration].
_MARGIN, _PAUSE = 0.5, 0.02


class Border(NamedTuple):
    """Where the held-out place begins: a plane across ``axis`` (3,) at ``at`` [m] along it."""

    axis: np.ndarray
    at: float

    def before(self, points):
        """Which points (N, 3) lie outside of the held-out place (N,) bool."""
        return points @ self.axis <= self.at


@dataclass(frozen=True)
class Split:
    """
    Which scans are for what; those of neither are the margin.

    :param train: (N,) bool; ``held_out`` (N,) bool; neither where no place is known.
    :param by: ``time`` or ``place``.
    :param description: for people.
    :param border: :class:`Border` of the held-out place, None by time.
    :param cut_ns: stamp after which scans are held out by time.
    """

    train: np.ndarray
    held_out: np.ndarray
    by: str
    description: str
    border: Border | None = None
    cut_ns: float = 0.0

    def beyond(self, stamps_ns, places):
        """Which scans of stamps (N,) and places (N, 3) lie in the held-out part (N,) bool."""
        return stamps_ns > self.cut_ns if self.border is None else ~self.border.before(places)


def split(stamps_ns, places, median_range, by='auto', share=0.25, known=None):
    """
    Split scans.

    By place: the far end of the way's longer axis is held out. By time: the last part is.

    :param stamps_ns: (N,); ``places`` (N, 3) of the sensor [m]; ``median_range`` of the scans [m].
    :param by: ``time``, ``place`` or ``auto``: place where the sensor went to several.
    :param share: of the scans to hold out, 0..1.
    :param known: (N,) bool, whose places are known; None: all. The others are for nothing.
    """
    if known is not None and not known.all():
        parts = split(stamps_ns[known], places[known], median_range, by, share)
        train, held_out = np.zeros(len(known), bool), np.zeros(len(known), bool)
        train[known], held_out[known] = parts.train, parts.held_out
        return replace(parts, train=train, held_out=held_out)
    centred = places - places.mean(0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    spread = float(sizes[0] / np.sqrt(len(places)))
    note = ''
    if by != 'time' and spread < _SPREAD * median_range:
        if by == 'place':
            note = ' (asked for by place, but the sensor was in one place only)'
        by = 'time'
    elif by == 'auto':
        by = 'place'
    if by == 'time':
        cut = np.quantile(stamps_ns, 1 - share)
        pause = _PAUSE * (stamps_ns[-1] - stamps_ns[0])
        held_out = stamps_ns > cut
        train = stamps_ns < cut - pause
        text = f'by time: the last {(stamps_ns[-1] - cut) * 1e-9:.1f} s are held out{note}'
        return Split(train, held_out, by, text, cut_ns=float(cut))
    axis = axes[0] * np.sign(axes[0][np.abs(axes[0]).argmax()])
    along = centred @ axis
    cut = float(np.quantile(along, 1 - share))
    held_out = along > cut
    train = along < cut - _MARGIN * median_range
    text = (
        f'by place: the end of the way along ({axis[0]:.2f}, {axis[1]:.2f}, {axis[2]:.2f}) is '
        f'held out, {along.max() - cut:.1f} m of {np.ptp(along):.1f} m'
    )
    border = Border(axis, float(cut + places.mean(0) @ axis))
    return Split(train, held_out, by, text, border)
