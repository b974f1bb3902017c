"""``partial-view``: a whole model, and what a depth camera or LiDAR sees of it, with clutter."""

import numpy as np
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from dlc_training.data.primitives import Box
from dlc_training.data.scene import Scene
from dlc_training.data.sensors import DepthCamera, SolidStateLidar, looking_at
from dlc_training.data.solid import Solid
from dlc_training.evaluate.pair import EVERYTHING, Pair, apply, pose
from dlc_training.evaluate.shapes import GeneratedShapes

FOREIGN_BINS = (0.0, 10.0, 20.0, 30.0)
SAMPLES = 2048
# What is seen of the object has at least this many points, at most SAMPLES.
FEWEST = 300
_ATTEMPTS = 30
_DROPOUT = 0.05
# Radius of the flip, in distances of the farthest point: larger ones see more of what is slant.
_FLIP = 100.0
_FLOOR = 1.6  # half the edge of the supporting plane


def partial_view_pair(shapes, index, seed, pairs_per_bin):
    """
    Draw pair ``index`` of ``partial-view``.

    The target is a whole shape, 2048 samples with noise 0.005. The source is one view of it from
    1.8 to 4 radii away: a depth camera in three pairs of four, else a solid-state LiDAR, with
    noise of 0.003 to 0.012 along the ray, 5 % dropout and loss at grazing incidence. The bin is
    the share of foreign points: of a plane that supports the object, and of another one that
    stands near it, also before it. The source's frame is the sensor's; the model's is turned at
    random.

    :return: :class:`Pair`; its ``clean`` cloud has 8192 points.
    """
    share = FOREIGN_BINS[index // pairs_per_bin] / 100
    shape = shapes.index_of(index)
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([seed, 6, index, attempt])
        view = _cast if isinstance(shapes, GeneratedShapes) else _sampled
        target, points, foreign, placed = view(shapes, shape, share, rng)
        if len(points) >= FEWEST:
            break
    points, foreign = (c[rng.permutation(len(c))] for c in (points, foreign))
    wanted = round(share * min(len(points), SAMPLES))
    foreign = foreign[:wanted]
    source = np.concatenate([points[: SAMPLES - len(foreign)], foreign])
    model = pose(Rotation.random(random_state=rng).as_matrix())
    clean = apply(model, shapes.dense(shape))
    return Pair(
        index=index,
        bin=100 * share,
        shape=shape,
        source=rng.permutation(source).astype(np.float32),
        target=rng.permutation(
            apply(model, target) + 0.005 * rng.normal(size=target.shape)
        ).astype(np.float32),
        truth=model @ np.linalg.inv(placed),
        shape_pose=model,
        clean=clean.astype(np.float32),
        source_plane=EVERYTHING,
        target_plane=EVERYTHING,
    )


def _eye(rng):
    """Where a sensor stands: above the plane that the object rests on."""
    direction = rng.normal(size=3)
    direction[2] = abs(direction[2]) + 0.2
    return rng.uniform(1.8, 4.0) * direction / np.linalg.norm(direction)


def _cast(shapes, shape, share, rng):
    """
    One view by casting rays into a scene of solids.

    :return: samples of the whole shape (2048, 3) in its own frame; points on it (n, 3) and others
        (m, 3), sensor frame; pose (4, 4) of the shape in that frame.
    """
    turn = Rotation.random(random_state=rng).as_matrix()
    solid = shapes.solid(shape).placed(turn, np.zeros(3))
    solids = [solid]
    if share:
        lowest = solid.sample(2000, rng)[0][:, 2].min()
        floor = Box(half=np.array((_FLOOR, _FLOOR, 0.02))).placed(
            np.eye(3), np.array((0.0, 0.0, lowest - 0.02))
        )
        other = shapes.solid(shapes.index_of(int(rng.integers(50_000)))).scaled(
            rng.uniform(0.3, 0.7)
        )
        side = rng.uniform(0, 2 * np.pi)
        beside = rng.uniform(0.8, 1.3) * np.array((np.cos(side), np.sin(side), 0.0))
        lift = lowest - other.sample(500, rng)[0][:, 2].min()
        solids += [Solid((floor,)), other.placed(np.eye(3), beside + (0, 0, lift))]
    eye = _eye(rng)
    distance = np.linalg.norm(eye)
    noise = rng.uniform(0.003, 0.012)
    field = 2 * np.degrees(np.arctan(1.1 / np.sqrt(max(distance**2 - 1, 0.7))))
    pixels = int(rng.integers(60, 110))
    sensor_pose = looking_at(eye, rng.normal(size=3) * 0.05, rng.uniform(-0.3, 0.3))
    if rng.uniform() < 0.75:
        sensor = DepthCamera(
            width=pixels, height=pixels, field_deg=field, near=0.1, far=12.0,
            noise=noise / distance**2, disparity_step=0.0, dropout=_DROPOUT,
        )  # fmt: skip
    else:
        sensor = SolidStateLidar(
            pulses=pixels**2, field_deg=field, near=0.1, far=12.0, noise=noise, dropout=_DROPOUT
        )
        # Its axis is x, the camera's z.
        sensor_pose[:3, :3] = sensor_pose[:3, [2, 0, 1]] * (1, -1, -1)
    scan = sensor.scan(Scene(solids), sensor_pose, rng)
    placed = np.linalg.inv(sensor_pose) @ pose(turn)
    own = scan.parts == 0
    return shapes.draw(shape, (SAMPLES,), rng)[0], scan.points[own], scan.points[~own], placed


def _sampled(shapes, shape, share, rng):
    """The same for a shape that is known by samples only: what hides behind others is removed."""
    turn = Rotation.random(random_state=rng).as_matrix()
    target, points = shapes.draw(shape, (SAMPLES, SAMPLES), rng)
    placed = pose(turn, (0.0, 0.0, 0.0))
    standing = apply(placed, points)
    lowest = standing[:, 2].min()
    foreign = np.empty((0, 3))
    if share:
        floor = np.column_stack([rng.uniform(-_FLOOR, _FLOOR, (4000, 2)), np.full(4000, lowest)])
        other = shapes.draw(shapes.index_of(int(rng.integers(50_000))), (1000,), rng)[0]
        other = rng.uniform(0.3, 0.7) * other
        side = rng.uniform(0, 2 * np.pi)
        beside = rng.uniform(0.8, 1.3) * np.array((np.cos(side), np.sin(side), 0.0))
        lift = lowest - other[:, 2].min()
        foreign = np.concatenate([floor, other + beside + (0, 0, lift)])
    sensor_pose = looking_at(_eye(rng), rng.normal(size=3) * 0.05, rng.uniform(-0.3, 0.3))
    back = np.linalg.inv(sensor_pose)
    everything = apply(back, np.concatenate([standing, foreign]))
    seen = visible(everything) & (rng.uniform(size=len(everything)) >= _DROPOUT)
    away = rng.uniform(0.003, 0.012) * rng.normal(size=(len(everything), 1))
    noisy = everything * (1 + away / np.linalg.norm(everything, axis=1, keepdims=True))
    own = np.arange(len(everything)) < len(standing)
    return target, noisy[seen & own], noisy[seen & ~own], back @ placed


def visible(points):
    """
    Which points of a sampled surface an eye at the origin sees.

    Hidden point removal: seen is what lies on the convex hull of the points after each was
    flipped outwards along its ray, and the eye (Katz, Tal and Basri, "Direct Visibility of Point
    Sets", SIGGRAPH 2007).

    :param points: (n, 3), without noise.
    :return: (n,) bool.
    """
    distance = np.linalg.norm(points, axis=1, keepdims=True)
    flipped = points * (2 * _FLIP * distance.max() / distance - 1)
    hull = ConvexHull(np.vstack([flipped, np.zeros(3)]))
    seen = np.zeros(len(points) + 1, bool)
    seen[hull.vertices] = True
    return seen[:-1]
