"""One protocol of pairs from the command line: methods, scores, tables, files."""

import json
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
from dlc_training.evaluate.runner import Runner, digest_of, write_text


def run_protocol(options, name, protocol, shapes, pairs):
    """
    Run the chosen methods on the pairs of a protocol, print the tables and write the files.

    :param options: parsed arguments: ``weights``, ``methods``, ``out``, ``jobs``, ``quiet``,
        ``explain``, ``seed`` and ``command_line``.
    :param name: of the protocol.
    :param protocol: :class:`~dlc_training.evaluate.protocols.Protocol`.
    :param shapes: where the pairs' shapes come from.
    :param pairs: list of its pairs.
    :return: JSON-able dict of everything that was found, as it was written.
    """
    out = Path(options.out)
    settings = Settings(options.weights, out / 'cache', protocol.unit)
    names, notes = choose(options.methods)
    if options.explain or any(method.startswith(OURS) for method in names):
        check_weights(options.weights)
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
    print('\n'.join([title, *notes, report.table(summary, labels, protocol)]))
    if options.explain:
        print('\n' + explanation(failures))
    content = {
        'kind': 'pairs',
        'protocol': name,
        'title': title,
        'summary_line': protocol.summary,
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
    write_text(out / 'result.json', json.dumps(content, allow_nan=True))
    report.picture(out / 'success.png', summary, labels, protocol.bin_label, title)
    print(f'\n{out}/result.json, {out}/success.png')
    return content


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
