"""Where the poses of the sensor come from: what the recording has, best first."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from dlc_ros.errors import DlcError, TransformUnavailable
from dlc_training.recordings.odometry import lidar_odometry
from dlc_training.recordings.trajectory import LONGEST_GAP_S, Trajectory, read_trajectory

# A source that knows the pose of fewer clouds is not used.
_LEAST_KNOWN = 0.5
_MAP_FRAMES, _ODOMETRY_FRAMES = ('map',), ('odom',)
# Clouds whose poses are looked up together: a lookup takes ten times the memory of its poses.
_BLOCK = 4096
# Said of poses that are exact over short ways only.
_DRIFTS = '; taken for odometry, which drifts'


@dataclass(frozen=True)
class Wishes:
    """
    What the user says about truth.

    :param trajectory: TUM or KITTI file; '' for none. Whoever names one means it.
    :param trajectory_frame: frame whose poses the file gives; '' is the sensor's own.
    :param fixed_frame: frame of ``/tf`` to take poses in; '' looks for map, then odom, then the
        root. Poses in any but a map, ``robot1/map`` among these, are taken for odometry.
    """

    trajectory: str = ''
    trajectory_frame: str = ''
    fixed_frame: str = ''


def find_truth(survey, recording, wishes=None, folder=None, quiet=False):
    """
    Sensor poses of a recording.

    A trajectory file, which goes first because somebody named it; else the chain of transforms
    from map or odom; else odometry or pose topics; else LiDAR odometry.

    :param survey: :class:`~dlc_training.recordings.survey.Survey`.
    :param recording: :class:`~dlc_training.recordings.sources.Recording`, read again only for
        LiDAR odometry.
    :param wishes: :class:`Wishes`.
    :param folder: where LiDAR odometry keeps what it has so far.
    :return: (:class:`Trajectory`, list of sentences: what was found, what was not used and why).
    :raises DlcError: nothing gives poses, or what the user named does not.
    """
    found, reasons = known_truth(survey, wishes)
    if found is None:
        found = lidar_odometry(recording, survey, folder, quiet)
    return found, [found.provenance, *reasons]


def known_truth(survey, wishes=None):
    """As :func:`find_truth`, but None where LiDAR odometry would have to be run."""
    wishes = wishes or Wishes()
    if wishes.trajectory:
        # Before what the recording has itself: nobody names a file to have it ignored, and a
        # surveyed trajectory is named because /tf holds the poses of something worse.
        named = _from_file(survey, wishes)
        found, _ = known_truth(survey)
        over = [f'no poses from {found.provenance}: --trajectory goes first'] if found else []
        return named, over
    reasons = []
    for find in (_from_transforms, _from_topics):
        found = find(survey, wishes, reasons)
        if found is not None:
            return found, reasons
    return None, reasons


def _from_transforms(survey, wishes, reasons):
    log, sensor = survey.transforms, survey.frame
    if sensor not in log.frames:
        reasons.append(f'no poses from /tf: it has no frame {sensor!r}')
        return None
    if wishes.fixed_frame:
        candidates = [wishes.fixed_frame]
    else:
        candidates = dict.fromkeys((*_MAP_FRAMES, *_ODOMETRY_FRAMES, log.root(sensor)))
    for frame in candidates:
        found = _chain(survey, frame, reasons)
        if found is not None:
            return found
        if wishes.fixed_frame:
            raise DlcError(f'--fixed-frame {frame}: {reasons[-1]}')
    return None


def _drifts(frame):
    """Whether poses in a frame are odometry's: in all frames but a map's, of any namespace."""
    return frame.rsplit('/')[-1] not in _MAP_FRAMES


def _chain(survey, frame, reasons):
    log, sensor = survey.transforms, survey.frame
    try:
        moving = log.moving(frame, sensor)
        find = partial(_in_blocks, log, frame, sensor)
        poses, known = find(survey.stamps_ns)
    except TransformUnavailable as error:
        reasons.append(f'no poses from /tf {frame} -> {sensor}: {error}')
        return None
    if not moving:
        reasons.append(f'no poses from /tf {frame} -> {sensor}: all transforms are static')
        return None
    share = float(known.mean())
    if share < _LEAST_KNOWN:
        gaps = '; '.join(_span(log, child, survey) for child in moving)
        reasons.append(
            f'no poses from /tf {frame} -> {sensor}: known for {100 * share:.0f} % of the clouds '
            f'({gaps})'
        )
        return None
    if share < 1:
        reasons.append(
            f'{int((~known).sum())} clouds are left out: /tf {frame} -> {sensor} has a gap there'
        )
    text = f'/tf {frame} -> {sensor}, interpolated; known for {100 * share:.1f} % of the clouds'
    drifts = _drifts(frame)
    text += _DRIFTS if drifts else ''
    stamps = survey.stamps_ns[known]
    return Trajectory(stamps, poses[known], frame.lstrip('/'), text, drifts, between=find)


def _in_blocks(log, frame, sensor, stamps_ns):
    """Poses (N, 4, 4) at stamps (N,) and (N,) bool: known, of a log of transforms."""
    parts = np.array_split(stamps_ns, max(1, -(-len(stamps_ns) // _BLOCK)))
    poses, known = zip(*(log.poses(frame, sensor, p, LONGEST_GAP_S) for p in parts), strict=True)
    return np.concatenate(poses), np.concatenate(known)


def _span(log, child, survey):
    first, last, gap = log.span(child)
    start = survey.stamps_ns[0]
    return (
        f'{child!r} is there from {(first - start) * 1e-9:.1f} to {(last - start) * 1e-9:.1f} s '
        f'of {survey.duration_s:.1f} s, longest gap {gap:.1f} s'
    )


def _from_topics(survey, _wishes, reasons):
    for log in survey.poses:
        child = log.child or survey.frame
        if not log.child and len(survey.transforms.frames) > 1:
            reasons.append(
                f'no poses from {log.topic}: its type {log.type_name} does not say which frame it '
                'is the pose of; give it as --trajectory with --trajectory-frame'
            )
            continue
        if not len(log.stamps_ns):
            reasons.append(f'no poses from {log.topic}: none of them is a number')
            continue
        stamps, poses = log.table()
        mount = _mount(survey, child, reasons, log.topic)
        if mount is None:
            continue
        drifts = _drifts(log.frame)
        text = f'{log.topic} [{log.type_name}], {log.frame} -> {child}{_DRIFTS if drifts else ""}'
        found = Trajectory(stamps, poses @ mount, log.frame or 'start', text, drifts)
        share = float(found.at(survey.stamps_ns)[1].mean())
        if share < _LEAST_KNOWN:
            known_for = f'known for {100 * share:.0f} % of the clouds'
            reasons.append(f'no poses from {log.topic}: {known_for}')
            continue
        return found
    return None


def _mount(survey, child, reasons, what):
    """``T_child_sensor`` (4, 4) if it is the same frame or a static transform, else None."""
    if child == survey.frame:
        return np.eye(4)
    try:
        if survey.transforms.moving(child, survey.frame):
            reasons.append(f'no poses from {what}: {child} -> {survey.frame} moves')
            return None
        return survey.transforms.poses(child, survey.frame, survey.stamps_ns[:1], 1.0)[0][0]
    except TransformUnavailable as error:
        reasons.append(f'no poses from {what}: the sensor is not known in {child!r}: {error}')
        return None


def _from_file(survey, wishes):
    stamps, poses = read_trajectory(wishes.trajectory, survey.stamps_ns)
    child = wishes.trajectory_frame or survey.frame
    reasons = []
    mount = _mount(survey, child, reasons, wishes.trajectory)
    if mount is None:
        raise DlcError(
            f'{reasons[-1]}; give --trajectory-frame another frame, or poses of the sensor'
        )
    found = Trajectory(
        stamps, poses @ mount, 'trajectory file', f'trajectory file {wishes.trajectory}', False,
        measured=True, z_is_up=False,
    )  # fmt: skip
    share = float(found.at(survey.stamps_ns)[1].mean())
    if share < _LEAST_KNOWN:
        raise DlcError(
            f'{wishes.trajectory}: gives the pose of {100 * share:.0f} % of the clouds only; '
            'is it of this recording, are its stamps those of the headers?'
        )
    return found
