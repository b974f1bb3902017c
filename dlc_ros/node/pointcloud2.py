"""
``sensor_msgs/PointCloud2`` <-> numpy, for any message family.

The message is read by its attributes alone (``height``, ``width``, ``fields``, ``is_bigendian``,
``point_step``, ``row_step``, ``data``), so rclpy's class, the rosbags dataclass and a plain
namespace are all the same here.
"""

from typing import NamedTuple

import numpy as np

from dlc_ros.errors import CloudError

FLOAT32 = 7  # sensor_msgs/PointField constants
FLOAT64 = 8
_FLOATS = {FLOAT32: 'f4', FLOAT64: 'f8'}
# Where drivers say when a point was measured: Ouster, Velodyne, Hesai, Livox, Autoware.
_TIMES = ('t', 'time', 'timestamp', 'offset_time', 'time_stamp')
_NUMBERS = {5: 'i4', 6: 'u4', FLOAT32: 'f4', FLOAT64: 'f8'}
_NAMES = {1: 'INT8', 2: 'UINT8', 3: 'INT16', 4: 'UINT16', 5: 'INT32', 6: 'UINT32'}


class PackedField(NamedTuple):
    """One ``sensor_msgs/PointField``."""

    name: str
    offset: int
    datatype: int
    count: int


class PackedCloud(NamedTuple):
    """The values of a PointCloud2 but its header; ``data`` is a flat uint8 array."""

    height: int
    width: int
    fields: tuple
    is_bigendian: bool
    point_step: int
    row_step: int
    data: np.ndarray
    is_dense: bool


def points_from_message(message):
    """
    Coordinates of a PointCloud2.

    NaN and infinite rows (the holes of an organised cloud) are kept: which points are good enough
    to register is not a question of the wire format. Rows of an organised cloud follow each other.

    :param message: anything with the attributes of ``sensor_msgs/PointCloud2``.
    :returns: (N, 3) float32 or float64 in native byte order, aligned; a view into ``data``
        (read-only where that is) if x, y, z lie evenly spaced in one block, else a copy.
    :raises CloudError: a field is missing or is no float, or the declared layout does not fit in
        the data.
    """
    try:
        layout = _Layout(message)
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise CloudError(f'Not a PointCloud2 message: {_short(error)}.') from None
    return layout.points()


def times_from_message(message):
    """
    When each point was measured, as the driver wrote it: unit and origin are not told here.

    :param message: anything with the attributes of ``sensor_msgs/PointCloud2``.
    :returns: (N,) numbers of the first field of a known name, in native byte order, a view into
        ``data`` where that is possible; None if there is no such field.
    :raises CloudError: as :func:`points_from_message`.
    """
    try:
        layout = _Layout(message)
        field = next((f for name in _TIMES for f in message.fields if f.name == name), None)
        return None if field is None else layout.numbers(field)
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise CloudError(f'Not a PointCloud2 message: {_short(error)}.') from None


class MessageCloud:
    """
    Array-like view of a PointCloud2's coordinates, read when numpy asks for them.

    So a cloud that is dropped for its stamp or frame costs nothing, and one that is malformed
    raises its :class:`~dlc_ros.errors.CloudError` where clouds are judged.

    :param message: see :func:`points_from_message`.
    """

    def __init__(self, message):
        self._message = message

    def __array__(self, dtype=None, copy=None):
        """(N, 3) coordinates; see :func:`points_from_message`."""
        points = points_from_message(self._message)
        if dtype is not None and points.dtype != dtype:
            return points.astype(dtype)
        return points.copy() if copy else points


def pack_points(points):
    """
    Values of an unorganised little-endian PointCloud2 with the float32 fields x, y, z.

    :param points: (N, 3) coordinates, any real dtype.
    :raises CloudError: if ``points`` is not (N, 3).
    """
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] != 3:
        raise CloudError(f'A cloud is an (N, 3) array, not {points.shape}.')
    data = np.ascontiguousarray(points, dtype='<f4')
    fields = tuple(PackedField(name, 4 * i, FLOAT32, 1) for i, name in enumerate('xyz'))
    return PackedCloud(
        height=1,
        width=len(points),
        fields=fields,
        is_bigendian=False,
        point_step=12,
        row_step=12 * len(points),
        data=data.reshape(-1).view(np.uint8),
        is_dense=bool(np.isfinite(data).all()),
    )


