"""
For ``launch_test``: each mode's launch file, its node active, and a clean end.

launch_test test/ros/launch_of_modes.py
"""

import tempfile
import time
import unittest
from pathlib import Path

import launch_testing
import numpy as np
import rclpy
import yaml
from ament_index_python.packages import get_package_share_directory
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from lifecycle_msgs.srv import GetState

from launch import LaunchDescription

PATIENCE_S = 60.0
FOLDER = tempfile.TemporaryDirectory()  # removed when the interpreter ends
MODES = {
    'localizer.launch.py': lambda file: {'mode': 'map', 'reference': file},
    'object_pose.launch.py': lambda file: {
        'mode': 'object',
        'objects': {'names': ['part'], 'references': [file]},
    },
}


@launch_testing.parametrize('name', list(MODES))
def generate_test_description(name):
    """Launch file of a mode with a reference of its own."""
    folder = Path(FOLDER.name, name)
    folder.mkdir()
    np.save(folder / 'points.npy', np.random.default_rng(1).uniform(-1.0, 1.0, (2000, 3)))
    values = {
        **MODES[name](str(folder / 'points.npy')),
        'registration': {'use_predictor': False},
    }
    parameters = folder / 'parameters.yaml'
    parameters.write_text(yaml.safe_dump({'/**': {'ros__parameters': values}}))
    share = Path(get_package_share_directory('dlc_ros'))
    launched = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(share / 'launch' / name)),
        launch_arguments={'params_file': str(parameters), 'node_name': 'tested'}.items(),
    )
    return LaunchDescription([launched, launch_testing.actions.ReadyToTest()])


class WhileItRuns(unittest.TestCase):
    def setUp(self):
        rclpy.init()
        self.node = rclpy.create_node('tester')

    def tearDown(self):
        self.node.destroy_node()
        rclpy.shutdown()

    def test_the_node_becomes_active(self):
        client = self.node.create_client(GetState, '/tested/get_state')
        self.assertTrue(client.wait_for_service(PATIENCE_S))
        end = time.monotonic() + PATIENCE_S
        state = None
        while state != 'active' and time.monotonic() < end:
            future = client.call_async(GetState.Request())
            rclpy.spin_until_future_complete(self.node, future, timeout_sec=5.0)
            state = future.result().current_state.label if future.done() else state
        self.assertEqual(state, 'active')


@launch_testing.post_shutdown_test()
class AfterItsEnd(unittest.TestCase):
    def test_it_ended_cleanly(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info)
