"""Point cloud and transform files to numpy and back; every bad file is one :class:`FileError`."""

import errno
import os
from pathlib import Path

import numpy as np

from dlc_ros.errors import FileError
from dlc_ros.ply_pcd import Foreign, columns_xyz, read_pcd, read_ply, write_pcd, write_ply
from dlc_ros.registration.se3 import is_rigid, nearest_rigid

# Points that a mesh is turned into: as many as a registration keeps of a reference.
_MESH_POINTS = 50_000
# An array of three rows with more columns than this has its points in the columns.
_COLUMNS = 16
# How an npy file begins, and how the zip file does that an npz is.
_NUMPY, _ZIP = b'\x93NUMPY', b'PK'
_MESHES = ('.stl', '.obj', '.off', '.gltf', '.glb')
_TEXTS = ('.xyz', '.txt', '.csv', '.asc', '.pts')


def read_cloud(path, unit=1.0):
    """
    Points of a file: ply, pcd, xyz/txt/csv, npy/npz, KITTI bin; a mesh is sampled.

    Meshes (stl, obj, off, gltf, ply with faces) and compressed pcd need open3d. NaN and Inf rows
    stay.

    :param path: file; the suffix names the format.
    :param unit: length of the file's unit [m], e.g. 0.001 for a CAD model in millimetres.
    :returns: (N, 3) float64 [m], N >= 1.
    :raises FileError: missing, unreadable, truncated, empty or foreign.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if not path.exists():  # before its name is judged, which may be a slip too
        raise FileError(f'{path}: cannot be read: {os.strerror(errno.ENOENT)}')
    if path.is_dir():
        raise FileError(f'{path}: is a directory; name a point cloud file in it')
    if reader is None:
        known = ' '.join(sorted(suffix[1:] for suffix in _READERS))
        raise FileError(f'{path}: unknown suffix {path.suffix!r}; known are {known}')
    try:
        if path.stat().st_size == 0:
            raise FileError(f'{path}: the file is empty')
        try:
            points = reader(path)
        except Foreign:
            points = _read_open3d_cloud(path)
    except FileError:
        raise
    except OSError as error:
        raise FileError(f'{path}: cannot be read: {error.strerror or error}') from None
    except Exception as error:  # foreign bytes make parsers raise anything, down to SyntaxError
        kind = path.suffix[1:].lower()
        raise FileError(f'{path}: not a readable {kind} file: {_one_line(error)}') from None
    if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0:
        raise FileError(f'{path}: holds no (N, 3) points, but an array of shape {points.shape}')
    # Bytes that are no floats may be signalling NaN, or too large to be multiplied.
    with np.errstate(invalid='ignore', over='ignore'):
        points = np.ascontiguousarray(points, dtype=np.float64)
        return points if unit == 1.0 else points * unit


def write_cloud(path, points):
    """
    Write points: ply (binary, double), pcd (binary, float), xyz/txt/csv, npy, npz, KITTI bin.

    :param path: file; the suffix names the format, missing folders are made.
    :param points: (N, 3) floats.
    :raises FileError: unknown suffix, or the file cannot be written.
    """
    path = Path(path)
    points = np.asarray(points, dtype=np.float64)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        known = ' '.join(sorted(suffix[1:] for suffix in _WRITERS))
        raise FileError(f'{path}: cannot write suffix {path.suffix!r}; known are {known}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer(path, points)
    except OSError as error:
        raise FileError(f'{path}: cannot be written: {error.strerror or error}') from None


def read_transform(path):
    """
    A rigid transform from text: 4 rows of 4 numbers (or the first 3 of them), row-major.

    :param path: text file; blanks or commas between the numbers, ``#`` starts a comment.
    :returns: (4, 4) float64, its rotation orthonormal to rounding.
    :raises FileError: missing, not 12 or 16 numbers, not rigid.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
        words = ' '.join(line.split('#')[0] for line in lines).replace(',', ' ').split()
        numbers = np.array([float(word) for word in words])
    except OSError as error:
        raise FileError(f'{path}: cannot be read: {error.strerror or error}') from None
    except ValueError as error:
        raise FileError(f'{path}: not a transform: {_one_line(error)}') from None
    if numbers.size == 12:
        numbers = np.append(numbers, [0.0, 0.0, 0.0, 1.0])
    if numbers.size != 16:
        raise FileError(f'{path}: expected 4 rows of 4 numbers, found {numbers.size} numbers')
    transform = numbers.reshape(4, 4)
    if not is_rigid(transform):
        raise FileError(
            f'{path}: not a rigid transform: the rotation must be orthonormal without mirror or'
            ' scale and the last row 0 0 0 1'
        )
    return nearest_rigid(transform)


