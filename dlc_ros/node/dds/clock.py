"""The node's time: the system's, or a simulator's from ``/clock``."""

import threading
import time


class NodeClock:
    """
    Time in nanoseconds, as ROS nodes count it.

    :param on_jump_back: called with the new time when simulated time goes back.
    :param tolerance_ns: by how much it may go back without that being a jump.
    :param simulated: time stands at 0 until :meth:`set` is called, and moves with it only.
    """

    def __init__(self, on_jump_back, tolerance_ns, simulated=False):
        self._on_jump_back = on_jump_back
        self._tolerance_ns = tolerance_ns
        self._simulated = simulated
        self._now_ns = 0
        self._lock = threading.Lock()

    def now_ns(self):
        """Nanoseconds since the epoch, or the simulator's."""
        return self._now_ns if self._simulated else time.time_ns()

    def set(self, now_ns):
        """Take over the simulator's time."""
        with self._lock:
            jumped = now_ns < self._now_ns - self._tolerance_ns
            self._now_ns = now_ns
        if jumped:
            self._on_jump_back(now_ns)
