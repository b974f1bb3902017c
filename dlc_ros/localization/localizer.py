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
from dataclasses import replace

import numpy as np

from dlc_ros.errors import CloudError, DlcError, ParameterError, TransformUnavailable
from dlc_ros.localization.decision import decide
from dlc_ros.localization.diagnostics import Monitor
from dlc_ros.localization.modes import MapMode, ObjectMode
from dlc_ros.localization.output import AlignedCloud, CommandResult, Output
from dlc_ros.localization.parameters import read_only_changes
from dlc_ros.localization.references import Reference, make_registrar, read_reference
from dlc_ros.localization.tracker import KnownPose, Tracker
from dlc_ros.registration.se3 import is_rigid, nearest_rigid

_NAMED_FILE = re.compile(r'(\w[\w-]*)=(.+)')


class Localizer:
    """
    Localises a robot in a map, or objects before a sensor (``parameters.mode``).

    References and weights are loaded here; what cannot be loaded is logged, named in
    :attr:`problems` and in the diagnostics, and may be loaded later.

    :param parameters: :class:`~dlc_ros.localization.parameters.Parameters`.
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
        self._make_registrar = registrar_factory
        self._weights = parameters.weights
        if parameters.mode == 'map':
            self._mode = MapMode(parameters, lookup, parent_of or (lambda frame: None))
            files = {parameters.frames.map: parameters.reference}
        else:
            self._mode = ObjectMode(parameters, lookup)
            files = dict(zip(parameters.objects.names, parameters.objects.references, strict=True))
        self._state = threading.RLock()  # held for microseconds
        self._one_cloud = threading.Lock()  # held while a cloud is registered
        self._one_load = threading.Lock()  # held while references or weights are loaded
        self._monitor = Monitor(name)
        self._trackers = {}
        self._last_stamp = None
        self._cloud_frame = ''
        self._held = None  # map -> odom of the last accepted pose, dated as its cloud
        self._newest_published = 0  # date of the newest map -> odom that was published
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
            if self._held is None:
                return Output()
            age = (now_ns - self._held.stamp_ns) * 1e-9
            date = now_ns + self._tolerance_ns()
            if age > self._parameters.hold_timeout or date <= self._newest_published:
                return Output()
            self._newest_published = date
            return Output(transforms=(replace(self._held, stamp_ns=date),))

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
            given = self._checked_pose(stamp_ns, frame_id.lstrip('/'), pose, covariance)
        except DlcError as error:
            return self._refuse(f'initial pose ignored: {error}')
        with self._state:
            (tracker,) = self._trackers.values()
            tracker.start_from(given, 'an initial pose was given')
            self._held = None
        return self._done('searching near the given pose')

    def relocalize(self):
        """Forget all poses and search globally; stops publishing until a cloud is accepted."""
        with self._state:
            self._reset('asked to relocalise')
        return self._done('searching globally')

    def on_time_jump(self, stamp_ns):
        """Start afresh after the clock jumped (to ``stamp_ns``); references are kept."""
        with self._state:
            self._last_stamp = None
            self._newest_published = 0
            self._monitor.time_jumped()
            self._reset('time jumped')
        return self._done(f'reset: time jumped to {stamp_ns * 1e-9:.3f} s')

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
        with self._one_load:
            with self._state:
                clouds = [t.reference.cloud for t in self._trackers.values() if t.reference]
            previous, self._weights = self._weights, path
            try:
                references = [self._build(cloud) for cloud in clouds]
            except DlcError as error:
                self._weights = previous
                return self._refuse(f'weights not loaded: {error}')
            with self._state:
                for reference in references:
                    tracker = self._trackers[reference.cloud.name]
                    tracker.reference = reference
                    tracker.search_seconds = 0.0
        return self._done(f'weights {path or "of the package"} loaded')

    def update(self, parameters):
        """
        Change live parameters; read-only ones must stay as they are.

        :param parameters: :class:`~dlc_ros.localization.parameters.Parameters`.
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
        with self._one_load:
            try:
                reference = self._build(read_reference(name, path))
            except DlcError as error:
                return self._refuse(f'reference not loaded: {error}', name)
            with self._state:
                tracker = self._trackers.setdefault(name, Tracker(name))
                tracker.replace(reference, 'reference loaded')
                self._held = None
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
            diameter = max((t.reference.cloud.diameter for t in ready), default=0.0)
        if not ready:
            self._report('reference', _NO_REFERENCE)
            return self._output()
        try:
            scene = self._mode.scene(stamp_ns, frame_id, points, diameter)
        except (CloudError, TransformUnavailable) as error:
            with self._state:
                self._unusable(error, ready)
                return self._output()
        parts = [self._register(tracker, scene, epochs[tracker.name]) for tracker in ready]
        with self._state:
            return self._output([part for part in parts if part is not None])

    def _admit(self, stamp_ns, frame_id, arrival_ns):
        """Check stamp and frame; the stamp to use, or None to drop the cloud."""
        self._monitor.received()
        frames = self._parameters.frames
        if not frame_id or frames.cloud not in ('', frame_id):
            expected = frames.cloud or 'the frame of the sensor'
            self._monitor.wrong_frame += 1
            self._report('frame', f'cloud dropped: its frame is {frame_id!r}, expected {expected}')
            return None
        if stamp_ns == 0:
            self._monitor.zero_stamps += 1
            if not arrival_ns:
                self._report('stamp', 'cloud dropped: its stamp is zero')
                return None
            self._report(
                'stamp', 'clouds have no stamp: the time of arrival is used; fix the driver'
            )
            stamp_ns = arrival_ns
        if self._last_stamp is not None and stamp_ns <= self._last_stamp:
            behind = (self._last_stamp - stamp_ns) * 1e-9
            if behind <= self._parameters.tracking.time_jump:
                self._monitor.late += 1
                self._report('late', f'cloud dropped: {behind:.3f} s older than the last one')
                return None
            self.on_time_jump(stamp_ns)
        self._last_stamp = stamp_ns
        self._cloud_frame = frame_id
        return stamp_ns

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
            registrar = tracker.reference.registrar
            attempts = [prior]
            # An object that was carried off is found again at once, not after lost_after clouds.
            # In a map the same would let a scan that is hidden by a crowd jump to another room.
            budget = self._parameters.objects.search_budget
            if prior is not None and isinstance(self._mode, ObjectMode):
                if tracker.search_seconds < budget:
                    attempts.append(None)
        for attempt in attempts:
            started = time.perf_counter()
            try:
                registration = _run(registrar, scene.points, attempt)
                decision = decide(registration, attempt)
            except DlcError as error:
                return self._failed(tracker, epoch, str(error))
            except Exception as error:
                # A robot goes on with the next cloud whatever a library threw at this one.
                return self._failed(tracker, epoch, f'{type(error).__name__}: {error}')
            seconds = time.perf_counter() - started
            with self._state:
                if tracker.epoch != epoch:
                    self._monitor.superseded += 1
                    return None
                if attempt is None:
                    tracker.search_seconds = seconds
                self._monitor.registered(tracker.name, registration, decision, seconds)
                if decision.accepted:
                    return self._accepted(tracker, scene, decision)
        with self._state:
            tracker.fail(decision.reason, self._parameters.tracking.lost_after)
            self._monitor.rejected(tracker.name)
        return None

    def _failed(self, tracker, epoch, reason):
        with self._state:
            if tracker.epoch == epoch:
                tracker.fail(reason, self._parameters.tracking.lost_after)
            self._monitor.invalid += 1
            self._report('cloud', f'{tracker.name}: cloud not registered: {reason}')

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
        if transform is not None and isinstance(self._mode, MapMode):
            if self._parameters.frames.odom:
                self._held = transform
            # Never dated before one that the timer has published: the newest must be the newest.
            date = max(transform.stamp_ns + self._tolerance_ns(), self._newest_published + 1)
            self._newest_published = date
            transform = replace(transform, stamp_ns=date)
        return transform, estimate, aligned

    def _checked_pose(self, stamp_ns, frame_id, pose, covariance):
        """Check what an operator gave and express it as a :class:`KnownPose`."""
        if len(self._trackers) != 1:
            raise ParameterError(f'there are {len(self._trackers)} objects, and it names none')
        covariance = np.asarray(covariance, dtype=np.float64)
        if not is_rigid(pose):
            raise ParameterError('it is not a rigid transform with a unit quaternion')
        if covariance.shape != (6, 6) or not np.isfinite(covariance).all():
            raise ParameterError('its covariance is not a finite 6x6 matrix')
        covariance = 0.5 * (covariance + covariance.T)
        prior = self._parameters.prior
        default = np.repeat([prior.initial_translation, prior.initial_rotation], 3) ** 2
        covariance += np.diag(np.where(np.diag(covariance) <= 0.0, default, 0.0))
        if np.linalg.eigvalsh(covariance)[0] <= 0.0:
            raise ParameterError('its covariance is not positive definite')
        with self._state:
            # A pose is never older than the last cloud: it was given after it.
            stamp_ns = max(stamp_ns, self._last_stamp or 0)
        return self._mode.given_pose(
            stamp_ns, frame_id, nearest_rigid(pose), covariance, self._cloud_frame
        )

    def _name_and_file(self, path):
        if isinstance(self._mode, MapMode):
            name = self._parameters.frames.map
            return name, path.removeprefix(f'{name}=')
        named = _NAMED_FILE.fullmatch(path)
        if named:
            return named[1], named[2]
        if len(self._trackers) == 1:
            return next(iter(self._trackers)), path
        raise ParameterError(f'{path!r} names no object; send name=file')

    def _build(self, cloud):
        registrar = self._make_registrar(
            cloud.points, self._weights, self._parameters.registration
        )
        return Reference(cloud, registrar)

    def _reset(self, reason):
        for tracker in self._trackers.values():
            tracker.reset(reason)
        self._held = None

    def _tolerance_ns(self):
        return round(self._parameters.transform_tolerance * 1e9)

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


def _run(registrar, points, prior):
    if prior is None:
        return registrar.register(points)
    return registrar.register(points, init=prior.transform, init_covariance=prior.covariance)
