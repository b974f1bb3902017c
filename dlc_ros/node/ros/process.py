"""rclpy in a process of its own: from start to end, however often Ctrl-C comes."""

import signal
from contextlib import contextmanager

import rclpy
from rclpy.executors import ExternalShutdownException


@contextmanager
def ros(arguments):
    """
    Use rclpy within a block, which Ctrl-C or a shutdown ends without an exception.

    A launched node gets Ctrl-C twice, from the terminal and from launch; the second must not
    interrupt what the first began.

    :param arguments: of the process, or None for sys.argv.
    """
    signal.signal(signal.SIGINT, _interrupt_once)
    rclpy.init(args=arguments)
    try:
        yield
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


def _interrupt_once(_number, _frame):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
