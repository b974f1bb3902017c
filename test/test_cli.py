"""``dlc-ros`` itself: its help, its commands, what it says of mistakes and of what is missing."""

import sys
import types

import pytest
from cli_runs import assert_mistake, run
from wire import Process

MISTAKES = {
    'no command': ([], 'COMMAND'),
    'unknown command': (['fly'], "'fly'"),
    'unknown option': (['play', 'bag', '--fast'], '--fast'),
}


@pytest.mark.parametrize('kind', MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(capsys, kind):
    assert_mistake(capsys, *MISTAKES[kind])


@pytest.mark.parametrize('arguments', [['--help'], ['register', '--help'], ['run', '--help']])
def test_help_tells_how_to_use_it(capsys, arguments):
    code, out, _ = run(capsys, *arguments)
    assert code == 0 and 'usage: dlc-ros' in out


def test_starting_loads_nothing_heavy():
    heavy = ('torch', 'open3d', 'numpy', 'scipy', 'cyclonedds', 'rosbags', 'pydantic')
    code = (
        'import sys\n'
        'from dlc_ros import cli\n'
        'try:\n    cli.main(["--help"])\nexcept SystemExit:\n    pass\n'
        f'print([name for name in {heavy} if name in sys.modules])\n'
    )
    with Process('-c', code) as process:
        status, out, err = process.finish()
    assert status == 0, err
    assert out.splitlines()[-1] == '[]'


def test_demo_gets_its_own_options(monkeypatch, capsys):
    demo = types.ModuleType('dlc_ros.demo.run')
    heard = []
    demo.main = lambda arguments: heard.append(arguments) or 7
    monkeypatch.setitem(sys.modules, 'dlc_ros.demo.run', demo)
    assert run(capsys, 'demo', '--duration', '5', '--help')[0] == 7
    assert heard == [['--duration', '5', '--help']]


@pytest.mark.parametrize('arguments', [['--bogus'], ['--rate', 'fast']])
def test_a_mistake_in_an_option_of_the_demo_is_one_line(capsys, arguments):
    code, out, err = run(capsys, 'demo', *arguments)
    assert (code, out) == (2, '') and arguments[-1] in err
    assert err.startswith('dlc-ros demo: ') and len(err.splitlines()) == 1


def test_missing_package_is_named_with_its_extra(tmp_path):
    code = (
        'import sys\n'
        'sys.modules["rosbags"] = None\n'
        'from dlc_ros import cli\n'
        f'sys.exit(cli.main(["play", "{tmp_path}"]))\n'
    )
    with Process('-c', code) as process:
        status, _, err = process.finish()
    assert status == 2 and 'dlc_ros[dds]' in err and len(err.splitlines()) == 1


def test_interrupt_is_exit_code_130_without_a_traceback(monkeypatch, capsys):
    def interrupted(_path):
        raise KeyboardInterrupt

    monkeypatch.setattr('dlc_ros.files.read_cloud', interrupted)
    assert run(capsys, 'register', 'a', 'b') == (130, '', '')
