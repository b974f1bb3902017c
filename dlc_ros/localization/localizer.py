"""
The class that the nodes drive: clouds and commands in, :class:`Output` out; no middleware.

Threads: ``on_cloud`` belongs to a worker, everything else to the thread that runs timers and
subscriptions. A lock guards the state and is never held while a cloud is registered or a file is
read, so a timer waits microseconds. An answer that was computed for a state which a command has
since reset is dropped (``superseded`` in the diagnostics).
"""

import logging
import threading
import time

from dlc_ros.errors import DlcError, FileError, ParameterError
from dlc_ros.localization.belief import Belief
from dlc_ros.localization.cloud_path import CloudPath
from dlc_ros.localization.initial_pose import checked_covariance
from dlc_ros.localization.loading import Loading
from dlc_ros.localization.map_mode import MapMode
from dlc_ros.localization.object_mode import ObjectMode
from dlc_ros.localization.output import CommandResult, Output, ReferencePoints
from dlc_ros.localization.parameters import read_only_changes
from dlc_ros.localization.references import ReferenceLoader, make_registrar
from dlc_ros.localization.saved_pose import PoseFile
from dlc_ros.localization.tracker import NO_REFERENCE, Tracker
from dlc_ros.registration.se3 import nearest_rigid

# Points of a reference that are shown at most: 2.4 MB of a message.
_MOST_SHOWN = 200_000


