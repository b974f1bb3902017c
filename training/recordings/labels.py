"""Poses in the reference's frame: given, searched for, or those of a map that is built."""

import hashlib
from dataclasses import dataclass

import numpy as np

from dlc_ros.files import read_transform, write_cloud
from dlc_ros.registration.weights import load_weights
from dlc_training.recordings.anchoring import anchor
from dlc_training.recordings.consistency import check_training_poses
from dlc_training.recordings.files import read_arrays, write_arrays
from dlc_training.recordings.map_building import build_map, take_drift_out

# What keeps a score on labels from being a truth: see `Labelled.caveat`.
_SELF_MADE = 'the held-out poses were made from the clouds themselves, so this is no truth'
_LOCALISED = (
    'the held-out poses are no measurement, but as good as what localised the robot, whose '
    'mistakes the score repeats'
)

# Scans that tell whether poses are in the reference's frame at all.
_PROBED, _LEAST_AGREEING = 15, 0.5


@dataclass(frozen=True)
class Labelled:
    """
    What a scan's pose is.

    :param poses: (N, 4, 4) ``T_reference_sensor``; ``known`` (N,) bool.
    :param reference: (M, 3) [m].
    :param in_map: (N,) bool: the scan is part of the reference, so it cannot be judged by it.
    :param caveat: what keeps a score on the poses from being a truth, a clause for people; ''
        where they were measured.
    :param text: where they come from, for people.
    :param z_is_up: whether that axis of the reference is known to be up: of a map that is given
        it is, as for a node in map mode.
    """

    poses: np.ndarray
    known: np.ndarray
    reference: np.ndarray
    in_map: np.ndarray
    caveat: str
    text: str
    z_is_up: bool = True


class Labels:
    """Makes :class:`Labelled`; what takes time is kept in ``out`` and found again."""

    def __init__(self, source, out, weights, seen, index, trajectory, quiet):
        self.source, self.out, self.weights, self.seen = source, out, weights, seen
        self.index, self.trajectory, self.quiet = index, trajectory, quiet

    def make(self, own, reference):
        """
        Label all scans.

        :param own: (N, 4, 4) poses as the truth has them.
        :param reference: (M, 3) [m], or None to build a map.
        """
        everywhere, nowhere = np.ones(len(own), bool), np.zeros(len(own), bool)
        if reference is None:
            return self._in_own_map(own, everywhere)
        text = ''
        if not self.trajectory.drifts:
            if self._fits(own, reference):
                return Labelled(
                    own,
                    everywhere,
                    reference,
                    nowhere,
                    self._caveat(),
                    'as the truth gives them',
                )
            text = 'the poses are not in the frame of the reference; '
        first = None
        if self.source.initial_pose is not None:
            first = read_transform(self.source.initial_pose)
        content = hashlib.sha256(reference.tobytes()).hexdigest()
        depends = f'{content} {load_weights(self.weights).sha256} {_digits(first)}'
        found = self._kept('labels', lambda: self._anchored(own, reference, first), depends)
        return Labelled(
            found['poses'], found['known'], reference, nowhere, _SELF_MADE,
            text + str(found['text']),
        )  # fmt: skip

    def _in_own_map(self, own, everywhere):
        poses, text = own, 'as the truth gives them'
        if self.trajectory.self_made:
            text = 'LiDAR odometry, of which the map is made as well (self-labels)'
        elif self.trajectory.drifts:
            poses = self._kept('drift', lambda: {
                'poses': take_drift_out(self.index, own, self.seen.ranges[1], self.quiet)
            })['poses']  # fmt: skip
            text = 'odometry, its drift taken out by scan-to-map registration (no loops closed)'
        # Every other scan makes the map: those that are judged must not be in it themselves.
        in_map = np.arange(len(own)) % 2 == 0
        numbers, middle = np.flatnonzero(in_map), self.seen.ranges[1]
        points = self._kept(
            'map', lambda: {'points': build_map(self.index, poses, numbers, middle)}
        )['points']
        write_cloud(self.out / 'map.ply', points)
        up = self.trajectory.z_is_up
        return Labelled(poses, everywhere, points, in_map, self._caveat(), text, up)

    def _caveat(self):
        """That of the trajectory's own poses."""
        if self.trajectory.drifts or self.trajectory.self_made:
            return _SELF_MADE
        return '' if self.trajectory.measured else _LOCALISED

    def _fits(self, own, reference):
        numbers = np.unique(np.linspace(0, len(own) - 1, _PROBED).astype(int))
        checked = check_training_poses(
            self.index, own, numbers, reference, self.seen.ranges[1], True
        )
        return checked.kept.mean() >= _LEAST_AGREEING

    def _anchored(self, own, reference, first):
        found = anchor(
            self.index, own, reference, self.weights, self.seen.ranges[1], first, self.quiet
        )
        text = (
            'odometry placed in the reference by the present weights (self-labels): '
            f'{int(found.accepted.sum())} of {len(own)} scans accepted by the gate, '
            f'{int((found.known & ~found.accepted).sum())} carried by odometry between those'
        )
        return {'poses': found.poses, 'known': found.known, 'text': text}

    def _kept(self, name, make, depends=''):
        """Arrays of a stage, made once for this index and what else it depends on."""
        key = f'{self.index.facts["key"]} {depends}'
        path = self.out / 'index' / f'{name}.npz'
        found = read_arrays(path)
        if found is None or str(found['key']) != key:
            write_arrays(path, key=key, **make())
            found = read_arrays(path)
        return found


def _digits(pose):
    """All digits of a pose (4, 4), or of None."""
    return '' if pose is None else pose.tolist()
