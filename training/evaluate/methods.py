"""The methods that are compared, by name; adding one is one line of :data:`METHODS`."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import dlc_ros
from dlc_ros.errors import ParameterError
from dlc_training.evaluate import baselines
from dlc_training.evaluate.pair import Prior

# Voxel edge of clouds that are scaled for the peers: about the spacing of an object's points.
_THINNED = 0.05
# A reference with more points is a map: prepared once, as a node prepares it.
_MAP = 20_000


@dataclass(frozen=True)
class DlcRos:
    """
    The whole registrar, as a user calls it, once per pair.

    The reference is prepared each time; only that of a map is kept for the next pair.

    :param weights: weights file, or None for the shipped ones.
    :param use_predictor: False bypasses the network.
    :param upright: both clouds have their z axes up, as a node in map mode has them.
    :param viewpoint: (3,) where sources were seen from, or None where nobody says.
    """

    weights: str | None = None
    use_predictor: bool = True
    upright: bool = False
    viewpoint: tuple | None = None

    def __call__(self, source, target, prior):
        """Return ``T_target_source`` (4, 4) and what the gate said of it."""
        known = () if prior is None else (prior.transform, prior.covariance)
        found = self._registrar(target).register(source, *known, viewpoint=self.viewpoint)
        details = {
            'status': found.status.value,
            'confidence': round(float(found.confidence), 4),
            'stages': {name: round(ms, 2) for name, ms in found.stages.items()},
        }
        return found.transform, details

    def _registrar(self, target):
        from dlc_ros.registration.options import RegistrationOptions
        from dlc_ros.registration.registrar import Registrar

        options = RegistrationOptions(
            device='cpu', threads=1, use_predictor=self.use_predictor, upright=self.upright
        )
        if len(target) <= _MAP:
            return Registrar(target, self.weights, options)
        key = (self, hashlib.sha256(np.ascontiguousarray(target).tobytes()).digest())
        if key not in _latest_map:
            _latest_map.clear()
            _latest_map[key] = Registrar(target, self.weights, options)
        return _latest_map[key]


_latest_map = {}


@dataclass(frozen=True)
class Settings:
    """
    What a method may need to be made.

    :param weights: weights file, or None for the shipped ones.
    :param folder: folder for files that a method needs, such as random weights.
    :param unit: length that the peers' options take for the radius of an object.
    :param upright: of :class:`DlcRos`.
    """

    weights: str | None
    folder: Path
    unit: float = 1.0
    upright: bool = False


def random_weights(settings):
    """Write weights of the same architecture with fresh random values; returns the path."""
    import torch

    from dlc_ros.registration.descriptor import DescriptorNet
    from dlc_ros.registration.weights import load_weights, save_weights

    loaded = load_weights(settings.weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = DescriptorNet(loaded.net.options)
    path = settings.folder / 'random.safetensors'
    save_weights(path, net, {'name': 'random values, seed 0'})
    return str(path)


@dataclass(frozen=True)
class Method:
    """
    A method under its name.

    :param label: for people.
    :param make: :class:`Settings` -> picklable function (source, target, prior) that returns a
        (4, 4) pose, or that and a dict of JSON-able details.
    :param requires: modules that must be importable.
    :param asked: runs only when it is named, since it is not for every protocol.
    """

    label: str
    make: Callable
    requires: tuple = ('small_gicp',)
    asked: bool = False


@dataclass(frozen=True)
class Scaled:
    """
    A peer on clouds of another size than those that its options are meant for.

    :param method: function (source, target, prior) -> pose.
    :param unit: length that becomes one.
    """

    method: Callable
    unit: float

    def __call__(self, source, target, prior):
        """Thin and scale the clouds, call the method, scale the translation back."""
        from dlc_ros.registration.cloud import voxel_downsample

        source, target = (
            voxel_downsample(np.asarray(cloud, float) / self.unit, _THINNED)
            for cloud in (source, target)
        )
        if prior is not None:
            transform, scale = prior.transform.copy(), np.repeat((1 / self.unit, 1.0), 3)
            transform[:3, 3] /= self.unit
            prior = Prior(transform, prior.covariance * np.outer(scale, scale))
        found = np.array(self.method(source, target, prior))
        found[:3, 3] *= self.unit
        return found


def _peer(function, label, *requires, in_map=None):
    def make(settings):
        if settings.unit == 1.0:
            return function
        return Scaled(in_map or function, settings.unit)

    return Method(label, make, ('small_gicp', *requires))


METHODS = {
    'dlc_ros': Method(
        'dlc_ros', lambda s: DlcRos(s.weights, upright=s.upright), ('torch', 'small_gicp')
    ),
    # The source's frame must be the sensor's, as that of partial-view is.
    'dlc_ros-viewpoint': Method(
        'dlc_ros, told where the sensor was',
        lambda s: DlcRos(s.weights, upright=s.upright, viewpoint=(0.0, 0.0, 0.0)),
        ('torch', 'small_gicp'),
        asked=True,
    ),
    'dlc_ros-bypassed': Method(
        'dlc_ros, predictor bypassed',
        lambda s: DlcRos(s.weights, use_predictor=False, upright=s.upright),
    ),
    'dlc_ros-random': Method(
        'dlc_ros, random weights',
        lambda s: DlcRos(random_weights(s), upright=s.upright),
        ('torch', 'small_gicp'),
    ),
    'gicp': _peer(
        baselines.gicp,
        'GICP without a search',
        # The centroid of a scan is not that of the map: a start says more.
        in_map=partial(baselines.gicp, options=baselines.GicpOptions(from_prior=True)),
    ),
    'fgr': _peer(baselines.fgr, 'FPFH + FGR + GICP', 'open3d'),
    'ransac': _peer(baselines.ransac, 'FPFH + RANSAC + GICP', 'open3d'),
    'kiss': _peer(baselines.kiss, 'KISS-Matcher + GICP', 'kiss_matcher'),
    'starts': _peer(baselines.starts, '24 starts + GICP'),
}
OURS = 'dlc_ros'
PEERS = ('gicp', 'fgr', 'ransac', 'kiss', 'starts')


def choose(names):
    """
    Check method names.

    :param names: names, or None for every method whose modules are installed, but for those that
        must be asked for.
    :return: (chosen names, one line for each that is left out because something is missing).
    :raises ParameterError: an unknown name, or one whose modules are not installed.
    """
    if names is None:
        usual = [name for name, method in METHODS.items() if not method.asked]
        missing = {name: _missing(METHODS[name]) for name in usual}
        notes = [
            f'{name} left out: {what} is not installed' for name, what in missing.items() if what
        ]
        return [name for name, what in missing.items() if not what], notes
    for name in names:
        if name not in METHODS:
            raise ParameterError(f'unknown method {name!r}; known: {", ".join(METHODS)}')
        if what := _missing(METHODS[name]):
            raise ParameterError(f'method {name} needs {what}: pip install dlc_ros[eval]')
    return list(dict.fromkeys(names)), []


def _missing(method):
    return ', '.join(module for module in method.requires if find_spec(module) is None)


def fingerprint(name, settings):
    """Digest of all that a method's answers depend on: code, weights, library versions."""
    weights = weights_sha256(settings.weights) if name.startswith(OURS) else ''
    facts = name, weights, code_digest(name), settings.unit, settings.upright
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def code_digest(name):
    """Digest of the code that a method's answers come from: its sources, library versions."""
    sources = [Path(baselines.__file__)]
    if name.startswith(OURS):
        sources = sorted((Path(dlc_ros.__file__).parent / 'registration').glob('*.py'))
    digest = hashlib.sha256(repr(sorted(versions().items())).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()


def digest_of_answers(weights, shapes, seed, drawn_by):
    """
    Digest of what the registrar's answers to drawn pairs depend on.

    :param weights: file, None for the shipped ones.
    :param shapes: what :func:`~dlc_training.evaluate.shapes.open_shapes` returned.
    :param drawn_by: modules whose code decides what the pairs are.
    """
    settings = Settings(weights, Path())
    digest = hashlib.sha256(f'{fingerprint("dlc_ros", settings)} {shapes.label} {seed}'.encode())
    for module in drawn_by:
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()


def weights_sha256(path):
    """SHA-256 of a weights file, None for the shipped one; empty if there is none."""
    from dlc_ros.registration.weights import default_weights_path

    path = Path(path or default_weights_path())
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ''


def versions():
    """Versions of what the methods are made of; absent packages are left out."""
    found = {'dlc_ros': dlc_ros.__version__}
    packages = ('numpy', 'scipy', 'torch', 'small_gicp', 'open3d', 'open3d-cpu', 'kiss-matcher')
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
