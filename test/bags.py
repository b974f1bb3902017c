"""The same short recording in every format, for tests of what reads and plays it."""

import numpy as np
from rosbags import rosbag1, rosbag2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from dlc_ros.node.bag import Recorder
from dlc_ros.node.convert import cloud_values, stamp_from_ns
from dlc_ros.node.definitions import build_message, distro_typestore

CLOUD, TF, STRING = 'sensor_msgs/msg/PointCloud2', 'tf2_msgs/msg/TFMessage', 'std_msgs/msg/String'
STEP = 50_000_000  # ns between clouds
FIRST = 1_600_000_000 * 10**9
COUNT = 5


def cloud_points(i):
    return np.random.default_rng(i).normal(size=(40, 3)).astype(np.float32)


def ros2_messages():
    """(topic, type, time of recording, message): clouds, a static transform, words."""
    store = distro_typestore()
    transform = {'header': {'frame_id': 'base'}, 'child_frame_id': 'camera'}
    yield '/tf_static', TF, FIRST - 1, build_message(store, TF, {'transforms': [transform]})
    for i in range(COUNT):
        stamp_ns = FIRST + i * STEP
        values = cloud_values(stamp_ns - 7, 'camera', cloud_points(i))
        yield '/points', CLOUD, stamp_ns, build_message(store, CLOUD, values)
        yield '/words', STRING, stamp_ns + 1, build_message(store, STRING, {'data': f'{i}'})


def write_rosbag2(path, plugin, mode=None):
    store = distro_typestore()
    writer = rosbag2.Writer(path, version=8, storage_plugin=plugin)
    if mode is not None:
        writer.set_compression(mode, rosbag2.CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for topic, kind, stamp_ns, message in ros2_messages():
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(connections[topic], stamp_ns, store.serialize_cdr(message, kind))
    return path


def write_rosbag1(path):
    """The same recording as ROS 1 has it: counters in headers, tf/tfMessage, no leading slash."""
    store = get_typestore(Stores.ROS1_NOETIC)
    store.register(
        get_types_from_msg('geometry_msgs/TransformStamped[] transforms', 'tf/msg/tfMessage')
    )
    kinds = store.types

    def header(stamp_ns, frame):
        stamp = kinds['builtin_interfaces/msg/Time'](**stamp_from_ns(stamp_ns))
        return kinds['std_msgs/msg/Header'](seq=77, stamp=stamp, frame_id=frame)

    with rosbag1.Writer(path) as writer:
        static = writer.add_connection('/tf_static', 'tf/msg/tfMessage', typestore=store)
        transform = kinds['geometry_msgs/msg/TransformStamped'](
            header(0, 'base'),
            'camera',
            kinds['geometry_msgs/msg/Transform'](
                kinds['geometry_msgs/msg/Vector3'](0.0, 0.0, 0.0),
                kinds['geometry_msgs/msg/Quaternion'](0.0, 0.0, 0.0, 0.0),
            ),
        )
        message = kinds['tf/msg/tfMessage']([transform])
        writer.write(static, FIRST - 1, store.serialize_ros1(message, 'tf/msg/tfMessage'))
        clouds = writer.add_connection('points', CLOUD, typestore=store)
        words = writer.add_connection('/words', STRING, typestore=store)
        for i in range(COUNT):
            stamp_ns = FIRST + i * STEP
            values = cloud_values(stamp_ns - 7, 'camera', cloud_points(i))
            values['header'] = header(stamp_ns - 7, 'camera')
            values['fields'] = [kinds['sensor_msgs/msg/PointField'](**f) for f in values['fields']]
            message = kinds[CLOUD](**values)
            writer.write(clouds, stamp_ns, store.serialize_ros1(message, CLOUD))
            word = kinds[STRING](f'{i}')
            writer.write(words, stamp_ns + 1, store.serialize_ros1(word, STRING))
    return path


def write_with_recorder(path):
    with Recorder(path) as recorder:
        for topic, _, stamp_ns, message in ros2_messages():
            recorder.write(topic, message, stamp_ns)
    return path


MCAP, SQLITE3 = rosbag2.StoragePlugin.MCAP, rosbag2.StoragePlugin.SQLITE3
FILE, MESSAGE = rosbag2.CompressionMode.FILE, rosbag2.CompressionMode.MESSAGE
RECORDINGS = {
    'recorder': write_with_recorder,
    'mcap': lambda path: write_rosbag2(path, MCAP),
    'mcap file': lambda path: next(write_rosbag2(path, MCAP).glob('*.mcap')),
    'mcap message zstd': lambda path: write_rosbag2(path, MCAP, MESSAGE),
    'sqlite3': lambda path: write_rosbag2(path, SQLITE3),
    'sqlite3 file': lambda path: next(write_rosbag2(path, SQLITE3).glob('*.db3')),
    'sqlite3 file zstd': lambda path: write_rosbag2(path, SQLITE3, FILE),
    'sqlite3 message zstd': lambda path: write_rosbag2(path, SQLITE3, MESSAGE),
    'ROS 1': lambda path: write_rosbag1(path.with_suffix('.bag')),
}
