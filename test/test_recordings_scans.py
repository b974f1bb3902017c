"""What the time of each point means, scans deskewed, the robot's own body, scans in an index."""

import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip('rosbags')

from recordings import (  # noqa: E402
    CLOUD,
    FIRST,
    STEP,
    Robot,
    cloud_values,
    drive,
    indexed,
    pose_at,
    room_points,
    turned,
)

from dlc_ros.errors import FileError  # noqa: E402
from dlc_ros.node.definitions import build_message, distro_typestore  # noqa: E402
from dlc_training.recordings.body import BodyFinder  # noqa: E402
from dlc_training.recordings.index import Index  # noqa: E402
from dlc_training.recordings.scans import ScanReader, find_timing  # noqa: E402
from dlc_training.recordings.sources import Recording  # noqa: E402
from dlc_training.recordings.survey import survey  # noqa: E402
from dlc_training.recordings.trajectory import Trajectory  # noqa: E402

PERIOD = 0.1
LAYOUTS = {
    'seconds from the start': ('time', lambda t, s: t.astype('f4'), 'relative, in s',
                               'start', 0.0),
    'nanoseconds from the start': ('t', lambda t, s: (t * 1e9).astype('u4'), 'relative, in ns',
                                   'start', 0.0),
    'milliseconds from the start': ('time', lambda t, s: (1e3 * t).astype('f4'), 'relative, in ms',
                                    'start', 0.0),
    'microseconds from the start': ('offset_time', lambda t, s: (t * 1e6).astype('u4'),
                                    'relative, in us', 'start', 0.0),
    'seconds before the end': ('time', lambda t, s: (t - PERIOD).astype('f4'), 'relative, in s',
                               'end', PERIOD),
    'absolute seconds': ('timestamp', lambda t, s: t + s * 1e-9, 'absolute, in s', 'start', 0.0),
    'absolute seconds, stamped at the end': (
        'timestamp', lambda t, s: t + s * 1e-9 - PERIOD, 'absolute, in s', 'end', PERIOD),
}  # fmt: skip


def message_of(stamp_ns, points, field, values):
    content = cloud_values(stamp_ns, points, extra={field: values})
    return build_message(distro_typestore(), CLOUD, content)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_time_of_each_point_is_understood_and_taken_out(layout):
    """A scan of a moving sensor, point by point; deskewed it is the room as the stamp saw it."""
    field, encode, words, where, before = LAYOUTS[layout]
    world = room_points(3000)
    offsets = np.linspace(0.0, PERIOD * 0.999, len(world))
    clouds = []
    for i in range(4):
        start = FIRST + i * STEP
        stamp = start + round(before * 1e9)  # where the driver stamps the scan
        seconds = (start - FIRST) * 1e-9 + offsets
        poses = np.array([pose_at(s) for s in seconds])
        seen = np.einsum('nji,nj->ni', poses[:, :3, :3], world - poses[:, :3, 3])
        clouds.append((stamp, message_of(stamp, seen, field, encode(offsets, stamp))))
    timing, text = find_timing([message for _, message in clouds], PERIOD)
    assert words in text and where in text
    stamps = FIRST + np.arange(-20, 80) * STEP // 10
    way = Trajectory(
        stamps, np.array([pose_at((s - FIRST) * 1e-9) for s in stamps]), '', '', False
    )
    for stamp, message in clouds[1:]:
        found = ScanReader(timing, way).read(message, stamp)
        pose = pose_at((stamp - FIRST) * 1e-9)
        expected = (world - pose[:3, 3]) @ pose[:3, :3]
        assert np.abs(found - expected).max() < 2e-3


@pytest.mark.parametrize('period', [1.0, 2.0, 10.0])
@pytest.mark.parametrize('layout', [name for name in LAYOUTS if 'milli' not in name])
def test_sweep_of_a_throttled_topic_is_told_by_its_own_length(layout, period):
    """As the node tells it; milliseconds it does not know, and here they need the period."""
    field, encode, words, where, before = LAYOUTS[layout]
    offsets = np.linspace(0.0, PERIOD * 0.999, 500)
    stamps = FIRST + np.arange(4) * round(period * 1e9)
    clouds = [
        message_of(stamp, room_points(500), field, encode(offsets, stamp))
        for stamp in stamps.tolist()
    ]
    timing, text = find_timing(clouds, period)
    assert words in text and where in text
    assert np.abs(timing.offsets(clouds[0]) - offsets + before).max() < 1e-4


