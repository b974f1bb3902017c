"""Train one model with several objectives on the same batches; measure reach and precision."""

import json
import time
from pathlib import Path

import numpy as np
import torch

from dlc_ros.command_line import Parser
from dlc_training.evaluate.arguments import at_least, writable_file
from dlc_training.evaluate.statistics import wilson_interval
from dlc_training.objective import OBJECTIVES, make_objective

LENGTHS = (0.25, 0.5, 0.75, 1.0)
DLC = {'rho': 1.0, 'samples': 4, 'mu': 0.5}


def train(model, objective, make_batch, manifold, steps, seed, batch=16, rate=2e-3):
    """
    Train a model; the whole of what an objective needs from a training loop.

    :param model: has ``energy(batch)``, a function of predictions, and ``task_loss(batch)``.
    :param objective: from :func:`make_objective`.
    :param make_batch: (size, generator) -> batch with ``truth``.
    :return: mean CPU seconds of a step.
    """
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    data, draws = (torch.Generator().manual_seed(seed + k) for k in (1, 2))
    parameters, spent = list(model.parameters()), 0.0
    for step in range(steps):
        sample = make_batch(batch, data)
        started = time.process_time()

        def gradients(step=step, sample=sample):
            optimiser.zero_grad()
            loss = model.task_loss(sample)
            hinges, _ = objective.shape(model.energy(sample), manifold, sample.truth, step, draws)
            (loss + hinges).backward()
            return loss

        objective.descend(parameters, gradients, step)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for group in optimiser.param_groups:
            group['lr'] = rate * min(1.0, 4 * (1 - step / steps))
        optimiser.step()
        spent += time.process_time() - started
    return spent / steps


def measure(model, make_batch, perturbed, limit, pairs, seed=10_000):
    """
    Share of starts that end within ``limit`` and the median error of those, by their distance.

    :param perturbed: (truth, length, generator) -> starts ``length`` radii away.
    :return: list of dicts by length.
    """
    rows = []
    for length in LENGTHS:
        generator = torch.Generator().manual_seed(seed)
        sample = make_batch(pairs, generator)
        errors = model.evaluate(sample, perturbed(sample.truth, length, generator)).numpy()
        reached = errors[errors < limit]
        median = float(np.median(reached)) if len(reached) else float('nan')
        rows.append({'length': length, 'reached': len(reached), 'of': pairs, 'median': median})
    return rows


def compare(make_model, make_batch, perturbed, manifold, limit, names, steps, seeds, pairs):
    """
    Same initial weights, same batches, same steps for every objective.

    :return: dict by objective: ``step_ms`` (CPU) and ``rows`` of :func:`measure`, over all seeds.
    """
    results = {}
    options = {'dlc': DLC, 'warm_up': steps // 5, 'ramp': max(steps // 10, 1)}
    for name in names:
        spent, runs = [], []
        for seed in range(seeds):
            torch.manual_seed(seed)
            model = make_model()
            objective = make_objective(name, options)
            spent.append(train(model, objective, make_batch, manifold, steps, 100 * seed))
            runs.append(measure(model, make_batch, perturbed, limit, pairs))
        rows = [
            {
                'length': per_length[0]['length'],
                'reached': sum(row['reached'] for row in per_length),
                'of': sum(row['of'] for row in per_length),
                'median': float(np.nanmean([row['median'] for row in per_length])),
            }
            for per_length in zip(*runs, strict=True)
        ]
        results[name] = {'step_ms': 1000 * float(np.mean(spent)), 'rows': rows}
    return results


def table(results, unit):
    """Markdown: share reached and median error of those, by length of the perturbation."""
    lengths = [f'{length:g}' for length in LENGTHS]
    lines = [
        f'| objective | {" | ".join(f"from {length}" for length in lengths)} | ms a step |',
        '|---' * (len(lengths) + 2) + '|',
    ]
    for name, result in results.items():
        cells = []
        for row in result['rows']:
            low, high = wilson_interval(row['reached'], row['of'])
            share = f'{100 * row["reached"] / row["of"]:.0f} % [{100 * low:.0f}, {100 * high:.0f}]'
            cells.append(f'{share}, {row["median"]:.3f}')
        lines.append(f'| {name} | {" | ".join(cells)} | {result["step_ms"]:.0f} |')
    return '\n'.join([*lines, '', f'share of starts reached [95 %], median {unit} of those'])


def main(title, make_model, make_batch, perturbed, manifold, unit, limit, arguments=None):
    """Command of one example: trains, prints the table, writes JSON where asked to."""
    parser = Parser(description=f'{title} with and without landscape shaping.')
    parser.add_argument('--objectives', nargs='+', choices=OBJECTIVES, default=['none', 'dlc'])
    parser.add_argument('--steps', type=at_least(1), default=600)
    parser.add_argument('--seeds', type=at_least(1), default=3)
    parser.add_argument(
        '--pairs', type=at_least(1), default=200, help='held-out pairs for each seed'
    )
    parser.add_argument(
        '--json', type=writable_file, metavar='FILE', help='write the result there'
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results = compare(
        make_model, make_batch, perturbed, manifold, limit, options.objectives, options.steps,
        options.seeds, options.pairs,
    )  # fmt: skip
    print(table(results, unit))
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + '\n')
    return results
