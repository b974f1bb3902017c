"""``dlc-eval sweeps`` from the command line."""

from pathlib import Path

from dlc_training.evaluate import sweeps
from dlc_training.evaluate.methods import METHODS, Settings
from dlc_training.evaluate.page import write_result
from dlc_training.evaluate.pair_command import check_weights, provenance
from dlc_training.evaluate.runner import Runner
from dlc_training.evaluate.shapes import open_shapes


def run_sweeps(options):
    """
    Measure the curves, print and write them.

    :param options: parsed arguments: ``weights``, ``shapes``, ``seed``, ``pairs``, ``methods``,
        ``only``, ``out``, ``jobs``, ``quiet`` and ``command_line``.
    :return: exit code.
    """
    check_weights(options.weights)
    settings = Settings(options.weights, Path(options.out) / 'cache')
    shapes = open_shapes(options.shapes, options.seed)
    with Runner(options.jobs, settings.folder, options.quiet) as runner:
        curves, names, notes = sweeps.measure(
            runner, shapes, options.methods, settings, options.only, options.pairs, options.seed
        )
    labels = {name: METHODS[name].label for name in names}
    text = sweeps.table(curves, labels)
    print('\n'.join([*notes, text]))
    content = {
        'kind': 'sweeps',
        'title': f'sweeps, shapes {shapes.label}, {options.pairs} pairs a value',
        'summary_line': 'so3-crop with one property changed at a time.',
        'text': text,
        **provenance(options),
        'labels': labels,
        'curves': curves,
    }
    write_result(Path(options.out), content)
    return 0
