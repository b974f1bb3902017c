"""
ROS 2 message types on the wire: definitions from rosbags, bytes passed through Cyclone DDS.

Cyclone DDS wants a typed topic, so that it can check and announce the type; the samples
themselves are handed over as the CDR bytes that rosbags wrote. Letting Cyclone DDS serialise a
cloud from Python objects takes 16 times as long.
"""

import functools

from cyclonedds.idl import make_idl_struct
from cyclonedds.idl.types import (
    array,
    bounded_str,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    sequence,
    uint8,
    uint16,
    uint32,
    uint64,
)
from rosbags.interfaces import Nodetype

from dlc_ros.errors import DlcError

# ROS 2 maps both byte and char of its .msg files to octets on the wire.
_PRIMITIVES = {
    'bool': bool,
    'byte': uint8,
    'char': uint8,
    'int8': int8,
    'int16': int16,
    'int32': int32,
    'int64': int64,
    'uint8': uint8,
    'uint16': uint16,
    'uint32': uint32,
    'uint64': uint64,
    'float32': float32,
    'float64': float64,
}


def dds_type_name(type_name):
    """``sensor_msgs/msg/PointCloud2`` as ROS 2 calls it on the wire."""
    package, kind, name = type_name.split('/')
    return f'{package}::{kind}::dds_::{name}_'


@functools.cache
def sample_type(typestore, type_name):
    """
    Cyclone DDS type of a ROS 2 message whose samples hold CDR bytes, with their 4-byte header.

    ``sample_type(...)(cdr)`` makes a sample; ``sample.cdr`` are its bytes.

    :raises DlcError: the type, or one that it contains, is unknown or cannot be carried (wide
        strings).
    """
    sample = _make_struct(typestore, type_name)
    # Set on the finished class: Cyclone DDS takes a base class for a part of the type.
    sample.__init__ = _keep_cdr
    sample.serialize = _give_cdr
    sample.deserialize = classmethod(_wrap_cdr)
    sample.deserialize_key = classmethod(_wrap_cdr)  # ROS 2 topics have no keys
    return sample


def _keep_cdr(sample, cdr):
    sample.cdr = cdr


def _give_cdr(sample, *_args, **_kwargs):
    return sample.cdr  # XCDR1, the only version that the topics here offer


def _wrap_cdr(cls, data, *_args, **_kwargs):
    return cls(data)


@functools.cache
def _nested_struct(typestore, type_name):
    return _make_struct(typestore, type_name)


def _make_struct(typestore, type_name):
    if type_name not in typestore.fielddefs:
        raise DlcError(f'Unknown message type {type_name!r}.')
    fields = {name: _idl_type(typestore, kind) for name, kind in typestore.fielddefs[type_name][1]}
    return make_idl_struct(
        type_name.replace('/', '_'), dds_type_name(type_name), fields, dataclassify=False
    )


def _idl_type(typestore, kind):
    node, detail = kind
    if node == Nodetype.NAME:
        return _nested_struct(typestore, detail)
    if node == Nodetype.BASE:
        name, bound = detail
        if name == 'string':
            return bounded_str[bound] if bound else str
        if name not in _PRIMITIVES:
            raise DlcError(f'Messages with a field of type {name} cannot be sent.')
        return _PRIMITIVES[name]
    item, length = detail
    item = _idl_type(typestore, item)
    if node == Nodetype.ARRAY:
        return array[item, length]
    return sequence[item, length] if length else sequence[item]
