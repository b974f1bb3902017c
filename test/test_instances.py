"""Several instances of one model in one cloud, with the real registrar and its weights."""

import numpy as np
import pytest
from rig import apply, at, pose
from test_localizer import angle_between, part

from dlc_ros.localization.localizer import Localizer
from dlc_ros.localization.parameters import from_flat
from dlc_ros.localization.transforms import TransformTree

TABLE = pose(translation=(0, 0, 0.9)) @ pose((-2.3, 0, 0))


def place(x, y, yaw):
    return TABLE @ pose((0, 0, yaw), (x, y, 0))


def view(places, generator):
    """What a camera sees of parts on a table."""
    table = np.column_stack([generator.uniform(-0.9, 0.9, (9_000, 2)), np.full(9_000, -0.01)])
    parts = [apply(camera_from_part, part(generator, 4_000)) for camera_from_part in places]
    points = np.vstack([apply(TABLE, table), *parts])
    return points + generator.normal(scale=0.0005, size=points.shape)


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def localizer_of(tmp_path, names, generator):
    np.save(tmp_path / 'part.npy', part(generator, 20_000))
    flat = {
        'mode': 'object',
        'objects.names': names,
        'objects.references': [str(tmp_path / 'part.npy')] * len(names),
        'objects.search_budget': 0.0,
    }
    return Localizer(from_flat(flat), TransformTree().lookup)


def matches(found, places):
    """Index of the place of each transform; each must be one of them."""
    indices = []
    for transform in found:
        errors = [np.linalg.norm((transform.matrix - truth)[:3, 3]) for truth in places]
        indices.append(int(np.argmin(errors)))
        assert min(errors) < 0.01
        assert angle_between(transform.matrix, places[indices[-1]]) < np.radians(3.0)
    return indices


def test_each_instance_gets_a_place_of_its_own_and_keeps_it(tmp_path, generator):
    names = ['part_1', 'part_2', 'part_3']
    localizer = localizer_of(tmp_path, names, generator)
    places = [place(-0.45, 0.1, 0.4), place(0.0, -0.1, 2.2), place(0.4, 0.15, -1.7)]
    owners = []
    for step in range(3):
        # All of them are pushed along a little.
        moved = [pose(translation=(0.004 * step, 0, 0)) @ truth for truth in places]
        transforms = localizer.on_cloud(
            at(0.1 * step), 'camera', view(moved, generator)
        ).transforms
        by_name = {transform.child: transform for transform in transforms}
        if step:
            assert set(by_name) == set(names)
        owners.append(dict(zip(by_name, matches(by_name.values(), moved), strict=True)))
        assert len(set(owners[-1].values())) == len(owners[-1]), 'never two names for one part'
    assert all(owner.items() <= owners[-1].items() for owner in owners)


def test_an_instance_that_is_taken_away_is_lost_and_does_not_move_to_another(tmp_path, generator):
    localizer = localizer_of(tmp_path, ['part_1', 'part_2'], generator)
    places = [place(-0.3, 0.0, 0.4), place(0.3, 0.1, 2.2)]
    for step in range(2):
        output = localizer.on_cloud(at(0.1 * step), 'camera', view(places, generator))
    owner = dict(
        zip([t.child for t in output.transforms], matches(output.transforms, places), strict=True)
    )
    assert len(owner) == 2
    for step in range(2, 8):
        output = localizer.on_cloud(at(0.1 * step), 'camera', view(places[:1], generator))
        assert [owner[transform.child] for transform in output.transforms] == [0]
    states = {
        entry.name.split()[-1]: entry.values['state']
        for entry in localizer.diagnostics(at(0.8))
        if ': pose of' in entry.name
    }
    assert {owner[name]: state for name, state in states.items()} == {
        0: 'TRACKING',
        1: 'SEARCHING',
    }


def test_instances_share_one_model(tmp_path, generator):
    localizer = localizer_of(tmp_path, ['part_1', 'part_2', 'part_3'], generator)
    values = {
        entry.name.removeprefix('localizer: '): entry.values
        for entry in localizer.diagnostics(at(0))
    }
    assert values['device']['models'] == '1'
    other = tmp_path / 'other.npy'
    np.save(other, part(generator, 15_000))
    assert localizer.load_reference(f'other={other}').accepted
    (device,) = [e for e in localizer.diagnostics(at(0)) if e.name.endswith('device')]
    assert device.values['models'] == '2'
    assert 'steps' in values['model of part_1']['trained on']
    assert len(values['model of part_1']['weights sha256']) == 64
