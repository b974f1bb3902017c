"""Files that appear whole or not at all, and read back as absent when they are damaged."""

import contextlib
import json
import os
from pathlib import Path

import numpy as np

from dlc_ros.errors import FileError
from dlc_training.command_line import try_place


def write_whole(path, write, option='--out'):
    """
    Write a file under another name and rename it.

    :param write: function of the open binary file.
    :param option: that names the place, for the message.
    :raises FileError: the place cannot be written (a full disk, no permission).
    """
    path = Path(path)
    partial = path.with_name(path.name + '.partial')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open('wb') as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # there may be no such folder
            partial.unlink()
        raise FileError(
            f'cannot write {path}: {error.strerror or error}; make room or use another {option}, '
            'and run the same command again: what was finished is kept'
        ) from None


def write_arrays(path, **arrays):
    """Write arrays as an uncompressed npz, whole or not at all; see :func:`write_whole`."""
    write_whole(path, lambda file: np.savez(file, **arrays))


def read_arrays(path):
    """Arrays of an npz as a dict; None where it is missing or damaged: to be made again."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception:  # a damaged zip fails in any way
        return None


def write_json(path, content):
    """Write JSON, whole or not at all; see :func:`write_whole`."""
    text = json.dumps(content, indent=1, allow_nan=True)
    write_whole(path, lambda file: file.write(text.encode()))


def read_json(path):
    """Content of a JSON file; None where it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError):
        return None


def check_place(folder):
    """Raise FileError unless a folder can be written, or made; nothing is left there."""
    try:
        try_place(folder)
    except OSError as error:
        raise FileError(unwritable(folder, error)) from None


def unwritable(place, error):
    """Sentence for a person about an OSError of writing somewhere."""
    return f'cannot write in {place}: {error.strerror or error}; make room or use another --out'
