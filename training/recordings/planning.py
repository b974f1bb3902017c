"""``dlc-retrain --dry-run``: what would be used, how long it takes, how much memory."""

import resource
import time
from tempfile import TemporaryDirectory

from dlc_training.recordings.preparation import plan
from dlc_training.recordings.settings import RECORDED_SHARE, training_config

# CPU seconds of one registration of a scan, everywhere and in its window, of one from where
# odometry carries it, of one cloud of LiDAR odometry, of one pair of the benchmark, and its bins.
_REGISTRATION_S, _NEAR_S, _ODOMETRY_S, _PAIR_S, _BINS = 0.3 + 0.13, 0.06, 0.1, 0.15, 8
# Steps that are timed, after one that warms up.
_TIMED = 2


def dry_run(options, source, old):
    """Print rows and notes; ``old`` are the present weights, None for random ones."""
    begun = time.monotonic()
    found = plan(source, options.quiet)
    reading = time.monotonic() - begun
    config = training_config(options, old)
    step = _seconds_a_step(config)
    training = step * config.optimiser.steps
    preparing = 2 * reading + found.odometry * _ODOMETRY_S + found.placed * _NEAR_S
    judging = 2 * min(found.held_out, options.judge_scans) * _REGISTRATION_S
    judging += 2 * _BINS * options.benchmark_pairs * _PAIR_S
    scans = found.train + found.held_out
    rows = [
        *found.rows,
        (
            'pairs',
            f'{config.optimiser.steps} steps of {config.optimiser.batch}, '
            f'{100 * RECORDED_SHARE:.0f} % recorded, from {found.train} scans',
        ),
        (
            'time',
            f'about {_minutes(preparing)} reading and placing, {_minutes(training)} training '
            f'({step:.2f} s a step, measured now), {_minutes(judging)} judging',
        ),
        (
            'memory',
            f'about {_memory_mb(scans):.0f} MB: it grows with the transforms and poses of a '
            'recording, not with its clouds',
        ),
    ]
    for what, value in rows:
        print(f'{what}: {value}')
    for note in found.notes:
        print(f'note: {note}')
    return 0


def _seconds_a_step(config):
    """Time of one step, measured on generated pairs in a folder that is thrown away."""
    from dlc_training.engine import Trainer

    optimiser = config.optimiser.model_copy(update={'steps': 1 + _TIMED})
    data = config.data.model_copy(update={'workers': 0})
    changes = {'optimiser': optimiser, 'data': data, 'save_every': 1000, 'tensorboard': False}
    ends = []
    with TemporaryDirectory() as folder:
        trainer = Trainer(config.model_copy(update=changes), folder)
        trainer.run(progress=False, observe=lambda _: ends.append(time.monotonic()))
    return (ends[-1] - ends[0]) / _TIMED


def _memory_mb(scans):
    """
    Peak so far, and what training adds.

    Transforms and poses of the recording have been looked up by now. Of the scans kept there are
    poses, cells, maps, and two open shards.
    """
    now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return now + 300 + 0.02 * scans


def _minutes(seconds):
    return f'{seconds / 60:.0f} min' if seconds >= 90 else f'{seconds:.0f} s'
