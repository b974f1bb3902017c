"""A recording through the node, as processes; the node's truth is known by construction."""

import json

import numpy as np
import pytest
from wire import room

for module in ('cyclonedds', 'rosbags', 'psutil', 'small_gicp'):
    pytest.importorskip(module, reason=f'{module} is not installed')

from scipy.spatial.transform import Rotation  # noqa: E402

from dlc_ros.node.bag import Recorder  # noqa: E402
from dlc_ros.node.convert import cloud_values  # noqa: E402
from dlc_ros.node.definitions import build_message, distro_typestore  # noqa: E402
from dlc_training.evaluate.eval_cli import main  # noqa: E402
from dlc_training.evaluate.recording import Answer, Outcome, known_move  # noqa: E402

CLOUD = 'sensor_msgs/msg/PointCloud2'
SECOND = 10**9


def record(path, clouds):
    """A recording of clouds, one every half second."""
    store = distro_typestore()
    with Recorder(path) as recorder:
        for number, points in enumerate(clouds):
            stamp = 1000 * SECOND + number * SECOND // 2
            values = cloud_values(stamp, 'lens', points)
            recorder.write('/depth/points', build_message(store, CLOUD, values), stamp)
    return path


def test_known_move_is_as_large_as_it_says():
    move = known_move(40.0, 0.3, seed=5)
    assert np.degrees(Rotation.from_matrix(move[:3, :3]).magnitude()) == pytest.approx(40.0)
    assert np.linalg.norm(move[:3, 3]) == pytest.approx(0.3)
    assert not np.allclose(move, known_move(40.0, 0.3, seed=6))


@pytest.mark.parametrize('mode', ['map', 'object'])
def test_a_recording_is_judged_cloud_by_cloud(tmp_path, capsys, mode):
    """The room with one cloud of something else, which is not accepted; the others are right."""
    clouds = [room(3000, seed) for seed in range(8)]
    clouds[5] = np.random.default_rng(0).normal(size=(300, 3)) * 0.05
    bag = record(tmp_path / 'bag', clouds)
    arguments = ['recording', bag, '--mode', mode, '--rate', 1.0, '--degrees', 5, '--metres', 0.1]
    # The predictor needs longer than a busy machine has between two clouds.
    arguments += ['-p', 'registration.use_predictor=false', '--out', tmp_path / 'out.json']
    code = main([str(word) for word in arguments])
    printed = capsys.readouterr().out
    result = json.loads((tmp_path / 'out.json').read_text())
    accepted = [a['accepted'] for a in result['answers']]
    assert len(accepted) == 8 and not accepted[5]
    assert code == 1  # one of eight is more than may be missed
    assert sum(accepted) >= 5 and result['right'] == 1.0, printed
    for words in ('clouds played', 'wanted: 95%', 'wanted: 99%', 'TRACKING'):
        assert words in printed


def test_shares_count_every_cloud():
    good, far = Answer(1, True, 0.1, 0.001), Answer(2, True, 0.1, 0.02)
    none = Answer(3, False, float('nan'), float('nan'))
    outcome = Outcome([good, good, far, none], 0, [], 100.0)
    assert outcome.accepted == 0.75 and outcome.right == pytest.approx(2 / 3)
    assert not outcome.passed and Outcome([good] * 20, 0, [], 0.0).passed
    assert not Outcome([], 0, [], 0.0).passed


def test_mistakes_are_one_line(tmp_path, capsys):
    assert main(['recording', str(tmp_path / 'none')]) == 2
    assert main(['recording', str(tmp_path), '-p', 'threads']) == 2
    bag = record(tmp_path / 'bag', [room(600)])
    assert main(['recording', str(bag), '--topic', '/nothing']) == 2
    assert main(['recording', str(bag), '-p', 'hold_timeout=-1']) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 4 and '/depth/points' in lines[2] and 'hold_timeout' in lines[3], lines
