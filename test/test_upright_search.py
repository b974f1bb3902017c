"""An upright cloud in a map much larger than itself: found anywhere, never in its twin."""

import multiprocessing
import sys

import numpy as np
import pytest
import scenes
import small_gicp
from scipy.spatial.transform import Rotation

from dlc_ros import Registrar, RegistrationOptions, Status
from dlc_ros.errors import ParameterError
from dlc_ros.registration import pyramid
from dlc_ros.registration.se3 import inverse, make_transform, rotation_angle_deg, transform_points
from dlc_ros.registration.windows import window_at, window_radius

# What the weights know must not decide here.
UPRIGHT = RegistrationOptions(use_predictor=False, upright=True)
PER_ROOM = 6_000
ORIGIN = np.array([4000.0, -700.0, 30.0])  # of the map's frame: far away, as maps have it


def room(seed, count, rng):
    """A furnished room about the origin, floor at z = 0: (count, 3), sampled by ``rng``."""
    draw = np.random.default_rng(seed)
    walls = np.append(draw.uniform((3.0, 2.5), (7.0, 6.0)), 2.6)
    things = []
    for _ in range(7):
        size = draw.uniform(0.3, 1.2, 3)
        spot = draw.uniform(-0.5, 0.5, 2) * (walls[:2] - size[:2])
        things.append((size, np.append(spot, 0.5 * size[2])))
    shares = rng.multinomial(count, [0.6] + [0.4 / len(things)] * len(things))
    points = [scenes.box(shares[0], rng, walls) + [0.0, 0.0, 0.5 * walls[2]]]
    points += [
        scenes.box(share, rng, size) + centre
        for share, (size, centre) in zip(shares[1:], things, strict=True)
    ]
    return np.vstack(points) + 0.01 * rng.normal(size=(count, 3))


