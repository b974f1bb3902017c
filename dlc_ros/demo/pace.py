"""When the simulated camera's clouds leave: rendered ahead, in step with a busy machine."""

import collections
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

# Clouds that are rendered ahead, and over which the load of the machine is averaged.
STOCK = 10
# So much slower than asked for, at most: a run shall end in three minutes.
SLOWEST = 2.5
# Less than this is not enough processor time [s] to measure a load with.
_MEASURABLE = 0.005


class Renderer:
    """
    Renders a run in a thread of its own, before its clouds are due.

    So the time that the simulation takes is not on the clock, as a sensor's would not be. What
    its work takes beyond its own processor time is other programs' doing: :attr:`slowdown`.

    :param capture: called with each time of ``times``; gives a cloud.
    :param times: of the run [s].
    """

    def __init__(self, capture, times):
        self._capture = capture
        self._times = list(times)
        self._loads = collections.deque(maxlen=STOCK)

    @property
    def slowdown(self):
        """
        How much longer the machine takes for a piece of work than it would take alone.

        1 on an idle machine, :data:`SLOWEST` at most. The simulation runs slower by this factor,
        the node and all else included; how fast the node is has no part in it, as long as it
        leaves one processor to the camera.
        """
        return float(np.clip(np.median(self._loads), 1.0, SLOWEST)) if self._loads else 1.0

    def clouds(self):
        """
        The run; its first cloud is given when :data:`STOCK` are there.

        :yields: time [s], cloud.
        """
        with ThreadPoolExecutor(1, thread_name_prefix='renderer') as thread:
            waiting = collections.deque()
            for number, t in enumerate(self._times, 1):
                waiting.append((t, thread.submit(self._render, t)))
                if number < STOCK:
                    continue
                if number == STOCK:
                    waiting[-1][1].result()
                due, cloud = waiting.popleft()
                yield due, cloud.result()
            for due, cloud in waiting:
                yield due, cloud.result()

    def _render(self, t):
        wall, work = time.perf_counter(), time.process_time()
        cloud = self._capture(t)
        wall, work = time.perf_counter() - wall, time.process_time() - work
        if work > _MEASURABLE:
            self._loads.append(wall / work)
        return cloud


class Pace:
    """
    The moments at which clouds leave.

    What was missed is not made up for: two clouds in a row would be a burst that no sensor sends,
    and the node would skip one of them for it.
    """

    def __init__(self):
        self._due = time.monotonic()

    def wait(self, period):
        """
        Wait until a cloud is due.

        :param period: until the next is [s].
        :returns: the time then [ns since the epoch].
        """
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._due = max(self._due, time.monotonic() - 0.1 * period) + period
        return time.time_ns()
