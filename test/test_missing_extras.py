"""Commands where their extra is not installed: help works, everything else is one line."""

import subprocess
import sys

import pytest

EXTRAS = (
    'cyclonedds', 'rosbags', 'open3d', 'matplotlib', 'optuna', 'tensorboard', 'tqdm', 'kiss_icp',
    'psutil', 'kiss_matcher',
)  # fmt: skip
WITHOUT = """
import sys

class Without:
    def __init__(self, finder):
        self._finder = finder

    def __getattr__(self, name):
        return getattr(self._finder, name)

    def find_spec(self, name, *more):
        if name.split('.')[0] not in {absent!r}:
            return self._finder.find_spec(name, *more)

sys.meta_path[:] = map(Without, sys.meta_path)
from {module} import main
sys.exit(main({words!r}))
"""
ROS = 'dlc_ros.cli'
TRAIN, RETRAIN, EVAL, PREVIEW = (
    f'dlc_training.{name}'
    for name in ('train_cli', 'retrain_cli', 'evaluate.eval_cli', 'data.preview')
)


def run_without_extras(module, *words, folder, absent=EXTRAS):
    """Run a command in a fresh interpreter that finds none of the packages, all of the extras'."""
    code = WITHOUT.format(absent=absent, module=module, words=words)
    return subprocess.run(
        [sys.executable, '-c', code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ('module', 'command'),
    [
        (TRAIN, ()),
        (RETRAIN, ()),
        (RETRAIN, ('simulate',)),
        (RETRAIN, ('ingest',)),
        (EVAL, ()),
        (EVAL, ('speed',)),
        (PREVIEW, ()),
        (ROS, ('demo',)),
    ],
    ids=lambda part: '-'.join(part) if isinstance(part, tuple) else part,
)
def test_help_needs_no_extra(module, command, tmp_path):
    done = run_without_extras(module, *command, '--help', folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, '')
    assert '--help' in done.stdout


@pytest.mark.parametrize(
    ('module', 'command', 'extra'),
    [
        (TRAIN, ('--config', 'smoke', '--out', 'out'), 'training'),
        (TRAIN, ('--compare', '1', '--out', 'out'), 'training'),
        (RETRAIN, ('--bag', 'drive', '--out', 'out'), 'training'),
        (RETRAIN, ('simulate', '--out', 'out'), 'training'),
        (RETRAIN, ('ingest',), 'training'),
        (EVAL, ('so3-crop', '--pairs', '1', '--out', 'out'), 'eval'),
        (EVAL, ('recording', 'drive'), 'dds,eval'),
        (PREVIEW, ('--kind', 'solid', '--out', 'out'), 'training'),
        (ROS, ('demo', '--out', 'out'), 'demo'),
        (ROS, ('play', 'drive'), 'dds'),
    ],
)
def test_extra_that_is_missing_is_named_in_one_line(module, command, extra, tmp_path):
    done = run_without_extras(module, *command, folder=tmp_path)
    assert done.returncode == 2, done.stderr
    assert f'pip install "dlc_ros[{extra}]"' in done.stderr and done.stderr.count('\n') == 1
    assert done.stdout == '' and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('absent', 'more', 'message'),
    [
        ('tensorboard', (), 'tensorboard is not installed'),
        ('tensorboard', ('--set', 'tensorboard=false'), 'drive'),
        ('matplotlib', (), 'pip install "dlc_ros[training]"'),
    ],
)
def test_retraining_asks_for_all_it_needs_before_it_reads(absent, more, message, tmp_path):
    words = ('--bag', 'drive', '--out', 'out', *more)
    done = run_without_extras(RETRAIN, *words, folder=tmp_path, absent=(absent,))
    assert done.returncode == 2 and message in done.stderr and done.stderr.count('\n') == 1
    assert list(tmp_path.glob('out/*')) == []
