"""PLY and PCD point files in numpy alone: a robot reads its map without open3d."""

import os

import numpy as np

_PLY_TYPES = {
    'char': 'i1', 'int8': 'i1', 'uchar': 'u1', 'uint8': 'u1',
    'short': 'i2', 'int16': 'i2', 'ushort': 'u2', 'uint16': 'u2',
    'int': 'i4', 'int32': 'i4', 'uint': 'u4', 'uint32': 'u4',
    'float': 'f4', 'float32': 'f4', 'double': 'f8', 'float64': 'f8',
}  # fmt: skip


class Foreign(Exception):
    """A valid feature of a format that only open3d reads here."""


def read_ply(path):
    """
    Vertices of a PLY file, ascii or binary.

    :param path: file.
    :returns: (N, 3) float64.
    :raises Foreign: it has faces, or a layout that open3d reads.
    :raises ValueError: damaged; KeyError, IndexError: a word or field is missing.
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
            if words[:1] == ['format']:
                encoding = words[1]
            elif words[:1] == ['element']:
                elements.append((words[1], int(words[2]), []))
            elif words[:1] == ['property']:
                elements[-1][2].append(words[1:])
            elif words[:1] == ['end_header']:
                break
        if any(name == 'face' and count for name, count, _ in elements):
            raise Foreign
        name, count, properties = elements[0]
        if name != 'vertex' or any(words[0] == 'list' for words in properties):
            raise Foreign
        names = [words[1] for words in properties]
        if encoding == 'ascii':
            return _rows(file, [names.index(axis) for axis in 'xyz'], count)
        order = {'binary_little_endian': '<', 'binary_big_endian': '>'}[encoding]
        layout = np.dtype([(words[1], order + _PLY_TYPES[words[0]]) for words in properties])
        return columns_xyz(_records(file, layout, count))


def read_pcd(path):
    """
    Points of a PCD file (PCL, version 0.7), ascii or binary.

    :param path: file.
    :returns: (N, 3) float64.
    :raises Foreign: it is compressed.
    :raises ValueError: damaged; KeyError, IndexError: a word or field is missing.
    """
    with open(path, 'rb') as file:
        header = {}
        while 'DATA' not in header:
            line = file.readline()
            if not line:
                raise ValueError('the header has no DATA line')
            words = line.decode('ascii', 'replace').split()
            if words and not words[0].startswith('#'):
                header[words[0].upper()] = words[1:]
        names = header['FIELDS']
        count = int(header['POINTS'][0])
        repeats = [int(word) for word in header.get('COUNT', ['1'] * len(names))]
        encoding = header['DATA'][0]
        if encoding == 'ascii':
            starts = np.cumsum([0, *repeats])
            columns = [int(starts[names.index(axis)]) for axis in 'xyz']
            return _rows(file, columns, count)
        if encoding == 'binary_compressed':
            raise Foreign
        kinds = {'F': 'f', 'I': 'i', 'U': 'u'}
        layout = np.dtype(
            [
                # Padding is named "_", several times: only the index tells the fields apart.
                (
                    name if name in ('x', 'y', 'z') else f'{name}.{i}',
                    f'<{kinds[kind]}{size}',
                    (repeat,),
                )
                for i, (name, kind, size, repeat) in enumerate(
                    zip(names, header['TYPE'], header['SIZE'], repeats, strict=True)
                )
            ]
        )
        return columns_xyz(_records(file, layout, count)).reshape(-1, 3)


def _rows(file, columns, count):
    """Columns of the next ``count`` text lines of an open file, or ValueError if it is short."""
    rows = np.loadtxt(file, usecols=columns, max_rows=count, ndmin=2) if count > 0 else []
    if len(rows) < count:
        raise ValueError(f'truncated: {count} points announced, {len(rows)} found')
    return rows


def _records(file, layout, count):
    """``count`` records of a structured dtype from an open file, or ValueError if it is short."""
    left = os.fstat(file.fileno()).st_size - file.tell()
    if not 0 <= count * layout.itemsize <= left:
        raise ValueError(
            f'truncated: {count} points need {count * layout.itemsize} bytes, {left} are left'
        )
    return np.frombuffer(file.read(count * layout.itemsize), layout)


def columns_xyz(records):
    """x, y, z of structured records as (N, 3) float64, or ValueError without these fields."""
    missing = [axis for axis in 'xyz' if axis not in records.dtype.names]
    if missing:
        raise ValueError(f'no field {" ".join(missing)} among {" ".join(records.dtype.names)}')
    return np.stack([records[axis].astype(np.float64) for axis in 'xyz'], axis=1)


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
