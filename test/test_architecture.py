"""Imports of the whole tree against docs/architecture.md, and what imports cost a robot."""

import ast
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / 'docs' / 'architecture.md'
TREES = {'dlc_ros': ROOT / 'dlc_ros', 'dlc_training': ROOT / 'training'}
LAYERS = ('registration', 'localization', 'node', 'demo', 'commands', 'training')
# Importing these loads no library that only some of their callers need.
LIGHT = ('registration', 'localization', 'files', 'errors', 'commands', 'cli')
# Shared by every layer; they import nothing above themselves.
BASE = {'dlc_ros', 'command_line', 'errors', 'files', 'ply_pcd'}

MIDDLEWARE_ROS = {
    'bond',
    'rclpy',
    'tf2_ros',
    'tf2_msgs',
    'launch',
    'launch_ros',
    'ament_index_python',
    'lifecycle_msgs',
    'rcl_interfaces',
    'builtin_interfaces',
    'std_msgs',
    'std_srvs',
    'geometry_msgs',
    'sensor_msgs',
    'sensor_msgs_py',
    'nav_msgs',
    'diagnostic_msgs',
    'diagnostic_updater',
}
MIDDLEWARE_DDS = {'cyclonedds', 'rosbags'}
HEAVY = {'open3d', 'rosbags', 'optuna', 'matplotlib', 'tensorboard', 'kiss_matcher', 'tqdm'}
# Distribution name where it is not the import name.
DISTRIBUTIONS = {'yaml': 'pyyaml', 'open3d': 'open3d'}


class Import:
    """One imported module: where it stands, what it names, whether importing the file runs it."""

    def __init__(self, path, line, module, at_top):
        self.path, self.line, self.module, self.at_top = path, line, module, at_top
        self.root = module.split('.')[0]

    def __repr__(self):
        return f'{self.path.relative_to(ROOT)}:{self.line} imports {self.module}'


def imports_of(path, package):
    """Every import of a file, with relative ones resolved; ``package`` is its dotted package."""
    tree = ast.parse(path.read_text(encoding='utf-8'), filename=str(path))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                parts = package.split('.')[: len(package.split('.')) - node.level + 1]
                base = '.'.join([*parts, base]).rstrip('.')
            # `from dlc_ros import node` names a module only as base.name.
            modules = [f'{base}.{alias.name}' for alias in node.names]
        else:
            continue
        for module in modules:
            yield Import(path, node.lineno, module, at_top=id(node) not in inside)


def layer_of(path):
    """Layer of a file of the tree: a folder of dlc_ros, ``training``, or a top-level module."""
    if path.is_relative_to(TREES['dlc_training']):
        return 'training'
    parts = path.relative_to(TREES['dlc_ros']).parts
    return parts[0] if len(parts) > 1 else Path(parts[0]).stem.replace('__init__', 'dlc_ros')


def layer_of_module(module):
    """Layer of an imported module of ours."""
    if module.split('.')[0] in ('dlc_training', 'training'):
        return 'training'
    parts = module.split('.')
    known = len(parts) > 1 and (
        (TREES['dlc_ros'] / parts[1]).is_dir() or (TREES['dlc_ros'] / f'{parts[1]}.py').is_file()
    )
    if known:
        return parts[1]
    # A public name of the package itself, which is loaded on first use.
    return 'registration' if len(parts) > 1 and parts[1] != '__version__' else 'dlc_ros'


def all_imports():
    found = []
    for name, tree in TREES.items():
        for path in sorted(tree.rglob('*.py')):
            package = '.'.join((name, *path.relative_to(tree).parent.parts))
            found.extend(imports_of(path, package))
    return found


def arrows():
    """Layer -> layers it may import, read from ``(imports ...)`` on the page, and their arrows."""
    direct = {layer: set() for layer in LAYERS}
    for line in PAGE.read_text(encoding='utf-8').splitlines():
        match = re.match(r'\s*(\w+)/\s.*\(imports ([^)]*)\)', line)
        if match:
            names = match[2].replace('dlc_ros.', '').split(',')
            direct[match[1]] = {name.strip() for name in names}
    allowed = {}
    for layer in LAYERS:
        reach, todo = set(), {layer}
        while todo:
            reach |= todo
            todo = set().union(*(direct[name] for name in todo)) - reach
        allowed[layer] = reach
    return allowed


IMPORTS = all_imports()
OURS = [found for found in IMPORTS if found.root in ('dlc_ros', 'dlc_training', 'training')]
RUNTIME = [found for found in IMPORTS if layer_of(found.path) != 'training']


def test_the_page_draws_the_arrows_that_are_checked():
    allowed = arrows()
    assert allowed['registration'] == {'registration'}
    assert allowed['localization'] == {'localization', 'registration'}
    assert 'localization' in allowed['node']
    assert 'node' in allowed['demo']
    assert {'node', 'demo'} <= allowed['commands']
    assert 'registration' in allowed['training']


def test_every_import_follows_an_arrow():
    allowed = arrows()
    wrong = [
        found
        for found in OURS
        if layer_of(found.path) in LAYERS
        and layer_of_module(found.module) not in allowed[layer_of(found.path)] | BASE
    ]
    assert not wrong


def test_what_every_layer_shares_imports_no_layer():
    # Of a transform file it is asked whether it is rigid: se3 is numpy and nothing else.
    wrong = [
        found
        for found in OURS
        if layer_of(found.path) in ('command_line', 'errors', 'files', 'ply_pcd')
        and layer_of_module(found.module) not in BASE
        and not found.module.startswith('dlc_ros.registration.se3.')
    ]
    assert not wrong


