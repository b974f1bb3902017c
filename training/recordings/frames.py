"""Every transform of a recording: by edge, compact, looked up for many stamps at once."""

from array import array

import numpy as np
from scipy.spatial.transform import Rotation

from dlc_ros.errors import TransformUnavailable


class TransformLog:
    """
    All transforms of a recording; 64 bytes for each, and as many again once it was looked up.

    Other than the buffer of a running node it forgets nothing and answers for arrays of stamps.
    """

    def __init__(self):
        self._edges = {}
        self.conflicts = {}  # child -> parents that were ignored

    @property
    def frames(self):
        """Names of all frames."""
        return self._edges.keys() | {edge.parent for edge in self._edges.values()}

    @property
    def children(self):
        """Names of the frames that have a parent."""
        return self._edges.keys()

    def fill_from(self, other):
        """Take over another log's transforms of frames that have no parent in this one."""
        for child in other.children - self.children:
            self._edges[child] = other._edges[child]
            if child in other.conflicts:
                self.conflicts[child] = other.conflicts[child]

    def add(self, parent, child, stamp_ns, translation, quaternion, static=False):
        """
        Add a transform ``T_parent_child``.

        :param translation: x, y, z [m]; ``quaternion``: x, y, z, w, of any length above 0.
        :param static: whether it holds at all times.
        """
        parent, child = parent.lstrip('/'), child.lstrip('/')
        values = (*translation, *quaternion)
        if not np.isfinite(values).all() or parent == child:
            return
        edge = self._edges.setdefault(child, _Edge(parent, static))
        if edge.parent != parent:
            self.conflicts.setdefault(child, set()).add(parent)
            return
        edge.add(stamp_ns, values)

    def add_message(self, message, static):
        """Add all of a ``tf2_msgs/TFMessage``."""
        for t in message.transforms:
            stamp_ns = t.header.stamp.sec * 10**9 + t.header.stamp.nanosec
            shift, turn = t.transform.translation, t.transform.rotation
            self.add(
                t.header.frame_id,
                t.child_frame_id,
                stamp_ns,
                (shift.x, shift.y, shift.z),
                (turn.x, turn.y, turn.z, turn.w),
                static,
            )

    def root(self, frame):
        """Topmost ancestor of a frame."""
        return self._chain(frame.lstrip('/'))[-1]

    def moving(self, target, source):
        """Children of the moving transforms between two frames, none if all are static."""
        up, down = self._between(target, source)
        return [child for child in up + down if not self._edges[child].static]

    def poses(self, target, source, stamps_ns, longest_gap_s):
        """
        ``T_target_source`` at many stamps.

        :param stamps_ns: (N,) int64.
        :param longest_gap_s: no interpolation between transforms farther apart in time.
        :return: (N, 4, 4) float64, and (N,) bool: known there; unknown ones are the identity.
        :raises TransformUnavailable: a frame is not there, or they are not connected.
        """
        stamps_ns = np.asarray(stamps_ns, np.int64)
        up, down = self._between(target, source)
        known = np.ones(len(stamps_ns), bool)
        halves = []
        for chain in (up, down):
            total = np.tile(np.eye(4), (len(stamps_ns), 1, 1))
            for child in chain:  # from the frame upwards
                pose, there = self._edges[child].at(stamps_ns, longest_gap_s)
                total = pose @ total
                known &= there
            halves.append(total)
        poses = np.linalg.inv(halves[1]) @ halves[0]
        poses[~known] = np.eye(4)
        return poses, known

    def span(self, child):
        """First and last stamp of a moving transform [ns], and the longest gap in between [s]."""
        stamps, _ = self._edges[child.lstrip('/')].table()
        gap = float(np.diff(stamps).max()) * 1e-9 if len(stamps) > 1 else 0.0
        return int(stamps[0]), int(stamps[-1]), gap

    def _chain(self, frame):
        chain = [frame]
        while chain[-1] in self._edges:
            chain.append(self._edges[chain[-1]].parent)
            if len(chain) > len(self._edges) + 1:
                raise TransformUnavailable(f'the frames above {frame!r} form a loop')
        return chain

    def _between(self, target, source):
        target, source = target.lstrip('/'), source.lstrip('/')
        for frame in (target, source):
            if frame not in self.frames:
                raise TransformUnavailable(f'no frame {frame!r} in the recording')
        up, down = self._chain(source), self._chain(target)
        common = next((frame for frame in up if frame in down), None)
        if common is None:
            raise TransformUnavailable(
                f'{source!r} and {target!r} are in two trees, below {up[-1]!r} and {down[-1]!r}'
            )
        return up[: up.index(common)], down[: down.index(common)]