def test_clouds_that_are_empty_at_first_do_not_hide_what_the_time_field_means(tmp_path):
    """A sensor that spins up: no point, or a few of them."""
    offsets = np.linspace(0, 0.099, 500).astype('f4')
    with Robot(tmp_path / 'bag') as robot:
        for i in range(30):
            points = room_points(500)
            points[5 if i > 5 else 0 : 500 if i < 12 else 0] = np.nan
            robot.cloud(FIRST + i * STEP, points, extra={'time': offsets})
    found = survey(Recording([tmp_path / 'bag']), quiet=True)
    assert found.timing.span == pytest.approx(0.099, abs=1e-4)


@pytest.mark.parametrize(
    ('field', 'values', 'words'),
    [
        ('ring', np.zeros(500, 'u2'), 'no time per point'),
        ('time', np.zeros(500, 'f4'), 'the same for all points'),
        ('time', np.linspace(0, 5, 500).astype('f4'), 'in no unit'),
        ('time', np.full(500, np.nan, 'f4'), 'no time of any point'),
        ('timestamp', np.linspace(0, 0.1, 500) + FIRST * 1e-9 + 900.0, 'off the stamps'),
    ],
)
def test_time_fields_that_make_no_sense_are_named_and_not_used(field, values, words):
    timing, text = find_timing([message_of(FIRST, room_points(500), field, values)], PERIOD)
    assert timing is None and words in text and 'not deskewed' in text


def test_clouds_that_are_damaged_do_not_hide_what_the_time_field_means(tmp_path):
    offsets = np.linspace(0, 0.099, 500).astype('f4')
    with Robot(tmp_path / 'bag') as robot:
        for i in range(12):
            values = cloud_values(FIRST + i * STEP, room_points(500), extra={'time': offsets})
            if i == 1:
                values['data'] = values['data'][:-40]
            elif i == 2:
                values['fields'] = values['fields'][:3]
            elif i == 3:
                values.update(width=0, row_step=0, data=values['data'][:0])
            robot.message('/points', CLOUD, values, FIRST + i * STEP)
    found = survey(Recording([tmp_path / 'bag']), quiet=True)
    assert found.timing.span == pytest.approx(0.099, abs=1e-4)


@pytest.mark.parametrize('hole', [(np.nan, np.nan), (0.0, 0.0), (np.nan, 0.0)])
def test_directions_from_which_nothing_came_back_have_no_time(hole):
    """Drivers of organised clouds write them as points without a number or at zero."""
    world, offsets = room_points(2000), np.linspace(0.0, PERIOD * 0.999, 2000)
    poses = np.array([pose_at(s) for s in offsets])
    seen = np.einsum('nji,nj->ni', poses[:, :3, :3], world - poses[:, :3, 3])
    times = offsets + FIRST * 1e-9
    empty = np.arange(0, 2000, 3)
    seen[empty], times[empty] = hole
    message = message_of(FIRST, seen, 'timestamp', times)
    timing, text = find_timing([message], PERIOD)
    assert 'absolute, in s' in text
    stamps = FIRST + np.arange(-20, 40) * STEP // 10
    way = Trajectory(
        stamps, np.array([pose_at((s - FIRST) * 1e-9) for s in stamps]), '', '', False
    )
    found = ScanReader(timing, way).read(message, FIRST)
    assert np.abs(found - np.delete(world, empty, axis=0)).max() < 2e-3


def test_own_body_is_what_stays_while_the_sensor_moves():
    finder, world = BodyFinder(1.0), room_points(20_000)
    rng = np.random.default_rng(0)
    mast = np.array([-0.3, 0.0, 0.1]) + rng.uniform(-0.05, 0.05, (300, 3))
    for i in range(30):
        pose = turned(20 * i, (0.4 * np.cos(i), 0.4 * np.sin(i), 0.0))
        seen = (world - pose[:3, 3]) @ pose[:3, :3]
        finder.add(np.concatenate([seen, mast + rng.normal(0, 0.005, mast.shape)]))
    body = finder.body()
    assert body.holds(mast).all()
    far = np.linalg.norm(world, axis=1) > 0.6
    assert not body.holds(world[far]).any()


def test_cloud_in_another_place_each_time_has_no_body():
    finder, rng = BodyFinder(1.0), np.random.default_rng(0)
    for _ in range(20):
        finder.add(rng.uniform(-1, 1, (50, 3)))
    assert finder.body() is None


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    return drive(tmp_path_factory.mktemp('bag') / 'robot')


def content(index):
    return [index.scan(n).tobytes() for n in range(len(index))]


def test_index_is_built_once_and_holds_the_clouds(tmp_path, bag):
    _, index = indexed(bag, tmp_path)
    world = room_points(8000)
    for n in (0, 17, 39):
        sensor = pose_at(n * 0.1) @ turned(0, (0.2, 0.0, 0.7))
        again = index.scan(n) @ sensor[:3, :3].T + sensor[:3, 3]
        nearest = np.linalg.norm(again[:20, None] - world[None], axis=-1).min(1)
        assert nearest.max() < 1e-5
    stamps = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    indexed(bag, tmp_path)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == stamps


