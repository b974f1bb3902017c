"""
A buffer of coordinate frames for the node without tf2: a tree, in time.

It answers as tf2's buffer does (T. Foote, "tf: The transform library", TePRA 2013): transforms
are interpolated between the two stamps around the asked one (straight line and slerp), never
extrapolated, and stamp 0 asks for the latest time at which the whole chain is known.
"""

import threading
import time
from bisect import bisect_left, insort

import numpy as np

from dlc_ros.errors import TransformRefused, TransformUnavailable
from dlc_ros.registration.se3 import (
    compose,
    exp_so3,
    inverse,
    is_rigid,
    log_so3,
    make_transform,
    nearest_rigid,
)

_CACHE_S = 10.0


class TransformTree:
    """
    Frames and how they lie to each other; safe to use from several threads.

    Names may start with a slash, which is ignored, as ROS 1 recordings have them.

    :param cache_s: how long moving transforms are kept before the newest one.
    """

    def __init__(self, cache_s=_CACHE_S):
        self._cache_ns = round(cache_s * 1e9)
        self._edges = {}  # child -> _Edge
        self._changed = threading.Condition()

    def insert(self, parent, child, stamp_ns, matrix, static=False):
        """
        Add a transform.

        A frame has one parent. Another one takes over when the first has not been heard for
        ``cache_s`` (a driver that was started again with other frames); never a static one's.

        :param parent: frame name.
        :param child: frame name.
        :param stamp_ns: nanoseconds; of no meaning for static ones.
        :param matrix: (4, 4) ``T_parent_child``.
        :param static: whether it holds at all times; replaces the one before.
        :returns: False if it is older than what is kept and was dropped.
        :raises TransformRefused: not rigid, an empty name, a loop, or a second parent.
        """
        parent, child = parent.lstrip('/'), child.lstrip('/')
        if not parent or not child:
            raise TransformRefused('a transform needs the names of both frames')
        if not is_rigid(matrix):
            raise TransformRefused(f'{parent} -> {child} is not a finite rigid transform')
        with self._changed:
            edge = self._edges.get(child)
            if edge is not None and edge.parent != parent and not self._is_over(edge, stamp_ns):
                raise TransformRefused(
                    f'{child} has the parent {edge.parent}; {parent} -> {child} was dropped: only '
                    'one node may publish the parent of a frame'
                )
            # What was static says nothing about the way to what moves, nor the reverse.
            if edge is None or (edge.parent, edge.static) != (parent, static):
                if child in self._chain(parent):
                    raise TransformRefused(f'{parent} -> {child} would close a loop of frames')
                edge = self._edges[child] = _Edge(parent, static)
            kept = edge.insert(stamp_ns, nearest_rigid(matrix), self._cache_ns)
            self._changed.notify_all()
            return kept

    def lookup(self, target, source, stamp_ns, timeout_s=0.0):
        """
        Transform between two frames at a time.

        :param target: frame name.
        :param source: frame name.
        :param stamp_ns: nanoseconds; 0 is the latest time at which it is known.
        :param timeout_s: how long to wait for it to become known.
        :returns: (4, 4) float64 ``T_target_source``; maps source points into the target frame.
        :raises TransformUnavailable: an unknown frame, no connection, or a time outside of what
            is known; the message says which.
        """
        target, source = target.lstrip('/'), source.lstrip('/')
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                try:
                    return self._lookup(target, source, stamp_ns)
                except TransformUnavailable:
                    remaining = deadline - time.monotonic()
                    if remaining <= 0.0:
                        raise
                    self._changed.wait(remaining)

    def parent_of(self, frame):
        """Return the parent of a frame, or None for a root or an unknown frame."""
        with self._changed:
            edge = self._edges.get(frame.lstrip('/'))
            return edge.parent if edge else None

    def clear(self):
        """Forget everything that moves, as after a jump of time; static transforms stay."""
        with self._changed:
            self._edges = {child: edge for child, edge in self._edges.items() if edge.static}

    def _is_over(self, edge, stamp_ns):
        """Whether a moving transform has ended long before a time."""
        return not edge.static and stamp_ns > edge.newest + self._cache_ns

    def _lookup(self, target, source, stamp_ns):
        if target == source:  # also of a frame that nobody publishes, as in tf2
            return np.eye(4)
        wanted = f'{target} <- {source}'
        known = self._edges.keys() | {edge.parent for edge in self._edges.values()}
        for frame in (target, source):
            if frame not in known:
                raise TransformUnavailable(
                    f'no transform {wanted}: nobody publishes the frame {frame!r}'
                )
        up, down = self._chain(source), self._chain(target)
        common = next((frame for frame in up if frame in down), None)
        if common is None:
            raise TransformUnavailable(
                f'no transform {wanted}: the frames are in two trees, below {up[-1]!r} and '
                f'{down[-1]!r}'
            )
        up, down = up[: up.index(common)], down[: down.index(common)]
        if stamp_ns == 0:
            newest = [self._edges[child].newest for child in up + down]
            stamp_ns = min((stamp for stamp in newest if stamp is not None), default=0)
        common_from_source = compose(*(self._at(child, stamp_ns, wanted) for child in up[::-1]))
        common_from_target = compose(*(self._at(child, stamp_ns, wanted) for child in down[::-1]))
        return compose(inverse(common_from_target), common_from_source)

    def _chain(self, frame):
        """Frame, its parent, and so on up to the root."""
        chain = [frame]
        while chain[-1] in self._edges:
            chain.append(self._edges[chain[-1]].parent)
        return chain

    def _at(self, child, stamp_ns, wanted):
        try:
            return self._edges[child].at(stamp_ns)
        except TransformUnavailable as error:
            raise TransformUnavailable(
                f'no transform {wanted} at {_seconds(stamp_ns)}: '
                f'{self._edges[child].parent} -> {child} {error}'
            ) from None


