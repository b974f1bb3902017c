"""Publishers and subscriptions: messages of one topic out and in."""

import collections
import logging
import time

from cyclonedds.core import DDSException, InstanceState, ReadCondition, SampleState, ViewState
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration

from dlc_ros.errors import DlcError
from dlc_ros.node.dds.messages import sample_type
from dlc_ros.node.definitions import build_message

_log = logging.getLogger(__name__)
# More than any queue here holds: one take empties it.
_TAKE = 100
# Publisher and subscription find each other one after the other: what is sent before the second
# knows the first is lost. Seconds.
SETTLE = 0.2


class Publisher:
    """Sends messages of one topic; made by :meth:`Participant.publisher`."""

    def __init__(self, entity, wire_name, type_name, profile, typestore):
        self.topic = wire_name.removeprefix('rt')
        self.type_name = type_name
        self._typestore = typestore
        topic = Topic(entity, wire_name, sample_type(typestore, type_name))
        self._sample_type = topic.data_type
        self._participants = {}  # of the subscriptions there are, by their handles
        self.writer = DataWriter(
            entity, topic, profile.to_cyclone(_user_data(typestore, type_name))
        )

    def write(self, message):
        """Send a message of the typestore's class."""
        self.write_cdr(self._typestore.serialize_cdr(message, self.type_name))

    def publish(self, values):
        """Send a message given as a tree of plain values; see :func:`build_message`."""
        self.write(build_message(self._typestore, self.type_name, values))

    def write_cdr(self, cdr):
        """
        Send a message that is CDR bytes already (with their header, little or big endian).

        :raises DlcError: the bytes are no message of the topic's type.
        """
        try:
            self.writer.write(self._sample_type(bytes(cdr)))
        except DDSException as error:
            if error.code == DDSException.DDS_RETCODE_TIMEOUT:
                _log.warning('%s: a subscriber is too slow, one message may be lost', self.topic)
            elif error.code == DDSException.DDS_RETCODE_BAD_PARAMETER:
                raise DlcError(
                    f'Cannot send on {self.topic}: the message is no {self.type_name}; it is '
                    f'damaged or of another type.'
                ) from None
            else:
                raise DlcError(f'Cannot send on {self.topic}: {error.msg.strip()}') from None

    @property
    def subscriber_count(self):
        """How many participants receive this topic now, however many subscriptions each has."""
        while True:
            try:
                handles = self.writer.get_matched_subscriptions()
                break
            except IndexError:  # one more came between the library's counting and its listing
                continue
        # Asked before every message, of a library that loses 96 bytes each time: once a handle.
        known = {handle: self._participants.get(handle) for handle in handles}
        for handle, key in known.items():
            if key is None:
                endpoint = self.writer.get_matched_subscription_data(handle)
                known[handle] = endpoint and endpoint.participant_key
        self._participants = known
        return len({key for key in known.values() if key})

    def wait_for_subscribers(self, count=1, timeout=10.0):
        """Wait until ``count`` participants subscribe; False after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while self.subscriber_count < count:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        time.sleep(SETTLE)
        return True

    def wait_until_received(self, timeout=5.0):
        """Wait until reliable subscribers have everything; False after ``timeout`` seconds."""
        try:
            return self.writer.wait_for_acks(duration(seconds=timeout))
        except DDSException:
            return False

    def close(self):
        """Stop offering the topic."""
        self.writer = None


class Subscription:
    """Receives messages of one topic; made by :meth:`Participant.subscribe`."""

    def __init__(self, entity, wire_name, type_name, callback, profile, typestore, raw):
        self.topic = wire_name.removeprefix('rt')
        self.type_name = type_name
        self._typestore = typestore
        self._callback = callback
        self._raw = raw
        topic = Topic(entity, wire_name, sample_type(typestore, type_name))
        self._sample_type = topic.data_type
        user_data = _user_data(typestore, type_name)
        self.readers = [
            DataReader(entity, topic, variant.to_cyclone(user_data))
            for variant in profile.variants()
        ]
        self.conditions = [
            ReadCondition(reader, ViewState.Any | SampleState.Any | InstanceState.Any)
            for reader in self.readers
        ]
        self._seen = collections.deque(maxlen=2 * profile.depth)
        self.sender = None  # handle of the publisher whose message is being delivered

    @property
    def publisher_count(self):
        """How many publishers send this topic now."""
        return len({w for reader in self.readers for w in reader.get_matched_publications()})

    def deliver(self):
        """Take what has arrived and call back with it; in the participant's thread."""
        for reader in self.readers:
            for sample in reader.take(N=_TAKE):
                # When a publisher leaves, a sample without a message says so.
                if isinstance(sample, self._sample_type) and self._is_new(sample.sample_info):
                    self.sender = sample.sample_info.publication_handle
                    self._call_back(sample.cdr)

    def close(self):
        """Stop receiving the topic."""
        self.conditions = self.readers = ()

    def _is_new(self, info):
        """With two readers of different reliability a reliable publisher's samples come twice."""
        if len(self.readers) == 1:
            return True
        identity = (info.publication_handle, info.source_timestamp)
        if identity in self._seen:
            return False
        self._seen.append(identity)
        return True

    def _call_back(self, message):
        if not self._raw:
            try:
                message = self._typestore.deserialize_cdr(message, self.type_name)
            except Exception as error:  # whatever the generated reader meets in foreign bytes
                _log.error('%s: a damaged message was dropped: %s', self.topic, error)
                return
        try:
            self._callback(message)
        except Exception:
            _log.exception('%s: the callback failed', self.topic)


def _user_data(typestore, type_name):
    return f'typehash={typestore.hash_rihs01(type_name)};'.encode()
