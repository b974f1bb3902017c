"""
``dlc-train --tune``: settings of each objective, looked for with Optuna.

Every objective gets the same number of trials, of the same number of steps, on the same batches;
each is free in the settings that are its own and, from random weights, in the learning rate and
the warm-up; from trained weights (``initial_weights``) these are as configured. A trial whose
landscape is behind the others' half-way is ended early. Studies live in one file and are continued
by the same command.
"""

import hashlib
import json
import shutil
from contextlib import contextmanager

from dlc_ros.errors import DlcError, FileError, ParameterError
from dlc_ros.registration.weights import save_weights
from dlc_training.engine import Interrupted, Trainer, TrainingStopped
from dlc_training.engine.checkpoint import one_line
from dlc_training.evaluate.runner import write_text
from dlc_training.validation import TUNING, Validation

# Times at which a trial is judged, as shares of its steps.
_RUNGS = (0.25, 0.5, 0.75)
# What may change when a study is continued: where its trials run and what they write.
_PACE = {
    'device': True, 'threads': True, 'save_every': True, 'log_every': True, 'tensorboard': True,
    'data': {'keep', 'workers'},
}  # fmt: skip
_BASED_ON = 'based_on'
STORAGE, RESULT, TABLE = 'tuning.db', 'tuning.json', 'tuning.md'


def suggest(trial, config):
    """
    Overrides of one trial.

    :param trial: Optuna trial.
    :param config: :class:`dlc_training.config.TrainingConfig` that they are based on.
    :return: dict dotted key -> value.
    """
    name, steps = config.objective.name, config.optimiser.steps
    chosen = {}
    if not config.initial_weights:
        chosen['optimiser.rate'] = trial.suggest_float('rate', 3e-4, 2e-3, log=True)
        if name != 'none':
            share = trial.suggest_categorical('warm_up', [0.0, 0.25, 0.5])
            chosen['objective.warm_up'] = int(share * steps)
            chosen['objective.ramp'] = max(1, steps // 10)
    if name == 'none':
        return chosen
    if name == 'awp':
        chosen['objective.awp.gamma'] = trial.suggest_float('gamma', 1e-3, 3e-2, log=True)
    elif name == 'sam':
        chosen['objective.sam.radius'] = trial.suggest_float('sam_radius', 1e-2, 0.3, log=True)
    else:
        scale = trial.suggest_float('radius', 0.5, 1.5, log=True)
        objective = config.objective
        chosen['objective.radii_deg'] = [min(180.0, scale * r) for r in objective.radii_deg]
        chosen['objective.radii_length'] = [scale * r for r in objective.radii_length]
        chosen['objective.dlc.lam'] = trial.suggest_categorical('lam', ['uniform', 0.5])
        chosen['objective.dlc.mu'] = trial.suggest_float('mu', 0.1, 3.0, log=True)
        chosen['objective.dlc.rho'] = trial.suggest_float('rho', 0.02, 2.0, log=True)
        chosen['objective.dlc.samples'] = trial.suggest_int('samples', 1, 3)
    if name == 'dlc-adversarial':
        chosen['objective.adversarial.rate'] = trial.suggest_float('ascent', 0.05, 0.5, log=True)
    return chosen


def tune(make_config, objectives, trials, out, pairs, progress=True):
    """
    Tune objectives; what is done already is not done again.

    :param make_config: (list of overrides) -> :class:`TrainingConfig`.
    :param objectives: names.
    :param trials: of each, those included that were ended early.
    :param out: folder of the studies and the result.
    :param pairs: held-out pairs that a trial is judged on.
    :return: dict by objective: ``best`` (overrides), ``score`` and ``trials``.
    :raises FileError: ``out`` cannot be written, or its trials had other settings or pairs.
    :raises ParameterError: from trained weights, when the warm-up leaves an objective no step.
    """
    optuna = _optuna()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f'cannot write in {out}: {error.strerror}; use another --out') from None
    validation, result = Validation(pairs, TUNING), {}
    with _told_of_storage(optuna, out):
        for name in objectives:
            result[name] = _study(optuna, name, make_config, trials, out, validation, progress)
            write_text(out / RESULT, json.dumps(result, indent=1) + '\n')
            write_text(out / TABLE, table(result))
    return result


def table(result):
    """Markdown of :func:`tune`'s result: every trial, the best first."""
    lines = []
    for name, study in result.items():
        names = sorted({key for trial in study['trials'] for key in trial['settings']})
        lines += [
            f'## {name}',
            '',
            f'| score | {" | ".join(names)} | |',
            '|---' * (len(names) + 2) + '|',
        ]
        for trial in study['trials']:
            cells = [_cell(trial['settings'].get(key)) for key in names]
            lines.append(f'| {_cell(trial["score"])} | {" | ".join(cells)} | {trial["state"]} |')
        lines.append('')
    return '\n'.join(lines)


