"""Recordings: what is written is read, what is damaged is named, what is played arrives."""

import shutil
import sqlite3
import tarfile
import threading
import time

import numpy as np
import pytest
from wire import LOOPBACK, free_domain, wait_for

pytest.importorskip('cyclonedds')
pytest.importorskip('rosbags')

from rosbags import rosbag1, rosbag2  # noqa: E402
from rosbags.typesys import Stores, get_types_from_msg, get_typestore  # noqa: E402

from dlc_ros.errors import DlcError, FileError  # noqa: E402
from dlc_ros.node.bag import Bag, Recorder  # noqa: E402
from dlc_ros.node.convert import cloud_values, ns_from_stamp, stamp_from_ns  # noqa: E402
from dlc_ros.node.dds import qos  # noqa: E402
from dlc_ros.node.dds.participant import Participant  # noqa: E402
from dlc_ros.node.definitions import build_message, distro_typestore  # noqa: E402
from dlc_ros.node.play import Player  # noqa: E402
from dlc_ros.node.pointcloud2 import points_from_message  # noqa: E402

DOMAIN = free_domain()
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


@pytest.fixture(params=RECORDINGS)
def recording(request, tmp_path):
    return RECORDINGS[request.param](tmp_path / 'recording')


def test_every_kind_of_recording_reads_the_same(recording):
    with Bag(recording) as bag:
        topics = {name: (topic.type_name, topic.count) for name, topic in bag.topics.items()}
        assert topics == {
            '/points': (CLOUD, COUNT),
            '/tf_static': (TF, 1),
            '/words': (STRING, COUNT),
        }
        assert bag.topics['/tf_static'].transient_local
        assert not bag.topics['/points'].transient_local
        assert bag.duration_ns == (COUNT - 1) * STEP + 2
        messages = list(bag.messages())
        assert [m[:2] for m in messages] == [(t, stamp) for t, _, stamp, _ in ros2_messages()]
        for i, (stamp_ns, frame, points) in enumerate(bag.clouds()):
            assert (stamp_ns, frame) == (FIRST + i * STEP - 7, 'camera')
            np.testing.assert_array_equal(points, cloud_points(i))
        static = bag.typestore.deserialize_cdr(messages[0][2], TF)
        assert static.transforms[0].child_frame_id == 'camera'


def test_bytes_are_those_that_ros_2_would_have_recorded(recording):
    store = distro_typestore()
    with Bag(recording) as bag:
        for (topic, _, cdr), (_, kind, _, message) in zip(
            bag.messages(), ros2_messages(), strict=True
        ):
            assert bytes(cdr) == bytes(store.serialize_cdr(message, kind)), topic
            assert bag.typestore.hash_rihs01(kind) == store.hash_rihs01(kind)


def test_topics_are_chosen_by_name(recording):
    with Bag(recording) as bag:
        assert {m[0] for m in bag.messages(['/words'])} == {'/words'}
        assert [t.name for t in bag.select(['words', '/points'])] == ['/words', '/points']
        with pytest.raises(DlcError, match='has no topic /nope; it has: /points, /tf_static'):
            list(bag.messages(['/nope']))
        assert bag.cloud_topic() == '/points'


def test_which_clouds_are_meant_is_asked(tmp_path):
    store = distro_typestore()
    message = build_message(store, CLOUD, cloud_values(1, 'camera', cloud_points(0)))
    with Recorder(tmp_path / 'two') as recorder:
        recorder.write('/left', message, 1)
        recorder.write('/right', message, 2)
    with Bag(tmp_path / 'two') as bag:
        with pytest.raises(DlcError, match='which PointCloud2 topic. It has: /left, /right'):
            next(bag.clouds())
        assert next(bag.clouds('/left'))[1] == 'camera'


def test_empty_recording_has_no_topics(tmp_path):
    Recorder(tmp_path / 'empty').close()
    with Bag(tmp_path / 'empty') as bag:
        assert bag.topics == {} and bag.duration_ns == 0 and list(bag.messages()) == []


def test_recorder_keeps_what_is_there(tmp_path):
    (tmp_path / 'taken').mkdir()
    with pytest.raises(FileError, match='taken exists already'):
        Recorder(tmp_path / 'taken')
    (tmp_path / 'file').write_text('')
    with pytest.raises(FileError, match='Cannot record'):
        Recorder(tmp_path / 'file' / 'below')


