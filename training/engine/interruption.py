"""Ctrl-C and a scheduler's SIGTERM: the step under way is finished and kept."""

import signal
import threading
import time

# A launcher passes Ctrl-C on to processes that the terminal has told already: what follows so
# soon [s] is the same request.
ECHO = 2.0


class Interruption:
    """
    While it is entered, the first SIGINT or SIGTERM sets ``asked``; a later one ends at once.

    In threads other than the main one, which get no signals, it does nothing.
    """

    def __init__(self):
        self.asked = False
        self._since, self._before = 0.0, {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_):
        self._restore()

    def _ask(self, number, _frame):
        if not self.asked:
            self.asked, self._since = True, time.monotonic()
        elif time.monotonic() - self._since > ECHO:
            self._restore()
            signal.raise_signal(number)

    def _restore(self):
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)