class _Edge:
    """Transforms of one child in its parent, by time."""

    def __init__(self, parent, static):
        self.parent = parent
        self.static = static
        self._stamps = []
        self._matrices = {}

    @property
    def newest(self):
        """Newest stamp, or None for a static transform, which holds at all times."""
        return None if self.static else self._stamps[-1]

    def insert(self, stamp_ns, matrix, cache_ns):
        if self.static:
            self._stamps, self._matrices = [stamp_ns], {stamp_ns: matrix}
            return True
        if self._stamps and stamp_ns < self._stamps[-1] - cache_ns:
            return False
        if stamp_ns not in self._matrices:
            insort(self._stamps, stamp_ns)
        self._matrices[stamp_ns] = matrix
        expired = bisect_left(self._stamps, self._stamps[-1] - cache_ns)
        for stamp in self._stamps[:expired]:
            del self._matrices[stamp]
        del self._stamps[:expired]
        return True

    def at(self, stamp_ns):
        if self.static:
            return self._matrices[self._stamps[0]]
        if stamp_ns > self._stamps[-1]:
            raise TransformUnavailable(
                f'ends at {_seconds(self._stamps[-1])}, the asked time is in its future'
            )
        if stamp_ns < self._stamps[0]:
            raise TransformUnavailable(
                f'begins at {_seconds(self._stamps[0])}, the asked time is in its past'
            )
        index = bisect_left(self._stamps, stamp_ns)
        after = self._stamps[index]
        if after == stamp_ns:
            return self._matrices[after]
        before = self._stamps[index - 1]
        share = (stamp_ns - before) / (after - before)
        return interpolate(self._matrices[before], self._matrices[after], share)


def interpolate(first, second, share):
    """
    Transform on the way from one to another: straight line and shortest turn (slerp).

    :param first: (4, 4).
    :param second: (4, 4).
    :param share: 0 gives the first, 1 the second.
    :returns: (4, 4) float64.
    """
    turn = log_so3(first[:3, :3].T @ second[:3, :3])
    rotation = first[:3, :3] @ exp_so3(share * turn)
    return make_transform(rotation, (1.0 - share) * first[:3, 3] + share * second[:3, 3])


def _seconds(stamp_ns):
    return f'{stamp_ns * 1e-9:.3f} s'
