"""The picture of a run: the clouds before and after, and the errors over time."""

from dataclasses import dataclass

import numpy as np

from dlc_ros.demo.depth_camera import look_at
from dlc_ros.demo.metrics import Limits, errors, is_right
from dlc_ros.demo.scenario import View
from dlc_ros.registration.se3 import inverse, transform_points

# Okabe and Ito's palette, which colour-blind people can tell apart.
MODEL = np.array([0.34, 0.55, 0.72])
SCAN = np.array([0.88, 0.40, 0.05])
TABLE = np.array([0.80, 0.79, 0.76])
ROTATION, TRANSLATION, LATENCY = '#0072B2', '#D55E00', '#009E73'
STATE_COLOURS = {
    'WAITING': '#BBBBBB',
    'SEARCHING': '#E69F00',
    'TRACKING': '#009E73',
    'LOST': '#CC3311',
}
ANSWER_COLOURS = {'cloud placed right': '#009E73', 'no transform': '#CC3311', 'wrong': '#000000'}
JUMP = '#AA3377'
COLUMNS = 3
LIGHT = np.array([0.35, -0.45, 0.82])


@dataclass(frozen=True)
class Moment:
    """
    One cloud of the run over the model, as the node saw it.

    :param points: (N, 3) in the camera's frame [m].
    :param on_object: (N,) bool: what is left when the table is cut away.
    :param pose: (4, 4) T_camera_part by which the cloud is placed.
    :param eye: (4, 4) T_camera_part of the camera that looks on.
    :param title: what moment it is, some lines of text.
    """

    points: np.ndarray
    on_object: np.ndarray
    pose: np.ndarray
    eye: np.ndarray
    title: str


def draw(path, log, report, states, reference, moments):
    """
    Write the picture.

    :param path: of the PNG.
    :param log: :class:`~dlc_ros.demo.metrics.RunLog`.
    :param report: :class:`~dlc_ros.demo.metrics.Report`.
    :param states: list of (time [ns], state of the node).
    :param reference: points (M, 3) of the part and their unit normals (M, 3), in its frame.
    :param moments: list of at most three :class:`Moment`, drawn side by side.
    """
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    with plt.rc_context({'font.size': 10, 'axes.spines.top': False, 'axes.spines.right': False}):
        figure = plt.figure(figsize=(14, 9.2), dpi=110, facecolor='white')
        grid = figure.add_gridspec(
            5,
            COLUMNS,
            height_ratios=[3.2, 0.13, 0.13, 0.9, 0.9],
            hspace=0.19,
            wspace=0.01,
            left=0.07,
            right=0.985,
            top=0.905,
            bottom=0.065,
        )
        verdict = 'passed' if report.passed else 'FAILED'
        figure.suptitle(
            f'{report.success:.1%} of {report.visible} visible frames are right  |  median '
            f'{report.rotation_deg[0]:.2f} deg, {1e3 * report.translation_m[0]:.2f} mm, '
            f'{report.latency_ms[0]:.0f} ms  |  found again in {report.time_to_recover:.2f} s  |  '
            f'{verdict}',
            fontsize=13,
        )
        draw_moments(figure, grid, reference, moments)
        times = [figure.add_subplot(grid[row, :]) for row in (1, 2, 3, 4)]
        draw_states(times[0], log, states)
        draw_answers(times[1], log)
        draw_errors(times[2], times[3], log)
        figure.savefig(path)
        plt.close(figure)


def draw_moments(figure, grid, reference, moments):
    """Each moment's scan over the model."""
    panels = [figure.add_subplot(grid[0, column]) for column in range(COLUMNS)]
    for axes in panels:
        axes.set_axis_off()
    if not moments:
        panels[0].text(0.0, 0.5, 'the part was not found again', transform=panels[0].transAxes)
        return
    for axes, moment in zip(panels, moments, strict=False):
        draw_scene(axes, reference, moment)
        axes.set_title(moment.title, fontsize=10.5, color='#333333')
    for x, colour, name in ((0.02, MODEL, 'model'), (0.2, SCAN, 'scan')):
        panels[0].text(
            x, 0.02, f'\u25cf {name}', color=0.85 * colour, transform=panels[0].transAxes
        )


