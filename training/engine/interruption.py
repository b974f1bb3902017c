"""Ctrl-C and a scheduler's SIGTERM: the step under way is finished and kept."""

import signal
import threading


class Interruption:
    """
    While it is entered, the first SIGINT or SIGTERM sets ``asked``; the next one ends at once.

    In threads other than the main one, which get no signals, it does nothing.
    """

    def __init__(self):
        self.asked = False
        self._before = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_):
        self._restore()

    def _ask(self, _number, _frame):
        self.asked = True
        self._restore()

    def _restore(self):
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)
