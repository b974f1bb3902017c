"""Transforms, trajectories and truth: what a recording knows of the sensor's way."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rosbags')

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from recordings import (  # noqa: E402
    FIRST,
    MOUNT,
    STEP,
    Robot,
    drive,
    indexed,
    pose_at,
    room_points,
    turned,
)
from scipy.spatial.transform import Rotation, Slerp  # noqa: E402

from dlc_ros.errors import DlcError, FileError, TransformUnavailable  # noqa: E402
from dlc_ros.localization.transforms import TransformTree  # noqa: E402
from dlc_ros.registration.se3 import quaternion_from_matrix  # noqa: E402
from dlc_training.recordings.frames import TransformLog, interpolate_poses  # noqa: E402
from dlc_training.recordings.labels import Labels  # noqa: E402
from dlc_training.recordings.sources import Recording  # noqa: E402
from dlc_training.recordings.survey import survey  # noqa: E402
from dlc_training.recordings.trajectory import read_trajectory  # noqa: E402
from dlc_training.recordings.truth import Wishes, known_truth  # noqa: E402

TIMES = FIRST + np.arange(40) * STEP


def surveyed(path):
    return survey(Recording([path]), quiet=True)


def true_poses(stamps_ns):
    return np.array([pose_at((s - FIRST) * 1e-9) @ MOUNT for s in stamps_ns])


def _seconds(stamp_ns):
    return f'{stamp_ns // 10**9}.{stamp_ns % 10**9:09d}'


def tum(path, stamps_ns, poses):
    rows = [
        f'{_seconds(s)} ' + ' '.join(map(str, [*p[:3, 3], *quaternion_from_matrix(p)]))
        for s, p in zip(stamps_ns.tolist(), poses, strict=True)
    ]
    path.write_text('# a comment\n' + '\n'.join(rows) + '\n')
    return path


@given(st.integers(0, 10**9), st.integers(1, 30))
def test_interpolation_is_scipy_slerp_and_a_straight_line(seed, count):
    rng = np.random.default_rng(seed)
    stamps = np.cumsum(rng.integers(1, 10**8, count + 1))
    turns = Rotation.random(count + 1, random_state=seed)
    poses = np.tile(np.eye(4), (count + 1, 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = turns.as_matrix(), rng.normal(size=(count + 1, 3))
    at = rng.integers(stamps[0], stamps[-1] + 1, 20)
    found, known = interpolate_poses(stamps, poses, at, 1.0)
    assert known.all()
    expected = Slerp(stamps, turns)(at)
    assert (
        np.degrees((expected.inv() * Rotation.from_matrix(found[:, :3, :3])).magnitude()).max()
        < 1e-4
    )
    for axis in range(3):
        assert np.allclose(found[:, axis, 3], np.interp(at, stamps, poses[:, axis, 3]))


def test_poses_of_a_long_recording_take_the_memory_of_its_clouds():
    """And those within scans, for deskewing, that of the scans which are kept."""
    count, kept = 20_000, np.array([3, 700, 15_000])
    log, stamps = TransformLog(), FIRST + np.arange(count) * STEP
    for i in range(-2, count + 2):
        log.add('map', 'lidar', FIRST + i * STEP, (0.01 * i, 0, 0), (0, 0, 0, 1))
    log.poses('map', 'lidar', stamps[:1], 1.0)  # the log has its own table now
    seen = SimpleNamespace(
        transforms=log, frame='lidar', stamps_ns=stamps, timing=SimpleNamespace(span=0.1)
    )
    tracemalloc.start()
    truth, _ = known_truth(seen)
    peak = tracemalloc.get_traced_memory()[1]
    dense = truth.within(stamps[kept], 0.1)
    tracemalloc.stop()
    assert len(truth.stamps_ns) == count and peak < 1500 * count
    assert len(dense.stamps_ns) == 9 * len(kept)
    at = (stamps[kept][:, None] + np.arange(-100, 101, 7) * 10**6).ravel()
    found, known = dense.at(at)
    assert known.all() and np.allclose(found, log.poses('map', 'lidar', at, 1.0)[0], atol=1e-4)


@pytest.mark.parametrize('gap', [0.5, 5.0])
def test_nothing_is_known_in_a_gap_or_beyond_the_ends(gap):
    stamps = np.array([0, 10**9, 10**9 + round(gap * 1e9), 20 * 10**9])
    poses = np.tile(np.eye(4), (4, 1, 1))
    at = [-1, 10**9 // 2, 10**9, 10**9 + round(gap * 5e8), 20 * 10**9, 20 * 10**9 + 1]
    _, known = interpolate_poses(stamps, poses, at, 1.0)
    assert known.tolist() == [False, True, True, gap <= 1.0, True, False]


def test_chains_agree_with_the_buffer_of_the_node():
    rng = np.random.default_rng(0)
    log, tree = TransformLog(), TransformTree(cache_s=100)
    for parent, child, static in (('map', 'odom', False), ('odom', 'base', False),
                                  ('base', 'lidar', True), ('base', 'camera', True)):  # fmt: skip
        for i in range(1 if static else 12):
            matrix = turned(rng.uniform(-180, 180), rng.normal(size=3))
            log.add(
                parent, child, i * 10**8, matrix[:3, 3], quaternion_from_matrix(matrix), static
            )
            tree.insert(parent, child, i * 10**8, matrix, static)
    at = rng.integers(0, 11 * 10**8, 30)
    for target, source in (('map', 'lidar'), ('camera', 'lidar'), ('lidar', 'odom')):
        poses, known = log.poses(target, source, at, 1.0)
        assert known.all()
        for pose, stamp in zip(poses, at, strict=True):
            assert np.allclose(pose, tree.lookup(target, source, int(stamp) or 1), atol=1e-9)
    with pytest.raises(TransformUnavailable, match="no frame 'nowhere'"):
        log.poses('map', 'nowhere', at, 1.0)


def test_lookup_of_a_part_is_that_of_the_whole_and_keeps_no_more_than_the_transforms():
    log, count = TransformLog(), 20_000
    for i in range(count):
        matrix = pose_at(0.02 * i)
        log.add('map', 'lidar', i * STEP // 5, matrix[:3, 3], quaternion_from_matrix(matrix))
    at = np.random.default_rng(0).integers(-STEP, count * STEP // 5 + STEP, 200)
    whole, known = log.poses('map', 'lidar', at, 1.0)
    for i in range(0, 200, 40):
        poses, there = log.poses('map', 'lidar', at[i : i + 1], 1.0)
        assert there[0] == known[i] and np.allclose(poses[0], whole[i], atol=1e-12)
    assert len(log.poses('map', 'lidar', at[:0], 1.0)[0]) == 0
    log.add('map', 'lidar', 10**12, (0, 0, 0), (0, 0, 0, 1))
    tracemalloc.start()
    log.poses('map', 'lidar', at[:1], 1.0)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 70 * count and peak < 140 * count


def test_tf_from_the_map_is_the_truth_interpolated_at_the_stamps(tmp_path):
    seen = surveyed(drive(tmp_path / 'bag'))
    truth, reasons = known_truth(seen)
    poses, known = truth.at(seen.stamps_ns)
    assert known.all() and not truth.drifts and 'map -> lidar' in truth.provenance
    assert np.abs(poses - true_poses(seen.stamps_ns)).max() < 1e-6
    assert reasons == []


def test_odom_is_used_where_there_is_no_map_and_known_to_drift(tmp_path):
    truth, reasons = known_truth(surveyed(drive(tmp_path / 'bag', frame='odom')))
    assert truth.drifts and truth.frame == 'odom'
    assert 'map' in reasons[0]


@pytest.mark.parametrize('named', [False, True])
@pytest.mark.parametrize(
    ('frame', 'drifts'),
    [
        ('map', False),
        ('robot1/map', False),
        ('odom', True),
        ('robot1/odom', True),
        ('odom_combined', True),
        ('camera_init', True),
    ],
)
def test_poses_in_any_frame_but_a_map_are_taken_for_odometry(tmp_path, frame, drifts, named):
    wishes = Wishes(fixed_frame=frame) if named else Wishes()
    truth, _ = known_truth(surveyed(drive(tmp_path / 'bag', frame=frame)), wishes)
    assert truth.drifts == drifts and truth.frame == frame and not truth.measured
    assert ('taken for odometry' in truth.provenance) == drifts


@pytest.mark.parametrize(
    ('frame', 'file', 'caveat'),
    [
        ('map', False, 'as good as what localised the robot'),
        ('odom', False, 'made from the clouds themselves'),
        ('odom', True, ''),
    ],
)
def test_only_poses_of_a_named_file_are_a_truth_to_be_judged_by(tmp_path, frame, file, caveat):
    seen, index = indexed(drive(tmp_path / 'bag', frame=frame), tmp_path / 'out' / 'index')
    path = tum(tmp_path / 'truth.txt', TIMES, true_poses(TIMES))
    truth, _ = known_truth(seen, Wishes(str(path) if file else ''))
    labels = Labels(None, tmp_path / 'out', None, seen, index, truth, quiet=True)
    said = labels.make(truth.at(index.stamps_ns)[0], None).caveat
    assert caveat in said and bool(said) == bool(caveat)


def test_gap_in_tf_leaves_clouds_out_and_says_how_many(tmp_path):
    seen = surveyed(drive(tmp_path / 'bag', gap=(1.0, 2.6)))
    truth, reasons = known_truth(seen)
    _, known = truth.at(seen.stamps_ns)
    assert 13 <= (~known).sum() <= 17
    assert f'{int((~known).sum())} clouds are left out' in ' '.join(reasons)


def test_static_frames_alone_are_no_truth(tmp_path):
    truth, reasons = known_truth(surveyed(drive(tmp_path / 'bag', frame='')))
    assert truth is None
    assert any('static' in reason or 'no frame' in reason for reason in reasons)


def pose_topic(path, kind, poses):
    """A recording whose robot tells its poses, (40, 4, 4) of base_link in the map, on /pose."""
    with Robot(path) as robot:
        robot.frames(FIRST, ('base_link', 'lidar', MOUNT), topic='/tf_static')
        for stamp, matrix in zip(TIMES.tolist(), poses, strict=True):
            x, y, z, w = quaternion_from_matrix(matrix)
            pose = {
                'position': dict(zip('xyz', map(float, matrix[:3, 3]), strict=True)),
                'orientation': dict(x=float(x), y=float(y), z=float(z), w=float(w)),
            }
            header = {
                'frame_id': 'map',
                'stamp': {'sec': stamp // 10**9, 'nanosec': stamp % 10**9},
            }
            values = {'header': header, 'pose': pose}
            if kind.endswith('Odometry'):
                values = {'header': header, 'child_frame_id': 'base_link', 'pose': {'pose': pose}}
            robot.message('/pose', kind, values, stamp)
            robot.cloud(stamp, room_points(300))
    return path


@pytest.mark.parametrize('kind', ['nav_msgs/msg/Odometry', 'geometry_msgs/msg/PoseStamped'])
def test_pose_topics_come_after_tf(tmp_path, kind):
    poses = [pose_at(i * 0.1) for i in range(40)]
    truth, reasons = known_truth(surveyed(pose_topic(tmp_path / 'bag', kind, poses)))
    if kind.endswith('Odometry'):
        assert '/pose' in truth.provenance
        assert np.abs(truth.at(TIMES)[0] - true_poses(TIMES)).max() < 1e-9
    else:  # whose pose it is the message does not say, and identity is not assumed
        assert truth is None and 'does not say which frame' in ' '.join(reasons)


def test_poses_that_are_no_numbers_are_left_out_and_counted(tmp_path):
    poses = np.array([pose_at(i * 0.1) for i in range(40)])
    poses[[7, 8], :3, 3] = np.nan  # a filter that diverged
    seen = surveyed(pose_topic(tmp_path / 'bag', 'nav_msgs/msg/Odometry', poses))
    assert '2 message(s) left out: /pose: a pose that is no number' in seen.notes
    found, known = known_truth(seen)[0].at(TIMES)
    assert known.all() and np.abs(found - true_poses(TIMES))[:, :3, 3].max() < 0.02


def test_trajectory_file_that_is_named_is_meant(tmp_path):
    seen = surveyed(drive(tmp_path / 'bag', frame='odom'))
    path = tum(tmp_path / 'truth.txt', TIMES, [pose_at(i * 0.1) for i in range(40)])
    truth, reasons = known_truth(seen, Wishes(str(path), 'base_link'))
    assert len(reasons) == 1 and reasons[0].startswith('no poses from /tf odom -> lidar')
    assert not truth.drifts and 'truth.txt' in truth.provenance
    assert np.abs(truth.at(TIMES)[0] - true_poses(TIMES)).max() < 1e-9
    with pytest.raises(DlcError, match="no frame 'imu'"):
        known_truth(seen, Wishes(str(path), 'imu'))


def test_kitti_file_has_a_line_for_each_cloud(tmp_path):
    path = tmp_path / 'poses.txt'
    poses = true_poses(TIMES)
    np.savetxt(path, poses[:, :3].reshape(-1, 12))
    stamps, found = read_trajectory(path, TIMES)
    assert (stamps == TIMES).all() and np.allclose(found, poses)
    with pytest.raises(FileError, match='40 poses for 39 clouds'):
        read_trajectory(path, TIMES[:-1])


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('1 2 3\n', 'lines of'),
        ('a b c d e f g h\n', 'not a trajectory'),
        ('5.0 0 0 0 0 0 0 1\n6.0 0 0 0 0 0 0 1\n', 'do not overlap'),
        ('', 'lines of'),
        ('1600000000 0 0 0 0 0 0 1\n1600000001 nan nan nan 0 0 0 1\n', "nan 0 0 0 1' is no pose"),
        ('1600000000 0 0 0 0 0 0 1\n1600000001 1 0 0 0 0 0 0\n', "0 0 0 0' is no pose"),
        # Columns that people's tools write: nanoseconds, names, Euler angles, another number.
        ('#timestamp\n1600000000000000000,0,0,0,0,0,0,1\n', 'line 2: .* nanoseconds'),
        ('1e305 0 0 0 0 0 0 1\n', 'line 1: .* nanoseconds'),
        ('1e400 0 0 0 0 0 0 1\n', 'line 1: .* is no pose'),
        ('t,x,y,z,qx,qy,qz,qw\n1600000000,0,0,0,0,0,0,1\n', 'line 1: .* header'),
        ('1600000000 1 2 0 0.1 0.2 1.5 0\n', 'line 1: .* length 1.52 and not 1'),
        ('2 0 0 0 0 2 0 0 0 0 2 0\n', 'line 1: .* no rigid transform'),
    ],
)
def test_bad_trajectory_files_are_one_clear_error(tmp_path, text, message):
    path = tmp_path / 'poses.txt'
    path.write_text(text)
    with pytest.raises(FileError, match=message) as refused:
        read_trajectory(path, TIMES)
    assert '\n' not in str(refused.value)


def test_a_trajectory_that_is_no_text_is_told(tmp_path):
    (tmp_path / 'poses.ply').write_bytes(bytes(range(256)))
    with pytest.raises(FileError, match='binary'):
        read_trajectory(tmp_path / 'poses.ply', TIMES)


def test_a_trajectory_with_two_digits_and_lines_in_any_order_is_read(tmp_path):
    """As people round them; stamps that are there twice count once."""
    path = tmp_path / 'poses.tum'
    path.write_text('# t x y z q\n1600000001 1 2 3 0 0 0.71 0.70\n1600000000 0 0 0 0 0 0 1\n' * 2)
    stamps, poses = read_trajectory(path, TIMES)
    assert stamps.tolist() == [1_600_000_000 * 10**9, 1_600_000_001 * 10**9]
    assert np.abs(poses[1] - turned(90, (1, 2, 3))).max() < 0.02


@pytest.mark.parametrize('seconds', [-37.25, 1200.0, -1.6e9])
def test_clouds_of_another_clock_are_moved_to_that_of_the_transforms_and_named(tmp_path, seconds):
    seen = surveyed(drive(tmp_path / 'bag', clock_ns=round(seconds * 1e9)))
    assert any('another clock' in note for note in seen.notes)
    assert abs((seen.stamps_ns[0] - seen.header_ns[0]) * 1e-9 + seconds) < 0.01
    truth, _ = known_truth(seen)
    poses, known = truth.at(seen.stamps_ns)
    assert known.mean() > 0.9
    expected = true_poses(TIMES)[known]
    assert np.linalg.norm(poses[known][:, :3, 3] - expected[:, :3, 3], axis=1).max() < 0.02


@pytest.mark.parametrize('ahead', [0.0, 37.0])
@pytest.mark.parametrize('pace', [0.5, 0.9, 2.0])
def test_recorder_whose_clock_runs_at_another_pace_is_no_other_clock(tmp_path, pace, ahead):
    """A slow simulation recorded by the wall clock, a bag that was replayed and recorded again."""
    with Robot(tmp_path / 'bag') as robot:
        robot.frames(FIRST, ('base_link', 'lidar', MOUNT), topic='/tf_static')
        for i in range(5000):
            passed = i * STEP // 5
            late = round(passed / pace) - passed
            where = turned(0, (0.5e-9 * passed, 0, 0))
            robot.frames(FIRST + passed, ('map', 'base_link', where), late=late)
            if i % 50 == 20:
                stamp = FIRST + passed + round(ahead * 1e9)
                robot.cloud(stamp, room_points(50), late=late - round(ahead * 1e9))
    seen = surveyed(tmp_path / 'bag')
    assert abs((seen.header_ns - seen.stamps_ns).mean() * 1e-9 - ahead) < 0.02
    assert any('another clock' in note for note in seen.notes) == (ahead > 0)
    poses, known = known_truth(seen)[0].at(seen.stamps_ns)
    expected = 0.2 + 0.5 * ((seen.header_ns - FIRST) * 1e-9 - ahead)
    assert known.all() and np.abs(poses[:, 0, 3] - expected).max() < 0.01


def test_transforms_that_are_dated_ahead_are_not_taken_for_the_clock(tmp_path):
    """A localizer says map -> odom for the second to come, between the transforms of odometry."""
    with Robot(tmp_path / 'bag') as robot:
        robot.frames(FIRST, ('base_link', 'lidar', MOUNT), topic='/tf_static')
        for i in range(400):
            stamp = FIRST + i * STEP // 5
            robot.frames(stamp, ('odom', 'base_link', pose_at(i * 0.02)))
            if i % 4 == 0:
                robot.frames(stamp + 10**9, ('map', 'odom', np.eye(4)), late=-(10**9))
            if i % 5 == 0:
                robot.cloud(stamp, room_points(50))
    seen = surveyed(tmp_path / 'bag')
    assert (seen.stamps_ns == seen.header_ns).all() and seen.notes == []


def two_trees(path, own, other, clouds='/points', repeated=True):
    """
    A robot as :func:`drive` has it on topics ``own`` + ``_static``, and on ``other`` another one.

    The other one comes first, goes elsewhere, has its sensor elsewhere, and knows a map.
    """
    base = 'base_link' if repeated else 'other/base_link'
    odom = 'odom' if repeated else 'other/odom'
    with Robot(path) as robot:
        robot.frames(FIRST, (base, 'lidar' if repeated else 'other/lidar', turned(90)),
                     topic=f'{other}_static')  # fmt: skip
        robot.frames(FIRST, ('base_link', 'lidar', MOUNT), topic=f'{own}_static')
        for i in range(80):
            stamp, elsewhere = FIRST + i * STEP // 2, turned(-5 * i, (0, -0.1 * i, 0))
            robot.frames(stamp, ('map', odom, elsewhere), (odom, base, elsewhere), topic=other)
            robot.frames(stamp + 10**6, ('odom', 'base_link', pose_at(i * 0.05)), topic=own)
            if i % 2 == 0:
                robot.cloud(stamp + 10**6, room_points(50), topic=clouds)
    return path


@pytest.mark.parametrize(
    ('own', 'other', 'clouds'),
    [
        ('/robot1/tf', '/robot2/tf', '/robot1/points'),
        ('/fleet/robot1/tf', '/fleet/robot2/tf', '/fleet/robot1/lidar/points'),
        ('/tf', '/recorded/tf', '/points'),
        ('/tf', '/robot2/tf', '/robot1/points'),
    ],
)
def test_transforms_of_another_robot_with_the_same_frames_are_left_out_and_named(
    tmp_path, own, other, clouds
):
    seen = surveyed(two_trees(tmp_path / 'bag', own, other, clouds))
    assert any(note.startswith(f'{other}, {other}_static: left out, for {own}')
               for note in seen.notes)  # fmt: skip
    truth, _ = known_truth(seen)
    assert truth.frame == 'odom'
    poses, known = truth.at(seen.stamps_ns)
    expected = true_poses(seen.stamps_ns - 10**6)
    assert known.all() and np.abs(poses - expected).max() < 1e-6


def test_of_topics_about_one_robot_the_nearest_to_the_clouds_goes_first(tmp_path):
    """The namespace's own odometry; /tf has another one, and what only /tf has is used."""
    with Robot(tmp_path / 'bag') as robot:
        robot.frames(FIRST, ('base_link', 'lidar', MOUNT), topic='/tf_static')
        for i in range(80):
            stamp = FIRST + i * STEP // 2
            wrong = turned(0, (0, -0.1 * i, 0))
            robot.frames(stamp, ('map', 'odom', np.eye(4)), ('odom', 'base_link', wrong))
            robot.frames(stamp, ('odom', 'base_link', pose_at(i * 0.05)), topic='/robot/tf')
            if i % 2 == 0:
                robot.cloud(stamp, room_points(50), topic='/robot/points')
    seen = surveyed(tmp_path / 'bag')
    assert "the transforms of 'base_link' are left out, for those of /robot/tf" in seen.notes[0]
    truth, _ = known_truth(seen)
    assert truth.frame == 'map'
    assert np.abs(truth.at(TIMES)[0] - true_poses(TIMES)).max() < 1e-6


def test_topics_that_tell_of_different_frames_are_one_tree(tmp_path):
    path = two_trees(tmp_path / 'bag', '/tf', '/arm/tf', repeated=False)
    seen = surveyed(path)
    assert seen.notes == []
    assert {'other/base_link', 'base_link'} <= seen.transforms.frames
