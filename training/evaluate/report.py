"""From answers to numbers, and from numbers to a table, a file and a picture."""

import numpy as np

from dlc_training.evaluate.metrics import (
    is_within,
    modified_chamfer,
    rotation_error_deg,
    translation_error,
)
from dlc_training.evaluate.statistics import mcnemar, paired_difference, wilson_interval
from dlc_training.evaluate.symmetry import nearest_truth

ORACLE = 'oracle of the peers'


def score(protocol, pairs, groups, answers):
    """
    Judge the answers of one method.

    :param protocol: :class:`~dlc_training.evaluate.protocols.Protocol` of the pairs.
    :param pairs: list of :class:`~dlc_training.evaluate.pair.Pair`.
    :param groups: dict shape index -> symmetry group.
    :param answers: one dict per pair, see :meth:`Runner.run`.
    :return: dict of lists, one entry a pair: ``rre_deg``, ``rte``, ``success``, ``strict``,
        ``cpu_ms`` and, if asked, ``chamfer``; a missing answer has infinite errors.
    """
    columns = {'rre_deg': [], 'rte': [], 'success': [], 'strict': []}
    chamfer = []
    for pair, answer in zip(pairs, answers, strict=True):
        T = np.array(answer['transform'], float)
        rre, rte, distance = np.inf, np.inf, np.inf
        if np.isfinite(T).all():
            truth = nearest_truth(pair.truth, T, groups[pair.shape], pair.shape_pose)
            rre, rte = rotation_error_deg(T, truth), translation_error(T, truth)
            if protocol.with_chamfer:
                distance = modified_chamfer(pair.source, pair.target, pair.clean, T, pair.truth)
        columns['rre_deg'].append(rre)
        columns['rte'].append(rte)
        columns['success'].append(is_within(rre, rte, protocol.success))
        columns['strict'].append(is_within(rre, rte, protocol.strict))
        chamfer.append(distance)
    columns['cpu_ms'] = [answer['cpu_ms'] for answer in answers]
    if protocol.with_chamfer:
        columns['chamfer'] = chamfer
    for detail in ('status', 'confidence', 'stages', 'error'):
        if any(detail in answer for answer in answers):
            columns[detail] = [answer.get(detail) for answer in answers]
    return columns


def summarise(scores, pairs, ambiguous, ours, peers):
    """
    Sum up all methods over the pairs whose truth is clear; the ambiguous ones apart.

    :param scores: dict method -> columns of :func:`score`.
    :param pairs: list of pairs.
    :param ambiguous: list of bool.
    :param ours: method that the others are compared with.
    :param peers: methods that the oracle chooses from.
    :return: JSON-able dict ``counts``, ``methods``, ``differences``.
    """
    clear = ~np.array(ambiguous, bool)
    bins = np.array([pair.bin for pair in pairs])
    shapes = np.array([pair.shape for pair in pairs])
    methods = {name: _summary(columns, clear, bins) for name, columns in scores.items()}
    present = [name for name in peers if name in scores]
    if len(present) > 1:
        best = np.any([scores[name]['success'] for name in present], axis=0)
        methods[ORACLE] = _rates(best, clear, bins)
    differences = {}
    if ours in scores:
        first = np.array(scores[ours]['success'])[clear]
        for name in scores:
            if name != ours:
                second = np.array(scores[name]['success'])[clear]
                mean, low, high = paired_difference(first, second, shapes[clear])
                only_ours, only_other, p = mcnemar(first, second)
                differences[name] = {
                    'difference': mean,
                    'interval': [low, high],
                    'only_ours': only_ours,
                    'only_other': only_other,
                    'mcnemar_p': p,
                }
    counts = {
        'pairs': len(pairs),
        'clear': int(clear.sum()),
        'ambiguous': int((~clear).sum()),
        'shapes': len(set(shapes.tolist())),
    }
    return {'counts': counts, 'methods': methods, 'differences': differences}


def _rates(success, clear, bins):
    success = np.asarray(success, bool)
    return {
        'success': _share(success[clear]),
        'success_by_bin': {
            f'{edge:g}': _share(success[clear & (bins == edge)]) for edge in np.unique(bins)
        },
        'success_ambiguous': _share(success[~clear]),
        'success_all': _share(success),
    }


def _summary(columns, clear, bins):
    row = _rates(columns['success'], clear, bins)
    row['strict'] = _share(np.array(columns['strict'], bool)[clear])
    for name in ('rre_deg', 'rte', 'chamfer', 'cpu_ms'):
        if name in columns:
            values = np.array(columns[name], float)[clear]
            row[name] = _mean_and_median(values)
    if 'status' in columns:
        accepted = np.array([status == 'ACCEPTED' for status in columns['status']])
        right = np.array(columns['success'], bool)
        row['accepted'] = _share(accepted[clear])
        row['success_of_accepted'] = _share(right[clear & accepted])
        row['accepted_ambiguous'] = _share(accepted[~clear])
    row['no_answer'] = int(np.sum(~np.isfinite(columns['rre_deg'])))
    return row