@pytest.mark.parametrize(
    ('name', 'content', 'words'),
    [
        ('missing', None, 'No recording'),
        ('notes.txt', b'hello', 'is no recording'),
        ('empty.mcap', b'', 'empty'),
        ('text.mcap', b'hello, this is text' * 10, 'magic'),
        ('text.db3', b'hello, this is text' * 100, 'Cannot read'),
        ('text.bag', b'hello, this is text' * 10, 'rosbag reindex'),
    ],
)
def test_what_is_no_recording_is_named(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError, match=words) as caught:
        Bag(path)
    assert name in str(caught.value) and '\n' not in str(caught.value)


SUFFIXES = {'mcap file': '.mcap', 'sqlite3 file': '.db3', 'ROS 1': '.bag'}


@pytest.mark.parametrize('kind', SUFFIXES)
def test_recording_that_was_cut_off_is_named_wherever_it_was_cut(tmp_path, kind):
    whole = RECORDINGS[kind](tmp_path / 'recording').read_bytes()
    path = tmp_path / f'cut{SUFFIXES[kind]}'
    named = 0
    for length in range(1, len(whole), 997):
        path.write_bytes(whole[:length])
        try:
            with Bag(path) as bag:
                list(bag.messages())
        except FileError as error:
            assert str(path) in str(error) and '\n' not in str(error)
            named += 1
    assert named > 3


def test_damaged_recording_never_fails_in_another_way(tmp_path):
    rng = np.random.default_rng(5)
    for kind in SUFFIXES:
        source = RECORDINGS[kind](tmp_path / kind.replace(' ', '_'))
        whole = np.frombuffer(source.read_bytes(), np.uint8)
        path = tmp_path / f'damaged{source.suffix}'
        for _ in range(60):
            damaged = whole.copy()
            damaged[rng.integers(0, len(whole), 20)] = rng.integers(0, 256, 20)
            path.write_bytes(damaged.tobytes())
            try:
                with Bag(path) as bag:
                    list(bag.messages())
            except FileError as error:
                assert '\n' not in str(error)


def test_folder_that_is_not_whole_is_named(tmp_path):
    path = write_rosbag2(tmp_path / 'recording', MCAP)
    metadata = path / 'metadata.yaml'
    text = metadata.read_text()
    for content, words in (
        (': not yaml [', 'Cannot read'),
        ('a: 1', 'Cannot read'),
        (text.replace('version: 8', 'version: 99'), '99'),
        (text.replace('storage_identifier: mcap', 'storage_identifier: tape'), 'tape'),
        (text.replace('recording.mcap', 'other.mcap'), 'missing'),
    ):
        metadata.write_text(content)
        with pytest.raises(FileError, match=words):
            Bag(path)
    metadata.unlink()
    with pytest.raises(FileError, match='no metadata.yaml.*recording.mcap'):
        Bag(path)
    shutil.rmtree(path)
    path.mkdir()
    with pytest.raises(FileError, match='is no recording'):
        Bag(path)


def test_type_that_nobody_defines_leaves_the_other_topics(tmp_path, caplog):
    """Old sqlite3 recordings hold no definitions: standard types are known, others are not."""
    path = write_rosbag2(tmp_path / 'recording', SQLITE3)
    database = sqlite3.connect(next(path.glob('*.db3')))
    database.execute("UPDATE topics SET type = 'my_robot/msg/Special' WHERE name = '/words'")
    database.execute('DELETE FROM message_definitions')
    database.commit()
    database.close()
    metadata = path / 'metadata.yaml'
    text = metadata.read_text().replace(STRING, 'my_robot/msg/Special')
    text = text.replace(distro_typestore().hash_rihs01(STRING), '')
    metadata.write_text(text)
    with Bag(path) as bag:
        assert set(bag.topics) == {'/points', '/tf_static'}
        assert len(list(bag.clouds())) == COUNT
    assert 'my_robot/msg/Special is not defined' in caplog.text


def played(bag, topics, rate=1.0, clock=False, stop=None, drop_parent=''):
    """Play on this domain: count, messages by topic, clock, seconds that it took."""
    heard = {name: [] for name in topics}
    kinds = {'/points': CLOUD, '/tf': TF, '/tf_static': TF, '/words': STRING}
    with (
        Participant('player', domain_id=DOMAIN, interface=LOOPBACK) as source,
        Participant('listener', domain_id=DOMAIN, interface=LOOPBACK) as sink,
    ):
        player = Player(bag, source, topics, rate, clock, drop_parent)
        for name in topics:
            profile = qos.TF_STATIC if name == '/tf_static' else qos.QosProfile(depth=100)

            def on_message(message, name=name):
                heard[name].append(message)

            sink.subscribe(name, kinds[name], on_message, profile)
        clocks = []
        if clock:
            sink.subscribe(
                '/clock',
                'rosgraph_msgs/msg/Clock',
                lambda message: clocks.append(ns_from_stamp(message.clock)),
                qos.QosProfile(depth=100),
            )
        assert player.wait_for_subscribers(30.0)
        time.sleep(0.3)  # for the other topics
        begin = time.monotonic()
        sent = player.play(stop)
        seconds = time.monotonic() - begin
        assert wait_for(lambda: sum(map(len, heard.values())) >= sent, 5.0)
    return sent, heard, clocks, seconds


