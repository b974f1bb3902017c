"""Pictures of generated pairs, to see what a network is taught: one row of pairs for each kind."""

import sys

import numpy as np

from dlc_ros.command_line import MISTAKE, Parser
from dlc_ros.errors import DlcError, ParameterError, missing_package
from dlc_ros.registration.cloud import cloud_radius
from dlc_training.command_line import EXTRA
from dlc_training.data.pairs import KINDS, NEAR, make_pair
from dlc_training.data.scene_pairs import overlap
from dlc_training.data.solids import make_solid


def sheet(kind, count, seed, first=0):
    """
    Draw pairs of one kind at their true pose.

    :param kind: one of :data:`KINDS`, or ``solid`` for whole solids.
    :param count: how many.
    :param seed: seed of the data.
    :param first: index of the first pair, or seed of the first solid.
    :return: matplotlib figure; the target is blue, the source moved onto it orange.
    """
    from matplotlib.figure import Figure

    columns = min(count, 4)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.5 * columns, 4.5 * rows), layout='constrained')
    for number in range(count):
        axes = figure.add_subplot(rows, columns, number + 1, projection='3d')
        clouds = _clouds(kind, seed, first + number)
        middle, reach = _framed(clouds)
        for cloud, colour in zip(clouds, ('tab:blue', 'tab:orange'), strict=False):
            axes.scatter(*cloud.T, s=1.2, c=colour, linewidths=0)
        axes.set(**{f'{a}lim': (m - reach, m + reach) for a, m in zip('xyz', middle, strict=True)})
        axes.set_box_aspect((1, 1, 1), zoom=1.5)
        axes.view_init(elev=35, azim=-60)
        axes.set_axis_off()
        axes.set_title(f'{first + number}: {_facts(clouds)}', fontsize=8)
    return figure


def _clouds(kind, seed, index):
    """Clouds to draw: target and moved source, turned upright as far as their shape tells."""
    if kind == 'solid':
        return [make_solid(index).sample(2048, np.random.default_rng(seed))[0]]
    pair = make_pair(seed, index, {kind: 1.0})
    moved = pair.source @ pair.transform[:3, :3].T + pair.transform[:3, 3]
    clouds = [pair.target, moved]
    if kind in ('crop', 'view'):
        return clouds
    # Places are flat: the least spread is the height.
    _, axes = np.linalg.eigh(np.cov(pair.target.T))
    return [cloud @ axes[:, ::-1] for cloud in clouds]


def _facts(clouds):
    """Sizes of the clouds, and the share of the source that the target has too."""
    sizes = ' + '.join(str(len(cloud)) for cloud in clouds)
    if len(clouds) == 1:
        return sizes
    target, source = clouds
    return f'{sizes}, overlap {overlap(source, target, NEAR * cloud_radius(target)):.2f}'


def _framed(clouds):
    """Middle (3,) and half edge of a cube about all but outlying points."""
    low, high = np.percentile(np.concatenate(clouds), (1, 99), axis=0)
    return (low + high) / 2, (high - low).max() / 2


def main(argv=None):
    """Run ``python -m dlc_training.data.preview``; returns the exit code."""
    parser = Parser(prog='python -m dlc_training.data.preview', description=__doc__)
    parser.add_argument('--kind', choices=(*KINDS, 'solid'), required=True)
    parser.add_argument('--count', type=int, default=12, help='pairs to draw (default 12)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the data (default 0)')
    parser.add_argument('--first', type=int, default=0, help='first pair or solid (default 0)')
    parser.add_argument('--out', required=True, help='picture to write, .png or .svg')
    options = parser.parse_args(argv)
    try:
        if options.count < 1 or min(options.seed, options.first) < 0:
            raise ParameterError('--count is at least 1, --seed and --first at least 0')
        figure = sheet(options.kind, options.count, options.seed, options.first)
        try:
            figure.savefig(options.out, dpi=90)
        except (OSError, ValueError) as error:
            raise ParameterError(f'cannot write {options.out}: {error}') from None
    except ModuleNotFoundError as error:
        print(missing_package(error, EXTRA), file=sys.stderr)
        return MISTAKE
    except DlcError as error:
        print(error, file=sys.stderr)
        return MISTAKE
    return 0


if __name__ == '__main__':
    sys.exit(main())
