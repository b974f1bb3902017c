"""``dlc-eval landscape``: what the descent walks on, with and without DLC."""

from pathlib import Path

import numpy as np

from dlc_training.evaluate.landscape import measure_basin, measure_bias, measure_rays, slices
from dlc_training.evaluate.page import write_result
from dlc_training.evaluate.pair_command import check_weights, provenance
from dlc_training.evaluate.report import grid
from dlc_training.evaluate.shapes import open_shapes


def run_landscape(options):
    """
    Measure one or two weights files on the same pairs, print tables, write the files.

    :param options: parsed arguments: ``weights``, ``without``, ``shapes``, ``pairs``, ``seed``,
        ``out`` and ``command_line``.
    :return: exit code.
    """
    files = {'dlc_ros': options.weights}
    if options.without:
        files = {'with DLC': options.weights, 'without DLC': options.without}
    for path in files.values():
        check_weights(path)
    shapes = open_shapes(options.shapes, options.seed)
    networks = {}
    for label, path in files.items():
        arguments = (path, shapes, options.pairs, options.seed)
        networks[label] = {
            'weights': path or 'package',
            'basin': measure_basin(*arguments),
            'rays': measure_rays(*arguments),
            'bias': measure_bias(*arguments),
            'slices': slices(path, shapes, min(options.pairs, 2), options.seed),
        }
    text = table(networks)
    print(text)
    content = {
        'kind': 'landscape',
        'title': f'landscape, {options.pairs} pairs of so3-crop, seed {options.seed}',
        'summary_line': 'The energy that the run-time iteration descends, about the truth.',
        'text': text,
        'facts': [
            (f'{network["basin"]["radius_deg"]} deg', f'basin at 95 %, {label}')
            for label, network in networks.items()
        ],
        **provenance(options),
        'networks': networks,
    }
    write_result(Path(options.out), content)
    return 0


def table(networks):
    """
    Text of the measurements, for a terminal and for a Markdown page.

    :param networks: dict label -> ``basin``, ``rays``, ``bias``.
    """
    lines = ['share of starts that reach the truth, % [95 %], by start angle [deg]:', '']
    first = next(iter(networks.values()))['basin']['cells']
    angles = list(dict.fromkeys(cell['angle_deg'] for cell in first))
    rows = []
    for label, network in networks.items():
        cells = network['basin']['cells']
        for length in dict.fromkeys(cell['length'] for cell in cells):
            found = [cell for cell in cells if cell['length'] == length]
            rows.append([label, f'{length:g}', *(_share(cell) for cell in found)])
    lines += grid([['network', 'shift', *map(str, angles)], *rows])
    head = [
        'network',
        'beta',
        'radius deg',
        'rays that rise %',
        'from the minimum %',
        'hinges that hold %',
    ]
    rows = [
        [
            label,
            f'{row["beta"]:g}',
            f'{row["radius_deg"]:g}',
            f'{100 * row["rising"]:.1f}',
            f'{100 * row["rising_settled"]:.1f}',
            f'{100 * row["satisfied"]:.1f}',
        ]
        for label, network in networks.items()
        for row in network['rays']
    ]
    lines += ['', *grid([head, *rows]), '']
    head = ['network', '95 % reach the truth up to', 'bias deg median / 90 %', 'bias length']
    rows = [
        [
            label,
            f'{network["basin"]["radius_deg"]} deg',
            _quantiles(network['bias']['angle_deg'], '.2f'),
            _quantiles(network['bias']['length'], '.4f'),
        ]
        for label, network in networks.items()
    ]
    return '\n'.join([*lines, *grid([head, *rows])])


def _share(cell):
    return f'{100 * cell["share"]:.1f} [{100 * cell["low"]:.0f}, {100 * cell["high"]:.0f}]'


def _quantiles(values, form):
    median, high = np.quantile(values, (0.5, 0.9))
    return f'{median:{form}} / {high:{form}}'
