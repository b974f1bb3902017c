"""One pass over a recording: topics, frames, clocks, transforms and poses; no cloud is kept."""

from array import array
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from dlc_ros.errors import FileError
from dlc_training.recordings.body import BodyFinder
from dlc_training.recordings.clocks import Lags, one_clock
from dlc_training.recordings.cloud_log import CloudLog
from dlc_training.recordings.frames import TransformLog, poses_from
from dlc_training.recordings.scans import find_timing
from dlc_training.recordings.transform_topics import TransformTopics

POSE_TYPES = (
    'nav_msgs/msg/Odometry',
    'geometry_msgs/msg/PoseStamped',
    'geometry_msgs/msg/PoseWithCovarianceStamped',
)
_TF = 'tf2_msgs/msg/TFMessage'
# A stamp of 0 that lies no farther from when it should be is the beginning of a clock [s].
_BEGINNING_S = 1.0


@dataclass
class PoseLog:
    """
    Poses of one topic, and the frames they are between; 64 bytes for each.

    :param stamps_ns: of the headers; ``values``: rows x y z qx qy qz qw, one after the other.
    """

    topic: str
    type_name: str
    frame: str = ''
    child: str = ''
    stamps_ns: array = field(default_factory=lambda: array('q'))
    values: array = field(default_factory=lambda: array('d'))

    def table(self):
        """Stamps (N,) int64 in order, each once, and the poses (N, 4, 4) there."""
        stamps, first = np.unique(np.asarray(self.stamps_ns), return_index=True)
        return stamps, poses_from(np.asarray(self.values).reshape(-1, 7)[first])


@dataclass
class Survey:
    """
    What is in a recording.

    :param topics: dict name -> Topic; ``cloud_topic`` the name of the one that is used.
    :param stamps_ns: (N,) int64 of the clouds, increasing, on the transforms' clock.
    :param header_ns: (N,) the same as the headers have them.
    :param frame: frame of the clouds.
    :param period_s: median time between two clouds.
    :param timing: :class:`~dlc_training.recordings.scans.Timing` or None; ``timing_text``: why.
    :param transforms: :class:`TransformLog`; ``poses``: list of :class:`PoseLog`.
    :param body: :class:`BodyFinder` that has seen the sampled clouds.
    :param points: median number of points of a cloud; ``bytes``: median size of a message.
    :param ranges: 5, 50 and 95 % quantiles of the range [m]; ``radius``: median rms radius [m].
    :param notes: what a person should know, one sentence each.
    """

    topics: dict
    cloud_topic: str
    stamps_ns: np.ndarray
    header_ns: np.ndarray
    frame: str
    period_s: float
    timing: object
    timing_text: str
    transforms: TransformLog
    poses: list
    body: BodyFinder
    points: int
    bytes: int
    ranges: tuple
    radius: float
    notes: list

    @property
    def duration_s(self):
        """From the first cloud to the last."""
        return float(self.stamps_ns[-1] - self.stamps_ns[0]) * 1e-9

    def clouds(self, recording):
        """
        Yield stamp [ns] and message of each of these clouds, in the order of recording.

        Other frames, second clouds of one stamp, and bytes that are no message are left out.
        """
        shift, stamped = int(self.stamps_ns[0] - self.header_ns[0]), self.header_ns.any()
        left = set(self.stamps_ns.tolist())
        for message in recording.messages([self.cloud_topic]):
            try:
                cloud = message.read()
            except Exception:  # damaged: told when they were counted
                continue
            stamp = _ns(cloud.header.stamp) + shift if stamped else message.stamp_ns
            if stamp in left and cloud.header.frame_id.lstrip('/') == self.frame:
                left.remove(stamp)
                yield stamp, cloud


def survey(recording, topic=None, body_reach=1.0, point_times='auto', quiet=False):
    """
    Look through a recording once.

    :param recording: :class:`~dlc_training.recordings.sources.Recording`.
    :param topic: the cloud topic; None for the only one.
    :param body_reach: how far from the sensor the robot itself may be seen [m].
    :param point_times: ``auto``, ``start``, ``end`` (where in a scan its stamp lies) or ``off``.
    :raises DlcError: which cloud topic is meant is open.
    :raises FileError: there are no usable clouds.
    """
    cloud_topic = recording.cloud_topic(topic).name
    topics = recording.topics
    wanted = [cloud_topic] + [n for n, t in topics.items() if t.type_name in (_TF, *POSE_TYPES)]
    look = _Look(cloud_topic, body_reach)
    total = sum(topics[name].count for name in wanted)
    for message in tqdm(
        recording.messages(wanted),
        'looking',
        total,
        unit='msg',
        disable=quiet or None,
        leave=False,
        mininterval=1,
    ):
        look.at(message)
    return look.survey(recording, topics, point_times)


