"""
``dlc-eval recording``: a recording of a sensor that stands still, through the node over DDS.

The reference is the recording's first cloud, moved by a known transform, so that the truth of
every cloud is known; the node knows neither it nor where to begin. ``dlc-ros run`` and
``dlc-ros play`` run as processes of their own, as a user would start them.
"""

import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dlc_ros.errors import DlcError
from dlc_ros.files import write_cloud
from dlc_ros.node.bag import Bag
from dlc_ros.registration.se3 import (
    exp_so3,
    make_transform,
    rotation_angle_deg,
    transform_points,
)
from dlc_training.evaluate.node_process import NodeProcess, quantiles_ms

# What counts as right, and what is asked of a recording.
LIMITS = (1.0, 0.01)  # deg, m
_WANTED_ACCEPTED, _WANTED_RIGHT = 0.95, 0.99
# How long the node may work on after the last cloud [s].
_SETTLE = 5.0
_SKIPPED = 'skipped (a newer one came)'


@dataclass(frozen=True)
class Answer:
    """
    What became of one cloud.

    :param stamp_ns: of the cloud.
    :param accepted: whether the node published a pose for it.
    :param rotation_deg, translation_m: its error; NaN without a pose.
    """

    stamp_ns: int
    accepted: bool
    rotation_deg: float
    translation_m: float

    @property
    def right(self):
        """Whether the pose is within the limits."""
        return self.rotation_deg <= LIMITS[0] and self.translation_m <= LIMITS[1]


@dataclass(frozen=True)
class Outcome:
    """
    A whole recording.

    :param answers: list of :class:`Answer`, one a cloud.
    :param skipped: clouds that the node says it replaced by a newer one.
    :param states: changes of the node's state: (seconds since the start, state).
    :param memory_mib: resident memory of the node at the end.
    """

    answers: list
    skipped: int
    states: list
    memory_mib: float

    @property
    def accepted(self):
        """Share of all clouds that got a pose."""
        return sum(a.accepted for a in self.answers) / max(1, len(self.answers))

    @property
    def right(self):
        """Share of these that is right."""
        accepted = [a for a in self.answers if a.accepted]
        return sum(a.right for a in accepted) / max(1, len(accepted))

    @property
    def passed(self):
        """Whether what is asked of a recording was reached."""
        return self.accepted >= _WANTED_ACCEPTED and self.right >= _WANTED_RIGHT

    def table(self):
        """The outcome in words, one line a row."""
        accepted = [a for a in self.answers if a.accepted]
        rotation = np.quantile([a.rotation_deg for a in accepted] or [np.nan], [0.5, 0.95])
        metres = [a.translation_m for a in accepted]
        median, p95 = quantiles_ms(metres)  # metres to millimetres, as seconds to milliseconds
        rows = [
            ('clouds played', f'{len(self.answers)}'),
            ('accepted', f'{self.accepted:.1%}  (wanted: {_WANTED_ACCEPTED:.0%})'),
            (
                f'of these within {LIMITS[0]:g} deg / {100 * LIMITS[1]:g} cm',
                f'{self.right:.1%}  (wanted: {_WANTED_RIGHT:.0%})',
            ),
            ('rotation error, median / 95 %', f'{rotation[0]:.3f} / {rotation[1]:.3f} deg'),
            ('translation error, median / 95 %', f'{median:.2f} / {p95:.2f} mm'),
            ('skipped by the busy node', f'{self.skipped}'),
            ('states', ', '.join(f'{t:.1f} s {state}' for t, state in self.states) or 'none'),
            ('resident memory of the node', f'{self.memory_mib:.0f} MiB'),
        ]
        width = max(len(name) for name, _ in rows)
        return '\n'.join(f'{name:<{width}}  {value}' for name, value in rows)

    def to_json(self):
        """Everything as plain values."""
        return {
            **asdict(self),
            'accepted': self.accepted,
            'right': self.right,
            'passed': self.passed,
        }


def known_move(degrees=40.0, metres=0.3, seed=0):
    """(4, 4) turn about a random axis and shift along another, of these sizes."""
    rng = np.random.default_rng(seed)
    axis, shift = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
    return make_transform(exp_so3(np.radians(degrees) * axis), metres * shift)


