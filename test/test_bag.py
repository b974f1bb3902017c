"""Recordings: what is written is read, what is damaged is named."""

import shutil
import sqlite3
import tarfile

import numpy as np
import pytest
import yaml

pytest.importorskip('rosbags')

from bags import (  # noqa: E402
    CLOUD,
    COUNT,
    FIRST,
    MCAP,
    RECORDINGS,
    SQLITE3,
    STEP,
    STRING,
    TF,
    cloud_points,
    ros2_messages,
    write_rosbag2,
)
from rosbags.highlevel import AnyReader  # noqa: E402

from dlc_ros.errors import DlcError, FileError  # noqa: E402
from dlc_ros.node.bag import Bag, Recorder  # noqa: E402
from dlc_ros.node.convert import cloud_values  # noqa: E402
from dlc_ros.node.definitions import build_message, distro_typestore  # noqa: E402


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


@pytest.mark.parametrize('part', ['folder', 'file'])
def test_static_transforms_are_recorded_for_late_subscribers(tmp_path, part):
    """``ros2 bag play`` offers what the recording says; tf2 asks for transient local, its 1."""
    path = RECORDINGS['recorder'](tmp_path / 'recording')
    if part == 'folder':
        metadata = yaml.safe_load((path / 'metadata.yaml').read_text())
        topics = metadata['rosbag2_bagfile_information']['topics_with_message_count']
        topics = {topic['topic_metadata']['name']: topic['topic_metadata'] for topic in topics}
        (offer,) = yaml.safe_load(topics['/tf_static']['offered_qos_profiles'])
        assert (offer['durability'], offer['reliability'], offer['history']) == (1, 1, 1)
        assert topics['/points']['offered_qos_profiles'] == ''
    else:  # beside its metadata.yaml, mcap says it itself
        with AnyReader([next(path.glob('*.mcap'))]) as reader:
            offers = {c.topic: c.ext.offered_qos_profiles for c in reader.connections}
        assert [offer.durability.name for offer in offers['/tf_static']] == ['TRANSIENT_LOCAL']
        assert offers['/points'] == []


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
