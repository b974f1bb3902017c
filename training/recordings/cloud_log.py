"""Clouds of one sensor, as one pass sees them: stamps, sizes, samples; nearly no cloud is kept."""

from array import array
from collections import Counter

import numpy as np

from dlc_ros.errors import CloudError
from dlc_ros.node.pointcloud2 import points_from_message
from dlc_training.recordings.body import BodyFinder
from dlc_training.recordings.scans import has_times

# Clouds that are looked into for the meaning of their time field, for ranges and the body. The
# first ones of a sensor that starts may be empty.
_TIMED, _SAMPLED_EVERY_S = 6, 1.0
_MOST_SAMPLED = 200


class CloudLog:
    """
    What is seen of the clouds of one frame.

    :param body_reach: how far from the sensor the robot itself may be seen [m].

    ``finder`` is the :class:`BodyFinder` that has seen the sampled clouds, ``bad`` counts
    what was wrong with these.
    """

    def __init__(self, body_reach):
        self.finder = BodyFinder(body_reach)
        self.bad, self._first, self._timed = Counter(), None, []
        self._headers, self._bags = array('q'), array('q')
        self._points, self._bytes = array('q'), array('q')
        self._ranges, self._radii, self._next_sample = [], [], None

    def __len__(self):
        return len(self._headers)

    @property
    def timed(self):
        """PointCloud2 messages to read the meaning of the time field from; the first if none."""
        return self._timed or [self._first]

    @property
    def sampled(self):
        """How many clouds were looked into and usable."""
        return len(self._radii)

    def add(self, message, cloud):
        """Take in a :class:`Message` and the PointCloud2 in it."""
        stamp = cloud.header.stamp
        self._headers.append(stamp.sec * 10**9 + stamp.nanosec)
        self._bags.append(message.stamp_ns)
        self._points.append(int(cloud.width) * int(cloud.height))
        self._bytes.append(len(message.cdr))
        self._first = self._first or cloud
        if len(self._timed) < _TIMED and has_times(cloud):
            self._timed.append(cloud)
        due = self._next_sample is None or message.stamp_ns >= self._next_sample
        if due and self.sampled < _MOST_SAMPLED:
            self._next_sample = message.stamp_ns + int(_SAMPLED_EVERY_S * 1e9)
            self._sample(cloud)

    def stamps(self):
        """(N,) int64 of the headers, 0 where there is none, and (N,) times of recording [ns]."""
        return np.array(self._headers, np.int64), np.array(self._bags, np.int64)

    def sizes(self):
        """Median number of points of a cloud, and median size of a message [bytes]."""
        return int(np.median(self._points)), int(np.median(self._bytes))

    def extent(self):
        """5, 50 and 95 % quantiles of the range [m], and the median rms radius [m]."""
        return tuple(np.median(self._ranges, 0)), float(np.median(self._radii))

    def _sample(self, cloud):
        try:
            points = points_from_message(cloud)
        except CloudError as error:
            self.bad[str(error)] += 1
            return
        points = points[np.isfinite(points).all(1)]
        points = points[np.abs(points).max(1, initial=0.0) < 1e4]
        ranges = np.linalg.norm(points, axis=1)
        ranges = ranges[ranges > 0.02]
        if len(ranges) > 30:
            self.finder.add(points)
            self._ranges.append(np.quantile(ranges, (0.05, 0.5, 0.95)))
            self._radii.append(float(np.sqrt(points.var(axis=0).sum())))