def write_transform(path, transform):
    """
    Write a transform as 4 rows of 4 numbers that read back to the same bits of float64.

    :param path: text file; missing folders are made.
    :param transform: (4, 4).
    :raises FileError: the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(path, np.asarray(transform, dtype=np.float64), fmt='%.17g')
    except OSError as error:
        raise FileError(f'{path}: cannot be written: {error.strerror or error}') from None


def _read_text(path):
    """First three columns, or the columns called x y z, of a text table."""
    encoding = 'utf-8-sig'  # spreadsheets begin with a mark
    with open(path, encoding=encoding) as file:
        head, skipped = '', 0
        for line in file:
            if line.split('#')[0].strip():
                head = line.split('#')[0].strip()
                break
            skipped += 1
    delimiter = next((mark for mark in ',;' if mark in head), None)
    words = [word.strip(' "\'/').lower() for word in head.split(delimiter)]
    columns, names = (0, 1, 2), not _is_number(words[0])
    if names:
        missing = [axis for axis in 'xyz' if axis not in words]
        if missing:
            raise ValueError(f'its first line has no column {" ".join(missing)}: {head[:60]!r}')
        columns = [words.index(axis) for axis in 'xyz']
    # Some exporters write the number of points alone on the first line.
    skipped += names or len(words) == 1
    return np.loadtxt(
        path,
        delimiter=delimiter,
        skiprows=skipped,
        usecols=columns,
        ndmin=2,
        encoding=encoding,
    )


def _is_number(word):
    """Whether a word reads as a float."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def _read_numpy(path):
    """(N, >= 3) array or a structured one with x, y, z; in an npz called points, xyz or alone."""
    with open(path, 'rb') as file:
        if not file.read(len(_NUMPY)).startswith((_NUMPY, _ZIP)):
            raise ValueError('it does not begin as numpy writes it; its suffix may be wrong')
    try:
        return _numpy_points(np.load(path, allow_pickle=False))
    except ValueError as error:
        # numpy's own words are an advice to run whatever code the file brings.
        if 'pickle' not in str(error):
            raise
        raise ValueError('it holds Python objects; save an (N, 3) array of floats') from None


def _numpy_points(loaded):
    """(N, 3) points of what numpy has loaded."""
    if isinstance(loaded, np.lib.npyio.NpzFile):
        with loaded:
            names = [name for name in ('points', 'xyz') if name in loaded] or loaded.files
            if len(names) > 1 and names[0] not in ('points', 'xyz'):
                raise ValueError(f'name one of its arrays "points": {" ".join(names)}')
            loaded = loaded[names[0]]
    if loaded.dtype.names:
        return columns_xyz(loaded.reshape(-1))
    if loaded.ndim != 2 or loaded.shape[1] < 3:
        raise ValueError(f'expected shape (N, 3), got {loaded.shape}')
    if loaded.shape[0] == 3 and loaded.shape[1] > _COLUMNS:
        raise ValueError(f'expected shape (N, 3), got {loaded.shape}: save its transpose')
    return loaded[:, :3].astype(
        np.float64, casting='same_kind' if loaded.dtype.kind == 'f' else 'safe'
    )


def _read_bin(path):
    """KITTI velodyne scan: float32 x y z intensity."""
    data = path.read_bytes()
    if len(data) % 16:
        raise ValueError(f'its {len(data)} bytes are no multiple of 16 (float32 x y z intensity)')
    return np.frombuffer(data, '<f4').reshape(-1, 4)[:, :3]


def _read_open3d_cloud(path):
    """What only open3d reads; it warns and returns nothing instead of raising."""
    open3d = _open3d(path)
    with open3d.utility.VerbosityContextManager(open3d.utility.VerbosityLevel.Error):
        mesh = open3d.io.read_triangle_mesh(str(path)) if path.suffix != '.pcd' else None
        if mesh is not None and len(mesh.triangles):
            return _sample_mesh(np.asarray(mesh.vertices), np.asarray(mesh.triangles))
        cloud = open3d.io.read_point_cloud(str(path))
    if len(cloud.points) == 0:
        raise ValueError('open3d finds no points in it (damaged, or an unsupported variant)')
    return np.asarray(cloud.points)


def _read_mesh(path):
    """Points on the surface of a mesh file."""
    raise Foreign


def _sample_mesh(vertices, triangles):
    """(_MESH_POINTS, 3) points spread over triangles by area, the same at every call."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    if not areas.sum() > 0.0:
        raise ValueError('the mesh has no area')
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(triangles), _MESH_POINTS, p=areas / areas.sum())
    u, v = rng.random((2, _MESH_POINTS, 1))
    fold = u + v > 1.0
    u, v = np.where(fold, 1.0 - u, u), np.where(fold, 1.0 - v, v)
    return a[chosen] + u * (b - a)[chosen] + v * (c - a)[chosen]


def _open3d(path):
    """The open3d module, or one clear error."""
    try:
        import open3d
    except ImportError as error:
        raise FileError(
            f'{path}: reading it needs open3d, which cannot be imported ({_one_line(error)});'
            ' install open3d, or convert the file to a plain ply of points'
        ) from None
    return open3d


def _write_bin(path, points):
    path.write_bytes(np.pad(points, ((0, 0), (0, 1))).astype('<f4').tobytes())


def _one_line(error):
    """First line of an error's text."""
    return (str(error) or type(error).__name__).splitlines()[0]


_READERS = {
    '.ply': read_ply,
    '.pcd': read_pcd,
    '.npy': _read_numpy,
    '.npz': _read_numpy,
    '.bin': _read_bin,
    **dict.fromkeys(_TEXTS, _read_text),
    **dict.fromkeys(_MESHES, _read_mesh),
}
_WRITERS = {
    '.ply': write_ply,
    '.pcd': write_pcd,
    '.npy': np.save,
    '.npz': lambda path, points: np.savez_compressed(path, points=points),
    '.bin': _write_bin,
    '.csv': lambda path, points: np.savetxt(
        path, points, '%.12g', ',', header='x,y,z', comments=''
    ),
    **dict.fromkeys(('.xyz', '.txt'), lambda path, points: np.savetxt(path, points, '%.12g')),
}
