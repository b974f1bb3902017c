"""One protocol of pairs from the command line: methods, scores, tables, files."""

import platform
from pathlib import Path

import numpy as np

from dlc_training.evaluate import report
from dlc_training.evaluate.explain import OUTCOMES, explain, explanation
from dlc_training.evaluate.methods import (
    METHODS,
    OURS,
    PEERS,
    Settings,
    choose,
    fingerprint,
    versions,
    weights_sha256,
)
from dlc_training.evaluate.page import percent, write_result
from dlc_training.evaluate.runner import Runner, digest_of


def run_protocol(options, name, protocol, shapes, pairs):
    """
    Run the chosen methods on the pairs of a protocol, print the tables and write the files.

    :param options: parsed arguments: ``weights``, ``methods``, ``out``, ``jobs``, ``quiet``,
        ``explain``, ``seed`` and ``command_line``.
    :param name: of the protocol.
    :param protocol: :class:`~dlc_training.evaluate.protocols.Protocol`.
    :param shapes: where the pairs' shapes come from.
    :param pairs: its pairs, made one by one when methods and weights are known to be there.
    :return: JSON-able dict of everything that was found, as it was written.
    """
    out = Path(options.out)
    settings = Settings(options.weights, out / 'cache', protocol.unit, protocol.upright)
    names, notes = choose(options.methods)
    if options.explain or any(method.startswith(OURS) for method in names):
        check_weights(options.weights)
    pairs = list(pairs)
    digest = digest_of(pairs)
    failures = []
    with Runner(options.jobs, settings.folder, options.quiet) as runner:
        groups, ambiguous = runner.judge(protocol, shapes, pairs, digest)
        scores = {}
        for method in names:
            key = f'{fingerprint(method, settings)[:12]}{digest[:12]}'
            answers = runner.run(method, METHODS[method].make(settings), pairs, key)
            scores[method] = report.score(protocol, pairs, groups, answers)
        if options.explain:
            failures = _explained(options, protocol, runner, pairs, groups, ambiguous, scores)
    summary = report.summarise(scores, pairs, ambiguous, OURS, PEERS)
    labels = {method: METHODS[method].label for method in names}
    title = f'{name}, shapes {shapes.label}, {len(pairs)} pairs, seed {options.seed}'
    text = report.table(summary, labels, protocol)
    if options.explain:
        text = f'{text}\n\n{explanation(failures)}'
    print('\n'.join([title, *notes, text]))
    content = {
        'kind': 'pairs',
        'protocol': name,
        'title': title,
        'summary_line': protocol.summary,
        'facts': _facts(summary),
        'text': text,
        'bin_label': protocol.bin_label,
        'success': protocol.success,
        'strict': protocol.strict,
        'length_unit': protocol.length_unit,
        'shapes': shapes.label,
        'seed': options.seed,
        'pairs_sha256': digest,
        'labels': labels,
        **provenance(options),
        **summary,
        'pairs': [
            {
                'bin': pair.bin,
                'shape': shapes.name(pair.shape),
                'symmetry': groups[pair.shape].label,
                'ambiguous': flag,
            }
            for pair, flag in zip(pairs, ambiguous, strict=True)
        ],
        'scores': scores,
        'failures': failures,
    }
    write_result(out, content)
    return content


def _facts(summary):
    """The numbers that a reader looks for first: (value, what it is)."""
    ours = summary['methods'].get(OURS)
    if ours is None:
        return []
    facts = [
        (percent(_rate(ours['success'])), 'success of dlc_ros'),
        (f'{ours["rre_deg"]["median"] or 0:.2f} deg', 'median rotation error'),
        (percent(_rate(ours['success_of_accepted'])), 'right among accepted'),
        (f'{ours["cpu_ms"]["median"] or 0:.0f} ms', 'CPU time of a pair, median'),
    ]
    peers = [name for name in summary['methods'] if name in PEERS]
    if peers:
        best = max(peers, key=lambda name: summary['methods'][name]['success']['hits'])
        rate = _rate(summary['methods'][best]['success'])
        facts.insert(1, (percent(rate), f'success of the best peer, {METHODS[best].label}'))
    return facts


def _rate(share):
    return share['hits'] / share['of'] if share['of'] else None


def _explained(options, protocol, runner, pairs, groups, ambiguous, scores):
    """Every clear pair that the registrar fails, explained."""
    solved = scores[OURS]['success'] if OURS in scores else np.zeros(len(pairs), bool)
    failed = [
        pair
        for pair, flag, done in zip(pairs, ambiguous, solved, strict=True)
        if not flag and not done
    ]
    if not failed:
        return []
    tasks = [(pair, groups[pair.shape], protocol.success, options.weights) for pair in failed]
    rows = runner.map('failures', explain, tasks)
    return [
        {'pair': pair.index, 'meaning': OUTCOMES.get(row['outcome'], ''), **row}
        for pair, row in zip(failed, rows, strict=True)
    ]


def provenance(options):
    """What a result was made with, for its file: command, weights, versions, machine."""
    return {
        'command': options.command_line,
        'weights': options.weights or 'package',
        'weights_sha256': weights_sha256(options.weights),
        'versions': {'python': platform.python_version(), **versions()},
        'machine': platform.machine(),
    }


def check_weights(path):
    """Stop before the work, not in the middle of it."""
    from dlc_ros.registration.weights import load_weights

    load_weights(path)
