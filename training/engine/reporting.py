"""What a run tells: a bar with the time left, a log of JSON lines, curves for TensorBoard."""

import errno
import fcntl
import json
import sys

from tqdm import tqdm

from dlc_ros.errors import DlcError, FileError

LOG, CURVES = 'log.jsonl', 'tensorboard'


class Report:
    """
    Open reports of one run; a context manager.

    :param folder: where the log and the curves go.
    :param step: that the run continues from; what was logged later is removed, it comes again.
    :param steps: of the whole run.
    :param progress: whether to show the bar.
    :param curves: whether to write for TensorBoard.
    :raises FileError: when the folder cannot be written, or another process reports there.
    :raises DlcError: when TensorBoard is wanted and not installed.
    """

    def __init__(self, folder, step, steps, progress=True, curves=False):
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._log = (folder / LOG).open('ab+')
            self._claim()
            _forget_after(self._log, step)
            self._curves = None
            if curves:
                writer = curve_writer()
                self._curves = writer(str(folder / CURVES), purge_step=step or None)
        except OSError as error:
            raise self._failed(error) from None
        self._bar = tqdm(
            total=steps, initial=step, unit='step', disable=not progress, mininterval=2
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bar.close()
        for file in filter(None, (self._curves, self._log)):
            try:
                file.close()
            except OSError:  # what could not be written was reported when it was written
                pass

    def advance(self):
        """One more step on the bar."""
        self._bar.update()

    def record(self, step, seconds, values):
        """
        Log scalars.

        :param values: dict of numbers, ``loss`` among them.
        """
        try:
            line = {'step': step, 'seconds': round(seconds, 1), **values}
            self._log.write(json.dumps(line).encode() + b'\n')
            self._log.flush()
            if self._curves is not None:
                for name, value in values.items():
                    self._curves.add_scalar(name, value, step)
        except OSError as error:
            raise self._failed(error) from None
        self._bar.set_postfix(loss=f'{values["loss"]:.3f}', refresh=False)

    def say(self, sentence):
        """Print a sentence without breaking the bar."""
        tqdm.write(f'dlc-train: {sentence}', file=sys.stderr)

    def _claim(self):
        """
        Let one process at a time train in a folder: two would write one checkpoint.

        The kernel lets go of this lock however a process ends; unlike that of ``flock`` it is not
        handed on to the processes that make pairs, which may live on for a few seconds.
        """
        try:
            fcntl.lockf(self._log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise FileError(
                    f'another process trains in {self.folder}; wait for its end or use another '
                    '--out'
                ) from None
            # A file system without locks: then it is up to the user.

    def _failed(self, error):
        return FileError(
            f'cannot write the log in {self.folder}: {error.strerror}; make room there or use '
            'another --out'
        )


class Silence:
    """What processes other than the first report."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def advance(self):
        """Do nothing."""

    def record(self, step, seconds, values):
        """Do nothing."""

    def say(self, sentence):
        """Do nothing."""


def _forget_after(log, step):
    """Drop lines of later steps, and a last line that was cut short, from an open log."""
    log.seek(0)
    lines = log.readlines()
    kept = [_step_of(line) <= step for line in lines]
    first = kept.index(False) if False in kept else len(lines)
    log.truncate(sum(map(len, lines[:first])))
    log.writelines(line for line, keep in zip(lines[first:], kept[first:], strict=True) if keep)


def _step_of(line):
    try:
        return int(json.loads(line)['step'])
    except (ValueError, KeyError, TypeError):
        return float('inf')


def curve_writer():
    """
    The class that writes curves for TensorBoard.

    :raises DlcError: tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise DlcError(
            'tensorboard is not installed; pip install tensorboard, or set tensorboard=false '
            '(dlc-retrain: --set tensorboard=false)'
        ) from None
    return SummaryWriter