@pytest.mark.parametrize('kind', ['recorder', 'ROS 1'])
def test_played_messages_arrive_at_their_pace(tmp_path, kind):
    with Bag(RECORDINGS[kind](tmp_path / 'recording')) as bag:
        sent, heard, _, seconds = played(bag, ['/points', '/tf_static'], rate=0.5)
    assert sent == COUNT + 1 and len(heard['/tf_static']) == 1
    assert seconds >= 2.0 * (COUNT - 1) * STEP * 1e-9  # nothing is sent before it is due
    for i, message in enumerate(heard['/points']):
        assert ns_from_stamp(message.header.stamp) == FIRST + i * STEP - 7
        np.testing.assert_array_equal(points_from_message(message), cloud_points(i))


def test_player_tells_the_time_of_the_recording(tmp_path):
    with Bag(write_with_recorder(tmp_path / 'recording')) as bag:
        _, _, clocks, _ = played(bag, ['/points'], rate=0.5, clock=True)
    assert clocks == sorted(clocks) and len(clocks) >= COUNT
    assert clocks[0] == FIRST and clocks[-1] == FIRST + (COUNT - 1) * STEP


def test_recorded_pose_in_the_map_can_be_left_out(tmp_path):
    def message(*edges):
        return build_message(
            distro_typestore(),
            TF,
            {
                'transforms': [
                    {'header': {'frame_id': parent}, 'child_frame_id': child}
                    for parent, child in edges
                ]
            },
        )

    path, odometry = tmp_path / 'recording', ('odom', 'base_link')
    with Recorder(path) as recorder:
        recorder.write('/tf_static', message(('base_link', 'lidar'), ('map', 'site')), FIRST)
        recorder.write('/tf', message(('map', 'odom'), odometry), FIRST + STEP)
        recorder.write('/tf', message(('/map', 'odom')), FIRST + 2 * STEP)
        recorder.write('/tf', message(odometry), FIRST + 3 * STEP)
    with Bag(path) as bag:
        sent, heard, _, _ = played(bag, ['/tf', '/tf_static'], drop_parent='map')
    assert sent == 3
    children = {
        topic: [t.child_frame_id for m in messages for t in m.transforms]
        for topic, messages in heard.items()
    }
    assert children == {'/tf': ['base_link', 'base_link'], '/tf_static': ['lidar']}


def test_playing_can_be_stopped(tmp_path):
    stop = threading.Event()
    stop.set()
    with Bag(write_with_recorder(tmp_path / 'recording')) as bag:
        assert played(bag, ['/points'], stop=stop)[0] == 0


@pytest.mark.parametrize('rate', [0.0, -1.0, float('nan')])
def test_time_cannot_stand_still(tmp_path, rate):
    with Bag(write_with_recorder(tmp_path / 'recording')) as bag:
        with pytest.raises(DlcError, match='must be more than 0'):
            Player(bag, None, rate=rate)


def test_real_recording_reads_whole(shared_data, tmp_path):
    archive = shared_data / 'rosbag2_2023_08_05-16_08_51.tar.xz'
    if not archive.is_file():
        pytest.skip('no recording: ../shared/data/rosbag2_*.tar.xz is not there')
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter='data')
    with Bag(tmp_path / 'rosbag2_2023_08_05-16_08_51') as bag:
        assert bag.topics['/point_cloud'].count == 263
        assert bag.duration_ns == 11_862_217_148
        frames, sizes, stamps = set(), [], []
        for stamp_ns, frame, points in bag.clouds():
            frames.add(frame)
            sizes.append(len(points))
            stamps.append(stamp_ns)
            assert np.isfinite(points).all() and points.dtype == np.float32
    assert frames == {'d435_depth_optical_frame'}
    assert len(sizes) == 263 and 31_000 < min(sizes) and max(sizes) < 44_000
    assert stamps == sorted(stamps)
