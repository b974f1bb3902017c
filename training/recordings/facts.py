"""What is known of a recording, in rows for people: (what, value)."""

import numpy as np

from dlc_training.recordings.trajectory import way_length


def survey_rows(recording, seen):
    topics = '; '.join(
        f'{t.name} [{t.type_name.split("/")[-1]}] {t.count}' for t in seen.topics.values()
    )
    return [
        (
            'recording',
            f'{", ".join(p.name for p in recording.paths)}, '
            f'{recording.size / 1e6:.0f} MB, {seen.duration_s:.1f} s',
        ),
        ('topics', topics),
        (
            'clouds',
            f'{seen.cloud_topic} in frame {seen.frame!r}: {len(seen.stamps_ns)}, every '
            f'{seen.period_s:.3f} s, {seen.points} points, ranges {seen.ranges[0]:.1f} to '
            f'{seen.ranges[2]:.1f} m',
        ),
        ('time per point', seen.timing_text),
    ]


def way(poses, still):
    places = poses[:, :3, 3]
    spread = np.linalg.norm(places - np.median(places, 0), axis=1)
    if still:
        return f'the sensor stands still: within {1e3 * np.quantile(spread, 0.95):.1f} mm (95 %)'
    return f'{way_length(places):.1f} m'


def about_body(body, moved):
    """What was found of the robot in its own clouds."""
    if not moved:
        return 'not looked for: the sensor stands still'
    return 'not seen' if body is None else f'{len(body.cells)} cells of 6 cm are cropped'


def result_rows(prepared, clouds, residual_mm):
    """Rows about what was kept of ``clouds`` clouds, and how it is used."""
    index, labels = prepared.index, prepared.labels
    train = len(prepared.kept) + len(prepared.dropped)
    return [
        ('labels', labels.text),
        (
            'scans kept',
            f'{len(index)} of {clouds}; {index.facts["unusable"]} unusable, '
            f'{int((~labels.known).sum())} without a pose',
        ),
        (
            'split',
            f'{prepared.split.description}; {train} to train on, {len(prepared.judged)} held out',
        ),
        (
            'training poses that disagree with their clouds',
            f'{len(prepared.dropped)} of {train} dropped; residual after ICP '
            f'{residual_mm:.0f} mm (median)',
        ),
    ]
