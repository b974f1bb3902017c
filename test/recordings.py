"""Small recordings for the tests of retraining."""

import numpy as np

from dlc_ros.node.bag import Recorder
from dlc_ros.node.convert import stamp_from_ns
from dlc_ros.node.definitions import build_message, distro_typestore
from dlc_ros.registration.se3 import make_transform, quaternion_from_matrix

CLOUD, TF = 'sensor_msgs/msg/PointCloud2', 'tf2_msgs/msg/TFMessage'
FIRST, STEP = 1_600_000_000 * 10**9, 10**8
_KINDS = {'f4': 7, 'f8': 8, 'u4': 6, 'u2': 4}


def turned(degrees, shift=(0.0, 0.0, 0.0)):
    """(4, 4) of a turn about z and a shift."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return make_transform([[c, -s, 0], [s, c, 0], [0, 0, 1]], shift)


def room_points(count=2000, seed=0):
    """(N, 3): floor, three walls and a box of a room, the sensor at the origin."""
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(-1, 1, (2, count))
    side = rng.integers(0, 5, count)
    one = np.ones(count)
    surfaces = [
        (3 * u, 2 * v, -0.7 * one), (3 * one, 2 * u, 0.6 + 1.3 * v),
        (3 * u, 2 * one, 0.6 + 1.3 * v), (3 * u, -2 * one, 0.6 + 1.3 * v),
        (1.4 + 0.3 * u, 0.8 * one, -0.2 + 0.5 * v),
    ]  # fmt: skip
    return np.choose(side[:, None], [np.stack(s, -1) for s in surfaces])


def cloud_values(stamp_ns, points, frame='lidar', extra=None):
    """Values of a PointCloud2; ``extra``: dict name -> array, further fields."""
    columns = {axis: points[:, i].astype('<f4') for i, axis in enumerate('xyz')}
    columns.update(extra or {})
    dtype = np.dtype([(name, column.dtype) for name, column in columns.items()])
    data = np.zeros(len(points), dtype)
    for name, column in columns.items():
        data[name] = column
    fields = [
        {
            'name': name, 'offset': dtype.fields[name][1], 'count': 1,
            'datatype': _KINDS[dtype.fields[name][0].str[1:]],
        }
        for name in columns
    ]  # fmt: skip
    return {
        'header': {'stamp': stamp_from_ns(stamp_ns), 'frame_id': frame},
        'height': 1, 'width': len(points), 'fields': fields, 'point_step': dtype.itemsize,
        'row_step': dtype.itemsize * len(points), 'data': data.view(np.uint8), 'is_dense': True,
    }  # fmt: skip


def transform_values(stamp_ns, parent, child, matrix):
    """Values of a TransformStamped."""
    quaternion = quaternion_from_matrix(matrix[:3, :3])
    return {
        'header': {'stamp': stamp_from_ns(stamp_ns), 'frame_id': parent},
        'child_frame_id': child,
        'transform': {
            'translation': dict(zip('xyz', map(float, matrix[:3, 3]), strict=True)),
            'rotation': dict(zip('xyzw', map(float, quaternion), strict=True)),
        },
    }


class Robot:
    """Writes a recording message by message; a context manager."""

    def __init__(self, path):
        self._recorder, self._store = Recorder(path), distro_typestore()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._recorder.close()

    def cloud(self, stamp_ns, points, topic='/points', late=0, **values):
        message = build_message(self._store, CLOUD, cloud_values(stamp_ns, points, **values))
        self._recorder.write(topic, message, stamp_ns + late)

    def frames(self, stamp_ns, *transforms, topic='/tf', late=0):
        values = [transform_values(stamp_ns, *transform) for transform in transforms]
        self._recorder.write(
            topic, build_message(self._store, TF, {'transforms': values}), stamp_ns + late
        )

    def bytes(self, topic, kind, cdr, stamp_ns):
        self._recorder.write_cdr(topic, kind, cdr, stamp_ns)

    def message(self, topic, kind, values, stamp_ns):
        self._recorder.write(topic, build_message(self._store, kind, values), stamp_ns)


def pose_at(seconds):
    """``T_map_base`` of the small robot: it drives a curve at 0.5 m/s."""
    return turned(8.0 * seconds, (0.5 * seconds, 0.05 * seconds**2, 0.0))


MOUNT = make_transform(translation=[0.2, 0.0, 0.7])


def drive(path, count=40, frame='map', clock_ns=0, gap=(), clouds=True, points=600):
    """
    Record a small robot in the room.

    :param frame: parent of base_link on /tf; '' leaves /tf out.
    :param clock_ns: added to the stamps of the clouds, as another clock does.
    :param gap: (from, to) seconds in which /tf is silent.
    """
    world = room_points(8000)
    with Robot(path) as robot:
        robot.frames(FIRST, ('base_link', 'lidar', MOUNT), topic='/tf_static')
        for i in range(-2, 2 * count + 3):
            seconds = i * 0.05
            silent = gap and gap[0] < seconds < gap[1]
            if frame and not silent:
                stamp = FIRST + i * STEP // 2
                robot.frames(stamp, (frame, 'base_link', pose_at(seconds)))
            if clouds and i >= 0 and i % 2 == 0 and i < 2 * count:
                stamp = FIRST + i * STEP // 2
                sensor = pose_at(seconds) @ MOUNT
                rng = np.random.default_rng(i)
                seen = world[rng.choice(len(world), points, replace=False)]
                local = (seen - sensor[:3, 3]) @ sensor[:3, :3]
                robot.cloud(stamp + clock_ns, local, late=5 * 10**6 - clock_ns)
    return path


def indexed(bag, folder, reader=None):
    """Survey and index of all clouds of a recording of :func:`drive`."""
    from dlc_training.recordings.index import build_index
    from dlc_training.recordings.scans import ScanReader
    from dlc_training.recordings.sources import Recording
    from dlc_training.recordings.survey import survey

    recording = Recording([bag])
    seen = survey(recording, quiet=True)
    chosen = np.arange(len(seen.stamps_ns))
    return seen, build_index(folder, recording, seen, reader or ScanReader(), chosen, quiet=True)
