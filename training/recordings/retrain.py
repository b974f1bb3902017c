"""``dlc-retrain`` from its options: plan or prepare, train, judge, report."""

import json
import resource
import time
from pathlib import Path

from dlc_ros.errors import ParameterError
from dlc_ros.registration.weights import load_weights, save_weights
from dlc_training.recordings import report
from dlc_training.recordings.files import write_json
from dlc_training.recordings.judge import judge_benchmark, judge_held_out, success_limits
from dlc_training.recordings.preparation import Source, plan, prepare
from dlc_training.recordings.truth import Wishes

# Share of recorded pairs; the generated ones keep the network from forgetting.
RECORDED_SHARE = 0.65
_STEPS, _STEPS_FROM_NONE = 600, 7000
# Fine-tuning: a gentler rate, hinges from the start (the features are there already).
_RATE, _RISE, _AVERAGE = 3e-4, 30, 0.98
_NONE = 'none'


def run(options):
    """
    Run the command.

    :param options: what :mod:`dlc_training.retrain_cli` parsed.
    :return: exit code.
    :raises DlcError: a user's mistake.
    """
    source = _source(options)
    if options.dry_run:
        return _dry_run(options, source)
    out = Path(options.out)
    old = None if options.weights == _NONE else load_weights(options.weights or None)
    print("reading the recording", flush=True)
    prepared = prepare(source, out, options.weights if old else None, options.quiet)
    for what, value in prepared.facts:
        print(f'  {what}: {value}')
    for note in prepared.notes:
        print(f'  note: {note}')
    trainer, config = _train(options, prepared, old)
    weights = out / 'weights.safetensors'
    card = _card(options, prepared, trainer, old)
    net = trainer.averaged()
    save_weights(weights, net, card)
    summary, held_out = _judge(options, prepared, old, weights, out)
    save_weights(weights, net, {**card, 'scores': summary})
    sentence = summary['verdict']
    _report(out, options, prepared, summary, held_out, sentence)
    write_json(out / 'report.json', summary)
    print(f'\n{sentence}\n{weights}\n{out}/report.html')
    return 0


def _source(options):
    if not 0.05 <= options.share <= 0.8:
        raise ParameterError(f'--share {options.share} is not between 0.05 and 0.8')
    for name in ('most_scans', 'judge_scans'):
        if getattr(options, name) < 12:
            raise ParameterError(
                f'--{name.replace("_", "-")} {getattr(options, name)} is below 12'
            )
    wishes = Wishes(options.trajectory, options.trajectory_frame, options.fixed_frame)
    return Source(
        bags=tuple(options.bag),
        topic=options.topic,
        reference=options.reference,
        reference_scale=options.reference_scale,
        wishes=wishes,
        initial_pose=options.initial_pose,
        point_times=options.point_times,
        body_reach=options.body_reach,
        hold_out=options.hold_out,
        share=options.share,
        most_scans=options.most_scans,
    )


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
            f'optimiser.average={_AVERAGE}',
            'objective.warm_up=0',
            f'objective.ramp={max(1, steps // 4)}',
            'save_every=25',
        ]
        settings += [f'net.{k}={json.dumps(v)}' for k, v in _architecture(old).items()]
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


def _architecture(weights):
    from dataclasses import asdict

    return asdict(weights.net.options)


def _train(options, prepared, old):
    from dlc_training.engine import Trainer

    config = training_config(options, old, prepared.folder.resolve())
    trainer = Trainer(config, Path(options.out) / 'run')
    left = config.optimiser.steps - trainer.step
    print(
        f'training: {left} steps of {config.optimiser.steps} left, objective {options.objective}'
    )
    trainer.run(progress=not options.quiet)
    return trainer, config


def _card(options, prepared, trainer, old):
    from dlc_training.train_cli import model_card

    card = model_card(trainer, options.command_line)
    facts = prepared.index.facts
    card['data'] = (
        f'{len(prepared.kept)} scans of {", ".join(facts["recordings"])} '
        f'(content {facts["key"][:12]}), {facts["topic"]}; beside them generated solids and rooms'
    )
    card['recording'] = {what: str(value) for what, value in prepared.facts}
    card['started_from'] = old.sha256 if old else 'random weights'
    return card


