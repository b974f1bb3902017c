"""Ctrl-C in the seconds in which a command imports what it needs: one line, exit code 130."""

import subprocess
import sys

import pytest

# Somebody presses Ctrl-C as soon as a package that takes long is asked for.
INTERRUPT = """
import runpy, sys

class Impatient:
    def find_spec(self, name, *_):
        if name == {package!r}:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Impatient())
sys.argv = {words!r}
runpy.run_module({module!r}, run_name='__main__')
"""


@pytest.mark.parametrize(
    ('module', 'words', 'package'),
    [
        ('dlc_training.evaluate.eval_cli', ('so3-crop', '--out', 'out'), 'torch'),
        ('dlc_training.train_cli', ('--out', 'out'), 'torch'),
        ('dlc_training.retrain_cli', ('--bag', 'drive', '--out', 'out'), 'torch'),
        ('dlc_training.retrain_cli', ('simulate', '--out', 'out'), 'rosbags'),
    ],
)
def test_ctrl_c_before_anything_began_is_no_traceback(module, words, package, tmp_path):
    words = [module, *words]
    code = INTERRUPT.format(module=module, words=words, package=package)
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert done.stdout == '' and done.stderr.count('\n') == 1
    assert 'interrupted' in done.stderr and list(tmp_path.glob('out/*')) == []
