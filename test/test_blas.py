"""A node's process keeps numpy on one thread, which idle workers would otherwise burn."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TASKS = Path('/proc/self/task')
STARTS = {
    'dlc-ros run': "from dlc_ros.cli import main; main(['run', '-p', 'nonsense=1'])",
    'ros2 run': "sys.modules['rclpy'] = None; from dlc_ros.node.ros.main import main; main([])",
}
MULTIPLY = """
import sys
{start}
import numpy as np
cloud = np.ones((200_000, 3))
cloud.T @ cloud
print(len(os.listdir('/proc/self/task')))
"""


def threads_after(start, **variables):
    """Threads of a process that started like a node and has multiplied a large cloud."""
    environment = {k: v for k, v in os.environ.items() if not k.endswith('_NUM_THREADS')}
    ended = subprocess.run(
        [sys.executable, '-c', 'import os' + MULTIPLY.format(start=start)],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(ended.stdout)


@pytest.mark.skipif(not TASKS.exists(), reason='the system does not list the threads of a process')
@pytest.mark.parametrize('start', STARTS.values(), ids=STARTS)
def test_numpy_has_one_thread_unless_the_user_says_otherwise(start):
    assert threads_after(start) == 1
    if threads_after('') > 1:  # this numpy has threads that can be told from outside
        assert threads_after(start, OPENBLAS_NUM_THREADS='2') == 2
