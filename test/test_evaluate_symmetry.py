"""Symmetry groups of bodies whose groups are known, and poses modulo a group."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from dlc_training.evaluate.metrics import rotation_error_deg, translation_error
from dlc_training.evaluate.pair import pose
from dlc_training.evaluate.symmetry import SymmetryGroup, find_symmetries, nearest_truth

RNG = np.random.default_rng(0)
COUNT = 6000


def boxes(*sizes_and_centres):
    """Samples of the surface of a union of boxes."""
    clouds = []
    for number, (size, centre) in enumerate(sizes_and_centres):
        size = np.array(size, float)
        areas = np.repeat(np.prod(size) / size, 2)
        faces = RNG.choice(6, int(COUNT * areas.sum() / 6), p=areas / areas.sum())
        points = RNG.uniform(-0.5, 0.5, (len(faces), 3))
        points[np.arange(len(faces)), faces // 2] = faces % 2 - 0.5
        points = points * size + centre
        for other, (extent, middle) in enumerate(sizes_and_centres):
            inside = (np.abs(points - middle) < np.array(extent) / 2 - 1e-9).all(1)
            points = points[~inside | (other == number)]
        clouds.append(points)
    return np.concatenate(clouds)


def turned(radius, count=COUNT):
    """Surface of revolution about z: ``radius`` of the height, which is 0..1."""
    height = RNG.uniform(0, 1, 20 * count)
    keep = RNG.uniform(0, 1, len(height)) < radius(height)
    height = height[keep][:count]
    angle = RNG.uniform(0, 2 * np.pi, len(height))
    r = radius(height)
    return np.stack([r * np.cos(angle), r * np.sin(angle), 2 * height], axis=1)


def cylinder():
    side = turned(lambda h: np.full_like(h, 0.5))
    r, angle = 0.5 * np.sqrt(RNG.uniform(0, 1, 1500)), RNG.uniform(0, 2 * np.pi, 1500)
    caps = np.stack([r * np.cos(angle), r * np.sin(angle), 2.0 * RNG.integers(0, 2, 1500)], 1)
    return np.concatenate([side, caps])


def sphere():
    points = RNG.normal(size=(COUNT, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def tetrahedron():
    corners = np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)], float)
    weights = RNG.dirichlet((1, 1, 1), COUNT)
    faces = np.array([(0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3)])[RNG.integers(0, 4, COUNT)]
    return np.einsum('ni,nij->nj', weights, corners[faces])


BODIES = {
    'cube': (boxes(((1, 1, 1), (0, 0, 0))), '24'),
    'box': (boxes(((2, 1, 0.5), (0, 0, 0))), '4'),
    'square plate': (boxes(((1, 1, 0.3), (0, 0, 0))), '8'),
    'tetrahedron': (tetrahedron(), '12'),
    'cylinder': (cylinder(), 'axis and flips'),
    'cone': (turned(lambda h: 0.1 + 0.6 * h), 'axis'),
    'sphere': (sphere(), 'sphere'),
    'L, unequal arms': (
        boxes(((2, 0.4, 0.3), (0.8, 0, 0)), ((0.4, 1.2, 0.3), (0, 0.4, 0))),
        'none',
    ),
    'L, equal arms': (
        boxes(((1.4, 0.4, 0.3), (0.5, 0, 0)), ((0.4, 1.4, 0.3), (0, 0.5, 0))),
        '2',
    ),
}


@pytest.mark.parametrize('turn', (False, True), ids=('along the axes', 'turned'))
@pytest.mark.parametrize('name', BODIES)
def test_known_bodies_have_their_known_groups(name, turn):
    points, expected = BODIES[name]
    points = points / np.linalg.norm(points, axis=1).max()
    if turn:
        points = points @ Rotation.from_euler('xyz', (20, 50, 70), degrees=True).as_matrix().T
    assert find_symmetries(points).label == expected


def test_a_handle_breaks_the_symmetry_of_a_mug():
    body = turned(lambda h: np.full_like(h, 0.5), 4000)
    handle = boxes(((0.3, 0.08, 0.8), (0.65, 0, 1)))
    handle = handle[RNG.permutation(len(handle))[:160]]  # less than 4 % of the surface
    assert find_symmetries(body).label == 'axis and flips'
    assert find_symmetries(np.concatenate([body, handle])).label in ('2', 'none')


@pytest.mark.parametrize('name', ('cube', 'tetrahedron', 'square plate', 'box'))
def test_found_elements_form_a_group_about_the_centre(name):
    points, _ = BODIES[name]
    shift = np.array([0.3, -0.2, 0.1])
    group = find_symmetries(points + shift)
    products = np.einsum('aij,bjk->abik', group.elements, group.elements).reshape(-1, 3, 3)
    cosine = (np.einsum('nij,kij->nk', products, group.elements) - 1) / 2
    assert np.degrees(np.arccos(np.clip(cosine.max(1), -1, 1))).max() < 2
    np.testing.assert_allclose(group.elements[0], np.eye(3))
    np.testing.assert_allclose(group.centre, shift, atol=0.03)


def groups():
    axis = np.array([0.6, 0.0, 0.8])
    flip = Rotation.from_rotvec(np.pi * np.array([0, 1, 0])).as_matrix()
    centre = np.array([0.1, -0.3, 0.2])
    cube = Rotation.create_group('O').as_matrix()
    return {
        'none': SymmetryGroup(centre),
        'cube': SymmetryGroup(centre, cube[np.argsort(-np.einsum('kii->k', cube))]),
        'axis': SymmetryGroup(centre, axis=axis),
        'flips': SymmetryGroup(centre, np.stack([np.eye(3), flip]), axis),
    }


def elements_of(group, rng):
    """Some elements of a group as (4, 4) transforms, built from what the group means."""
    for rotation in group.elements:
        turns = [0.0] if group.axis is None else rng.uniform(0, 2 * np.pi, 5)
        for turn in turns:
            R = rotation
            if group.axis is not None:
                R = rotation @ Rotation.from_rotvec(turn * group.axis).as_matrix()
            yield pose(R, group.centre - R @ group.centre)


@pytest.mark.parametrize('name', groups())
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_an_equivalent_pose_has_no_error_and_a_near_one_its_own(name, seed):
    rng = np.random.default_rng(seed)
    group = groups()[name]
    truth, shape_pose = (
        pose(Rotation.random(random_state=rng).as_matrix(), rng.normal(size=3)) for _ in range(2)
    )
    back = np.linalg.inv(shape_pose)
    for element in elements_of(group, rng):
        right = shape_pose @ element @ back @ truth
        near = nearest_truth(truth, right, group, shape_pose)
        assert rotation_error_deg(near, right) < 1e-4
        assert translation_error(near, right) < 1e-6
    axis = rng.normal(size=3)
    slip = Rotation.from_rotvec(np.radians(3) * axis / np.linalg.norm(axis)).as_matrix()
    off = right.copy()
    off[:3, :3] = slip @ off[:3, :3]
    error = rotation_error_deg(nearest_truth(truth, off, group, shape_pose), off)
    assert error <= 3 + 1e-6
    if group.axis is None:
        assert error == pytest.approx(3, abs=1e-5)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_nearest_turn_about_an_axis_is_the_best_of_all_turns(seed):
    rng = np.random.default_rng(seed)
    for name in ('axis', 'flips'):
        group = groups()[name]
        estimate = Rotation.random(random_state=rng).as_matrix()
        best = min(
            rotation_error_deg(pose(estimate), pose(element @ Rotation.from_rotvec(t).as_matrix()))
            for element in group.elements
            for t in np.linspace(0, 2 * np.pi, 721)[:, None] * group.axis
        )
        found = rotation_error_deg(group.nearest(estimate), pose(estimate))
        assert found <= best + 1e-6
        assert found == pytest.approx(best, abs=0.5)


def test_all_orientations_of_a_ball_are_right_but_not_all_places():
    ball = SymmetryGroup(np.zeros(3), sphere=True)
    rng = np.random.default_rng(0)
    truth = pose(Rotation.random(random_state=rng).as_matrix(), (0.2, 0.1, 0))
    estimate = pose(Rotation.random(random_state=rng).as_matrix(), (0.5, 0.1, 0))
    near = nearest_truth(truth, estimate, ball, np.eye(4))
    assert rotation_error_deg(near, estimate) < 1e-5
    # The ball's centre is the source point that the truth carries to the origin of its frame.
    centre = np.linalg.inv(truth)[:3, 3]
    np.testing.assert_allclose((near @ np.append(centre, 1))[:3], 0, atol=1e-9)
