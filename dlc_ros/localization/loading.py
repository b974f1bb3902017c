"""Which references are in use, and with which weights: loaded at the start and on command."""

import re
import threading

from dlc_ros.errors import DlcError, ParameterError, WeightsError
from dlc_ros.localization.declarations import topic_part
from dlc_ros.localization.tracker import Tracker

# Of one that is not known yet; what has a slash or a dot before the = is the path of a file.
_NEW_NAME = re.compile(r'(\w[\w-]*)=(.+)')


class Loading:
    """
    Gives references to trackers; an old one stays when the new one cannot be used.

    One file is loaded at a time, so that what a slower thread read earlier never replaces what
    was asked for later. The belief's lock is not held meanwhile.

    :param belief: :class:`~dlc_ros.localization.belief.Belief`.
    :param loader: :class:`~dlc_ros.localization.references.ReferenceLoader`.
    :param pose_file: :class:`~dlc_ros.localization.saved_pose.PoseFile`, for where a first
        reference is searched first.
    """

    def __init__(self, belief, loader, pose_file):
        self._belief = belief
        self._loader = loader
        self._pose_file = pose_file
        self._one_at_a_time = threading.Lock()

    def load(self, name, path):
        """
        Load the reference of a name, which may be a new one.

        :param name: frame of the reference.
        :param path: point cloud file.
        :returns: :class:`~dlc_ros.localization.output.CommandResult`.
        """
        with self._one_at_a_time:
            try:
                reference = self._loader.load(name, path)
            except WeightsError as error:
                return self._belief.refuse(f'weights not loaded: {error}', name)
            except DlcError as error:
                return self._belief.refuse(f'reference not loaded: {error}', name)
            with self._belief.lock:
                if name in self._belief.trackers:
                    self._belief.trackers[name].reset('reference loaded')
                self._use(reference)
        cloud = reference.cloud
        return self._belief.done(
            f'{name}: reference {cloud.path}, {len(cloud.points)} points, diameter '
            f'{cloud.diameter:.3g} m, sha256 {cloud.sha256[:12]}'
        )

    def load_reference(self, path):
        """
        Load what an operator names, or remove the object that ``name=`` names.

        :param path: see ``Localizer.load_reference``.
        :returns: :class:`~dlc_ros.localization.output.CommandResult`.
        """
        if self._belief.parameters.mode == 'object' and path.endswith('='):
            return self._remove(path.removesuffix('='))
        try:
            name, file = self._name_and_file(path)
        except ParameterError as error:
            return self._belief.refuse(f'reference not loaded: {error}')
        return self.load(name, file)

    def load_weights(self, path):
        """
        Load other weights for all references, those that waited for usable ones among them.

        :param path: weights file; empty takes the ones in the package.
        :returns: :class:`~dlc_ros.localization.output.CommandResult`.
        """
        belief = self._belief
        with self._one_at_a_time:
            with belief.lock:
                in_use = [t.reference for t in belief.trackers.values() if t.reference]
            try:
                references = self._loader.reload(in_use, path)
            except DlcError as error:
                return belief.refuse(f'weights not loaded: {error}')
            with belief.lock:
                for reference in references:
                    self._use(reference)
        return belief.done(f'weights {path or "of the package"} loaded')

    def _remove(self, name):
        belief = self._belief
        with self._one_at_a_time:
            self._loader.forget(name)
            with belief.lock:
                if name not in belief.trackers:
                    return belief.refuse(f'nothing removed: there is no object {name!r}')
                # What is being registered to it is void.
                belief.trackers.pop(name).reset('removed')
                belief.monitor.forget(name)
                belief.others.forget(name)
        return belief.done(f'{name}: removed')

    def _use(self, reference):
        """Give a reference to its tracker; a first one is searched where its pose was last."""
        belief, name = self._belief, reference.cloud.name
        tracker = belief.trackers.setdefault(name, Tracker(name))
        first = tracker.reference is None
        tracker.use(reference)
        if not first:
            return
        told = self._pose_file.problem
        saved = self._pose_file.pose_in(reference.cloud, belief.parameters.prior)
        if self._pose_file.problem != told:
            belief.log.warning(self._pose_file.problem)
        known, which = saved or belief.mode.configured_pose(), 'saved' if saved else 'configured'
        if known is not None:
            tracker.start_from(known, f'a pose was {which}')
            belief.log.info(f'{name}: searching near the pose that was {which}')

    def _name_and_file(self, path):
        parameters = self._belief.parameters
        if parameters.mode == 'map':
            name = parameters.frames.map
            return name, path.removeprefix(f'{name}=')
        with self._belief.lock:
            names = tuple(self._belief.trackers)
        for name in sorted(names, key=len, reverse=True):
            if path.startswith(f'{name}='):
                return name, path.removeprefix(f'{name}=')
        named = _NEW_NAME.fullmatch(path)
        if named is None and len(names) == 1:
            return names[0], path
        if named is None:
            raise ParameterError(f'{path!r} names no object; send name=file')
        name, file = named.groups()
        if name in parameters.frames_beside_objects:
            raise ParameterError(f'{name!r} is a frame of the robot; name another object')
        if topic_part(name) in map(topic_part, names):
            raise ParameterError(f'the topics of {name!r} are taken; name another object')
        return name, file
