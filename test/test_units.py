"""Files in other units than metres: converted as told, and named where it was not told."""

import json

import numpy as np
import pytest
from cli_runs import run, write_pair
from rig import CAMERA_FROM_MUG, MAP_FROM_ODOM, OBJECTS, REJECTED, Rig, seen

from dlc_ros.files import read_cloud, write_cloud
from dlc_ros.localization.saved_pose import read_poses
from dlc_ros.registration.units import unit_mismatch, with_unit_option


@pytest.mark.parametrize(
    ('source', 'target', 'named'),
    [(1.0, 1.0, ''), (1.0, 30.0, ''), (1e3, 1.1, 'source'), (0.8, 1e3, 'target'), (1e5, 1.0, '')],
)
def test_millimetres_against_metres_are_named(source, target, named):
    sentence = unit_mismatch(source, target)
    assert bool(sentence) == bool(named)
    if named:
        assert 'millimetres' in sentence and f'multiply the {named} by 0.001' in sentence


@pytest.fixture
def folder(tmp_path):
    """A pair of clouds in metres, and its target in millimetres."""
    write_pair(tmp_path)
    np.save(tmp_path / 'millimetres.npy', 1000.0 * np.load(tmp_path / 'target.npy'))
    np.save(tmp_path / 'converted.npy', 0.001 * np.load(tmp_path / 'millimetres.npy'))
    return tmp_path


def answer(capsys, folder, *arguments):
    """What ``dlc-ros register`` says of the source, but for the times that it took."""
    code, out, err = run(capsys, 'register', folder / 'source.npy', *arguments, '--json')
    assert err == ''
    said = json.loads(out)
    del said['stages_ms']
    return code, said


def test_a_target_is_registered_as_the_file_converted_beforehand(folder, capsys):
    told = answer(capsys, folder, folder / 'millimetres.npy', '--target-unit', '0.001')
    assert told == answer(capsys, folder, folder / 'converted.npy')
    assert told[0] == 0


def test_the_command_line_names_its_option_for_millimetres(folder, capsys):
    code, said = answer(capsys, folder, folder / 'millimetres.npy')
    assert code == 1 and said['reason'].endswith('; give --target-unit 0.001')
    code, said = answer(capsys, folder, folder / 'target.npy', '--target-unit', '0.001')
    assert code == 1 and said['reason'].endswith('; give --target-unit 1')
    np.save(folder / 'source.npy', 1000.0 * np.load(folder / 'source.npy'))
    code, said = answer(capsys, folder, folder / 'target.npy')
    assert code == 1 and said['reason'].endswith('; multiply the source by 0.001')


@pytest.mark.parametrize('unit', ['0', '-0.001', 'nan', '1e4', 'mm'])
def test_what_is_no_unit_is_refused(folder, capsys, unit):
    files = (folder / 'source.npy', folder / 'target.npy')
    code, out, err = run(capsys, 'register', *files, f'--target-unit={unit}')
    assert (code, out) == (2, '') and err.count('\n') == 1
    assert f"'{unit}' is no number from 1e-06 to 1000" in err


def test_a_mesh_in_millimetres(tmp_path):
    """Oracle: the faces of a box of 120 x 80 x 50 mm."""
    pytest.importorskip('open3d')
    corners = [f'v {x} {y} {z}' for x in (0, 120) for y in (0, 80) for z in (0, 50)]
    faces = ((1, 2, 4, 3), (5, 7, 8, 6), (1, 5, 6, 2), (3, 4, 8, 7), (1, 3, 7, 5), (2, 6, 8, 4))
    lines = corners + [f'f {a} {b} {c}\nf {a} {c} {d}' for a, b, c, d in faces]
    (tmp_path / 'box.obj').write_text('\n'.join(lines) + '\n')
    points = read_cloud(tmp_path / 'box.obj', unit=0.001)
    size = [0.12, 0.08, 0.05]
    on_a_face = np.isclose(points, 0.0, atol=1e-9) | np.isclose(points, size, atol=1e-9)
    assert on_a_face.any(axis=1).all()
    np.testing.assert_allclose(np.ptp(points, axis=0), size, atol=1e-9)


