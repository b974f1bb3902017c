"""The package as colcon builds and installs it, and one version everywhere."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib import metadata
from pathlib import Path

import pytest

import dlc_ros

catkin_package = pytest.importorskip(
    'catkin_pkg.package', reason='catkin_pkg is not installed (pip install colcon-ros)'
)

ROOT = Path(__file__).resolve().parent.parent
EXECUTABLES = ('localizer', 'dlc-ros', 'dlc-train', 'dlc-eval', 'dlc-retrain')


@pytest.fixture
def prefix(colcon_prefix):
    return colcon_prefix


@pytest.fixture
def site_packages(prefix):
    return next(prefix.glob('lib/python3*/site-packages'))


@pytest.fixture
def in_workspace(prefix, colcon_environment):
    """Runs a command as in a shell that has sourced the workspace; returns the process."""

    def run(*command):
        source = f'source "{prefix.parent}/local_setup.bash" && exec "$@"'
        return subprocess.run(
            ['bash', '-c', source, '-', *command],
            cwd=prefix,
            env=colcon_environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_manifest_is_valid_without_a_warning():
    # colcon takes a package whose manifest is invalid for a plain Python one, without a word.
    warnings = []
    package = catkin_package.parse_package(str(ROOT / 'package.xml'), warnings=warnings)
    package.validate(warnings=warnings)
    assert not warnings


def test_colcon_takes_it_for_an_ament_package(prefix, colcon_environment):
    listed = subprocess.run(
        [sys.executable, '-m', 'colcon', 'list'],
        cwd=prefix.parent.parent,
        env=colcon_environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert listed.stdout.split() == ['dlc_ros', 'src/dlc_ros', '(ros.ament_python)']


def test_index_knows_the_package(prefix):
    assert (prefix / 'share/ament_index/resource_index/packages/dlc_ros').is_file()
    assert (prefix / 'share/dlc_ros/package.xml').is_file()


@pytest.mark.parametrize(
    ('folder', 'pattern'),
    [('launch', '*.py'), ('config', '*'), ('rviz', '*.rviz'), ('foxglove', '*.json')],
)
def test_shared_files_are_installed_as_they_are(prefix, folder, pattern):
    sources = sorted((ROOT / folder).glob(pattern))
    assert sources
    for source in sources:
        assert (prefix / 'share/dlc_ros' / folder / source.name).read_text() == source.read_text()


def test_every_module_is_installed_and_training_under_its_own_name(site_packages):
    for tree, package in ((ROOT / 'dlc_ros', 'dlc_ros'), (ROOT / 'training', 'dlc_training')):
        expected = {path.relative_to(tree) for path in tree.rglob('*.py')}
        installed = {
            path.relative_to(site_packages / package)
            for path in (site_packages / package).rglob('*.py')
        }
        assert installed == expected
    names = {path.name for path in site_packages.iterdir() if path.suffix != '.egg-info'}
    assert {name for name in names if '.' not in name} == {'dlc_ros', 'dlc_training'}


@pytest.mark.parametrize(
    ('tree', 'package', 'patterns'),
    [
        ('dlc_ros', 'dlc_ros', ('weights/*.safetensors', 'weights/*.json')),
        ('training', 'dlc_training', ('configs/*.yaml',)),
    ],
)
def test_data_of_the_packages_is_installed(site_packages, tree, package, patterns):
    sources = [path for pattern in patterns for path in (ROOT / tree).glob(pattern)]
    for source in sources:
        copy = site_packages / package / source.relative_to(ROOT / tree)
        assert copy.read_bytes() == source.read_bytes()


@pytest.mark.parametrize('name', EXECUTABLES)
def test_executables_are_where_ros2_run_looks(prefix, in_workspace, name):
    executable = prefix / 'lib/dlc_ros' / name
    assert os.access(executable, os.X_OK)
    asked = in_workspace(str(executable), '--help')
    assert asked.returncode == 0, asked.stderr
    assert 'usage' in asked.stdout.lower()


def test_installed_package_imports_from_the_workspace(site_packages, in_workspace):
    done = in_workspace(
        sys.executable,
        '-c',
        'import dlc_ros, dlc_training\n'
        'print(dlc_ros.__file__, dlc_training.__file__, dlc_ros.__version__, sep="\\n")',
    )
    assert done.stdout.splitlines() == [
        str(site_packages / 'dlc_ros/__init__.py'),
        str(site_packages / 'dlc_training/__init__.py'),
        dlc_ros.__version__,
    ]


def test_one_version_everywhere(site_packages):
    manifest = ElementTree.parse(ROOT / 'package.xml').getroot()
    newest = re.search(r'^(\d+\.\d+\.\d+) \(', (ROOT / 'CHANGELOG.rst').read_text(), re.MULTILINE)
    built = next(metadata.distributions(name='dlc_ros', path=[str(site_packages)]))
    versions = {
        'module': dlc_ros.__version__,
        'package.xml': manifest.findtext('version'),
        'CHANGELOG.rst': newest[1],
        'built': built.version,
    }
    assert len(set(versions.values())) == 1, versions


def test_manifest_and_setup_agree(site_packages):
    manifest = ElementTree.parse(ROOT / 'package.xml').getroot()
    built = next(metadata.distributions(name='dlc_ros', path=[str(site_packages)])).metadata
    assert manifest.get('format') == '3'
    assert manifest.findtext('export/build_type') == 'ament_python'
    assert manifest.findtext('name') == built['Name'].replace('-', '_') == 'dlc_ros'
    assert manifest.findtext('license') == built['License'] == 'Apache-2.0'
    assert manifest.find('maintainer').get('email') == built['Maintainer-email']


def test_manifest_lists_the_ros_packages_that_are_imported():
    manifest = ElementTree.parse(ROOT / 'package.xml').getroot()
    listed = {entry.text for entry in manifest.iter('exec_depend')}
    files = [*(ROOT / 'dlc_ros/node/ros').glob('*.py'), *(ROOT / 'launch').glob('*.py')]
    imported = set()
    for path in files:
        found = re.findall(r'^\s*(?:from|import) (\w+)', path.read_text(), re.MULTILINE)
        imported |= set(found)
    ours = {'dlc_ros', 'dlc_training', 'numpy', 'scipy', 'torch', 'yaml'}
    # tf2_ros is the module of the package tf2_ros_py.
    needed = {name if name != 'tf2_ros' else 'tf2_ros_py' for name in imported - ours}
    assert 'rclpy' in needed
    assert needed - set(sys.stdlib_module_names) <= listed
