"""Pairs whose answer is known by construction: what was cut off decides."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

pytest.importorskip('small_gicp', reason='small_gicp is not installed')

from dlc_training.evaluate.ambiguity import is_ambiguous  # noqa: E402
from dlc_training.evaluate.pair import Pair, apply, jitter, move_plane, pose  # noqa: E402
from dlc_training.evaluate.symmetry import SymmetryGroup  # noqa: E402

NO_SYMMETRY = SymmetryGroup(np.zeros(3))
TRUTH = pose(Rotation.from_euler('xyz', (70, -30, 15), degrees=True).as_matrix(), (0.3, -0.2, 0.4))


def box(size, centre, count, rng):
    size = np.array(size, float)
    faces = rng.choice(
        6, count, p=np.repeat(np.prod(size) / size, 2) / (2 * np.sum(1 / size) * np.prod(size))
    )
    points = rng.uniform(-0.5, 0.5, (count, 3))
    points[np.arange(count), faces // 2] = faces % 2 - 0.5
    return points * size + centre


def mug(rng):
    angle, height = rng.uniform(0, 2 * np.pi, 1500), rng.uniform(-0.6, 0.6, 1500)
    side = np.stack([0.5 * np.cos(angle), 0.5 * np.sin(angle), height], axis=1)
    r, turn = 0.5 * np.sqrt(rng.uniform(0, 1, 330)), rng.uniform(0, 2 * np.pi, 330)
    bottom = np.stack([r * np.cos(turn), r * np.sin(turn), np.full(330, -0.6)], axis=1)
    return np.concatenate([side, bottom, box((0.3, 0.1, 0.8), (0.67, 0, 0), 218, rng)])


def plate(rng):
    return box((1.8, 0.8, 0.1), (0, 0, 0), 2048, rng)


def bracket(rng):
    arms = (
        box((1.4, 0.4, 0.3), (0.5, 0, 0), 1200, rng),
        box((0.4, 0.8, 0.3), (0, 0.6, 0), 700, rng),
    )
    return np.concatenate([*arms, box((0.2, 0.2, 0.5), (1, 0, 0.4), 200, rng)])


def brick(rng):
    return box((1.6, 1.0, 0.5), (0, 0, 0), 2048, rng)


def pair_of(shape, source_plane, target_plane):
    """Two samplings of a shape, each cut by a plane (normal, offset) in the shape's frame."""
    rng = np.random.default_rng(0)
    planes = [np.array(p, float) for p in (source_plane, target_plane)]
    planes = [p / np.linalg.norm(p[:3]) for p in planes]
    source, target = (
        (lambda points, p: points[points @ p[:3] >= p[3]])(shape(rng), p) for p in planes
    )
    back = np.linalg.inv(TRUTH)
    return Pair(
        index=0,
        bin=0.0,
        shape=0,
        source=apply(back, jitter(source, rng)).astype(np.float32),
        target=jitter(target, rng).astype(np.float32),
        truth=TRUTH,
        shape_pose=np.eye(4),
        clean=target.astype(np.float32),
        source_plane=move_plane(back, planes[0]),
        target_plane=planes[1],
    )


def test_a_mug_whose_handle_was_cut_off_turns_freely():
    # The source lacks the half with the handle.
    assert is_ambiguous(pair_of(mug, (-1, 0, 0.2, -0.45), (1, 0.2, 0, -0.25)), NO_SYMMETRY)


def test_a_mug_whose_handle_both_show_does_not():
    assert not is_ambiguous(pair_of(mug, (1, 0, 0.2, -0.25), (1, 0.2, 0, -0.25)), NO_SYMMETRY)


def test_a_plate_without_its_ends_slides():
    assert is_ambiguous(pair_of(plate, (-1, 0, 0, -0.5), (1, 0, 0, -0.5)), NO_SYMMETRY)


def test_a_bracket_without_symmetry_has_one_pose():
    assert not is_ambiguous(pair_of(bracket, (1, 0.3, 0, -0.05), (0, -1, 0, -0.7)), NO_SYMMETRY)


def test_a_symmetry_that_is_known_is_no_ambiguity():
    half_turns = [np.eye(3), *(np.diag(d) for d in ((1, -1, -1), (-1, 1, -1), (-1, -1, 1)))]
    group = SymmetryGroup(np.zeros(3), np.stack(half_turns))
    # Little is cut off: each crop still shows that it is a whole brick.
    pair = pair_of(brick, (1, 0.3, 0.2, -0.8), (0.2, -1, 0.3, -0.55))
    assert not is_ambiguous(pair, group)
    assert is_ambiguous(pair, NO_SYMMETRY)