class _Edge:
    def __init__(self, parent, static):
        self.parent, self.static = parent, static
        self._stamps, self._values, self._table = array('q'), array('d'), None

    def add(self, stamp_ns, values):
        if self.static:
            del self._stamps[:], self._values[:]
        self._stamps.append(stamp_ns)
        self._values.extend(values)
        self._table = None

    def table(self):
        """Stamps (N,) in order, each once, and rows x y z qx qy qz qw (N, 7) there."""
        if self._table is None:
            stamps, first = np.unique(np.asarray(self._stamps), return_index=True)
            self._table = stamps, np.asarray(self._values).reshape(-1, 7)[first]
        return self._table

    def at(self, stamps_ns, longest_gap_s):
        stamps, rows = self.table()
        count = len(stamps_ns)
        if self.static:
            return np.broadcast_to(poses_from(rows[:1]), (count, 4, 4)), np.ones(count, bool)
        if count:  # as matrices twice as large: only the part that is asked for
            first, last = np.searchsorted(stamps, (np.min(stamps_ns), np.max(stamps_ns)))
            part = slice(max(0, first - 1), last + 1)
            stamps, rows = stamps[part], rows[part]
        return interpolate_poses(stamps, poses_from(rows), stamps_ns, longest_gap_s)


def poses_from(values):
    """(N, 4, 4) of rows x y z qx qy qz qw (N, 7); quaternions of length 0 are the identity."""
    poses = np.tile(np.eye(4), (len(values), 1, 1))
    quaternions = values[:, 3:].copy()
    quaternions[np.linalg.norm(quaternions, axis=1) < 1e-9] = (0, 0, 0, 1)
    poses[:, :3, :3] = Rotation.from_quat(quaternions).as_matrix()
    poses[:, :3, 3] = values[:, :3]
    return poses


def interpolate_poses(stamps_ns, poses, at_ns, longest_gap_s):
    """
    Poses between known ones: straight line and shortest turn (slerp), never beyond the ends.

    :param stamps_ns: (N,) increasing; ``poses`` (N, 4, 4).
    :param at_ns: (M,).
    :param longest_gap_s: where the neighbours are farther apart nothing is known.
    :return: (M, 4, 4), and (M,) bool: known.
    """
    at_ns = np.asarray(at_ns, np.int64)
    out = np.tile(np.eye(4), (len(at_ns), 1, 1))
    if len(stamps_ns) == 0:
        return out, np.zeros(len(at_ns), bool)
    after = np.clip(np.searchsorted(stamps_ns, at_ns), 0, len(stamps_ns) - 1)
    exact = stamps_ns[after] == at_ns
    before = np.where(exact, after, np.maximum(after - 1, 0))
    gap = (stamps_ns[after] - stamps_ns[before]) * 1e-9
    known = exact | ((at_ns > stamps_ns[before]) & (at_ns < stamps_ns[after]))
    known &= gap <= longest_gap_s
    a, b, t = before[known], after[known], at_ns[known]
    span = np.maximum(stamps_ns[b] - stamps_ns[a], 1)
    share = (t - stamps_ns[a]) / span
    first, second = poses[a], poses[b]
    turn = Rotation.from_matrix(first[:, :3, :3].transpose(0, 2, 1) @ second[:, :3, :3])
    part = Rotation.from_rotvec(turn.as_rotvec() * share[:, None]).as_matrix()
    result = np.tile(np.eye(4), (len(a), 1, 1))
    if len(a):
        result[:, :3, :3] = first[:, :3, :3] @ part
        result[:, :3, 3] = first[:, :3, 3] + share[:, None] * (second[:, :3, 3] - first[:, :3, 3])
        out[known] = result
    return out, known
