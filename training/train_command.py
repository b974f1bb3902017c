"""What ``dlc-train`` does; apart from :mod:`dlc_training.train_cli`, since it imports torch."""

import argparse
import os
import shlex
from pathlib import Path

import yaml

from dlc_ros.command_line import Parser
from dlc_ros.errors import DlcError
from dlc_ros.registration.weights import save_weights
from dlc_training.command_line import add_run, exit_code
from dlc_training.config import load_config
from dlc_training.evaluate.arguments import at_least, writable_file
from dlc_training.evaluate.landscape import measure_basin, measure_rays
from dlc_training.evaluate.shapes import GeneratedShapes
from dlc_training.model_card import model_card
from dlc_training.objective import OBJECTIVES

# What may be equal in a comparison.
BUDGETS = ('steps', 'time')
# Options of a study alone, with their defaults; and those of a run alone.
OF_STUDIES = {'objectives': OBJECTIVES, 'pairs': 100, 'equal': BUDGETS, 'tuned': None}
OF_RUNS = ('objective', 'weights', 'export', 'measure', 'note')


def main(arguments=None):
    """Run the command; returns the exit code (0 done, 2 a user's mistake, 130 interrupted)."""
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    _refuse_what_is_not_read(parser, options)
    act = _tune if options.tune else _compare if options.compare else _train
    return exit_code(lambda: act(options), 'dlc-train', options.out)


def _parser():
    parser = Parser(
        prog='dlc-train',
        description='Train the pose predictor on generated shapes and scenes. Run it again with '
        'the same --out to continue after an interruption.',
    )
    parser.add_argument(
        '--config',
        metavar='YAML',
        help='configuration file, or the name of one that ships: default, smoke, overfit; '
        'left out: default',
    )
    add_run(parser, OBJECTIVES)
    parser.add_argument(
        '--weights',
        type=writable_file,  # known before the hours of training
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
        type=at_least(1),
        metavar='PAIRS',
        help='measure basin and rays of the landscape on so many unseen pairs, for the model card',
    )
    study = parser.add_argument_group('studies of objectives')
    kind = study.add_mutually_exclusive_group()
    kind.add_argument(
        '--tune',
        type=at_least(1),
        metavar='TRIALS',
        help='look for settings of each objective, in so many trials; continued when run again',
    )
    kind.add_argument(
        '--compare',
        type=at_least(1),
        metavar='SEEDS',
        help='train every objective with so many seeds, at equal steps and at equal time',
    )
    study.add_argument(
        '--objectives',
        type=_names(OBJECTIVES),
        metavar='NAME,...',
        help=f'of the study; left out: {",".join(OBJECTIVES)}',
    )
    study.add_argument(
        '--equal',
        type=_names(BUDGETS),
        metavar='BUDGET,...',
        help=f'what is equal in a comparison; left out: {",".join(BUDGETS)}',
    )
    study.add_argument(
        '--pairs',
        type=at_least(1),
        metavar='N',
        help=f'held-out pairs of the study; left out: {OF_STUDIES["pairs"]}',
    )
    study.add_argument(
        '--tuned', type=Path, metavar='JSON', help='compare with the settings of a --tune'
    )
    parser.add_argument('--note', default='', help='remark for the model card')
    parser.add_argument(
        'overrides', nargs='*', metavar='key=value', help='e.g. optimiser.steps=100 seed=3'
    )
    return parser


def _refuse_what_is_not_read(parser, options):
    """Options that would change nothing are mistakes: ``--objectives none`` trains no ``none``."""
    given = {name for name in (*OF_STUDIES, *OF_RUNS) if getattr(options, name)}
    study = '--tune' if options.tune else '--compare' if options.compare else None
    if study is None:
        wrong = given - set(OF_RUNS)
    else:
        wrong = given & {*OF_RUNS, *(('tuned', 'equal') if options.tune else ())}
    if wrong:
        place = study or 'a single run'
        parser.error(f'{place} does not read {", ".join(f"--{name}" for name in sorted(wrong))}')
    if study and int(os.environ.get('WORLD_SIZE', 1)) > 1:
        parser.error(f'{study} is one process; start it without torchrun')
    for name, default in OF_STUDIES.items():
        if not getattr(options, name):
            setattr(options, name, default)


def _names(known):
    """Parser of some of these names, separated by commas."""

    def parse(text):
        chosen = tuple(text.split(','))
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join(known)}")
            if chosen.count(name) > 1:
                raise argparse.ArgumentTypeError(f"'{name}' is there twice")
        return chosen

    return parse


def _config(options, more=()):
    overrides = list(options.overrides)
    if options.objective:
        overrides.append(f'objective.name={options.objective}')
    return load_config(options.config, [*overrides, *more])


def _tune(options):
    from dlc_training import tuning

    tuning.tune(
        lambda more: _config(options, more), options.objectives, options.tune, Path(options.out),
        options.pairs,
    )  # fmt: skip
    print((Path(options.out) / tuning.TABLE).read_text())
    return 0


def _compare(options):
    from dlc_training import comparison, tuning

    tuned = tuning.read_best(options.tuned) if options.tuned else None
    comparison.compare(
        lambda more: _config(options, more), options.objectives, options.compare,
        Path(options.out), options.pairs, tuned, options.equal,
    )  # fmt: skip
    print((Path(options.out) / comparison.TABLE).read_text())
    return 0


def _train(options):
    from dlc_training.engine import Trainer  # needs the extra, which --help does without

    trainer = Trainer(_config(options), options.out)
    if not options.export:
        trainer.run()
    elif trainer.step == 0:
        raise DlcError(f'no checkpoint in {options.out}; train first, without --export')
    trainer.processes.close()
    if not trainer.processes.writes:
        return 0
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
    overrides = [_without_folders(text) for text in options.overrides]
    return shlex.join([*words, '--out', Path(options.out).name, *filter(None, overrides)])


def _without_folders(override):
    """The same override with names for paths; empty for what changes no weight."""
    key, _, value = override.partition('=')
    if key == 'data.keep':
        return ''
    if key == 'data.recordings':
        names = [Path(folder).name for folder in yaml.safe_load(value)]
        return f'{key}=[{", ".join(names)}]'
    return f'{key}={Path(value).name}' if key == 'initial_weights' else override
