"""A recording on the wire: its messages at the pace of their recording, or at another."""

import math
import threading
import time

from dlc_ros.errors import DlcError
from dlc_ros.node import convert
from dlc_ros.node.dds import qos
from dlc_ros.node.dds.endpoints import SETTLE

_CLOCK_TOPIC = '/clock'
_TF_TOPICS, _TF_TYPE = ('/tf', '/tf_static'), 'tf2_msgs/msg/TFMessage'
_CLOCK_PERIOD = 1.0 / 40.0  # as ros2 bag play --clock has it


class Player:
    """
    Publishes a recording.

    Messages go out as the bytes that were recorded (ROS 1 ones as their ROS 2 equal), with the
    stamps that they have. Topics are offered reliable, which every subscriber takes.

    :param bag: :class:`~dlc_ros.node.bag.Bag`.
    :param participant: :class:`~dlc_ros.node.dds.participant.Participant`.
    :param topics: names to play; None is all.
    :param rate: seconds of the recording for each second of time.
    :param clock: publish the recording's time on ``/clock``; a recorded one is left out.
    :param drop_parent: leave out transforms with this parent: ``map`` where the localizer is to
        say where the robot is; empty plays all.
    :raises DlcError: a topic is not in the recording, the rate is no positive number.
    """

    def __init__(self, bag, participant, topics=None, rate=1.0, clock=False, drop_parent=''):
        if not 0.0 < rate < math.inf:
            raise DlcError(f'The rate is {rate:g}; it must be more than 0 and finite.')
        self._bag = bag
        self._rate = rate
        self._drop_parent = drop_parent
        found = bag.select(topics)
        if clock:
            found = [topic for topic in found if topic.name != _CLOCK_TOPIC]
        self._clock = None
        if clock:
            self._clock = participant.publisher(
                _CLOCK_TOPIC, 'rosgraph_msgs/msg/Clock', qos.DEFAULT
            )
        self._publishers = {
            topic.name: participant.publisher(
                topic.name, topic.type_name, _profile(topic), typestore=bag.typestore
            )
            for topic in found
        }

    @property
    def topics(self):
        """Names of the topics that are played."""
        return tuple(self._publishers)

    def wait_for_subscribers(self, timeout, stop=None):
        """
        Wait until somebody listens to one of the topics.

        :param timeout: seconds.
        :param stop: :class:`threading.Event` that ends the waiting.
        :returns: whether somebody does.
        """
        stop = stop or threading.Event()
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if any(publisher.subscriber_count for publisher in self._publishers.values()):
                stop.wait(SETTLE)
                return True
            if stop.wait(0.05):
                return False
        return False

    def play(self, stop=None, on_message=None):
        """
        Play the recording once.

        :param stop: :class:`threading.Event` that ends it early.
        :param on_message: called with the topic's name after each message.
        :returns: how many messages were sent.
        :raises FileError: the recording is damaged where it is read.
        """
        stop = stop or threading.Event()
        sent, begin = 0, None
        for name, stamp_ns, cdr in self._bag.messages(self.topics):
            if begin is None:
                begin = (time.monotonic(), stamp_ns)
            self._wait_until(stamp_ns, begin, stop)
            if stop.is_set():
                break
            if self._send(name, cdr):
                sent += 1
                if on_message:
                    on_message(name)
        for publisher in self._publishers.values():
            publisher.wait_until_received()
        return sent

    def _send(self, name, cdr):
        """Send a message but for what is to be left out; returns whether anything was sent."""
        publisher = self._publishers[name]
        if not self._drop_parent or name not in _TF_TOPICS or publisher.type_name != _TF_TYPE:
            publisher.write_cdr(cdr)
            return True
        message = self._bag.typestore.deserialize_cdr(cdr, _TF_TYPE)
        kept = convert.transforms_without_parent(message.transforms, self._drop_parent)
        if kept:
            message.transforms = kept
            publisher.write(message)
        return bool(kept)

    def _wait_until(self, stamp_ns, begin, stop):
        """Let time pass until a message is due, and tell it on the way."""
        started, first_ns = begin
        while not stop.is_set():
            now_ns = first_ns + round((time.monotonic() - started) * self._rate * 1e9)
            if self._clock:
                values = {'clock': convert.stamp_from_ns(min(now_ns, stamp_ns))}
                self._clock.publish(values)
            remaining = (stamp_ns - now_ns) * 1e-9 / self._rate
            if remaining <= 0.0:
                return
            stop.wait(min(remaining, _CLOCK_PERIOD) if self._clock else remaining)


def _profile(topic):
    if topic.name == '/tf_static':
        return qos.TF_STATIC
    return qos.QosProfile(depth=10, transient_local=topic.transient_local)
