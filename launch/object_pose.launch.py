"""
Finds objects before a depth camera: the localizer with the parameters of its object mode.

ros2 launch dlc_ros object_pose.launch.py params_file:=my_objects.yaml points:=/camera/points
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import SetRemap

from launch import LaunchDescription

SHARE = Path(get_package_share_directory('dlc_ros'))

# Name, default, description; passed on to localizer.launch.py.
ARGUMENTS = (
    ('namespace', '', 'Namespace of the node and of its relative topics.'),
    ('node_name', 'object_localizer', 'Name of the node.'),
    (
        'params_file',
        str(SHARE / 'config' / 'depth_camera_object.yaml'),
        'Parameter file (docs/parameters.md).',
    ),
    ('use_sim_time', 'false', 'Take the time from /clock: for a simulator or a bag.'),
    ('autostart', 'true', 'Configure and activate the node; false leaves that to a manager.'),
    ('log_level', 'info', 'Least severity that is logged: debug, info, warn, error or fatal.'),
)
POINTS = ('points', 'points', "Topic of the camera's clouds (sensor_msgs/PointCloud2).")


def generate_launch_description():
    """Declare the arguments and include localizer.launch.py with them."""
    localizer = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / 'launch' / 'localizer.launch.py')),
        launch_arguments={name: LaunchConfiguration(name) for name, _, _ in ARGUMENTS}.items(),
    )
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, default, description in (*ARGUMENTS, POINTS)
            ),
            GroupAction([SetRemap('points', LaunchConfiguration('points')), localizer]),
        ]
    )
