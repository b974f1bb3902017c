"""One node in the ROS 2 graph: publishers, subscriptions and their thread, over Cyclone DDS."""

import collections
import logging
import os
import threading
import time
import weakref
from xml.sax.saxutils import quoteattr

from cyclonedds.core import DDSException, GuardCondition, Policy, Qos, ReadCondition, WaitSet
from cyclonedds.core import InstanceState, SampleState, ViewState
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration
from rosbags.serde import SerdeError

from dlc_ros.errors import DlcError
from dlc_ros.node.dds import names, qos
from dlc_ros.node.dds.messages import build_message, distro_typestore, sample_type

_log = logging.getLogger(__name__)

# One datagram per 64 KB of a cloud and room for a whole cloud at the receiver: with the defaults
# clouds of 2 MB lose samples, with these none were lost up to 4 MB. Where the kernel grants less
# room (sysctl net.core.rmem_max, 208 KiB on many machines) a reliable publisher is asked within
# milliseconds, not the usual 100, for what did not fit.
_CONFIG = """<CycloneDDS><Domain>
<General>{interfaces}<MaxMessageSize>65500B</MaxMessageSize>
<FragmentSize>65000B</FragmentSize></General>
<Discovery><ParticipantIndex>auto</ParticipantIndex>
<MaxAutoParticipantIndex>99</MaxAutoParticipantIndex>{peers}</Discovery>
<Internal><SocketReceiveBufferSize min="default" max="16MiB"/><NackDelay>10ms</NackDelay>
<HeartbeatInterval min="5ms" minsched="5ms">20ms</HeartbeatInterval></Internal>
</Domain></CycloneDDS>"""
_LOOPBACK = ('lo', 'localhost', '127.0.0.1')

# A process can configure a domain once; participants share it and the last one ends it.
_domains = weakref.WeakValueDictionary()


class Participant:
    """
    A node of the ROS 2 graph, without ROS 2.

    Callbacks of all subscriptions run one after another in one thread of the participant, which
    starts with the first subscription; an exception in a callback is logged and the thread goes
    on. Publishers may be used from any thread.

    :param name: node name, as ``ros2 node list`` shows it.
    :param namespace: of the node and its relative topic names.
    :param domain_id: DDS domain; None takes ``ROS_DOMAIN_ID`` from the environment, else 0.
    :param interface: network interface (``lo``, ``eth0``, an address); empty lets Cyclone DDS
        choose. What ``CYCLONEDDS_URI`` configures has the last word.
    :param typestore: message definitions; None takes those of ``ROS_DISTRO``.
    :raises DlcError: a name is no ROS 2 name, or Cyclone DDS cannot use the interface.
    """

    def __init__(self, name, namespace='/', domain_id=None, interface='', typestore=None):
        self.name = names.check_node_name(name)
        self.namespace = names.check_namespace(namespace)
        self.typestore = typestore or distro_typestore()
        domain_id = _default_domain() if domain_id is None else domain_id
        try:
            self._domain = _open_domain(domain_id, interface)
            self._participant = DomainParticipant(domain_id, Qos(Policy.Userdata(b'enclave=/;')))
        except DDSException as error:
            where = f'interface {interface!r}' if interface else 'the default interface'
            raise DlcError(
                f'Cannot join DDS domain {domain_id} on {where} ({error.msg.strip()}); check '
                f'the interface name and CYCLONEDDS_URI.'
            ) from None
        self._publishers = []
        self._subscriptions = []
        self._thread = None
        self._stopping = threading.Event()
        self._waitset = WaitSet(self._participant)
        self._wake = GuardCondition(self._participant)
        self._waitset.attach(self._wake)
        self._lock = threading.Lock()
        self._graph = Publisher(
            self, 'ros_discovery_info', _GRAPH_TYPE, qos.LATCHED, self.typestore
        )
        self._announce()

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.close()

    def resolve(self, topic):
        """Fully qualified name of a topic as this node means it."""
        return names.resolve_topic(topic, self.name, self.namespace)

    def message(self, type_name, values):
        """Message of a type from a tree of plain values; see :func:`build_message`."""
        return build_message(self.typestore, type_name, values)

    def publisher(self, topic, type_name, profile=qos.DEFAULT, typestore=None):
        """
        Offer a topic.

        :param topic: ``/x``, ``x`` (in the namespace) or ``~/x`` (below the node).
        :param type_name: e.g. ``sensor_msgs/msg/PointCloud2``.
        :param profile: :class:`~dlc_ros.node.dds.qos.QosProfile`.
        :param typestore: where the type is defined, if not in the participant's.
        :raises DlcError: unknown type, bad topic name, or a topic of another type in this process.
        """
        wire_name = 'rt' + self.resolve(topic)
        publisher = Publisher(self, wire_name, type_name, profile, typestore or self.typestore)
        with self._lock:
            self._publishers.append(publisher)
            self._announce()
        return publisher

    def subscribe(self, topic, type_name, callback, profile=qos.DEFAULT, raw=False):
        """
        Receive a topic.

        :param callback: called in the participant's thread with each message, an object of the
            typestore's class whose arrays are read-only views; or with its CDR bytes if ``raw``.
        :raises DlcError: unknown type, bad topic name, or a topic of another type in this process.
        """
        wire_name = 'rt' + self.resolve(topic)
        subscription = Subscription(self, wire_name, type_name, callback, profile, raw)
        with self._lock:
            self._subscriptions.append(subscription)
            self._announce()
            for condition in subscription.conditions:
                self._waitset.attach(condition)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._spin, name=f'{self.name} dds', daemon=True
                )
                self._thread.start()
        return subscription

    def close(self):
        """Leave the graph; pending callbacks end first. Calling it again does nothing."""
        if self._participant is None:
            return
        self._stopping.set()
        self._wake.set(True)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        # Cyclone DDS ends an entity with its last reference; children go before their parents.
        self._waitset = self._wake = self._graph = None
        for endpoint in [*self._publishers, *self._subscriptions]:
            endpoint.close()
        self._publishers.clear()
        self._subscriptions.clear()
        self._participant = self._domain = None

    def _topic(self, wire_name, typestore, type_name):
        try:
            return Topic(self._participant, wire_name, sample_type(typestore, type_name))
        except DDSException as error:
            raise DlcError(
                f'Cannot use topic {wire_name} as {type_name} ({error.msg.strip()}); is it in '
                f'use here with another type?'
            ) from None

    def _announce(self):
        """Tell ROS 2 which endpoints belong to this node (``ros_discovery_info``)."""
        gid_size = self.typestore.fielddefs['rmw_dds_common/msg/Gid'][1][0][1][1][1]

        def gid(entity):
            return {'data': list(entity.guid.bytes.ljust(gid_size, b'\0'))}

        node = {
            'node_namespace': self.namespace,
            'node_name': self.name,
            'reader_gid_seq': [gid(r) for s in self._subscriptions for r in s.readers],
            'writer_gid_seq': [gid(p.writer) for p in self._publishers],
        }
        values = {'gid': gid(self._participant), 'node_entities_info_seq': [node]}
        self._graph.write(self.message(_GRAPH_TYPE, values))

    def _spin(self):
        while not self._stopping.is_set():
            self._waitset.wait(duration(seconds=1))
            for subscription in tuple(self._subscriptions):
                if self._stopping.is_set():
                    return
                subscription.deliver()


