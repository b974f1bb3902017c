"""A graphics card that runs out of memory while the node runs."""

import threading
import time

import pytest
from wire import LOOPBACK, free_domain, room, wait_for

pytest.importorskip('cyclonedds')
pytest.importorskip('rosbags')
torch = pytest.importorskip('torch', reason='torch is not installed')

from actors import camera_cloud, is_right  # noqa: E402
from robot import Robot  # noqa: E402

from dlc_ros.files import write_cloud  # noqa: E402
from dlc_ros.localization.parameters import from_flat  # noqa: E402
from dlc_ros.node.dds.localizer_node import LocalizerNode  # noqa: E402
from dlc_ros.registration.predictor import Predictor  # noqa: E402
from dlc_ros.registration.weights import load_weights  # noqa: E402

GOOD_CLOUDS = 3


class OnFullDevice(Predictor):
    """The real predictor, which does on the CPU what it is told to do on CUDA, for a while."""

    described = 0

    def __init__(self, loaded, device='cpu'):
        super().__init__(loaded, 'cpu')
        self._asked = device

    @classmethod
    def load(cls, path=None, device='cpu'):
        return cls(load_weights(path, 'cpu'), device)

    def describe(self, *arguments, **options):
        if self._asked == 'cuda':
            OnFullDevice.described += 1
            if OnFullDevice.described > 1 + GOOD_CLOUDS:  # the reference is described first
                raise torch.cuda.OutOfMemoryError('CUDA out of memory.\nTried to allocate 2 GiB')
        return super().describe(*arguments, **options)


@pytest.mark.scenario('faults', 'CUDA out of memory while clouds are registered', 'embedded')
def test_a_device_that_runs_out_of_memory_is_left_without_losing_a_cloud(
    tmp_path, monkeypatch, scenario
):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(OnFullDevice, 'described', 0)
    monkeypatch.setattr('dlc_ros.registration.predictor.Predictor', OnFullDevice)
    reference = tmp_path / 'room.npy'
    write_cloud(reference, room(3000))
    domain = free_domain(9)
    parameters = {
        'mode': 'object',
        'objects.names': ['room'],
        'objects.references': [str(reference)],
        'segmentation.remove_plane': False,
        'diagnostics_rate': 20.0,
        'prior.angular_speed': 100.0,  # each cloud is searched for everywhere: the device is asked
        'dds.domain_id': domain,
        'dds.network_interface': LOOPBACK,
    }
    robot, stop, points = Robot(domain), threading.Event(), camera_cloud()

    def fallback():
        told = [
            (status.level, pair.value)
            for report in list(robot.reports)[-1:]
            for status in report.status
            for pair in status.values
            if pair.key == 'fallback' and pair.value
        ]
        return told[0] if told else None

    try:
        with LocalizerNode(from_flat(parameters)) as node:
            timers = threading.Thread(target=node.run, args=(stop,))
            timers.start()
            robot.wait_for_node()
            for number in range(2 * GOOD_CLOUDS):
                stamp = time.time_ns()
                robot.send_cloud(stamp, points)
                assert wait_for(lambda stamp=stamp: robot.found('camera', 'room', stamp - 1)), (
                    number
                )
                assert is_right(robot.found('camera', 'room', stamp - 1)[-1][1])
                if number < GOOD_CLOUDS:
                    assert fallback() is None
            assert wait_for(fallback)
            level, said = fallback()
            stop.set()
            timers.join()
    finally:
        stop.set()
        robot.close()
    assert OnFullDevice.described == 2 + GOOD_CLOUDS  # it was not asked again
    assert level >= 1 and 'out of memory' in said and '\n' not in said
    scenario.saw(f'{2 * GOOD_CLOUDS} of {2 * GOOD_CLOUDS} clouds answered; diagnostics: {said!r}')
