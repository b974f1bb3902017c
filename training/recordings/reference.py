"""The reference of a recording: read, checked for its unit, and its training part."""

from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from dlc_ros.errors import DlcError, FileError
from dlc_ros.files import read_cloud
from dlc_ros.registration.cloud import LocalFrame, cloud_radius, voxel_downsample

# A reference so many times as large as a scan is in millimetres, not a large map.
_MILLIMETRES = 300.0, 30_000.0
# Points of a reference that are kept for training.
_REFERENCE_POINTS = 150_000


def read_reference(source):
    """
    The points of a recording's reference, before the recording itself is read for long.

    :param source: :class:`~dlc_training.recordings.preparation.Source`.
    :return: (N, 3) finite float64 [m]; None without a reference.
    :raises FileError: the file cannot be read, or holds too few finite points.
    """
    if source.reference is None:
        return None
    points = read_cloud(source.reference, source.reference_unit or 1.0)
    points = points[np.isfinite(points).all(1)]
    if len(points) < 100:
        raise FileError(f'{source.reference}: {len(points)} finite points are no reference')
    return points


def check_size(source, points, seen):
    """
    Refuse a reference of a size that its unit hardly gives it beside the scans.

    A unit of 1 that was given is believed: so a reference that is right can always be used.

    :param points: (N, 3) of :func:`read_reference` [m]; None without a reference.
    :param seen: :class:`~dlc_training.recordings.survey.Survey`.
    :raises DlcError: with the unit to give instead.
    """
    unit = source.reference_unit
    if points is None or unit == 1.0:
        return
    ratio = cloud_radius(points) / seen.radius
    low, high = _MILLIMETRES
    if 1 / low <= ratio <= low or (unit is None and ratio >= high):
        return
    larger = ratio > 1
    times = ratio if larger else 1 / ratio
    size = f'{times:.0f} times {"larger" if larger else "smaller"} than a scan'
    if unit is not None:
        raise DlcError(
            f'{source.reference} is {size} with --reference-unit {unit:g}; give the length of its '
            'unit in metres (if it is right, convert the file to metres and give 1)'
        )
    looks, factor = ('millimetres', 0.001) if larger else ('another unit than metres', 1000)
    raise DlcError(
        f'{source.reference} is {size}: it looks like {looks}; give --reference-unit {factor} '
        '(or 1, if it is right)'
    )


def training_part(reference, poses, parts, labelled):
    """
    The points of a reference that training may see.

    By place, those that lie nearer to a training scan than to any other, and not in the held-out
    place, into which training scans look as well.
    """
    if parts.by == 'place':
        reference = reference[parts.border.before(reference)]
        _, nearest = cKDTree(poses[labelled, :3, 3]).query(reference)
        reference = reference[parts.train[labelled][nearest]]
    # In step with the voxels that the map itself was thinned in, points would be left in pairs.
    edge, frame = 0.02, LocalFrame.of(reference)
    local = thinner = frame.localize(reference)
    while len(thinner) > _REFERENCE_POINTS:
        thinner = voxel_downsample(local, edge)
        edge *= 1.3
    return thinner + frame.origin


def about_reference(source, reference):
    if source.reference is None:
        text = 'a map built from the recording (map.ply), of every other scan'
        return text if reference is None else f'{text}, {len(reference)} points'
    return f'{Path(source.reference).name}, {len(reference)} points'