_GRAPH_TYPE = 'rmw_dds_common/msg/ParticipantEntitiesInfo'


class Publisher:
    """Sends messages of one topic; made by :meth:`Participant.publisher`."""

    def __init__(self, participant, wire_name, type_name, profile, typestore):
        self.topic = wire_name.removeprefix('rt')
        self.type_name = type_name
        self._typestore = typestore
        topic = participant._topic(wire_name, typestore, type_name)
        self._sample_type = topic.data_type
        self.writer = DataWriter(
            participant._participant, topic, profile.to_cyclone(_user_data(typestore, type_name))
        )

    def write(self, message):
        """Send a message of the typestore's class."""
        self.write_cdr(self._typestore.serialize_cdr(message, self.type_name))

    def write_cdr(self, cdr):
        """Send a message that is CDR bytes already (with their header, little or big endian)."""
        try:
            self.writer.write(self._sample_type(bytes(cdr)))
        except DDSException as error:
            if error.code != DDSException.DDS_RETCODE_TIMEOUT:
                raise DlcError(f'Cannot send on {self.topic}: {error.msg.strip()}.') from None
            _log.warning('%s: a subscriber is too slow, one message may be lost', self.topic)

    @property
    def subscriber_count(self):
        """How many participants receive this topic now, however many subscriptions each has."""
        handles = self.writer.get_matched_subscriptions()
        endpoints = map(self.writer.get_matched_subscription_data, handles)
        return len({endpoint.participant_key for endpoint in endpoints if endpoint})

    def wait_for_subscribers(self, count=1, timeout=10.0):
        """Wait until ``count`` participants subscribe; False after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while self.subscriber_count < count:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
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

    def __init__(self, participant, wire_name, type_name, callback, profile, raw):
        self.topic = wire_name.removeprefix('rt')
        self.type_name = type_name
        self._typestore = participant.typestore
        self._callback = callback
        self._raw = raw
        topic = participant._topic(wire_name, self._typestore, type_name)
        self._sample_type = topic.data_type
        user_data = _user_data(self._typestore, type_name)
        self.readers = [
            DataReader(participant._participant, topic, variant.to_cyclone(user_data))
            for variant in profile.variants()
        ]
        self.conditions = [
            ReadCondition(reader, ViewState.Any | SampleState.Any | InstanceState.Any)
            for reader in self.readers
        ]
        self._seen = collections.deque(maxlen=2 * profile.depth)

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
            except SerdeError as error:
                _log.error('%s: a damaged message was dropped: %s', self.topic, error)
                return
        try:
            self._callback(message)
        except Exception:
            _log.exception('%s: the callback failed', self.topic)


_TAKE = 100


def _user_data(typestore, type_name):
    return f'typehash={typestore.hash_rihs01(type_name)};'.encode()


def _default_domain():
    text = os.environ.get('ROS_DOMAIN_ID') or '0'
    if not text.isdigit() or int(text) > 232:
        raise DlcError(f'ROS_DOMAIN_ID is {text!r}; it must be a number from 0 to 232.')
    return int(text)


def _open_domain(domain_id, interface):
    domain = _domains.get(domain_id)
    if domain is None:
        domain = _domains[domain_id] = Domain(domain_id, _configuration(interface))
    return domain


def _configuration(interface):
    interfaces = peers = ''
    if interface:
        known_by = 'address' if interface[0].isdigit() or ':' in interface else 'name'
        tag = f'<NetworkInterface {known_by}={quoteattr(interface)}/>'
        interfaces = f'<Interfaces>{tag}</Interfaces>'
    if interface in _LOOPBACK:
        # Loopback has no multicast: participants find each other by asking this host's ports.
        peers = '<Peers><Peer address="localhost"/></Peers>'
    ours = _CONFIG.format(interfaces=interfaces, peers=peers)
    theirs = os.environ.get('CYCLONEDDS_URI')
    return f'{ours},{theirs}' if theirs else ours
