"""Free directions of surfaces whose freedoms are known in closed form."""

import numpy as np
import pytest
import scenes
import wire
from scipy.linalg import eigh, subspace_angles
from scipy.stats import chi2

import dlc_ros
from dlc_ros.registration.observability import (
    free_directions,
    is_plane,
    resisted,
    unexplained_motion,
)
from dlc_ros.registration.refine import Refiner
from dlc_ros.registration.se3 import exp_so3, log_so3, make_transform, skew

# A pose of the scene in the target frame, off every axis.
POSE = make_transform(exp_so3([0.5, -0.8, 0.4]), [3.0, -2.0, 1.0])
AXES = np.eye(3)


def turn(axis):
    """Screw about an axis through the scene's origin; the errors' convention is at the source."""
    return np.concatenate([np.zeros(3), axis])


def shift(axis):
    return np.concatenate([axis, np.zeros(3)])


FREEDOMS = {
    'plane': (scenes.plane, [shift(AXES[0]), shift(AXES[1]), turn(AXES[2])]),
    'corridor': (scenes.corridor, [shift(AXES[0])]),
    'cylinder': (scenes.cylinder, [shift(AXES[2]), turn(AXES[2])]),
    'can': (scenes.can, [turn(AXES[2])]),
    'sphere': (scenes.sphere, [turn(AXES[0]), turn(AXES[1]), turn(AXES[2])]),
    'box': (scenes.box, []),
    'bracket': (scenes.bracket, []),
}


def examine(scene, noise, count=2000, seed=0):
    """Refined agreement of a scene at its pose: target, source, agreement, source's centroid."""
    source, target = scenes.pair(scene, np.random.default_rng(seed), POSE, count, noise)
    centre = source.mean(axis=0)
    refiner = Refiner(target)
    prepared = refiner.prepare(source - centre)
    found = refiner.refine(prepared, POSE @ make_transform(translation=centre)).agreement
    return refiner.target, prepared.full, found, centre


@pytest.mark.parametrize('noise', [0.0, 0.005, 0.02])
@pytest.mark.parametrize('name', FREEDOMS)
def test_free_directions_are_those_of_the_surface(name, noise):
    scene, screws = FREEDOMS[name]
    target, source, found, centre = examine(scene, noise)
    free = free_directions(target, source, found)
    assert free.shape == (6, len(screws))
    if not screws:
        return
    # The same motions about the source's origin, which is its centroid, along target axes.
    rotation = POSE[:3, :3]
    expected = np.array(
        [
            np.concatenate([rotation @ (v + skew(w) @ centre), rotation @ w])
            for v, w in (np.split(screw, 2) for screw in screws)
        ]
    ).T
    angles = subspace_angles(free, expected)
    assert np.degrees(angles.max()) < 4.0, np.degrees(angles)


@pytest.mark.parametrize('name', ['plane', 'corridor', 'can', 'sphere'])
def test_columns_move_the_points_by_a_metre_each_and_apart(name):
    _, source, found, _ = examine(FREEDOMS[name][0], 0.005)
    free = free_directions(*examine(FREEDOMS[name][0], 0.005)[:3])
    levers = source.points @ found.transform[:3, :3].T
    motions = [column[:3] + np.cross(column[3:], levers) for column in free.T]
    products = np.array([[np.mean(np.sum(a * b, axis=1)) for a in motions] for b in motions])
    np.testing.assert_allclose(products, np.eye(free.shape[1]), atol=0.1)


@pytest.mark.parametrize('name', ['plane', 'corridor', 'cylinder', 'sphere'])
def test_no_information_is_left_along_free_directions_and_all_across(name):
    target, source, found, _ = examine(FREEDOMS[name][0], 0.01)
    free = free_directions(target, source, found)
    hessian = resisted(found, free, source)
    scale = np.trace(found.hessian)
    np.testing.assert_allclose(free.T @ hessian @ free, 0.0, atol=1e-9 * scale)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-9 * scale)
    values = np.linalg.eigvalsh(hessian)
    assert np.sum(values > 1e-6 * scale) == 6 - free.shape[1]
    # Motions of the points that are orthogonal to the free ones keep their information, but for
    # what one of the two surfaces does not see.
    across = np.linalg.svd(free.T @ found.motion)[2][free.shape[1] :].T
    shares = eigh(
        across.T @ hessian @ across, across.T @ found.hessian @ across, eigvals_only=True
    )
    assert shares.min() > 0.8 and shares.max() < 1.0 + 1e-6


