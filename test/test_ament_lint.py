"""The linters of ament, as a reviewer of a ROS package runs them."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CODE = [str(ROOT / name) for name in ('dlc_ros', 'launch', 'setup.py', 'training', 'test/ros')]


def linter(name):
    return pytest.importorskip(f'{name}.main', reason=f'{name} is not installed').main


def test_flake8_with_the_exceptions_of_setup_cfg(capsys):
    code = linter('ament_flake8')(['--config', str(ROOT / 'setup.cfg'), *CODE])
    assert code == 0, capsys.readouterr().out


def test_pep257_but_for_what_ruff_leaves_to_the_author(capsys):
    # A first line may run on or say what a thing is: as [tool.ruff.lint] has it.
    exceptions = ['D205', 'D400', 'D401', 'D402', 'D415']
    code = linter('ament_pep257')(['--add-ignore', *exceptions, '--', *CODE])
    assert code == 0, capsys.readouterr()


def test_manifest_follows_its_schema(capfd):
    code = linter('ament_xmllint')([str(ROOT / 'package.xml')])
    said = ''.join(capfd.readouterr())
    if 'failed to load external entity' in said or 'executable' in str(code):
        pytest.skip('no xmllint, or the schema at download.ros.org is out of reach')
    assert code == 0, said


def test_licence_is_recognised(capsys):
    """It holds for all files: they carry no notice of their own."""
    code = linter('ament_copyright')(['--verbose', str(ROOT / 'LICENSE')])
    said = capsys.readouterr().out
    assert code == 0 and 'apache2' in said, said
