"""Where the evaluated shapes come from: generated solids or a file of sampled points."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from zipfile import is_zipfile

import numpy as np

from dlc_ros.errors import FileError
from dlc_training.data.solids import FIRST_EVALUATION_SEED, make_solid

SHAPES_PER_SEED = 100_000
DENSE_POINTS = 8192


class GeneratedShapes:
    """
    Solids of the evaluation range of seeds: no shape of it was ever trained on.

    Shape ``index`` of evaluation seed ``s`` is the solid ``FIRST_EVALUATION_SEED + 100,000 s +
    index``, so two evaluation seeds share no shape either.

    :param seed: seed of the evaluation, >= 0.
    """

    label = 'generated'

    def __init__(self, seed):
        self._first = FIRST_EVALUATION_SEED + SHAPES_PER_SEED * seed

    def index_of(self, pair):
        """Shape of pair number ``pair``: each pair has its own."""
        if pair >= SHAPES_PER_SEED:
            raise ValueError(f'an evaluation holds at most {SHAPES_PER_SEED} pairs')
        return pair

    def name(self, index):
        """Name of shape ``index``."""
        return f'solid_{self._first + index}'

    def draw(self, index, sizes, rng):
        """
        Draw independent samplings of one shape's surface.

        :param index: shape.
        :param sizes: number of points of each sampling.
        :param rng: numpy Generator.
        :return: list of (n, 3) float64 arrays within the unit sphere, no point in two of them.
        """
        solid = _solid(self._first + index)
        return [solid.sample(n, rng)[0] for n in sizes]

    def solid(self, index):
        """The :class:`~dlc_training.data.solid.Solid` of shape ``index``."""
        return _solid(self._first + index)

    def dense(self, index):
        """Noise-free cloud of the whole shape, (8192, 3) float64, for its symmetries."""
        rng = np.random.default_rng([self._first + index, 1])
        return _solid(self._first + index).sample(DENSE_POINTS, rng)[0]


@lru_cache(maxsize=8)
def _solid(seed):
    return make_solid(seed)


@dataclass(frozen=True)
class FileShapes:
    """
    Shapes of a file, each a fixed set of sampled points.

    :param label: name of the set in reports.
    :param points: (S, N, 3) float64 within the unit sphere.
    :param names: S names.
    """

    label: str
    points: np.ndarray
    names: tuple

    @classmethod
    def read(cls, path):
        """
        Read an npz with ``points`` (S, N, >= 3) and, if there, ``name`` (S,).

        Shapes that stick out of the unit sphere are moved by their mean and scaled into it.

        :raises FileError: the file is missing, damaged or holds something else.
        """
        path = Path(path)
        if not path.exists():
            raise FileError(f'{path}: no such file; --shapes takes "generated" or an npz file')
        try:
            if not is_zipfile(path):
                raise ValueError('an npz is a zip file')
            with np.load(path, allow_pickle=False) as file:
                content = {key: file[key] for key in file.files}
        # A damaged file can fail in any way: in zip, in zlib, in the head of an array.
        except Exception as error:
            words = ' '.join(str(error).split())
            raise FileError(f'{path}: not a readable npz file ({words})') from None
        points = content.get('points')
        if points is None or points.ndim != 3 or points.shape[2] < 3 or points.size == 0:
            raise FileError(
                f'{path}: needs an array "points" of shape (shapes, samples, 3 or more)'
            )
        if points.dtype.kind not in 'fiu':
            raise FileError(f'{path}: "points" are no numbers but {points.dtype}')
        points = points[:, :, :3].astype(float)
        if not np.isfinite(points).all():
            raise FileError(f'{path}: "points" holds NaN or Inf; remove them first')
        if (points == points[:, :1]).all((1, 2)).any():
            raise FileError(f'{path}: a shape of "points" is one point; remove it first')
        names = content.get('name', [f'shape_{i}' for i in range(len(points))])
        if np.shape(names) != (len(points),):
            raise FileError(
                f'{path}: needs a "name" for each of the {len(points)} shapes, or none'
            )
        return cls(
            path.stem, np.stack([_in_unit_sphere(p) for p in points]), tuple(map(str, names))
        )

    def index_of(self, pair):
        """Shape of pair number ``pair``: all in turn."""
        return pair % len(self.points)

    def name(self, index):
        """Name of shape ``index``."""
        return self.names[index]

    def draw(self, index, sizes, rng):
        """
        Draw disjoint subsets of one shape's points.

        :param index: shape.
        :param sizes: number of points of each subset.
        :param rng: numpy Generator.
        :return: list of (n, 3) float64 arrays, no point in two of them.
        :raises FileError: the file has fewer samples than asked for.
        """
        points = self.points[index]
        if sum(sizes) > len(points):
            raise FileError(
                f'{self.label}: {len(points)} samples a shape, but samplings without a shared '
                f'point need {sum(sizes)}; use a file with more samples'
            )
        order = rng.permutation(len(points))
        return [points[rows] for rows in np.split(order, np.cumsum(sizes))[:-1]]

    def dense(self, index):
        """Noise-free cloud of the whole shape, (N, 3) float64, for its symmetries."""
        return self.points[index]


def _in_unit_sphere(points):
    if np.linalg.norm(points, axis=1).max() <= 1.01:
        return points
    centred = points - points.mean(0)
    return centred / np.linalg.norm(centred, axis=1).max()


def open_shapes(text, seed):
    """
    Open the shapes that ``--shapes`` names.

    :param text: ``generated`` or the path of an npz file.
    :param seed: seed of the evaluation.
    :raises FileError: see :meth:`FileShapes.read`.
    """
    return GeneratedShapes(seed) if text == 'generated' else FileShapes.read(text)