def read_best(path):
    """
    Overrides by objective from the result of a tuning, as strings.

    :raises FileError: for a file that is none.
    """
    try:
        result = json.loads(path.read_text())
        return {
            name: [f'{key}={json.dumps(value)}' for key, value in study['best'].items()]
            for name, study in result.items()
        }
    except OSError as error:
        raise FileError(f'cannot read {path}: {error.strerror}') from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise FileError(f'{path} is no result of dlc-train --tune; give its {RESULT}') from None


def _study(optuna, name, make_config, trials, out, validation, progress):
    """Go on with the study of one objective until it has its trials; its part of the result."""
    config = make_config([f'objective.name={name}'])
    if config.idle and config.initial_weights:  # else the warm-up is what is tuned
        raise ParameterError(config.idle)
    seed = config.seed
    study = optuna.create_study(
        study_name=name,
        storage=f'sqlite:///{out / STORAGE}',
        direction='maximize',
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
    )
    _refuse_others(study, config, len(validation), out)
    _repeat_what_was_cut_off(optuna, study)
    # From trained weights, none has nothing to choose: its trials would be one and the same.
    wanted = 1 if name == 'none' and config.initial_weights else trials
    while _finished(study) < wanted:
        # The sampler draws anew for each trial: continued, it may not repeat its first draws.
        study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
        _one_trial(optuna, study, make_config, out, validation, progress)
    return _summary(optuna, study, make_config)


@contextmanager
def _told_of_storage(optuna, out):
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        raise FileError(
            f'{out / STORAGE} cannot be used ({one_line(error.__cause__ or error)}); make room, '
            'or use another --out'
        ) from None


def _one_trial(optuna, study, make_config, out, validation, progress):
    trial = study.ask()
    named = [f'objective.name={study.study_name}']
    chosen = suggest(trial, make_config(named))
    config = make_config(named + [f'{k}={json.dumps(v)}' for k, v in chosen.items()])
    # A trial that was cut off is asked for again with the same settings, and so continued.
    folder = out / 'trials' / f'{study.study_name}-{_digest(chosen)}'
    rungs = {max(1, int(share * config.optimiser.steps)) for share in _RUNGS}

    def judge(trainer):
        save_weights(folder / 'weights.safetensors', trainer.averaged(), {})
        reached = validation.descent(folder / 'weights.safetensors')['reached']
        return sum(reached) / len(reached)

    def observe(trainer):
        if trainer.step in rungs:
            trial.report(judge(trainer), trainer.step)
            if trial.should_prune():
                raise optuna.TrialPruned

    try:
        trainer = Trainer(config, folder)
        trainer.run(progress, observe)
        study.tell(trial, judge(trainer))
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except TrainingStopped:  # settings that diverge are as bad as can be, and tried
        study.tell(trial, 0.0)
    except (Interrupted, KeyboardInterrupt):
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _refuse_others(study, config, pairs, out):
    """Scores of other lengths, data or pairs do not compare with those that would follow."""
    asked = {'pairs': pairs, **json.loads(config.model_dump_json(exclude=_PACE))}
    if study.user_attrs.get(_BASED_ON, asked) != asked:
        raise FileError(
            f'{out} holds trials of another configuration or other --pairs; use another --out'
        )
    study.set_user_attr(_BASED_ON, asked)


def _repeat_what_was_cut_off(optuna, study):
    """Trials without an end: those of a process that died, and those that were interrupted."""
    states = optuna.trial.TrialState
    cut_off = study.get_trials(states=(states.RUNNING, states.FAIL))
    again = {trial.user_attrs.get('repeats') for trial in study.trials}
    for trial in cut_off:
        if trial.state == states.RUNNING:
            study.tell(trial.number, state=states.FAIL)
        if trial.number not in again and trial.params:
            study.enqueue_trial(trial.params, user_attrs={'repeats': trial.number})


def _finished(study):
    return sum(trial.state.name in ('COMPLETE', 'PRUNED') for trial in study.trials)


def _summary(optuna, study, make_config):
    trials = []
    for trial in study.trials:
        if trial.state.name in ('COMPLETE', 'PRUNED'):
            score = (
                trial.value
                if trial.value is not None
                else max(trial.intermediate_values.values(), default=0.0)
            )
            state = 'ended early' if trial.state.name == 'PRUNED' else ''
            trials.append({'score': score, 'settings': trial.params, 'state': state})
    trials.sort(key=lambda trial: (trial['state'] != '', -trial['score']))
    fixed = optuna.trial.FixedTrial(study.best_params)
    best = suggest(fixed, make_config([f'objective.name={study.study_name}']))
    return {'best': best, 'score': study.best_value, 'trials': trials}


def _digest(chosen):
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:12]


def _cell(value):
    return f'{value:.3g}' if isinstance(value, float) else str(value)


def _optuna():
    try:
        import optuna
    except ImportError:
        raise DlcError('tuning needs optuna: pip install optuna') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
