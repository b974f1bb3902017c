"""What a run tells: a bar with the time left, a log of JSON lines, curves for TensorBoard."""

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
    :raises FileError: when the folder cannot be written.
    :raises DlcError: when TensorBoard is wanted and not installed.
    """

    def __init__(self, folder, step, steps, progress=True, curves=False):
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _forget_after(folder / LOG, step)
            self._log = (folder / LOG).open('a')
        except OSError as error:
            raise self._failed(error) from None
        self._curves = _curves(folder / CURVES, step) if curves else None
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
            self._log.write(json.dumps(line) + '\n')
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


def _forget_after(path, step):
    """Drop lines of later steps, and a last line that was cut short."""
    if not path.exists():
        return
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if _step_of(line) <= step]
    if kept != lines:
        partial = path.with_name(path.name + '.partial')
        partial.write_text(''.join(kept))
        partial.replace(path)


def _step_of(line):
    try:
        return json.loads(line)['step']
    except (ValueError, KeyError, TypeError):
        return float('inf')


def _curves(folder, step):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise DlcError(
            'tensorboard is not installed; pip install tensorboard, or set tensorboard=false'
        ) from None
    return SummaryWriter(str(folder), purge_step=step or None)
