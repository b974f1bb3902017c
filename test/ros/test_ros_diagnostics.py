"""Diagnostics of the lifecycle node in the aggregator that ROS 2 robots run."""

import pytest

pytest.importorskip('rclpy', reason='source ROS 2 first (docs/ros2.md)')

import yaml  # noqa: E402
from ament_index_python.packages import PackageNotFoundError, get_package_prefix  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy_harness import wait_for  # noqa: E402

ANALYZER = {
    'type': 'diagnostic_aggregator/GenericAnalyzer',
    'path': 'Localization',
    'startswith': ['localizer'],
    'remove_prefix': ['localizer'],
}


@pytest.mark.scenario('scenarios', 'diagnostic_aggregator files what the node reports', 'rclpy')
def test_the_aggregator_files_every_report_under_one_heading(robot, scan, ros2, tmp_path):
    try:
        get_package_prefix('diagnostic_aggregator')
    except PackageNotFoundError:
        pytest.skip('diagnostic_aggregator is not installed')
    parameters = tmp_path / 'analyzers.yaml'
    values = {'path': 'Robot', 'pub_rate': 20.0, 'localization': ANALYZER}
    parameters.write_text(yaml.safe_dump({'analyzers': {'ros__parameters': values}}))
    reports = robot.peer.listen(DiagnosticArray, '/diagnostics_agg')
    options = ('--ros-args', '--params-file', parameters)
    ros2('run', 'diagnostic_aggregator', 'aggregator_node', *options)

    def levels():
        """Of the newest report, by name."""
        return {entry.name: ord(entry.level) for r in reports[-1:] for entry in r.status}

    tasks = {'input', 'output', 'device', 'model of map', 'pose of map'}
    filed = {f'/Robot/Localization/{task}' for task in tasks}
    wait_for(lambda: filed <= levels().keys())
    error, stale = 2, 3
    assert levels()['/Robot/Localization/input'] == stale
    assert levels()['/Robot'] == error
    robot.drive(scan)
    wait_for(lambda: levels()['/Robot/Localization/pose of map'] == 0)
    assert not [name for name in levels() if 'localizer' in name]
