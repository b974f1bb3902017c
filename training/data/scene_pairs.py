"""Pairs of clouds of one place, as depth cameras and LiDARs see it, with things moved between."""

import numpy as np
from scipy.spatial import cKDTree

from dlc_training.data.blocks import turn
from dlc_training.data.interiors import make_corridor, make_hall, make_interior
from dlc_training.data.outdoors import make_outdoors
from dlc_training.data.scene import Scene
from dlc_training.data.sensors import DepthCamera, SolidStateLidar, SpinningLidar, looking_at

# Rays of one cloud: the network reads 1024 of its points.
_RAYS = 2000
_LEAST_OVERLAP = 0.3
_DRAWS = 6


def fragment_pair(rng):
    """Two fragments of a furnished room, each fused from nearby views of a depth camera."""
    place = make_interior(rng)
    before, after = changed(rng, place)
    camera = _camera(rng, int(rng.integers(2, 4)))
    first = _path(rng, place, camera[1])
    target = fused(rng, Scene(before), camera[0], first)
    views = _overlapping(rng, place, camera, first, target)
    source = fused(rng, Scene(after), camera[0], views)
    return source, target


def room_pair(rng):
    """A map of a room or hall from several standpoints, and one scan or image taken in it."""
    place = make_interior(rng) if rng.uniform() < 0.7 else make_hall(rng)
    before, after = changed(rng, place)
    lidar = _lidar(rng, place)
    stands = [_stand(rng, place) for _ in range(int(rng.integers(1, 4)))]
    target = _surveyed(rng, Scene(before), lidar, stands)
    if rng.uniform() < 0.5:
        camera = _camera(rng, 1)
        views = _overlapping(rng, place, camera, None, target)
        return fused(rng, Scene(after), camera[0], views), target
    near = stands[0].copy()
    near[:2, 3] += rng.normal(size=2) * np.minimum(0.25 * place.half[:2], 1.5)
    near[:3, :3] = near[:3, :3] @ turn(rng.uniform(0, 2 * np.pi))
    return _surveyed(rng, Scene(after), lidar, [near]), target


def scan_pair(rng):
    """A scan of a LiDAR outdoors, in a hall or corridor, and another scan or a map of several."""
    style = rng.uniform()
    place = (
        make_outdoors(rng) if style < 0.55 else (make_hall if style < 0.8 else make_corridor)(rng)
    )
    before, after = changed(rng, place)
    lidar = _lidar(rng, place)
    stand = _stand(rng, place)
    stands, away = [stand], min(0.2 * place.half[0], 5.0)
    for _ in range(int(rng.integers(0, 4))):
        stands.append(stand.copy())
        stands[-1][0, 3] += rng.normal() * away
    target = _surveyed(rng, Scene(before), lidar, stands)
    if rng.uniform() < 0.3:
        lidar = _lidar(rng, place)
    near = stand.copy()
    near[:2, 3] += rng.normal(size=2) * (away, 0.1 * min(place.half[1], 10.0))
    near[:3, :3] = turn(rng.uniform(0, 2 * np.pi)) @ near[:3, :3]
    return _surveyed(rng, Scene(after), lidar, [near]), target


def changed(rng, place):
    """
    Solids of a place at two times.

    Nothing moves in a third of the draws; else up to 80 % of what can be moved is missing at one
    of the times or stands elsewhere.

    :param place: :class:`dlc_training.data.interiors.Place`.
    :return: two tuples of solids.
    """
    rate = 0.0 if rng.uniform() < 1 / 3 else rng.uniform(0.1, 0.8)
    before, after = list(place.fixed), list(place.fixed)
    for solid in place.movable:
        style = rng.uniform() / rate if rate else 1.0
        if style >= 1 or style < 0.35:
            before.append(solid)
        if style >= 1 or 0.35 <= style < 0.7:
            after.append(solid)
        elif style >= 0.7:
            before.append(solid)
            after.append(_pushed(rng, solid, place.half))
    return tuple(before), tuple(after)


