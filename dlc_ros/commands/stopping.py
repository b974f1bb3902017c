"""How the commands that go on for long are told to end."""

import signal
import threading
from contextlib import contextmanager


@contextmanager
def until_signal():
    """Event that is set by SIGINT or SIGTERM; ``event.signal`` is the first that came, or None."""
    event = threading.Event()
    event.signal = None

    def on_signal(number, _frame):
        event.signal = event.signal or number
        event.set()

    previous = {n: signal.signal(n, on_signal) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
