"""``dlc-retrain ingest``: how fast recordings are read, and whether memory grows with them."""

import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dlc_ros.node.bag import Recorder
from dlc_ros.node.convert import stamp_from_ns
from dlc_ros.node.definitions import build_message, distro_typestore
from dlc_ros.registration.se3 import make_transform
from dlc_training.recordings.index import build_index
from dlc_training.recordings.lidar import POINT
from dlc_training.recordings.scans import ScanReader
from dlc_training.recordings.sources import Recording
from dlc_training.recordings.survey import survey
from dlc_training.recordings.truth import known_truth

_POINTS = 131_072
_FIRST, _STEP = 1_700_000_000 * 10**9, 10**8
# Of how many clouds one is kept: a robot at walking pace keeps about one in three.
_KEPT = (1, 3)


def compare(folder, megabytes, longer):
    """
    Write two recordings and print how each is read.

    :param folder: where.
    :param megabytes: size of the first.
    :param longer: how many times as long the second is.
    :returns: exit code.
    """
    for factor in (1, longer):
        bag = folder / f'bag_{factor}'
        _write(bag, max(20, int(factor * megabytes * 1e6 / (_POINTS * POINT.itemsize))))
        for every in _KEPT:
            # A process each: peak memory is of the process, and never falls.
            ended = subprocess.run(
                [sys.executable, '-m', 'dlc_training.retrain_cli', 'ingest', '--bag', str(bag),
                 '--every', str(every)],
            )  # fmt: skip
            if ended.returncode:  # it has said why
                return ended.returncode
    return 0


def measure(bag, every):
    """
    Read a recording and print how fast that went.

    :param bag: recording; one cloud in ``every`` is kept.
    :raises DlcError: it cannot be read.
    """
    recording = Recording([bag])
    megabytes = recording.size / 1e6
    cpu, wall = time.process_time(), time.monotonic()
    seen = survey(recording, quiet=True)
    looked = time.process_time() - cpu
    way, _ = known_truth(seen)
    with TemporaryDirectory(dir=Path(bag).parent) as folder:
        chosen = np.arange(0, len(seen.stamps_ns), every)
        reader = ScanReader(seen.timing, way, voxel=0.03)
        build_index(folder, recording, seen, reader, chosen, quiet=True)
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f'{megabytes:6.0f} MB, one cloud in {every} kept: looked through '
        f'{megabytes / looked:5.0f} MB/s, all of it {megabytes / cpu:5.0f} MB/s of CPU time '
        f'({megabytes / wall:5.0f} MB/s on the clock), peak memory {peak:4.0f} MB'
    )


def _write(path, clouds):
    """A recording of so many clouds with per-point time, and /tf."""
    store, rng = distro_typestore(), np.random.default_rng(0)
    points = np.zeros(_POINTS, POINT)
    # A hall of 30 x 20 x 5 m: each point on one of its six sides.
    places = rng.uniform(-1, 1, (_POINTS, 3)) * (15.0, 10.0, 2.5)
    side = rng.integers(0, 3, _POINTS)
    rows = np.arange(_POINTS)
    places[rows, side] = np.sign(places[rows, side]) * np.array((15.0, 10.0, 2.5))[side]
    for axis, name in enumerate('xyz'):
        points[name] = places[:, axis]
    points['time'] = np.linspace(0, 0.1, _POINTS)
    fields = [
        {'name': name, 'offset': POINT.fields[name][1], 'datatype': 4 if name == 'ring' else 7,
         'count': 1}
        for name in POINT.names
    ]  # fmt: skip
    with Recorder(path, store) as recorder:
        for i in range(-1, clouds + 2):
            stamp = _FIRST + i * _STEP
            pose = make_transform(translation=[0.08 * i, 0.0, 0.0])
            transform = {
                'header': {'stamp': stamp_from_ns(stamp), 'frame_id': 'map'},
                'child_frame_id': 'lidar',
                'transform': {
                    'translation': {'x': float(pose[0, 3])},
                    'rotation': {'w': 1.0},
                },
            }
            message = build_message(store, 'tf2_msgs/msg/TFMessage', {'transforms': [transform]})
            recorder.write('/tf', message, stamp)
            if 0 <= i < clouds:
                points['intensity'] = i
                values = {
                    'header': {'stamp': stamp_from_ns(stamp), 'frame_id': 'lidar'},
                    'height': 1, 'width': _POINTS, 'fields': fields,
                    'point_step': POINT.itemsize, 'row_step': POINT.itemsize * _POINTS,
                    'data': points.view(np.uint8), 'is_dense': True,
                }  # fmt: skip
                cloud = build_message(store, 'sensor_msgs/msg/PointCloud2', values)
                recorder.write('/points', cloud, stamp)
