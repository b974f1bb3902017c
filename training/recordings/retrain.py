"""``dlc-retrain`` from its options: plan or prepare, train, judge, report."""

import os
import sys
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import numpy as np

from dlc_ros.registration.weights import load_weights, save_weights
from dlc_training.engine.reporting import curve_writer
from dlc_training.recordings.files import check_place
from dlc_training.recordings.judge import (
    judge_benchmark,
    judge_held_out,
    judge_in_windows,
    spread,
)
from dlc_training.recordings.planning import dry_run
from dlc_training.recordings.preparation import prepare
from dlc_training.recordings.results import EVERYWHERE, NEARBY, write_results
from dlc_training.recordings.settings import NONE, source_of, training_config
from dlc_training.recordings.trajectory import stand_upright
from dlc_training.recordings.verdict import compare, compare_scans, verdict

# The constants of the gate in a model card. A few hundred steps hardly move what the evidence
# means; how often the gate is right with the new weights stands in the report.
_GATE = 'gate'
# How long processes wait for the one that reads the recording.
_LONGEST_PREPARATION = timedelta(days=2)
_PREPARED = 'dlc_retrain/prepared'


def run(options):
    """
    Run the command.

    :param options: what :mod:`dlc_training.retrain_cli` parsed.
    :return: exit code.
    :raises DlcError: a user's mistake.
    """
    source = source_of(options)
    check_place(options.out)
    old = None if options.weights == NONE else load_weights(options.weights or None)
    if options.dry_run:
        return dry_run(options, source, old)
    _import_what_comes_late(training_config(options, old))
    out = Path(options.out)
    if int(os.environ.get('RANK', 0)):
        _meeting = _wait_for_first()
        _train(options, old, quiet=True)
        return 0
    print('reading the recording', flush=True)
    prepared = prepare(source, out, options.weights if old else None, options.quiet)
    for what, value in prepared.facts:
        print(f'  {what}: {value}')
    for note in prepared.notes:
        print(f'  note: {note}', flush=True)
    _meeting = _wait_for_first()
    trainer = _train(options, old, options.quiet)
    weights = out / 'weights.safetensors'
    card = _card(options, prepared, trainer, old)
    net = trainer.averaged()
    save_weights(weights, net, card)
    summary, judged, places = _judge(options, prepared, old, weights, out)
    save_weights(weights, net, {**card, 'scores': summary})
    summary['weights_sha256'] = load_weights(weights).sha256
    write_results(out, options, prepared, summary, judged, places)
    print(f'\n{summary["verdict"]}\n{weights}\n{out}/report.html')
    return 0


def _import_what_comes_late(config):
    """
    A package that is missing is known before the hours of reading and training.

    :raises DlcError, ModuleNotFoundError: one is.
    """
    if config.tensorboard:
        curve_writer()
    import_module('matplotlib.figure')  # of the report


def _wait_for_first():
    """
    Under ``torchrun``: wait until the first process has prepared the recording.

    No group of processes is made for this: a second one of the same name, for training, may find
    the addresses that the first one left in the store.

    :return: what the processes meet through, to be held until training has ended; None for one.
    """
    if int(os.environ.get('WORLD_SIZE', 1)) == 1:
        return None
    from torch.distributed.rendezvous import rendezvous

    store, rank, _ = next(rendezvous('env://', timeout=_LONGEST_PREPARATION))
    if rank:
        store.wait([_PREPARED], _LONGEST_PREPARATION)
    else:
        store.set(_PREPARED, 'yes')
    return store


def _train(options, old, quiet):
    from dlc_training.engine import Trainer

    config = training_config(options, old, (Path(options.out) / 'pairs').resolve())
    trainer = Trainer(config, Path(options.out) / 'run')
    if not int(os.environ.get('RANK', 0)):
        left = config.optimiser.steps - trainer.step
        print(f'training: {left} of {config.optimiser.steps} steps left', flush=True)
    trainer.run(progress=not quiet and sys.stderr.isatty())
    return trainer


def _card(options, prepared, trainer, old):
    from dlc_training.model_card import model_card

    card = model_card(trainer, options.command_line)
    facts = prepared.index.facts
    card['data'] = (
        f'{len(prepared.kept)} scans of {", ".join(facts["recordings"])} '
        f'(content {facts["key"][:12]}), {facts["topic"]}; beside them generated solids and rooms'
    )
    card['recording'] = {what: str(value) for what, value in prepared.facts}
    card['configuration']['data']['recordings'] = facts['recordings']
    card['started_from'] = old.sha256 if old else 'random weights'
    if old and _GATE in old.card:
        card[_GATE] = old.card[_GATE]
        card['gate_fitted_to'] = old.sha256
    return card


def _judge(options, prepared, old, weights, out):
    """
    Both weights on the held-out part, and on generated shapes; the package's stand for none.

    :return: the summary, the judgements, and (N, 3) places of all scans, those judged as they are.
    """
    new = load_weights(weights)
    old = old or load_weights(None)
    numbers, poses, caveat = prepared.judged, prepared.labels.poses, prepared.labels.caveat
    if prepared.measured is not None:
        numbers, poses, caveat = prepared.measured.numbers, prepared.measured.poses, ''
    numbers = spread(numbers, options.judge_scans)
    cache = out / 'judged'
    print(f'judging old and new weights on {len(numbers)} held-out scans', flush=True)
    upright = prepared.labels.z_is_up and stand_upright(poses[numbers])
    common = cache, prepared.index, poses, numbers, prepared.labels.reference
    judged = {EVERYWHERE: [], NEARBY: []}
    for which in (old, new):
        problem = *common, which, prepared.median_range
        judged[EVERYWHERE].append(judge_held_out(*problem, upright, options.quiet))
        judged[NEARBY].append(judge_in_windows(*problem, options.quiet))
    right, accepted = (
        [np.array(found[name], bool) for found in judged[EVERYWHERE]]
        for name in ('success', 'accepted')
    )
    summary = {
        'command': options.command_line,
        'weights_sha256': new.sha256,
        'old_sha256': old.sha256,
        'held_out_is_truth': not caveat,
        'held_out_caveat': caveat,
        'upright': upright,
        'held_out': compare_scans(*right),
        'accepted': compare_scans(*(a & r for a, r in zip(accepted, right, strict=True))),
        'wrong': _wrong(judged[EVERYWHERE]),
        'windows': compare_scans(*(found['success'] for found in judged[NEARBY])),
        'wrong_in_windows': _wrong(judged[NEARBY]),
        'benchmark': None,
    }
    if options.benchmark_pairs:
        print('judging both on generated shapes (what was forgotten)', flush=True)
        hits = judge_benchmark(
            cache, {'old': str(old.path), 'new': str(weights)}, options.benchmark_pairs,
            options.quiet,
        )  # fmt: skip
        summary['benchmark'] = compare(hits['old'], hits['new'])
    deploy, sentence = verdict(summary, caveat)
    places = prepared.labels.poses[:, :3, 3].copy()
    places[numbers] = poses[numbers, :3, 3]
    return {**summary, 'deploy': deploy, 'verdict': sentence}, judged, places


def _wrong(both):
    """How many wrong answers of the old and of the new weights the gate accepted."""
    counts = [
        sum(a and not r for a, r in zip(found['accepted'], found['success'], strict=True))
        for found in both
    ]
    return dict(zip(('old', 'new'), counts, strict=True))