def _pushed(rng, solid, half):
    """The solid shifted on the floor or board it stands on, and turned about itself."""
    centre = solid.sphere[0] * (1, 1, 0)
    shift = np.append(rng.normal(size=2) * np.minimum(0.25 * half[:2], 1.5), 0.0)
    spin = turn(rng.normal() * 0.8)
    return solid.placed(spin, centre - spin @ centre + shift)


def overlap(source, target, radius):
    """Share of source points (N, 3) with a target point (M, 3) within ``radius``, both aligned."""
    distance, _ = cKDTree(target).query(source, distance_upper_bound=radius)
    return float(np.isfinite(distance).mean())


# ----------------------------------------------------------------------------- depth cameras


def _camera(rng, views):
    """A depth camera whose ``views`` images together have about ``_RAYS`` pixels."""
    width = int(np.sqrt(_RAYS / views * 4 / 3))
    return DepthCamera(
        width=width,
        height=int(0.75 * width),
        field_deg=rng.uniform(58, 90),
        near=rng.uniform(0.2, 0.5),
        far=rng.uniform(2.8, 5.0),
        # What is left of it when the images of a path are averaged.
        noise=0.003 * rng.uniform(0.1, 1) ** 2,
        disparity_step=rng.choice((0.0, 0.002, 0.004)),
        # The grid is several times coarser than a real one, so that fewer pixels touch an edge.
        bleeding=rng.uniform(0.0, 0.12),
        dropout=rng.uniform(0.0, 0.15),
        grazing_deg=rng.uniform(3, 15),
    ), views


def _path(rng, place, count, aim=None):
    """Poses of a camera carried through a place, looking about the same way all along."""
    half = place.half
    eye = np.append(rng.uniform(-0.85, 0.85, 2) * half[:2], rng.uniform(0.8, 1.8))
    if aim is None:  # things are worth a look, walls less so
        seen = place.movable if len(place.movable) and rng.uniform() < 0.6 else place.fixed
        aim = seen[rng.integers(len(seen))].sphere[0]
        aim = np.clip(aim, -half, half * (1, 1, 1.2)) + rng.normal(size=3) * 0.2
    towards = aim - eye
    if np.linalg.norm(towards[:2]) < 1.0:  # too near: step back
        back = rng.normal(size=2)
        eye[:2] = np.clip(aim[:2] + 1.8 * back / np.linalg.norm(back), -half[:2], half[:2]) * 0.9
    poses = []
    step, drift = rng.normal(size=3) * (0.25, 0.25, 0.08), rng.normal(size=3) * (0.4, 0.4, 0.15)
    roll = rng.normal() * 0.1
    for k in range(count):
        poses.append(looking_at(eye + k * step, aim + k * drift, roll))
    return poses


def _overlapping(rng, place, camera, first, target):
    """A path that sees at least the least overlap of the target's points, if one is found."""
    if not len(target):  # nothing was seen from inside a cupboard: no pair comes of it
        return _path(rng, place, camera[1])
    best, most = None, -1.0
    for _ in range(_DRAWS):
        aim = target[rng.integers(len(target))] + rng.normal(size=3) * 0.2
        poses = _path(rng, place, camera[1], aim)
        if first is not None:  # a person who goes on, not one who comes through the wall
            eye = poses[0][:3, 3] + rng.uniform(0.3, 1.0) * (first[0][:3, 3] - poses[0][:3, 3])
            poses = [
                looking_at(eye + p[:3, 3] - poses[0][:3, 3], p[:3, 3] + p[:3, 2]) for p in poses
            ]
        share = np.mean(_within(camera[0], poses, target))
        if share > most:
            best, most = poses, share
        if share > _LEAST_OVERLAP + 0.15:
            break
    return best


