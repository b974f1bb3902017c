"""The parameter files that the package ships."""

import re
from pathlib import Path

import pytest
import yaml

from dlc_ros.errors import ParameterError
from dlc_ros.localization.parameters import describe, load_yaml

CONFIG = Path(__file__).resolve().parent.parent / 'config'
FILES = sorted(CONFIG.glob('*.yaml'))
EXPECTED = {
    'cpu_only.yaml': 'map',
    'demo.yaml': 'object',
    'depth_camera_object.yaml': 'object',
    'indoor_lidar.yaml': 'map',
    'jetson.yaml': 'map',
    'outdoor_lidar.yaml': 'map',
}


def values_of(path):
    """Flat names in the file's ``/**`` section, read without the code under test."""
    flat = {}

    def walk(tree, prefix):
        for name, value in tree.items():
            if isinstance(value, dict):
                walk(value, f'{prefix}{name}.')
            else:
                flat[prefix + name] = value

    walk(yaml.safe_load(path.read_text(encoding='utf-8'))['/**']['ros__parameters'], '')
    return flat


def test_the_files_are_the_ones_the_documentation_names():
    assert {path.name for path in FILES} == set(EXPECTED)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_file_loads_and_says_what_it_holds(path):
    parameters = load_yaml(path)
    assert parameters.mode == EXPECTED[path.name]
    for name, value in values_of(path).items():
        loaded = parameters
        for part in name.split('.'):
            loaded = getattr(loaded, part)
        if isinstance(loaded, tuple):
            assert loaded == tuple(item for item in value if item)
        else:
            assert loaded == value


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_every_value_is_explained_with_its_unit(path):
    units = {info.name.split('.')[-1]: info.unit for info in describe()}
    for line in path.read_text(encoding='utf-8').splitlines():
        setting = re.match(r'\s+([\w]+):\s+[^#\s][^#]*(?:#\s*(.*))?$', line)
        if setting:
            name, comment = setting.groups()
            assert comment, f'{path.name}: {name} has no comment'
            if units[name]:
                assert f'[{units[name]}]' in comment, f'{path.name}: {name} needs its unit'


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_types_are_those_that_rclpy_insists_on(path):
    types = {info.name: info.type for info in describe()}
    kinds = {'bool': bool, 'integer': int, 'double': float, 'string': str, 'string_array': list}
    for name, value in values_of(path).items():
        assert type(value) is kinds[types[name]], name
        assert value != [], f'{name}: an empty list has no type in ROS'


def test_a_jetson_whose_gpu_is_not_used_is_told():
    """CUDA that is asked for by name is missed aloud, with ``auto`` the CPU is as good."""
    assert load_yaml(CONFIG / 'jetson.yaml').registration.device == 'cuda'
    assert load_yaml(CONFIG / 'indoor_lidar.yaml').registration.device == 'auto'


def test_a_misspelt_name_is_named_with_the_file(tmp_path):
    path = tmp_path / 'wrong.yaml'
    path.write_text(
        (CONFIG / 'indoor_lidar.yaml').read_text().replace('hold_timeout', 'hold_time')
    )
    with pytest.raises(ParameterError, match=r'wrong\.yaml.*hold_time.*hold_timeout'):
        load_yaml(path)
