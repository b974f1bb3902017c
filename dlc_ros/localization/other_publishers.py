"""Whether somebody else publishes the transforms that this node is there to publish."""

import time
from collections import defaultdict, deque

# Transforms of this node are heard again within moments; so many are remembered of each frame.
_REMEMBERED = 1000
# A publisher that was not heard for so long has gone [s].
_GONE = 5.0


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
        self._heard = {}  # child -> (text, until when it holds [s])

    def sent(self, transforms):
        """Note a tuple of :class:`StampedTransform`, before they are published."""
        for transform in transforms:
            self._sent[transform.child].append(transform.stamp_ns)

    def heard(self, parent, child, stamp_ns, static, names):
        """
        Note a transform that was heard.

        :param static: whether it came on ``/tf_static``, where it stays in force.
        :param names: ``names() -> iterable of str``: nodes that may have sent it; asked for once.
        :returns: what is wrong, when that is new; else an empty string.
        """
        if not static and stamp_ns in self._sent[child]:
            return ''
        now = self._clock()
        until = float('inf') if static else now + _GONE
        text, before = self._heard.get(child, ('', 0.0))
        if before > now:
            self._heard[child] = (text, max(before, until))
            return ''
        text = f'{parent} -> {child} is {"static, " if static else ""}published by '
        text += f'{_any_of(names())} too: consumers jump between the two; stop one of them'
        self._heard[child] = (text, until)
        return text

    @property
    def problem(self):
        """What is wrong now, or an empty string."""
        now = self._clock()
        return '; '.join(text for text, until in self._heard.values() if until > now)


def _any_of(names):
    names = sorted(set(names))
    if not names:
        return 'another node'
    return names[0] if len(names) == 1 else f'one of {", ".join(names)}'