def _mean_and_median(values):
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return {'mean': None, 'median': None}
    return {'mean': float(finite.mean()), 'median': float(np.median(finite))}


def _share(hits):
    low, high = wilson_interval(int(np.sum(hits)), len(hits))
    return {'hits': int(np.sum(hits)), 'of': len(hits), 'interval': [low, high]}


def table(summary, labels, protocol):
    """
    Text of a summary, for a terminal and for a Markdown page.

    :param summary: of :func:`summarise`.
    :param labels: dict method -> name for people.
    :param protocol: :class:`~dlc_training.evaluate.protocols.Protocol`.
    """
    methods, counts = summary['methods'], summary['counts']
    labels = {**labels, ORACLE: ORACLE}
    lines = [
        f'{counts["pairs"]} pairs of {counts["shapes"]} shapes; {counts["clear"]} have one true '
        f'pose modulo symmetry, {counts["ambiguous"]} are ambiguous and listed apart. '
        f'Success: within {protocol.limit_label(protocol.success)}.',
        '',
    ]
    with_chamfer = any('chamfer' in row for row in methods.values())
    strict = f'% within {protocol.limit_label(protocol.strict)}'
    head = ['method', 'success % [95 %]', strict, 'RRE deg', 'RTE', 'CPU ms']
    if with_chamfer:
        head.insert(5, 'chamfer')
    lines += ['mean / median of RRE, RTE, chamfer; CPU mean of one thread:', '']
    lines += grid([head, *(_overall(labels[n], row, with_chamfer) for n, row in methods.items())])
    bins = list(next(iter(methods.values()))['success_by_bin'])
    rows = [
        [labels[name], *(percent_of(row['success_by_bin'][edge]) for edge in bins)]
        for name, row in methods.items()
    ]
    lines += ['', f'success % [95 %] by {protocol.bin_label}:', '']
    lines += grid([['method', *bins], *rows])
    if summary['differences']:
        head = ['dlc_ros minus', 'points [95 %]', 'only dlc_ros', 'only other', 'McNemar p']
        rows = [_difference(labels[n], d) for n, d in summary['differences'].items()]
        lines += ['', 'paired differences of success:', '', *grid([head, *rows])]
    if counts['ambiguous']:
        rows = [
            [labels[n], percent_of(row['success_ambiguous']), percent_of(row['success_all'])]
            for n, row in methods.items()
        ]
        head = ['method', 'success % on ambiguous', 'on all pairs']
        lines += ['', *grid([head, *rows])]
    rows = [
        [labels[n], *(percent_of(row[key]) for key in ('accepted', 'success_of_accepted'))]
        for n, row in methods.items()
        if 'accepted' in row
    ]
    if rows:
        lines += ['', *grid([['gate', 'accepted % of clear', 'right % of accepted'], *rows])]
    return '\n'.join(lines)


def _overall(label, row, with_chamfer):
    def both(name, form):
        values = row.get(name, {'mean': None})
        if values['mean'] is None:
            return ''
        return f'{values["mean"]:{form}} / {values["median"]:{form}}'

    cpu = row['cpu_ms']['mean'] if 'cpu_ms' in row else None
    cells = [
        label,
        percent_of(row['success']),
        percent_of(row['strict']) if 'strict' in row else '',
        both('rre_deg', '.2f'),
        both('rte', '.4f'),
    ]
    if with_chamfer:
        cells.append(both('chamfer', '.5f'))
    return [*cells, '' if cpu is None else f'{cpu:.0f}']


def _difference(label, row):
    low, high = row['interval']
    return [
        label,
        f'{100 * row["difference"]:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]',
        str(row['only_ours']),
        str(row['only_other']),
        f'{row["mcnemar_p"]:.2g}',
    ]


def percent_of(share):
    """Share with its interval in percent, for people."""
    if not share['of']:
        return '-'
    low, high = share['interval']
    return f'{100 * share["hits"] / share["of"]:.1f} [{100 * low:.0f}, {100 * high:.0f}]'


def grid(rows):
    """Lines of a Markdown table with aligned columns; the first row is its head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    text = [
        '| ' + ' | '.join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + ' |'
        for row in rows
    ]
    return [text[0], '|' + '|'.join('-' * (w + 2) for w in widths) + '|', *text[1:]]
