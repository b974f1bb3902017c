"""Recordings: any rosbag in, messages as ROS 2 has them out; and rosbag2 recordings written."""

import logging
from pathlib import Path
from typing import NamedTuple

from rosbags import interfaces
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.typesys import Stores, get_typestore

from dlc_ros.errors import DlcError, FileError
from dlc_ros.node.convert import ns_from_stamp
from dlc_ros.node.definitions import distro_typestore
from dlc_ros.node.pointcloud2 import points_from_message

_log = logging.getLogger(__name__)

CLOUD_TYPE = 'sensor_msgs/msg/PointCloud2'
# What ROS 1 called otherwise.
_RENAMED = {'tf/msg/tfMessage': 'tf2_msgs/msg/TFMessage'}
_STORAGE = {'.mcap', '.db3'}
_FORMATS = 'a rosbag2 folder, a .mcap, .db3 or .bag file'
_TF_STATIC = '/tf_static'
_NO_LIMIT = interfaces.QosTime(0, 0)
# As tf2 offers static transforms. ros2 bag play takes its offers from the recording; where there
# is none it plays them volatile, and tf2 listens to nothing that is.
_LATCHED = interfaces.Qos(
    history=interfaces.QosHistory.KEEP_LAST,
    depth=100,
    reliability=interfaces.QosReliability.RELIABLE,
    durability=interfaces.QosDurability.TRANSIENT_LOCAL,
    deadline=_NO_LIMIT,
    lifespan=_NO_LIMIT,
    liveliness=interfaces.QosLiveliness.AUTOMATIC,
    liveliness_lease_duration=_NO_LIMIT,
    avoid_ros_namespace_conventions=False,
)


class Topic(NamedTuple):
    """
    One topic of a recording.

    :param name: with its leading slash.
    :param type_name: its ROS 2 type, e.g. ``sensor_msgs/msg/PointCloud2``.
    :param count: messages in the recording.
    :param transient_local: whether late subscribers were to get the last message.
    """

    name: str
    type_name: str
    count: int
    transient_local: bool


class Bag:
    """
    A recording, open for reading; a context manager.

    Reads rosbag2 (mcap and sqlite3, compressed or not; a folder with its ``metadata.yaml`` or one
    storage file) and ROS 1 bags. Messages come as CDR bytes, as on the wire of ROS 2.

    :param path: recording.
    :raises FileError: missing, unreadable, cut off or no recording; the message says what to do.
    """

    def __init__(self, path):
        self.path = Path(path)
        _check_path(self.path)
        try:
            self._reader = AnyReader([self.path], default_typestore=distro_typestore())
            self._reader.open()
        except Exception as error:  # a damaged file can make its reader fail in any way
            raise FileError(_reason(self.path, error)) from None
        self.typestore = self._reader.typestore
        if not self._reader.is2:
            self.typestore = _as_ros2(self._reader.typestore)
        self._connections = {}
        for connection in self._reader.connections:
            if _RENAMED.get(connection.msgtype, connection.msgtype) in self.typestore.fielddefs:
                name = _absolute(connection.topic)
                self._connections.setdefault(name, []).append(connection)
            else:
                _log.warning(
                    '%s: topic %s left out, its type %s is not defined in the recording',
                    self.path,
                    connection.topic,
                    connection.msgtype,
                )

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.close()

    def close(self):
        """Close the files."""
        self._reader.close()

    @property
    def topics(self):
        """All topics by name, as :class:`Topic`."""
        return {name: _topic(name, found) for name, found in sorted(self._connections.items())}

    def select(self, names=None):
        """
        Topics by their names, as :class:`Topic`; None is all of them.

        :raises DlcError: a name is not in the recording.
        """
        topics = self.topics
        if names is None:
            return list(topics.values())
        missing = [name for name in names if _absolute(name) not in topics]
        if missing:
            have = ', '.join(topics) or 'none'
            raise DlcError(f'{self.path} has no topic {missing[0]}; it has: {have}.')
        return [topics[_absolute(name)] for name in names]

    @property
    def duration_ns(self):
        """From the first message to the last."""
        return max(0, self._reader.duration - 1) if self._reader.message_count else 0

    def messages(self, topics=None):
        """
        Messages in the order of their recording.

        :param topics: names; None is all.
        :yields: topic name, time of recording [ns], CDR bytes.
        :raises DlcError: a topic is not in the recording.
        :raises FileError: the recording is damaged where it is read.
        """
        selected = self.select(topics)
        wanted = [c for topic in selected for c in self._connections[topic.name]]
        if not wanted:  # to the reader, no connection is all of them
            return
        messages = self._reader.messages(connections=wanted)
        while True:
            try:
                connection, stamp_ns, data = next(messages)
                cdr = data if self._reader.is2 else self._from_ros1(connection, data)
            except StopIteration:
                return
            except Exception as error:  # as above
                raise FileError(_reason(self.path, error)) from None
            yield _absolute(connection.topic), stamp_ns, cdr

    def clouds(self, topic=None):
        """
        Point clouds in the order of their recording.

        :param topic: name; None is the only PointCloud2 topic.
        :yields: stamp of the cloud [ns], frame name, (N, 3) points as
            :func:`~dlc_ros.node.pointcloud2.points_from_message` gives them.
        :raises DlcError: there is no such topic, or which one is meant is open.
        :raises CloudError: a message is malformed.
        """
        for _, _, cdr in self.messages([topic or self.cloud_topic()]):
            message = self.typestore.deserialize_cdr(cdr, CLOUD_TYPE)
            stamp_ns = ns_from_stamp(message.header.stamp)
            yield stamp_ns, message.header.frame_id, points_from_message(message)

    def cloud_topic(self):
        """
        Name of the only PointCloud2 topic.

        :raises DlcError: there is none, or more than one.
        """
        names = [topic.name for topic in self.topics.values() if topic.type_name == CLOUD_TYPE]
        if len(names) != 1:
            have = ', '.join(names) or 'none'
            raise DlcError(f'{self.path}: which PointCloud2 topic? It has: {have}.')
        return names[0]

    def _from_ros1(self, connection, data):
        type_name = _RENAMED.get(connection.msgtype, connection.msgtype)
        return self.typestore.ros1_to_cdr(data, type_name)