def storey(seeds, rng):
    """Rooms side by side in rows of four, one a seed; their centres (R, 3) and points (N, 3)."""
    rows = -(-len(seeds) // 4)
    centres = np.array([(x * 7.4, y * 6.4, 0.0) for y in range(rows) for x in range(4)])
    centres = centres[: len(seeds)] + ORIGIN
    return centres, np.vstack(
        [room(s, PER_ROOM, rng) + c for s, c in zip(seeds, centres, strict=True)]
    )


def pose(place, yaw, rng):
    """``T_map_base`` of a base that stands at a place, tilted by a degree."""
    tilt = np.radians(1.0) * rng.normal(size=2)
    return make_transform(Rotation.from_euler('zyx', (yaw, *tilt)).as_matrix(), place)


def scan(seed, centre, truth, rng):
    """Another sampling of a room, as seen from a base at ``truth``."""
    return transform_points(inverse(truth), room(seed, 4_000, rng) + centre)


def errors(transform, truth):
    return (
        rotation_angle_deg(transform[:3, :3], truth[:3, :3]),
        np.linalg.norm(transform[:3, 3] - truth[:3, 3]),
    )


@pytest.fixture(scope='module')
def building():
    centres, points = storey(range(12), np.random.default_rng(0))
    return centres, Registrar(points, options=UPRIGHT)


@pytest.mark.parametrize('which', (0, 3, 6, 11))
def test_a_room_is_found_among_many_from_any_yaw(building, which):
    rng = np.random.default_rng(which)
    centres, registrar = building
    truth = pose(centres[which] + [0.8, -0.5, 0.3], rng.uniform(-np.pi, np.pi), rng)
    found = registrar.register(scan(which, centres[which], truth, rng))
    angle, length = errors(found.transform, truth)
    assert found.status is Status.ACCEPTED, found.reason
    assert angle < 0.5 and length < 0.03


def test_equal_clouds_give_equal_bits_whatever_was_looked_for_before(building):
    rng = np.random.default_rng(5)
    centres, registrar = building
    clouds = []
    for which in (2, 9):
        truth = pose(centres[which], 1.0, rng)
        clouds.append(scan(which, centres[which], truth, rng))
    first = [registrar.register(cloud).transform for cloud in clouds]
    again = [registrar.register(cloud).transform for cloud in reversed(clouds)]
    np.testing.assert_array_equal(first, again[::-1])


@pytest.mark.skipif(sys.platform != 'linux', reason='processes are not forked elsewhere')
@pytest.mark.filterwarnings('ignore:.*fork:DeprecationWarning')
@pytest.mark.parametrize('threads', (1, 2))
def test_a_forked_process_registers_too(threads, monkeypatch):
    """Threads do not live on in a fork: work that is shared out among them would never end."""
    monkeypatch.setattr(pyramid, '_cores', lambda: 4)
    rng = np.random.default_rng(6)
    centres, points = storey(range(8), rng)
    truth = pose(centres[5] + [0.4, 0.3, 0.3], 2.0, rng)
    cloud = scan(5, centres[5], truth, rng)
    options = UPRIGHT.model_copy(update={'threads': threads})
    known = Registrar(points, options=options)
    expected = known.register(cloud)
    assert expected.accepted, expected.reason

    def again(answers):
        for registrar in (known, Registrar(points, options=options)):
            answers.put(registrar.register(cloud).transform)

    context = multiprocessing.get_context('fork')
    answers = context.Queue()
    process = context.Process(target=again, args=(answers,), daemon=True)
    process.start()
    try:
        for _ in range(2):
            found = answers.get(timeout=60.0)
            np.testing.assert_allclose(found, expected.transform, rtol=0.0, atol=1e-6)
    finally:
        process.kill()
        process.join()


def strays(kind, rng):
    """(N, 3) points about the origin that are no part of a building of 30 m."""
    if kind == 'one':
        return np.array([[1e4, 0.0, 0.0]])
    if kind == 'above':
        return np.array([[0.0, 0.0, 2e3]])
    if kind == 'many in one place':
        return np.tile([-3e3, 2e3, -50.0], (500, 1))
    directions = rng.normal(size=(20, 3))
    return 2e3 * directions / np.linalg.norm(directions, axis=1)[:, None]


@pytest.mark.parametrize('kind', ('one', 'above', 'many in one place', 'all around'))
def test_strays_of_the_map_do_not_keep_a_scan_from_being_found(kind):
    """One point ten kilometres off left a building a few cells of the search."""
    rng = np.random.default_rng(8)
    centres, points = storey(range(12), rng)
    truth = pose(centres[5] + [0.4, 0.3, 0.3], 2.0, rng)
    cloud, foreign = scan(5, centres[5], truth, rng), scan(40, centres[5], truth, rng)
    clean = Registrar(points, options=UPRIGHT)
    stray = Registrar(np.vstack([points, ORIGIN + strays(kind, rng)]), options=UPRIGHT)
    expected, found = clean.register(cloud), stray.register(cloud)
    assert expected.accepted and found.accepted, found.reason
    angle, length = errors(found.transform, expected.transform)
    assert angle < 0.1 and length < 0.01
    # They are named where a scan is not found for any other reason.
    rejected = stray.register(foreign)
    assert rejected.status is Status.REJECTED
    assert rejected.reason.startswith('target: few of its points lie up to ')
    assert 'from the rest' not in clean.register(foreign).reason


@pytest.mark.parametrize('twins', ('beside', 'above'))
def test_one_of_two_equal_rooms_is_not_accepted(twins):
    rng = np.random.default_rng(7)
    centres, points = storey([0, 1, 2, 3, 4, 5, 6, 0 if twins == 'beside' else 7], rng)
    offset = centres[7] - centres[0]
    if twins == 'above':
        offset = np.array([0.0, 0.0, 3.1])
        points = np.vstack([points, room(0, PER_ROOM, rng) + centres[0] + offset])
    truth = pose(centres[0] + [0.5, 0.2, 0.3], 2.0, rng)
    cloud = scan(0, centres[0], truth, rng)
    registrar = Registrar(points, options=UPRIGHT)
    found = registrar.register(cloud)
    assert found.status is Status.AMBIGUOUS, found.reason
    twin = make_transform(truth[:3, :3], truth[:3, 3] + offset)
    answers = [found.transform, *found.alternatives]
    for expected in (truth, twin):
        assert min(errors(answer, expected)[1] for answer in answers) < 0.05

    # What is known of the place decides: within 2 m, any yaw.
    known = np.diag(np.square([2.0, 2.0, 0.5, 0.05, 0.05, 1.5]))
    found = registrar.register(cloud, pose(twin[:3, 3] + [1.0, -1.0, 0.1], 0.9, rng), known)
    assert found.status is Status.ACCEPTED, found.reason
    assert errors(found.transform, twin)[1] < 0.05


@pytest.mark.parametrize('seen_from', ('the origin', 'a mast'))
def test_what_the_sensor_looked_through_tells_rooms_apart(seen_from):
    """Of two equal rooms one has a pillar more; all that was seen lies in both of them."""
    rng = np.random.default_rng(17)
    centres, points = storey([0, 1, 2, 3, 4, 5, 6, 0], rng)
    pillar = scenes.box(600, rng, (0.4, 0.4, 2.2)) + [1.2, 0.6, 1.1]
    truth = pose(centres[7] + [0.2, -0.4, 0.5], 1.0, rng)
    cloud, viewpoint = scan(0, centres[7], truth, rng), np.zeros(3)
    if seen_from == 'a mast':  # the origin is moved into a wall: from there all would be crossed
        away = make_transform(np.eye(3), [6.0, 0.0, 0.0])
        cloud, truth = transform_points(away, cloud), truth @ inverse(away)
        viewpoint = away[:3, 3]
    registrar = Registrar(np.vstack([points, pillar + centres[0]]), options=UPRIGHT)
    # Whether the pillar was there yesterday nobody knows; but this room is the likelier one.
    found = registrar.register(cloud, viewpoint=viewpoint)
    angle, length = errors(found.transform, truth)
    assert angle < 0.5 and length < 0.06


def corridor(start, end, per_square_metre, rng):
    """Floor and side walls from ``start`` to ``end`` along x, 4 m wide, and a wall at the end."""
    sides = (
        ((start, -2, 0), (end, 2, 0)),
        ((start, -2, 0), (end, -2, 3)),
        ((start, 2, 0), (end, 2, 3)),
        ((end, -2, 0), (end, 2, 3)),
    )
    planes = []
    for low, high in sides:
        extent = np.abs(np.subtract(high, low))
        area = np.prod(extent[extent > 0.0])
        planes.append(rng.uniform(low, high, (int(per_square_metre * area), 3)))
    points = np.vstack(planes)
    return points + 0.005 * rng.normal(size=points.shape)


@pytest.mark.parametrize('off', (0.1, 0.4, 0.6))
def test_the_other_side_of_a_wall_is_not_the_wall_that_was_seen(off):
    """An operator errs by half a metre: all that was seen fits the next room's wall as well."""
    rng = np.random.default_rng(19)
    beyond = corridor(-13.0, -8.5, 300, rng) * [-1.0, 1.0, 1.0]
    registrar = Registrar(np.vstack([corridor(2.0, 8.0, 300, rng), beyond]), options=UPRIGHT)
    truth = make_transform(translation=[5.0, 0.2, 1.0])
    cloud = corridor(2.5, 8.0, 120, rng) - truth[:3, 3]
    start = make_transform(translation=truth[:3, 3] + [off, 0.0, 0.0])
    found = registrar.register(cloud, start, np.diag(np.square([0.5, 0.5, 0.1, 0.05, 0.05, 0.1])))
    assert found.accepted, found.reason
    assert errors(found.transform, truth)[1] < 0.05


@pytest.mark.parametrize('viewpoint', ((0.0, 1.0), (np.nan, 0.0, 0.0)))
def test_a_viewpoint_that_is_no_point_is_named(building, viewpoint):
    cloud = np.random.default_rng(0).normal(size=(500, 3))
    with pytest.raises(ParameterError, match='viewpoint'):
        building[1].register(cloud, viewpoint=viewpoint)


def test_a_place_that_the_map_does_not_show_is_not_accepted(building):
    rng = np.random.default_rng(11)
    _, registrar = building
    truth = pose(ORIGIN, 0.3, rng)
    found = registrar.register(scan(99, ORIGIN, truth, rng))
    assert not found.accepted


def test_a_prior_in_a_large_map_is_tracked(building):
    rng = np.random.default_rng(13)
    centres, registrar = building
    truth = pose(centres[5] + [-1.0, 0.5, 0.3], -2.0, rng)
    start = make_transform(truth[:3, :3], truth[:3, 3] + [0.1, -0.1, 0.0])
    known = np.diag(np.square([0.1, 0.1, 0.02, 0.02, 0.02, 0.05]))
    found = registrar.register(scan(5, centres[5], truth, rng), start, known)
    angle, length = errors(found.transform, truth)
    assert found.status is Status.ACCEPTED, found.reason
    assert angle < 0.5 and length < 0.03


def test_a_window_holds_what_lies_within_its_radius_of_the_cloud():
    rng = np.random.default_rng(0)
    reference, cloud = rng.uniform(-20, 20, (5000, 3)), rng.normal(size=(400, 3)) + [3.0, 0, 0]
    truth = pose([1.0, 2.0, 0.0], 0.7, rng)
    centre = truth[:3, :3] @ cloud.mean(axis=0) + truth[:3, 3]
    distances = np.linalg.norm(cloud - cloud.mean(axis=0), axis=1)
    radius = window_radius(cloud)
    assert np.quantile(distances, 0.95) < radius < 1.3 * np.quantile(distances, 0.95)
    expected = np.linalg.norm(reference - centre, axis=1) < radius
    np.testing.assert_array_equal(window_at(reference, cloud, truth), expected)


def at_work(monkeypatch):
    """List of how many points get normals, call by call, from now on."""
    counts, estimate = [], small_gicp.estimate_normals_covariances

    def counted(cloud, *args, **kwargs):
        counts.append(cloud.size())
        estimate(cloud, *args, **kwargs)

    monkeypatch.setattr(small_gicp, 'estimate_normals_covariances', counted)
    return counts


def test_the_first_cloud_in_another_room_costs_no_normals_of_the_map(monkeypatch):
    rng = np.random.default_rng(17)
    centres, points = storey(range(12), rng)
    registrar = Registrar(points, options=UPRIGHT)
    known = np.diag(np.square([0.1, 0.1, 0.02, 0.02, 0.02, 0.05]))
    clouds = {}
    for which in (1, 10):
        truth = pose(centres[which] + [0.3, 0.4, 0.3], 1.0, rng)
        clouds[which] = scan(which, centres[which], truth, rng), truth
    registrar.register(*clouds[1], known)
    counts = at_work(monkeypatch)
    registrar.register(*clouds[1], known)
    again, counts[:] = sum(counts), []
    found = registrar.register(*clouds[10], known)
    assert 0 < sum(counts) < 1.2 * again, 'those of the cloud itself'
    assert found.accepted and errors(found.transform, clouds[10][1])[1] < 0.03


@pytest.mark.parametrize('most', (1_000_000, 1_000))
def test_a_cloud_lies_in_a_large_map_as_in_its_room_alone(monkeypatch, most):
    """Also where the map is too large to be made ready as a whole."""
    monkeypatch.setattr(pyramid, '_MOST', most)
    rng = np.random.default_rng(19)
    centres, points = storey(range(12), rng)
    mine = np.abs(points - centres[6])[:, :2].max(axis=1) < 3.5
    truth = pose(centres[6] + [-0.5, 0.2, 0.3], 0.4, rng)
    cloud = scan(6, centres[6], truth, rng)
    known = np.diag(np.square([0.1, 0.1, 0.02, 0.02, 0.02, 0.05]))
    start = make_transform(truth[:3, :3], truth[:3, 3] + [0.05, 0.08, -0.01])
    found = Registrar(points, options=UPRIGHT).register(cloud, start, known)
    alone = Registrar(points[mine], options=UPRIGHT).register(cloud, start, known)
    angle, length = errors(found.transform, alone.transform)
    assert found.accepted and alone.accepted
    assert angle < 0.05 and length < 0.003
    np.testing.assert_allclose(found.covariance, alone.covariance, rtol=0.5, atol=1e-8)


def test_a_cloud_that_reaches_a_hundred_times_as_far_as_the_reference_has_an_answer():
    """A small reference by mistake, or a cloud that was seen from its frame's far origin."""
    rng = np.random.default_rng(2)
    cloud = room(0, 2_000, rng)
    thing = Registrar(scenes.bracket(500, rng), options=UPRIGHT)
    assert not thing.register(90.0 * cloud).accepted
    place = Registrar(room(0, 4_000, rng), options=UPRIGHT)
    found = place.register(cloud, viewpoint=(3.6e5, 5.7e6, 100.0))
    assert not found.accepted or errors(found.transform, np.eye(4))[1] < 0.05


@pytest.mark.parametrize('voxel_size', [0.0, 0.5])
@pytest.mark.parametrize('predictor', [False, True])
def test_where_a_map_holds_one_point_many_times_there_is_no_surface(voxel_size, predictor):
    rng = np.random.default_rng(3)
    spot = np.array([60.0, 60.0, 1.0])
    points = np.vstack([room(0, PER_ROOM, rng), np.tile(spot, (100, 1))])
    options = RegistrationOptions(upright=True, use_predictor=predictor, voxel_size=voxel_size)
    cloud = room(0, 4_000, rng) - [0.0, 0.0, 1.0]
    tight = np.diag([0.1**2] * 6)
    result = Registrar(points, options=options).register(cloud, make_transform(None, spot), tight)
    assert not result.accepted and np.isfinite(result.transform).all()


@pytest.mark.parametrize(('between', 'reach', 'after'), [('_plan_for', 9.0, 0), ('level', 1.3, 3)])
def test_a_cloud_of_another_thread_at_any_moment_changes_nothing(between, reach, after):
    """What a map is looked at by is made when it is needed; here before the lines of that."""
    rng = np.random.default_rng(7)
    points, seen = room(0, 40_000, rng), room(0, 3_000, rng) - [0.0, 0.0, 1.0]
    cloud, other = (seen[np.hypot(*seen.T[:2]) < most] for most in (1.3, reach))
    alone, shared = (Registrar(points, options=UPRIGHT) for _ in range(2))
    lines, of_others = [], []

    def on_line(frame, event, _):
        lines.append(frame.f_lineno)
        if event == 'line' and len(lines) > after:
            of_others.append(shared.register(other, thorough=False))
        return on_line

    tracer = sys.gettrace()
    sys.settrace(lambda frame, *_: on_line if frame.f_code.co_name == between else None)
    try:
        found = shared.register(cloud, thorough=False)
    finally:
        sys.settrace(tracer)
    assert len(of_others) >= 3
    for given, results in ((cloud, [found]), (other, of_others)):
        expected = alone.register(given, thorough=False)
        for result in results:
            np.testing.assert_array_equal(result.transform, expected.transform)
            np.testing.assert_array_equal(result.covariance, expected.covariance)
