"""The two nodes behind one face, for scenarios that both must pass."""

import functools
import gc
import importlib.util
import threading
from collections import deque
from unittest import mock

import pytest
from fake_registrar import FakeRegistrar

from dlc_ros.localization.localizer import Localizer

ADAPTERS = ('embedded', 'rclpy')


def both(name):
    """
    Run a test with each node, as a row of ``docs/reliability.md``; it takes ``adapter``.

    :param name: what happens, in words.
    """
    return pytest.mark.parametrize(
        'adapter',
        [
            pytest.param(a, marks=pytest.mark.scenario('scenarios', name, adapter=a))
            for a in ADAPTERS
        ],
        indirect=True,
    )


def require(adapter):
    """Skip where a node cannot run."""
    pytest.importorskip('cyclonedds', reason='cyclonedds is not installed')
    pytest.importorskip('rosbags', reason='rosbags is not installed')
    if adapter == 'rclpy' and importlib.util.find_spec('rclpy') is None:
        pytest.skip('rclpy is not importable: source ROS 2 first (docs/ros2.md)')


class Registrars:
    """
    Makes :class:`FakeRegistrar` objects; ``script`` are the verdicts on the next clouds.

    Unlike a registrar's own verdicts it outlives the reference, and names no reference.
    """

    def __init__(self):
        self.script = deque()
        self.made = []
        self._may_answer = threading.Event()
        self._may_answer.set()

    def hold(self):
        """Let no registration end until :meth:`go_on`."""
        self._may_answer.clear()

    def go_on(self):
        self._may_answer.set()

    def __call__(self, points, weights, options):
        registrar = FakeRegistrar(points, weights, options)
        registrar.before_answer = lambda: self._dictate(registrar)
        self.made.append(registrar)
        return registrar

    def _dictate(self, registrar):
        self._may_answer.wait()
        if self.script:
            registrar.verdicts.append(self.script.popleft())


def start(adapter, values, domain_id, name='localizer', namespace='/', registrars=None):
    """
    Start a node in this process, under simulated time and ready for clouds.

    :param adapter: one of :data:`ADAPTERS`.
    :param values: dict of parameters by flat name.
    :param registrars: :class:`Registrars`; None takes the real ones.
    :returns: has ``close()``.
    """
    kind = EmbeddedNode if adapter == 'embedded' else RclpyNode
    factory = functools.partial(Localizer, registrar_factory=registrars)
    with mock.patch(f'{kind.MODULE}.Localizer', factory if registrars else Localizer):
        return kind(values, domain_id, name, namespace)


class EmbeddedNode:
    """The node of ``dlc-ros run``, its timers in a thread."""

    MODULE = 'dlc_ros.node.dds.localizer_node'

    def __init__(self, values, domain_id, name, namespace):
        from wire import LOOPBACK

        from dlc_ros.localization.parameters import from_flat
        from dlc_ros.node.dds.localizer_node import LocalizerNode

        parameters = {'dds.domain_id': domain_id, 'dds.network_interface': LOOPBACK, **values}
        self._node = LocalizerNode(from_flat(parameters), name, namespace, use_sim_time=True)
        self._stop = threading.Event()
        self._timers = threading.Thread(target=self._node.run, args=(self._stop,))
        self._timers.start()

    def close(self):
        self._stop.set()
        self._timers.join()
        self._node.close()


class RclpyNode:
    """The lifecycle node, active, with the remappings of its launch file."""

    MODULE = 'dlc_ros.node.ros.session'

    def __init__(self, values, domain_id, name, namespace):
        import rclpy
        from rclpy.lifecycle import TransitionCallbackReturn
        from rclpy.parameter import Parameter
        from rclpy_harness import Spinning, isolate

        from dlc_ros.node.ros.localizer_node import LocalizerNode

        isolate()
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context, domain_id=domain_id)
        given = {'use_sim_time': True, **values}
        self._node = LocalizerNode(
            name,
            namespace=namespace,
            context=self._context,
            parameter_overrides=[Parameter(key, value=value) for key, value in given.items()],
            cli_args=['--ros-args', '-r', '/tf:=tf', '-r', '/tf_static:=tf_static'],
        )
        self._spinning = Spinning(self._node)
        for transition in (self._node.trigger_configure, self._node.trigger_activate):
            assert transition() is TransitionCallbackReturn.SUCCESS

    def close(self):
        self._spinning.stop()
        self._node.close()
        self._context.try_shutdown()
        # The participant leaves with the last reference to it, and nodes have cycles.
        self._spinning = self._node = self._context = None
        gc.collect()
