"""Every peer solves an easy pair, and survives clouds that take its library down."""

from importlib.util import find_spec

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

pytest.importorskip('small_gicp', reason='small_gicp is not installed')

from dlc_training.data.primitives import Box  # noqa: E402
from dlc_training.data.solid import Solid  # noqa: E402
from dlc_training.evaluate import baselines  # noqa: E402
from dlc_training.evaluate.baselines import aligned_centroids, start_rotations  # noqa: E402
from dlc_training.evaluate.crops import EULER_PRIOR  # noqa: E402
from dlc_training.evaluate.metrics import rotation_error_deg, translation_error  # noqa: E402
from dlc_training.evaluate.pair import Prior, apply, jitter, pose  # noqa: E402

PEERS = {
    'gicp': None,
    'fgr': 'open3d',
    'ransac': 'open3d',
    'kiss': 'kiss_matcher',
    'starts': None,
}


@pytest.fixture(params=PEERS)
def peer(request):
    module = PEERS[request.param]
    if module and find_spec(module) is None:
        pytest.skip(f'{module} is not installed')
    return getattr(baselines, request.param)


def easy_pair(angle):
    """Two whole samplings of a solid without symmetry, turned by ``angle``."""
    rng = np.random.default_rng(0)
    solid = Solid(
        (
            Box(half=np.array((0.5, 0.5, 0.1)), translation=np.array((0.0, 0.0, -0.5))),
            Box(half=np.array((0.15, 0.4, 0.5)), translation=np.array((-0.3, 0.0, 0.0))),
            Box(half=np.array((0.35, 0.1, 0.2)), translation=np.array((0.1, -0.35, -0.2))),
            Box(half=np.array((0.1, 0.1, 0.7)), translation=np.array((0.35, 0.35, 0.0))),
        )
    )
    truth = pose(Rotation.from_rotvec(np.radians(angle) * np.array([0.6, 0, 0.8])).as_matrix())
    truth[:3, 3] = (0.2, -0.1, 0.3)
    target = jitter(solid.sample(1400, rng)[0], rng)
    source = jitter(apply(np.linalg.inv(truth), solid.sample(1400, rng)[0]), rng)
    return source.astype(np.float32), target.astype(np.float32), truth


@pytest.mark.parametrize('with_prior', (False, True))
def test_a_small_turn_of_a_whole_cloud_is_found(peer, with_prior):
    source, target, truth = easy_pair(15)
    T = peer(source, target, EULER_PRIOR if with_prior else None)
    np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(T[3], (0, 0, 0, 1), atol=1e-9)
    assert rotation_error_deg(T, truth) < 1.5
    assert translation_error(T, truth) < 0.02


def test_the_global_peers_find_a_large_turn(peer):
    if peer is baselines.gicp:
        pytest.skip('GICP is local: it has no way to find it')
    source, target, truth = easy_pair(170)
    T = peer(source, target, None)
    assert rotation_error_deg(T, truth) < 1.5
    assert translation_error(T, truth) < 0.02


def test_equal_input_gives_equal_answers(peer):
    source, target, _ = easy_pair(40)
    first, second = peer(source, target, None), peer(source, target, None)
    if peer in (baselines.ransac, baselines.kiss):
        # Both work on several threads: the same place, not the same bits.
        assert rotation_error_deg(first, second) < 0.5
        assert translation_error(first, second) < 0.01
    else:
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize('count', (1, 5, 19))
def test_tiny_clouds_give_the_aligned_centroids(peer, count):
    source, target, _ = easy_pair(40)
    expected = target.mean(0) - source[:count].mean(0)
    for T in (
        peer(source[:count], target, None),
        np.linalg.inv(peer(target, source[:count], None)),
    ):
        np.testing.assert_allclose(T, pose(translation=expected), atol=1e-6)


def test_a_cloud_on_one_plane_takes_nobody_down(peer):
    rng = np.random.default_rng(0)
    plane = np.concatenate([rng.uniform(-1, 1, (300, 2)), np.zeros((300, 1))], axis=1)
    T = peer(plane, plane + 0.1, None)
    assert T.shape == (4, 4)


def test_aligned_centroids_put_the_centroids_upon_each_other():
    source, target, _ = easy_pair(40)
    turn = Rotation.from_euler('xyz', (10, 20, 30)).as_matrix()
    for rotation in (None, turn):
        T = aligned_centroids(source, target, rotation)
        np.testing.assert_allclose(apply(T, source).mean(0), target.mean(0), atol=1e-6)


def test_starts_cover_all_rotations_or_the_prior():
    rng = np.random.default_rng(0)
    anywhere = Rotation.random(2000, random_state=rng).as_matrix()
    cosine = (np.einsum('nij,kij->nk', anywhere, start_rotations()) - 1) / 2
    # 24 rotations of the cube leave no rotation farther than 62.8 deg (Karney 2007).
    assert np.degrees(np.arccos(cosine.max(1))).max() < 62.9
    mean = Rotation.from_euler('z', 50, degrees=True).as_matrix()
    prior = Prior(pose(mean), np.diag([0.1] * 3 + [0.2**2] * 3))
    rotations = start_rotations(prior)
    turns = Rotation.from_matrix(rotations @ mean.T).magnitude()
    assert len(rotations) == 27
    assert turns.min() < 1e-9 and turns.max() == pytest.approx(0.2 * np.sqrt(3))
