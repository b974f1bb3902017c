"""From the options of the command to what is learned from and how."""

import json
import math
from dataclasses import asdict

from dlc_ros.errors import ParameterError
from dlc_training.recordings.preparation import Source
from dlc_training.recordings.truth import Wishes

# What stands for random weights where a file is expected.
NONE = 'none'
# Share of recorded pairs; the generated ones keep the network from forgetting.
RECORDED_SHARE = 0.5
# Most of what a recording teaches is learned in 150 steps; the others calm down at a falling rate.
_STEPS, _STEPS_FROM_NONE = 400, 7000
# Fine-tuning: a gentler rate that falls for long, hinges from the start (features are there).
# Hinges reach full strength after as many steps in long runs, so that a run can be made longer.
_RATE, _RISE, _RAMP, _DECAY, _AVERAGE = 1e-4, 30, 100, 0.6, 0.99
# Options that change nothing without another one.
_BESIDE = {
    'reference_unit': 'reference',
    'initial_pose': 'reference',
    'trajectory_frame': 'trajectory',
}
# As the weights of the package were trained; more was not tried here.
_RHO = 0.2


def source_of(options):
    """
    :class:`Source` of the options.

    :raises ParameterError: for numbers out of range, and options that would change nothing.
    """
    if not 0.05 <= options.share <= 0.8:
        raise ParameterError(f'--share {options.share} is not between 0.05 and 0.8')
    for name, least in (('most_scans', 24), ('judge_scans', 2), ('benchmark_pairs', 0)):
        if getattr(options, name) < least:
            raise ParameterError(f'{_given(options, name)} is below {least}')
    if not 0 <= options.body_reach < math.inf:
        raise ParameterError(f'{_given(options, "body_reach")} is not 0 or above, and finite')
    for name, other in _BESIDE.items():
        if getattr(options, name) and not getattr(options, other):
            raise ParameterError(f'{_given(options, name)} changes nothing without --{other}')
    if options.fixed_frame and options.trajectory:
        given = _given(options, 'fixed_frame')
        raise ParameterError(f'{given} changes nothing beside --trajectory, which goes first')
    wishes = Wishes(options.trajectory, options.trajectory_frame, options.fixed_frame)
    return Source(
        bags=tuple(options.bag),
        topic=options.topic,
        reference=options.reference,
        reference_unit=options.reference_unit,
        wishes=wishes,
        judge_truth=options.judge_truth,
        initial_pose=options.initial_pose,
        point_times=options.point_times,
        body_reach=options.body_reach,
        hold_out=options.hold_out,
        share=options.share,
        most_scans=options.most_scans,
    )


def _given(options, name):
    """An option as it was written."""
    return f'--{name.replace("_", "-")} {getattr(options, name)}'


def training_config(options, old, pairs_folder=None):
    """
    Configuration of the fine-tuning.

    :param old: present :class:`~dlc_ros.registration.weights.LoadedWeights`, None for random.
    :param pairs_folder: recorded pairs; None leaves them out.
    :return: :class:`dlc_training.config.TrainingConfig`.
    """
    from dlc_training.config import DataConfig, load_config

    steps = options.steps or (_STEPS if old else _STEPS_FROM_NONE)
    settings = [f'objective.name={options.objective}', f'optimiser.steps={steps}']
    if old:
        settings += [
            f'initial_weights={json.dumps(str(old.path))}',
            f'optimiser.rate={_RATE}',
            f'optimiser.rise={_RISE}',
            f'optimiser.decay_share={_DECAY}',
            f'optimiser.average={_AVERAGE}',
            'objective.warm_up=0',
            f'objective.dlc.rho={_RHO}',
            'objective.dlc.samples=1',
            f'objective.ramp={_RAMP}',
            'save_every=25',
        ]
        settings += [f'net.{k}={json.dumps(v)}' for k, v in asdict(old.net.options).items()]
    if pairs_folder is not None:
        generated = DataConfig().kinds
        total = sum(generated.values())
        mixed = {k: (1 - RECORDED_SHARE) * v / total for k, v in generated.items()}
        mixed['recorded'] = RECORDED_SHARE
        settings += [
            f'data.kinds={json.dumps(mixed)}',
            f'data.recordings={json.dumps([str(pairs_folder)])}',
        ]
    return load_config(None, [*settings, *options.overrides])
