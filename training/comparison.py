"""
``dlc-train --compare``: the objectives side by side, at equal steps and at equal time.

Same network, data, seeds and batches; optionally each with its own tuned settings. The warm-up, in
which no objective acts, is trained once for all objectives that are otherwise alike. "Equal time"
gives every objective the seconds that ``none`` took for its steps, measured over the steps alone,
without the making of pairs. Each run has a folder of its own: what is done is not done again, and
a run that was cut off is continued.
"""

import json
import platform

import numpy as np
import torch

from dlc_ros.errors import FileError, ParameterError
from dlc_ros.registration.weights import save_weights
from dlc_training.engine import Trainer
from dlc_training.evaluate.runner import write_text
from dlc_training.evaluate.statistics import paired_difference
from dlc_training.model_card import model_card
from dlc_training.recordings.files import read_json
from dlc_training.validation import ANGLES, COMPARISON, LENGTH, Validation

RESULT, TABLE = 'comparison.json', 'comparison.md'
# Folder of a run of ``none`` for its state at the end of the warm-up.
WARM_UP = 'warm_up'


def compare(
    make_config,
    objectives,
    seeds,
    out,
    pairs,
    tuned=None,
    budgets=('steps', 'time'),
    progress=True,
):
    """
    Train and judge every objective.

    :param make_config: (list of overrides) -> :class:`TrainingConfig`; its steps are the budget.
    :param objectives: names; ``none`` is added where it is missing.
    :param seeds: number of seeds.
    :param out: folder of the runs and the result.
    :param pairs: held-out pairs that every network is judged on.
    :param tuned: dict objective -> overrides, from :func:`dlc_training.tuning.read_best`.
    :param budgets: what is equal, ``steps``, ``time`` or both; time is measured over equal steps.
    :return: the result, as written to ``comparison.json``.
    :raises ParameterError: there are too few steps to time, or to tell the objectives apart.
    :raises FileError: ``out`` cannot be written.
    """
    whole = make_config([])
    if whole.optimiser.steps < 2:
        raise ParameterError('optimiser.steps: at least 2 steps tell how long one takes')
    objectives = ['none', *(name for name in objectives if name != 'none')]
    for name in objectives[1:]:
        config = make_config([f'objective.name={name}', *(tuned or {}).get(name, ())])
        if config.idle:
            raise ParameterError(config.idle)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f'cannot write in {out}: {error.strerror}; use another --out') from None
    validation, runs, seconds, begun = Validation(pairs, COMPARISON), [], {}, {}
    for budget in dict.fromkeys(('steps', *budgets)):
        for seed in range(whole.seed, whole.seed + seeds):
            for name in objectives:
                share = 1.0
                if budget == 'time':
                    if name == 'none':
                        runs += [
                            {**run, 'budget': 'time'}
                            for run in runs
                            if run['objective'] == name and run['seed'] == seed
                        ]
                        continue
                    share = np.mean(seconds['none']) / np.mean(seconds[name])
                overrides = [
                    f'objective.name={name}', f'seed={seed}', *(tuned or {}).get(name, ())
                ]  # fmt: skip
                config = make_config(overrides)
                if share != 1.0:
                    config = make_config([*overrides, *_shortened(config, share)])
                folder = out / f'{name}-{budget}-seed{seed}'
                begin = None if name == 'none' else begun.get(seed)
                run = _run(config, folder, validation, progress, begin)
                if name == 'none':
                    begun[seed] = (config, folder / WARM_UP)
                run = {'objective': name, 'budget': budget, 'seed': seed, **run}
                if budget == 'steps':
                    seconds.setdefault(name, []).append(run['step_seconds'])
                runs.append(run)
                result = _result(whole, runs, pairs, tuned)
                write_text(out / RESULT, json.dumps(result, indent=1) + '\n')
                write_text(out / TABLE, table(result))
    return result


def table(result):
    """Markdown: one row an objective and budget, all seeds together."""
    lines = [
        '| budget | objective | steps | time a step / none | starts reached % | minus none '
        '| EM steps | end deg / units | bias deg / units | ranked % | hinges % | rising % '
        '| registered % | minus none |',
        '|---' * 14 + '|',
    ]
    for row in result['rows']:
        versus = [
            '' if row[key] is None else '{:+.1f} [{:.1f}, {:.1f}]'.format(*row[key])
            for key in ('reached_minus_none', 'success_minus_none')
        ]
        lines.append(
            f'| {row["budget"]} | {row["objective"]} | {row["steps"]:.0f} '
            f'| {row["time_ratio"]:.2f} | {row["reached"]:.1f} | {versus[0]} '
            f'| {row["em_steps"]:.1f} | {row["rotation"]:.2f} / {row["translation"]:.4f} '
            f'| {row["bias_rotation"]:.2f} / {row["bias_translation"]:.4f} '
            f'| {row["ranked"]:.1f} | {row["satisfied"]:.1f} '
            f'| {row["rising"]:.1f} / {row["rising_settled"]:.1f} '
            f'| {row["success"]:.1f} | {versus[1]} |'
        )
    angles = ', '.join(map(str, ANGLES))
    lines += [
        '',
        f'{result["seeds"]} seed(s), {result["pairs"]} held-out pairs. Reached: of descents from '
        f'{angles} deg and {LENGTH} network units away, without a features-only stage. End, EM '
        'steps: medians of those reached. Bias: median distance from the truth to the minimum '
        'that a descent from it ends in. Ranked: of the wrong ends of a descent, those with more '
        'energy than the truth. Hinges: growth and star hinges that are satisfied, all betas. '
        'Rising: rays within the radius of their beta on which the energy only rises, from the '
        'truth / from its own minimum there. Registered: the whole registrar, within 5 deg / '
        '0.1. Brackets: 95 % bootstrap over pairs.',
        '',
    ]
    return '\n'.join(lines)


