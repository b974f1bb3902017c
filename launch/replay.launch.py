"""
Plays a recording to the localizer, under the recording's time and without its own pose in the map.

ros2 launch dlc_ros replay.launch.py bag:=drive1 points:=/velodyne_points params_file:=my.yaml
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node, SetRemap

from dlc_ros.node.ros.bring_up import BroughtUp
from launch import EventHandler, LaunchDescription

SHARE = Path(get_package_share_directory('dlc_ros'))
# A recording need not say how its transforms were offered.
QOS = SHARE / 'launch' / 'replay_qos.yaml'

# Name, default (None: it must be given), description.
ARGUMENTS = (
    ('bag', None, 'Recording: a rosbag2 folder or file.'),
    ('points', 'points', "Topic of the recording's clouds (sensor_msgs/PointCloud2)."),
    (
        'params_file',
        str(SHARE / 'config' / 'indoor_lidar.yaml'),
        'Parameter file (docs/parameters.md).',
    ),
    ('node_name', 'localizer', 'Name of the node.'),
    ('log_level', 'info', 'Least severity that is logged: debug, info, warn, error or fatal.'),
    ('rate', '1.0', 'Seconds of the recording for each second of time.'),
    ('loop', 'false', 'Begin again at the end.'),
    (
        'map_frame',
        'map',
        'Recorded transforms with this parent are left out: they are for the localizer to say.',
    ),
    ('rviz', 'false', 'Start RViz, which then stays open at the end of the recording.'),
    ('rviz_config', str(SHARE / 'rviz' / 'localizer.rviz'), 'What RViz shows.'),
)


def generate_launch_description():
    """Declare the arguments; start the localizer, then, when it is active, the recording."""
    localizer = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / 'launch' / 'localizer.launch.py')),
        launch_arguments={
            'use_sim_time': 'true',
            **{
                name: LaunchConfiguration(name)
                for name in ('params_file', 'node_name', 'log_level')
            },
        }.items(),
    )
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, default, description in ARGUMENTS
            ),
            OpaqueFunction(function=play_when_active),
            Node(
                package='dlc_ros',
                executable='replay_tf',
                parameters=[{'drop_parent': LaunchConfiguration('map_frame')}],
                output='screen',
            ),
            Node(
                package='rviz2',
                executable='rviz2',
                arguments=['-d', LaunchConfiguration('rviz_config')],
                parameters=[{'use_sim_time': True}],
                condition=IfCondition(LaunchConfiguration('rviz')),
            ),
            GroupAction([SetRemap('points', LaunchConfiguration('points')), localizer]),
        ]
    )


def play_when_active(context):
    """Event handlers: the recording starts with the localizer and ends the launch."""
    bag, node, rate, loop, rviz = (
        LaunchConfiguration(name).perform(context)
        for name in ('bag', 'node_name', 'rate', 'loop', 'rviz')
    )
    if not Path(bag).exists():
        raise RuntimeError(f'bag:={bag}: no such recording')
    # Transforms go to where replay_tf listens. What a localizer published when the recording was
    # made must not be taken for the answers of now; it can be compared with them.
    own = [f'/{node}/{output}' for output in ('pose', 'aligned', 'hypotheses')]
    aside = ['/tf', '/tf_static', '/diagnostics', *own]
    remap = ['--remap', *(f'{topic}:=/recorded{topic}' for topic in aside)]
    player = ExecuteProcess(
        cmd=[
            *('ros2', 'bag', 'play', bag, '--clock', '--rate', rate),
            *('--disable-keyboard-controls', *remap),
            *('--qos-profile-overrides-path', str(QOS)),
            *(['--loop'] if is_true(loop) else []),
        ],
        output='screen',
    )
    handlers = [
        EventHandler(matcher=lambda event: isinstance(event, BroughtUp), entities=[player])
    ]
    if not is_true(rviz):
        handlers.append(OnProcessExit(target_action=player, on_exit=end))
    return [RegisterEventHandler(handler) for handler in handlers]


def end(_event, context):
    """End the launch with the recording, unless Ctrl-C has ended both."""
    return [] if context.is_shutdown else [Shutdown(reason='the recording has ended')]


def is_true(text):
    """Read a launch argument as IfCondition does."""
    return text.strip().lower() in ('true', '1')
