"""From PointCloud2 to a scan: time of each point, deskewed, cropped, thinned."""

from dataclasses import dataclass

import numpy as np

from dlc_ros.errors import CloudError
from dlc_ros.node.pointcloud2 import points_from_message
from dlc_ros.registration.cloud import voxel_downsample

_TIME_NAMES = (
    't',
    'time',
    'timestamp',
    'timestamps',
    'time_stamp',
    'offset_time',
    'time_offset',
    'timeoffset',
    'ts',
    'point_time',
)
_TYPES = {
    1: 'i1',
    2: 'u1',
    3: 'i2',
    4: 'u2',
    5: 'i4',
    6: 'u4',
    7: 'f4',
    8: 'f8',
    9: 'i8',
    10: 'u8',
}
_UNITS = {'s': 1.0, 'ms': 1e-3, 'us': 1e-6, 'ns': 1e-9}
# A turn's points take so much of the time between two clouds, where every turn is recorded.
_SHARE_OF_PERIOD = 0.15, 1.5
# Of a topic that is throttled a turn is told by its own length alone [s], as the node tells it. Of
# units a factor 1000 apart one at most can be meant; milliseconds need the period to tell them.
_SHORTEST, _LONGEST, _TOLD_ALONE = 1e-3, 1.0, ('s', 'us', 'ns')
# A cloud of fewer points is no scan.
_FEWEST_POINTS = 30
# Poses along one scan between which points are moved by interpolation.
_KNOTS = 17
# Points of a cloud that are looked at, evenly spread over it: many times what is kept.
_POINTS_READ = 32_768
# Of what is kept of a scan: more than the registration reads of it.
MOST_POINTS = 8192


@dataclass(frozen=True)
class Timing:
    """
    What the time field of a driver's points means.

    :param field: its name.
    :param unit: seconds per unit of the field.
    :param absolute: whether it counts from 1970 (or the sensor's start), not from the scan.
    :param shift: seconds to add, so that times are relative to the cloud's stamp.
    :param span: seconds from the first point of a scan to the last.
    :param description: for people: all of this in words.
    """

    field: str
    unit: float
    absolute: bool
    shift: float
    span: float
    description: str

    def offsets(self, message, step=1):
        """
        Seconds from the stamp to every ``step``-th point (N,), NaN where the driver has none.

        None if they do not vary.
        """
        raw = field_values(message, self.field)[::step]
        if self.absolute:
            # Whole numbers first: nanoseconds since 1970 are more digits than a float64 has.
            stamp = message.header.stamp
            per_second = round(1 / self.unit)
            if raw.dtype.kind in 'iu':
                zero = stamp.sec * per_second + round(stamp.nanosec * 1e-9 * per_second)
                offsets = (raw.astype(np.int64) - zero) * self.unit
            else:
                offsets = (raw - stamp.sec * per_second) * self.unit - stamp.nanosec * 1e-9
        else:
            offsets = raw.astype(np.float64) * self.unit + self.shift
        known = offsets[np.isfinite(offsets)]
        return offsets if len(known) and np.ptp(known) > 1e-6 else None


def field_values(message, name):
    """
    Values of one field of a PointCloud2 (N,), in native byte order.

    :raises CloudError: no such field, or the layout does not fit in the data.
    """
    field = next((f for f in message.fields if f.name == name), None)
    if field is None or field.datatype not in _TYPES:
        raise CloudError(f'PointCloud2 has no usable field {name!r}')
    dtype = np.dtype(('>' if message.is_bigendian else '<') + _TYPES[field.datatype])
    height, width, step = int(message.height), int(message.width), int(message.point_step)
    row = int(message.row_step) if height > 1 and message.row_step else width * step
    data = np.frombuffer(message.data, np.uint8)
    if height * width == 0:
        return np.zeros(0, dtype.newbyteorder('='))
    if (height - 1) * row + width * step > data.size:
        raise CloudError('PointCloud2 data is shorter than its sizes say')
    values = np.ndarray((height, width), dtype, data, int(field.offset), (row, step))
    return values.reshape(-1).astype(dtype.newbyteorder('='))


