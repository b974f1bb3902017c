"""The picture of a run: the clouds before and after, and the errors over time."""

from dataclasses import dataclass

import numpy as np

from dlc_ros.demo.depth_camera import look_at
from dlc_ros.demo.metrics import errors
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
JUMP = '#AA3377'
LIGHT = np.array([0.35, -0.45, 0.82])


@dataclass(frozen=True)
class Moment:
    """
    One cloud of the run, as the node saw it.

    :param points: (N, 3) in the camera's frame [m].
    :param on_object: (N,) bool: what is left when the table is cut away.
    :param before: (4, 4) T_camera_part that the node had last published before it went blind.
    :param after: (4, 4) T_camera_part that the node published for this cloud.
    :param title: what moment it is.
    """

    points: np.ndarray
    on_object: np.ndarray
    before: np.ndarray
    after: np.ndarray
    title: str


def draw(path, log, report, states, reference, moment):
    """
    Write the picture.

    :param path: of the PNG.
    :param log: :class:`~dlc_ros.demo.metrics.RunLog`.
    :param report: :class:`~dlc_ros.demo.metrics.Report`.
    :param states: list of (time [ns], state of the node).
    :param reference: points (M, 3) of the part and their unit normals (M, 3), in its frame.
    :param moment: :class:`Moment`, or None when the node never found the part again.
    """
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    with plt.rc_context({'font.size': 10, 'axes.spines.top': False, 'axes.spines.right': False}):
        figure = plt.figure(figsize=(14, 9.6), dpi=110, facecolor='white')
        grid = figure.add_gridspec(
            4,
            2,
            height_ratios=[3.4, 0.13, 1.0, 1.0],
            hspace=0.16,
            wspace=0.03,
            left=0.07,
            right=0.985,
            top=0.925,
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
        draw_clouds(figure, grid, reference, moment)
        times = [figure.add_subplot(grid[row, :]) for row in (1, 2, 3)]
        draw_states(times[0], log, states)
        draw_errors(times[1], times[2], log)
        figure.savefig(path)
        plt.close(figure)


def draw_clouds(figure, grid, reference, moment):
    """The scan over the model: where the node last knew the part, and where it found it."""
    left, right = (figure.add_subplot(grid[0, column]) for column in (0, 1))
    for axes in (left, right):
        axes.set_axis_off()
    if moment is None:
        left.text(0.5, 0.5, 'the part was not found again', ha='center', transform=left.transAxes)
        return
    for axes, pose, title in (
        (left, moment.before, f'{moment.title}: scan placed by the last pose before'),
        (right, moment.after, 'the same scan placed by the pose that the node found'),
    ):
        draw_scene(axes, reference, moment, pose)
        axes.set_title(title, fontsize=11, color='#333333')
    for x, colour, name in ((0.02, MODEL, 'model'), (0.12, SCAN, 'scan')):
        left.text(x, 0.02, f'\u25cf {name}', color=0.85 * colour, transform=left.transAxes)


def draw_scene(axes, reference, moment, pose):
    """
    Points in the part's frame, seen from the camera's side, the farther ones first.

    :param axes: of matplotlib.
    :param reference: points and normals of the model.
    :param moment: :class:`Moment`.
    :param pose: (4, 4) T_camera_part to place the scan with.
    """
    # Always the view of the answer: only the scan differs between the two.
    T_part_camera = inverse(moment.after)
    eye = T_part_camera[:3, 3]
    focus = np.array([0.0, 0.0, 0.025])
    towards = (eye - focus) / np.linalg.norm(eye - focus)
    view = look_at(focus + 0.62 * towards, focus)

    points, normals = reference
    facing = np.einsum('nd,nd->n', normals, view[:3, 3] - points) > 0.0
    model, light = points[facing], normals[facing] @ LIGHT
    placed = transform_points(inverse(pose), moment.points)
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
    axes.set_xlim(-0.36, 0.36)
    axes.set_ylim(-0.21, 0.25)


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
    shown = [name for name in STATE_COLOURS if name in {state for _, state in states}]
    for index, name in enumerate(shown):
        axes.text(
            index * 0.1,
            1.25,
            f'\u25a0 {name.lower()}',
            color=STATE_COLOURS[name],
            fontsize=9,
            transform=axes.transAxes,
        )
    axes.set_ylabel('state', rotation=0, ha='right', va='center', fontsize=9)


def draw_errors(above, below, log):
    """Rotation and translation error of every transform over time, with what the camera saw."""
    from dlc_ros.demo.metrics import Limits

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
