"""Free space: what a sensor looked through, against rooms whose geometry is known."""

import numpy as np
import pytest

pytest.importorskip('scipy', reason='scipy is not installed')
from scipy.spatial.transform import Rotation  # noqa: E402

from dlc_ros.registration.sight import Sight, View  # noqa: E402

RNG = np.random.default_rng(0)


def sphere(radius, count=200_000):
    """Points (N, 3) all around, as a sensor in their middle sees them."""
    directions = RNG.normal(size=(count, 3))
    return radius * directions / np.linalg.norm(directions, axis=1, keepdims=True)


def test_what_lies_on_the_seen_surface_or_behind_it_is_not_crossed():
    sight = Sight(sphere(5.0), np.zeros(3))
    assert sight.crossed(sphere(5.0, 1000), margin=0.1) == 0.0
    assert sight.crossed(sphere(4.95, 1000), margin=0.1) == 0.0
    assert sight.crossed(sphere(8.0, 1000), margin=0.1) == 0.0


def test_the_share_of_what_stands_in_the_way_is_told():
    sight = Sight(sphere(5.0), np.zeros(3))
    wall = sphere(5.0, 3000)
    for count in (0, 100, 1000, 3000):
        obstacle = sphere(3.0, max(count, 1))[:count]
        seen = sight.crossed(np.concatenate([wall, obstacle]), margin=0.1)
        assert seen == pytest.approx(count / (3000 + count), abs=5e-3)


def test_what_is_hidden_does_not_count_among_what_should_have_been_seen():
    sight = Sight(sphere(5.0), np.zeros(3))
    seen, hidden = sphere(3.0, 10), sphere(9.0, 1000)
    assert sight.crossed(np.concatenate([seen, hidden]), margin=0.1) == 1.0


def test_a_direction_without_a_return_proves_nothing():
    ahead = sphere(5.0)
    ahead = ahead[ahead[:, 0] > 1.0]
    sight = Sight(ahead, np.zeros(3))
    behind = sphere(3.0, 2000)
    behind = behind[behind[:, 0] < -0.5]
    assert sight.crossed(behind, margin=0.1) == 0.0


def test_rays_start_at_the_viewpoint():
    here = np.array([20.0, -3.0, 1.5])
    sight = Sight(sphere(5.0) + here, here)
    assert sight.crossed(sphere(3.0, 500) + here, margin=0.1) == 1.0
    # About the origin, 20 m away, nothing of this is before what was seen.
    assert Sight(sphere(5.0) + here, np.zeros(3)).crossed(sphere(30.0, 500), margin=0.1) == 0.0


def test_beside_an_edge_the_nearer_surface_counts():
    """A pole of 0.2 m before a wall: the map's pole, seen from elsewhere, is not in the way."""
    wall = np.column_stack([np.full(40_000, 6.0), RNG.uniform(-4, 4, (40_000, 2))])
    pole = np.column_stack(
        [np.full(400, 3.0), RNG.uniform(-0.1, 0.1, 400), RNG.uniform(-2, 2, 400)]
    )
    behind_pole = np.abs(wall[:, 1]) < 0.2
    sight = Sight(np.concatenate([wall[~behind_pole], pole]), np.zeros(3))
    thicker = np.column_stack(
        [np.full(400, 2.9), RNG.uniform(-0.12, 0.12, 400), RNG.uniform(-2, 2, 400)]
    )
    assert sight.crossed(thicker, margin=0.2) < 0.02


@pytest.mark.parametrize('points', [np.zeros((0, 3)), np.zeros((1, 3))])
def test_nothing_to_see_and_the_viewpoint_itself_raise_nothing(points):
    assert Sight(points, np.zeros(3)).crossed(np.zeros((0, 3)), margin=0.1) == 0.0
    assert 0.0 <= Sight(points, np.zeros(3)).crossed(np.ones((5, 3)), margin=0.1) <= 1.0


def plate(half, height, count=3000):
    """Points (N, 3) of a square plate of this half edge, facing an eye at the origin."""
    return np.column_stack([RNG.uniform(-half, half, (count, 2)), np.full(count, height)])


def test_of_a_thing_that_is_seen_what_stands_before_it_is_crossed():
    view = View(plate(0.5, 2.0), np.zeros(3))
    assert view.crossed(plate(0.5, 2.0), margin=0.05) == 0.0
    assert view.crossed(plate(0.5, 2.3), margin=0.05) == 0.0
    assert view.crossed(plate(0.2, 1.0), margin=0.05) == 1.0
    both = np.concatenate([plate(0.45, 2.0, 3000), plate(0.2, 1.0, 1000)])
    assert view.crossed(both, margin=0.05) == pytest.approx(0.25, abs=0.02)


def test_where_no_ray_went_nothing_is_crossed():
    seen = plate(0.5, 2.0, 6000)
    hole = np.abs(seen[:, :2]).max(axis=1) < 0.2
    view = View(seen[~hole], np.zeros(3))
    assert view.crossed(plate(0.07, 1.0), margin=0.05) == 0.0  # it covers 0.14 of the hole's 0.2
    beside = plate(0.1, 1.0) + [0.6, 0.0, 0.0]
    assert view.crossed(beside, margin=0.05) == 0.0


@pytest.mark.parametrize('scale', [0.01, 1.0, 300.0])
def test_a_view_has_no_unit_and_no_axes(scale):
    turn, here = Rotation.from_rotvec([1.0, 2.0, -0.5]).as_matrix(), np.array([5.0, -3.0, 1.0])
    view = View(scale * (plate(0.5, 2.0) @ turn.T + here), scale * here)
    for height, share in ((2.0, 0.0), (1.0, 1.0)):
        other = scale * (plate(0.2, height) @ turn.T + here)
        assert view.crossed(other, margin=0.05 * scale) == share


def test_a_cloud_of_all_sides_was_not_seen_from_one_point():
    ball = sphere(0.5, 4000) + [0.0, 0.0, 2.0]
    assert View.of(ball, np.zeros(3)) is None
    from_here = np.einsum('ij,ij->i', ball, ball - [0.0, 0.0, 2.0]) < 0.0
    assert View.of(ball[from_here], np.zeros(3)) is not None


def test_a_few_points_are_no_view():
    assert View.of(plate(0.5, 2.0, 4), np.zeros(3)) is None


def test_a_point_at_the_eye_raises_nothing():
    view = View(np.concatenate([np.zeros((1, 3)), plate(0.5, 2.0)]), np.zeros(3))
    assert 0.0 <= view.crossed(np.zeros((3, 3)), margin=0.05) <= 1.0
    assert view.crossed(np.zeros((0, 3)), margin=0.05) == 0.0
