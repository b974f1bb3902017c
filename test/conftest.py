"""What several test files share."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import reliability
from oracle import propose  # noqa: F401 (a fixture)
from registrations import bracket, registrar  # noqa: F401 (fixtures)

ROOT = Path(__file__).resolve().parent.parent
_NOT_SOURCE = {'.git', '.venv', 'build', 'install', 'log', 'results', 'runs', '__pycache__'}

try:
    from hypothesis import settings
except ModuleNotFoundError:
    pass
else:
    # The same examples in every run, and no failure because the machine was busy.
    settings.register_profile('dlc_ros', deadline=None, derandomize=True)
    settings.load_profile('dlc_ros')


def pytest_addoption(parser):
    parser.addoption(
        '--reliability',
        type=float,
        default=0.0,
        metavar='SHARE',
        help='run tests marked scenario at this share of their full size, 0 to 1, and write '
        'docs/reliability.md',
    )


def pytest_configure(config):
    # A shell starts what runs in its background deaf to Ctrl-C, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line(
        'markers', 'scenario(table, name=None, adapter=None): a row of docs/reliability.md'
    )
    config.stash[_ROWS] = []


@pytest.fixture
def scenario(request):
    """How much a test marked ``scenario`` shall do, and where its numbers go."""
    return request.node.stash[_ROW]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    mark = item.get_closest_marker('scenario')
    if mark is not None:
        share = item.config.getoption('--reliability')
        item.stash[_ROW] = reliability.Scenario.of(item, mark, share)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    row = item.stash.get(_ROW, None)
    if row is not None and (report.when == 'call' or report.outcome != 'passed'):
        if not row.outcome:
            item.config.stash[_ROWS].append(row)
        row.outcome = report.outcome
        if report.skipped and isinstance(report.longrepr, tuple):
            row.seen = [report.longrepr[2].removeprefix('Skipped: ')]


def pytest_sessionfinish(session):
    rows = session.config.stash[_ROWS]
    if rows and session.config.getoption('--reliability'):
        reliability.write(rows)


_ROW = pytest.StashKey()
_ROWS = pytest.StashKey()


@pytest.fixture(scope='session')
def shared_data():
    """Folder of recorded data beside the checkout; skips where there is none."""
    folder = ROOT.parent / 'shared' / 'data'
    if not folder.is_dir():
        pytest.skip('no recorded data: ../shared/data is not there')
    return folder


@pytest.fixture(scope='session')
def colcon_environment():
    """
    Environment for colcon and what it built.

    This interpreter's packages come first, and no ROS 2 underlay is left of the shell, so that
    the build can lean on nothing but itself.
    """
    unwanted = ('AMENT_', 'COLCON_', 'PYTHONPATH', 'ROS_', 'CMAKE_PREFIX_PATH')
    kept = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}
    kept['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{kept["PATH"]}'
    return kept


@pytest.fixture(scope='session')
def colcon_prefix(tmp_path_factory, colcon_environment):
    """Where ``colcon build`` installed the package, from a copy of the tree."""
    pytest.importorskip('colcon_core', reason='colcon is not installed (pip install colcon-ros)')
    workspace = tmp_path_factory.mktemp('colcon')
    shutil.copytree(
        ROOT,
        workspace / 'src' / 'dlc_ros',
        ignore=lambda _, names: [n for n in names if n in _NOT_SOURCE or n.endswith('.egg-info')],
    )
    built = subprocess.run(
        [sys.executable, '-m', 'colcon', 'build', '--executor', 'sequential'],
        cwd=workspace,
        env=colcon_environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return workspace / 'install' / 'dlc_ros'
