"""Recordings as people have them: folders, parts, cut off, without metadata, without clouds."""

import re
import shutil

import numpy as np
import pytest

pytest.importorskip('rosbags')

from recordings import (  # noqa: E402
    CLOUD,
    FIRST,
    STEP,
    Robot,
    drive,
    indexed,
    room_points,
)
from rosbags import rosbag2  # noqa: E402

from dlc_ros.errors import DlcError, FileError  # noqa: E402
from dlc_ros.node.bag import Bag  # noqa: E402
from dlc_ros.node.definitions import distro_typestore  # noqa: E402
from dlc_training.recordings.sources import Recording  # noqa: E402
from dlc_training.recordings.survey import survey  # noqa: E402


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    return drive(tmp_path_factory.mktemp('bag') / 'robot')


def as_sqlite3(source, path):
    """The same messages in a .db3."""
    store = distro_typestore()
    with Bag(source) as bag, rosbag2.Writer(
        path, version=8, storage_plugin=rosbag2.StoragePlugin.SQLITE3
    ) as writer:  # fmt: skip
        kinds = {name: topic.type_name for name, topic in bag.topics.items()}
        connections = {
            name: writer.add_connection(name, kind, typestore=store)
            for name, kind in kinds.items()
        }
        for topic, stamp_ns, cdr in bag.messages():
            writer.write(connections[topic], stamp_ns, cdr)
    return path


def cut(source, path, share):
    """The first ``share`` of a file's bytes."""
    data = source.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


def stamps_of(recording):
    return [m.stamp_ns for m in recording.messages(['/points'])]


def test_folder_of_bags_is_one_recording_in_the_order_of_time(tmp_path, bag):
    with Robot(tmp_path / 'a_later') as robot:
        for i in range(3):
            robot.cloud(FIRST + 100 * STEP + i, room_points(50))
    shutil.copytree(bag, tmp_path / 'b_earlier')
    recording = Recording([tmp_path])
    stamps = stamps_of(recording)
    assert len(stamps) == 43 and stamps == sorted(stamps)
    assert recording.topics['/points'].count == 43


def test_several_paths_and_one_folder_of_them_have_the_same_fingerprint(tmp_path, bag):
    for name in 'ab':
        shutil.copytree(bag, tmp_path / name)
    both = Recording([tmp_path / 'a', tmp_path / 'b']).fingerprint()
    assert both == Recording([tmp_path]).fingerprint() != Recording([bag]).fingerprint()


@pytest.mark.parametrize('share', [0.35, 0.8, 0.999])
def test_mcap_that_was_cut_off_gives_what_is_whole(tmp_path, bag, share):
    whole = stamps_of(Recording([bag]))
    path = cut(next(bag.glob('*.mcap')), tmp_path / 'cut.mcap', share)
    recording = Recording([path])
    found = stamps_of(recording)
    assert found == whole[: len(found)]
    assert len(found) >= (share - 0.3) * len(whole)
    assert 'cut off' in recording.notes[0]


@pytest.mark.parametrize('share', [0.3, 0.7])
def test_what_is_told_of_a_file_that_was_cut_off_is_what_can_be_read(tmp_path, share):
    """Clouds are nearly all of a file: the share that is told is that of those that come out."""
    with Robot(tmp_path / 'whole') as robot:
        for i in range(200):
            robot.cloud(FIRST + i * STEP, np.random.default_rng(i).normal(size=(2000, 3)))
    source = next((tmp_path / 'whole').glob('*.mcap'))
    path = cut(source, tmp_path / 'cut.mcap', share)
    recording = Recording([path])
    found = re.search(r'; (\S+) % of its bytes can be read, with (\d+) mess', recording.notes[0])
    bytes_of_clouds = len(stamps_of(recording)) * 2000 * 12
    assert int(found[2]) == len(stamps_of(recording))
    assert float(found[1]) == pytest.approx(100 * bytes_of_clouds / path.stat().st_size, abs=3)


def test_sqlite3_that_was_cut_off_gives_what_is_whole(tmp_path, bag):
    whole = as_sqlite3(bag, tmp_path / 'whole')
    path = cut(next(whole.glob('*.db3')), tmp_path / 'cut.db3', 0.6)
    found = stamps_of(Recording([path]))
    assert found and found == stamps_of(Recording([whole]))[: len(found)]


def test_folder_without_metadata_is_read_file_by_file(tmp_path, bag):
    folder = tmp_path / 'not_ended'
    folder.mkdir()
    shutil.copy(next(bag.glob('*.mcap')), folder)
    recording = Recording([folder])
    assert len(stamps_of(recording)) == 40
    assert 'metadata.yaml' in recording.notes[0]


def test_damaged_bag_beside_a_good_one_is_named_and_left_out(tmp_path, bag):
    shutil.copytree(bag, tmp_path / 'good')
    (tmp_path / 'bad.mcap').write_bytes(b'no bag at all')
    recording = Recording([tmp_path])
    assert len(stamps_of(recording)) == 40
    assert any('bad.mcap' in note for note in recording.notes)