def test_a_file_of_garbage_gives_no_warning(tmp_path):
    """What is too large for its unit is infinite, as what the file itself says is infinite."""
    write_cloud(tmp_path / 'c.npy', [[1e308, 1.0, 2.0], [np.nan, np.inf, 4.0]])
    with np.errstate(all='raise'):
        points = read_cloud(tmp_path / 'c.npy', unit=1000.0)
    np.testing.assert_array_equal(points, [[np.inf, 1e3, 2e3], [np.nan, np.inf, 4e3]])


# The localizer. Its stand-in for a registrar wants the very points of the reference: a model in
# another unit would not fit.


def in_millimetres(tmp_path, points):
    write_cloud(tmp_path / 'millimetres.npy', 1000.0 * points)
    return str(tmp_path / 'millimetres.npy')


@pytest.fixture
def points():
    """As many as a :class:`Rig` has, and the same."""
    return np.random.default_rng(1).uniform(-5, 5, (60, 3))


def test_a_map_in_millimetres(tmp_path, points):
    file = in_millimetres(tmp_path, points)
    rig = Rig(tmp_path, {'mode': 'map', 'reference': file, 'reference_unit': 0.001})
    np.testing.assert_allclose(rig.localizer.references()[0].points, points, atol=1e-12)
    *_, correction = rig.scan(0.0).transforms
    np.testing.assert_allclose(correction.matrix, MAP_FROM_ODOM, atol=1e-9)


@pytest.mark.parametrize('when', ['at the start', 'on command'])
def test_an_object_in_millimetres(tmp_path, points, when):
    file = in_millimetres(tmp_path, points)
    flat = {**OBJECTS, 'reference_unit': 0.001, 'objects.references': [file]}
    if when == 'on command':
        flat = {**flat, 'objects.names': [], 'objects.references': []}
    rig = Rig(tmp_path, flat)
    if when == 'on command':
        assert rig.localizer.load_reference(f'mug={file}').accepted
    (transform,) = seen(rig, 0).transforms
    np.testing.assert_allclose(transform.matrix, CAMERA_FROM_MUG, atol=1e-9)


@pytest.mark.parametrize(
    ('sizes', 'unit', 'remedy'),
    [
        ((1.0, 1000.0), 1.0, 'set reference_unit to 0.001'),
        ((1000.0, 1.0), 0.001, 'set reference_unit to 1'),
        ((1000.0, 1.0), 1.0, 'multiply the source by 0.001'),
    ],
)
def test_the_node_names_its_parameter_for_millimetres(tmp_path, sizes, unit, remedy):
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map', 'reference_unit': unit})
    rig.registrar.verdicts.append({**REJECTED, 'reason': unit_mismatch(*sizes)})
    rig.scan(0.0)
    assert rig.status('pose of map').message.endswith(f'; {remedy}')


def test_other_reasons_are_left_as_they_are():
    reason = 'too few inliers: 3 of 100'
    assert with_unit_option(reason, 'give --target-unit', 0.001) == reason


def test_a_pose_that_was_saved_in_another_unit_is_not_used(tmp_path, points):
    """The file is the same and so is its hash; a pose in it is not."""
    file = in_millimetres(tmp_path, points)
    saved = tmp_path / 'pose.json'
    settings = {'mode': 'map', 'reference': file, 'saved_pose.file': str(saved)}
    first = Rig(tmp_path, {**settings, 'reference_unit': 0.001})
    first.scan(0.0)
    first.localizer.close()
    assert read_poses(saved)['map'].reference_unit == 0.001
    again = Rig(tmp_path, {**settings, 'reference_unit': 0.001})
    again.scan(0.0)
    assert again.calls[0].init is not None
    other = Rig(tmp_path, settings)
    problem = other.status('output').values['pose file problem']
    assert 'is of another reference' in problem and 'reference_unit 0.001' in problem
    other.scan(0.0)
    assert other.calls[0].init is None


def test_a_pose_that_was_saved_before_there_were_units_is_in_metres(tmp_path):
    saved = tmp_path / 'pose.json'
    settings = {'mode': 'map', 'reference': 'map', 'saved_pose.file': str(saved)}
    first = Rig(tmp_path, settings)
    first.scan(0.0)
    first.localizer.close()
    document = json.loads(saved.read_text())
    del document['poses'][0]['reference_unit']
    saved.write_text(json.dumps(document))
    second = Rig(tmp_path, settings)
    second.scan(0.0)
    assert second.calls[0].init is not None