def _shortened(config, share):
    """Overrides for a run of this share of the steps; warm-up and ramp keep theirs of it."""
    objective = config.objective
    return [
        f'optimiser.steps={max(1, round(share * config.optimiser.steps))}',
        f'objective.warm_up={round(share * objective.warm_up)}',
        f'objective.ramp={max(1, round(share * objective.ramp))}',
    ]


def _run(config, folder, validation, progress, begin):
    """
    Train one network and judge it, each if that was not done.

    :param begin: configuration and folder of the warm-up of another run, or None.
    """
    score = folder / 'score.json'
    configuration = json.loads(config.model_dump_json())
    kept = read_json(score)
    if isinstance(kept, dict) and kept.pop('configuration', None) == configuration:
        if len(kept['registration']['success']) == len(validation):
            return kept
    trainer = Trainer(config, folder)
    if begin and trainer.step == 0 and _before_acting(begin[0]) == _before_acting(config):
        trainer.begin_from(begin[1], begin[0])

    def observe(trainer):
        if begin is None and trainer.step == config.objective.warm_up:
            (folder / WARM_UP).mkdir(exist_ok=True)
            trainer.save(folder / WARM_UP)

    net = trainer.run(progress, observe)
    weights = folder / 'weights.safetensors'
    save_weights(weights, net, model_card(trainer, f'dlc-train --compare: {folder.name}'))
    found = {
        'steps': trainer.step,
        'step_seconds': trainer.step_seconds,
        'weights': str(weights.relative_to(folder.parent)),
        'descent': validation.descent(weights),
        'rays': validation.rays(weights),
        'registration': validation.registration(weights),
    }
    write_text(score, json.dumps({**found, 'configuration': configuration}) + '\n')
    return found


def _before_acting(config):
    """What the steps of the warm-up depend on."""
    objective = config.objective
    return config.model_dump(exclude={'objective'}), objective.warm_up, objective.pose_weight


def _result(config, runs, pairs, tuned):
    rows = []
    keys = list(dict.fromkeys((run['budget'], run['objective']) for run in runs))
    groups = {key: [r for r in runs if (r['budget'], r['objective']) == key] for key in keys}
    for (budget, name), own in groups.items():
        seeds = {run['seed'] for run in own}
        none = [run for run in groups.get((budget, 'none'), []) if run['seed'] in seeds]
        none = none or [run for run in groups['steps', 'none'] if run['seed'] in seeds]
        rows.append(
            {
                'budget': budget,
                'objective': name,
                'steps': np.mean([run['steps'] for run in own]),
                'time_ratio': _mean(own, 'step_seconds') / _mean(none, 'step_seconds'),
                'reached': 100 * np.mean(_all(own, 'descent', 'reached')),
                'ranked': 100 * np.mean(np.array(_all(own, 'descent', 'margin')) > 0),
                **{
                    key: 100 * np.mean(_all(own, 'rays', key))
                    for key in ('satisfied', 'rising', 'rising_settled')
                },
                'success': 100 * np.mean(_all(own, 'registration', 'success')),
                'reached_minus_none': _versus(own, none, name, 'descent', 'reached'),
                'success_minus_none': _versus(own, none, name, 'registration', 'success'),
                'em_steps': _median(own, 'steps'),
                **{
                    key: _median(own, key)
                    for key in ('rotation', 'translation', 'bias_rotation', 'bias_translation')
                },
            }
        )
    return {
        'configuration': json.loads(config.model_dump_json()),
        'tuned': tuned or {},
        'pairs': pairs,
        'seeds': len({run['seed'] for run in runs}),
        'hardware': platform.machine(),
        'torch': torch.__version__,
        'rows': json.loads(json.dumps(rows, default=float)),
        'runs': runs,
    }


def _versus(own, none, name, part, key):
    """Difference to ``none`` on the same pairs, seeds and starts: mean, low, high in points."""
    if name == 'none':
        return None
    order = [run['seed'] for run in own]
    none = sorted(none, key=lambda run: order.index(run['seed']))
    first, second = _all(own, part, key), _all(none, part, key)
    # One cluster is one pair, with all its starts and seeds: they are not independent.
    per_pair = len(own[0][part][key]) // len(own[0]['registration']['success'])
    pair = np.arange(len(own[0][part][key])) // per_pair
    return [100 * v for v in paired_difference(first, second, np.tile(pair, len(own)))]


def _all(runs, part, key):
    return [value for run in runs for value in run[part][key]]


def _mean(runs, key):
    return np.mean([run[key] for run in runs])


def _median(runs, key):
    values = _all(runs, 'descent', key)
    return float(np.median(values)) if values else float('nan')
