"""``dlc-eval speed``: CPU time and memory of what a robot waits for, on one thread."""

import resource
import subprocess
import sys
import time

import numpy as np

from dlc_ros.registration.options import RegistrationOptions
from dlc_ros.registration.registrar import Registrar
from dlc_training.data.pairs import half_space_crop
from dlc_training.data.rooms import make_room
from dlc_training.data.solids import FIRST_EVALUATION_SEED, make_solid

# Shapes and rooms that nothing was trained on.
_ROOM = FIRST_EVALUATION_SEED + 4
_SCAN = 130_000


def measure(weights=None, pairs=20, clouds=2000):
    """
    Run every measurement.

    :param weights: weights file; None for the shipped ones.
    :param pairs: repetitions of each registration.
    :param clouds: registrations over which memory must not grow.
    :return: list of (what, value, unit, limit or None).
    """
    import torch

    # Threads that wait for each other on a busy machine count as work.
    torch.set_num_threads(1)
    options = RegistrationOptions(device='cpu', threads=1)
    rows = [
        *_global_pair(weights, options, pairs),
        *_tracking(weights, options, pairs),
        _wire(),
        *_imports(),
        *_memory(weights, options, clouds),
    ]
    return rows


def _cpu_ms(call):
    start = time.process_time()
    call()
    return 1e3 * (time.process_time() - start)


def _global_pair(weights, options, pairs):
    """Two clouds of 2048 points without init, the reference's preparation included."""
    total = []
    for number in range(pairs):
        rng = np.random.default_rng(number)
        solid = make_solid(FIRST_EVALUATION_SEED + number)
        source, target = (half_space_crop(solid.sample(2926, rng)[0], 0.7, rng) for _ in range(2))
        total.append(_cpu_ms(lambda s=source, t=target: _pair(s, t, weights, options)))
    return [
        ('global pair, 2 x 2048 points, all stages, median', np.median(total[1:]), 'CPU ms', 150),
        ('global pair, 95th percentile', np.quantile(total[1:], 0.95), 'CPU ms', None),
    ]


def _pair(source, target, weights, options):
    return Registrar(target, weights, options).register(source)


def _tracking(weights, options, pairs):
    """A scan of 130k points against a reference of 130k points, with an init."""
    solid, _ = make_room(_ROOM)
    rng = np.random.default_rng(0)
    reference, scan = (solid.sample(_SCAN, rng)[0] + 0.01 * rng.normal(size=(_SCAN, 3))
                       for _ in range(2))  # fmt: skip
    registrar = Registrar(reference, weights, options)
    init = np.eye(4)
    init[:3, 3] = (0.1, -0.05, 0.02)
    covariance = np.diag([0.1**2] * 3 + [np.radians(3) ** 2] * 3)
    spent = {}
    for _ in range(pairs):
        # Wall time of a stage equals its CPU time on one idle thread; the sum is checked.
        stages = registrar.register(scan, init, covariance).stages
        for name, value in stages.items():
            spent.setdefault(name, []).append(value)
    median = {name: float(np.median(values[1:])) for name, values in spent.items()}
    total = _cpu_ms(lambda: registrar.register(scan, init, covariance))
    predict = sum(median.get(name, 0.0) for name in ('validate', 'reduce', 'predict'))
    refine = sum(median.get(name, 0.0) for name in ('refine', 'judge'))
    return [
        ('tracking, 130k points: checks, voxels and predictor', predict, 'ms', 40),
        ('tracking, 130k points: refinement and verdict', refine, 'ms', 40),
        ('tracking, 130k points: all stages', total, 'CPU ms', None),
    ]


def _wire():
    """A PointCloud2 of 4 MB from CDR bytes to a numpy array."""
    from rosbags.typesys import Stores, get_typestore

    from dlc_ros.node.pointcloud2 import points_from_message

    store = get_typestore(Stores.ROS2_HUMBLE)
    kinds = store.types
    names = ('x', 'y', 'z', 'intensity')
    fields = [
        kinds['sensor_msgs/msg/PointField'](name, 4 * i, 7, 1) for i, name in enumerate(names)
    ]
    count = 250_000
    data = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
    stamp = kinds['builtin_interfaces/msg/Time'](1, 2)
    message = kinds['sensor_msgs/msg/PointCloud2'](
        kinds['std_msgs/msg/Header'](stamp, 'lidar'),
        1, count, fields, False, 16, 16 * count, data.view(np.uint8).ravel(), True,
    )  # fmt: skip
    wire = bytes(store.serialize_cdr(message, 'sensor_msgs/msg/PointCloud2'))

    def receive():
        got = store.deserialize_cdr(wire, 'sensor_msgs/msg/PointCloud2')
        np.array(points_from_message(got), dtype=np.float32)

    spent = [_cpu_ms(receive) for _ in range(10)]
    return ('PointCloud2 of 4 MB, wire to array', np.median(spent), 'CPU ms', 10)


def _imports():
    script = "import sys, dlc_ros; print(sum(m in sys.modules for m in ('torch', 'open3d')))"
    found = int(subprocess.check_output([sys.executable, '-c', script], text=True))
    return [('torch and open3d loaded by import dlc_ros', found, 'modules', 0)]


def _memory(weights, options, clouds):
    import psutil

    rng = np.random.default_rng(1)
    solid = make_solid(FIRST_EVALUATION_SEED + 3)
    registrar = Registrar(solid.sample(2048, rng)[0], weights, options)
    cloud = solid.sample(1500, rng)[0]
    process = psutil.Process()
    covariance = np.diag([0.02**2] * 3 + [0.1**2] * 3)
    for _ in range(100):
        registrar.register(cloud, np.eye(4), covariance)
    before = process.memory_info().rss
    for _ in range(clouds):
        registrar.register(cloud, np.eye(4), covariance)
    grown = (process.memory_info().rss - before) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return [
        (f'memory growth over {clouds} clouds', grown, 'MiB', 10),
        ('peak resident memory of this process', peak, 'MiB', 1024),
    ]