class Recorder:
    """
    Writes a rosbag2 recording (mcap), which ROS 2 and Foxglove open; a context manager.

    ``/tf_static`` is recorded as what late subscribers are to get, every other topic with the
    defaults of ROS 2.

    :param path: folder to create.
    :param typestore: where types are defined; None takes those of ``ROS_DISTRO``.
    :raises FileError: the folder exists or cannot be written.
    """

    def __init__(self, path, typestore=None):
        self.path = Path(path)
        self._typestore = typestore or distro_typestore()
        self._connections = {}
        # Version 8 is what ROS 2 reads since Iron; 9 is Jazzy's.
        try:
            self._writer = Writer(self.path, version=8, storage_plugin=StoragePlugin.MCAP)
            self._writer.open()
        except (WriterError, OSError) as error:
            raise FileError(f'Cannot record to {self.path}: {_one_line(error)}') from None

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.close()

    def write(self, topic, message, stamp_ns):
        """
        Append a message.

        :param topic: name with its leading slash.
        :param message: an object of the typestore's classes.
        :param stamp_ns: time of recording.
        """
        type_name = message.__msgtype__
        self.write_cdr(
            topic, type_name, self._typestore.serialize_cdr(message, type_name), stamp_ns
        )

    def write_cdr(self, topic, type_name, cdr, stamp_ns):
        """Append a message that is CDR bytes already."""
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic,
                type_name,
                typestore=self._typestore,
                offered_qos_profiles=[_LATCHED] if topic == _TF_STATIC else [],
            )
        self._writer.write(self._connections[topic], stamp_ns, cdr)

    def close(self):
        """Finish the recording: without it the recording cannot be read."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _check_path(path):
    if not path.exists():
        raise FileError(f'No recording {path}; give {_FORMATS}.')
    if path.is_dir() and not (path / 'metadata.yaml').is_file():
        files = sorted(f.name for f in path.iterdir() if f.suffix in _STORAGE)
        if not files:
            raise FileError(f'{path} is no recording; give {_FORMATS}.')
        raise FileError(
            f'{path} has no metadata.yaml (was the recording not ended?); give '
            f'{path / files[0]} itself, or run "ros2 bag reindex {path}".'
        )
    if path.is_file() and path.suffix not in _STORAGE | {'.bag'}:
        raise FileError(f'{path} is no recording; give {_FORMATS}.')


def _reason(path, error):
    repair = 'rosbag reindex' if path.suffix == '.bag' else 'ros2 bag reindex or mcap recover'
    text = _one_line(error) or type(error).__name__
    return f'Cannot read {path}: {text} If it was cut off, repair it ({repair}) or record again.'


def _one_line(error):
    text = ' '.join(str(error).split())
    return text if not text or text.endswith('.') else f'{text}.'


def _absolute(topic):
    """ROS 1 recordings may have names without their leading slash."""
    return '/' + topic.lstrip('/')


def _topic(name, connections):
    first = connections[0]
    if isinstance(first.ext, interfaces.ConnectionExtRosbag1):
        latched = any(c.ext.latching for c in connections)
    else:
        offers = [qos for c in connections for qos in c.ext.offered_qos_profiles]
        latched = any(qos.durability == interfaces.QosDurability.TRANSIENT_LOCAL for qos in offers)
    return Topic(
        name=name,
        type_name=_RENAMED.get(first.msgtype, first.msgtype),
        count=sum(connection.msgcount for connection in connections),
        transient_local=latched or name == _TF_STATIC,
    )


def _as_ros2(ros1_types):
    """
    The types of a ROS 1 recording for ROS 2: its own, but ROS 2's names of equal fields.

    ``Header`` lost its counter, which rosbags leaves out when it converts a message.
    """
    standard = distro_typestore().fielddefs
    types = dict(ros1_types.fielddefs)
    for name in types.keys() & standard.keys():
        if name == 'std_msgs/msg/Header' or _fields(types[name]) == _fields(standard[name]):
            types[name] = standard[name]
    renamed = {new for old, new in _RENAMED.items() if old in types}
    store = get_typestore(Stores.EMPTY)
    store.register({**{name: standard[name] for name in renamed}, **types})
    return store


def _fields(definition):
    """Fields of a type, but for the case of their names."""
    return [(name.lower(), kind) for name, kind in definition[1]]
