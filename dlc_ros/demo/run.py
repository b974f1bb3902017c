"""
The demo: camera, node and checker as three processes, a table at the end, an exit code.

The camera (:mod:`dlc_ros.demo.camera`) and the checker (:mod:`dlc_ros.demo.checker`) know nothing
of the node but its topics; the node is the one that ``dlc-ros run`` starts.
"""

import importlib.util
import json
import os
import shlex
import signal
import sys
import time
from pathlib import Path

import yaml

from dlc_ros.command_line import INTERRUPTED, MISTAKE, Parser
from dlc_ros.demo.arguments import add_scenario_arguments
from dlc_ros.demo.part import build_part, sample_surface
from dlc_ros.demo.process import Child
from dlc_ros.demo.scenario import Scenario, View
from dlc_ros.errors import DlcError, missing_package
from dlc_ros.files import write_cloud

NODE = [sys.executable, '-m', 'dlc_ros.cli', 'run', '--params', '{params}']
REFERENCE_POINTS = 20000
# The reference is drawn with a seed that no camera uses.
REFERENCE_SEED = 987_654_321
# How long the node may take to load torch and its weights [s].
STARTUP = 90.0
# For the last transforms and diagnostics to arrive [s].
SETTLE = 1.5
# For the checker to judge and to draw [s].
JUDGEMENT = 60.0
# What the processes import when they come to it: the last of them when all is over.
NEEDED = ('cyclonedds', 'rosbags', 'open3d', 'matplotlib')


def add_arguments(parser):
    """Options of ``dlc-ros demo``."""
    add_scenario_arguments(parser)
    parser.add_argument(
        '--out', type=Path, help='folder of the results (results/DATE, linked as results/latest)'
    )
    parser.add_argument('--weights', type=Path, help='weights of the predictor (of the package)')
    parser.add_argument(
        '--bypass-predictor',
        action='store_true',
        help='leave the refinement alone, to see what the predictor is worth',
    )
    parser.add_argument(
        '--node',
        metavar='COMMAND',
        help='start this node instead of dlc-ros run; {params} stands for its parameter file',
    )


def main(arguments=None):
    """Entry of ``python -m dlc_ros.demo``."""
    parser = Parser(prog='dlc-ros demo', description=__doc__.splitlines()[1])
    add_arguments(parser)
    try:
        return run(parser.parse_args(arguments))
    except DlcError as error:
        print(f'dlc-ros demo: {error}', file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print('dlc-ros demo: stopped', file=sys.stderr)
        return INTERRUPTED


def run(options):
    """
    Run the demo.

    :param options: what :func:`add_arguments` parsed.
    :returns: exit code: 0 if every limit was kept, else 1.
    :raises DlcError: an option is wrong, a package is missing, or a process ended that should
        not.
    """
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            raise DlcError(missing_package(ModuleNotFoundError(name=name), 'demo'))
    scenario = Scenario(duration=options.duration, rate=options.rate, seed=options.seed)
    out = make_folder(options.out)
    reference = out / 'reference.ply'
    points, _ = sample_surface(build_part(), REFERENCE_POINTS, REFERENCE_SEED)
    write_cloud(reference, points)
    parameters = write_parameters(out / 'params.yaml', reference, options)
    print(f'demo: {scenario.duration:g} s, results in {out}', flush=True)
    with Stage(out, scenario, options) as stage:
        stage.open(parameters)
        stage.play()
    return conclude(out, scenario.rate)


class Stage:
    """
    The three processes; leaving the context ends them all.

    :param out: folder of the results.
    :param scenario: :class:`Scenario`.
    :param options: what :func:`add_arguments` parsed.
    """

    def __init__(self, out, scenario, options):
        self._out = out
        self._scenario = scenario
        self._options = options
        self._domain = choose_domain(options.domain)
        self._children = []
        self._progress = {}
        self._line = ProgressLine(scenario)
        self._previous_handler = None

    def __enter__(self):
        # A demo that is told to end (a time limit, a service manager) leaves no process behind.
        self._previous_handler = signal.signal(signal.SIGTERM, _interrupt)
        return self

    def __exit__(self, *_exception):
        for child in reversed(self._children):
            child.stop()
        signal.signal(signal.SIGTERM, self._previous_handler)
        self._line.end()

    def open(self, parameters):
        """Start the checker and the node, and wait until the node says that it is there."""
        command = self._module('checker', self._out)
        self._checker = self._start('checker', command, on_line=self._note)
        node = shlex.split(self._options.node) if self._options.node else NODE
        command = [word.replace('{params}', str(parameters)) for word in node]
        self._node = self._start('node', command)
        deadline = time.monotonic() + STARTUP
        while not self._progress.get('node'):
            self._watch()
            if time.monotonic() > deadline:
                raise DlcError(
                    f'the node said nothing on /diagnostics for {STARTUP:g} s; its last words: '
                    f'{self._node.last_words() or "none"} (all of them: {self._node.log})'
                )
            self._line.show('waiting for the node')
            time.sleep(0.1)

    def play(self):
        """Start the camera, follow the run to its end, and let the checker conclude."""
        scenario = self._scenario
        camera = self._start(
            'camera',
            self._module(
                'camera',
                *('--duration', scenario.duration, '--rate', scenario.rate),
                *('--seed', scenario.seed),
            ),
        )
        while camera.exit_code is None:
            self._watch()
            self._line.show(**self._progress)
            time.sleep(0.1)
        if camera.exit_code:
            camera.check()
        time.sleep(SETTLE)
        self._watch()
        self._node.stop()
        self._checker.close_input()
        if self._checker.wait(JUDGEMENT):
            self._checker.check()
        self._line.end()

    def _start(self, name, command, on_line=None):
        environment = {
            'ROS_DOMAIN_ID': str(self._domain),
            'PYTHONUNBUFFERED': '1',
            # Three processes share few cores: none may spin while it waits.
            'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', '1'),
            'OMP_WAIT_POLICY': 'passive',
        }
        child = Child(name, command, self._out / f'{name}.log', environment, on_line)
        self._children.append(child)
        return child

    def _module(self, name, *arguments):
        """Command line of a module of the demo on this run's domain."""
        words = (*arguments, '--domain', self._domain, '--interface', self._options.interface)
        return [sys.executable, '-m', f'dlc_ros.demo.{name}', *map(str, words)]

    def _note(self, line):
        try:
            self._progress = json.loads(line)
        except ValueError:
            self._line.interject(line)

    def _watch(self):
        self._checker.check()
        self._node.check()


