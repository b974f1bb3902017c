"""
Starts the localizer as a lifecycle node and brings it up: configure, then activate.

ros2 launch dlc_ros localizer.launch.py params_file:=my.yaml use_sim_time:=true
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, EmitEvent, LogInfo, RegisterEventHandler
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessStart
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition

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
            *bring_up(node),
            node,
        ]
    )


def bring_up(node):
    """Event handlers that take the node from its start to active, in this order."""
    autostart = IfCondition(LaunchConfiguration('autostart'))
    return [
        RegisterEventHandler(
            OnProcessStart(
                target_action=node,
                on_start=[change_state(node, Transition.TRANSITION_CONFIGURE)],
            ),
            condition=autostart,
        ),
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=node,
                start_state='configuring',
                goal_state='inactive',
                entities=[change_state(node, Transition.TRANSITION_ACTIVATE)],
            ),
            condition=autostart,
        ),
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=node,
                start_state='configuring',
                goal_state='unconfigured',
                entities=[
                    LogInfo(msg='The localizer could not be configured; see its log above.')
                ],
            )
        ),
    ]


def change_state(node, transition):
    """Action that asks the node for a transition."""
    return EmitEvent(
        event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition)
    )
