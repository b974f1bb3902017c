"""PointCloud2 messages that no driver should send: damaged in their values or in their bytes."""

import struct
from types import SimpleNamespace

import numpy as np

from dlc_ros.node.convert import cloud_values
from dlc_ros.node.definitions import build_message, distro_typestore

CLOUD = 'sensor_msgs/msg/PointCloud2'
SIZES = {7: 4, 8: 8}
FORMATS = {7: 'f', 8: 'd'}
# What counters, offsets and sizes are apt to be when something went wrong.
NUMBERS = (0, 1, 2, 3, 7, 8, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 10**6)
NAMES = ('', 'x', 'y', 'z', 'X', 'rgb', 'x\n', 'two\nlines', 'z' * 3000, '\0', '\ud800')
FLOATS = (np.nan, np.inf, -np.inf, 0.0, 1e-45, 3e38, -3e38, 1e9)
DOUBLES = (*FLOATS, 1e300, 5e-324)


def layout(rng, points):
    """
    A well-formed message of a random layout.

    :param rng: numpy.random.Generator.
    :param points: (N, 3).
    """
    kind = int(rng.choice([7, 7, 7, 8]))
    size = SIZES[kind]
    lead, gap, tail = (int(n) for n in rng.integers(0, 9, 3))
    offsets = [lead, lead + size, lead + 2 * size + gap]
    point_step = offsets[2] + size + tail
    height = int(rng.choice([1, 1, 2, 3]))
    width = len(points) // height
    row_step = width * point_step + int(rng.choice([0, 0, 5, 64])) * (height > 1)
    bigendian = bool(rng.random() < 0.2)
    dtype = np.dtype(FORMATS[kind]).newbyteorder('>' if bigendian else '<')
    data = np.zeros(height * row_step, np.uint8)
    for offset, column in zip(offsets, points[: height * width].T, strict=True):
        if not width:
            break
        view = np.ndarray(
            (height, width), dtype, buffer=data, offset=offset, strides=(row_step, point_step)
        )
        view[:] = column.reshape(height, width)
    fields = [
        {'name': name, 'offset': offset, 'datatype': kind, 'count': 1}
        for name, offset in zip('xyz', offsets, strict=True)
    ]
    if tail >= 4:
        extra = {'name': 'intensity', 'offset': point_step - 4, 'datatype': 7, 'count': 1}
        fields.insert(int(rng.integers(0, 4)), extra)
    return {
        'height': height,
        'width': width,
        'fields': fields,
        'is_bigendian': bigendian,
        'point_step': point_step,
        'row_step': row_step,
        'data': data,
        'is_dense': True,
    }


def mutate_values(rng, values):
    """Change one to four things of a message's values, in place."""
    for _ in range(rng.integers(1, 5)):
        _CHANGES[rng.integers(len(_CHANGES))](rng, values)
    return values


def _change_size(rng, values):
    name = str(rng.choice(['height', 'width', 'point_step', 'row_step']))
    new = int(rng.choice(NUMBERS)) if rng.random() < 0.5 else values[name] + rng.integers(-3, 4)
    values[name] = int(max(0, new))


def _change_field(rng, values):
    if not values['fields']:
        return
    changed = values['fields'][rng.integers(len(values['fields']))]
    name = str(rng.choice(['name', 'offset', 'datatype', 'count']))
    if name == 'name':
        changed[name] = str(rng.choice(NAMES[:-1]))
    elif name == 'datatype':
        changed[name] = int(rng.integers(0, 256))
    else:
        changed[name] = int(rng.choice(NUMBERS))


def _drop_or_double_field(rng, values):
    if values['fields']:
        index = rng.integers(len(values['fields']))
        field = values['fields'].pop(index)
        if rng.random() < 0.5:
            values['fields'] += [field, dict(field)]


def _flip_endianness(_rng, values):
    values['is_bigendian'] = not values['is_bigendian']


def _cut_data(rng, values):
    values['data'] = values['data'][: rng.integers(0, len(values['data']) + 1)].copy()


def _lengthen_data(rng, values):
    more = rng.integers(0, 256, rng.integers(1, 40)).astype(np.uint8)
    values['data'] = np.concatenate([values['data'], more])


def _noise_in_data(rng, values):
    data = values['data']
    if len(data):
        where = rng.integers(0, len(data), rng.integers(1, max(2, len(data) // 4)))
        data[where] = rng.integers(0, 256, len(where))


def _odd_coordinates(rng, values):
    """Whole coordinates replaced by the values that break arithmetic."""
    data = values['data']
    kind = 'd' if rng.random() < 0.2 else 'f'
    size = struct.calcsize(kind)
    odd = DOUBLES if kind == 'd' else FLOATS
    for _ in range(rng.integers(1, 20)):
        if len(data) > size:
            at = int(rng.integers(0, len(data) - size))
            packed = struct.pack('<' + kind, odd[rng.integers(len(odd))])
            data[at : at + size] = np.frombuffer(packed, np.uint8)


_CHANGES = (
    _change_size,
    _change_size,
    _change_field,
    _drop_or_double_field,
    _flip_endianness,
    _cut_data,
    _lengthen_data,
    _noise_in_data,
    _odd_coordinates,
)


def mutate_bytes(rng, cdr):
    """CDR bytes with bits flipped, lengths replaced, a part cut out, doubled or moved."""
    mutated = bytearray(cdr)
    for _ in range(rng.integers(1, 4)):
        if len(mutated) < 8:
            break
        # The header of the message, where all its lengths stand, is met as often as its data.
        end = len(mutated) if rng.random() < 0.5 else min(len(mutated), 160)
        at = int(rng.integers(4, end))
        how = rng.integers(6)
        if how == 0:
            mutated[at] ^= 1 << rng.integers(8)
        elif how == 1:
            mutated[at] = rng.integers(256)
        elif how == 2:
            at -= at % 4
            mutated[at : at + 4] = struct.pack('<I', int(rng.choice(NUMBERS)))
        elif how == 3:
            del mutated[at:]
        elif how == 4:
            del mutated[at : at + int(rng.integers(1, 12))]
        else:
            mutated[at:at] = mutated[4 : 4 + int(rng.integers(1, 40))]
    return bytes(mutated)


def as_message(values):
    """Values as an object with attributes, as rclpy's and rosbags' messages are."""
    fields = [SimpleNamespace(**field) for field in values['fields']]
    return SimpleNamespace(**{**values, 'fields': fields})


def serialized(values, stamp_ns=123, frame='camera'):
    """CDR bytes of a message whose values lie in their types' ranges."""
    store = distro_typestore()
    header = cloud_values(stamp_ns, frame, np.zeros((0, 3)))['header']
    return bytes(
        store.serialize_cdr(build_message(store, CLOUD, {'header': header, **values}), CLOUD)
    )
