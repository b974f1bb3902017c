"""
What the lifecycle node holds while it is configured.

Threads: the executor runs timers, subscriptions and services; one worker registers clouds; one
more thread carries out the commands that read files or wait for transforms. So neither a slow
registration nor a big file stops ``map -> odom`` from being repeated or tf2 from listening.
"""

import functools
import gc
import sys
import threading
from contextlib import ExitStack

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.clock import Clock, ClockChange, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Empty, String
from std_srvs.srv import Trigger

from dlc_ros.localization.localizer import Localizer
from dlc_ros.node.commands import Commands
from dlc_ros.node.convert import (
    arguments_of_initial_pose,
    initial_pose_topic,
    ns_from_stamp,
    object_of_reference,
)
from dlc_ros.node.pointcloud2 import MessageCloud, times_from_message
from dlc_ros.node.ros.heartbeat import Heartbeat
from dlc_ros.node.ros.outlets import DiagnosticsOutlet, Outlets
from dlc_ros.node.ros.transforms import Transforms
from dlc_ros.node.worker import LatestOnly


class Session:
    """
    A localizer with its threads and its part of the ROS graph.

    :param node: rclpy node; its executor must not be the caller of what waits here.
    :param parameters: :class:`~dlc_ros.localization.parameters.Parameters`.
    """

    def __init__(self, node, parameters):
        self._node = node
        self._parameters = parameters
        self._outlets = None  # while active
        self._publishing = threading.Lock()  # held while self._outlets is used or replaced
        self._while_active = ExitStack()
        # What is opened below is closed in reverse order, also when one of the steps fails.
        with ExitStack() as opened:
            self._localizer = None
            self._transforms = Transforms(node, parameters.lookup_timeout, self._on_transform)
            opened.callback(self._transforms.close)
            # The model is loaded and runs for the first time here: it describes the references.
            self._localizer = Localizer(
                parameters,
                self._transforms.lookup,
                node.get_logger(),
                node.get_name(),
                self._transforms.parent_of,
                self._transforms.clear,
            )
            opened.callback(self._free_model)
            self._diagnostics = DiagnosticsOutlet(node)
            opened.callback(self._diagnostics.close)
            self._worker = LatestOnly(self._register, self._unexpected, 'registration')
            opened.callback(self._worker.stop)
            # After the command that runs has ended, which may be one that adds an object.
            self._initial_poses = {}  # subscriptions by topic
            opened.callback(self._forget_objects)
            self._commands = Commands(self._after_command, self._unexpected)
            opened.callback(self._commands.stop)
            self._listen_to_commands(opened)
            self._watch_time(opened)
            # A paused simulation must not look like a dead node: diagnostics keep steady time.
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            timer = node.create_timer(
                1.0 / parameters.diagnostics_rate, self._attempt(self._report), clock=steady
            )
            opened.callback(node.destroy_timer, timer)
            self._while_configured = opened.pop_all()

    def start(self):
        """Take clouds and publish."""
        node, parameters = self._node, self._parameters
        with ExitStack() as opened:
            outlets = Outlets(node, parameters.mode)
            opened.callback(self._end_publishing)
            with self._publishing:
                self._outlets = outlets
            timer = node.create_timer(1.0 / parameters.publish_rate, self._attempt(self._repeat))
            opened.callback(node.destroy_timer, timer)
            in_map = parameters.mode == 'map'
            for name in (parameters.frames.map,) if in_map else parameters.objects.names:
                outlets.prepare(name)
            outlets.publish_references(self._localizer.references())
            clouds = node.create_subscription(
                PointCloud2,
                parameters.topics.points,
                self._attempt(self._on_cloud),
                # SensorData, but of clouds that wait only the newest is worth anything.
                QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
            opened.callback(node.destroy_subscription, clouds)
            opened.callback(self._localizer.on_deactivated)
            topic = node.resolve_topic_name(parameters.topics.points)
            self._localizer.on_activated(self._now_ns(), topic)
            heartbeat = Heartbeat(node)
            opened.callback(heartbeat.close)
            self._while_active = opened.pop_all()

    def stop(self):
        """Take no clouds and publish nothing, not even the cloud that is being registered."""
        self._while_active.close()

    def close(self):
        """Stop, end the threads, free the model."""
        self.stop()
        self._while_configured.close()

    def update(self, parameters):
        """
        Apply changed parameters.

        :returns: :class:`~dlc_ros.localization.output.CommandResult`.
        """
        result = self._localizer.update(parameters)
        if result.accepted:
            self._parameters = parameters
        return result

    def _listen_to_commands(self, opened):
        """Every command is a topic; those without an argument are services too."""
        node = self._node
        handlers = (
            (
                PoseWithCovarianceStamped,
                self._parameters.topics.initial_pose,
                self._on_initial_pose,
            ),
            (Empty, '~/relocalize', lambda _: self._relocalize()),
            (Empty, '~/save_pose', self._on_save_pose),
            (String, '~/load_reference', self._on_load_reference),
            (String, '~/load_weights', self._on_load_weights),
        )
        for kind, topic, handler in handlers:
            subscription = node.create_subscription(
                kind, topic, self._attempt(handler), QoSProfile(depth=10)
            )
            opened.callback(node.destroy_subscription, subscription)
        self._listen_to_objects()
        for name, command in (
            ('~/relocalize', self._relocalize),
            ('~/save_pose', lambda: self._localizer.save_pose()),
        ):
            answer = functools.partial(self._answer, command)
            service = node.create_service(Trigger, name, answer)
            opened.callback(node.destroy_service, service)

    def _listen_to_objects(self):
        """Take initial poses of each object, also of one that was added while it runs."""
        for name in self._localizer.names if self._parameters.mode == 'object' else ():
            topic = initial_pose_topic(name)
            if topic not in self._initial_poses:
                self._initial_poses[topic] = self._node.create_subscription(
                    PoseWithCovarianceStamped,
                    topic,
                    self._attempt(functools.partial(self._on_initial_pose, name=name)),
                    QoSProfile(depth=10),
                )

    def _forget_objects(self):
        for subscription in self._initial_poses.values():
            self._node.destroy_subscription(subscription)

    def _watch_time(self, opened):
        """Start afresh when the clock goes back, or changes between wall and simulated time."""
        # Told of every step back, since tracking.time_jump may change while the node runs.
        jumps = self._node.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1)),
            post_callback=self._on_time_jump,
        )
        opened.callback(jumps.unregister)

    def _free_model(self):
        self._localizer.close()
        self._localizer = None
        gc.collect()
        # Give the memory that torch keeps in reserve back to the device.
        torch = sys.modules.get('torch')
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()

    # Executor's thread.

    def _on_cloud(self, message):
        self._worker.submit((message, self._now_ns()))

    def _repeat(self):
        self._publish(self._localizer.on_timer(self._now_ns()))

    def _report(self):
        statuses = self._localizer.diagnostics(self._now_ns(), self._worker.skipped)
        self._diagnostics.publish(self._now_ns(), statuses)

    def _on_transform(self, *transform):
        if self._localizer is not None:  # it takes a while to load
            self._localizer.on_transform(*transform)

    def _on_time_jump(self, jump):
        back_s = -1e-9 * jump.delta.nanoseconds
        same_clock = jump.clock_change == ClockChange.ROS_TIME_NO_CHANGE
        if same_clock and back_s <= self._parameters.tracking.time_jump:
            return
        self._worker.clear()
        self._transforms.clear()
        self._localizer.on_time_jump(self._now_ns())

    def _on_initial_pose(self, message, name=None):
        arguments = arguments_of_initial_pose(message)
        kind = ('initial pose', name)
        self._commands.submit(kind, self._localizer.on_initial_pose, *arguments, name)

    def _on_save_pose(self, _message):
        self._commands.submit('save pose', self._localizer.save_pose)

    def _on_load_reference(self, message):
        kind = ('reference', object_of_reference(message.data))
        self._commands.submit(kind, self._load_reference, message.data)

    def _on_load_weights(self, message):
        self._commands.submit('weights', self._localizer.load_weights, message.data)

    def _relocalize(self):
        result = self._localizer.relocalize()
        self._report()
        return result

    # Thread of the commands.

    def _load_reference(self, path):
        self._localizer.load_reference(path)
        self._listen_to_objects()

    def _after_command(self):
        with self._publishing:
            if self._outlets is not None:
                self._outlets.publish_references(self._localizer.references())
        self._report()

    # Worker's thread.

    def _register(self, item):
        message, arrival_ns = item
        output = self._localizer.on_cloud(
            ns_from_stamp(message.header.stamp),
            message.header.frame_id,
            MessageCloud(message),
            arrival_ns,
            times=lambda: times_from_message(message),
        )
        if self._worker.outdated:  # time began anew meanwhile
            output = self._localizer.disown(output, self._now_ns())
        self._publish(output)
        if output.transforms:
            # It took a while to register: bring map -> odom up to now.
            self._repeat()

    # Any thread.

    def _publish(self, output):
        with self._publishing:
            if self._outlets is not None:
                self._outlets.publish(output)
                self._localizer.on_published(output, self._now_ns())
                self._outlets.publish_debug(output)
        if output.changes:
            self._report()

    def _end_publishing(self):
        with self._publishing:
            self._outlets.close()
            self._outlets = None

    def _attempt(self, function):
        """The function for a timer or a topic: what it raised there would end the executor."""

        def attempt(*arguments):
            try:
                function(*arguments)
            except Exception as error:
                self._unexpected(error)

        return attempt

    def _answer(self, command, _request, response):
        """Carry out a command that answers at once, as a std_srvs/Trigger."""
        try:
            result = command()
            response.success, response.message = result.accepted, result.message
        except Exception as error:  # would end the executor
            self._unexpected(error)
            response.success, response.message = False, f'internal error: {error}'
        return response

    def _unexpected(self, error):
        self._node.get_logger().error(f'{type(error).__name__}: {error}')

    def _now_ns(self):
        return self._node.get_clock().now().nanoseconds
