"""Commands of operators, one at a time in a thread of their own; the newest of a kind wins."""

import threading


class Commands:
    """
    Carries out commands that read files or wait for transforms.

    A command that waits while another of its kind comes is replaced by it: who sends "load this
    map" once a second (``ros2 topic pub`` without ``--once``) means the last one, not one after
    another for minutes after the sender has gone.

    :param after: called without arguments after each command, in the thread of the commands.
    :param on_error: called with what a command or ``after`` raised; the next one is carried out.
    :param name: of the thread, as debuggers and ``top`` show it.
    """

    def __init__(self, after, on_error, name='commands'):
        self._after = after
        self._on_error = on_error
        self._condition = threading.Condition()
        self._waiting = {}  # kind -> (function, arguments), in the order of their arrival
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, kind, function, *arguments):
        """Carry out ``function(*arguments)`` soon; never blocks. Ignored once stopped."""
        with self._condition:
            if not self._stopped:
                self._waiting.pop(kind, None)
                self._waiting[kind] = (function, arguments)
                self._condition.notify()

    def stop(self):
        """Drop what waits, let a running command finish, end the thread."""
        with self._condition:
            self._stopped = True
            self._waiting.clear()
            self._condition.notify()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self):
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._stopped or self._waiting)
                if self._stopped:
                    return
                function, arguments = self._waiting.pop(next(iter(self._waiting)))
            self._attempt(function, *arguments)
            self._attempt(self._after)

    def _attempt(self, function, *arguments):
        try:
            function(*arguments)
        except Exception as error:
            self._on_error(error)
