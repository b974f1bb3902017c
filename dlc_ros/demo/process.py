"""A child process of the demo: started, watched, stopped; what it said is in a log file."""

import os
import signal
import subprocess
import threading

from dlc_ros.errors import DlcError

# A child that is asked to end gets this long [s] before it is made to.
PATIENCE = 5.0


class Child:
    """
    One process, with its output in a file.

    :param name: for people: ``node``.
    :param command: list of strings.
    :param log: path of the file that gets its output.
    :param environment: variables besides this process's own.
    :param on_line: called with every line of its standard output, in a thread; the log gets its
        standard error alone then.
    :raises DlcError: the command cannot be started.
    """

    def __init__(self, name, command, log, environment, on_line=None):
        self.name = name
        self.log = log
        with open(log, 'wb') as stream:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE if on_line else stream,
                    stderr=stream,
                    env={**os.environ, **environment},
                    # Ctrl-C is for the parent alone, which ends its children in order.
                    start_new_session=True,
                )
            except OSError as error:
                reason = f'{command[0]}: {error.strerror}'
                raise DlcError(f'cannot start the {name}, {reason}') from None
        if on_line:
            threading.Thread(target=self._follow, args=(on_line,), daemon=True).start()

    @property
    def exit_code(self):
        """Its exit code, or None while it runs."""
        return self._process.poll()

    def check(self):
        """
        Make sure that it runs.

        :raises DlcError: it has ended; with the last line that it said.
        """
        if self.exit_code is None:
            return
        words = self.last_words()
        raise DlcError(
            f'the {self.name} ended with exit code {self.exit_code}: '
            f'{words or "it said nothing"} (all it said: {self.log})'
        )

    def last_words(self):
        """The last line in its log that says something."""
        lines = self.log.read_text(encoding='utf-8', errors='replace').splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), '')

    def close_input(self):
        """Close its standard input: what the checker takes for the end of the run."""
        self._process.stdin.close()

    def wait(self, seconds):
        """
        Wait for its end.

        :returns: its exit code.
        :raises DlcError: it is still running after that time.
        """
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise DlcError(
                f'the {self.name} did not end within {seconds:g} s (what it said: {self.log})'
            ) from None

    def stop(self):
        """Ask it to end as Ctrl-C would, and all that it started; then make it."""
        for request in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self.exit_code is not None:
                return
            try:
                os.killpg(self._process.pid, request)
                self._process.wait(PATIENCE)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue

    def _follow(self, on_line):
        for line in self._process.stdout:
            on_line(line.decode('utf-8', errors='replace'))
