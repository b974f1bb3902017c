"""ROS 2 names: of nodes, of topics, and what a relative topic name means."""

import re

from dlc_ros.errors import DlcError

_NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_]*')


def check_node_name(name):
    """
    The name itself, if ROS 2 allows it.

    :raises DlcError: it is empty or has characters other than letters, digits and ``_``.
    """
    if not _NAME.fullmatch(name):
        raise DlcError(f'{name!r} is no node name: use letters, digits and _.')
    return name


def check_namespace(namespace):
    """
    Namespace with one leading slash; empty means ``/``.

    :raises DlcError: a part of it is no ROS 2 name.
    """
    parts = [part for part in namespace.split('/') if part]
    if not all(_NAME.fullmatch(part) for part in parts):
        raise DlcError(f'{namespace!r} is no namespace: use letters, digits, _ and /.')
    return '/' + '/'.join(parts)


def resolve_topic(topic, node_name, namespace):
    """
    Fully qualified topic: ``/x`` stays, ``x`` is in the namespace, ``~/x`` below the node.

    :raises DlcError: the result is no ROS 2 topic name.
    """
    base = namespace.rstrip('/')
    if topic.startswith('~/'):
        full = f'{base}/{node_name}/{topic[2:]}'
    elif topic.startswith('/'):
        full = topic
    else:
        full = f'{base}/{topic}'
    if not all(_NAME.fullmatch(part) for part in full[1:].split('/')):
        raise DlcError(f'{topic!r} is no topic name: use letters, digits, _ and /.')
    return full