def play_through_node(path, move, rate=0.2, topic=None, mode='map', changes=None, command=None):
    """
    Play a recording through a node.

    :param path: recording (rosbag2 folder, .mcap, .db3, .bag); the sensor stands still in it.
    :param move: (4, 4) transform from the first cloud to the reference: every cloud's truth.
    :param rate: speed of playing.
    :param topic: of the clouds; None is the only one.
    :param mode: ``map``: where the sensor is in the reference; ``object``: where the reference is.
    :param changes: nested dict of further node parameters.
    :param command: of another node, see :class:`NodeProcess`.
    :returns: :class:`Outcome`.
    :raises DlcError: the recording cannot be read, or a process ends that should not.
    """
    with Bag(path) as bag:
        topic = bag.select([topic])[0].name if topic else bag.cloud_topic()
        clouds = bag.clouds(topic)
        first_stamp, frame, points = next(clouds, (None, '', np.zeros((0, 3))))
        if first_stamp is None:
            raise DlcError(f'{path}: no cloud on {topic}')
        points = points[np.isfinite(points).all(axis=1)].astype(np.float64)
        stamps = [first_stamp, *(stamp for stamp, _, _ in clouds)]
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder) / 'reference.npy'
        write_cloud(reference, transform_points(move, points))
        parameters = _parameters(mode, reference, frame, topic, changes or {})
        poses = '/localizer/pose' if mode == 'map' else '/localizer/reference/pose'
        with NodeProcess(parameters, poses, command) as node:
            node.wait_until_listening(topic)
            began = time.time_ns()
            _play(path, topic, rate, node)
            node.wait_for(lambda: stamps[-1] in node.poses, _SETTLE)
            time.sleep(1.0)  # one more message of diagnostics
            answers = [_answer(stamp, node.poses.get(stamp), move, mode) for stamp in stamps]
            skipped = int(node.counters.get(_SKIPPED, 0))
            return Outcome(answers, skipped, _changes(node.states, began), node.memory())


def _parameters(mode, reference, frame, topic, changes):
    """The node's parameters: no odometry, nothing cut away, nobody told where to look."""
    if mode == 'map':
        frames = {'odom': '', 'base': frame}
        values = {'mode': 'map', 'reference': str(reference), 'publish_map_to_base': True}
    else:
        frames = {}
        objects = {'names': ['reference'], 'references': [str(reference)]}
        values = {'mode': 'object', 'objects': objects, 'segmentation': {'remove_plane': False}}
    values |= {'frames': frames, 'topics': {'points': topic}, 'diagnostics_rate': 5.0}
    for name, value in changes.items():
        values[name] = {**values.get(name, {}), **value} if isinstance(value, dict) else value
    return values


def _play(path, topic, rate, node):
    """Run ``dlc-ros play`` to its end."""
    words = [sys.executable, '-m', 'dlc_ros.cli', 'play', path, '--topic', topic]
    words += ['--rate', rate, '--domain', node.domain, '--interface', 'lo']
    player = subprocess.Popen([str(word) for word in words], stderr=subprocess.PIPE, text=True)
    try:
        while player.poll() is None:
            node.wait_for(lambda: player.poll() is not None, 1.0)  # fails with the node
    finally:
        if player.poll() is None:
            player.send_signal(signal.SIGINT)
        _, said = player.communicate()
    if player.returncode:
        raise DlcError(f'dlc-ros play ended with {player.returncode}: {said.strip()[-300:]}')


def _answer(stamp_ns, found, move, mode):
    if found is None:
        return Answer(stamp_ns, False, float('nan'), float('nan'))
    matrix = found[1] if mode == 'map' else np.linalg.inv(found[1])
    return Answer(
        stamp_ns,
        True,
        rotation_angle_deg(matrix, move),
        float(np.linalg.norm(matrix[:3, 3] - move[:3, 3])),
    )


def _changes(states, began_ns):
    """(seconds, state) at each change."""
    changes = []
    for time_ns, state in states:
        if not changes or changes[-1][1] != state:
            changes.append((max(0.0, 1e-9 * (time_ns - began_ns)), state))
    return changes
