"""The lifecycle node under nav2's own lifecycle manager, as it takes the place of ``amcl``."""

import os
import signal

import pytest

pytest.importorskip('rclpy', reason='source ROS 2 first (docs/ros2.md)')
pytest.importorskip('nav2_msgs', reason='nav2 is not installed')

from ament_index_python.packages import (  # noqa: E402
    PackageNotFoundError,
    get_package_prefix,
)
from lifecycle_msgs.srv import GetState  # noqa: E402
from nav2_msgs.srv import ManageLifecycleNodes  # noqa: E402
from rclpy_harness import wait_for  # noqa: E402
from ros_commands import write_parameters  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from wire import Process  # noqa: E402


@pytest.fixture
def manage(ros2):
    """Starts nav2's lifecycle manager for a node."""
    try:
        get_package_prefix('nav2_lifecycle_manager')
    except PackageNotFoundError:
        pytest.skip('nav2_lifecycle_manager is not installed')

    def run(name, **parameters):
        values = {'node_names': f'[{name}]', 'autostart': 'true', **parameters}
        words = [word for name, value in values.items() for word in ('-p', f'{name}:={value}')]
        return ros2('run', 'nav2_lifecycle_manager', 'lifecycle_manager', '--ros-args', *words)

    return run


def state_of(name, peer):
    response = peer.call(GetState, f'/{name}/get_state', GetState.Request())
    return response.current_state.label


@pytest.mark.scenario(
    'scenarios',
    "nav2's lifecycle manager: up, paused, reset and down, with and without bond",
    'rclpy',
)
@pytest.mark.parametrize('bond_timeout', [4.0, 0.0])
def test_the_manager_brings_it_up_and_down(start, reference, manage, bond_timeout):
    robot = start(reference=str(reference), registration__use_predictor=False)
    managed = manage('localizer', bond_timeout=bond_timeout)

    def active():
        answer = robot.call(Trigger, '/lifecycle_manager/is_active', Trigger.Request())
        return answer.success

    wait_for(active)
    assert ('connected with bond' in managed.output) == (bond_timeout > 0.0)
    command = ManageLifecycleNodes.Request
    for number, state in (
        (command.PAUSE, 'inactive'),
        (command.RESUME, 'active'),
        (command.RESET, 'unconfigured'),
        (command.STARTUP, 'active'),
        (command.RESET, 'unconfigured'),
        # Deactivates and cleans up once more, which this state has not, and goes on.
        (command.SHUTDOWN, 'finalized'),
    ):
        request = ManageLifecycleNodes.Request(command=number)
        answer = robot.call(ManageLifecycleNodes, '/lifecycle_manager/manage_nodes', request)
        assert answer.success, managed.output
        assert state_of('localizer', robot.peer) == state
    assert 'IS DOWN' not in managed.output


@pytest.mark.scenario(
    'scenarios', "nav2's lifecycle manager notices that the node was killed", 'rclpy'
)
def test_a_node_that_is_killed_is_noticed(reference, manage, peer, tmp_path):
    bond = pytest.importorskip('bond.msg', reason='the package bond is not installed')
    values = {'reference': str(reference), 'registration': {'use_predictor': False}}
    parameters = write_parameters(tmp_path / 'map.yaml', mode='map', **values)
    # A name of its own: the manager would wait for ever on the service of a node that is gone.
    options = ('--ros-args', '--params-file', parameters, '-r', '__node:=mortal')
    beats = peer.listen(bond.Status, '/bond')
    managed = manage('mortal', bond_timeout=1.0)
    domain = os.environ['ROS_DOMAIN_ID']
    with Process('-m', 'dlc_ros.node.ros.main', *options, ROS_DOMAIN_ID=domain) as node:
        wait_for(lambda: 'connected with bond' in managed.output)
        heard = len(beats)
        wait_for(lambda: len(beats) > heard + 40)  # of both sides; longer than the timeout
        assert 'IS DOWN' not in managed.output
        node.interrupt(signal.SIGKILL)
        wait_for(lambda: 'SERVER mortal IS DOWN' in managed.output)
    managed.kill()  # it waits for the node
