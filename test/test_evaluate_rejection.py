"""Pairs to reject have no answer, pairs that slide slide: checked on the clouds themselves."""

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

pytest.importorskip('small_gicp', reason='small_gicp is not installed')

from dlc_ros.registration.se3 import exp_so3  # noqa: E402
from dlc_training.evaluate import degenerate, negatives, strata, view_ambiguity  # noqa: E402
from dlc_training.evaluate.pair import apply, pose  # noqa: E402
from dlc_training.evaluate.partial_view import partial_view_pair, visible  # noqa: E402
from dlc_training.evaluate.shapes import FileShapes, GeneratedShapes  # noqa: E402
from dlc_training.evaluate.symmetry import SymmetryGroup  # noqa: E402


@pytest.mark.parametrize('kind', negatives.KINDS)
def test_negatives_are_the_same_by_seed_and_hold_two_clouds(kind):
    shapes = GeneratedShapes(4)
    first, again = (negatives.draw_negative(shapes, kind, 2, 4) for _ in range(2))
    other = negatives.draw_negative(shapes, kind, 3, 4)
    np.testing.assert_array_equal(first.source, again.source)
    assert len(first.source) != len(other.source) or not np.allclose(first.source, other.source)
    assert min(len(first.source), len(first.target)) >= 300


@pytest.mark.parametrize('stratum', strata.STRATA)
def test_the_truth_of_a_good_pair_lays_much_of_its_source_on_the_target(stratum):
    first, second = strata.stratum_pairs(GeneratedShapes(4), stratum, 2, 4)
    assert first.shape != second.shape
    (again, _) = strata.stratum_pairs(GeneratedShapes(4), stratum, 2, 4)
    np.testing.assert_array_equal(first.source, again.source)
    for pair in (first, second):
        near = cKDTree(pair.target).query(apply(pair.truth, pair.source))[0] < 0.1
        assert near.mean() > 0.3
        assert np.linalg.norm(pair.target - pair.target.mean(0), axis=1).max() < 2.5


def test_what_fits_somewhere_is_no_negative():
    solid = GeneratedShapes(4)
    whole, again = solid.draw(5, (2048, 2048), np.random.default_rng(0))
    half = again[again @ (1, 0, 0) > 0]
    assert negatives._fits(half, whole)
    assert negatives._fits(
        apply(pose(Rotation.from_euler('z', 90, True).as_matrix()), half), whole
    )
    assert not negatives._fits(1.4 * half, whole)


@pytest.mark.parametrize('kind', degenerate.KINDS)
def test_moving_along_the_free_directions_keeps_the_source_on_the_target(kind):
    pair = degenerate.draw_degenerate(kind, 1, 0)
    truth = pair.truth
    tree = cKDTree(pair.target)

    def away(T):
        return np.quantile(tree.query(apply(T, pair.source))[0], 0.9)

    def turned(screw, size):
        """A finite turn about an axis through the centre moves the translation on a circle."""
        if not screw[3:].any():
            return pose(truth[:3, :3], truth[:3, 3] + size * screw[:3])
        turn = exp_so3(size * screw[3:])
        return pose(turn @ truth[:3, :3], pair.centre + turn @ (truth[:3, 3] - pair.centre))

    def moved(screw, size):
        turn = exp_so3(size * screw[3:])
        return pose(turn @ truth[:3, :3], truth[:3, 3] + size * screw[:3])

    limit = 1.5 * away(truth)
    free = pair.screws(truth)
    for column in free.T:
        assert away(turned(column, 0.3)) < limit
    # Moving along anything else takes it off.
    for column in np.linalg.svd(free.T)[2][free.shape[1] :]:
        assert max(away(moved(column, size)) for size in (-0.4, 0.4)) > 0.9 * limit


def test_a_view_shows_the_near_side_of_a_ball():
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(6000, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    points = ball + (0.0, 0.0, 4.0)
    # Seen is what lies nearer than the tangent: cosine above 1/4 as seen from the centre.
    cosine = -ball[:, 2]
    seen = visible(points)
    assert seen[cosine > 0.35].mean() > 0.98
    assert seen[cosine < -0.2].mean() < 0.02


def test_a_handle_out_of_sight_makes_a_view_ambiguous():
    rng = np.random.default_rng(1)
    turn, height = rng.uniform(0, 2 * np.pi, 7000), rng.uniform(-0.6, 0.6, 7000)
    body = np.column_stack([0.5 * np.cos(turn), 0.5 * np.sin(turn), height])
    handle = rng.uniform((0.5, -0.05, -0.35), (0.85, 0.05, 0.35), (1192, 3))
    lid = rng.uniform(-0.35, 0.35, (800, 2))
    lid = np.column_stack([lid, np.full(800, 0.6)])
    shapes = FileShapes('mug', np.concatenate([body, handle, lid])[None], ('mug',))
    none = SymmetryGroup(np.zeros(3))
    answers = {}
    for index in range(40):
        pair = partial_view_pair(shapes, index, 0, 40)
        points = apply(np.linalg.inv(pair.shape_pose) @ pair.truth, pair.source)
        shown = (np.linalg.norm(points[:, :2], axis=1) > 0.62).sum()
        if shown < 3 or shown > 40:
            answers.setdefault(shown > 40, []).append(view_ambiguity.is_ambiguous_view(pair, none))
        if all(len(answers.get(side, ())) >= 2 for side in (False, True)):
            break
    assert all(answers[False][:2]) and not any(answers[True][:2])
