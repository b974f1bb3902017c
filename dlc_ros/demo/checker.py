"""
Third process of the demo: hears everything, believes nothing.

It records all topics and compares every transform of the node with the truth at its stamp. When
its standard input closes it writes ``report.json``, ``table.txt``, ``transforms.csv``,
``picture.png`` and ``scan.ply`` (a view of the part) beside the recording. While it listens it
prints its progress, one JSON object a line.
"""

import csv
import json
import logging
import queue
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from dlc_ros.command_line import INTERRUPTED, MISTAKE, Parser
from dlc_ros.demo.camera import POINTS_TOPIC, TRUTH_TOPIC, VIEW_TOPIC
from dlc_ros.demo.metrics import (
    Estimate,
    Frame,
    Limits,
    RunLog,
    errors,
    evaluate,
    table,
)
from dlc_ros.demo.moments import find_moments
from dlc_ros.demo.part import build_part, sample_surface
from dlc_ros.demo.picture import draw
from dlc_ros.demo.scenario import PART_FRAME, View
from dlc_ros.errors import DlcError
from dlc_ros.files import write_cloud
from dlc_ros.localization.parameters import load_yaml
from dlc_ros.node.bag import Recorder
from dlc_ros.node.convert import matrix_from_transform, ns_from_stamp
from dlc_ros.node.dds import qos
from dlc_ros.node.dds.participant import Participant

TF_TOPIC = '/tf'
DIAGNOSTICS_TOPIC = '/diagnostics'
TOPICS = {
    TF_TOPIC: ('tf2_msgs/msg/TFMessage', qos.TF),
    DIAGNOSTICS_TOPIC: ('diagnostic_msgs/msg/DiagnosticArray', qos.DEFAULT),
    TRUTH_TOPIC: ('tf2_msgs/msg/TFMessage', qos.TF),
    VIEW_TOPIC: ('std_msgs/msg/String', qos.TF),
    POINTS_TOPIC: ('sensor_msgs/msg/PointCloud2', qos.NEWEST_CLOUD),
}
# One cloud of so many is recorded: all of them would be 280 MB a minute.
RECORD_ONE_OF = 3
PROGRESS_PERIOD = 0.5  # s
MODEL_POINTS = 60000  # of the picture

_log = logging.getLogger('demo checker')


class Checker:
    """
    Hears the demo's topics.

    Messages are stamped with their arrival in the middleware's thread and put aside; another
    thread records and reads them, so that a disk does not delay the arrival of a transform.

    :param participant: dlc_ros.node.dds Participant.
    :param recorder: dlc_ros.node.bag Recorder.
    """

    def __init__(self, participant, recorder):
        self.log = RunLog()
        self.states = []  # (stamp [ns], state) as the node's diagnostics say
        self.refusal = ''  # what the node said of the first cloud that did not show the part
        self._participant = participant
        self._recorder = recorder
        self._truths, self._views = {}, {}
        self._clouds_heard = 0
        self._queue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, name='checker', daemon=True)
        self._thread.start()
        for topic, (type_name, profile) in TOPICS.items():
            participant.subscribe(topic, type_name, self._putter(topic), profile, raw=True)

    @property
    def _view(self):
        """What the newest cloud shows."""
        return next(reversed(self._views.values()))[0] if self._views else View.PART

    def progress(self):
        """What is known so far, as plain values."""
        return {
            'node': self.states[-1][1] if self.states else None,
            'frames': len(self._views),
            'view': self._view.value,
            'registered': len(self.log.estimates),
            'processed': self.log.processed,
        }

    def finish(self):
        """Read what is still put aside, and end; the log is complete then."""
        self._participant.close()
        self._queue.put(None)
        self._thread.join()
        for stamp, (view, jumps) in self._views.items():
            if stamp in self._truths:
                self.log.frames[stamp] = Frame(stamp, view, jumps, self._truths[stamp])

    def _putter(self, topic):
        def put(cdr):
            self._queue.put((topic, bytes(cdr), time.time_ns()))

        return put

    def _read(self):
        while True:
            item = self._queue.get()
            if item is None:
                return
            topic, cdr, received_ns = item
            type_name = TOPICS[topic][0]
            if topic == POINTS_TOPIC:
                self._clouds_heard += 1
                if self._clouds_heard % RECORD_ONE_OF != 1:
                    continue
            self._recorder.write_cdr(topic, type_name, cdr, received_ns)
            if topic in _READERS:
                message = self._participant.typestore.deserialize_cdr(cdr, type_name)
                _READERS[topic](self, message, received_ns)

    def _on_tf(self, message, received_ns):
        for transform in message.transforms:
            if transform.child_frame_id == PART_FRAME:
                stamp_ns = ns_from_stamp(transform.header.stamp)
                matrix = matrix_from_transform(transform.transform)
                self.log.estimates.append(Estimate(stamp_ns, received_ns, matrix))

    def _on_truth(self, message, _received_ns):
        for transform in message.transforms:
            stamp_ns = ns_from_stamp(transform.header.stamp)
            self._truths[stamp_ns] = matrix_from_transform(transform.transform)

    def _on_view(self, message, _received_ns):
        values = json.loads(message.data)
        self._views[values['stamp_ns']] = (View(values['view']), values['jumps'])

    def _on_diagnostics(self, message, received_ns):
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            if 'clouds in' in values:
                self.log.processed = int(values['clouds in'])
            if 'state' in values:
                self._on_state(status.message, values, received_ns)

    def _on_state(self, message, values, received_ns):
        """Keep the state, and tell those who watch the demo when it changes."""
        state = values['state']
        before = self.states[-1][1] if self.states else state
        self.states.append((received_ns, state))
        reason = message.rpartition('not used: ')[2].removeprefix(f'{state}: ')
        refused = int(values.get('without a pose in a row', 0)) > 0
        seconds = max(0.0, 1e-9 * (received_ns - min(self._views, default=received_ns)))
        if refused and self._view is not View.PART and not self.refusal:
            self.refusal = reason
            print(
                f'{seconds:5.1f} s  the camera is blinded and its cloud rejected: {reason}',
                flush=True,
            )
        if state != before:
            print(f'{seconds:5.1f} s  {before} -> {state}: {reason}', flush=True)