def test_second_sensor_on_the_topic_leaves_no_trace_and_shards_are_written_as_they_fill(tmp_path):
    """Two LiDARs in turn; what counts is one of them, and an interruption loses one shard."""
    written = []

    class Watched(ScanReader):
        def read(self, message, stamp_ns):
            written.append(len(list(tmp_path.glob('index/shard_*.npz'))))
            return super().read(message, stamp_ns)

    def points(count, scale):
        return scale * room_points(count), np.linspace(0, 0.0995, count).astype('f4')

    with Robot(tmp_path / 'bag') as robot:
        for i in range(60):
            stamp = FIRST + i * STEP
            for late, frame, (cloud, times) in (
                (0, 'front', points(400, 1.0)), (STEP // 2, 'rear', points(200, 0.2)),
            ):  # fmt: skip
                if frame == 'front' or i % 20:
                    robot.cloud(stamp + late, cloud, frame=frame, extra={'time': times})
    seen, index = indexed(tmp_path / 'bag', tmp_path / 'index', Watched())
    assert seen.frame == 'front' and (seen.stamps_ns == FIRST + np.arange(60) * STEP).all()
    assert seen.period_s == pytest.approx(0.1) and seen.points == 400
    assert seen.timing.span == pytest.approx(0.0995, abs=1e-4)
    alone = np.quantile(np.linalg.norm(room_points(400), axis=1), (0.05, 0.5, 0.95))
    assert np.allclose(seen.ranges, alone, rtol=1e-3)
    assert seen.body.clouds == 6
    assert len(index) == 60 and index.facts['unusable'] == 0
    assert written[-1] == index.facts['shards'] - 1


def test_damaged_shard_is_named_and_alone_made_again(tmp_path, bag):
    _, index = indexed(bag, tmp_path)
    whole = content(index)
    shard = tmp_path / 'shard_00003.npz'
    shard.write_bytes(shard.read_bytes()[:200])
    with pytest.raises(FileError, match='shard_00003.npz is missing or damaged'):
        content(Index(tmp_path))
    shard.unlink()
    kept = (tmp_path / 'shard_00002.npz').stat().st_mtime_ns
    _, index = indexed(bag, tmp_path)
    assert content(index) == whole
    assert (tmp_path / 'shard_00002.npz').stat().st_mtime_ns == kept


def test_index_of_another_recording_is_not_overwritten(tmp_path, bag):
    indexed(bag, tmp_path / 'index')
    other = drive(tmp_path / 'other', count=40, points=500)
    with pytest.raises(FileError, match='another recording'):
        indexed(other, tmp_path / 'index')


BUILD = """
import sys, time
import numpy as np
from dlc_training.recordings import index as module
from dlc_training.recordings.scans import ScanReader
from dlc_training.recordings.sources import Recording
from dlc_training.recordings.survey import survey
bag, folder, pause = sys.argv[1:]
class Slow(ScanReader):
    def read(self, message, stamp_ns):
        time.sleep(float(pause))
        return super().read(message, stamp_ns)
recording = Recording([bag])
seen = survey(recording, quiet=True)
print('reading', flush=True)
try:
    module.build_index(folder, recording, seen, Slow(), np.arange(40), quiet=True)
except module.FileError as error:
    print(error, flush=True)
    sys.exit(2)
"""


def building(bag, folder, pause, **options):
    return subprocess.Popen(
        [sys.executable, '-c', BUILD, str(bag), str(folder), str(pause)],
        stdout=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGINT])
def test_interrupted_index_goes_on_and_comes_out_the_same(tmp_path, bag, how):
    _, whole = indexed(bag, tmp_path / 'whole')
    process = building(bag, tmp_path / 'cut', 0.02, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == 'reading\n'
    while len(list((tmp_path / 'cut').glob('shard_*.npz'))) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(how)
    process.communicate(timeout=60)
    assert len(list((tmp_path / 'cut').glob('shard_*.npz'))) < 14
    _, index = indexed(bag, tmp_path / 'cut')
    assert content(index) == content(whole)


def test_full_disk_is_one_clear_error_and_what_was_written_is_used(tmp_path, bag):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    process = building(bag, tmp_path / 'index', 0.0, preexec_fn=small_files)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and 'cannot write' in out and 'make room' in out
    assert not list((tmp_path / 'index').glob('*.partial'))
    _, index = indexed(bag, tmp_path / 'index')
    assert len(index) == 40
