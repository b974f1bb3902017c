"""Newest-only slot and one worker thread: a slow job sees fresh input, never a queue of old."""

import threading


class LatestOnly:
    """
    Runs ``job(item)`` in one thread of its own, always on the newest item submitted.

    An item that arrives while the job runs waits; one that arrives while another waits replaces
    it, and the replaced one is counted in :attr:`skipped`. An exception in the job goes to
    ``on_error(exception)`` and the worker goes on with the next item.

    :param job: called with each item, in the worker's thread.
    :param on_error: called with what ``job`` raised, in the worker's thread.
    :param name: of the thread, as debuggers and ``top`` show it.
    """

    def __init__(self, job, on_error, name='worker'):
        self._job = job
        self._on_error = on_error
        self._condition = threading.Condition()
        self._waiting = None  # a one-element tuple, so that any item may be submitted
        self._stopped = False
        self._skipped = 0
        self._outdated = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def skipped(self):
        """How many submitted items were dropped, mostly for a newer one, before the job began."""
        return self._skipped

    @property
    def outdated(self):
        """Whether :meth:`clear` was called since the running job, or the last one, began."""
        return self._outdated

    def submit(self, item):
        """Make ``item`` the next one; never blocks on the job. Ignored once stopped."""
        with self._condition:
            if self._stopped:
                return
            if self._waiting is not None:
                self._skipped += 1
            self._waiting = (item,)
            self._condition.notify()

    def clear(self):
        """Drop what waits, counted as skipped, and tell the running job that it is outdated."""
        with self._condition:
            self._skipped += self._waiting is not None
            self._waiting = None
            self._outdated = True

    def stop(self, timeout=None):
        """
        Drop what waits, let a running job finish, end the thread.

        :param timeout: seconds to wait for the running job; None waits as long as it takes.
        :returns: whether the thread has ended.
        """
        with self._condition:
            self._stopped = True
            self._waiting = None
            self._condition.notify()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self):
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._stopped or self._waiting is not None)
                if self._stopped:
                    return
                (item,), self._waiting = self._waiting, None
                self._outdated = False
            try:
                self._job(item)
            except Exception as error:
                self._on_error(error)
            del item  # a cloud must not outlive its job while the thread waits for the next
