"""A robot drives through a generated building: what it records, and the truth apart."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dlc_ros.errors import FileError
from dlc_ros.files import write_cloud
from dlc_ros.node.bag import Recorder
from dlc_ros.node.convert import stamp_from_ns
from dlc_ros.node.definitions import build_message, distro_typestore
from dlc_ros.registration.cloud import voxel_downsample
from dlc_ros.registration.se3 import inverse, make_transform, quaternion_from_matrix
from dlc_training.recordings.building import make_building
from dlc_training.recordings.files import unwritable
from dlc_training.recordings.lidar import POINT, Lidar, Mesh, body_points, planar_pose

CLOUDS = '/lidar/points'
_START_NS = 1_700_000_000 * 10**9
_SPEED, _TURN_RATE = 0.8, 1.2  # [m/s], [rad/s]
_DRIVE_STEP = 0.01
MOUNT = make_transform(translation=[0.1, 0.0, 0.7])  # T_base_lidar
# Odometry: a wheel that is measured 1.2 % too large, and a gyro whose bias wanders.
_SCALE_ERROR, _BIAS_WALK = 0.012, 0.0006
_FIELDS = (
    ('x', 0, 7),
    ('y', 4, 7),
    ('z', 8, 7),
    ('intensity', 12, 7),
    ('ring', 16, 4),
    ('time', 18, 7),
)
_MAP_VOXEL = 0.06


@dataclass(frozen=True)
class Drive:
    """Where the robot was: stamps (N,) [ns], (N, 4, 4) ``T_map_base``, and ``T_odom_base``."""

    stamps_ns: np.ndarray
    poses: np.ndarray
    odometry: np.ndarray


def simulate(folder, seed=0, rooms=8, truth='odometry', laps=1, people=3, lidar=None, quiet=False):
    """
    Write a recording and, beside it, what only a judge may see.

    ``folder/recording`` is a rosbag2 (mcap) with ``/lidar/points``, ``/tf_static`` and, unless
    ``truth`` is ``none``, ``/tf``; ``folder/reference.ply`` a map of the building, made by
    another sensor on another pass; ``folder/truth.tum`` the lidar's true poses in it.

    :param seed: of building, drive, noise and people.
    :param rooms: of the building, an even number.
    :param truth: what ``/tf`` holds: ``map`` (map -> odom -> base_link, exact), ``odometry``
        (drifting odom -> base_link alone) or ``none``.
    :param laps: how often the robot drives its round.
    :param people: how many walk about.
    :param lidar: :class:`~dlc_training.recordings.lidar.Lidar`; None for 16 beams at 10 Hz.
    :raises FileError: the folder cannot be written or holds a recording.
    """
    folder = Path(folder)
    building = make_building(seed, rooms)
    rng = np.random.default_rng([seed, 31])
    mesh = Mesh(building.vertices, building.triangles)
    drive = _drive(building.way, laps, rng)
    lidar = lidar or Lidar()
    period = round(lidar.period * 1e9)
    starts = np.arange(drive.stamps_ns[0], drive.stamps_ns[-1] - period, period)
    recording = folder / 'recording'
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(unwritable(folder, error)) from None
    store = distro_typestore()
    with Recorder(recording, store) as recorder:
        _write_frames(recorder, store, drive, truth)
        for start in tqdm(starts, 'driving', unit='scan', disable=quiet or None, file=sys.stderr):
            columns = start + np.round(lidar.times * 1e9).astype(np.int64)
            poses = _poses_at(drive, columns) @ MOUNT
            walking = _people_at(building.way, people, (start - starts[0]) * 1e-9, poses[0])
            points = lidar.scan(mesh, poses, walking, rng)
            points = np.concatenate([points, body_points(lidar, rng)])
            recorder.write(CLOUDS, _cloud_message(store, start, points), int(start) + period)
    _write_tum(folder / 'truth.tum', starts, _poses_at(drive, starts) @ MOUNT)
    write_cloud(folder / 'reference.ply', _survey_map(building, mesh, rng))
    return recording


def _drive(way, laps, rng):
    """Turn on the spot, drive straight, corner by corner, along the way and back again."""
    corners = np.concatenate([way if lap % 2 == 0 else way[::-1] for lap in range(laps)])
    x, y = corners[0]
    yaw = float(np.arctan2(*(corners[1] - corners[0])[::-1]))
    states = [(x, y, yaw)]
    for target in corners[1:]:
        step = target - states[-1][:2]
        distance = float(np.linalg.norm(step))
        if distance < 1e-6:
            continue
        heading = float(np.arctan2(step[1], step[0]))
        turn = (heading - states[-1][2] + np.pi) % (2 * np.pi) - np.pi
        count = int(np.ceil(abs(turn) / (_TURN_RATE * _DRIVE_STEP)))
        x, y, yaw = states[-1]
        states += [(x, y, yaw + turn * i / count) for i in range(1, count + 1)]
        count = int(np.ceil(distance / (_SPEED * _DRIVE_STEP)))
        yaw = states[-1][2]
        states += [
            (x + step[0] * i / count, y + step[1] * i / count, yaw) for i in range(1, count + 1)
        ]
    states = np.array(states)
    poses = np.stack([planar_pose(*state) for state in states])
    stamps = _START_NS + np.arange(len(states)) * round(_DRIVE_STEP * 1e9)
    return Drive(stamps, poses, _odometry(states, rng))


def _odometry(states, rng):
    """The same drive as wheels and gyro saw it, from its own origin."""
    steps = np.diff(states, axis=0)
    way = np.linalg.norm(steps[:, :2], axis=1) * (1 + _SCALE_ERROR)
    sign = np.sign(
        (steps[:, :2] * np.stack([np.cos(states[:-1, 2]), np.sin(states[:-1, 2])], -1)).sum(1)
    )
    bias = np.cumsum(rng.normal(size=len(steps))) * _BIAS_WALK * np.sqrt(_DRIVE_STEP)
    yaw = np.concatenate([[0.0], np.cumsum(steps[:, 2] + bias * _DRIVE_STEP)])
    moved = (sign * way)[:, None] * np.stack([np.cos(yaw[:-1]), np.sin(yaw[:-1])], -1)
    place = np.concatenate([[[0.0, 0.0]], np.cumsum(moved, axis=0)])
    return np.stack([planar_pose(*p, a) for p, a in zip(place, yaw, strict=True)])


def _poses_at(drive, stamps_ns):
    """(N, 4, 4) poses of the base: the drive's steps are far finer than any noise."""
    index = np.clip(np.searchsorted(drive.stamps_ns, stamps_ns), 1, len(drive.stamps_ns) - 1)
    before, after = drive.stamps_ns[index - 1], drive.stamps_ns[index]
    share = np.clip((stamps_ns - before) / (after - before), 0, 1)
    first, second = drive.poses[index - 1], drive.poses[index]
    yaw = np.arctan2(first[:, 1, 0], first[:, 0, 0])
    turn = np.arctan2(second[:, 1, 0], second[:, 0, 0]) - yaw
    turn = (turn + np.pi) % (2 * np.pi) - np.pi
    place = first[:, :2, 3] + share[:, None] * (second[:, :2, 3] - first[:, :2, 3])
    angle = yaw + share * turn
    out = np.tile(np.eye(4), (len(stamps_ns), 1, 1))
    out[:, 0, 0] = out[:, 1, 1] = np.cos(angle)
    out[:, 1, 0] = np.sin(angle)
    out[:, 0, 1] = -out[:, 1, 0]
    out[:, :2, 3] = place
    return out


