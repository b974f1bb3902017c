"""
The localizer as a node of the ROS 2 graph, without ROS 2: it converts, calls and publishes.

Threads: the participant's thread hears topics; one worker registers clouds; one more carries out
commands, which read files or wait for transforms; whoever calls :meth:`LocalizerNode.run` drives
the timers. So neither a slow registration nor a big file stops ``map -> odom`` from being
repeated.
"""

import functools
import logging
import time
from pathlib import Path

from dlc_ros.errors import DlcError
from dlc_ros.localization.localizer import Localizer
from dlc_ros.localization.transforms import TransformTree
from dlc_ros.node import convert
from dlc_ros.node.commands import Commands
from dlc_ros.node.dds import qos
from dlc_ros.node.dds.clock import NodeClock
from dlc_ros.node.dds.participant import Participant
from dlc_ros.node.pointcloud2 import MessageCloud, times_from_message
from dlc_ros.node.worker import LatestOnly

# Broken transforms are named once; a robot has fewer frames than this.
_MOST_FRAMES = 1000
# Room in the socket buffer for one cloud of a depth camera and a few datagrams besides.
_WANTED_RMEM = 4 << 20


class LocalizerNode:
    """
    Localizer node over Cyclone DDS; topics as ``docs/architecture.md`` lists them.

    :param parameters: :class:`~dlc_ros.localization.parameters.Parameters`.
    :param name: node name.
    :param namespace: of the node and of its relative topics.
    :param use_sim_time: take the time from ``/clock``.
    :raises DlcError: DDS cannot be joined; names that ROS 2 does not allow.
    """

    def __init__(self, parameters, name='localizer', namespace='/', use_sim_time=False):
        self._log = logging.getLogger(name)
        self._mode = parameters.mode
        self._periods = (1.0 / parameters.publish_rate, 1.0 / parameters.diagnostics_rate)
        self._tree = TransformTree()
        self._refused = set()  # (parent, child) of transforms that were named as broken
        self._clock = NodeClock(
            self._on_time_jump, round(parameters.tracking.time_jump * 1e9), use_sim_time
        )
        timeout = parameters.lookup_timeout
        self._localizer = Localizer(
            parameters,
            lambda target, source, stamp: self._tree.lookup(target, source, stamp, timeout),
            log=self._log,
            name=name,
            parent_of=self._tree.parent_of,
            on_restart=self._tree.clear,
        )
        self._worker = LatestOnly(self._register, self._on_failure, name=f'{name} worker')
        self._commands = Commands(self._after_command, self._on_failure, name=f'{name} commands')
        domain = parameters.dds.domain_id
        self._participant = Participant(
            name,
            namespace,
            domain_id=None if domain < 0 else domain,
            interface=parameters.dds.network_interface,
        )
        self._cloud_topic = self._participant.resolve(parameters.topics.points)
        self._publishers = {}
        self._shown = {}  # hashes of the references that were published, by name
        self._initial_poses = {}  # subscriptions by topic
        self._offer(parameters)
        self._publish_references()
        self._listen(parameters, use_sim_time)

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.close()

    @property
    def problems(self):
        """What keeps the node from working, one sentence each."""
        return self._localizer.problems

    def run(self, stop):
        """
        Drive the timers until ``stop`` is set; transforms, commands and clouds go on meanwhile.

        :param stop: :class:`threading.Event`.
        """
        self._localizer.on_activated(self._clock.now_ns(), self._cloud_topic)
        self._warn_of_small_buffer()
        timers = (self._repeat_transform, self._publish_diagnostics)
        due = [time.monotonic()] * len(timers)
        while not stop.is_set():
            for i, (timer, period) in enumerate(zip(timers, self._periods, strict=True)):
                now = time.monotonic()
                if now >= due[i]:
                    try:
                        timer()
                    except Exception as error:
                        self._on_failure(error)
                    due[i] = max(due[i] + period, now)  # what was missed is not made up for
            stop.wait(max(0.0, min(due) - time.monotonic()))

    def close(self):
        """Leave the graph; a registration in progress ends first, what waits is dropped."""
        self._participant.stop_callbacks()
        self._commands.stop()
        self._worker.stop()
        self._localizer.close()
        self._participant.close()

    def _offer(self, parameters):
        """Offer what is known from the start, so that nobody misses the first message."""
        # Relative, so that in a namespace each robot has its own transform tree.
        self._tf = self._participant.publisher('tf', _TF, qos.TF)
        self._diagnostics = self._participant.publisher(
            '/diagnostics', 'diagnostic_msgs/msg/DiagnosticArray'
        )
        names = parameters.objects.names if self._mode == 'object' else (parameters.frames.map,)
        for name in names:
            self._pose_publisher(name)
            self._aligned_publisher(name)
            self._hypotheses_publisher(name)
            self._reference_publisher(name)

    def _listen(self, parameters, use_sim_time):
        node, topics = self._participant, parameters.topics
        node.subscribe('tf', _TF, self._on_tf, qos.TF)
        node.subscribe('tf_static', _TF, self._on_tf_static, qos.TF_STATIC)
        if use_sim_time:
            node.subscribe('/clock', 'rosgraph_msgs/msg/Clock', self._on_clock, qos.CLOCK)
        node.subscribe(topics.initial_pose, _POSE, self._on_initial_pose)
        self._listen_to_objects()
        node.subscribe('~/relocalize', 'std_msgs/msg/Empty', self._on_relocalize)
        node.subscribe('~/save_pose', 'std_msgs/msg/Empty', self._on_save_pose)
        node.subscribe('~/load_reference', 'std_msgs/msg/String', self._on_load_reference)
        node.subscribe('~/load_weights', 'std_msgs/msg/String', self._on_load_weights)
        # Last: a bag that waits for this subscription finds everything else in place.
        node.subscribe(topics.points, _CLOUD, self._on_points, qos.NEWEST_CLOUD)

    def _listen_to_objects(self):
        """Take initial poses of each object, also of one that was added while it runs."""
        for name in self._localizer.names if self._mode == 'object' else ():
            topic = convert.initial_pose_topic(name)
            if topic not in self._initial_poses:
                handler = functools.partial(self._on_initial_pose, name=name)
                self._initial_poses[topic] = self._participant.subscribe(topic, _POSE, handler)

    def _on_points(self, message):
        self._worker.submit((self._clock.now_ns(), message))

    def _on_clock(self, message):
        self._clock.set(convert.ns_from_stamp(message.clock))

    def _on_tf_static(self, message):
        self._on_tf(message, static=True)

    def _on_tf(self, message, static=False):
        sender = self._participant.sender()
        for stamped in message.transforms:
            edge = (
                stamped.header.frame_id.lstrip('/'),
                stamped.child_frame_id.lstrip('/'),
                convert.ns_from_stamp(stamped.header.stamp),
            )
            try:
                matrix = convert.matrix_from_transform(stamped.transform)
                self._tree.insert(*edge, matrix, static=static)
            except DlcError as error:
                self._warn_of_transform(edge[:2], error)
            self._localizer.on_transform(*edge, static, sender)

    def _warn_of_transform(self, frames, error):
        """Name a transform that cannot be used; it comes again many times a second."""
        if frames not in self._refused and len(self._refused) < _MOST_FRAMES:
            self._refused.add(frames)
            self._log.warning('%s', error)

    def _on_initial_pose(self, message, name=None):
        arguments = convert.arguments_of_initial_pose(message)
        kind = ('initial pose', name)
        self._commands.submit(kind, self._localizer.on_initial_pose, *arguments, name)

    def _on_relocalize(self, _message):
        self._localizer.relocalize()
        self._publish_diagnostics()

    def _on_save_pose(self, _message):
        self._commands.submit('save pose', self._localizer.save_pose)

    def _on_load_reference(self, message):
        kind = ('reference', convert.object_of_reference(message.data))
        self._commands.submit(kind, self._load_reference, message.data)

    def _load_reference(self, path):
        self._localizer.load_reference(path)
        self._listen_to_objects()

    def _on_load_weights(self, message):
        self._commands.submit('weights', self._localizer.load_weights, message.data)

    def _on_time_jump(self, stamp_ns):
        self._worker.clear()
        self._tree.clear()
        self._localizer.on_time_jump(stamp_ns)

    def _after_command(self):
        self._publish_references()
        self._publish_diagnostics()

    def _on_failure(self, error):
        self._log.error('internal error, going on with the next input', exc_info=error)

    def _register(self, item):
        arrival_ns, message = item
        output = self._localizer.on_cloud(
            convert.ns_from_stamp(message.header.stamp),
            message.header.frame_id,
            MessageCloud(message),
            arrival_ns,
            times=lambda: times_from_message(message),
        )
        if self._worker.outdated:  # time began anew meanwhile
            output = self._localizer.disown(output, self._clock.now_ns())
        self._publish_output(output)
        if output.transforms:
            # It took a while to register: bring map -> odom up to now.
            self._repeat_transform()

    def _repeat_transform(self):
        self._publish_output(self._localizer.on_timer(self._clock.now_ns()))

    def _publish_output(self, output):
        if output.transforms:
            self._tf.publish(convert.tf_values(output.transforms))
        for estimate in output.poses:
            self._pose_publisher(estimate.name).publish(convert.pose_values(estimate))
        self._localizer.on_published(output, self._clock.now_ns())
        self._publish_debug(output)
        if output.changes:
            self._publish_diagnostics()

    def _publish_debug(self, output):
        """What costs something to make, only for those who listen."""
        for cloud in output.aligned:
            publisher = self._aligned_publisher(cloud.name)
            if publisher.subscriber_count:
                values = convert.cloud_values(cloud.stamp_ns, cloud.frame, cloud.points())
                publisher.publish(values)
        for hypotheses in output.hypotheses:
            publisher = self._hypotheses_publisher(hypotheses.name)
            if publisher.subscriber_count:
                publisher.publish(convert.hypotheses_values(hypotheses))

    def _publish_references(self):
        """Show those that are new; who comes later gets them too."""
        for reference in self._localizer.references():
            if self._shown.get(reference.name) != reference.sha256:
                self._shown[reference.name] = reference.sha256
                publisher = self._reference_publisher(reference.name)
                publisher.publish(convert.reference_values(reference))

    def _publish_diagnostics(self):
        now_ns = self._clock.now_ns()
        statuses = self._localizer.diagnostics(now_ns, self._worker.skipped)
        self._diagnostics.publish(convert.diagnostics_values(now_ns, statuses))

    def _pose_publisher(self, name):
        return self._publisher(convert.pose_topic(self._mode, name), _POSE, qos.DEFAULT)

    def _aligned_publisher(self, name):
        return self._publisher(convert.aligned_topic(self._mode, name), _CLOUD, qos.CLOUD)

    def _hypotheses_publisher(self, name):
        topic = convert.hypotheses_topic(self._mode, name)
        return self._publisher(topic, _POSES, qos.DEFAULT)

    def _reference_publisher(self, name):
        return self._publisher(convert.reference_topic(self._mode, name), _CLOUD, qos.LATCHED)

    def _publisher(self, topic, type_name, profile):
        """Publisher of a topic; made when first asked for, since objects may be added later."""
        if topic not in self._publishers:
            self._publishers[topic] = self._participant.publisher(topic, type_name, profile)
        return self._publishers[topic]

    def _warn_of_small_buffer(self):
        """Say why clouds of a best-effort driver may go missing on this machine."""
        try:
            granted = int(Path('/proc/sys/net/core/rmem_max').read_text())
        except (OSError, ValueError):
            return  # not Linux
        if granted < _WANTED_RMEM:
            self._log.info(
                'the kernel grants sockets %d KiB: of a best-effort publisher big clouds may get '
                'lost; sudo sysctl -w net.core.rmem_max=%d',
                granted >> 10,
                _WANTED_RMEM,
            )


_TF = 'tf2_msgs/msg/TFMessage'
_CLOUD = 'sensor_msgs/msg/PointCloud2'
_POSES = 'geometry_msgs/msg/PoseArray'
_POSE = 'geometry_msgs/msg/PoseWithCovarianceStamped'
