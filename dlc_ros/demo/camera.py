"""
First process of the demo: the simulated camera on the wire.

It publishes what a driver would (``/camera/points``), and for the checker alone what no camera
knows: where the part really is (``/demo/truth``) and what each cloud shows (``/demo/view``).
"""

import json
import sys

import numpy as np

from dlc_ros.command_line import INTERRUPTED, MISTAKE, Parser
from dlc_ros.demo.arguments import add_scenario_arguments
from dlc_ros.demo.depth_camera import DepthCamera, SensorNoise
from dlc_ros.demo.pace import Pace, Renderer
from dlc_ros.demo.scenario import CAMERA_FRAME, Scenario, View
from dlc_ros.demo.scene import build_scene
from dlc_ros.errors import DlcError
from dlc_ros.localization.output import StampedTransform
from dlc_ros.node import convert
from dlc_ros.node.dds import qos
from dlc_ros.node.dds.participant import Participant

POINTS_TOPIC = '/camera/points'
TRUTH_TOPIC = '/demo/truth'
VIEW_TOPIC = '/demo/view'
TRUTH_FRAME = 'part_truth'
# The node and the checker.
SUBSCRIBERS = 2


class SimulatedCamera:
    """
    Clouds of a scenario.

    :param scenario: :class:`Scenario`.
    """

    def __init__(self, scenario):
        self.scenario = scenario
        self._camera = DepthCamera(build_scene(), noise=SensorNoise())
        self._rng = np.random.default_rng(scenario.seed)

    def capture(self, t):
        """
        The cloud taken ``t`` seconds after the start.

        :returns: (H, W, 3) float32 in the optical frame [m], NaN where nothing returned; (0, 0, 3)
            for a message without points.
        """
        view = self.scenario.view(t)
        if view is View.EMPTY:
            return np.zeros((0, 0, 3), dtype=np.float32)
        if view is View.COVER:
            return self._cover(t)
        cloud = self._camera.capture(self.scenario.camera_pose(t), self._rng)
        return np.full_like(cloud, np.nan) if view is View.NAN else cloud

    def _cover(self, t):
        """A cloth over the lens: a wavy surface, a hand's breadth away, that moves a little."""
        rays = self._camera.intrinsics.directions()
        x, y = rays[..., 0], rays[..., 1]
        waves = np.sin(17.0 * x + 2.0 * t) * np.cos(13.0 * y - t) + 0.6 * np.sin(29.0 * (x + y))
        depth = 0.19 + 0.015 * waves + 0.05 * x
        depth = depth + 1e-3 * self._rng.standard_normal(depth.shape)
        return (rays * depth[..., None]).astype(np.float32)


def main(arguments=None):
    """Publish one run of the scenario; ends by itself."""
    parser = Parser(prog='python -m dlc_ros.demo.camera', description=__doc__)
    add_scenario_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        scenario = Scenario(duration=options.duration, rate=options.rate, seed=options.seed)
        with Participant(
            'demo_camera', domain_id=options.domain, interface=options.interface
        ) as participant:
            publish(participant, scenario)
    except DlcError as error:
        print(f'demo camera: {error}', file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def publish(participant, scenario, patience=30.0):
    """
    Publish a scenario in real time; on a busy machine slower, see :class:`Renderer`.

    :param participant: dlc_ros.node.dds Participant.
    :param scenario: :class:`Scenario`.
    :param patience: how long to wait for the node and the checker [s].
    :raises DlcError: nobody subscribes within that time.
    """
    camera = SimulatedCamera(scenario)
    points = participant.publisher(POINTS_TOPIC, 'sensor_msgs/msg/PointCloud2', qos.CLOUD)
    truth = participant.publisher(TRUTH_TOPIC, 'tf2_msgs/msg/TFMessage', qos.TF)
    view = participant.publisher(VIEW_TOPIC, 'std_msgs/msg/String', qos.TF)
    for publisher, count in ((points, SUBSCRIBERS), (truth, 1), (view, 1)):
        if not publisher.wait_for_subscribers(count, timeout=patience):
            raise DlcError(
                f'{publisher.topic} has {publisher.subscriber_count} of {count} subscribers after '
                f'{patience:g} s: the node or the checker is not running on this DDS domain'
            )
    times = [index / scenario.rate for index in range(scenario.frames)]
    renderer, pace = Renderer(camera.capture, times), Pace()
    for t, cloud in renderer.clouds():
        # Stamped as it leaves: the latency that the checker measures is the wire's and the node's.
        stamp_ns = pace.wait(renderer.slowdown / scenario.rate)
        points.publish(cloud_values(stamp_ns, cloud))
        pose = StampedTransform(CAMERA_FRAME, TRUTH_FRAME, stamp_ns, scenario.truth(t))
        truth.publish(convert.tf_values([pose]))
        label = {
            'stamp_ns': stamp_ns,
            'view': scenario.view(t).value,
            'jumps': scenario.jumps(t),
        }
        view.publish({'data': json.dumps(label)})
    truth.wait_until_received()
    view.wait_until_received()


def cloud_values(stamp_ns, cloud):
    """Values of the ``sensor_msgs/PointCloud2`` of an organised (H, W, 3) cloud."""
    values = convert.cloud_values(stamp_ns, CAMERA_FRAME, cloud.reshape(-1, 3))
    height, width = cloud.shape[:2]
    return {**values, 'height': height, 'width': width, 'row_step': width * values['point_step']}


if __name__ == '__main__':
    sys.exit(main())
