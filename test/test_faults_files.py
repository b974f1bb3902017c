"""Files from strangers: parameters, weights, clouds and recordings are data and run nothing."""

import os
import pickle

import numpy as np
import pytest
import yaml
from wire import LOOPBACK, free_domain, room

pytest.importorskip('cyclonedds')
pytest.importorskip('rosbags')

from dlc_ros.cli import main  # noqa: E402
from dlc_ros.files import write_cloud  # noqa: E402

hostile = pytest.mark.scenario(
    'faults',
    'hostile parameter, weights, cloud and recording files: nothing runs, one clear line',
    'embedded',
)


class Witness:
    """Something that a file tries to do when it is read: make a folder."""

    def __init__(self, folder):
        self.path = folder / 'executed'

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def witness(tmp_path):
    return Witness(tmp_path)


@pytest.fixture
def refused(capsys, caplog, witness):
    """Run ``dlc-ros`` on a hostile file; it must be refused in one short line."""

    def run(*arguments):
        capsys.readouterr()
        caplog.clear()
        assert main(list(map(str, arguments))) == 2
        said = capsys.readouterr().err + ''.join(r.getMessage() + '\n' for r in caplog.records)
        complaints = [line for line in said.splitlines() if line]
        # The node tells it in its log, the command line on stderr.
        assert len(complaints) == 1, complaints
        assert len(complaints[0]) < 600 and 'Traceback' not in said
        assert not witness.path.exists()
        return complaints[0]

    return run


def run_with(parameters):
    """Arguments of a node on its own domain with flat parameters."""
    values = {'dds.domain_id': free_domain(8), 'dds.network_interface': LOOPBACK, **parameters}
    return ('run', *(word for n, v in values.items() for word in ('-p', f'{n}={v}')))


TAGS = {
    'apply': "!!python/object/apply:os.mkdir ['PATH']",
    'new': "!!python/object/new:os.mkdir ['PATH']",
    'name': '!!python/name:os.mkdir',
    'module': '!!python/module:os',
    'eval': '!!python/object/apply:eval [\'__import__("os").mkdir("PATH")\']',
}
BOMB = 'a: &a [x, x, x, x, x, x, x, x, x]\n' + ''.join(
    f'{name}: &{name} [{", ".join(["*" + before] * 9)}]\n'
    for before, name in zip('abcdefghi', 'bcdefghij', strict=True)
)
NESTS = 'a: &a {x: 1}\n' + ''.join(
    f'{name}: &{name} {{{", ".join(f"k{i}: *{before}" for i in range(9))}}}\n'
    for before, name in zip('abcdefghi', 'bcdefghij', strict=True)
)
PARAMETERS = {
    **{
        f'tag {name}': f'/**: {{ros__parameters: {{hold_timeout: {tag}}}}}'
        for name, tag in TAGS.items()
    },
    'a billion strings': f'{BOMB}/**: {{ros__parameters: {{objects.names: *j}}}}',
    'a billion names': f'{NESTS}/**: {{ros__parameters: *j}}',
    'a billion sections': NESTS,
    'itself': '/**: {ros__parameters: &a {frames: *a}}',
    'deep': '/**: {ros__parameters: ' + '[' * 20_000 + ']' * 20_000 + '}',
    'deep names': '/**: {ros__parameters: ' + '{a: ' * 3000 + '1' + '}' * 3001,
    'a long value': '/**: {ros__parameters: {hold_timeout: "' + 'x' * 100_000 + '"}}',
    'a long name': '/**: {ros__parameters: {' + 'x' * 100_000 + ': 1}}',
    'lines in a name': '/**: {ros__parameters: {"hold\\ntimeout": 1}}',
}


def test_the_files_would_do_harm_elsewhere(witness):
    """Else the tests below would test nothing."""
    for tag in ('apply', 'new', 'eval'):
        yaml.unsafe_load(TAGS[tag].replace('PATH', str(witness.path)))
        witness.path.rmdir()
    pickle.loads(pickle.dumps(witness))
    assert witness.path.is_dir()


@hostile
@pytest.mark.parametrize('kind', PARAMETERS)
def test_hostile_parameter_file_is_one_line(refused, witness, tmp_path, kind):
    path = tmp_path / 'params.yaml'
    path.write_text(PARAMETERS[kind].replace('PATH', str(witness.path)))
    assert 'params.yaml' in refused('run', '--params', path)


@hostile
def test_hostile_parameter_on_the_command_line_is_one_line(refused, witness):
    tag = TAGS['apply'].replace('PATH', str(witness.path))
    assert 'hold_timeout' in refused(*run_with({'hold_timeout': tag}))


@hostile
@pytest.mark.parametrize('suffix', ['safetensors', 'pt', 'pth', 'pkl'])
def test_hostile_weights_are_one_line(refused, witness, tmp_path, suffix):
    reference, weights = tmp_path / 'room.npy', tmp_path / f'weights.{suffix}'
    write_cloud(reference, room(600))
    if suffix == 'pth':
        torch = pytest.importorskip('torch')
        torch.save({'net': witness}, weights)
    else:
        weights.write_bytes(pickle.dumps(witness))
    assert str(weights) in refused(*run_with({'reference': reference, 'weights': weights}))
    assert str(weights) in refused('register', reference, reference, '--weights', weights)


@hostile
@pytest.mark.parametrize('suffix', ['npy', 'npz', 'ply', 'pcd', 'xyz', 'csv', 'bin', 'stl', 'obj'])
def test_hostile_reference_is_one_line(refused, witness, tmp_path, suffix):
    path = tmp_path / f'reference.{suffix}'
    if suffix == 'npy':
        np.save(path, np.array([witness], dtype=object), allow_pickle=True)
    elif suffix == 'npz':
        np.savez(path, points=np.array([witness], dtype=object))
    else:
        path.write_bytes(pickle.dumps(witness))
    assert str(path) in refused(*run_with({'reference': path}))


@hostile
def test_hostile_recording_is_one_line(refused, witness, tmp_path):
    folder = tmp_path / 'recording'
    folder.mkdir()
    tag = TAGS['apply'].replace('PATH', str(witness.path))
    (folder / 'metadata.yaml').write_text(f'rosbag2_bagfile_information: {tag}\n')
    assert str(folder) in refused('play', folder)
    for suffix in ('mcap', 'db3', 'bag'):
        path = tmp_path / f'recording.{suffix}'
        path.write_bytes(pickle.dumps(witness))
        assert str(path) in refused('play', path)
