"""Many clouds, one after the other: nothing may grow and nothing may slow down."""

import numpy as np
import pytest

pytest.importorskip('cyclonedds')
pytest.importorskip('rosbags')

from actors import CLOUD, DIAGNOSTICS, TF, camera_cloud, node, node_parameters  # noqa: E402
from wire import LOOPBACK, SOON, free_domain, room, wait_for  # noqa: E402

from dlc_ros.files import write_cloud  # noqa: E402
from dlc_ros.node import convert  # noqa: E402
from dlc_ros.node.dds import qos  # noqa: E402
from dlc_ros.node.dds.participant import Participant  # noqa: E402

SECOND = 10**9
FLAT = 0.02
# Of the processor time of a cloud: other programs on the machine move it by some per cent.
STEADY = 0.10


@pytest.mark.scenario(
    'faults', 'soak at accelerated time, one cloud as soon as the last is answered', 'embedded'
)
def test_memory_and_time_per_cloud_stay(tmp_path, scenario):
    """Clouds are stamped 10 Hz, whatever time they take; every tenth shows nothing of the room."""
    reference = tmp_path / 'room.npy'
    write_cloud(reference, room(3000))
    domain = free_domain(7)
    # The whole path, predictor included; what listens adds the aligned cloud.
    parameters = node_parameters(reference, domain, **{'registration.use_predictor': 'true'})
    count = scenario.size(small=40, full=20_000)
    clouds = [camera_cloud(seed, 1500) for seed in range(9)] + [np.zeros((1500, 3), np.float32)]
    answered, aligned = {}, []

    def on_tf(message):
        for stamped in message.transforms:
            answered[convert.ns_from_stamp(stamped.header.stamp)] = True

    counted = [0]

    def on_diagnostics(message):
        values = {pair.key: pair.value for s in message.status for pair in s.values}
        # The cloud of nothing is not waited for: a newer one may replace it.
        keys = ('clouds in', 'skipped (a newer one came)')
        counted[0] = sum(int(values.get(key, 0)) for key in keys)

    with (
        node(parameters) as localizer,
        Participant('robot', domain_id=domain, interface=LOOPBACK) as participant,
    ):
        publisher = participant.publisher('points', CLOUD, qos.CLOUD)
        participant.subscribe('/tf', TF, on_tf, qos.TF)
        participant.subscribe('/diagnostics', DIAGNOSTICS, on_diagnostics)
        participant.subscribe(
            '/localizer/room/aligned', CLOUD, aligned.append, qos.CLOUD, raw=True
        )
        assert publisher.wait_for_subscribers(timeout=SOON), localizer.errors
        usage = localizer.usage
        memory, seconds = [], []
        stamp, sent, missed = 1_700_000_000 * SECOND, 0, 0
        samples = 40
        for _ in range(samples):
            before = usage.cpu_times()
            for _ in range(max(1, count // samples)):
                stamp += SECOND // 10
                which = sent % len(clouds)
                publisher.publish(convert.cloud_values(stamp, 'camera', clouds[which]))
                sent += 1
                if which < len(clouds) - 1:
                    missed += not wait_for(lambda stamp=stamp: stamp in answered, 20.0)
            after = usage.cpu_times()
            seconds.append(after.user + after.system - before.user - before.system)
            memory.append(usage.memory_info().rss)
            answered.clear()
            aligned.clear()
        assert wait_for(lambda: counted[0] >= 0.99 * sent), (counted, sent)
        assert localizer.finish() == 0
    quarter = samples // 4
    early, late = np.median(memory[quarter : 2 * quarter]), np.median(memory[-quarter:])
    growth = late / early - 1.0
    each = np.array(seconds) / max(1, count // samples)
    drift = np.median(each[-2 * quarter :]) / np.median(each[quarter : 2 * quarter]) - 1.0
    scenario.saw(
        f'{sent} clouds ({sent / 600:.1f} min at 10 Hz), {missed} unanswered; memory '
        f'{early / 2**20:.0f} -> {late / 2**20:.0f} MiB ({100 * growth:+.1f} %), processor time '
        f'{1e3 * np.median(each):.1f} ms a cloud ({100 * drift:+.1f} % from the second quarter to '
        f'the second half)'
    )
    assert missed <= 0.01 * sent
    assert growth < FLAT
    assert drift < STEADY or sent < 1000  # a few clouds a sample say nothing about time
