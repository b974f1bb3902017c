"""``ros2 run dlc_ros localizer``: the lifecycle node as a process."""

import argparse
import sys

from dlc_ros.errors import DlcError
from dlc_ros.node.blas import one_blas_thread


def main(argv=None):
    """
    Run the lifecycle node until it is shut down.

    :param argv: arguments, ROS's own ones (``--ros-args ...``) among them; None takes sys.argv.
    :returns: exit code: 0, or 2 after one line on stderr for a user's mistake.
    """
    parser = argparse.ArgumentParser(
        prog='localizer',
        description='Lifecycle node: PointCloud2 in, transforms out. Topics, parameters and '
        'states: docs/ros2.md. It waits to be configured and activated; '
        '"ros2 launch dlc_ros localizer.launch.py" does that.',
        epilog='ROS 2 arguments follow --ros-args, e.g. --ros-args --params-file FILE.',
    )
    _, ros_arguments = parser.parse_known_args(argv)
    one_blas_thread()
    try:
        import rclpy

        from dlc_ros.node.ros.localizer_node import LocalizerNode
        from dlc_ros.node.ros.process import ros
    except ModuleNotFoundError as error:
        print(f'localizer: {_advice(error)}', file=sys.stderr)
        return 2
    with ros([parser.prog, *ros_arguments]):
        try:
            node = LocalizerNode()
        except DlcError as error:
            print(f'localizer: {error}', file=sys.stderr)
            return 2
        try:
            rclpy.spin(node)
        finally:
            node.close()
    return 0


def _advice(error):
    if error.name == 'rclpy':
        return (
            'rclpy is not importable: source ROS 2 (source /opt/ros/<distro>/setup.bash), or run '
            'the node that needs no ROS 2: dlc-ros run'
        )
    return (
        f'the Python package {error.name!r} is missing in {sys.executable}, the interpreter that '
        'ROS 2 runs this with: install it there (docs/ros2.md)'
    )


if __name__ == '__main__':
    sys.exit(main())