def test_sliding_to_another_pose_is_explained_turning_over_is_not():
    target, source, found, centre = examine(scenes.cylinder, 0.005)
    free = free_directions(target, source, found)

    def pose(move):
        return POSE @ move @ make_transform(translation=centre)

    slid = pose(make_transform(exp_so3([0.0, 0.0, 2.5]), [0.0, 0.0, 0.3]))
    flipped = pose(make_transform(exp_so3([np.pi, 0.0, 0.0])))
    assert unexplained_motion(found, slid, free) < 0.05
    assert unexplained_motion(found, flipped, free) > 0.5
    assert unexplained_motion(found, found.transform, free) == pytest.approx(0.0, abs=1e-9)


def test_a_sphere_slides_into_every_turn_about_its_centre():
    target, source, found, centre = examine(scenes.sphere, 0.005)
    free = free_directions(target, source, found)
    for vector in ([1.0, 0.0, 0.0], [0.0, -2.0, 1.0], [0.5, 0.5, 0.5]):
        turned = POSE @ make_transform(exp_so3(vector)) @ make_transform(translation=centre)
        assert unexplained_motion(found, turned, free) < 0.1


def test_what_few_points_hold_is_free_only_if_more_are_asked_for():
    rng = np.random.default_rng(2)

    def floor_with_a_bracket(count, rng):
        """A bracket of a quarter of the points is all that keeps a floor in place."""
        few = count // 4
        return np.vstack(
            [
                scenes.plane(count - few, rng, (3.0, 3.0)),
                0.8 * scenes.bracket(few, rng) + [-0.4, 0.2, 0.16],
            ]
        )

    source, target = scenes.pair(floor_with_a_bracket, rng, POSE, 4000)
    centre = source.mean(axis=0)
    refiner = Refiner(target)
    prepared = refiner.prepare(source - centre)
    found = refiner.refine(prepared, POSE @ make_transform(translation=centre)).agreement
    assert free_directions(refiner.target, prepared.full, found).shape == (6, 0)
    assert free_directions(refiner.target, prepared.full, found, support=0.2).shape == (6, 3)


def test_without_inliers_everything_is_free():
    source, target = scenes.pair(scenes.box, np.random.default_rng(0), np.eye(4))
    refiner = Refiner(target + 1e3)
    prepared = refiner.prepare(source - source.mean(axis=0))
    found = refiner.compare(prepared, np.eye(4))
    free = free_directions(refiner.target, prepared.full, found)
    assert free.shape == (6, 6) and np.linalg.matrix_rank(free) == 6


@pytest.mark.parametrize('noise', [0.0, 0.005, 0.02])
@pytest.mark.parametrize('name', FREEDOMS)
def test_only_a_plane_is_a_plane(name, noise):
    target, source, _, _ = examine(FREEDOMS[name][0], noise)
    assert is_plane(target) == is_plane(source) == (name == 'plane')


def floor_and_wall(count, seed):
    """What a sensor sees of a room's corner when all else is hidden: nothing that faces x."""
    return wire.room(count, seed)[: count // 3]


@pytest.mark.parametrize('count', [600, 900, 1500])
def test_a_floor_that_ends_at_a_wall_which_was_not_seen_slides_off_it(count):
    """Planes of a sparse cloud lean at its edges, and the wall resists one way of sliding."""
    for seed in range(5):
        target = wire.room(2400, 200 + seed)
        found = dlc_ros.register(floor_and_wall(count, 100 + seed), target, init=np.eye(4))
        assert found.status == dlc_ros.Status.DEGENERATE
        assert np.abs(found.free_directions[:, 0]) == pytest.approx(
            AXES[0].tolist() + [0] * 3, abs=0.02
        )
        error = np.concatenate([found.transform[:3, 3], log_so3(found.transform)])
        held = np.delete(error / np.sqrt(np.diag(found.covariance)), 0)
        assert np.linalg.norm(held) < 2.0 * np.sqrt(chi2.ppf(0.99, 5))


def test_a_few_points_of_that_wall_hold_it():
    for seed in range(5):
        target = wire.room(2400, 200 + seed)
        wall = wire.room(9000, 300 + seed)[3000:4500]
        source = np.vstack([floor_and_wall(900, 100 + seed), wall[:: len(wall) // 30]])
        found = dlc_ros.register(source, target, init=np.eye(4))
        # A corner alone fits other corners too; that is another matter.
        assert found.free_directions.shape == (6, 0)