def _people_at(way, count, seconds, lidar_pose):
    """(P, 2): people walk the same way at their own pace; nobody stands in the sensor."""
    lengths = np.linalg.norm(np.diff(way, axis=0), axis=1)
    ends = np.concatenate([[0.0], np.cumsum(lengths)])
    places = []
    for person in range(count):
        travelled = (person + 0.5) / count * ends[-1] + (1.0 + 0.15 * person) * seconds
        travelled = abs((travelled + ends[-1]) % (2 * ends[-1]) - ends[-1])
        places.append([np.interp(travelled, ends, way[:, axis]) + 0.3 for axis in (0, 1)])
    places = np.array(places).reshape(-1, 2)
    return places[np.linalg.norm(places - lidar_pose[:2, 3], axis=1) > 0.6]


def _survey_map(building, mesh, rng):
    """Points of a map (N, 3): dense scans of a higher sensor, on another line, nobody around."""
    surveyor = Lidar(beams=48, elevation=(-60, 45), columns=900, noise=0.01, dropout=0.0)
    along = np.concatenate(
        [
            np.linspace(a, b, max(2, int(np.linalg.norm(b - a) / 0.8)))[:-1]
            for a, b in zip(building.way[:-1], building.way[1:], strict=True)
        ]
    )
    points = []
    for place in along:
        spot = place + rng.uniform(-0.15, 0.15, 2)
        pose = planar_pose(*spot, rng.uniform(0, 2 * np.pi))
        pose[2, 3] = 1.4
        seen = surveyor.scan(mesh, np.repeat(pose[None], surveyor.columns, 0), (), rng)
        cloud = np.stack([seen[axis] for axis in 'xyz'], -1) @ pose[:3, :3].T + pose[:3, 3]
        points.append(voxel_downsample(cloud, _MAP_VOXEL))
    return voxel_downsample(np.concatenate(points), _MAP_VOXEL)


