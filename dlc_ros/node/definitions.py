"""Message definitions of ROS 2 without ROS 2, from rosbags; messages from plain values."""

import functools
import logging
import os

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_typestore

from dlc_ros.errors import DlcError

_log = logging.getLogger(__name__)
_USUAL = 'jazzy'


@functools.cache
def distro_typestore(distro=None):
    """
    Message definitions of a ROS 2 distribution.

    :param distro: e.g. ``humble``; None takes ``ROS_DISTRO`` from the environment, or jazzy where
        that is not set or not known here (rolling, ROS 1). The definitions used here are the same
        since Humble but for ``ros_discovery_info``.
    :raises DlcError: ``distro`` is not known.
    """
    stores = {s.name[5:].lower(): s for s in Stores if s.name.startswith('ROS2_')}
    if distro is None:
        distro = os.environ.get('ROS_DISTRO') or _USUAL
        if distro not in stores:
            _log.warning('ROS_DISTRO is %r: messages are taken as in %s', distro, _USUAL)
            distro = _USUAL
    if distro not in stores:
        raise DlcError(f'Unknown ROS 2 distribution {distro!r}; known: {", ".join(stores)}.')
    return get_typestore(stores[distro])


def build_message(typestore, type_name, values):
    """
    Message of ``type_name`` from a tree of plain values; what is not named is zero or empty.

    :param values: dict field name -> value, dict (a nested message) or list of them.
    :raises DlcError: a name in ``values`` is no field of the type.
    """
    fields = dict(typestore.fielddefs[type_name][1])
    unknown = values.keys() - fields.keys()
    if unknown:
        raise DlcError(f'{type_name} has no field {sorted(unknown)[0]!r}.')
    return typestore.types[type_name](
        *(_field_value(typestore, kind, values.get(name)) for name, kind in fields.items())
    )


def _field_value(typestore, kind, value):
    node, detail = kind
    if node == Nodetype.BASE:
        return value if value is not None else ('' if detail[0] == 'string' else 0)
    if node == Nodetype.NAME:
        return build_message(typestore, detail, value or {})
    (item_node, item), length = detail
    if value is None:
        count = length if node == Nodetype.ARRAY else 0
        value = [None] * count if item_node == Nodetype.NAME else np.zeros(count)
    if item_node == Nodetype.NAME:
        return [build_message(typestore, item, entry or {}) for entry in value]
    if item[0] == 'string':
        return [str(entry or '') for entry in value]
    return np.asarray(value, dtype={'byte': 'u1', 'char': 'u1'}.get(item[0], item[0]))
