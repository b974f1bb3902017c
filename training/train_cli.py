"""``dlc-train``: a configuration in, weights with their model card out."""

import argparse
import json
import platform
import shlex
import sys
import time
from pathlib import Path

import torch

import dlc_ros
from dlc_ros.errors import DlcError
from dlc_ros.registration.weights import save_weights
from dlc_training.config import load_config
from dlc_training.engine import Trainer
from dlc_training.evaluate.landscape import measure_basin, measure_rays
from dlc_training.evaluate.shapes import GeneratedShapes


def main(arguments=None):
    """Run the command; returns the exit code (0 done, 2 a user's mistake, 130 interrupted)."""
    options = _parser().parse_intermixed_args(arguments)
    try:
        return _train(options)
    except KeyboardInterrupt:
        print(
            f'interrupted; the same command continues from {options.out}/checkpoint.pt',
            file=sys.stderr,
        )
        return 130
    except DlcError as error:
        print(f'dlc-train: {error}', file=sys.stderr)
        return 2


def _parser():
    parser = argparse.ArgumentParser(
        prog='dlc-train',
        description='Train the pose predictor on generated shapes and scenes. Run it again with '
        'the same --out to continue after an interruption.',
    )
    parser.add_argument(
        '--config',
        metavar='YAML',
        help='configuration file, or the name of one that ships: default, smoke; '
        'left out: default',
    )
    parser.add_argument('--out', metavar='DIR', required=True, help='folder of the run')
    parser.add_argument(
        '--objective', choices=('dlc', 'none'), help='short for objective.name=...'
    )
    parser.add_argument(
        '--weights',
        metavar='FILE',
        help='weights file to write; left out: OUT/weights.safetensors',
    )
    parser.add_argument(
        '--export',
        action='store_true',
        help='write the weights of the checkpoint in OUT without training on',
    )
    parser.add_argument(
        '--measure',
        type=int,
        default=0,
        metavar='PAIRS',
        help='measure basin and rays of the landscape on so many unseen pairs, for the model card',
    )
    parser.add_argument('--note', default='', help='remark for the model card')
    parser.add_argument(
        'overrides', nargs='*', metavar='key=value', help='e.g. optimiser.steps=100 seed=3'
    )
    return parser


def _train(options):
    overrides = list(options.overrides)
    if options.objective:
        overrides.append(f'objective.name={options.objective}')
    config = load_config(options.config, overrides)
    trainer = Trainer(config, options.out)
    if not options.export:
        trainer.run()
    elif trainer.step == 0:
        raise DlcError(f'no checkpoint in {options.out}; train first, without --export')
    weights = Path(options.weights or Path(options.out) / 'weights.safetensors')
    net, card = trainer.averaged(), model_card(trainer, _command(options))
    if options.note:
        card['note'] = options.note
    save_weights(weights, net, card)
    if options.measure:
        save_weights(weights, net, {**card, 'landscape': _landscape(weights, options.measure)})
    print(f'{weights}: {trainer.step} steps, {trainer.seconds / 60:.0f} min')
    return 0


def _landscape(weights, pairs):
    shapes = GeneratedShapes(0)
    return {
        'protocol': f'so3-crop, {pairs} pairs of generated solids that were never trained on',
        'basin': measure_basin(weights, shapes, pairs),
        'rays': measure_rays(weights, shapes, pairs),
    }


def _command(options):
    """What gives the same weights anywhere: the files' names, without this machine's folders."""
    words = ['dlc-train']
    if options.config:
        words += ['--config', Path(options.config).name]
    if options.objective:
        words += ['--objective', options.objective]
    return shlex.join([*words, '--out', Path(options.out).name, *options.overrides])


def model_card(trainer, command):
    """
    Return what a user of the weights should know, as a JSON-able dict.

    :param trainer: a :class:`Trainer` that has run.
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


if __name__ == '__main__':
    sys.exit(main())