def _judge(options, prepared, old, weights, out):
    """Both weights on the held-out part, and on generated shapes; random ones stand for none."""
    new = load_weights(weights)
    old = old or load_weights(None)
    step = max(1, len(prepared.judged) // options.judge_scans)
    numbers = prepared.judged[::step]
    cache = out / 'judged'
    print(f'judging old and new weights on {len(numbers)} held-out scans')
    held_out = [
        judge_held_out(
            cache,
            prepared.index,
            prepared.labels.poses,
            numbers,
            prepared.labels.reference,
            w,
            prepared.median_range,
            options.quiet,
        )
        for w in (old, new)
    ]
    clusters = report.clusters_of(len(numbers))
    summary = {
        'command': options.command_line,
        'weights_sha256': new.sha256,
        'old_sha256': old.sha256,
        'held_out': report.compare(held_out[0]['success'], held_out[1]['success'], clusters),
        'held_out_is_truth': not prepared.labels.self_labelled,
        'benchmark': None,
    }
    if options.benchmark_pairs:
        print('judging both on generated shapes (what was forgotten)')
        hits = judge_benchmark(
            cache,
            {'old': str(old.path), 'new': str(weights)},
            options.benchmark_pairs,
            options.quiet,
        )
        summary['benchmark'] = report.compare(hits['old'], hits['new'])
    deploy, sentence = report.verdict(
        summary['held_out'], summary['benchmark'], prepared.labels.self_labelled
    )
    return {**summary, 'deploy': deploy, 'verdict': sentence}, held_out


def _report(out, options, prepared, summary, held_out, sentence):
    limits = success_limits(prepared.median_range)
    head = ('on', 'problems', 'old weights', 'new weights', 'difference', '95 % interval')
    rows = [
        head,
        _row(
            f'held-out scans, start unknown, within {limits[0]:g} deg / {limits[1]:.2g} m',
            summary['held_out'],
        ),
    ]
    if summary['benchmark']:
        rows.append(_row('generated shapes (so3-crop)', summary['benchmark']))
    records = [json.loads(line) for line in (out / 'run' / 'log.jsonl').read_text().splitlines()]
    places = prepared.labels.poses[:, :3, 3]
    pictures = [
        (
            'Where',
            report.plan_picture(
                places, prepared.split, prepared.dropped, prepared.labels.reference, held_out
            ),
        ),
        ('Errors of the held-out scans', report.error_picture(held_out, limits)),
        ('Loss', report.loss_picture(records)),
    ]
    tables = [('Result', rows), ('What was used', [('what', 'value'), *prepared.facts])]
    notes = list(prepared.notes)
    if prepared.labels.self_labelled:
        notes.insert(
            0,
            'The held-out poses were made by the old weights and odometry: the score '
            'is not a truth. Give --trajectory with measured poses for one.',
        )
    notes.append(f'Command: {options.command_line}')
    report.write_report(
        out / 'report.html', 'Retraining on a recording', sentence, tables, pictures, notes
    )


def _row(name, compared):
    def share(which):
        low, high = compared[f'{which}_interval']
        return f'{compared[which]:.1f} % [{low:.0f}, {high:.0f}]'

    low, high = compared['interval']
    return (
        name,
        compared['count'],
        share('old'),
        share('new'),
        f'{compared["difference"]:+.1f}',
        f'{low:+.1f} to {high:+.1f}',
    )


def _dry_run(options, source):
    begun = time.monotonic()
    seen, rows, notes, train, held = plan(source, options.quiet)
    reading = time.monotonic() - begun
    old = None if options.weights == _NONE else load_weights(options.weights or None)
    config = training_config(options, old)
    step = _seconds_a_step(config)
    training = step * config.optimiser.steps
    judging = 2 * min(held, options.judge_scans) * 0.2 + 16 * options.benchmark_pairs * 0.15
    rows += [
        (
            'pairs',
            f'{config.optimiser.steps} steps of {config.optimiser.batch}, '
            f'{100 * RECORDED_SHARE:.0f} % recorded, from {train} scans',
        ),
        (
            'time',
            f'about {_minutes(2 * reading)} reading, {_minutes(training)} training '
            f'({step:.2f} s a step, measured now), {_minutes(judging)} judging',
        ),
        ('memory', f'{_memory_mb(train + held):.0f} MB, whatever the length of the recording'),
    ]
    for what, value in rows:
        print(f'{what}: {value}')
    for note in notes:
        print(f'note: {note}')
    return 0


def _seconds_a_step(config):
    """Time of one step, measured on two of generated pairs in a folder that is thrown away."""
    from tempfile import TemporaryDirectory

    from dlc_training.engine import Trainer

    optimiser = config.optimiser.model_copy(update={'steps': 3})
    data = config.data.model_copy(update={'workers': 0})
    short = config.model_copy(update={'optimiser': optimiser, 'data': data, 'save_every': 1000})
    with TemporaryDirectory() as folder:
        begun = time.monotonic()
        Trainer(short, folder).run(progress=False)
        return (time.monotonic() - begun) / 3


def _memory_mb(scans):
    """Now, and what grows with the scans kept: poses, cells, maps; two open shards."""
    now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return now + 300 + 0.02 * scans


def _minutes(seconds):
    return f'{seconds / 60:.0f} min' if seconds >= 90 else f'{seconds:.0f} s'