@pytest.mark.parametrize('content', [b'', b'\x89MCAP0\r\n', b'rubbish' * 100])
def test_file_of_which_nothing_is_readable_is_one_clear_error(tmp_path, content):
    path = tmp_path / 'broken.mcap'
    path.write_bytes(content)
    with pytest.raises(FileError, match='broken.mcap'):
        Recording([path])


def test_missing_and_empty_folders_are_one_clear_error(tmp_path):
    for path in (tmp_path / 'nowhere', tmp_path):
        with pytest.raises(FileError, match='give a bag or a folder'):
            Recording([path])


def test_recording_without_clouds_lists_what_it_has(tmp_path):
    recording = Recording([drive(tmp_path / 'bag', clouds=False)])
    with pytest.raises(DlcError, match=r'no PointCloud2 topic.*/tf \[tf2_msgs'):
        recording.cloud_topic()


def test_several_cloud_topics_are_offered_with_their_counts(tmp_path):
    with Robot(tmp_path / 'bag') as robot:
        for i in range(3):
            robot.cloud(FIRST + i, room_points(50), topic='/front')
            robot.cloud(FIRST + i, room_points(50), topic='/rear', frame='rear')
    recording = Recording([tmp_path / 'bag'])
    with pytest.raises(DlcError, match=r'--topic: /front \(3 clouds\), /rear \(3 clouds\)'):
        recording.cloud_topic()
    assert recording.cloud_topic('rear').name == '/rear'
    with pytest.raises(DlcError, match='no cloud topic /top; it has: /front'):
        recording.cloud_topic('/top')
    assert survey(recording, '/rear', quiet=True).frame == 'rear'


def test_recording_of_no_length_is_refused(tmp_path):
    with Robot(tmp_path / 'bag') as robot:
        robot.cloud(FIRST, room_points(50))
    with pytest.raises(FileError, match='1 cloud'):
        survey(Recording([tmp_path / 'bag']), quiet=True)


def test_clouds_of_two_frames_on_one_topic_the_fewer_are_left_out_and_counted(tmp_path):
    with Robot(tmp_path / 'bag') as robot:
        for i in range(6):
            frame = 'other' if i == 3 else 'lidar'
            robot.cloud(FIRST + i * STEP, room_points(200), frame=frame)
    seen = survey(Recording([tmp_path / 'bag']), quiet=True)
    assert seen.frame == 'lidar' and "{'other': 1}" in ' '.join(seen.notes)


def test_clouds_without_a_stamp_among_stamped_ones_are_left_out_and_counted(tmp_path):
    with Robot(tmp_path / 'bag') as robot:
        for i in range(20):
            late = FIRST + i * STEP if i in (0, 7) else 0
            robot.cloud(FIRST + i * STEP - late, room_points(200), late=late)
    seen, index = indexed(tmp_path / 'bag', tmp_path / 'index')
    assert '2 clouds without a stamp are left out' in seen.notes
    assert seen.duration_s == pytest.approx(1.8)
    assert len(index) == 18 and index.facts['unusable'] == 0


@pytest.mark.parametrize('first', [0, FIRST])
def test_every_cloud_of_the_survey_is_given_by_the_recording(tmp_path, first):
    """The clock of a simulation begins at 0, and its first cloud may have that stamp."""
    with Robot(tmp_path / 'bag') as robot:
        for i in range(12):
            robot.cloud(first + i * STEP, room_points(200), late=FIRST - first)
    recording = Recording([tmp_path / 'bag'])
    seen = survey(recording, quiet=True)
    given = [stamp for stamp, _ in seen.clouds(recording)]
    assert given == seen.stamps_ns.tolist() == [first + i * STEP for i in range(12)]


def test_clouds_that_are_not_stamped_have_the_times_of_recording(tmp_path):
    with Robot(tmp_path / 'bag') as robot:
        for i in range(12):
            robot.cloud(0, room_points(200), late=FIRST + i * STEP)
    recording = Recording([tmp_path / 'bag'])
    seen = survey(recording, quiet=True)
    assert 'not stamped' in seen.notes[0]
    assert [s for s, _ in seen.clouds(recording)] == [FIRST + i * STEP for i in range(12)]


def test_cloud_whose_bytes_are_damaged_is_left_out_and_counted(tmp_path):
    """One bad message in an hour of recording is no reason to stop, nor to hide it."""
    path = tmp_path / 'bag'
    with Robot(path) as robot:
        for i in range(20):
            if i == 5:
                robot.bytes('/points', CLOUD, b'\x00\x01\x00\x00rubbish', FIRST + i * STEP)
            else:
                robot.cloud(FIRST + i * STEP, room_points(200, seed=i))
    seen, index = indexed(path, tmp_path / 'index')
    assert any('1 message(s) left out: /points' in note for note in seen.notes)
    assert len(index) == 19
    np.testing.assert_allclose(index.scan(18), room_points(200, seed=19), atol=1e-5)