def _write_frames(recorder, store, drive, truth):
    """/tf_static once; /tf at 50 Hz, as far as the recording has any."""
    kind = 'tf2_msgs/msg/TFMessage'
    static = _transform(drive.stamps_ns[0], 'base_link', 'lidar', MOUNT)
    recorder.write(
        '/tf_static', build_message(store, kind, {'transforms': [static]}), int(drive.stamps_ns[0])
    )
    if truth == 'none':
        return
    for i in range(0, len(drive.stamps_ns), 2):
        stamp = int(drive.stamps_ns[i])
        transforms = [_transform(stamp, 'odom', 'base_link', drive.odometry[i])]
        if truth == 'map':
            correction = drive.poses[i] @ inverse(drive.odometry[i])
            transforms.append(_transform(stamp, 'map', 'odom', correction))
        recorder.write('/tf', build_message(store, kind, {'transforms': transforms}), stamp)


def _transform(stamp_ns, parent, child, matrix):
    quaternion = quaternion_from_matrix(matrix[:3, :3])
    return {
        'header': {'stamp': stamp_from_ns(int(stamp_ns)), 'frame_id': parent},
        'child_frame_id': child,
        'transform': {
            'translation': dict(zip('xyz', map(float, matrix[:3, 3]), strict=True)),
            'rotation': dict(zip('xyzw', map(float, quaternion), strict=True)),
        },
    }


def _cloud_message(store, stamp_ns, points):
    fields = [
        {'name': name, 'offset': offset, 'datatype': kind, 'count': 1}
        for name, offset, kind in _FIELDS
    ]
    values = {
        'header': {'stamp': stamp_from_ns(int(stamp_ns)), 'frame_id': 'lidar'},
        'height': 1,
        'width': len(points),
        'fields': fields,
        'is_bigendian': False,
        'point_step': POINT.itemsize,
        'row_step': POINT.itemsize * len(points),
        'data': points.view(np.uint8),
        'is_dense': True,
    }
    return build_message(store, 'sensor_msgs/msg/PointCloud2', values)


def _write_tum(path, stamps_ns, poses):
    rows = [[*pose[:3, 3], *quaternion_from_matrix(pose[:3, :3])] for pose in poses]
    lines = [
        f'{stamp // 10**9}.{stamp % 10**9:09d} ' + ' '.join(f'{v:.9f}' for v in row)
        for stamp, row in zip(stamps_ns.tolist(), rows, strict=True)
    ]
    path.write_text('# stamp x y z qx qy qz qw: T_map_lidar\n' + '\n'.join(lines) + '\n')
