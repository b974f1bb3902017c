"""What a weights file tells of itself."""

import json
import platform
import time
from pathlib import Path

import torch

import dlc_ros
from dlc_ros.registration.weights import load_weights


def model_card(trainer, command):
    """
    Return what a user of the weights should know, as a JSON-able dict.

    :param trainer: a :class:`dlc_training.engine.Trainer` that has run.
    :param command: that trains the same again.
    """
    device = trainer.device.type
    hardware = torch.cuda.get_device_name() if device == 'cuda' else platform.machine()
    configuration = json.loads(trainer.config.model_dump_json())
    start, data = configuration['initial_weights'], configuration['data']
    # A file's name means something elsewhere, this machine's folders do not.
    configuration['initial_weights'] = Path(start).name
    data['recordings'] = [Path(folder).name for folder in data['recordings']]
    data['keep'] = ''
    card = {
        'name': 'dlc_ros pose predictor',
        'licence': 'Apache-2.0',
        'data': _told_of_data(data['recordings'], start),
        'command': command,
        'configuration': configuration,
        'steps': trainer.step,
        'minutes': round(trainer.seconds / 60, 1),
        'hardware': f'{device} ({hardware}), {trainer.config.threads} thread(s)',
        'versions': {
            'dlc_ros': dlc_ros.__version__,
            'torch': torch.__version__,
            'python': platform.python_version(),
        },
        'date': time.strftime('%Y-%m-%d', time.gmtime()),
    }
    return {**card, 'continued_from': _origin(start)} if start else card


def _told_of_data(recordings, start):
    told = 'generated solids and rooms (dlc_training.data), no recorded or downloaded data'
    if recordings:
        told = f'pairs of {", ".join(recordings)}; beside them generated solids and rooms'
    return f'{told}; before that, see continued_from' if start else told


def _origin(path):
    """How the weights came about that a training started from, as their own card tells it."""
    loaded = load_weights(path)
    told = 'data command note configuration steps minutes date continued_from'.split()
    kept = {key: value for key, value in loaded.card.items() if key in told}
    return {'file': Path(path).name, 'sha256': loaded.sha256, **kept}