class ProgressLine:
    """
    One line that is written again and again on a terminal, and now and then elsewhere.

    :param scenario: :class:`Scenario`.
    """

    def __init__(self, scenario):
        self._scenario = scenario
        self._terminal = sys.stdout.isatty()
        self._shown = ''
        self._next = 0.0

    def show(self, message=None, node=None, frames=0, view=None, registered=0, processed=0):
        """Show a message, or the checker's progress."""
        if message is None:
            scenario = self._scenario
            done = frames / max(1, scenario.frames)
            bar = '#' * round(24 * done)
            blind = f' (blind: {view})' if view not in (None, View.PART.value) else ''
            rejected = max(0, processed - registered)
            message = (
                f'[{bar:<24}] {frames / scenario.rate:4.0f} s  {node or ""}{blind}  '
                f'clouds {frames}  registered {registered}  rejected {rejected}'
            )
        if message == self._shown or (not self._terminal and time.monotonic() < self._next):
            return
        self._shown = message
        self._next = time.monotonic() + 5.0
        if self._terminal:
            print(f'\r\x1b[K{message}', end='', flush=True)
        else:
            print(message, flush=True)

    def interject(self, line):
        """Print a line of its own."""
        print(('\r\x1b[K' if self._terminal else '') + line.rstrip(), flush=True)

    def end(self):
        """Leave the line as it is and go to the next."""
        if self._terminal and self._shown:
            print(flush=True)
        self._shown = ''


def make_folder(out):
    """
    The folder of the results; without ``out`` a new one, linked as ``results/latest``.

    :raises DlcError: it cannot be made or linked, or holds a recording already.
    """
    folder = out or Path('results') / time.strftime('%Y-%m-%d_%H-%M-%S')
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DlcError(f'cannot make the folder {folder}: {error.strerror}; see --out') from None
    if (folder / 'recording').exists():
        raise DlcError(f'{folder} holds the results of another run; name a new folder with --out')
    if out is None:
        latest = folder.parent / 'latest'
        try:
            latest.unlink(missing_ok=True)
            latest.symlink_to(folder.name)
        except OSError as error:
            raise DlcError(
                f'cannot link {latest} to the results: {error.strerror}; move it away, or give '
                '--out'
            ) from None
    return folder.resolve()


def write_parameters(path, reference, options):
    """
    The node's parameter file: ``config/demo.yaml`` with this run's reference and options.

    :raises DlcError: ``--weights`` names no file.
    """
    values = yaml.safe_load(demo_config().read_text(encoding='utf-8'))
    parameters = values['/**']['ros__parameters']
    parameters['objects']['references'] = [str(reference)]
    if options.weights is not None:
        if not options.weights.is_file():
            raise DlcError(f'there is no weights file {options.weights}')
        parameters['weights'] = str(options.weights.resolve())
    parameters['dds']['network_interface'] = options.interface
    if options.bypass_predictor:
        parameters['registration']['use_predictor'] = False
    # A node on Fast DDS loses large best-effort clouds of this camera, which is on Cyclone DDS.
    reliable = {'subscription': {'reliability': 'reliable'}}
    parameters['qos_overrides'] = {parameters['topics']['points']: reliable}
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding='utf-8')
    return path


def demo_config():
    """``config/demo.yaml`` of the source tree, else of the installation."""
    package = Path(__file__).resolve().parents[1]
    candidates = [package.parent / 'config' / 'demo.yaml']
    candidates += [
        folder / 'share' / 'dlc_ros' / 'config' / 'demo.yaml'
        for folder in (Path(sys.prefix), *package.parents)
    ]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise DlcError(f'config/demo.yaml was not found beside {package} or in {sys.prefix}/share')


def choose_domain(asked):
    """The DDS domain: the one asked for, that of ROS_DOMAIN_ID, or one that is likely free."""
    if asked is not None:
        return asked
    given = os.environ.get('ROS_DOMAIN_ID')
    # Above 101 the ports would be those that Linux hands out to others.
    return int(given) if given and given.isdigit() else 1 + os.getpid() % 101


def conclude(out, rate):
    """Print the table and the verdict; the exit code."""
    report = json.loads((out / 'report.json').read_text(encoding='utf-8'))
    if report['rate'] and report['rate'] < 0.9 * rate:
        print(
            f'the machine was busy with other programs: the whole simulation ran at '
            f'{report["rate"] / rate:.0%} of its pace, {report["rate"]:.1f} clouds a second'
        )
    print((out / 'table.txt').read_text(encoding='utf-8'))
    for name, what in (
        ('picture.png', 'picture'),
        ('recording', 'recording (rosbag2 mcap, opens in Foxglove)'),
    ):
        print(f'{what}: {out / name}')
    for failure in report['failures']:
        print(f'FAILED: {failure}')
    if report['passed']:
        print('passed')
    return 0 if report['passed'] else 1


def _interrupt(_signal, _frame):
    raise KeyboardInterrupt


if __name__ == '__main__':
    sys.exit(main())
