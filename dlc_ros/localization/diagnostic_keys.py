"""
Every key of ``/diagnostics``, declared once: meaning, limits, whether it rejects a result.

Levels follow from these limits, and so does the table of ``docs/diagnostics.md``.
"""

from dataclasses import dataclass

from dlc_ros.localization.limits import ERROR, WARN, Above, Below, Beyond, Filled, LastCloud, OneOf


@dataclass(frozen=True)
class Key:
    """
    One key of an entry.

    :param task: second half of the entry's name; ``*`` stands for a map's frame or an object.
    :param name: of the key; ``*`` stands for the name of a stage.
    :param meaning: for an operator.
    :param warn: limit from which on the entry is WARN, or None.
    :param error: limit from which on the entry is ERROR, or None.
    :param rejects: whether a cloud beyond the limit gives no pose.
    """

    task: str
    name: str
    meaning: str
    warn: object = None
    error: object = None
    rejects: bool = False


# In place of a file.
NO_WEIGHTS = 'none (registration.use_predictor is false)'

INPUT, POSE, OUTPUT, DEVICE, MODEL = 'input', 'pose of *', 'output', 'device', 'model of *'

KEYS = (
    Key(INPUT, 'clouds in', 'Clouds that were looked at or dropped, in all.'),
    Key(INPUT, 'rate [Hz]', 'Of the clouds, over the last 50.'),
    Key(
        INPUT,
        'silent for [s]',
        'Since the last cloud with a frame and a stamp that can be used; before the first one the '
        'entry is STALE.',
        error=Above('tracking.cloud_timeout'),
    ),
    Key(
        INPUT,
        'age at arrival [s]',
        "The node's clock less the stamp, last cloud. Much, or far below 0: clocks differ, or a "
        'recording is played without use_sim_time.',
        warn=Beyond('hold_timeout'),
    ),
    Key(
        INPUT,
        'clock',
        'What is wrong with it: use_sim_time is set, and nobody has told the time on /clock.',
        error=Filled(),
    ),
    Key(
        INPUT,
        'points',
        'Finite points of the last cloud.',
    ),
    Key(INPUT, 'points kept', 'Of those, after segmentation (object mode).'),
    Key(
        INPUT,
        'median range [m]',
        'Half of the points are nearer to the sensor. Much: millimetres.',
        warn=Above(300.0),
    ),
    Key(
        INPUT,
        'deskew',
        'What was done about the motion within the last sweep; beyond the limit it could not be '
        'undone.',
        warn=LastCloud('deskew'),
    ),
    Key(
        INPUT,
        'skipped (a newer one came)',
        'Clouds that came while another was registered, and were replaced by a newer one or '
        'dropped at a jump of time.',
    ),
    Key(
        INPUT,
        'dropped: not newer than the last',
        'Stamp older than, or equal to, the one before, by less than tracking.time_jump.',
        warn=LastCloud('late'),
        rejects=True,
    ),
    Key(
        INPUT,
        'dropped: wrong frame',
        'No frame, or another one than frames.cloud.',
        error=LastCloud('frame'),
        rejects=True,
    ),
    Key(
        INPUT,
        'dropped: no stamp',
        'No stamp and no time of arrival.',
        error=LastCloud('stamp'),
        rejects=True,
    ),
    Key(
        INPUT,
        'dropped: no reference',
        'There is nothing to register to.',
        error=LastCloud('reference'),
        rejects=True,
    ),
    Key(
        INPUT,
        'unusable: no transform',
        'The sensor or the odometry was not known at the stamp within lookup_timeout.',
        error=LastCloud('transform'),
        rejects=True,
    ),
    Key(
        INPUT,
        'unusable: bad cloud',
        'Malformed, fewer points than registration.min_points, all on a line, or a library '
        'failed on it.',
        error=LastCloud('cloud'),
        rejects=True,
    ),
    Key(
        INPUT,
        'without a stamp',
        'Used with the time of their arrival.',
        warn=LastCloud('unstamped'),
    ),
    Key(
        INPUT,
        'odometry jumps',
        'Motion above prior.max_linear_speed or prior.max_angular_speed between two clouds; '
        'map -> odom stops until a cloud is accepted.',
        warn=LastCloud('odometry'),
    ),
    Key(
        INPUT,
        'time jumps',
        'Restarts of time (bag loop, simulator reset): all poses forgotten. Again and again: two '
        'clocks stamp the same topic.',
        warn=LastCloud('jump'),
    ),
    Key(
        INPUT,
        'answers made void by a command',
        'Registrations that a reset or another reference overtook.',
    ),
    Key(INPUT, 'last refused command', 'Why the last command that was not carried out was not.'),
    Key(
        POSE,
        'state',
        'WAITING: nothing to register. SEARCHING: no confirmed pose. TRACKING: published. LOST: '
        'given up.',
        warn=OneOf(('SEARCHING',)),
        error=OneOf(('WAITING', 'LOST')),
    ),
    Key(POSE, 'in this state for [s]', 'Since the last transition.'),
    Key(POSE, 'last transition', 'From which state to which, and why.'),
    Key(POSE, 'transitions', 'How many so far.'),
    Key(POSE, 'registered', 'Clouds that gave a pose.'),
    Key(POSE, 'rejected', 'Clouds that were registered and gave none.'),
    Key(
        POSE,
        'without a pose in a row',
        'Since the last accepted one; at tracking.lost_after the state is LOST.',
        warn=Above(0),
    ),
    Key(
        POSE,
        'age of the pose [s]',
        "The node's clock less the stamp of the last accepted cloud.",
    ),
    Key(POSE, 'status', 'Of the last registration: ACCEPTED, REJECTED, DEGENERATE, AMBIGUOUS.'),
    Key(POSE, 'verdict', 'Why it was used or not.'),
    Key(
        POSE,
        'confidence',
        'Of the last registration, 0 to 1.',
        warn=Below('registration.min_confidence'),
        rejects=True,
    ),
    Key(POSE, 'inlier fraction', 'Share of its points that lie on the reference.'),
    Key(POSE, 'residual [m]', 'Root mean square distance of those to the surface.'),
    Key(POSE, 'largest deviation [m]', 'Standard deviation of the position, worst axis.'),
    Key(POSE, 'largest deviation [rad]', 'Standard deviation of the rotation, worst axis.'),
    Key(POSE, 'registration [ms]', 'Wall time of the last registration.'),
    Key(POSE, '* [ms]', 'Of that, by stage: validate, reduce, predict, refine, judge.'),
    Key(OUTPUT, 'transforms', 'Published from clouds.'),
    Key(OUTPUT, 'repeated', 'map -> odom published again between clouds.'),
    Key(OUTPUT, 'poses', 'Published.'),
    Key(
        OUTPUT,
        'silent for [s]',
        'Since a transform or a pose was published; without a confirmed pose nothing is.',
    ),
    Key(
        OUTPUT,
        'age at publish, median [s]',
        "The node's clock less the cloud's stamp when its pose had been published, last 50.",
    ),
    Key(
        OUTPUT,
        'age at publish, 95 % [s]',
        'The same, 95 % quantile.',
        warn=Above('hold_timeout'),
    ),
    Key(OUTPUT, 'time per cloud, median [ms]', 'In the localizer, last 50.'),
    Key(OUTPUT, 'time per cloud, 95 % [ms]', 'The same, 95 % quantile.'),
    Key(
        OUTPUT,
        'not published',
        'Why an accepted pose gave no transform: base_link has another parent.',
        error=Filled(),
        rejects=True,
    ),
    Key(
        OUTPUT,
        'other publisher',
        'Somebody else publishes map -> odom (an object) as well: heard within 5 s, or on '
        '/tf_static from a node that is still there.',
        error=Filled(),
    ),
    Key(
        OUTPUT,
        'pose file',
        'saved_pose.file, with the time of its last writing.',
    ),
    Key(OUTPUT, 'pose file problem', 'Why it was not read or written.', warn=Filled()),
    Key(DEVICE, 'device', 'On which the predictor runs: cpu or cuda.'),
    Key(
        DEVICE,
        'fallback',
        'Why it is not the one asked for: no CUDA device, or its memory was exhausted.',
        warn=Filled(),
    ),
    Key(DEVICE, 'threads', 'CPU threads of torch and of the refinement.'),
    Key(DEVICE, 'process memory [MiB]', 'Resident.'),
    Key(DEVICE, 'device memory in use [MiB]', 'Of the GPU, by this process (CUDA only).'),
    Key(DEVICE, 'device memory at most [MiB]', 'The same, the highest so far.'),
    Key(DEVICE, 'models', 'Loaded; instances of one file share one.'),
    Key(MODEL, 'reference', 'Its file.'),
    Key(MODEL, 'reference sha256', 'Of that file.'),
    Key(MODEL, 'reference points', 'Finite points in it.'),
    Key(MODEL, 'reference diameter [m]', 'Of the sphere about its centroid that holds them.'),
    Key(
        MODEL,
        'weights',
        'File of the predictor. Without one a pose is only refined near where it is expected.',
        warn=OneOf((NO_WEIGHTS,)),
    ),
    Key(MODEL, 'weights sha256', 'Of that file.'),
    Key(MODEL, 'trained on', 'What its model card says: data, steps, date.'),
)


