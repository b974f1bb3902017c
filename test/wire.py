"""What the tests over DDS share: a domain of their own, processes, a small scene."""

import fcntl
import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = 'lo'
SOON = 120.0  # seconds; a test that waits this long has failed


@functools.cache
def free_domain(which=0):
    """
    DDS domain that no other run of these tests uses; below 101, where ports are free.

    :param which: another number is another domain; kept until this process ends.
    """
    for i in range(100):
        domain = 1 + (os.getpid() + 31 * which + i) % 100
        lock = (Path(tempfile.gettempdir()) / f'dlc_ros_test_domain_{domain}').open('w')
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _locks.append(lock)
        return domain
    raise RuntimeError('all domains are taken: are there so many test runs?')


_locks = []


def wait_for(condition, seconds=SOON):
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())


def environment():
    """Environment of a child process: this source tree, one thread, the default middleware."""
    ros = filter(None, [os.environ.get('PYTHONPATH')])
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ('CYCLONEDDS_URI', 'ROS_DISTRO', 'ROS_DOMAIN_ID')
    }
    return {
        **inherited,
        'PYTHONPATH': os.pathsep.join([str(ROOT), str(ROOT / 'test'), *ros]),
        'OMP_NUM_THREADS': '1',
        'OMP_WAIT_POLICY': 'passive',
    }


class Process:
    """
    A Python process whose output is kept; ended on leaving, whatever happened.

    :param variables: of its environment, besides :func:`environment`.
    """

    def __init__(self, *arguments, **variables):
        self._process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment(), **variables},
            cwd=ROOT,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    @property
    def running(self):
        return self._process.poll() is None

    def lines_until(self, words):
        """What it says on stderr, up to the line with these words."""
        said = ''
        for line in self._process.stderr:
            said += line
            if words in line:
                break
        return said

    def interrupt(self, number=signal.SIGINT):
        self._process.send_signal(number)

    def finish(self, timeout=SOON):
        """Exit code, stdout, stderr."""
        out, err = self._process.communicate(timeout=timeout)
        return self._process.returncode, out, err


def command(*arguments):
    """``dlc-ros`` as a process."""
    return Process('-m', 'dlc_ros.cli', *arguments)


def room(count=6000, seed=3):
    """(N, 3) float32 points of a room's corner with furniture: fixed in all directions."""
    rng = np.random.default_rng(seed)
    boxes = [  # lower corner, size [m]
        ((0.0, 0.0, 0.0), (3.0, 2.0, 0.0)),
        ((0.0, 0.0, 0.0), (3.0, 0.0, 1.5)),
        ((0.0, 0.0, 0.0), (0.0, 2.0, 1.5)),
        ((0.4, 0.3, 0.0), (0.5, 0.7, 0.4)),
        ((1.6, 0.2, 0.0), (0.9, 0.3, 0.9)),
        ((2.2, 1.2, 0.0), (0.3, 0.4, 0.6)),
    ]
    parts = []
    for corner, size in boxes:
        size = np.asarray(size)
        points = rng.random((count // len(boxes), 3))
        if (size > 0.0).all():  # points on the faces of a box
            axis = rng.integers(0, 3, len(points))
            points[np.arange(len(points)), axis] = rng.integers(0, 2, len(points))
        parts.append(np.asarray(corner) + points * size)
    cloud = np.concatenate(parts) + rng.normal(0.0, 0.002, (count // len(boxes) * len(boxes), 3))
    return cloud.astype(np.float32)
