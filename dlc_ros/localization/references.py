"""A reference: a point cloud file, its hash, and the registrar built on it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlc_ros.errors import FileError


@dataclass(frozen=True)
class ReferenceCloud:
    """
    Points of a reference file.

    :param name: frame of the reference: the map's or the object's.
    :param path: file it was read from, absolute.
    :param sha256: of the file, hexadecimal.
    :param points: (N, 3) float64 in the frame ``name`` [m].
    :param diameter: of the sphere about the centroid that holds all points [m].
    """

    name: str
    path: str
    sha256: str
    points: np.ndarray
    diameter: float


@dataclass(frozen=True)
class Reference:
    """
    A reference that clouds can be registered to.

    :param cloud: :class:`ReferenceCloud`.
    :param registrar: object with ``register(points, init=None, init_covariance=None)``.
    """

    cloud: ReferenceCloud
    registrar: object


def read_reference(name, path):
    """
    Read a reference file.

    :param name: frame of the reference.
    :param path: point cloud file; ``~`` is the home folder, relative to the working directory.
    :raises FileError: missing, unreadable, or without finite points.
    """
    from dlc_ros.files import read_cloud

    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise FileError(f'reference of {name}: no file {file}; check the path')
    points = np.asarray(read_cloud(file), dtype=np.float64)
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) == 0:
        raise FileError(f'reference of {name}: {file} holds no finite points')
    distances = np.linalg.norm(points - points.mean(axis=0), axis=1)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return ReferenceCloud(name, str(file), digest, points, 2.0 * float(distances.max()))


def make_registrar(points, weights, options):
    """
    Build the registrar that the library and the command line use.

    :param points: (N, 3) reference points [m].
    :param weights: weights file; empty takes the ones in the package.
    :param options: :class:`dlc_ros.RegistrationOptions`.
    :raises CloudError, WeightsError: what :class:`dlc_ros.Registrar` raises.
    """
    # torch is loaded here, when a node is configured, not when this module is imported.
    from dlc_ros.registration.registrar import Registrar

    return Registrar(points, weights=weights or None, options=options)
