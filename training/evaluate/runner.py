"""Runs methods on pairs in worker processes, times them, and keeps what was computed."""

import hashlib
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from dlc_ros.errors import CloudError, DlcError
from dlc_training.evaluate import symmetry
from dlc_training.evaluate.symmetry import SymmetryGroup, find_symmetries

# A timing is only comparable on one thread that does not spin while it waits.
ONE_THREAD = {
    'OMP_NUM_THREADS': '1',
    'OPENBLAS_NUM_THREADS': '1',
    'MKL_NUM_THREADS': '1',
    'TBB_NUM_THREADS': '1',
    'OMP_WAIT_POLICY': 'passive',
}

# Results of a long measurement that are computed, and kept, together.
_PIECE = 50


class Runner:
    """
    Worker processes of one evaluation; use it as a context.

    Methods run outside this process: libraries that abort take a worker down, not the results.

    :param jobs: number of workers.
    :param cache: folder for results, made when needed; or None to keep nothing.
    :param quiet: no progress bars.
    """

    def __init__(self, jobs=1, cache=None, quiet=False):
        self._jobs, self._quiet = jobs, quiet
        self._cache = None if cache is None else Path(cache)
        self._pool = None

    def __enter__(self):
        with _environment(ONE_THREAD):
            self._pool = ProcessPoolExecutor(self._jobs, mp_context=get_context('spawn'))
            # The pool starts its processes when the first task comes.
            list(self._pool.map(abs, range(self._jobs)))
        return self

    def __exit__(self, kind, *_):
        self._pool.shutdown(cancel_futures=kind is not None)

    def map(self, name, function, tasks):
        """``[function(*task) for task in tasks]`` in the workers, with a progress bar."""
        from tqdm import tqdm

        try:
            results = self._pool.map(function, *zip(*tasks, strict=True))
            return list(
                tqdm(results, name, len(tasks), disable=self._quiet or None, file=sys.stderr)
            )
        except BrokenProcessPool:
            raise DlcError(
                f'a worker died while running {name}; leave it out with --methods'
            ) from None

    def resume(self, name, function, tasks, key):
        """
        As :meth:`map`, kept piece by piece: the same call goes on where it was cut off.

        :param function: returns what JSON holds.
        :param key: digest of everything that the results depend on.
        """
        results = []
        for first in range(0, len(tasks), _PIECE):
            piece = tasks[first : first + _PIECE]
            title = f'{name} {first + len(piece)}/{len(tasks)}'
            digest = hashlib.sha256(f'{key} {name} {first} {len(piece)}'.encode()).hexdigest()
            results += self._kept(digest, partial(self.map, title, function, piece))
        return results

    def run(self, name, method, pairs, key):
        """
        Answers of one method.

        :param name: for the progress bar.
        :param method: picklable function (source, target, prior) -> pose or (pose, details).
        :param pairs: list of :class:`~dlc_training.evaluate.pair.Pair`.
        :param key: digest of everything that the answers depend on.
        :return: list of dicts ``transform`` (rows), ``cpu_ms``, and the method's details.
        """
        tasks = [(method, p.source, p.target, p.prior) for p in pairs]
        return self._kept(key, lambda: self.map(name, timed, tasks))

    def judge(self, protocol, shapes, pairs, key):
        """
        What the truth of each pair allows.

        :param protocol: :class:`~dlc_training.evaluate.protocols.Protocol` of the pairs.
        :param shapes: where the pairs' shapes come from.
        :return: (dict shape index -> :class:`SymmetryGroup`, list of bool: the pair is ambiguous).
        """
        indices = sorted({pair.shape for pair in pairs})
        if protocol.is_ambiguous is None:
            trivial = SymmetryGroup(np.zeros(3))
            return dict.fromkeys(indices, trivial), [False] * len(pairs)
        digest = hashlib.sha256(key.encode())
        for module in (symmetry, sys.modules[protocol.is_ambiguous.__module__]):
            digest.update(Path(module.__file__).read_bytes())

        def compute():
            clouds = [(shapes.dense(index),) for index in indices]
            groups = self.map('symmetries', find_symmetries, clouds)
            by_index = dict(zip(indices, groups, strict=True))
            tasks = [(pair, by_index[pair.shape]) for pair in pairs]
            return {
                'groups': [_to_json(group) for group in groups],
                'ambiguous': self.map('ambiguous pairs', protocol.is_ambiguous, tasks),
            }

        found = self._kept(digest.hexdigest(), compute)
        groups = map(_from_json, found['groups'])
        return dict(zip(indices, groups, strict=True)), found['ambiguous']

    def _kept(self, key, compute):
        if self._cache is None:
            return compute()
        path = self._cache / f'{key[:24]}.json'
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError):
            pass  # not there, or cut short by a crash: compute it (again)
        result = compute()
        write_text(path, json.dumps(result))
        return result


def write_text(path, text):
    """
    Write a file whole or not at all; folders are made.

    :raises DlcError: the place cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix('.partial')
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        raise DlcError(f'{path}: cannot be written ({error.strerror}); see --out') from None


def digest_of(pairs):
    """Digest of pairs: equal only for the same clouds and truths."""
    digest = hashlib.sha256()
    for pair in pairs:
        for array in (pair.source, pair.target, pair.truth):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@contextmanager
def _environment(variables):
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_warm = set()


def timed(method, source, target, prior):
    """
    One answer and its CPU time, in this process; a method's first call here is not timed.

    :return: dict ``transform`` (rows), ``cpu_ms``, and the method's details.
    """
    if repr(method) not in _warm:  # a partial equals no other, not even its own copy
        _answer(method, source, target, prior)
        _warm.add(repr(method))
    start = time.process_time()
    transform, details = _answer(method, source, target, prior)
    spent = 1e3 * (time.process_time() - start)
    return {'transform': np.asarray(transform).tolist(), 'cpu_ms': round(spent, 3), **details}


def _answer(method, source, target, prior):
    try:
        answer = method(source, target, prior)
    except CloudError as error:  # no answer is a wrong answer
        return np.full((4, 4), np.nan), {'error': str(error)}
    return answer if isinstance(answer, tuple) else (answer, {})


def _to_json(group):
    axis = None if group.axis is None else group.axis.tolist()
    return [group.centre.tolist(), group.elements.tolist(), axis, group.sphere]


def _from_json(values):
    centre, elements, axis, sphere = values
    axis = None if axis is None else np.array(axis)
    return SymmetryGroup(np.array(centre), np.array(elements), axis, sphere)
