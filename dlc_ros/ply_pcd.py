"""PLY and PCD point files in numpy alone: a robot reads its map without open3d."""

import os

import numpy as np

_PLY_TYPES = {
    'char': 'i1', 'int8': 'i1', 'uchar': 'u1', 'uint8': 'u1',
    'short': 'i2', 'int16': 'i2', 'ushort': 'u2', 'uint16': 'u2',
    'int': 'i4', 'int32': 'i4', 'uint': 'u4', 'uint32': 'u4',
    'float': 'f4', 'float32': 'f4', 'double': 'f8', 'float64': 'f8',
}  # fmt: skip
_PLY_ORDERS = {'binary_little_endian': '<', 'binary_big_endian': '>'}
_PCD_KINDS = {'F': 'f', 'I': 'i', 'U': 'u'}


class Foreign(Exception):
    """A valid feature of a format that only open3d reads here."""


def read_ply(path):
    """
    Vertices of a PLY file, ascii or binary.

    :param path: file.
    :returns: (N, 3) float64.
    :raises Foreign: it has faces, or a layout that open3d reads.
    :raises ValueError: damaged.
    """
    with open(path, 'rb') as file:
        if file.readline().strip() != b'ply':
            raise ValueError('does not start with "ply"')
        encoding, elements = '', []
        while True:
            line = file.readline()
            if not line:
                raise ValueError('the header does not end')
            words = line.decode('ascii', 'replace').split()
            try:
                if words[:1] == ['format']:
                    encoding = words[1]
                elif words[:1] == ['element']:
                    elements.append((words[1], int(words[2]), []))
                elif words[:1] == ['property']:
                    elements[-1][2].append(words[1:])
                elif words[:1] == ['end_header']:
                    break
            except (IndexError, ValueError):
                raise ValueError(
                    f'the header has a damaged line: {" ".join(words)[:60]}'
                ) from None
        if not elements:
            raise ValueError('the header names no element')
        if any(name == 'face' and count for name, count, _ in elements):
            raise Foreign
        name, count, properties = elements[0]
        if name != 'vertex' or any(words[0] == 'list' for words in properties):
            raise Foreign
        if any(len(words) != 2 or words[0] not in _PLY_TYPES for words in properties):
            raise ValueError('the header has a property of an unknown type')
        names = [name for _, name in properties]
        if encoding == 'ascii':
            return _rows(file, _places(names), count)
        if encoding not in _PLY_ORDERS:
            raise ValueError(
                f'its format is {encoding!r}; known are ascii, {", ".join(_PLY_ORDERS)}'
            )
        order = _PLY_ORDERS[encoding]
        layout = np.dtype([(name, order + _PLY_TYPES[kind]) for kind, name in properties])
        return columns_xyz(_records(file, layout, count))


def read_pcd(path):
    """
    Points of a PCD file (PCL, version 0.7), ascii or binary.

    :param path: file.
    :returns: (N, 3) float64.
    :raises Foreign: it is compressed.
    :raises ValueError: damaged.
    """
    with open(path, 'rb') as file:
        header = {}

        def words_of(name):
            if not header.get(name):
                raise ValueError(f'the header has no {name}')
            return header[name]

        while 'DATA' not in header:
            line = file.readline()
            if not line:
                raise ValueError('the header has no DATA line')
            words = line.decode('ascii', 'replace').split()
            if words and not words[0].startswith('#'):
                header[words[0].upper()] = words[1:]
        names, encoding = words_of('FIELDS'), words_of('DATA')[0]
        repeats = header.get('COUNT', ['1'] * len(names))
        try:
            count, repeats = int(words_of('POINTS')[0]), [int(word) for word in repeats]
        except ValueError as error:
            raise ValueError(f'the header is damaged: {error}') from None
        if len(repeats) != len(names) or min(repeats) < 0:
            raise ValueError('COUNT of the header is not one number from 0 on for each of FIELDS')
        if encoding == 'ascii':
            starts = np.cumsum([0, *repeats])
            return _rows(file, [int(starts[i]) for i in _places(names)], count)
        if encoding == 'binary_compressed':
            raise Foreign
        if encoding != 'binary':
            raise ValueError(
                f'its DATA is {encoding!r}; known are ascii, binary, binary_compressed'
            )
        kinds, sizes = words_of('TYPE'), words_of('SIZE')
        if not len(names) == len(kinds) == len(sizes):
            raise ValueError('FIELDS, TYPE and SIZE of the header differ in length')
        if not set(kinds) <= set(_PCD_KINDS) or not set(sizes) <= set('1248'):
            raise ValueError('the header has a field of an unknown TYPE or SIZE')
        layout = np.dtype(
            [
                # Padding is named "_", several times: only the index tells the fields apart.
                (
                    name if name in ('x', 'y', 'z') else f'{name}.{i}',
                    f'<{_PCD_KINDS[kind]}{size}',
                    (repeat,),
                )
                for i, (name, kind, size, repeat) in enumerate(
                    zip(names, kinds, sizes, repeats, strict=True)
                )
            ]
        )
        return columns_xyz(_records(file, layout, count)).reshape(-1, 3)


def _places(names):
    """Where x, y and z are in a list of fields, or ValueError."""
    _check_fields(names)
    return [names.index(axis) for axis in 'xyz']


def _rows(file, columns, count):
    """Columns of the next ``count`` text lines of an open file, or ValueError if it is short."""
    if count < 1:
        raise ValueError(f'it holds {count} points')
    left = _left(file)
    if count > left:
        raise ValueError(f'truncated: {count} points announced, {left} bytes are left')
    rows = np.loadtxt(file, usecols=columns, max_rows=count, ndmin=2)
    if len(rows) < count:
        raise ValueError(f'truncated: {count} points announced, {len(rows)} found')
    return rows


def _records(file, layout, count):
    """``count`` records of a structured dtype from an open file, or ValueError if it is short."""
    left = _left(file)
    if not 0 <= count * layout.itemsize <= left:
        raise ValueError(
            f'truncated: {count} points need {count * layout.itemsize} bytes, {left} are left'
        )
    return np.frombuffer(file.read(count * layout.itemsize), layout)


def _left(file):
    """How many bytes an open file has from where it is read."""
    return os.fstat(file.fileno()).st_size - file.tell()


def columns_xyz(records):
    """x, y, z of structured records as (N, 3) float64, or ValueError without these fields."""
    _check_fields(records.dtype.names)
    return np.stack([records[axis].astype(np.float64) for axis in 'xyz'], axis=1)


def _check_fields(names):
    missing = [axis for axis in 'xyz' if axis not in names]
    if missing:
        raise ValueError(f'no field {" ".join(missing)} among {" ".join(names)}')


def write_ply(path, points):
    """Write (N, 3) points as binary doubles, which keep millimetres at UTM coordinates."""
    header = (
        f'ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n'
        'property double x\nproperty double y\nproperty double z\nend_header\n'
    )
    path.write_bytes(header.encode() + points.astype('<f8').tobytes())


def write_pcd(path, points):
    """Write (N, 3) points as binary floats: PCL refuses doubles for its PointXYZ."""
    header = (
        'VERSION 0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\n'
        f'WIDTH {len(points)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(points)}\n'
        'DATA binary\n'
    )
    path.write_bytes(header.encode() + points.astype('<f4').tobytes())
