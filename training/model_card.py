"""What a weights file tells of itself."""

import json
import platform
import time

import torch

import dlc_ros


def model_card(trainer, command):
    """
    Return what a user of the weights should know, as a JSON-able dict.

    :param trainer: a :class:`dlc_training.engine.Trainer` that has run.
    :param command: that trains the same again.
    """
    device = trainer.device.type
    hardware = torch.cuda.get_device_name() if device == 'cuda' else platform.machine()
    return {
        'name': 'dlc_ros pose predictor',
        'licence': 'Apache-2.0',
        'data': 'generated solids and rooms (dlc_training.data), no recorded or downloaded data',
        'command': command,
        'configuration': json.loads(trainer.config.model_dump_json()),
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
