"""From bags to pairs: each stage is skipped when its files are there already."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlc_ros.errors import DlcError
from dlc_ros.files import read_transform
from dlc_training.recordings.consistency import check_training_poses
from dlc_training.recordings.facts import about_body, result_rows, survey_rows, way
from dlc_training.recordings.files import read_arrays, write_arrays
from dlc_training.recordings.index import build_index
from dlc_training.recordings.keyframes import choose_keyframes, guess_keyframes
from dlc_training.recordings.labels import Labels
from dlc_training.recordings.map_building import build_map, cell_edge, find_stable
from dlc_training.recordings.measured import compare_measured
from dlc_training.recordings.pairs import write_pairs
from dlc_training.recordings.reference import (
    about_reference,
    check_size,
    read_reference,
    training_part,
)
from dlc_training.recordings.scans import ScanReader
from dlc_training.recordings.sources import Recording
from dlc_training.recordings.split import split
from dlc_training.recordings.survey import survey
from dlc_training.recordings.trajectory import Trajectory, check_trajectory, read_trajectory
from dlc_training.recordings.truth import Wishes, find_truth, known_truth

# A sensor that went at least so far [m] may see its own robot; to one that stands all is still.
_MOVED = 1.0
_FEWEST_SCANS = 12


@dataclass(frozen=True)
class Source:
    """
    What is learned from, as the user names it.

    :param bags: files and folders.
    :param topic: cloud topic; None for the only one.
    :param reference: map or model file; None builds a map from the recording.
    :param reference_unit: length of the unit of that file [m]; None: 1, and millimetres are
        refused. Any but a 1 that was given must make it a size that goes with the scans.
    :param wishes: :class:`~dlc_training.recordings.truth.Wishes`.
    :param judge_truth: file of measured sensor poses in the reference; '' for none.
    :param initial_pose: file of ``T_reference_sensor`` of the first cloud, or None.
    :param point_times: ``auto``, ``start``, ``end`` or ``off``.
    :param body_reach: the robot itself is not seen farther away than this [m].
    :param hold_out: ``auto``, ``time`` or ``place``; ``share`` of the scans.
    :param most_scans: kept of a recording.
    """

    bags: tuple
    topic: str | None = None
    reference: str | None = None
    reference_unit: float | None = None
    wishes: Wishes = Wishes()
    judge_truth: str = ''
    initial_pose: str | None = None
    point_times: str = 'auto'
    body_reach: float = 1.0
    hold_out: str = 'auto'
    share: float = 0.25
    most_scans: int = 3000


@dataclass(frozen=True)
class Prepared:
    """
    A recording made ready for training.

    :param index: :class:`~dlc_training.recordings.index.Index`.
    :param labels: :class:`~dlc_training.recordings.labels.Labelled`: poses and reference.
    :param split: :class:`~dlc_training.recordings.split.Split`.
    :param judged: (H,) numbers of held-out scans.
    :param kept: (K,) numbers of training scans; ``dropped``: those that disagreed.
    :param measured: :class:`~dlc_training.recordings.measured.Measured`, to judge by instead of
        the labels; None without such poses.
    :param folder: of the pairs, for ``data.recordings``.
    :param median_range: of the scans [m].
    :param facts: rows (what, value) for the report; ``notes``: sentences.
    """

    index: object
    labels: object
    split: object
    judged: np.ndarray
    kept: np.ndarray
    dropped: np.ndarray
    measured: object
    folder: Path
    median_range: float
    facts: list
    notes: list


@dataclass(frozen=True)
class Plan:
    """
    What would be used.

    :param rows: (what, value) for people; ``notes``: sentences.
    :param train: number of training scans; ``held_out``: of held-out ones.
    :param odometry: clouds that LiDAR odometry would have to go through.
    :param placed: scans that would have to be placed in the reference.
    """

    rows: list
    notes: list
    train: int
    held_out: int
    odometry: int
    placed: int


def plan(source, quiet=False):
    """
    What would be used: reads the recording once and writes nothing.

    :param source: :class:`Source`.
    :return: :class:`Plan`.
    """
    recording, seen, measured, reference = _surveyed(source, quiet)
    trajectory, reasons = known_truth(seen, source.wishes)
    if trajectory is None:
        truth, by = 'none: LiDAR odometry (kiss-icp) would be run', source.hold_out
        kept = guess_keyframes(seen.stamps_ns, source.most_scans)
        train = round((1 - source.share) * kept)
        held, text = (
            kept - train,
            f'about {kept} of {len(seen.stamps_ns)}, known when odometry has run',
        )
    else:
        poses, known = trajectory.at(seen.stamps_ns)
        chosen, still = choose_keyframes(
            seen.stamps_ns, poses, known, seen.ranges[1], source.most_scans
        )
        _refuse_few(source, chosen)
        parts = split(
            seen.stamps_ns[chosen],
            poses[chosen, :3, 3],
            seen.ranges[1],
            source.hold_out,
            source.share,
        )
        truth, by = trajectory.provenance, parts.description
        truth += '; the sensor stands still' if still else f'; {trajectory.length:.1f} m of way'
        train, held = int(parts.train.sum()), int(parts.held_out.sum())
        kept, text = len(chosen), f'{len(chosen)} of {len(seen.stamps_ns)}'
    if reference is None:  # every other scan makes the map
        train, held = train // 2, held // 2
    rows = survey_rows(recording, seen)
    rows += [
        ('truth', truth),
        ('reference', about_reference(source, reference)),
        ('scans that would be kept', text),
        ('split', f'{by}: {train} scans to train on, {held} held out'),
    ]
    if measured is not None:
        share = measured.at(seen.stamps_ns)[1].mean()
        text = f'{measured.provenance}, known for {100 * share:.1f} % of the clouds'
        rows.append(('measured poses, for judging alone', text))
    return Plan(
        rows=rows,
        notes=recording.notes + seen.notes + reasons,
        train=train,
        held_out=held,
        odometry=len(seen.stamps_ns) if trajectory is None else 0,
        placed=kept if reference is not None and (trajectory is None or trajectory.drifts) else 0,
    )


def prepare(source, out, weights, quiet=False):
    """
    Read a recording and make pairs of it, or find that this was done.

    :param source: :class:`Source`.
    :param out: folder of the run.
    :param weights: present weights file; None for those of the package.
    :return: :class:`Prepared`.
    :raises DlcError: what cannot be used, and why.
    """
    out = Path(out)
    recording, seen, measured, reference = _surveyed(source, quiet)
    trajectory, notes = find_truth(seen, recording, source.wishes, out / 'index', quiet)
    body = seen.body.body() if trajectory.length > _MOVED else None
    index, still = _indexed(source, out, recording, seen, trajectory, body, quiet)
    labels = Labels(source, out, weights, seen, index, trajectory, quiet)
    found = labels.make(trajectory.at(index.stamps_ns)[0], reference)
    middle = seen.ranges[1]
    parts = split(
        index.stamps_ns, found.poses[:, :3, 3], middle, source.hold_out, source.share, found.known
    )
    # A scan that the map was made of is no other cloud of the place.
    numbers = np.flatnonzero(parts.train & ~found.in_map)
    judged = np.flatnonzero(parts.held_out & ~found.in_map)
    if min(len(numbers), len(judged)) < 2:
        raise DlcError(
            f'{source.bags[0]}: {len(numbers)} scans to train on and {len(judged)} to judge are '
            'too few; record longer, or change --hold-out and --share'
        )
    if measured is not None:
        measured = compare_measured(measured, found, index.stamps_ns, parts, judged, middle)
    checked = _checked(out, index, found.poses, numbers, found.reference, middle, quiet)
    kept, dropped = numbers[checked['kept']], numbers[~checked['kept']]
    if len(kept) < 2:
        raise DlcError(
            f'{source.bags[0]}: {len(dropped)} of {len(numbers)} training poses disagree with the '
            f'clouds (median {np.median(checked["shift"]):.2f} m); the poses are not those of '
            'this sensor in this reference'
        )
    seen_in_training = found.reference
    if reference is None:  # not the map, which holds scans of the held-out part
        mapped = np.flatnonzero(parts.train & found.in_map)
        seen_in_training = build_map(index, found.poses, mapped, middle)
    write_pairs(
        out / 'pairs', index, found.poses, kept,
        training_part(seen_in_training, found.poses, parts, found.known),
        find_stable(index, found.poses, numbers, middle), parts.border,
    )  # fmt: skip
    prepared = Prepared(
        index=index, labels=found, split=parts, judged=judged, kept=kept, dropped=dropped,
        measured=measured, folder=out / 'pairs', median_range=middle,
        facts=[], notes=recording.notes + seen.notes + notes[1:],
    )  # fmt: skip
    residual = 1e3 * float(np.median(checked['residual'][checked['kept']]))
    prepared.facts.extend([
        *survey_rows(recording, seen),
        ('truth', notes[0]),
        ('way of the sensor', way(found.poses[found.known], still)),
        ('reference', about_reference(source, found.reference)),
        ('the robot itself', about_body(body, trajectory.length > _MOVED)),
        *result_rows(prepared, len(seen.stamps_ns), residual),
        *([] if measured is None else [measured.fact]),
    ])  # fmt: skip
    return prepared


def _surveyed(source, quiet):
    """The recording, its survey; poses measured for judging alone and the reference, or None."""
    # All files that are named, before a recording is read for long.
    for path in filter(None, (source.wishes.trajectory, source.judge_truth)):
        check_trajectory(path)
    if source.initial_pose is not None:
        read_transform(source.initial_pose)
    reference = read_reference(source)
    recording = Recording(source.bags)
    seen = survey(recording, source.topic, source.body_reach, source.point_times, quiet)
    check_size(source, reference, seen)
    if not source.judge_truth:
        return recording, seen, None, reference
    poses = read_trajectory(source.judge_truth, seen.stamps_ns)
    measured = Trajectory(*poses, 'reference', source.judge_truth, False)
    return recording, seen, measured, reference


def _indexed(source, out, recording, seen, trajectory, body, quiet):
    """The index of the scans that are worth keeping, and whether the sensor stands still."""
    poses, known = trajectory.at(seen.stamps_ns)
    chosen, still = choose_keyframes(
        seen.stamps_ns, poses, known, seen.ranges[1], source.most_scans
    )
    _refuse_few(source, chosen)
    if seen.timing is not None:
        trajectory = trajectory.within(seen.stamps_ns[chosen], seen.timing.span)
    reader = ScanReader(
        timing=seen.timing, trajectory=trajectory, body=body,
        nearest=min(0.05, 0.1 * seen.ranges[0]), voxel=0.3 * cell_edge(seen.ranges[1]),
    )  # fmt: skip
    return build_index(out / 'index', recording, seen, reader, chosen, quiet), still


def _checked(out, index, poses, numbers, reference, median_range, quiet):
    key = hashlib.sha256(poses[numbers].tobytes() + reference.tobytes()).hexdigest()
    path = Path(out) / 'index' / 'consistency.npz'
    found = read_arrays(path)
    if found is None or str(found['key']) != key:
        checked = check_training_poses(index, poses, numbers, reference, median_range, quiet)
        write_arrays(path, key=key, **vars(checked))
        found = read_arrays(path)
    return found


def _refuse_few(source, chosen):
    if len(chosen) < _FEWEST_SCANS:
        raise DlcError(
            f'{source.bags[0]}: {len(chosen)} scans with a pose are worth keeping, at least '
            f'{_FEWEST_SCANS} are needed; record longer or drive farther'
        )