class _Look:
    def __init__(self, cloud_topic, body_reach):
        self.cloud_topic, self.body_reach = cloud_topic, body_reach
        self.clouds = {}  # frame -> CloudLog
        self.transforms, self.poses = TransformTopics(), {}
        self.pose_lags = Lags()
        self.notes, self.bad = [], Counter()

    def at(self, message):
        try:
            content = message.read()
        except Exception as error:  # damaged bytes fail in the deserialiser in any way
            self.bad[f'{message.topic}: {" ".join(str(error).split())[:80]}'] += 1
            return
        if message.topic == self.cloud_topic:
            frame = content.header.frame_id.lstrip('/')
            self.clouds.setdefault(frame, CloudLog(self.body_reach)).add(message, content)
        elif message.type_name == _TF:
            self.transforms.add(message.topic, content, message.stamp_ns)
        else:
            self._pose(message, content)

    def _pose(self, message, content):
        log = self.poses.setdefault(message.topic, PoseLog(message.topic, message.type_name))
        log.frame = content.header.frame_id.lstrip('/')
        log.child = getattr(content, 'child_frame_id', '').lstrip('/')
        pose = content.pose if hasattr(content.pose, 'position') else content.pose.pose
        at, turn = pose.position, pose.orientation
        values = at.x, at.y, at.z, turn.x, turn.y, turn.z, turn.w
        if not np.isfinite(values).all():
            self.bad[f'{message.topic}: a pose that is no number'] += 1
            return
        log.stamps_ns.append(_ns(content.header.stamp))
        log.values.extend(values)
        self.pose_lags.add(message.stamp_ns, log.stamps_ns[-1])

    def survey(self, recording, topics, point_times):
        where = recording.paths[0]
        frame = max(self.clouds, key=lambda name: len(self.clouds[name]), default='')
        clouds = self.clouds.get(frame, CloudLog(self.body_reach))
        for text, count in (self.bad + clouds.bad).most_common(5):
            self.notes.append(f'{count} message(s) left out: {text}')
        if len(clouds) < 2 or not clouds.sampled:
            raise FileError(
                f'{where}: {self.cloud_topic} has {len(clouds)} cloud(s), '
                f'{clouds.sampled} of those looked into usable; nothing can be learned from it'
            )
        if len(self.clouds) > 1:
            others = {name: len(log) for name, log in self.clouds.items() if name != frame}
            self.notes.append(f'clouds of other frames than {frame!r} are left out: {others}')
        transforms, lags, left_out = self.transforms.of_sensor(self.cloud_topic)
        stamps, headers = self._stamps(clouds, lags or self.pose_lags)
        if len(stamps) < 2:
            raise FileError(
                f'{where}: all clouds have the same stamp, or none; nothing can be learned'
            )
        period = float(np.median(np.diff(stamps))) * 1e-9
        self.notes += left_out
        for child, parents in transforms.conflicts.items():
            self.notes.append(
                f'frame {child!r} has several parents; left out: {", ".join(sorted(parents))}'
            )
        timing, text = None, 'deskewing is off'
        if point_times != 'off':
            timing, text = find_timing(clouds.timed, period, point_times)
        points, size = clouds.sizes()
        ranges, radius = clouds.extent()
        return Survey(
            topics=topics,
            cloud_topic=self.cloud_topic,
            stamps_ns=stamps,
            header_ns=headers,
            frame=frame,
            period_s=period,
            timing=timing,
            timing_text=text,
            transforms=transforms,
            poses=list(self.poses.values()),
            body=clouds.finder,
            points=points,
            bytes=size,
            ranges=ranges,
            radius=radius,
            notes=self.notes,
        )

    def _stamps(self, clouds, others):
        """Stamps of the clouds, in order, each once, on the clock of the others, and headers."""
        headers, bags = clouds.stamps()
        missing = _not_stamped(headers, bags)
        if missing.any() and not missing.all():
            self.notes.append(f'{int(missing.sum())} clouds without a stamp are left out')
            headers, bags = headers[~missing], bags[~missing]
        stamps, about_clocks = one_clock(headers, bags, others)
        if about_clocks:
            self.notes.append(about_clocks)
        order = np.argsort(stamps, kind='stable')
        fresh = np.concatenate([[True], np.diff(stamps[order]) > 0])
        if (np.diff(stamps) < 0).any() or not fresh.all():
            self.notes.append(
                f'{int((np.diff(stamps) < 0).sum())} stamps jump back and {int((~fresh).sum())} '
                'are there twice: sorted, the second ones left out'
            )
        return stamps[order][fresh], headers[order][fresh]


def _not_stamped(headers, bags):
    """Which stamps (N,) of 0 are none: a clock that begins there fits its neighbours' delay."""
    missing = headers == 0
    if missing.any() and not missing.all():
        usual = np.median((bags - headers)[~missing])
        missing &= np.abs(bags - usual) > _BEGINNING_S * 1e9
    return missing


def _ns(stamp):
    return stamp.sec * 10**9 + stamp.nanosec
