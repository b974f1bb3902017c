"""
Starts the localizer as a lifecycle node and brings it up: configure, then activate.

ros2 launch dlc_ros localizer.launch.py params_file:=my.yaml use_sim_time:=true
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode

from dlc_ros.node.ros.bring_up import BringUp
from launch import LaunchDescription

CONFIG = Path(get_package_share_directory('dlc_ros')) / 'config'

# Name, default, description: all of `ros2 launch dlc_ros localizer.launch.py --show-args`.
ARGUMENTS = (
    ('namespace', '', 'Namespace of the node and of its relative topics.'),
    ('node_name', 'localizer', 'Name of the node.'),
    ('params_file', str(CONFIG / 'indoor_lidar.yaml'), 'Parameter file (docs/parameters.md).'),
    ('use_sim_time', 'false', 'Take the time from /clock: for a simulator or a bag.'),
    ('autostart', 'true', 'Configure and activate the node; false leaves that to a manager.'),
    ('log_level', 'info', 'Least severity that is logged: debug, info, warn, error or fatal.'),
)


def generate_launch_description():
    """Declare the arguments, start the node, bring it up."""
    node = LifecycleNode(
        package='dlc_ros',
        executable='localizer',
        namespace=LaunchConfiguration('namespace'),
        name=LaunchConfiguration('node_name'),
        parameters=[
            LaunchConfiguration('params_file'),
            {'use_sim_time': LaunchConfiguration('use_sim_time')},
        ],
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
        # In a namespace each robot has its own transform tree.
        remappings=[('/tf', 'tf'), ('/tf_static', 'tf_static')],
        output='screen',
        emulate_tty=True,
    )
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, default, description in ARGUMENTS
            ),
            node,
            BringUp(node, condition=IfCondition(LaunchConfiguration('autostart'))),
        ]
    )
