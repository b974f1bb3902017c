"""What a run keeps: written whole or not at all, continued by the same configuration only."""

import json
import os
import zipfile

import torch

from dlc_ros.errors import FileError

CHECKPOINT = 'checkpoint.pt'
# What may change when a run is continued: its length, where it runs, what it writes.
PACE = (
    'device', 'threads', 'compile', 'save_every', 'log_every', 'tensorboard', 'data.keep',
    'data.workers',    'optimiser.steps', 'optimiser.decay_share',
)  # fmt: skip


def write_checkpoint(folder, state, config):
    """
    Write a checkpoint; the old one stays until the new one is whole and on the disk.

    :param state: dict of tensors and numbers; ``config`` is stored beside them.
    :raises FileError: when it cannot be written; the old one is as it was.
    """
    path, partial = folder / CHECKPOINT, folder / (CHECKPOINT + '.partial')
    try:
        with partial.open('wb') as file:
            torch.save({'config': config.model_dump_json(), **state}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    # A full disk is an OSError to Python and a RuntimeError to the writer of torch.
    except (OSError, RuntimeError) as error:
        _remove(partial)
        kept = f'; {CHECKPOINT} there is the one before' if path.exists() else ''
        raise FileError(
            f'cannot write checkpoint in {folder}: {one_line(error)}{kept}; make room and run '
            'the same command again'
        ) from None


def read_checkpoint(folder, config, device):
    """
    Return the state to continue from; None where the folder has no checkpoint.

    :param config: :class:`dlc_training.config.TrainingConfig` of the run that wants it.
    :raises FileError: for a damaged checkpoint, or one of another configuration.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        _check_sums(path)
        state = torch.load(path, map_location=device, weights_only=True)
        stored = json.loads(state['config'])
    # A damaged file can fail in any way: in zip, in pickle, in a missing key.
    except Exception as error:
        raise damaged(path, error) from None
    others = differences(stored, json.loads(config.model_dump_json()), _defaults(type(config)))
    if others:
        what = 'another architecture' if others[0].startswith('net.') else 'another configuration'
        more = f' and {len(others) - 3} more' if len(others) > 3 else ''
        raise FileError(
            f'checkpoint {path} belongs to {what} ({"; ".join(others[:3])}{more}); '
            'use another --out, or the settings it was made with'
        )
    return state


def damaged(path, error):
    """Return the error for a checkpoint that cannot be used."""
    return FileError(
        f'checkpoint {path} is damaged ({one_line(error)}); '
        'remove it to start again, or use another --out'
    )


def differences(stored, asked, defaults):
    """
    What keeps a checkpoint from being continued, one ``key: value there, value here`` each.

    Keys that the checkpoint lacks had the default's meaning when it was written.

    :param stored: nested dict of its configuration; ``asked`` of this run's; ``defaults``.
    """
    stored, asked, defaults = (_flat(values) for values in (stored, asked, defaults))
    found = []
    for key in sorted({*stored, *asked}, key=lambda k: (not k.startswith('net.'), k)):
        there, here = stored.get(key, defaults.get(key)), asked.get(key)
        if there != here and not _in(key, PACE):
            found.append(f'{key}: {there} there, {here} here')
    return found


def one_line(error):
    """First words of an error's message, without line breaks."""
    return ' '.join(str(error).split())[:120]


def _check_sums(path):
    """Compare every part of the file with its check sum, which torch writes and does not read."""
    with zipfile.ZipFile(path) as archive:
        part = archive.testzip()
    if part is not None:
        raise ValueError(f'check sum of {part} is wrong')


def _defaults(model):
    return json.loads(model().model_dump_json())


def _flat(values, prefix=''):
    flat = {}
    for key, value in values.items():
        if key == 'kinds':  # one value, of the kinds of data that have a share
            flat[prefix + key] = {kind: share for kind, share in value.items() if share}
        elif isinstance(value, dict):
            flat.update(_flat(value, f'{prefix}{key}.'))
        else:
            flat[prefix + key] = value
    return flat


def _in(key, keys):
    return any(key == k or key.startswith(k + '.') for k in keys)


def _remove(path):
    try:
        path.unlink(missing_ok=True)
    except OSError:  # the folder itself is gone or closed: the first error says why
        pass
