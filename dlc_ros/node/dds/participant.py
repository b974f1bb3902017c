"""One node in the ROS 2 graph: its publishers, subscriptions and their thread."""

import functools
import logging
import threading

from cyclonedds.core import DDSException, GuardCondition, Policy, Qos, WaitSet
from cyclonedds.domain import DomainParticipant
from cyclonedds.util import duration

from dlc_ros.errors import DlcError
from dlc_ros.node.dds import names, qos
from dlc_ros.node.dds.domain import default_domain_id, default_interface, open_domain
from dlc_ros.node.dds.endpoints import Publisher, Subscription
from dlc_ros.node.definitions import build_message, distro_typestore

_log = logging.getLogger(__name__)
_GRAPH_TYPE = 'rmw_dds_common/msg/ParticipantEntitiesInfo'
_MOST_PARTICIPANTS = 1000


class Participant:
    """
    A node of the ROS 2 graph, without ROS 2.

    Callbacks of all subscriptions run one after another in one thread of the participant, which
    starts with the first subscription; an exception in a callback is logged and the thread goes
    on. Publishers may be used from any thread.

    :param name: node name, as ``ros2 node list`` shows it.
    :param namespace: of the node and its relative topic names.
    :param domain_id: DDS domain; None takes ``ROS_DOMAIN_ID`` from the environment, else 0.
    :param interface: network interface (``lo``, ``eth0``, an address); empty is loopback where
        ``ROS_AUTOMATIC_DISCOVERY_RANGE`` or ``ROS_LOCALHOST_ONLY`` say so, else what Cyclone DDS
        chooses. What ``CYCLONEDDS_URI`` configures has the last word.
    :param typestore: message definitions; None takes those of ``ROS_DISTRO``.
    :raises DlcError: a name is no ROS 2 name, or Cyclone DDS cannot use the interface.
    """

    def __init__(self, name, namespace='/', domain_id=None, interface='', typestore=None):
        self.name = names.check_node_name(name)
        self.namespace = names.check_namespace(namespace)
        self.typestore = typestore or distro_typestore()
        domain_id = default_domain_id() if domain_id is None else domain_id
        interface = interface or default_interface()
        try:
            self._domain = open_domain(domain_id, interface)
            self._participant = DomainParticipant(domain_id, Qos(Policy.Userdata(b'enclave=/;')))
        except DDSException:
            where = f'interface {interface!r}' if interface else 'the default interface'
            raise DlcError(
                f'Cannot join DDS domain {domain_id} on {where}: check the name of the '
                f'interface, and CYCLONEDDS_URI if it is set.'
            ) from None
        self._publishers = []
        self._subscriptions = []
        self._thread = None
        self._delivering = None  # subscription
        self._stopping = threading.Event()
        self._waitset = WaitSet(self._participant)
        self._wake = GuardCondition(self._participant)
        self._waitset.attach(self._wake)
        self._lock = threading.Lock()
        self._graph = Publisher(
            self._participant, 'ros_discovery_info', _GRAPH_TYPE, qos.LATCHED, self.typestore
        )
        self._nodes = {}  # participant -> {writer: node name}
        # All that every participant tells of itself, of which each keeps but the last.
        self._heard_graph = Subscription(
            self._participant,
            'ros_discovery_info',
            _GRAPH_TYPE,
            self._on_graph,
            qos.LATCHED.with_depth(_MOST_PARTICIPANTS),
            self.typestore,
            raw=False,
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
        :raises DlcError: unknown type or bad topic name.
        """
        wire_name = 'rt' + self.resolve(topic)
        publisher = Publisher(
            self._participant, wire_name, type_name, profile, typestore or self.typestore
        )
        with self._lock:
            self._publishers.append(publisher)
            self._announce()
        return publisher

    def subscribe(self, topic, type_name, callback, profile=qos.DEFAULT, raw=False):
        """
        Receive a topic.

        :param callback: called in the participant's thread with each message, an object of the
            typestore's class whose arrays are read-only views; or with its CDR bytes if ``raw``.
        :raises DlcError: unknown type or bad topic name.
        """
        wire_name = 'rt' + self.resolve(topic)
        subscription = Subscription(
            self._participant, wire_name, type_name, callback, profile, self.typestore, raw
        )
        with self._lock:
            self._subscriptions.append(subscription)
            self._announce()
            for condition in subscription.conditions:
                self._waitset.attach(condition)
            if self._thread is None:
                for condition in self._heard_graph.conditions:
                    self._waitset.attach(condition)
                self._thread = threading.Thread(
                    target=self._spin, name=f'{self.name} dds', daemon=True
                )
                self._thread.start()
        return subscription

    def sender(self):
        """
        Who sent the message whose callback runs; only to be called in one.

        :returns: ``names() -> set``, which gives the full name of its node as long as it is there;
            of a participant that is no node of ROS 2 nothing.
        """
        return functools.partial(self._nodes_of, self._delivering, self._delivering.sender)

    def stop_callbacks(self):
        """Hear no more: a running callback ends, no other begins. Publishers stay usable."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._wake.set(True)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def close(self):
        """Leave the graph, after :meth:`stop_callbacks`. Calling it again does nothing."""
        if self._participant is None:
            return
        self.stop_callbacks()
        # Cyclone DDS ends an entity with its last reference; children go before their parents.
        self._waitset = self._wake = self._graph = None
        for endpoint in [*self._publishers, *self._subscriptions, self._heard_graph]:
            endpoint.close()
        self._publishers.clear()
        self._subscriptions.clear()
        self._participant = self._domain = None

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

    def _nodes_of(self, subscription, publication):
        found = [
            reader.get_matched_publication_data(handle)
            for reader in subscription.readers
            for handle in reader.get_matched_publications()
            if (handle - publication) % 2**64 == 0  # one is signed, the other is not
        ]
        writers = {endpoint.key.bytes for endpoint in found if endpoint}  # it may just have left
        named = {writer: name for nodes in self._nodes.values() for writer, name in nodes.items()}
        return {named[writer] for writer in writers if writer in named}

    def _on_graph(self, message):
        """Note what a participant says of its nodes."""
        if len(self._nodes) >= _MOST_PARTICIPANTS:
            del self._nodes[next(iter(self._nodes))]
        self._nodes[bytes(message.gid.data)] = {
            bytes(writer.data)[:16]: f'{node.node_namespace.rstrip("/")}/{node.node_name}'
            for node in message.node_entities_info_seq
            for writer in node.writer_gid_seq
        }

    def _spin(self):
        while not self._stopping.is_set():
            self._waitset.wait(duration(seconds=1))
            for subscription in (self._heard_graph, *self._subscriptions):
                if self._stopping.is_set():
                    return
                self._delivering = subscription
                try:
                    subscription.deliver()
                except DDSException as error:
                    # Without this thread the node would be deaf to all other topics too.
                    _log.error('%s: not read: %s', subscription.topic, error.msg.strip())
