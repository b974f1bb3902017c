"""
The class that the nodes drive: clouds and commands in, :class:`Output` out; no middleware.

Threads: ``on_cloud`` belongs to a worker, everything else to the thread that runs timers and
subscriptions. A lock guards the state and is never held while a cloud is registered or a file is
read, so a timer waits microseconds. An answer that was computed for a state which a command has
since reset is dropped (``superseded`` in the diagnostics).
"""

import logging
import re
import threading
import time

from dlc_ros.errors import DlcError, ParameterError, TransformUnavailable
from dlc_ros.localization.decision import Decision, decide
from dlc_ros.localization.diagnostics import Monitor
from dlc_ros.localization.intake import CloudRefused, Intake
from dlc_ros.localization.modes import MapMode, ObjectMode, checked_covariance
from dlc_ros.localization.output import AlignedCloud, CommandResult, Output
from dlc_ros.localization.parameters import read_only_changes
from dlc_ros.localization.references import ReferenceLoader, make_registrar
from dlc_ros.localization.tracker import KnownPose, Tracker
from dlc_ros.registration.se3 import nearest_rigid

_NAMED_FILE = re.compile(r'(\w[\w-]*)=(.+)')


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
    :param registrar_factory: ``(points, weights, options) -> registrar``, for tests.
    """

    def __init__(
        self,
        parameters,
        lookup,
        log=None,
        name='localizer',
        parent_of=None,
        registrar_factory=make_registrar,
    ):
        self._parameters = parameters
        self._log = log or logging.getLogger('dlc_ros.localizer')
        self._loader = ReferenceLoader(
            parameters.weights, parameters.registration, registrar_factory
        )
        if parameters.mode == 'map':
            self._mode = MapMode(parameters, lookup, parent_of or (lambda frame: None))
            files = {parameters.frames.map: parameters.reference}
        else:
            self._mode = ObjectMode(parameters, lookup)
            files = dict(zip(parameters.objects.names, parameters.objects.references, strict=True))
        self._state = threading.RLock()  # held for microseconds
        self._one_cloud = threading.Lock()  # held while a cloud is registered
        self._monitor = Monitor(name)
        self._trackers = {}
        self._intake = Intake()
        for reference, path in files.items():
            self._trackers[reference] = Tracker(reference)
            if path:
                self._load(reference, path)

    @property
    def problems(self):
        """What keeps references from being used, one sentence each; empty when all is well."""
        with self._state:
            missing = [tracker for tracker in self._trackers.values() if not tracker.reference]
            if not self._trackers:
                return (_NO_REFERENCE,)
            return tuple(f'{tracker.name}: {tracker.reason}' for tracker in missing)

    def on_cloud(self, stamp_ns, frame_id, points, arrival_ns=None):
        """
        Register a cloud to every reference; bad input is counted and reported, never raised.

        :param stamp_ns: of the cloud; 0 means none was set and ``arrival_ns`` is used.
        :param frame_id: frame of the points.
        :param points: (N, 3) floats [m]; rows with NaN or Inf are ignored.
        :param arrival_ns: the node's clock when the cloud arrived.
        :returns: :class:`Output`; its aligned clouds are moved only when asked.
        """
        with self._one_cloud:
            started = time.perf_counter()
            output = self._on_cloud(stamp_ns, frame_id.lstrip('/'), points, arrival_ns)
            with self._state:
                self._monitor.worked(time.perf_counter() - started)
            return output

    def on_timer(self, now_ns):
        """
        Repeat map -> odom of the last accepted pose until it is ``hold_timeout`` old.

        :param now_ns: the node's clock.
        :returns: :class:`Output` with one transform, or an empty one.
        """
        with self._state:
            repeated = self._mode.repeat(now_ns)
        return Output(transforms=(repeated,) if repeated else ())

    def on_initial_pose(self, stamp_ns, frame_id, pose, covariance):
        """
        Start from a pose that an operator gave: of the robot in map mode, else of the object.

        It only tells where to look: nothing is published before a cloud confirms it.

        :param stamp_ns: when it holds; 0 is now.
        :param frame_id: frame of the pose.
        :param pose: (4, 4).
        :param covariance: (6, 6) in ROS's order; axes without a variance get the ``prior.initial``
            ones.
        :returns: :class:`CommandResult`.
        """
        try:
            tracker = self._only_tracker()
            known = self._known(stamp_ns, frame_id.lstrip('/'), pose, covariance)
        except DlcError as error:
            return self._refuse(f'initial pose ignored: {error}')
        with self._state:
            tracker.start_from(known, 'an initial pose was given')
            self._mode.drop()
        return self._done('searching near the given pose')

    def relocalize(self):
        """Forget all poses and search globally; stops publishing until a cloud is accepted."""
        with self._state:
            self._reset('asked to relocalise')
        return self._done('searching globally')

    def on_time_jump(self, stamp_ns):
        """Start afresh after the clock jumped (to ``stamp_ns``); references are kept."""
        with self._state:
            self._intake.forget_time()
            self._restart(f'time jumped to {stamp_ns * 1e-9:.3f} s')
        return CommandResult(True, 'reset: time jumped')

    def load_reference(self, path):
        """
        Load another reference; the old one stays when the new one cannot be used.

        :param path: point cloud file; in object mode ``name=file``, or the file alone when there
            is one object. A new name is a further object.
        :returns: :class:`CommandResult`.
        """
        try:
            name, file = self._name_and_file(path)
        except ParameterError as error:
            return self._refuse(f'reference not loaded: {error}')
        return self._load(name, file)

    def load_weights(self, path):
        """
        Load other weights for all references; the old ones stay when they cannot be used.

        :param path: weights file; empty takes the ones in the package.
        :returns: :class:`CommandResult`.
        """
        with self._state:
            in_use = [t.reference for t in self._trackers.values() if t.reference]
        try:
            references = self._loader.reload(in_use, path)
        except DlcError as error:
            return self._refuse(f'weights not loaded: {error}')
        with self._state:
            for reference in references:
                self._trackers[reference.cloud.name].use(reference)
        return self._done(f'weights {path or "of the package"} loaded')

    def update(self, parameters):
        """
        Change live parameters; read-only ones must stay as they are.

        :param parameters: :class:`~dlc_ros.localization.declarations.Parameters`.
        :returns: :class:`CommandResult`.
        """
        frozen = read_only_changes(self._parameters, parameters)
        if frozen:
            return self._refuse(f'{", ".join(frozen)} cannot change while the node runs')
        with self._state:
            self._parameters = self._mode.parameters = parameters
        return self._done('parameters changed')

    def diagnostics(self, now_ns, skipped=0):
        """
        State for ``/diagnostics``.

        :param now_ns: the node's clock.
        :param skipped: clouds that a newer one replaced before they were looked at.
        :returns: list of :class:`~dlc_ros.localization.output.DiagnosticStatus`.
        """
        with self._state:
            return self._monitor.report(now_ns, skipped, self._trackers.values())

    def _load(self, name, path):
        try:
            reference = self._loader.load(name, path)
        except DlcError as error:
            return self._refuse(f'reference not loaded: {error}', name)
        with self._state:
            tracker = self._trackers.setdefault(name, Tracker(name))
            tracker.reset('reference loaded')
            tracker.use(reference)
            self._mode.drop()
        cloud = reference.cloud
        return self._done(
            f'{name}: reference {cloud.path}, {len(cloud.points)} points, diameter '
            f'{cloud.diameter:.3g} m, sha256 {cloud.sha256[:12]}'
        )

    def _on_cloud(self, stamp_ns, frame_id, points, arrival_ns):
        with self._state:
            stamp_ns = self._admit(stamp_ns, frame_id, arrival_ns)
            if stamp_ns is None:
                return self._output()
            ready = [tracker for tracker in self._trackers.values() if tracker.reference]
            epochs = {tracker.name: tracker.epoch for tracker in ready}
            if not ready:
                self._report('reference', _NO_REFERENCE)
                return self._output()
            diameter = max(tracker.reference.cloud.diameter for tracker in ready)
        try:
            scene = self._mode.scene(stamp_ns, frame_id, points, diameter)
        except DlcError as error:
            with self._state:
                self._unusable(error, ready)
                return self._output()
        parts = [self._register(tracker, scene, epochs[tracker.name]) for tracker in ready]
        with self._state:
            return self._output([part for part in parts if part is not None])

    def _admit(self, stamp_ns, frame_id, arrival_ns):
        """Stamp to use for a cloud, or None to drop it."""
        self._monitor.received()
        parameters = self._parameters
        try:
            admission = self._intake.admit(
                stamp_ns,
                frame_id,
                arrival_ns,
                parameters.frames.cloud,
                parameters.tracking.time_jump,
            )
        except CloudRefused as refusal:
            self._monitor.refused[refusal.kind] += 1
            self._report(refusal.kind, str(refusal))
            return None
        if admission.unstamped:
            self._monitor.unstamped += 1
            self._report(
                'unstamped', 'clouds have no stamp: their arrival is used; mend the driver'
            )
        if admission.time_jumped:
            self._restart('a cloud is older than the one before: time jumped back')
        return admission.stamp_ns

    def _unusable(self, error, trackers):
        """Note a cloud that cannot be registered to anything."""
        lost_after = self._parameters.tracking.lost_after
        if isinstance(error, TransformUnavailable):
            self._monitor.no_transform += 1
            for tracker in trackers:
                tracker.block(str(error), lost_after)
            self._report('transform', f'cloud not used: {error}')
        else:
            self._monitor.invalid += 1
            for tracker in trackers:
                tracker.fail(str(error), lost_after)
            self._report('cloud', f'cloud not used: {error}')

    def _register(self, tracker, scene, epoch):
        """Register a scene to one reference: (transform or None, pose, aligned), or None."""
        with self._state:
            if tracker.epoch != epoch:
                self._monitor.superseded += 1
                return None
            prior = tracker.begin(scene, self._parameters.prior)
            attempts = [prior]
            in_time = tracker.search_seconds < self._mode.search_budget
            # Where an operator points is tried on several clouds before it is given up.
            if prior is not None and tracker.pose.accepted and in_time:
                attempts.append(None)
            reference = tracker.reference
        for attempt in attempts:
            started = time.perf_counter()
            registration, decision = self._attempt(reference, scene, attempt)
            seconds = time.perf_counter() - started
            with self._state:
                if tracker.epoch != epoch:
                    self._monitor.superseded += 1
                    return None
                if attempt is None:
                    tracker.search_seconds = seconds
                if registration is not None:
                    self._monitor.registered(tracker.name, registration, decision, seconds)
                if decision.accepted:
                    return self._accepted(tracker, scene, decision)
        with self._state:
            if tracker.epoch == epoch:
                tracker.fail(decision.reason, self._parameters.tracking.lost_after)
            if registration is not None:
                self._monitor.rejected(tracker.name)
            else:
                self._monitor.invalid += 1
                self._report('cloud', f'{tracker.name}: cloud not registered: {decision.reason}')
        return None

    def _attempt(self, reference, scene, prior):
        """Register once: (Registration, or None if it could not be computed; Decision)."""
        points = self._mode.region(scene, prior, reference.cloud)
        try:
            if prior is None:
                registration = reference.registrar.register(points)
            else:
                registration = reference.registrar.register(
                    points, init=prior.transform, init_covariance=prior.covariance
                )
            return registration, decide(registration, prior)
        except DlcError as error:
            return None, Decision(False, str(error))
        except Exception as error:
            # A robot goes on with the next cloud whatever a library threw at this one.
            return None, Decision(False, f'{type(error).__name__}: {error}')

    def _accepted(self, tracker, scene, decision):
        pose = KnownPose(
            decision.transform,
            decision.covariance,
            scene.stamp_ns,
            scene.source_frame,
            scene.fixed_from_source,
        )
        tracker.accept(pose, decision.reason)
        self._monitor.accepted(tracker.name, scene.stamp_ns)
        estimate = self._mode.pose(tracker.name, scene, decision.transform, decision.covariance)
        aligned = AlignedCloud(
            tracker.name, tracker.name, scene.stamp_ns, scene.points, decision.transform
        )
        try:
            transform = self._mode.transform(tracker.name, scene, decision.transform)
        except TransformUnavailable as error:
            self._report('parent', str(error))
            return None, estimate, aligned
        return transform, estimate, aligned

    def _known(self, stamp_ns, frame_id, pose, covariance):
        """Check what an operator gave and express it as a :class:`KnownPose`."""
        covariance = checked_covariance(frame_id, pose, covariance, self._parameters.prior)
        with self._state:
            # It was given after the last cloud, whatever clock the operator's machine has.
            stamp_ns = max(stamp_ns, self._intake.last_stamp_ns or 0) or None
            cloud_frame = self._intake.frame
        return self._mode.given_pose(
            stamp_ns, frame_id, nearest_rigid(pose), covariance, cloud_frame
        )

    def _only_tracker(self):
        with self._state:
            if len(self._trackers) == 1:
                return next(iter(self._trackers.values()))
        raise ParameterError(f'there are {len(self._trackers)} objects, and it names none')

    def _name_and_file(self, path):
        if isinstance(self._mode, MapMode):
            name = self._parameters.frames.map
            return name, path.removeprefix(f'{name}=')
        named = _NAMED_FILE.fullmatch(path)
        if named:
            return named[1], named[2]
        if len(self._trackers) != 1:
            raise ParameterError(f'{path!r} names no object; send name=file')
        return self._only_tracker().name, path

    def _restart(self, reason):
        self._log.warning(f'reset: {reason}')
        self._monitor.time_jumped()
        self._reset(reason)
        self._mode.restart()

    def _reset(self, reason):
        for tracker in self._trackers.values():
            tracker.reset(reason)
        self._mode.drop()

    def _output(self, parts=()):
        """Collect what was accepted and all state changes since the last cloud."""
        changes = tuple(c for t in self._trackers.values() for c in t.take_changes())
        for change in changes:
            self._log.info(f'{change.name}: {change.before} -> {change.after}: {change.reason}')
        return Output(
            transforms=tuple(transform for transform, _, _ in parts if transform is not None),
            poses=tuple(pose for _, pose, _ in parts),
            aligned=tuple(aligned for _, _, aligned in parts),
            changes=changes,
        )

    def _report(self, kind, text):
        """Show a problem in the diagnostics; log it once until it is over or another appears."""
        if self._monitor.problem(kind, text):
            self._log.warning(text)

    def _refuse(self, text, name=None):
        self._log.error(text)
        with self._state:
            self._monitor.last_refusal = text
            tracker = self._trackers.get(name)
            if tracker is not None and tracker.reference is None:
                tracker.reason = text
        return CommandResult(False, text)

    def _done(self, text):
        self._log.info(text)
        return CommandResult(True, text)


_NO_REFERENCE = 'no reference is loaded: set it in the parameters or send ~/load_reference'
