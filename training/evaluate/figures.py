"""The pictures of each kind of result; each is a matplotlib figure and one sentence about it."""

from dlc_training.evaluate.report import ORACLE

INK, SOFT = '#1d2733', '#5b6b7c'
OURS = '#1859b7'
# Okabe and Ito's colours, which colour-blind people can tell apart; ours apart from them.
PEERS = ('#e69f00', '#009e73', '#cc79a7', '#d55e00', '#56b4e9', '#8c8c8c', '#b8a100')


_STYLE = {
    'font.size': 10,
    'axes.edgecolor': SOFT,
    'axes.labelcolor': INK,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.color': '#e6ebf0',
    'xtick.color': SOFT,
    'ytick.color': SOFT,
    'axes.titlesize': 10.5,
    'axes.titlelocation': 'left',
    'axes.titlecolor': INK,
    'legend.frameon': False,
    'legend.fontsize': 9,
}


def new_figure(width, height, rows=1, columns=1, **options):
    """A figure of this size [inches] and its axes (an array if there are several)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **options)


def colours(names, ours='dlc_ros'):
    """One colour for each method, ours always the same one."""
    others = iter(PEERS * 3)
    fixed = {ours: OURS, ORACLE: SOFT}
    return {name: fixed[name] if name in fixed else next(others) for name in names}


def draw(content):
    """
    Pictures of a result.

    :param content: as ``dlc-eval`` writes it.
    :return: list of (figure, caption).
    """
    from matplotlib import rc_context

    from dlc_training.evaluate import (
        landscape_figures,
        pair_figures,
        rejection_figures,
        sweep_figures,
    )

    drawers = {
        'pairs': pair_figures.draw,
        'landscape': landscape_figures.draw,
        'sweeps': sweep_figures.draw,
        'rejection': rejection_figures.draw,
        'calibration': rejection_figures.draw_calibration,
    }
    with rc_context(_STYLE):
        return drawers[content['kind']](content)


DRAWN = ('pairs', 'landscape', 'sweeps', 'rejection', 'calibration')
