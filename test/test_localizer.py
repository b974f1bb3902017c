"""The localizer with the real registrar: a robot in a room, a part on a table."""

from pathlib import Path

import numpy as np
import pytest
from rig import (
    BASE_FROM_LIDAR,
    apply,
    at,
    odom_from_base,
    pose,
)
from scipy.spatial.transform import Rotation

from dlc_ros.localization.localizer import Localizer
from dlc_ros.localization.parameters import from_flat, load_yaml
from dlc_ros.localization.transforms import TransformTree

CONFIG = Path(__file__).resolve().parent.parent / 'config'


def room(generator, count):
    """Points on the inside of a box with a pillar: nothing in it is symmetric."""
    size = np.array([8.0, 5.0, 3.0])
    points = generator.uniform(0, 1, (count, 3)) * size
    side = generator.integers(0, 6, count)
    points[np.arange(count), side % 3] = np.where(side < 3, 0.0, size[side % 3])
    angle = generator.uniform(0, 2 * np.pi, count // 6)
    pillar = np.column_stack(
        [2 + 0.4 * np.cos(angle), 1.5 + 0.4 * np.sin(angle), generator.uniform(0, 3, count // 6)]
    )
    return np.vstack([points, pillar]) + generator.normal(
        scale=0.003, size=(count + len(pillar), 3)
    )


def angle_between(first, second):
    return Rotation.from_matrix(first[:3, :3].T @ second[:3, :3]).magnitude()


MAP_CONFIGS = ['cpu_only', 'indoor_lidar', 'jetson', 'outdoor_lidar']


@pytest.mark.parametrize('config', ['', *MAP_CONFIGS], ids=['refinement alone', *MAP_CONFIGS])
def test_a_robot_drives_through_a_mapped_room(tmp_path, config):
    """Other samples of the room than the map's, a known drive; with each shipped map config."""
    generator = np.random.default_rng(0)
    np.save(tmp_path / 'room.npy', room(generator, 12_000))
    tree = TransformTree()
    tree.insert('base_link', 'lidar', 0, BASE_FROM_LIDAR, static=True)
    values = {'reference': str(tmp_path / 'room.npy')}
    if config:
        parameters = load_yaml(CONFIG / f'{config}.yaml', values)
    else:
        parameters = from_flat({**values, 'mode': 'map', 'registration.use_predictor': False})
    localizer = Localizer(parameters, tree.lookup)
    assert localizer.problems == ()
    map_from_odom = pose((0, 0, 0.4), (4.0, 2.0, 0.5))
    published = TransformTree()
    for seconds in np.arange(0, 1.6, 0.2):
        tree.insert('odom', 'base_link', at(seconds), odom_from_base(seconds))
        map_from_lidar = map_from_odom @ odom_from_base(seconds) @ BASE_FROM_LIDAR
        if seconds == 0 and not config:
            start = map_from_odom @ pose((0, 0, 0.03), (0.1, -0.1, 0))
            assert localizer.on_initial_pose(at(0), 'map', start, np.zeros((6, 6))).accepted
        scan = apply(np.linalg.inv(map_from_lidar), room(generator, 6_000))
        output = localizer.on_cloud(at(seconds), 'lidar', scan.astype(np.float32))
        competed = output.hypotheses[0].poses()
        np.testing.assert_allclose(competed[0], output.poses[0].matrix, atol=1e-9)
        assert len(competed) > 1 and output.hypotheses[0].frame == 'map'
        *_, correction = output.transforms
        published.insert(correction.parent, correction.child, at(seconds), correction.matrix)
        published.insert('odom', 'base_link', at(seconds), odom_from_base(seconds))
        found = published.lookup('map', 'base_link', at(seconds))
        truth = map_from_odom @ odom_from_base(seconds)
        assert angle_between(found, truth) < np.radians(0.5)
        assert np.linalg.norm(found[:3, 3] - truth[:3, 3]) < 0.03


BRACKET = np.array(  # plate, wall and block: low and high corners [m]
    [
        [[0.0, 0.0, 0.0], [0.25, 0.12, 0.02]],
        [[0.0, 0.0, 0.02], [0.03, 0.12, 0.15]],
        [[0.15, 0.08, 0.02], [0.2, 0.12, 0.08]],
    ]
)


def part(generator, count):
    """Points on the outside of a bracket, evenly; its origin is the middle of the plate."""
    sizes = BRACKET[:, 1] - BRACKET[:, 0]
    areas = np.stack([sizes[:, (i + 1) % 3] * sizes[:, (i + 2) % 3] for i in range(3)], axis=1)
    faces = generator.choice(18, count, p=np.tile((areas / areas.sum() / 2).ravel(), 2))
    box, axis, high = faces % 9 // 3, faces % 3, faces // 9
    points = generator.uniform(BRACKET[box, 0], BRACKET[box, 1])
    points[np.arange(count), axis] = BRACKET[box, high, axis]
    touching = np.zeros(count, dtype=bool)
    for i, (low, top) in enumerate(BRACKET):
        touching |= (box != i) & ((points >= low) & (points <= top)).all(axis=1)
    return points[~touching] - [0.125, 0.06, 0.01]


def test_a_part_on_a_table_is_followed_while_the_camera_moves(tmp_path):
    """The whole path with small_gicp, table and all: other samples than the model's."""
    generator = np.random.default_rng(0)
    np.save(tmp_path / 'part.npy', part(generator, 20_000))
    localizer = Localizer(
        from_flat(
            {
                'mode': 'object',
                'objects.names': ['part'],
                'objects.references': [str(tmp_path / 'part.npy')],
                'registration.use_predictor': False,
            }
        ),
        TransformTree().lookup,
    )
    for step in range(8):
        # The camera looks down at 50 deg and goes around at 20 deg a second.
        around = pose((0, 0, 0.035 * step))
        camera_from_part = pose(translation=(0, 0, 0.9)) @ pose((-2.3, 0, 0)) @ around
        table = np.column_stack(
            [generator.uniform(-0.8, 0.8, (12_000, 2)), np.full(12_000, -0.01)]
        )
        scene = apply(camera_from_part, np.vstack([part(generator, 6_000), table]))
        scene += generator.normal(scale=0.0005, size=scene.shape)
        if step == 0:
            start = camera_from_part @ pose((0.05, -0.05, 0.1), (0.01, 0.01, 0))
            spread = np.diag(np.repeat([0.02, 0.2], 3) ** 2)
            localizer.on_cloud(at(-0.1), 'camera', scene)
            assert localizer.on_initial_pose(0, 'camera', start, spread).accepted
        (transform,) = localizer.on_cloud(at(0.1 * step), 'camera', scene).transforms
        assert angle_between(transform.matrix, camera_from_part) < np.radians(1.0)
        assert np.linalg.norm((transform.matrix - camera_from_part)[:3, 3]) < 0.005