def draw_scene(axes, reference, moment):
    """
    Points in the part's frame, seen from the camera's side, the farther ones first.

    :param axes: of matplotlib.
    :param reference: points and normals of the model.
    :param moment: :class:`Moment`.
    """
    T_part_camera = inverse(moment.eye)
    eye = T_part_camera[:3, 3]
    focus = np.array([0.0, 0.0, 0.025])
    towards = (eye - focus) / np.linalg.norm(eye - focus)
    view = look_at(focus + 0.70 * towards, focus)

    points, normals = reference
    facing = np.einsum('nd,nd->n', normals, view[:3, 3] - points) > 0.0
    model, light = points[facing], normals[facing] @ LIGHT
    placed = transform_points(inverse(moment.pose), moment.points)
    scan, table = placed[moment.on_object], placed[~moment.on_object]
    thin = np.random.default_rng(0)
    scan = scan[thin.random(len(scan)) < 0.3]
    table = table[thin.random(len(table)) < 0.4]
    table = table[np.linalg.norm(table[:, :2], axis=1) < 0.24]
    # The scan is drawn a little nearer than it is, so that it lies on the surface that it fits.
    layers = [
        (table, np.tile(TABLE, (len(table), 1)), 2.0, 0.0),
        (model, MODEL * (0.55 + 0.60 * np.clip(light, 0.0, 1.0))[:, None], 11.0, 0.0),
        (scan, np.tile(SCAN, (len(scan), 1)), 2.6, 0.003),
    ]
    camera_points = [transform_points(inverse(view), layer[0]) for layer in layers]
    depth = np.concatenate(
        [p[:, 2] - layer[3] for p, layer in zip(camera_points, layers, strict=True)]
    )
    flat = np.concatenate([p[:, :2] / p[:, 2:] for p in camera_points])
    colours = np.clip(np.concatenate([layer[1] for layer in layers]), 0.0, 1.0)
    sizes = np.concatenate([np.full(len(layer[0]), layer[2]) for layer in layers])
    order = np.argsort(-depth)
    axes.scatter(flat[order, 0], -flat[order, 1], s=sizes[order], c=colours[order], linewidths=0)
    axes.set_aspect('equal')
    axes.set_xlim(-0.27, 0.27)
    axes.set_ylim(-0.19, 0.22)


