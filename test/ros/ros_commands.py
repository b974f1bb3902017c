"""Commands of ``ros2`` as processes, ended as Ctrl-C would."""

import os
import signal
import subprocess
from contextlib import suppress

import yaml
from rclpy_harness import PATIENCE_S


class Commands:
    """
    Runs commands in a folder, each with a log of its own, and ends them all.

    :param folder: where they run and where their logs are.
    :param setup: set-up file of a colcon workspace to source first, or None.
    """

    def __init__(self, folder, setup=None):
        self._folder = folder
        self._source = f'source "{setup}" && exec "$@"' if setup else 'exec "$@"'
        self._started = []

    def start(self, *words):
        """Start a command; it becomes the leader of a process group."""
        log = self._folder / f'command{len(self._started)}.txt'
        self._started.append(Command(['bash', '-c', self._source, '-', *map(str, words)], log))
        return self._started[-1]

    def end(self):
        """End whatever still runs."""
        for command in reversed(self._started):
            command.end()


class Command:
    """
    One command in a process group.

    :param words: program and arguments.
    :param log: file for its output.
    """

    def __init__(self, words, log):
        self._log = log
        with log.open('w') as stream:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=log.parent,
            )

    @property
    def running(self):
        return self._process.poll() is None

    @property
    def output(self):
        """What it wrote so far."""
        return self._log.read_text()

    def wait(self):
        """Wait for its own end; returns the exit code."""
        return self._process.wait(PATIENCE_S)

    def end(self):
        """Ctrl-C for the whole group; returns the exit code."""
        if self.running:
            os.killpg(self._process.pid, signal.SIGINT)
        try:
            return self.wait()
        finally:
            self.kill()

    def kill(self):
        """End whatever is left of the group."""
        with suppress(ProcessLookupError):  # nobody is left, as it should be
            os.killpg(self._process.pid, signal.SIGKILL)


def write_parameters(path, **values):
    """A parameter file of any node; returns its path."""
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': values}}))
    return path
