"""map -> odom between two accepted poses: dated forward, and repeated until it is too old."""

from dataclasses import replace


class HeldTransform:
    """
    The last accepted transform and the newest date under which it was published.

    A navigation stack looks transforms up at "now", which is later than any cloud's stamp; so they
    are dated forward by a tolerance and repeated at a steady rate. Dates only ever grow: what a
    cloud gives must not be dated before what the timer repeated, or the old one would stay in
    force.
    """

    def __init__(self):
        self._transform = None
        self._newest_date_ns = 0

    def take(self, transform, tolerance_s, fresh):
        """
        Hold a transform.

        :param transform: :class:`~dlc_ros.localization.output.StampedTransform`, dated as its
            cloud.
        :param tolerance_s: seconds to date it forward.
        :param fresh: whether nothing was published before it, or what was wrong: it is then
            given with its own date too, so that no consumer interpolates between the two.
        :returns: tuple of the transforms to publish.
        """
        self._transform = transform
        dates_ns = [transform.stamp_ns + round(tolerance_s * 1e9)]
        if fresh and self._newest_date_ns < transform.stamp_ns < dates_ns[0]:
            dates_ns.insert(0, transform.stamp_ns)
        self._newest_date_ns = dates_ns[-1] = max(dates_ns[-1], self._newest_date_ns + 1)
        return tuple(replace(transform, stamp_ns=date_ns) for date_ns in dates_ns)

    def repeat(self, now_ns, tolerance_s, timeout_s):
        """
        Repeat the transform that is held.

        :param now_ns: the node's clock.
        :param tolerance_s: seconds to date it forward.
        :param timeout_s: age of the cloud from which on it is not repeated.
        :returns: the transform to publish, or None.
        """
        if not self.lasts(now_ns, timeout_s):
            return None
        date_ns = now_ns + round(tolerance_s * 1e9)
        if date_ns <= self._newest_date_ns:
            return None
        self._newest_date_ns = date_ns
        return replace(self._transform, stamp_ns=date_ns)

    def expired(self, now_ns, timeout_s):
        """Whether there is a transform and it is too old to be repeated."""
        held = self._transform
        return held is not None and now_ns - held.stamp_ns > timeout_s * 1e9

    def lasts(self, now_ns, timeout_s):
        """Whether there is a transform and it may still be repeated."""
        return self._transform is not None and not self.expired(now_ns, timeout_s)

    def restart(self):
        """Hold nothing, and start dates afresh after a jump of time."""
        self._transform = None
        self._newest_date_ns = 0