def draw_states(axes, log, states):
    """A strip of the node's states."""
    start = min(log.frames, default=0)
    moments = [(1e-9 * (time - start), state) for time, state in states]
    end = 1e-9 * (max(log.frames, default=0) - start)
    for (begin, state), (stop, _) in zip(moments, [*moments[1:], (end, '')], strict=True):
        if stop > begin:
            axes.axvspan(max(begin, 0.0), stop, color=STATE_COLOURS.get(state, 'white'), lw=0)
    axes.set_xlim(0.0, max(end, 1e-3))
    axes.set_yticks([])
    axes.tick_params(labelbottom=False, length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    shown = {state for _, state in states}
    legend(axes, 0.0, {k.lower(): v for k, v in STATE_COLOURS.items() if k in shown})
    legend(axes, 0.66, ANSWER_COLOURS)
    axes.set_ylabel('state', rotation=0, ha='right', va='center', fontsize=9)


def legend(axes, x, colours):
    """Names in their colours above a strip, from ``x`` (share of its width) on."""
    for index, (name, colour) in enumerate(colours.items()):
        text = f'\u25a0 {name}'
        place = x + 0.13 * index
        axes.text(place, 1.25, text, color=colour, fontsize=9, transform=axes.transAxes)


def draw_answers(axes, log):
    """A line for each cloud: what became of it."""
    limits = Limits()
    start = min(log.frames, default=0)
    end = 1e-9 * (max(log.frames, default=0) - start)
    answered = {estimate.stamp_ns: estimate for estimate in log.estimates}
    moments = {name: [] for name in ANSWER_COLOURS}
    for stamp, frame in log.frames.items():
        if stamp not in answered:
            name = 'no transform'
        elif is_right(answered[stamp], frame, limits):
            name = 'cloud placed right'
        else:
            name = 'wrong'
        moments[name].append(1e-9 * (stamp - start))
    for name, colour in ANSWER_COLOURS.items():
        axes.vlines(moments[name], 0.0, 1.0, color=colour, lw=1.2)
    axes.set_ylim(0.0, 1.0)
    axes.set_xlim(0.0, max(end, 1e-3))
    axes.set_yticks([])
    axes.tick_params(labelbottom=False, length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_ylabel('clouds', rotation=0, ha='right', va='center', fontsize=9)


def draw_errors(above, below, log):
    """Rotation and translation error of every transform over time, with what the camera saw."""
    limits = Limits()
    start = min(log.frames, default=0)
    end = 1e-9 * (max(log.frames, default=0) - start)
    rows = []
    for estimate in log.estimates:
        frame = log.frames.get(estimate.stamp_ns)
        if frame is not None:
            rotation, translation = errors(estimate, frame)
            rows.append((1e-9 * (estimate.stamp_ns - start), rotation, 1e3 * translation))
    rows = np.reshape(rows, (-1, 3))
    jumps = jump_times(log)
    for axes, column, limit, colour, label in (
        (above, 1, limits.rotation, ROTATION, 'rotation\nerror [deg]'),
        (below, 2, 1e3 * limits.translation, TRANSLATION, 'translation\nerror [mm]'),
    ):
        axes.scatter(rows[:, 0], np.maximum(rows[:, column], 1e-3), s=9, color=colour, lw=0)
        axes.axhline(limit, color='#888888', lw=0.9, ls=(0, (4, 3)))
        axes.annotate(
            f' limit {limit:g}',
            (0.0, limit),
            xycoords=('axes fraction', 'data'),
            ha='left',
            va='bottom',
            fontsize=8,
            color='#666666',
        )
        axes.set_yscale('log')
        low = np.percentile(rows[:, column], 1) if len(rows) else 0.1 * limit
        high = rows[:, column].max() if len(rows) else limit
        axes.set_ylim(max(0.4 * low, 1e-3), 2.5 * max(limit, high))
        axes.set_xlim(0.0, max(end, 1e-3))
        axes.set_ylabel(label)
        axes.grid(axis='y', color='#EEEEEE', lw=0.8)
        axes.set_axisbelow(True)
        for begin, stop in blind_intervals(log):
            axes.axvspan(begin, stop, color='#DDDDDD', lw=0)
        for jump in jumps:
            axes.axvline(jump, color=JUMP, lw=0.9, alpha=0.8)
    for begin, stop in blind_intervals(log):
        above.text(
            0.5 * (begin + stop),
            0.9,
            'camera blind',
            ha='center',
            va='top',
            fontsize=9,
            color='#555555',
            transform=above.get_xaxis_transform(),
        )
    for jump in jumps[:1]:
        above.text(
            jump,
            1.02,
            ' the camera jumps to another side (every such line)',
            va='bottom',
            fontsize=9,
            color=JUMP,
            transform=above.get_xaxis_transform(),
        )
    above.tick_params(labelbottom=False)
    below.set_xlabel('time [s]')


def blind_intervals(log):
    """Begin and end [s] of each run of frames that did not show the part."""
    stamps = sorted(log.frames)
    intervals = []
    begin = None
    for stamp in stamps:
        seconds = 1e-9 * (stamp - stamps[0])
        if log.frames[stamp].view is not View.PART:
            begin = seconds if begin is None else begin
        elif begin is not None:
            intervals.append((begin, seconds))
            begin = None
    if begin is not None:
        intervals.append((begin, 1e-9 * (stamps[-1] - stamps[0])))
    return intervals


def jump_times(log):
    """When [s] the camera jumped."""
    stamps = sorted(log.frames)
    return [
        1e-9 * (stamp - stamps[0])
        for before, stamp in zip(stamps, stamps[1:], strict=False)
        if log.frames[stamp].jumps != log.frames[before].jumps
    ]