class _Layout:
    """Where the coordinates lie in the message's data, checked against the data's length."""

    def __init__(self, message):
        self.height, self.width, self.point_step, self.row_step = (
            _size(message, name) for name in ('height', 'width', 'point_step', 'row_step')
        )
        self.order = '>' if message.is_bigendian else '<'
        self.columns = [self._column(message.fields, name) for name in 'xyz']
        self.data = _as_bytes(message.data)
        if self.height and self.width:
            self._check()

    def _column(self, fields, name):
        """Offset [bytes] and numpy type of one coordinate within a point."""
        field = next((f for f in fields if f.name == name), None)
        if field is None:
            have = _short(', '.join(str(f.name) for f in fields)) or 'none'
            raise CloudError(f'PointCloud2 has no field {name!r} (it has: {have}).')
        if field.datatype not in _FLOATS:
            kind = _NAMES.get(field.datatype, f'unknown type {field.datatype}')
            raise CloudError(
                f'PointCloud2 field {name!r} is {kind}; publish it as FLOAT32 or FLOAT64.'
            )
        return self._place(field, _FLOATS[field.datatype])

    def _place(self, field, kind):
        """Offset [bytes] and numpy type of a scalar field within a point."""
        name = field.name
        if field.count not in (0, 1):  # 0 is what some drivers write for a scalar
            raise CloudError(f'PointCloud2 field {name!r} has count {field.count}, not 1.')
        dtype = np.dtype(self.order + kind)
        offset = int(field.offset)
        if offset < 0 or offset + dtype.itemsize > self.point_step:
            raise CloudError(
                f'PointCloud2 field {name!r} at offset {offset} does not fit in '
                f'point_step {self.point_step}.'
            )
        return offset, dtype

    def _check(self):
        """Refuse a layout that reaches beyond the data; drivers may leave row_step unset."""
        packed = self.width * self.point_step
        if self.height == 1 or self.row_step == 0:
            self.row_step = packed
        if self.row_step < packed:
            raise CloudError(
                f'PointCloud2 row_step {self.row_step} is less than width x point_step = {packed}.'
            )
        needed = (self.height - 1) * self.row_step + packed  # the last row needs no padding
        if self.data.size < needed:
            raise CloudError(
                f'PointCloud2 data has {self.data.size} bytes but {self.height} x {self.width} '
                f'points need {needed}; the message was cut off or its sizes are wrong.'
            )

    def points(self):
        if not (self.height and self.width):
            return np.zeros((0, 3), np.float32)
        (x, kind), (y, kind_y), (z, kind_z) = self.columns
        if kind == kind_y == kind_z and y - x == z - y > 0:
            block = self._view(x, kind, (3,), (y - x,))
        else:
            block = np.stack([self._view(*column) for column in self.columns], axis=-1)
        points = block.reshape(-1, 3)
        return np.require(points, points.dtype.newbyteorder('='), 'A')

    def numbers(self, field):
        """Values (N,) of a scalar field, in native byte order."""
        if field.datatype not in _NUMBERS:
            kind = _NAMES.get(field.datatype, f'unknown type {field.datatype}')
            raise CloudError(
                f'PointCloud2 field {field.name!r} is {kind}; times are INT32, UINT32, FLOAT32 or '
                'FLOAT64.'
            )
        place = self._place(field, _NUMBERS[field.datatype])
        if not (self.height and self.width):
            return np.zeros(0, place[1].newbyteorder('='))
        values = self._view(*place).reshape(-1)
        return np.require(values, values.dtype.newbyteorder('='), 'A')

    def _view(self, offset, dtype, shape=(), strides=()):
        return np.ndarray(
            (self.height, self.width, *shape),
            dtype,
            buffer=self.data,
            offset=offset,
            strides=(self.row_step, self.point_step, *strides),
        )


def _short(text):
    """What came from outside, fit for a line of a log: no control characters, not too much."""
    text = ''.join(c if c.isprintable() else repr(c)[1:-1] for c in str(text)[:250])
    return text if len(text) <= 200 else f'{text[:200]}...'


def _size(message, name):
    value = int(getattr(message, name))
    if value < 0:
        raise CloudError(f'PointCloud2 {name} is {value}, which is negative.')
    return value


def _as_bytes(data):
    """Flat uint8 view of any contiguous buffer (bytes, array.array, memoryview, ndarray)."""
    return np.frombuffer(data, np.uint8) if len(data) else np.zeros(0, np.uint8)
