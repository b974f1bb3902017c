"""References: point cloud files, their hashes, and the registrars built on them."""

import hashlib
import os
import sys
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlc_ros.errors import DlcError, FileError, WeightsError
from dlc_ros.files import read_cloud


@dataclass(frozen=True)
class ReferenceCloud:
    """
    Points of a reference file.

    :param name: frame of the reference: the map's or the object's.
    :param path: file it was read from, absolute.
    :param sha256: of the file, hexadecimal.
    :param points: (N, 3) float64 in the frame ``name`` [m].
    :param diameter: of the sphere about the centroid that holds all points [m].
    :param unit: length of the file's unit [m].
    """

    name: str
    path: str
    sha256: str
    points: np.ndarray
    diameter: float
    unit: float = 1.0


@dataclass(frozen=True)
class Reference:
    """
    A reference that clouds can be registered to.

    :param cloud: :class:`ReferenceCloud`.
    :param registrar: :class:`dlc_ros.Registrar` or a stand-in with its ``register`` and
        ``provenance``.
    """

    cloud: ReferenceCloud
    registrar: object


def read_reference(name, path, unit):
    """
    Read a reference file.

    :param name: frame of the reference.
    :param path: point cloud file; ``~`` is the home folder, relative to the working directory.
    :param unit: length of the file's unit [m].
    :raises FileError: missing, unreadable, or without finite points.
    """
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise FileError(f'reference of {name}: no file {file}; check the path')
    points = read_cloud(file, unit)
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) == 0:
        raise FileError(f'reference of {name}: {file} holds no finite points')
    distances = np.linalg.norm(points - points.mean(axis=0), axis=1)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return ReferenceCloud(name, str(file), digest, points, 2.0 * float(distances.max()), unit)


def make_registrar(points, weights, options):
    """
    Build the registrar that the library and the command line use.

    A robot's computer has more to do than this node: torch is held to ``options.threads``, in
    all threads of the process, and what waits for work sleeps instead of spinning.

    :param points: (N, 3) reference points [m].
    :param weights: weights file; empty takes the ones in the package.
    :param options: :class:`dlc_ros.RegistrationOptions`.
    :raises CloudError, WeightsError: what :class:`dlc_ros.Registrar` raises.
    :raises DlcError: a library is missing.
    """
    # Spinning beside other busy processes costs ten times the work; read when OpenMP is loaded.
    os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
    # torch is loaded here, when a node is configured, not when this module is imported.
    try:
        from dlc_ros.registration.registrar import Registrar
    except ImportError as error:
        raise DlcError(
            f'{error}: install it for {sys.executable}, which runs this program'
        ) from None

    if options.use_predictor:
        import torch

        torch.set_num_threads(options.threads)
    return Registrar(points, weights=weights or None, options=options)


class ReferenceLoader:
    """
    Builds references with the weights that are in force; may be called from any thread.

    Instances of one model share its registrar, so that memory grows with the number of models.

    :param weights: weights file; empty takes the ones in the package.
    :param options: :class:`dlc_ros.RegistrationOptions`.
    :param registrar_factory: :func:`make_registrar` or a stand-in.
    :param unit: length of the unit of the files [m].
    """

    def __init__(self, weights, options, registrar_factory, unit=1.0):
        self._weights = weights
        self._options = options
        self._make_registrar = registrar_factory
        self._unit = unit
        self._waiting = {}  # name -> ReferenceCloud that was read but found no usable weights
        self._shared = weakref.WeakValueDictionary()  # sha256 -> registrar in use
        self._one_at_a_time = threading.Lock()

    def load(self, name, path):
        """
        Read a file and build its registrar.

        :param name: frame of the reference.
        :param path: point cloud file.
        :returns: :class:`Reference`.
        :raises DlcError: the file, its points or the weights cannot be used.
        """
        with self._one_at_a_time:
            cloud = read_reference(name, path, self._unit)
            try:
                reference = self._build(cloud, self._weights, self._shared)
            except WeightsError:
                self._waiting[name] = cloud
                raise
            self._waiting.pop(name, None)
            return reference

    def reload(self, references, weights):
        """
        Build references anew with other weights, and those that waited for some.

        :param references: :class:`Reference` that are in use.
        :param weights: weights file; empty takes the ones in the package.
        :returns: list of :class:`Reference`.
        :raises DlcError: the weights cannot be used; the old ones stay in force.
        """
        with self._one_at_a_time:
            clouds = {reference.cloud.name: reference.cloud for reference in references}
            # Built anew even for the same path: the file may have changed.
            shared = weakref.WeakValueDictionary()
            built = [
                self._build(cloud, weights, shared) for cloud in (self._waiting | clouds).values()
            ]
            self._weights, self._shared, self._waiting = weights, shared, {}
            return built

    def forget(self, name):
        """Wait no longer for weights that the reference of a name could use."""
        with self._one_at_a_time:
            self._waiting.pop(name, None)

    def _build(self, cloud, weights, shared):
        registrar = shared.get(cloud.sha256)
        if registrar is None:
            registrar = self._make_registrar(cloud.points, weights, self._options)
            shared[cloud.sha256] = registrar
        return Reference(cloud, registrar)
