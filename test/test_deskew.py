"""Points measured while the sensor moves: times as drivers write them, motion undone exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import Rig, apply, at, pose
from scipy.spatial.transform import Rotation, Slerp

from dlc_ros.errors import CloudError
from dlc_ros.localization.deskew import deskew, offsets_from_stamp, sweep_poses
from dlc_ros.localization.transforms import TransformTree
from dlc_ros.node.definitions import build_message, distro_typestore
from dlc_ros.node.pointcloud2 import times_from_message

STAMP_NS = 1_732_000_000_123_456_789
SWEEP_S = np.linspace(0.0, 0.0995, 200)

# What a driver writes for points that were measured SWEEP_S after the stamp.
FIELDS = {
    'Velodyne: float32 s': SWEEP_S.astype('f4'),
    'Ouster t: uint32 ns': (SWEEP_S * 1e9).astype('u4'),
    'Livox offset_time: uint32 ns': (SWEEP_S * 1e9).astype('u4'),
    'microseconds: uint32': (SWEEP_S * 1e6).astype('u4'),
    'microseconds: float32': (SWEEP_S * 1e6).astype('f4'),
    'Hesai timestamp: float64 s since 1970': STAMP_NS * 1e-9 + SWEEP_S,
    'Livox timestamp: float64 ns since 1970': STAMP_NS + SWEEP_S * 1e9,
    'int64 ns since 1970': STAMP_NS + (SWEEP_S * 1e9).astype('i8'),
    "absolute, the sensor's own clock: float64 s": 512.25 + SWEEP_S,
}


@pytest.mark.parametrize('kind', FIELDS)
def test_times_of_known_drivers_are_seconds_after_the_stamp(kind):
    offsets = offsets_from_stamp(FIELDS[kind], STAMP_NS)
    np.testing.assert_allclose(offsets, SWEEP_S, atol=2e-6)


@pytest.mark.parametrize('times', [SWEEP_S - SWEEP_S[-1], STAMP_NS * 1e-9 + SWEEP_S - SWEEP_S[-1]])
def test_a_stamp_at_the_end_of_the_sweep(times):
    np.testing.assert_allclose(
        offsets_from_stamp(times, STAMP_NS), SWEEP_S - SWEEP_S[-1], atol=2e-6
    )


@settings(max_examples=50)
@given(
    st.sampled_from(list(FIELDS)),
    st.sampled_from(['start', 'end']),
)
def test_what_the_stamp_is_of_the_sweep_may_be_told(kind, stamp_at):
    expected = SWEEP_S if stamp_at == 'start' else SWEEP_S - SWEEP_S[-1]
    offsets = offsets_from_stamp(FIELDS[kind], STAMP_NS, stamp_at=stamp_at)
    np.testing.assert_allclose(offsets, expected, atol=2e-6)


def test_the_unit_may_be_told():
    half_a_millisecond = np.arange(501, dtype='u4') * 1000
    assert offsets_from_stamp(half_a_millisecond, STAMP_NS)[-1] == pytest.approx(0.5)
    with pytest.raises(CloudError, match=r'span 0\.0005 s'):
        offsets_from_stamp(half_a_millisecond, STAMP_NS, unit='ns')


def test_one_time_for_all_points_is_no_sweep():
    assert offsets_from_stamp(np.zeros(10), STAMP_NS) is None


@pytest.mark.parametrize(
    ('times', 'message'),
    [
        (np.array([0.0, np.nan]), 'not finite'),
        (np.array(['a', 'b']), 'not finite'),
        (np.array([0.0, 50.0]), 'no sweep'),
        (np.array([0, 7], dtype='u4'), 'no sweep'),
        (np.array([1.7e9, 1.7e9 + 128], dtype='f4'), 'no sweep'),
        (np.array([20_000.0, 20_000.1], dtype='f4'), 'too coarse'),
        (np.array([-(2**31), 2**31 - 1], dtype='i4'), 'no sweep'),
        (np.array([-1.7e308, 1.7e308]), 'no sweep'),
    ],
)
def test_times_that_mean_nothing_are_refused(times, message):
    with pytest.raises(CloudError, match=message):
        offsets_from_stamp(times, STAMP_NS)


def test_points_go_where_scipy_interpolates_the_sensor_to_be():
    """Oracle: scipy's Slerp and numpy's interp between the poses at the knots."""
    generator = np.random.default_rng(0)
    knots = np.array([-0.02, 0.0, 0.01, 0.05, 0.08])
    poses = np.array([pose(generator.normal(size=3), generator.normal(size=3)) for _ in knots])
    points = generator.normal(scale=20.0, size=(500, 3))
    offsets = generator.uniform(knots[0], knots[-1], 500)
    offsets[:2] = knots[[0, -1]]
    turns = Slerp(knots, Rotation.from_matrix(poses[:, :3, :3]))(offsets)
    places = np.column_stack([np.interp(offsets, knots, poses[:, i, 3]) for i in range(3)])
    np.testing.assert_allclose(
        deskew(points, offsets, knots, poses), turns.apply(points) + places, atol=1e-9
    )


def test_the_sensors_poses_are_seen_from_where_it_was_at_the_stamp():
    tree = TransformTree()
    for i in range(30):
        yaw = 0.01 * i
        tree.insert('odom', 'lidar', at(0.01 * i), pose((0, 0, yaw), (0.1 * i, 0, 0)))
    knots, poses = sweep_poses(tree.lookup, 'odom', 'lidar', at(0.1), -0.05, 0.1)
    assert (knots[0], knots[-1]) == (-0.05, 0.1)
    for knot, found in zip(knots, poses, strict=True):
        truth = tree.lookup('odom', 'lidar', at(0.1 + knot))
        expected = np.linalg.inv(tree.lookup('odom', 'lidar', at(0.1))) @ truth
        np.testing.assert_allclose(found, expected, atol=1e-9)


# Through the localizer: a robot at 2 m/s and 1 rad/s, a LiDAR of 10 Hz


def odom_at(seconds):
    return pose((0, 0, 1.0 * seconds), (2.0 * seconds, 0.3 * seconds, 0))


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path, {'mode': 'map', 'reference': 'map', 'lookup_timeout': 0.0})


def drive(rig, seconds, until):
    for tick in np.arange(seconds, until + 0.005, 0.01):
        rig.tree.insert('odom', 'base_link', at(tick), odom_at(tick))


def swept(rig, seconds, offsets):
    """Points of the map as a spinning LiDAR sees them, each at its own time."""
    base_from_lidar = rig.tree.lookup('base_link', 'lidar', 0)
    return np.array(
        [
            apply(np.linalg.inv(odom_at(seconds + t) @ base_from_lidar), point[None])[0]
            for t, point in zip(offsets, rig.cloud, strict=True)
        ]
    )


@pytest.mark.parametrize('first', [0.0, -0.099, -0.05])
def test_a_moving_robot_sees_the_map_undistorted(rig, first):
    """The stand-in fits points exactly: what is left of the distortion would show."""
    drive(rig, -0.2, 0.2)
    offsets = np.linspace(first, first + 0.099, len(rig.cloud))
    points = swept(rig, 0.0, offsets)
    (estimate,) = rig.localizer.on_cloud(at(0), 'lidar', points, times=lambda: offsets).poses
    np.testing.assert_allclose(rig.calls[0].points, rig.cloud, atol=1e-3)
    np.testing.assert_allclose(estimate.matrix, np.eye(4), atol=1e-3)
    assert 'points moved by up to' in rig.status('input').values['deskew']

    (skewed,) = rig.localizer.on_cloud(at(0.1), 'lidar', swept(rig, 0.1, offsets)).poses
    distortion = np.linalg.norm(
        rig.calls[1].points - apply(np.linalg.inv(odom_at(0.1)), rig.cloud)
    )
    assert distortion / np.sqrt(len(rig.cloud)) > 0.05, 'it would have mattered'
    assert 'do not tell' in rig.status('input').values['deskew']


def test_rows_without_a_point_have_no_time(rig):
    drive(rig, -0.1, 0.2)
    offsets = np.linspace(0.0, 0.099, len(rig.cloud))
    points = np.insert(swept(rig, 0.0, offsets), [0, 30], np.nan, axis=0)
    times = np.insert(offsets, [0, 30], 1e30)
    assert rig.localizer.on_cloud(at(0), 'lidar', points, times=lambda: times).poses
    np.testing.assert_allclose(rig.calls[0].points, rig.cloud, atol=1e-3)


@pytest.mark.parametrize('clock', [0.0, at(0) * 1e-9], ids=['relative', 'absolute'])
def test_holes_that_were_written_as_zeros_do_not_stop_it(rig, clock):
    """Their time is a zero too, fifty years before the others; and a point may have no time."""
    drive(rig, -0.1, 0.2)
    offsets = np.linspace(0.01, 0.099, len(rig.cloud))
    points = np.insert(swept(rig, 0.0, offsets), [0, 30], 0.0, axis=0)
    times = np.insert(offsets + clock, [0, 30], 0.0)
    times[12] = np.nan
    rig.localizer.on_cloud(at(0), 'lidar', points, times=lambda: times)
    timed = points.any(axis=1) & np.isfinite(times)
    moved = rig.calls[0].points[timed]
    np.testing.assert_allclose(moved, rig.cloud[np.arange(60) != 11], atol=1e-3)
    assert 'points moved by up to' in rig.status('input').values['deskew']


def test_a_robot_that_stands_still_pays_nothing(rig):
    for tick in (-0.1, 0.2):
        rig.tree.insert('odom', 'base_link', at(tick), np.eye(4))
    points = swept(rig, 0.0, np.zeros(60))
    rig.localizer.on_cloud(at(0), 'lidar', points, times=lambda: np.linspace(0, 0.1, 60))
    assert rig.status('input').values['deskew'] == 'none: nothing moved'


@pytest.mark.parametrize(
    ('times', 'message'),
    [
        (np.linspace(0, 0.1, 60), 'ends at'),  # odometry is known until the stamp only
        (np.linspace(0, 0.1, 59), '59 times for 60 points'),
        (np.linspace(0, 99.0, 60), 'no sweep'),
        (CloudError('field t is cut off'), 'cut off'),
    ],
)
def test_a_sweep_that_cannot_be_undone_is_used_and_said_to_be(rig, times, message):
    def read():
        if isinstance(times, Exception):
            raise times
        return times

    drive(rig, -0.1, 0.0)
    points = swept(rig, 0.0, np.zeros(60))
    assert rig.localizer.on_cloud(at(0), 'lidar', points, times=read).poses
    entry = rig.status('input')
    assert entry.level == 1
    assert message in entry.message


def test_times_are_not_even_read_where_nothing_can_be_undone(tmp_path):
    def never():
        raise AssertionError('read in vain')

    for changes in ({'deskew.enabled': False}, {'frames.odom': ''}):
        rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map', **changes})
        assert rig.scan(0.0, times=never).poses


# The field in the message


@pytest.mark.parametrize(
    ('name', 'datatype', 'dtype', 'bigendian'),
    [('t', 6, 'u4', False), ('time', 7, 'f4', True), ('timestamp', 8, 'f8', False)],
)
def test_the_time_field_of_a_message(name, datatype, dtype, bigendian):
    order = '>' if bigendian else '<'
    record = np.dtype(
        {
            'names': ['x', 'y', 'z', name],
            'formats': [f'{order}f4'] * 3 + [f'{order}{dtype}'],
            'offsets': [0, 4, 8, 16],
            'itemsize': 26,
        }
    )
    rows = np.zeros(50, record)
    rows[name] = np.arange(50)
    types = {'x': 7, 'y': 7, 'z': 7, name: datatype}
    values = {
        'height': 5,
        'width': 10,
        'fields': [
            {'name': field, 'offset': record.fields[field][1], 'datatype': kind, 'count': 1}
            for field, kind in types.items()
        ],
        'is_bigendian': bigendian,
        'point_step': 26,
        'row_step': 260,
        'data': rows.view(np.uint8),
    }
    message = build_message(distro_typestore(), 'sensor_msgs/msg/PointCloud2', values)
    times = times_from_message(message)
    assert times.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(times, np.arange(50))
    message.fields[-1].name = 'intensity'
    assert times_from_message(message) is None
    message.fields[-1].name, message.fields[-1].offset = 't', 24
    with pytest.raises(CloudError, match="'t' at offset 24 does not fit"):
        times_from_message(message)
