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


def read_reference(source, seen):
    if source.reference is None:
        return None
    points = read_cloud(source.reference, source.reference_unit or 1.0)
    points = points[np.isfinite(points).all(1)]
    if len(points) < 100:
        raise FileError(f'{source.reference}: {len(points)} finite points are no reference')
    ratio = cloud_radius(points) / seen.radius
    low, high = _MILLIMETRES
    if source.reference_unit is None and (low < ratio < high or ratio < 1 / low):
        larger = ratio > 1
        unit, factor = ('millimetres', 0.001) if larger else ('another unit than metres', 1000)
        times = ratio if larger else 1 / ratio
        raise DlcError(
            f'{source.reference} is {times:.0f} times {"larger" if larger else "smaller"} than a '
            f'scan: it looks like {unit}; give --reference-unit {factor} (or 1, if it is right)'
        )
    return points


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
