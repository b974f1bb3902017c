"""Whether somebody else publishes the transforms that this node is there to publish."""

import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

# Transforms of this node are heard again within moments; so many are remembered of each frame.
_REMEMBERED = 1000
# A publisher that was not heard for so long has gone [s].
_GONE = 5.0


@dataclass
class _Other:
    """
    A transform that somebody else publishes.

    :param until: when it is over unless it is heard again [s].
    :param suspects: set of the nodes that may have sent it.
    :param names: see :meth:`OtherPublishers.heard`.
    """

    parent: str
    child: str
    static: bool
    until: float
    suspects: set
    names: Callable

    @property
    def text(self):
        return (
            f'{self.parent} -> {self.child} is {"static, " if self.static else ""}published by '
            f'{_any_of(self.suspects)} too: consumers jump between the two; stop one of them'
        )

    def doubt(self, now):
        """Of a static one, which is sent but once: wait to hear it again when a suspect left."""
        there = set(self.names())
        if self.suspects - there:
            self.until = min(self.until, now + _GONE)
            self.suspects = there
        else:
            self.suspects |= there


class OtherPublishers:
    """
    Compares what is heard of a frame with what was sent; holds no lock and calls nobody.

    Two publishers of one transform make every consumer jump between two poses: it is the commonest
    mistake in a transform tree (a second localiser, a static placeholder), and no reader of the
    tree can tell.

    :param clock: monotonic seconds.
    """

    def __init__(self, clock=time.monotonic):
        self._clock = clock
        self._sent = defaultdict(lambda: deque(maxlen=_REMEMBERED))  # child -> stamps [ns]
        self._heard = {}  # (child, static) -> _Other

    def sent(self, transforms):
        """Note a tuple of :class:`StampedTransform`, before they are published."""
        for transform in transforms:
            self._sent[transform.child].append(transform.stamp_ns)

    def heard(self, parent, child, stamp_ns, static, names):
        """
        Note a transform that was heard.

        :param static: whether it came on ``/tf_static``, where it stays in force as long as its
            publisher is there.
        :param names: ``names() -> iterable of str``: nodes that are there and may have sent it;
            of a static one asked for again and again. Where that is more than one node and one of
            them has left, what the others have sent on ``/tf_static`` must be heard once more.
        :returns: what is wrong, when that is new; else an empty string.
        """
        if not static and stamp_ns in self._sent[child]:
            return ''
        now = self._clock()
        until = float('inf') if static else now + _GONE
        known = self._heard.get((child, static))
        if known is not None and known.until > now:
            known.until = until
            return ''
        other = _Other(parent, child, static, until, set(names()), names)
        self._heard[child, static] = other
        return other.text

    def forget(self, child):
        """Leave a frame to others."""
        self._heard.pop((child, False), None)
        self._heard.pop((child, True), None)

    def find_problem(self):
        """Ask who is there, and return what is wrong now, or an empty string."""
        now = self._clock()
        for other in self._heard.values():
            if other.static and other.until > now:
                other.doubt(now)
        return '; '.join(other.text for other in self._heard.values() if other.until > now)


def _any_of(names):
    names = sorted(names)
    if not names:
        return 'another node'
    return names[0] if len(names) == 1 else f'one of {", ".join(names)}'