def _within(camera, poses, points):
    """Which points lie in the frustum of a camera at any of the poses."""
    seen = np.zeros(len(points), bool)
    wide = np.tan(np.radians(camera.field_deg) / 2)
    for pose in poses:
        x, y, z = ((points - pose[:3, 3]) @ pose[:3, :3]).T
        inside = (abs(x) < wide * z) & (abs(y) < wide * z * camera.height / camera.width)
        seen |= inside & (z > camera.near) & (z < camera.far)
    return seen


def fused(rng, scene, camera, poses):
    """
    One cloud (N, 3) in the scene's frame from images at several poses.

    The poses that are believed are a little off, as those of visual odometry are, so that
    surfaces come out doubled and bent rather than rough.
    """
    slip = rng.uniform(0, 0.012)
    clouds = []
    for k, pose in enumerate(poses):
        points = camera.scan(scene, pose, rng).points @ pose[:3, :3].T
        if k:
            tilt = rng.normal(size=3) * slip * 0.5
            points = points + np.cross(tilt, points) + rng.normal(size=3) * slip
        clouds.append(points + pose[:3, 3])
    return _thinned(rng, np.concatenate(clouds), rng.uniform(0.02, 0.09))


# ---------------------------------------------------------------------------------- LiDARs


def _lidar(rng, place):
    """A LiDAR that fits the size of a place."""
    large = place.half[0] > 14
    shared = {
        'near': 0.3,
        'far': rng.uniform(40, 120) if large else rng.uniform(15, 60),
        'noise': rng.uniform(0.003, 0.04),
        'reach': rng.uniform(40, 150),
        'dropout': rng.uniform(0.0, 0.1),
    }
    if rng.uniform() < 0.2:
        return SolidStateLidar(field_deg=rng.uniform(60, 110), pulses=20_000, **shared)
    rings = int(rng.choice((16, 32, 64, 128)))
    low, high = {16: (-15, 15), 32: (-25, 15), 64: (-24, 4), 128: (-45, 45)}[rings]
    if not large:
        high = max(high, 15)
    return SpinningLidar(rings=rings, columns=1024, lowest_deg=low, highest_deg=high, **shared)


def _stand(rng, place):
    """Pose of a LiDAR on a mast in a place."""
    pose = np.eye(4)
    yaw = rng.choice((0, np.pi)) + rng.normal() * 0.5
    pose[:3, :3] = turn(yaw, rng.normal() * 0.02)
    large = place.half[0] > 14
    reach = place.half[:2] * ((0.5, 0.25) if large else (0.8, 0.8))
    pose[:3, 3] = (
        *(rng.uniform(-1, 1, 2) * reach),
        rng.uniform(1.2, 2.2) if large else rng.uniform(0.3, 1.6),
    )
    return pose


def _surveyed(rng, scene, lidar, stands):
    """Scans at several poses as one cloud (N, 3) in the scene's frame, thinned."""
    pulses = len(lidar.rays()[1])
    # A single scan is often used raw: its density says where the sensor stood.
    share = min(_RAYS / len(stands) / pulses, 1.0)
    clouds = []
    for pose in stands:
        points = lidar.scan(scene, pose, rng, share=share).points
        clouds.append(points @ pose[:3, :3].T + pose[:3, 3])
    cloud = np.concatenate(clouds)
    if len(cloud) == 0 or rng.uniform() < 0.5 * (len(stands) == 1):
        return cloud
    spread = np.sqrt(((cloud - cloud.mean(0)) ** 2).sum(1).mean())
    return _thinned(rng, cloud, spread * rng.uniform(0.01, 0.06))


def _thinned(rng, points, edge):
    """One point for each voxel of this edge: the mean, or any of its points."""
    if len(points) == 0:
        return points
    points = points[rng.permutation(len(points))]
    cells = np.floor(points / edge).astype(np.int64)
    cells -= cells.min(0)
    extent = cells.max(0) + 1
    keys = (cells[:, 0] * extent[1] + cells[:, 1]) * extent[2] + cells[:, 2]
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    if rng.uniform() < 0.5:
        return points[first]
    count = np.bincount(inverse)
    return np.stack([np.bincount(inverse, points[:, k]) / count for k in range(3)], 1)