class Localizer:
    """
    Localises a robot in a map, or objects before a sensor (``parameters.mode``).

    References and weights are loaded here; what cannot be loaded is logged, named in
    :attr:`problems` and in the diagnostics, and may be loaded later.

    :param parameters: :class:`~dlc_ros.localization.declarations.Parameters`.
    :param lookup: ``lookup(target, source, stamp_ns) -> (4, 4) T_target_source``; stamp 0 is the
        latest; may wait up to ``lookup_timeout``; raises TransformUnavailable.
    :param log: has ``info``, ``warning`` and ``error``, each taking one string (a
        :class:`logging.Logger` or a rclpy logger).
    :param name: of the node, the first half of the diagnostics' names.
    :param parent_of: ``parent_of(frame) -> str | None`` in the transform tree; only asked for
        ``publish_map_to_base``.
    :param on_restart: called without arguments when the stamps of clouds show that time began
        anew, so that transforms of the old time can be forgotten.
    :param registrar_factory: ``(points, weights, options) -> registrar``, for tests.
    """

    def __init__(
        self,
        parameters,
        lookup,
        log=None,
        name='localizer',
        parent_of=None,
        on_restart=None,
        registrar_factory=make_registrar,
    ):
        log = log or logging.getLogger('dlc_ros.localizer')
        options = parameters.registration
        if parameters.mode != 'map':  # objects lie as they fell
            options = options.model_copy(update={'upright': False})
        loader = ReferenceLoader(
            parameters.weights, options, registrar_factory, parameters.reference_unit
        )
        if parameters.mode == 'map':
            mode = MapMode(parameters, lookup, parent_of or (lambda frame: None))
            files = {parameters.frames.map: parameters.reference}
        else:
            mode = ObjectMode(parameters, lookup)
            files = dict(zip(parameters.objects.names, parameters.objects.references, strict=True))
        self._belief = Belief(parameters, mode, log, name)
        self._clouds = CloudPath(self._belief, on_restart or (lambda: None))
        self._pose_file = PoseFile(parameters.saved_pose)
        if self._pose_file.problem:
            log.warning(self._pose_file.problem)
        self._loading = Loading(self._belief, loader, self._pose_file)
        for reference, path in files.items():
            self._belief.trackers[reference] = Tracker(reference)
            if path:
                self._loading.load(reference, path)

    @property
    def problems(self):
        """What keeps references from being used, one sentence each; empty when all is well."""
        with self._belief.lock:
            missing = [
                tracker for tracker in self._belief.trackers.values() if not tracker.reference
            ]
            if not self._belief.trackers:
                return (NO_REFERENCE,)
            return tuple(f'{tracker.name}: {tracker.reason}' for tracker in missing)

    def references(self):
        """References in use, to be shown to an operator: tuple of :class:`ReferencePoints`."""
        with self._belief.lock:
            clouds = [t.reference.cloud for t in self._belief.trackers.values() if t.reference]
        return tuple(
            ReferencePoints(
                cloud.name, cloud.sha256, cloud.points[:: -(-len(cloud.points) // _MOST_SHOWN)]
            )
            for cloud in clouds
        )

    def on_cloud(self, stamp_ns, frame_id, points, arrival_ns=None, times=None):
        """
        Register a cloud to every reference; bad input is counted and reported, never raised.

        :param stamp_ns: of the cloud; 0 means none was set and ``arrival_ns`` is used.
        :param frame_id: frame of the points.
        :param points: (N, 3) floats [m]; rows with NaN or Inf are ignored.
        :param arrival_ns: the node's clock when the cloud arrived.
        :param times: see :class:`~dlc_ros.localization.scene.Cloud`; only called when needed.
        :returns: :class:`Output`; its aligned clouds and hypotheses are moved only when asked.
        """
        with self._belief.registering:
            started = time.perf_counter()
            output = self._clouds.take(stamp_ns, frame_id.lstrip('/'), points, arrival_ns, times)
            seconds = time.perf_counter() - started
            with self._belief.lock:
                self._belief.monitor.worked(seconds)
                self._belief.others.sent(output.transforms)
                due = output.poses and self._pose_file.take_turn()
            if due:  # a disk may take its time, the robot waits for its pose
                threading.Thread(target=self.save_pose, name='pose file').start()
            return output

    def on_activated(self, now_ns, topic=None):
        """
        Note that clouds can come from now on, so that silence before is not held against them.

        What the node waits for is logged.

        :param now_ns: the node's clock; 0 where a simulated one has not been told yet.
        :param topic: that the clouds come on, as the graph calls it; None takes the parameter.
        """
        belief = self._belief
        with belief.lock:
            belief.intake.listen(now_ns)
            belief.cloud_topic = topic or belief.parameters.topics.points
        belief.log.info(
            f'{belief.parameters.mode} mode: waiting for clouds on {belief.cloud_topic}'
        )
        for problem in self.problems:
            belief.log.warning(problem)

    def on_deactivated(self):
        """Note that no clouds can come: that is no silence, but poses are no longer confirmed."""
        with self._belief.lock:
            self._belief.intake.listening = False
            self._belief.rest()

    def on_timer(self, now_ns):
        """
        Repeat map -> odom while TRACKING, until the last accepted pose is ``hold_timeout`` old.

        :param now_ns: the node's clock.
        :returns: :class:`Output` with one transform, or an empty one.
        """
        with self._belief.lock:
            self._belief.watch(now_ns)
            self._belief.tell_of_silence()
            repeated = self._belief.mode.repeat(now_ns) if self._belief.tracking else None
            transforms = (repeated,) if repeated else ()
            self._belief.others.sent(transforms)
            return Output(
                transforms=transforms,
                changes=self._belief.settle(),
                repeated=True,
            )

    def on_published(self, output, now_ns):
        """
        Note that a node has published an :class:`Output`, for the diagnostics.

        The time that a cloud took until then is no silence, by the node's clock.

        :param output: what :meth:`on_cloud` or :meth:`on_timer` gave.
        :param now_ns: the node's clock after it.
        """
        with self._belief.lock:
            self._belief.monitor.published(output, now_ns)
            if not output.repeated:
                self._belief.intake.busy(now_ns)

    def on_transform(self, parent, child, stamp_ns, static=False, names=tuple):
        """
        Look at a transform that was heard: nobody else may publish what this node publishes.

        :param parent: frame, without a leading slash.
        :param child: frame, without a leading slash.
        :param stamp_ns: of the transform.
        :param static: whether it came on ``/tf_static``.
        :param names: ``names() -> iterable of str``: nodes that are there and may have sent it,
            without this one; of a static one called again and again, to see whether they left.
        """
        belief = self._belief
        if child not in belief.children or belief.mode.yields_to(parent):
            return
        with belief.lock:
            wrong = belief.others.heard(parent, child, stamp_ns, static, names)
        if wrong:
            belief.log.error(wrong)

    @property
    def names(self):
        """Of all references: the map's frame, or the objects."""
        with self._belief.lock:
            return tuple(self._belief.trackers)

    def on_initial_pose(self, stamp_ns, frame_id, pose, covariance, name=None):
        """
        Start from a pose that an operator gave: of the robot in map mode, else of the object.

        It only tells where to look: nothing is published before a cloud confirms it.

        :param stamp_ns: when it holds; 0 is now.
        :param frame_id: frame of the pose.
        :param pose: (4, 4).
        :param covariance: (6, 6) in ROS's order; axes without a variance get the ``prior.initial``
            ones.
        :param name: of the object; None is the only one.
        :returns: :class:`CommandResult`.
        """
        try:
            tracker = self._tracker(name)
            if tracker.reference is None:  # a pose in a reference that is not known means nothing
                raise ParameterError(f'{tracker.name}: {NO_REFERENCE}')
            known = self._known(stamp_ns, frame_id.lstrip('/'), pose, covariance)
        except DlcError as error:
            return self._belief.refuse(f'initial pose ignored: {error}')
        with self._belief.lock:
            tracker.start_from(known, 'an initial pose was given')
        return self._belief.done(f'{tracker.name}: searching near the given pose')

    def relocalize(self):
        """
        Forget all poses and search globally; stops publishing until a cloud is accepted.

        :returns: :class:`CommandResult`; refused where there is no reference to search in.
        """
        with self._belief.lock:
            if not any(t.reference for t in self._belief.trackers.values()):
                return self._belief.refuse(f'not searching: {NO_REFERENCE}')
            self._belief.reset('asked to relocalise')
        return self._belief.done('searching globally')

    def on_time_jump(self, stamp_ns):
        """Start afresh after the clock jumped (to ``stamp_ns``); references are kept."""
        with self._belief.lock:
            self._belief.intake.forget_time()
            self._belief.restart(f'time jumped to {stamp_ns * 1e-9:.3f} s')
        return CommandResult(True, 'reset: time jumped')

    def disown(self, output, now_ns):
        """
        Take back what a cloud gave that was still looked at while the clock jumped.

        :param output: :class:`Output` of that cloud.
        :param now_ns: the node's clock, after the jump.
        :returns: :class:`Output`, what of it may still be published.
        """
        if output.poses:  # what is believed of the new time may come from this cloud
            self.on_time_jump(now_ns)
        return Output(changes=output.changes)

    def save_pose(self):
        """
        Write the last accepted poses to ``saved_pose.file``.

        Also those that silence or a deactivation left; not those that clouds spoke against.

        :returns: :class:`CommandResult`.
        """
        with self._belief.lock:
            trackers = self._belief.trackers.values()
            confirmed = [(t.reference.cloud, t.confirmed) for t in trackers if t.confirmed]
        if not confirmed:
            return self._belief.refuse('pose not saved: there is no confirmed pose')
        known_problem = self._pose_file.problem
        try:
            self._pose_file.save(confirmed)
        except FileError as error:
            if str(error) == known_problem:  # said before
                return CommandResult(False, known_problem)
            return self._belief.refuse(f'pose not saved: {error}')
        return CommandResult(True, f'pose saved to {self._pose_file.written}')

    def close(self):
        """Write the last accepted poses, where a file is configured; call it at shutdown."""
        with self._belief.lock:
            confirmed = any(t.confirmed for t in self._belief.trackers.values())
        if confirmed and self._belief.parameters.saved_pose.file:
            self.save_pose()

    def load_reference(self, path):
        """
        Load another reference; the old one stays when the new one cannot be used.

        :param path: point cloud file in the unit of ``reference_unit``; in object mode
            ``name=file``, or the file alone when there is one object. A new name is a further
            object, ``name=`` alone removes one.
        :returns: :class:`CommandResult`.
        """
        return self._loading.load_reference(path)

    def load_weights(self, path):
        """
        Load other weights for all references; the old ones stay when they cannot be used.

        :param path: weights file; empty takes the ones in the package.
        :returns: :class:`CommandResult`.
        """
        return self._loading.load_weights(path)

    def update(self, parameters):
        """
        Change live parameters; read-only ones must stay as they are.

        :param parameters: :class:`~dlc_ros.localization.declarations.Parameters`.
        :returns: :class:`CommandResult`.
        """
        frozen = read_only_changes(self._belief.parameters, parameters)
        if frozen:
            return self._belief.refuse(f'{", ".join(frozen)} cannot change while the node runs')
        with self._belief.lock:
            self._belief.parameters = self._belief.mode.parameters = parameters
        return self._belief.done('parameters changed')

    def diagnostics(self, now_ns, skipped=0):
        """
        State for ``/diagnostics``.

        :param now_ns: the node's clock.
        :param skipped: clouds that a newer one replaced before they were looked at.
        :returns: list of :class:`~dlc_ros.localization.output.DiagnosticStatus`.
        """
        with self._belief.lock:
            self._belief.watch(now_ns)
            self._belief.settle()
            self._belief.monitor.other_publisher = self._belief.others.find_problem()
            self._belief.monitor.pose_file = self._pose_file.written
            self._belief.monitor.pose_file_problem = self._pose_file.problem
            return self._belief.monitor.report(
                now_ns,
                self._belief.intake.silent_s(now_ns),
                skipped,
                self._belief.trackers.values(),
                self._belief.parameters,
            )

    def _known(self, stamp_ns, frame_id, pose, covariance):
        """Check what an operator gave and express it as a :class:`KnownPose`."""
        covariance = checked_covariance(frame_id, pose, covariance, self._belief.parameters.prior)
        with self._belief.lock:
            # It was given after the last cloud, whatever clock the operator's machine has.
            stamp_ns = max(stamp_ns, self._belief.intake.last_stamp_ns or 0) or None
            cloud_frame = self._belief.intake.frame
        return self._belief.mode.given_pose(
            stamp_ns, frame_id, nearest_rigid(pose), covariance, cloud_frame
        )

    def _tracker(self, name=None):
        """Tracker of a name; of None, the only one."""
        with self._belief.lock:
            trackers = dict(self._belief.trackers)
        if name is None and len(trackers) == 1:
            (name,) = trackers
        if name in trackers:
            return trackers[name]
        if not trackers:
            raise ParameterError('there is no object')
        raise ParameterError(
            f'it does not say of which object; send it to ~/<object>/initialpose, where <object> '
            f'is one of {", ".join(trackers)}'
        )
