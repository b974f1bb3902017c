"""A tight prior against points that contradict it: one thing moved, or the sensor did."""

import numpy as np
import pytest
import scenes

from dlc_ros import Registrar, RegistrationOptions, Status
from dlc_ros.registration.se3 import exp_so3, inverse, make_transform, transform_points

PLAIN = RegistrationOptions(use_predictor=False)
# Where the reference lies in the world that the scenes are made in.
PLACE = make_transform(exp_so3([0.4, -0.3, 1.0]), [2.0, -1.0, 0.5])
STILL = np.diag([0.001**2] * 3 + [0.001**2] * 3)
LOOSE = np.diag([0.1**2] * 3 + [0.1**2] * 3)
SHIFT = np.array([0.06, 0.03, 0.0])


def floor(rng, count=6000):
    return scenes.plane(count, rng, (3.0, 3.0))


def thing(rng, place, count=1500):
    """A block on the floor, turned so that its sides hold every direction."""
    points = scenes.box(count, rng, (0.5, 0.35, 0.4)) + [0.0, 0.0, 0.2]
    return points[points[:, 2] > 0.01] @ exp_so3([0.0, 0.0, 0.4]).T + place


def noisy(parts, rng, noise=0.002):
    points = np.vstack(parts)
    return points + noise * rng.normal(size=points.shape)


def register(reference, cloud, covariance):
    """Registration of a cloud that is believed to lie where the reference does; its error."""
    result = Registrar(transform_points(PLACE, reference), options=PLAIN).register(
        cloud, PLACE, covariance
    )
    return result, result.transform @ inverse(PLACE)


def shift_of(motion):
    """How far a motion in the reference's frame takes the middle of the scene, in its axes."""
    middle = PLACE[:3, 3]
    return PLACE[:3, :3].T @ (transform_points(motion, middle[None])[0] - middle)


@pytest.mark.parametrize('far', [1.0, 5.0])
def test_a_thing_that_moved_does_not_carry_a_sensor_along_that_is_known_to_rest(far):
    rng = np.random.default_rng(1)
    reference = noisy([floor(rng), thing(rng, [0.4, -0.2, 0.0])], rng)
    cloud = noisy([floor(rng), thing(rng, [0.4, -0.2, 0.0] + far * SHIFT)], rng)
    result, motion = register(reference, cloud, STILL)
    assert result.status is Status.DEGENERATE and result.free_directions.shape == (6, 3)
    assert np.linalg.norm(shift_of(motion)) < 0.005
    if far == 1.0:
        assert 'something moved' in result.reason and 'contradict' in result.reason


def test_height_and_tilt_follow_the_floor_all_the_same():
    rng = np.random.default_rng(2)
    reference = noisy([floor(rng), thing(rng, [0.4, -0.2, 0.0])], rng)
    cloud = noisy([floor(rng), thing(rng, [0.4, -0.2, 0.0] + SHIFT)], rng) - [0.0, 0.0, 0.02]
    result, motion = register(reference, cloud, np.diag([0.005**2] * 3 + [0.005**2] * 3))
    assert result.status is Status.DEGENERATE
    np.testing.assert_allclose(shift_of(motion), [0.0, 0.0, 0.02], atol=0.004)


def test_a_loose_prior_lets_the_thing_decide():
    rng = np.random.default_rng(1)
    reference = noisy([floor(rng), thing(rng, [0.4, -0.2, 0.0])], rng)
    cloud = noisy([floor(rng), thing(rng, [0.4, -0.2, 0.0] + SHIFT)], rng)
    result, motion = register(reference, cloud, LOOSE)
    assert result.accepted
    np.testing.assert_allclose(shift_of(motion), -SHIFT, atol=0.01)


def test_several_things_do_not_move_alike():
    rng = np.random.default_rng(3)
    places = np.array([[1.1, 0.9, 0.0], [-1.0, 0.7, 0.0], [0.2, -1.1, 0.0]])
    reference = noisy([floor(rng), *(thing(rng, place, 500) for place in places)], rng)
    cloud = noisy([floor(rng), *(thing(rng, place + SHIFT, 500) for place in places)], rng)
    result, motion = register(reference, cloud, STILL)
    assert result.accepted
    np.testing.assert_allclose(shift_of(motion), -SHIFT, atol=0.01)


def test_an_object_that_moved_as_a_whole_is_followed_past_the_reach_of_its_points():
    """A plate with a knob: most points leave three motions open, but the plate ends somewhere."""
    rng = np.random.default_rng(4)

    def plate(shift):
        knob = scenes.box(1500, rng, (0.12, 0.08, 0.1)) + [0.1, 0.05, 0.05]
        return noisy([scenes.plane(4000, rng, (0.6, 0.4)), knob], rng, 0.0005) + shift

    shift = np.array([0.06, 0.0, 0.0])
    result, motion = register(plate(np.zeros(3)), plate(shift), STILL)
    assert result.accepted
    np.testing.assert_allclose(shift_of(motion), -shift, atol=0.01)


def test_what_holds_all_directions_is_followed_whatever_was_believed():
    rng = np.random.default_rng(5)
    shift = np.array([0.06, 0.04, -0.03])
    reference = noisy([scenes.bracket(4000, rng)], rng)
    cloud = noisy([scenes.bracket(4000, rng)], rng) + shift
    result, motion = register(reference, cloud, STILL)
    assert result.accepted
    np.testing.assert_allclose(shift_of(motion), -shift, atol=0.005)
