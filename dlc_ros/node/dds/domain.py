"""Joining a DDS domain: its number, the network interface and the settings big clouds need."""

import os
import socket
import weakref
from contextlib import suppress
from pathlib import Path
from xml.sax.saxutils import quoteattr

from cyclonedds.domain import Domain

from dlc_ros.errors import DlcError

# One datagram per 64 KB of a cloud and room for a whole cloud at the receiver: with the defaults
# clouds of 2 MB lose samples, with these none were lost up to 4 MB. Where the kernel grants less
# room (sysctl net.core.rmem_max, 208 KiB on many machines) a reliable publisher is asked within
# milliseconds, not the usual 100, for what did not fit. The hashes of keys are in what is said of
# a participant or an endpoint that leaves: without them Fast DDS 2.6 does not understand it, and
# believes that it is there until its lease ends.
_CONFIG = """<CycloneDDS><Domain>
<General>{interfaces}{multicast}<MaxMessageSize>65500B</MaxMessageSize>
<FragmentSize>65000B</FragmentSize></General>
{discovery}
<Internal><SocketReceiveBufferSize min="default" max="16MiB"/><NackDelay>10ms</NackDelay>
<HeartbeatInterval min="5ms" minsched="5ms">20ms</HeartbeatInterval>
<GenerateKeyhash>true</GenerateKeyhash></Internal>
</Domain></CycloneDDS>"""
# On loopback participants find each other by asking the ports of this host, whose numbers follow
# from a participant's index; without multicast there is no port for groups either. They go on
# asking: by default ports that were silent for a minute are given up, and two processes that were
# both stopped for longer than a lease (10 s) would never find each other again. And they ask every
# second, not every 30: Fast DDS, told to stay on this host, asks nobody but its multicast group.
_LOOPBACK_ADDRESS = '127.0.0.1'
_LOOPBACK = ('lo', 'lo0', _LOOPBACK_ADDRESS)
_LOOPBACK_MULTICAST = '<AllowMulticast>false</AllowMulticast>'
_LOOPBACK_DISCOVERY = """<Discovery><ParticipantIndex>auto</ParticipantIndex>
<MaxAutoParticipantIndex>99</MaxAutoParticipantIndex>
<InitialLocatorPruneDelay>inf</InitialLocatorPruneDelay>
<DiscoveredLocatorPruneDelay>inf</DiscoveredLocatorPruneDelay>
<SPDPInterval>1s</SPDPInterval>
<Peers><Peer address="localhost"/></Peers></Discovery>"""

# Where DDS listens: DDSI-RTPS 2.5, section 9.6.2.3; ports of higher domains are out of range.
_PORT_BASE, _DOMAIN_GAIN = 7400, 250
_HIGHEST_DOMAIN = 232

# A process can configure a domain once; participants share it and the last one ends it.
_domains = weakref.WeakValueDictionary()


def default_domain_id():
    """Domain that ROS 2 would use: ``ROS_DOMAIN_ID``, else 0."""
    text = os.environ.get('ROS_DOMAIN_ID') or '0'
    if not text.isdigit() or int(text) > _HIGHEST_DOMAIN:
        raise DlcError(
            f'ROS_DOMAIN_ID is {text!r}; it must be a number from 0 to {_HIGHEST_DOMAIN}.'
        )
    return int(text)


def default_interface():
    """Loopback if ROS 2 is told to stay on this host, else empty: Cyclone DDS's choice."""
    local = (
        os.environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE') == 'LOCALHOST'
        or os.environ.get('ROS_LOCALHOST_ONLY') == '1'
    )
    return _LOOPBACK_ADDRESS if local else ''


def open_domain(domain_id, interface):
    """
    Domain of this process with the project's settings; held by whoever keeps the result.

    :raises cyclonedds.core.DDSException: Cyclone DDS cannot use the interface or its settings.
    :raises DlcError: there is no domain of this number.
    """
    if not 0 <= domain_id <= _HIGHEST_DOMAIN:
        raise DlcError(f'There is no DDS domain {domain_id}: they go from 0 to {_HIGHEST_DOMAIN}.')
    domain = _domains.get(domain_id)
    if domain is None:
        others = set(_sockets().values())
        domain = _domains[domain_id] = Domain(domain_id, _configuration(interface))
        if interface in _LOOPBACK:
            _hold_to_loopback(domain_id, others)
    return domain


def _sockets():
    """Sockets of this process: what the kernel calls them, by file descriptor."""
    found = {}
    for entry in Path('/proc/self/fd').glob('*'):
        with suppress(OSError):
            name = os.readlink(entry)
            if name.startswith('socket:'):
                found[int(entry.name)] = name
    return found


def _hold_to_loopback(domain_id, others):
    """
    Make the kernel drop what comes to this domain's ports from outside this host.

    Sockets that were open before the domain (``others``) are left alone: those of a ROS 2 in this
    process may be spoken to by this host's outer address, which a held socket does not hear.

    Cyclone DDS announces and sends on the chosen interface alone, but it hears its unicast ports
    on all of them. Linux lets a process hold its sockets to a device (since 5.7 without
    privileges); elsewhere they stay as they are.
    """
    first = _PORT_BASE + _DOMAIN_GAIN * domain_id
    ports = range(first, first + _DOMAIN_GAIN)
    for number, name in _sockets().items():
        if name in others:
            continue
        with suppress(OSError):
            with socket.socket(fileno=os.dup(number)) as ours:
                udp = (ours.family, ours.type) == (socket.AF_INET, socket.SOCK_DGRAM)
                if udp and ours.getsockname()[1] in ports:
                    ours.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'lo\0')


def _configuration(interface):
    interfaces = ''
    if interface:
        known_by = 'address' if interface[0].isdigit() or ':' in interface else 'name'
        tag = f'<NetworkInterface {known_by}={quoteattr(interface)}/>'
        interfaces = f'<Interfaces>{tag}</Interfaces>'
    local = interface in _LOOPBACK
    ours = _CONFIG.format(
        interfaces=interfaces,
        multicast=_LOOPBACK_MULTICAST if local else '',
        discovery=_LOOPBACK_DISCOVERY if local else '',
    )
    theirs = os.environ.get('CYCLONEDDS_URI')
    return f'{ours},{theirs}' if theirs else ours
