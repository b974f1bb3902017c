"""The transform buffer against scipy and against what tf2 promises."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from dlc_ros.errors import TransformRefused, TransformUnavailable
from dlc_ros.localization.transforms import TransformTree

S = 10**9


def pose(rotvec=(0, 0, 0), translation=(0, 0, 0)):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rotvec).as_matrix()
    matrix[:3, 3] = translation
    return matrix


def random_pose(seed):
    generator = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.random(random_state=seed).as_matrix()
    matrix[:3, 3] = generator.uniform(-5, 5, 3)
    return matrix


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.floats(0.0, 1.0))
def test_between_two_stamps_is_a_straight_line_and_scipys_slerp(seed, share):
    first, second = random_pose(seed), random_pose(seed + 1)
    tree = TransformTree()
    tree.insert('map', 'base', 10 * S, first)
    tree.insert('map', 'base', 12 * S, second)
    stamp = round((10 + 2 * share) * S)
    share = (stamp - 10 * S) / (2 * S)
    found = tree.lookup('map', 'base', stamp)
    slerp = Slerp([0, 1], Rotation.from_matrix([first[:3, :3], second[:3, :3]]))
    np.testing.assert_allclose(found[:3, :3], slerp(share).as_matrix(), atol=1e-9)
    expected = (1 - share) * first[:3, 3] + share * second[:3, 3]
    np.testing.assert_allclose(found[:3, 3], expected, atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_two_frames_of_a_random_tree(data):
    """Oracle: the pose of each frame in the root, composed by scipy while the tree is drawn."""
    count = data.draw(st.integers(2, 9))
    tree = TransformTree()
    in_root = {'f0': pose()}
    for i in range(1, count):
        parent = f'f{data.draw(st.integers(0, i - 1))}'
        matrix = random_pose(data.draw(st.integers(0, 10**6)))
        static = data.draw(st.booleans())
        tree.insert(parent, f'f{i}', 5 * S, matrix, static=static)
        in_root[f'f{i}'] = in_root[parent] @ matrix
    target = f'f{data.draw(st.integers(0, count - 1))}'
    source = f'f{data.draw(st.integers(0, count - 1))}'
    expected = np.linalg.inv(in_root[target]) @ in_root[source]
    for stamp in (5 * S, 0):
        np.testing.assert_allclose(tree.lookup(target, source, stamp), expected, atol=1e-9)


def test_order_of_arrival_does_not_matter():
    tree = TransformTree()
    for second in (12, 10, 11, 13):
        tree.insert('a', 'b', second * S, pose(translation=(second**2, 0, 0)))
    assert tree.lookup('a', 'b', 10 * S + S // 2)[0, 3] == pytest.approx((100 + 121) / 2)
    assert tree.lookup('a', 'b', 12 * S)[0, 3] == pytest.approx(144)


def test_zero_is_the_latest_time_that_the_whole_chain_knows():
    tree = TransformTree()
    for second in (1, 2, 3):
        tree.insert('a', 'b', second * S, pose(translation=(second, 0, 0)))
    for second in (1, 2):
        tree.insert('b', 'c', second * S, pose(translation=(0, second, 0)))
    tree.insert('c', 'd', 0, pose(translation=(0, 0, 7)), static=True)
    np.testing.assert_allclose(tree.lookup('a', 'd', 0)[:3, 3], [2, 2, 7])


@pytest.mark.parametrize(
    ('target', 'source', 'second', 'reason'),
    [
        ('odom', 'base', 3, r'odom -> base ends at 2\.000 s.*future'),
        ('odom', 'base', 0.5, r'odom -> base begins at 1\.000 s.*past'),
        ('odom', 'lidar', 3, r'odom <- lidar at 3\.000 s: odom -> base ends'),
        ('odom', 'camera', 1, "nobody publishes the frame 'camera'"),
        ('odom', 'wheel', 1, "two trees, below 'axle' and 'odom'"),
    ],
)
def test_what_is_not_known_is_said_and_never_guessed(target, source, second, reason):
    tree = TransformTree()
    tree.insert('odom', 'base', 1 * S, pose())
    tree.insert('odom', 'base', 2 * S, pose())
    tree.insert('base', 'lidar', 0, pose(), static=True)
    tree.insert('axle', 'wheel', 0, pose(), static=True)
    with pytest.raises(TransformUnavailable, match=reason):
        tree.lookup(target, source, round(second * S))


def test_one_moving_transform_is_known_at_its_stamp_only():
    tree = TransformTree()
    tree.insert('a', 'b', 5 * S, pose())
    assert tree.lookup('a', 'b', 5 * S).shape == (4, 4)
    for stamp in (5 * S - 1, 5 * S + 1):
        with pytest.raises(TransformUnavailable):
            tree.lookup('a', 'b', stamp)


def test_old_transforms_are_dropped_after_the_cache_time():
    tree = TransformTree(cache_s=10)
    for second in range(1, 31):
        assert tree.insert('a', 'b', second * S, pose())
    assert not tree.insert('a', 'b', 5 * S, pose())
    tree.lookup('a', 'b', 20 * S)
    with pytest.raises(TransformUnavailable, match='begins at 20'):
        tree.lookup('a', 'b', 19 * S)


def test_the_tree_stays_a_tree():
    tree = TransformTree()
    tree.insert('a', 'b', S, pose())
    tree.insert('b', 'c', S, pose(translation=(1, 0, 0)))
    for parent, child in (('c', 'a'), ('b', 'b')):
        with pytest.raises(TransformRefused):
            tree.insert(parent, child, S, pose())
    with pytest.raises(TransformRefused, match='c has the parent b'):
        tree.insert('a', 'c', S, pose())
    # What was refused left no trace.
    np.testing.assert_allclose(tree.lookup('a', 'c', S), pose(translation=(1, 0, 0)))
    assert (tree.parent_of('a'), tree.parent_of('c'), tree.parent_of('?')) == (None, 'b', None)


def test_another_parent_takes_over_when_the_first_has_ended():
    tree = TransformTree(cache_s=10)
    tree.insert('odom', 'base', S, pose())
    with pytest.raises(TransformRefused):
        tree.insert('fused', 'base', 11 * S, pose())
    tree.insert('fused', 'base', 11 * S + 1, pose(translation=(1, 0, 0)))
    assert tree.parent_of('base') == 'fused'
    np.testing.assert_allclose(tree.lookup('fused', 'base', 0)[:3, 3], [1, 0, 0])
    with pytest.raises(TransformRefused, match='base has the parent fused'):
        tree.insert('odom', 'base', 12 * S, pose())
    tree.insert('base', 'lidar', 0, pose(), static=True)
    with pytest.raises(TransformRefused, match='lidar has the parent base'):
        tree.insert('odom', 'lidar', 99 * S, pose())


def test_nothing_is_guessed_between_a_static_transform_and_the_same_one_moving():
    tree = TransformTree()
    tree.insert('base', 'arm', 1 * S, pose(), static=True)
    tree.insert('base', 'arm', 5 * S, pose(translation=(4, 0, 0)))
    with pytest.raises(TransformUnavailable, match='begins at 5'):
        tree.lookup('base', 'arm', 3 * S)


@pytest.mark.parametrize(
    'matrix',
    [np.full((4, 4), np.nan), np.diag([1.0, 1, -1, 1]), 2 * np.eye(4), np.eye(3), 'x'],
)
def test_only_rigid_transforms_enter(matrix):
    tree = TransformTree()
    with pytest.raises(TransformRefused, match='a -> b is not a finite rigid transform'):
        tree.insert('a', 'b', S, matrix)
    with pytest.raises(TransformUnavailable):
        tree.lookup('a', 'b', 0)


def test_leading_slashes_of_ros_1_are_ignored_and_empty_names_refused():
    tree = TransformTree()
    tree.insert('/odom', '/base', S, pose(translation=(1, 2, 3)))
    np.testing.assert_allclose(tree.lookup('odom', '/base', 0)[:3, 3], [1, 2, 3])
    with pytest.raises(TransformRefused, match='names of both frames'):
        tree.insert('/', 'base', S, pose())


def test_a_jump_of_time_forgets_what_moves():
    tree = TransformTree()
    tree.insert('odom', 'base', 100 * S, pose())
    tree.insert('base', 'lidar', 0, pose(), static=True)
    tree.clear()
    tree.lookup('base', 'lidar', 7 * S)
    assert tree.insert('odom', 'base', 1 * S, pose())
    tree.lookup('odom', 'lidar', 1 * S)


def test_a_lookup_may_wait_for_a_transform_that_is_on_its_way():
    tree = TransformTree()
    tree.insert('odom', 'base', 1 * S, pose())
    arrival = threading.Timer(
        0.1, tree.insert, ('odom', 'base', 3 * S, pose(translation=(2, 0, 0)))
    )
    arrival.start()
    found = tree.lookup('odom', 'base', 2 * S, timeout_s=20.0)
    arrival.join()
    np.testing.assert_allclose(found[:3, 3], [1, 0, 0])