def keys_of(task):
    """Keys of a task such as ``input`` or ``pose of *``, in order, by name."""
    return {key.name: key for key in KEYS if key.task == task}


def levels(task, values, flat, problems):
    """
    Judge values by their declared limits.

    :param task: as in :class:`Key`.
    :param values: dict key -> value.
    :param flat: parameters by their dotted names.
    :param problems: dict kind -> text of the last cloud's problems.
    :returns: dict key -> (level, problem's text or ''), of the keys beyond a limit only.
    """
    beyond = {}
    for name, key in keys_of(task).items():
        for limit, level in ((key.error, ERROR), (key.warn, WARN)):
            if limit is None:
                continue
            if isinstance(limit, LastCloud):
                if limit.kind in problems:
                    beyond[name] = (level, problems[limit.kind])
                    break
            elif name in values and limit.broken(values[name], flat):
                beyond[name] = (level, '')
                break
    return beyond


def markdown_page():
    """The text of ``docs/diagnostics.md``."""
    lines = [
        '# Diagnostics',
        '',
        'Made by `python -m dlc_ros.localization.diagnostic_keys > docs/diagnostics.md` from the '
        'declarations in',
        '`dlc_ros/localization/diagnostic_keys.py`, which the levels follow too. Published on '
        '`/diagnostics` at',
        '`diagnostics_rate`, after every command and on every change of state. Entries are named '
        '`<node>: <task>`; `*`',
        "is the map's frame or an object's name. A name in a limit is that parameter's value. "
        '"Rejects" says',
        'whether a cloud beyond the limit gives no pose.',
    ]
    for task in dict.fromkeys(key.task for key in KEYS):
        lines += ['', f'## {task}', '']
        lines += ['| key | meaning | WARN | ERROR | rejects |', '|---|---|---|---|---|']
        for key in keys_of(task).values():
            name = key.name.replace('*', '&lt;stage&gt;')
            limits = [_cell(key.warn), _cell(key.error)]
            lines.append(
                f'| {name} | {key.meaning} | {" | ".join(limits)} '
                f'| {"yes" if key.rejects else ""} |'
            )
    return '\n'.join(lines) + '\n'


def _cell(limit):
    return '' if limit is None else str(limit)


if __name__ == '__main__':
    print(markdown_page(), end='')