def test_runtime_never_imports_training():
    assert not [
        found
        for found in RUNTIME
        if layer_of_module(found.module) == 'training' and found.root != 'dlc_ros'
    ]


def test_tree_imports_training_by_its_installed_name():
    assert not [found for found in IMPORTS if found.root == 'training']


def test_middleware_stays_in_the_node_layer():
    homes = {
        'ros': [TREES['dlc_ros'] / 'node' / 'ros'],
        'dds': [TREES['dlc_ros'] / 'node', TREES['dlc_ros'] / 'demo', TREES['dlc_training']],
    }
    kinds = {'ros': MIDDLEWARE_ROS, 'dds': MIDDLEWARE_DDS}
    wrong = [
        found
        for kind, names in kinds.items()
        for found in IMPORTS
        if found.root in names and not any(found.path.is_relative_to(home) for home in homes[kind])
    ]
    assert not wrong
    adapters = TREES['dlc_ros'] / 'node' / 'ros'
    mixed = [
        found
        for found in IMPORTS
        if found.path.is_relative_to(adapters) and found.root in MIDDLEWARE_DDS
    ]
    assert not mixed


def test_registration_and_localization_load_no_heavy_library_at_import():
    wrong = [
        found
        for found in RUNTIME
        if layer_of(found.path) in LIGHT
        and found.at_top
        and found.root in HEAVY | MIDDLEWARE_DDS | MIDDLEWARE_ROS
    ]
    assert not wrong


def requirement_names(extras):
    """Normalised names of what the installed distribution asks for, with these extras."""
    names = set()
    for line in metadata.requires('dlc_ros'):
        name = re.match(r'[A-Za-z0-9_.-]+', line)[0].lower().replace('_', '-')
        extra = re.search(r'extra == ["\']([\w-]+)["\']', line)
        if extra is None or extra[1] in extras:
            names.add(name)
    return names


@pytest.mark.parametrize(
    ('layers', 'extras'),
    [
        (LIGHT, {'open3d'}),
        (('node',), {'dds'}),
        (('demo',), {'demo'}),
        (('training',), {'training', 'eval', 'dds'}),
    ],
)
def test_every_library_is_a_declared_requirement(layers, extras):
    declared = requirement_names(extras)
    missing = []
    for found in IMPORTS:
        if layer_of(found.path) not in layers or found.root in sys.stdlib_module_names:
            continue
        if found.root in MIDDLEWARE_ROS | {'dlc_ros', 'dlc_training', '__future__'}:
            continue
        name = DISTRIBUTIONS.get(found.root, found.root).lower().replace('_', '-')
        if name not in declared:
            missing.append(found)
    assert not missing


def run_python(code):
    """Run code in a fresh interpreter outside the tree; returns what it printed."""
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=ROOT.parent,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'OMP_WAIT_POLICY': 'passive'},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_loads_neither_torch_nor_open3d():
    loaded = run_python(
        'import sys, dlc_ros, dlc_ros.cli\n'
        "print([name for name in ('torch', 'open3d', 'rclpy', 'cyclonedds') "
        'if name in sys.modules])'
    )
    assert loaded == '[]'


def test_public_names_load_on_first_use():
    assert (
        run_python(
            'import dlc_ros\n'
            'names = [name for name in dlc_ros.__all__ if getattr(dlc_ros, name) is None]\n'
            'print(names, callable(dlc_ros.register))'
        )
        == '[] True'
    )


def test_a_caller_needs_no_other_module_to_read_a_cloud_and_to_catch_what_is_raised():
    printed = run_python(
        'import sys, dlc_ros\n'
        'try:\n    dlc_ros.read_cloud("nowhere.ply")\n'
        'except dlc_ros.FileError as error:\n    print(isinstance(error, dlc_ros.DlcError))\n'
        'kinds = (dlc_ros.CloudError, dlc_ros.ParameterError, dlc_ros.WeightsError)\n'
        'print(all(issubclass(kind, dlc_ros.DlcError) for kind in kinds), "torch" in sys.modules)'
    )
    assert printed.split() == ['True', 'True', 'False']


def test_runtime_works_without_any_extra():
    extras = {'cyclonedds', 'rosbags', 'open3d', 'matplotlib', 'optuna', 'tensorboard', 'tqdm'}
    blocked = extras | {'kiss_matcher', 'hypothesis', 'pytest', 'psutil', 'rclpy', 'dlc_training'}
    modules = [
        '.'.join(('dlc_ros', *path.relative_to(TREES['dlc_ros']).with_suffix('').parts))
        for layer in ('registration', 'localization')
        for path in sorted((TREES['dlc_ros'] / layer).rglob('*.py'))
        if path.stem not in ('__init__', '__main__')
    ]
    modules += ['dlc_ros.files', 'dlc_ros.cli', 'dlc_ros.node.pointcloud2', 'dlc_ros.node.worker']
    assert len(modules) > 10
    printed = run_python(f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {sorted(blocked)!r}:
            raise ModuleNotFoundError('No module named ' + repr(name), name=name)

sys.meta_path.insert(0, Absent())
from importlib import import_module
for name in {modules!r}:
    import_module(name)

import numpy as np
import dlc_ros

rng = np.random.default_rng(0)
target = rng.uniform(-1, 1, (2000, 3)) * [1.0, 0.7, 0.4]
target[:1000, 2] = 0.2 * np.sin(3 * target[:1000, 0])
answer = dlc_ros.register(target + [0.01, 0.0, 0.0], target, init=np.eye(4))
print(answer.status.name in ('ACCEPTED', 'REJECTED', 'DEGENERATE', 'AMBIGUOUS'))
""")
    assert printed == 'True'