def find_timing(messages, period_s, reference='auto'):
    """
    Find out what the time field of some clouds means.

    :param messages: PointCloud2 messages.
    :param period_s: time between two clouds.
    :param reference: where the cloud's stamp lies in the scan: ``start``, ``end``, or ``auto``,
        which believes the sign of relative times.
    :return: (:class:`Timing` or None, sentence for people).
    """
    names = [_time_field(message) for message in messages]
    name = min(filter(None, names), key=_TIME_NAMES.index, default=None)
    if name is None:
        return None, 'no time per point: not deskewed'
    stamps, raws = _times_of(messages, name)
    if not raws:
        return None, f'field {name!r} has no time of any point that was seen: not deskewed'
    span = float(np.median([float(raw.max() - raw.min()) for raw in raws]))
    if span <= 0.0:
        return None, f'field {name!r} is the same for all points: not deskewed'
    unit = _unit(span, period_s)
    if unit is None:
        return None, (
            f'field {name!r} spans {span:g}, which fits the {period_s:.3f} s between two clouds '
            'in no unit: not deskewed'
        )
    size = _UNITS[unit]
    first = [float(raw.min()) * size for raw in raws]
    absolute = abs(np.median(first)) > 60.0 + 10 * period_s
    if absolute:
        lead = float(np.median(np.array(first) - np.array(stamps)))
        if abs(lead) > 2 * period_s:
            return None, (
                f'field {name!r} is absolute but {lead:.1f} s off the stamps of the clouds: '
                'not deskewed'
            )
        where, shift = _position(lead, span * size), 0.0
    else:
        lead = float(np.median(first))
        where = _position(lead, span * size)
        shift = 0.0
        if reference == 'end' and where == 'start':
            shift, where = -span * size - lead, 'end'
        elif reference == 'start' and where == 'end':
            shift, where = -lead, 'start'
    kind = 'absolute' if absolute else 'relative'
    text = (
        f'field {name!r}: {kind}, in {unit}, {span * size:.3f} s a scan, the cloud is stamped at '
        f'its {where}; deskewed'
    )
    return Timing(name, size, absolute, shift, span * size, text), text


def has_times(message):
    """Whether a PointCloud2 can tell what its time field means: a scan's points have times."""
    name = _time_field(message)
    return name is not None and any(
        len(raw) >= _FEWEST_POINTS for raw in _times_of([message], name)[1]
    )


def _time_field(message):
    """Name of the field with the time of each point, or None."""
    names = {field.name for field in message.fields if field.datatype in _TYPES}
    return next((name for name in _TIME_NAMES if name in names), None)


def _unit(span, period_s):
    """The unit in which times that span so many of it are those of a turn, or None."""
    least, most = (share * period_s for share in _SHARE_OF_PERIOD)
    for unit, size in _UNITS.items():
        if least < span * size < most:
            return unit
    for unit in _TOLD_ALONE:
        if _SHORTEST <= span * _UNITS[unit] <= min(_LONGEST, most):
            return unit
    return None


def _times_of(messages, name):
    """Stamps [s] of the clouds that have usable times, and these times: of what was seen."""
    stamps, found = [], []
    for message in messages:
        try:
            points, raw = points_from_message(message), field_values(message, name)
        except CloudError:  # this cloud alone is left out when it is read
            continue
        # Where nothing came back a driver writes no number or zeros, in the time as well.
        raw = raw[np.isfinite(points).all(1) & points.any(1) & np.isfinite(raw)]
        if len(raw) > 1:
            stamps.append(message.header.stamp.sec + message.header.stamp.nanosec * 1e-9)
            found.append(raw)
    return stamps, found


def _position(lead, span):
    """Where in a scan its stamp lies, from the first point's time relative to the stamp."""
    share = -lead / span
    return 'start' if share < 0.25 else 'end' if share > 0.75 else 'middle'


