"""The way of a cloud: admitted, prepared, registered to each reference, turned into output."""

import time

from dlc_ros.errors import CloudError, DlcError, TransformUnavailable
from dlc_ros.localization.diagnostics import CLOCK_STANDS
from dlc_ros.localization.instances import Claims
from dlc_ros.localization.intake import CloudRefused
from dlc_ros.localization.output import AlignedCloud, Hypotheses, Output
from dlc_ros.localization.registering import attempt, nothing_there
from dlc_ros.localization.scene import Cloud
from dlc_ros.localization.tracker import NO_REFERENCE, KnownPose
from dlc_ros.localization.units import unit_doubt

# Beside objects that are tracked, searches for missing ones take this share of the time.
_SHARE = 0.25


class CloudPath:
    """
    Takes clouds one at a time, in the worker's thread.

    :param belief: :class:`~dlc_ros.localization.belief.Belief`, locked only for moments.
    :param on_restart: called when the stamps of clouds show that time began anew.
    """

    def __init__(self, belief, on_restart):
        self._belief = belief
        self._on_restart = on_restart
        self._searches_rest_until = 0.0  # seconds of time.perf_counter

    def take(self, stamp_ns, frame_id, points, arrival_ns, times):
        """
        Register a cloud to every reference; see ``Localizer.on_cloud`` for the arguments.

        :returns: :class:`Output`.
        """
        belief = self._belief
        with belief.lock:
            stamp_ns = self._admit(stamp_ns, frame_id, arrival_ns)
            if stamp_ns is None:
                return self._output()
            ready = [tracker for tracker in belief.trackers.values() if tracker.reference]
            epochs = {tracker.name: tracker.epoch for tracker in ready}
            if not ready:
                belief.report('reference', NO_REFERENCE)
                return self._output()
            clouds = [tracker.reference.cloud for tracker in ready]
        try:
            scene = belief.mode.scene(
                Cloud(stamp_ns, frame_id, points, times), max(cloud.diameter for cloud in clouds)
            )
        except Exception as error:
            # A robot goes on with the next cloud whatever a library threw at this one.
            if not isinstance(error, DlcError):
                error = CloudError(f'{type(error).__name__}: {error}')
            with belief.lock:
                self._unusable(error, ready)
                return self._output()
        with belief.lock:
            self._look_at(scene, ready)
            # What is tracked takes its points before what is searched.
            order = sorted(ready, key=lambda tracker: tracker not in belief.tracking)
            order = [tracker for tracker in order if not self._rests(tracker)]
        claims = Claims(scene, clouds)
        parts = {t.name: self._register(t, scene, epochs[t.name], claims) for t in order}
        with belief.lock:
            return self._output([parts[t.name] for t in ready if t.name in parts])

    def _admit(self, stamp_ns, frame_id, arrival_ns):
        """Stamp to use for a cloud, or None to drop it."""
        belief = self._belief
        belief.monitor.received()
        parameters = belief.parameters
        try:
            admission = belief.intake.admit(
                stamp_ns,
                frame_id,
                arrival_ns,
                parameters.frames.cloud,
                parameters.tracking.time_jump,
            )
        except CloudRefused as refusal:
            belief.report(refusal.kind, str(refusal))
            return None
        belief.monitor.arrived(admission.age_s)
        if arrival_ns == 0:
            belief.report('clock', CLOCK_STANDS)
        if admission.unstamped:
            belief.report(
                'unstamped', 'clouds have no stamp: their arrival is used; mend the driver'
            )
        if admission.time_jumped:
            text = 'a cloud is older than the one before: time jumped back'
            belief.monitor.problem('jump', text)
            belief.restart(text)
            self._on_restart()
        return admission.stamp_ns

    def _look_at(self, scene, trackers):
        """Note what a scene tells beside its points."""
        belief = self._belief
        belief.monitor.measured(scene)
        if scene.measured.skewed:
            belief.report('deskew', f'sweep not deskewed: {scene.measured.deskew}')
        jump = belief.odometry.jump(scene, belief.parameters.prior)
        if jump:
            belief.report('odometry', jump)
            for tracker in trackers:
                tracker.doubt_odometry(jump)

    def _unusable(self, error, trackers):
        """Note a cloud that cannot be registered to anything."""
        belief = self._belief
        lost_after = belief.parameters.tracking.lost_after
        if isinstance(error, TransformUnavailable):
            belief.intake.withdraw()
            for tracker in trackers:
                tracker.block(str(error), lost_after)
            belief.report('transform', f'cloud not used: {error}')
        else:
            for tracker in trackers:
                tracker.skip(str(error), lost_after)
            belief.report('cloud', f'cloud not used: {error}')

    def _rests(self, tracker):
        """Whether not to search on this cloud: what is not in view must not delay what is."""
        belief = self._belief
        missing = tracker.pose is None and tracker.tries >= belief.parameters.tracking.lost_after
        return missing and belief.tracking and time.perf_counter() < self._searches_rest_until

    def _register(self, tracker, scene, epoch, claims):
        """Register a scene to one reference: an :class:`Output`, empty if nothing came of it."""
        belief = self._belief
        with belief.lock:
            if tracker.epoch != epoch:
                belief.monitor.superseded += 1
                return Output()
            starts, reach = self._starts(tracker, scene)
            reference = tracker.reference
            options = belief.parameters.registration
        points = claims.points_for(reference.cloud)
        several = claims.shared(reference.cloud)
        hypotheses = ()
        for start in starts:
            # What rested may be pushed: its points are where it can have got to.
            region = belief.mode.region(points, start and (reach or start), reference.cloud)
            if len(region) < min(options.min_points, len(points)):
                result = nothing_there(len(region), len(points))
            else:
                result = attempt(
                    reference,
                    region,
                    scene.viewpoint,
                    start,
                    reach,
                    several,
                    options.min_confidence,
                    last=start is starts[-1],
                )
            with belief.lock:
                if tracker.epoch != epoch:
                    belief.monitor.superseded += 1
                    return Output()
                self._note(tracker, reference, start, result)
                if result.registration is not None:
                    hypotheses = self._hypotheses(tracker, scene, result)
                if result.decision.accepted:
                    claims.take(reference.cloud, result.decision.transform)
                    return self._accepted(tracker, scene, result.decision, hypotheses)
        with belief.lock:
            self._rejected(tracker, scene, result, len(points), tracker.epoch == epoch)
        return Output(hypotheses=hypotheses)

    def _starts(self, tracker, scene):
        """Priors to try in turn, None being a search everywhere; and how far it can have got."""
        belief = self._belief
        prior = tracker.begin(scene, belief.parameters.prior)
        reach = tracker.reach(scene, belief.parameters.prior)
        in_time = tracker.search_seconds < belief.mode.search_budget
        # Where an operator points is tried on several clouds before it is given up.
        if prior is not None and tracker.pose.accepted and in_time:
            return (prior, None), reach
        return (prior,), reach

    def _note(self, tracker, reference, start, result):
        """Note an :class:`Attempt`, whatever came of it."""
        belief = self._belief
        if start is None:
            tracker.search_seconds = result.seconds
            begin = max(time.perf_counter(), self._searches_rest_until)
            self._searches_rest_until = begin + (1.0 / _SHARE - 1.0) * result.seconds
        fallback = reference.registrar.provenance['fallback']
        if fallback:
            belief.report('fallback', f'{tracker.name}: {fallback}')
        if result.registration is not None:
            belief.monitor.registered(
                tracker.name, result.registration, result.decision, result.seconds
            )

    def _rejected(self, tracker, scene, result, count, current):
        """
        Note that the last :class:`Attempt` on a scene gave no pose.

        :param count: points that were left for it by other instances.
        :param current: whether no command has reset the tracker since.
        """
        belief = self._belief
        doubt = unit_doubt(
            scene.measured.median_range,
            tracker.reference.cloud.diameter,
            belief.mode.largest_reference,
            belief.parameters.reference_unit,
        )
        reason = '; '.join(filter(None, (doubt, result.decision.reason)))
        if current:
            self._failed(tracker, reason)
        # Too few points beside what other instances took is no fault of the cloud.
        if not result.broken or count < len(scene.points):
            belief.monitor.rejected(tracker.name)
        else:
            belief.report('cloud', f'{tracker.name}: cloud not registered: {reason}')

    def _failed(self, tracker, reason):
        """Note that a registration gave no pose; a search that finds nothing says so once."""
        lost_after = self._belief.parameters.tracking.lost_after
        given = tracker.pose is not None and not tracker.pose.accepted
        tracker.fail(reason, lost_after)
        if tracker.tries == lost_after:  # a pose that was given up counts anew
            self._belief.log.warning(
                f'{tracker.name}: not found in {lost_after} clouds, searching on: {reason}'
            )
        elif given and tracker.pose is None:
            self._belief.log.warning(
                f'{tracker.name}: not found near the given pose in {lost_after} clouds, searching '
                f'everywhere: {reason}'
            )

    def _hypotheses(self, tracker, scene, result):
        """Poses that competed, that of the answer first: the one the prior chose, if it did."""
        belief, registration = self._belief, result.registration
        chosen = result.decision.transform if result.decision.accepted else registration.transform
        return (
            Hypotheses(
                tracker.name,
                belief.mode.frame(scene),
                scene.stamp_ns,
                (chosen, *registration.candidates),
                lambda transform: belief.mode.place(scene, transform),
            ),
        )

    def _accepted(self, tracker, scene, decision, hypotheses):
        belief = self._belief
        pose = KnownPose(
            decision.transform,
            decision.covariance,
            scene.stamp_ns,
            scene.source_frame,
            scene.fixed_from_source,
        )
        fresh = tracker not in belief.tracking
        tracker.accept(pose, decision.reason)
        belief.monitor.accepted(tracker.name, scene.stamp_ns)
        estimate = belief.mode.pose(tracker.name, scene, decision.transform, decision.covariance)
        aligned = AlignedCloud(
            tracker.name, tracker.name, scene.stamp_ns, scene.points, decision.transform
        )
        try:
            transforms = belief.mode.transforms(tracker.name, scene, decision.transform, fresh)
        except TransformUnavailable as error:
            belief.monitor.not_published(tracker.name, str(error))
            belief.report('parent', str(error))
            transforms = ()
        return Output(
            transforms=transforms,
            poses=(estimate,),
            aligned=(aligned,),
            hypotheses=hypotheses,
        )

    def _output(self, parts=()):
        """Put what the references gave together, with all state changes since the last time."""
        belief = self._belief
        return Output(
            transforms=tuple(transform for part in parts for transform in part.transforms),
            poses=tuple(pose for part in parts for pose in part.poses),
            aligned=tuple(aligned for part in parts for aligned in part.aligned),
            hypotheses=tuple(found for part in parts for found in part.hypotheses),
            changes=belief.settle(),
        )