_READERS = {
    TF_TOPIC: Checker._on_tf,
    DIAGNOSTICS_TOPIC: Checker._on_diagnostics,
    TRUTH_TOPIC: Checker._on_truth,
    VIEW_TOPIC: Checker._on_view,
}


def write_report(path, report, limits):
    """Write the table as JSON: the report's fields, the limits and the verdict."""
    values = {**asdict(report), 'limits': asdict(limits), 'passed': report.passed}
    path.write_text(json.dumps(without_gaps(values), indent=2) + '\n', encoding='utf-8')


def without_gaps(value):
    """The same with None for NaN and infinity, which JSON does not have: what never came."""
    if isinstance(value, dict):
        return {key: without_gaps(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_gaps(entry) for entry in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def write_transforms(path, log):
    """Write one row a transform: seconds since the first cloud, its errors and its latency."""
    start = min(log.frames, default=0)
    with path.open('w', newline='', encoding='utf-8') as stream:
        rows = csv.writer(stream)
        rows.writerow(['time_s', 'view', 'rotation_deg', 'translation_m', 'latency_ms'])
        for estimate in log.estimates:
            frame = log.frames.get(estimate.stamp_ns)
            rotation, translation = errors(estimate, frame) if frame else ('', '')
            rows.writerow(
                [
                    f'{1e-9 * (estimate.stamp_ns - start):.3f}',
                    frame.view.value if frame else '',
                    rotation,
                    translation,
                    1e-6 * (estimate.received_ns - estimate.stamp_ns),
                ]
            )


def main(arguments=None):
    """Listen until standard input closes, then judge."""
    parser = Parser(prog='python -m dlc_ros.demo.checker', description=__doc__)
    parser.add_argument('out', type=Path, help='folder of the results; exists')
    parser.add_argument('--domain', type=int, help='DDS domain (ROS_DOMAIN_ID, else 0)')
    parser.add_argument('--interface', default='lo', help='network interface (%(default)s)')
    options = parser.parse_args(arguments)
    try:
        with Recorder(options.out / 'recording') as recorder:
            checker = listen(options, recorder)
        conclude(checker, options)
    except DlcError as error:
        print(f'demo checker: {error}', file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def listen(options, recorder):
    """Hear and record everything until standard input closes; the :class:`Checker` then."""
    participant = Participant(
        'demo_checker', domain_id=options.domain, interface=options.interface
    )
    checker = Checker(participant, recorder)
    closed = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), closed.set()), daemon=True).start()
    while not closed.wait(PROGRESS_PERIOD):
        print(json.dumps(checker.progress()), flush=True)
    checker.finish()
    return checker


def conclude(checker, options):
    """Write the report, the transforms, the picture and, if the part was found again, a scan."""
    limits, log = Limits(), checker.log
    report = evaluate(log, limits)
    write_report(options.out / 'report.json', report, limits)
    (options.out / 'table.txt').write_text(table(report) + '\n', encoding='utf-8')
    write_transforms(options.out / 'transforms.csv', log)
    model = sample_surface(build_part(), MODEL_POINTS, seed=0)
    diameter = 2.0 * np.linalg.norm(model[0] - model[0].mean(axis=0), axis=1).max()
    settings = load_yaml(options.out / 'params.yaml').segmentation
    moments = find_moments(options.out / 'recording', log, diameter, settings, checker.refusal)
    draw(options.out / 'picture.png', log, report, checker.states, model, moments)
    if moments:
        write_cloud(options.out / 'scan.ply', moments[-1].points[moments[-1].on_object])


if __name__ == '__main__':
    sys.exit(main())