def deskew(points, offsets_s, knots_s, knot_poses):
    """
    Move points to where they would have been seen at the scan's stamp.

    :param points: (N, 3) each in the sensor's frame at its own time.
    :param offsets_s: (N,) that time, seconds from the stamp.
    :param knots_s: (K,) increasing; ``knot_poses`` (K, 4, 4) ``T_stamp_knot``: the sensor at each
        knot in the sensor's frame at the stamp. Between knots matrices are blended linearly,
        which is right to the square of the turn from one knot to the next.
    :return: (N, 3) float64.
    """
    place = np.interp(offsets_s, knots_s, np.arange(len(knots_s)))
    index = np.minimum(place.astype(int), len(knots_s) - 2)
    share = (place - index)[:, None, None]
    blended = knot_poses[index, :3] * (1 - share) + knot_poses[index + 1, :3] * share
    return np.einsum('nij,nj->ni', blended[:, :, :3], points) + blended[:, :, 3]


@dataclass(frozen=True)
class ScanReader:
    """
    Makes scans of messages.

    :param timing: :class:`Timing`, or None not to deskew.
    :param trajectory: :class:`~dlc_training.recordings.trajectory.Trajectory`, or None.
    :param nearest: points nearer to the sensor are dropped [m].
    :param farthest: points farther away are dropped [m].
    :param body: :class:`~dlc_training.recordings.body.Body`: where the robot sees itself, or None.
    :param voxel: edge to thin by at least [m].
    """

    timing: Timing | None = None
    trajectory: object = None
    nearest: float = 0.05
    farthest: float = 1e4
    body: object = None
    voxel: float = 0.0

    def read(self, message, stamp_ns):
        """
        One scan.

        :param message: PointCloud2.
        :param stamp_ns: its stamp on the trajectory's clock.
        :return: (M, 3) float32 in the sensor's frame at the stamp, at most :data:`MOST_POINTS`.
        :raises CloudError: the message is malformed or nothing is left of it.
        """
        points = points_from_message(message)
        step = max(1, len(points) // _POINTS_READ)
        points = points[::step].astype(np.float64)
        # NaN compares as False, so holes go with what is too near or too far.
        with np.errstate(invalid='ignore', over='ignore'):
            square = np.einsum('ij,ij->i', points, points)
            good = (square > self.nearest**2) & (square < self.farthest**2)
        offsets = self.timing.offsets(message, step) if self.timing and self.trajectory else None
        if offsets is not None:
            good &= np.isfinite(offsets)
        kept = points[good]
        if self.body is not None:
            outside = ~self.body.holds(kept)
            kept = kept[outside]
            good[np.flatnonzero(good)[~outside]] = False
        if len(kept) < _FEWEST_POINTS:
            raise CloudError(f'{len(kept)} usable points of {len(points)}')
        if offsets is not None:
            kept = self._deskewed(kept, offsets[good], stamp_ns)
        return thin(kept, self.voxel).astype(np.float32)

    def _deskewed(self, points, offsets, stamp_ns):
        knots = np.linspace(offsets.min(), offsets.max(), _KNOTS)
        stamps = stamp_ns + np.round(np.append(knots, 0.0) * 1e9).astype(np.int64)
        # At the ends of a trajectory the outermost known pose stands in for a few milliseconds.
        stamps = np.clip(stamps, self.trajectory.stamps_ns[0], self.trajectory.stamps_ns[-1])
        poses, known = self.trajectory.at(stamps)
        if not known.all():
            return points
        return deskew(points, offsets, knots, np.linalg.inv(poses[-1]) @ poses[:-1])


def thin(points, voxel=0.0, most=MOST_POINTS):
    """One point a voxel (N, 3), the edge from ``voxel`` up until there are at most ``most``."""
    if len(points) <= most:
        return voxel_downsample(points, voxel)
    edge = max(voxel, 0.02 * float(np.median(np.linalg.norm(points - points.mean(0), axis=1))))
    thinner = voxel_downsample(points, edge)
    while len(thinner) > most:
        # Points of surfaces: their number falls with the square of the edge.
        edge *= 1.05 * np.sqrt(len(thinner) / most)
        thinner = voxel_downsample(points, edge)
    return thinner
