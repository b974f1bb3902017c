"""
Every parameter of the localizer, declared once.

The ROS descriptors, the YAML check, the embedded node and ``docs/parameters.md`` all come from
the models below. Nested groups become dotted names: ``frames.map``, ``registration.threads``.
"""

import difflib
from dataclasses import dataclass
from typing import Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from dlc_ros.errors import ParameterError
from dlc_ros.registration.options import RegistrationOptions, setting


class _Group(BaseModel):
    model_config = ConfigDict(extra='forbid', frozen=True)


class Topics(_Group):
    """Topic names, relative, so that namespaces and remapping apply."""

    points: str = setting('points', 'Point clouds in (sensor_msgs/PointCloud2).')
    initial_pose: str = setting(
        'initialpose', 'Pose from an operator (geometry_msgs/PoseWithCovarianceStamped).'
    )


class Frames(_Group):
    """Names of coordinate frames (REP-105)."""

    map: str = setting('map', 'Map mode: frame of the reference.')
    odom: str = setting('odom', 'Map mode: frame of the odometry; empty when there is none.')
    base: str = setting('base_link', 'Map mode: frame of the robot.')
    cloud: str = setting(
        '', 'The only frame in which clouds are accepted; empty accepts every frame.'
    )
    parent: str = setting(
        '', "Object mode: frame in which objects are published; empty is the cloud's frame."
    )

    @field_validator('*')
    @classmethod
    def _no_slash(cls, name):
        return name.lstrip('/')

    @model_validator(mode='after')
    def _named(self):
        if not self.map or not self.base:
            raise ValueError('frames.map and frames.base must not be empty')
        if len({self.map, self.odom, self.base}) < 3:
            raise ValueError('frames.map, frames.odom and frames.base must differ')
        return self


class Objects(_Group):
    """Object mode: what is looked for."""

    names: tuple[str, ...] = setting((), 'Frame name of each object.')
    references: tuple[str, ...] = setting(
        (), 'Point cloud file of each object, in the order of objects.names, in metres.'
    )
    fixed_frame: str = setting(
        '',
        'Frame in which the objects rest; when set, the last pose is carried to the next cloud '
        "by the sensor's motion in it. Empty: the sensor's motion is not known.",
    )
    search_budget: float = setting(
        1.0,
        'After a rejected tracking attempt the same cloud is searched globally when the last '
        'global search took less than this; 0 waits until the object counts as lost.',
        's',
        ge=0.0,
        le=60.0,
    )

    @field_validator('names', 'references')
    @classmethod
    def _without_blanks(cls, values):
        # An empty list has no type in ROS; [''] is how people write "none" there.
        return tuple(value for value in values if value)

    @model_validator(mode='after')
    def _paired(self):
        if len(self.names) != len(self.references):
            raise ValueError(
                f'objects.names has {len(self.names)} entries and objects.references '
                f'{len(self.references)}; give one file for each name'
            )
        if len(set(self.names)) != len(self.names):
            raise ValueError('objects.names must differ from each other')
        if '' in (name.strip('/') for name in self.names):
            raise ValueError('objects.names must be frame names')
        return self


class Segmentation(_Group):
    """Object mode: what is cut from a cloud before it is registered."""

    min_range: float = setting(
        0.0, 'Points nearer to the sensor are dropped.', 'm', ge=0.0, le=1000.0
    )
    max_range: float = setting(
        0.0,
        'Points farther from the sensor are dropped; 0 keeps all.',
        'm',
        ge=0.0,
        le=1000.0,
    )
    remove_plane: bool = setting(
        True, 'Drop the dominant plane (a table, the floor) and what lies behind it.'
    )
    plane_distance: float = setting(
        0.0,
        "Points this near to the plane belong to it; 0 picks it from the references' size.",
        'm',
        ge=0.0,
        le=1.0,
    )
    plane_share: float = setting(
        0.3,
        'A plane is removed only when it holds at least this share of the points.',
        '',
        ge=0.2,
        le=1.0,
    )


class Tracking(_Group):
    """When a pose counts as known."""

    lost_after: int = setting(
        5, 'Clouds without an accepted pose, in a row, until it counts as lost.', ge=1, le=1000
    )
    time_jump: float = setting(
        1.0,
        'A stamp older than the last by more than this is a restart of time; by less, the cloud '
        'is late and dropped.',
        's',
        ge=0.0,
        le=3600.0,
    )


class PriorGrowth(_Group):
    """How the uncertainty of the last pose grows until the next cloud (standard deviations)."""

    min_translation: float = setting(
        0.02, 'Least uncertainty of a position.', 'm', ge=1e-6, le=10.0
    )
    min_rotation: float = setting(0.02, 'Least uncertainty of an angle.', 'rad', ge=1e-6, le=3.15)
    linear_speed: float = setting(
        0.5, 'Without odometry: speed that is allowed for.', 'm/s', ge=0.0, le=100.0
    )
    angular_speed: float = setting(
        0.5, 'Without odometry: rate of turn that is allowed for.', 'rad/s', ge=0.0, le=100.0
    )
    linear_drift: float = setting(
        0.1, 'With odometry: drift of the position.', 'm/s', ge=0.0, le=100.0
    )
    angular_drift: float = setting(
        0.05, 'With odometry: drift of the angle.', 'rad/s', ge=0.0, le=100.0
    )
    initial_translation: float = setting(
        0.5, 'Of an initial pose that comes without one.', 'm', ge=1e-6, le=1000.0
    )
    initial_rotation: float = setting(
        0.3, 'Of an initial pose that comes without one.', 'rad', ge=1e-6, le=3.15
    )
    max_rotation: float = setting(
        1.0,
        'A prior that is less certain than this about every axis is not used: the search is '
        'global.',
        'rad',
        ge=0.01,
        le=3.15,
    )


class Dds(_Group):
    """The embedded node's own middleware; rclpy ignores these."""

    domain_id: int = setting(
        -1, 'DDS domain; -1 takes ROS_DOMAIN_ID from the environment, else 0.', ge=-1, le=232
    )
    network_interface: str = setting(
        '', 'Network interface, e.g. lo or eth0; empty lets Cyclone DDS choose.'
    )


class Parameters(_Group):
    """All parameters of the localizer."""

    mode: Literal['map', 'object'] = setting(
        'map', 'map: where the robot is in the reference; object: where the references are.'
    )
    reference: str = setting(
        '', 'Map mode: point cloud file of the map, in metres; empty waits for one to be loaded.'
    )
    weights: str = setting('', 'Weights of the predictor; empty takes the ones in the package.')
    publish_map_to_base: bool = setting(
        False,
        'Map mode without odometry: publish map -> base_link. Refused when frames.odom is set '
        'or somebody else gives base_link a parent.',
    )
    transform_tolerance: float = setting(
        0.1,
        'Map mode: the published transform is dated this far into the future.',
        's',
        ge=0.0,
        le=10.0,
    )
    hold_timeout: float = setting(
        2.0,
        'Map mode: the last accepted transform is repeated until it is this old.',
        's',
        ge=0.0,
        le=3600.0,
    )
    lookup_timeout: float = setting(
        0.1, 'How long to wait for a transform at the stamp of a cloud.', 's', ge=0.0, le=10.0
    )
    publish_rate: float = setting(
        20.0, 'Map mode: how often the transform is repeated.', 'Hz', ge=0.1, le=1000.0
    )
    diagnostics_rate: float = setting(
        1.0, 'How often diagnostics are published.', 'Hz', ge=0.01, le=100.0
    )
    topics: Topics = Topics()
    frames: Frames = Frames()
    objects: Objects = Objects()
    segmentation: Segmentation = Segmentation()
    tracking: Tracking = Tracking()
    prior: PriorGrowth = PriorGrowth()
    dds: Dds = Dds()
    registration: RegistrationOptions = RegistrationOptions()

    @model_validator(mode='after')
    def _one_parent(self):
        if self.publish_map_to_base and self.frames.odom:
            raise ValueError(
                'publish_map_to_base needs frames.odom empty: with odometry the transform is '
                'map -> odom (REP-105)'
            )
        return self

    @model_validator(mode='after')
    def _distinct_frames(self):
        if self.frames.parent in self.objects.names:
            raise ValueError(f'frames.parent {self.frames.parent!r} is also in objects.names')
        return self


# What may change while the node runs; everything else is read-only.
_CHANGEABLE = (
    'transform_tolerance',
    'hold_timeout',
    'objects.search_budget',
    'segmentation.',
    'tracking.',
    'prior.',
)

# Parameters that every ROS 2 node has; they are ROS's to check.
_ROS_OWN = ('use_sim_time', 'start_type_description_service', 'qos_overrides.')


@dataclass(frozen=True)
class ParameterInfo:
    """
    One parameter as ROS describes it.

    :param name: flat dotted name.
    :param type: ``bool``, ``integer``, ``double``, ``string`` or ``string_array``.
    :param default: plain value; a list for arrays.
    :param unit: for people; may be empty.
    :param low: least allowed value, or None.
    :param high: greatest allowed value, or None.
    :param choices: allowed strings, or empty.
    :param description: one sentence or two.
    :param read_only: whether it is fixed once the node is configured.
    """

    name: str
    type: str
    default: object
    unit: str
    low: float | None
    high: float | None
    choices: tuple
    description: str
    read_only: bool

    @property
    def allowed(self):
        """What the value may be, in words: ``double, 0 to 10 s``."""
        if self.choices:
            return 'one of ' + ', '.join(self.choices)
        if self.low is None:
            return self.type
        return f'{self.type}, {self.low:g} to {self.high:g} {self.unit}'.rstrip()


def describe():
    """Every parameter, in the order of declaration, as a list of :class:`ParameterInfo`."""
    return list(_infos(Parameters, ''))


def to_flat(parameters):
    """Flat dotted names -> plain values; arrays are lists, as ROS clients want them."""
    return dict(_flatten(parameters.model_dump(), ''))


def from_flat(values):
    """
    Build checked parameters from flat dotted names; what is not named keeps its default.

    :param values: dict name -> plain value.
    :raises ParameterError: an unknown name, a wrong type, a value outside its range, or values
        that contradict each other.
    """
    infos = {info.name: info for info in describe()}
    nested = {}
    for name, value in values.items():
        if name not in infos:
            raise ParameterError(_unknown(name, infos))
        *groups, leaf = name.split('.')
        node = nested
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = _as_declared(infos[name], value)
    try:
        return Parameters.model_validate(nested)
    except ValidationError as error:
        raise ParameterError(_first_problem(error, infos)) from None


def read_only_changes(old, new):
    """Names of the read-only parameters in which two :class:`Parameters` differ."""
    before, after = to_flat(old), to_flat(new)
    return [
        info.name
        for info in describe()
        if info.read_only and before[info.name] != after[info.name]
    ]


def load_yaml(path, overrides=None, node_name='localizer'):
    """
    Read a ROS 2 parameter file.

    Sections for ``/**``, ``/*`` and the node's own name apply, later ones win; the names of a
    section may be nested or dotted. Parameters that every ROS node has (``use_sim_time``,
    ``qos_overrides``) are left to ROS. Relative file names in it stay relative to the working
    directory, as they do under ``ros2 launch``.

    :param path: YAML file.
    :param overrides: dict of flat names that win over the file.
    :raises ParameterError: see :func:`from_flat`; also for a file that is not such a file.
    """
    try:
        with open(path, encoding='utf-8') as stream:
            document = yaml.safe_load(stream)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, 'strerror', None) or 'it is not text'
        raise ParameterError(f'cannot read parameter file {path}: {reason}') from None
    except yaml.YAMLError as error:
        where = getattr(error, 'problem_mark', None)
        line = f' line {where.line + 1}' if where else ''
        raise ParameterError(f'{path}{line} is not valid YAML') from None
    flat = {}
    for section in _sections(path, document, node_name):
        flat.update(_flatten(section, ''))
    flat = {name: value for name, value in flat.items() if not name.startswith(_ROS_OWN)}
    try:
        return from_flat({**flat, **(overrides or {})})
    except ParameterError as error:
        raise ParameterError(f'{path}: {error}') from None


def markdown_table():
    """All parameters as a Markdown table."""
    lines = ['| name | type | default | unit | allowed | live | description |']
    lines.append('|---|---|---|---|---|---|---|')
    for info in describe():
        if info.choices:
            allowed = ', '.join(info.choices)
        else:
            allowed = '' if info.low is None else f'{info.low:g} to {info.high:g}'
        live = '' if info.read_only else 'yes'
        default = yaml.safe_dump(info.default, default_flow_style=True).split('\n')[0]
        lines.append(
            f'| `{info.name}` | {info.type} | `{default}` | {info.unit} | {allowed} | {live} '
            f'| {info.description} |'
        )
    return '\n'.join(lines) + '\n'


def markdown_page():
    """The text of ``docs/parameters.md``."""
    return (
        '# Parameters\n\n'
        'Made by `python -m dlc_ros.localization.parameters > docs/parameters.md` from the '
        'declarations in\n`dlc_ros/localization/parameters.py` and '
        '`dlc_ros/registration/options.py`. Both nodes and the YAML check use\nthe same '
        'declarations. "live" parameters may be set while the node runs.\n\n' + markdown_table()
    )


def _infos(model, prefix):
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _infos(kind, f'{prefix}{name}.')
            continue
        limits = {
            bound: getattr(limit, bound)
            for limit in field.metadata
            for bound in ('ge', 'le')
            if hasattr(limit, bound)
        }
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        yield ParameterInfo(
            name=prefix + name,
            type=_type_name(kind),
            default=default,
            unit=field.json_schema_extra['unit'],
            low=limits.get('ge'),
            high=limits.get('le'),
            choices=choices,
            description=field.description,
            read_only=not (prefix + name).startswith(_CHANGEABLE),
        )


def _type_name(kind):
    if get_origin(kind) is Literal:
        return 'string'
    if get_origin(kind) is tuple:
        return 'string_array'
    return {bool: 'bool', int: 'integer', float: 'double', str: 'string'}[kind]


def _as_declared(info, value):
    """Check the type as strictly as ROS does, but let an integer stand for a double."""
    if info.type == 'string_array':
        if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
            return tuple(value)
    elif info.type == 'double':
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif type(value) is {'bool': bool, 'integer': int, 'string': str}[info.type]:
        return value
    raise ParameterError(f'{info.name} = {value!r}: expected {info.allowed}')


def _unknown(name, infos):
    near = difflib.get_close_matches(name, infos, n=1, cutoff=0.5)
    if not near:
        return f'unknown parameter {name!r}; the known ones are listed in docs/parameters.md'
    info = infos[near[0]]
    return f'unknown parameter {name!r}; did you mean {info.name} ({info.allowed})?'


def _first_problem(error, infos):
    problem = error.errors(include_url=False)[0]
    name = '.'.join(str(part) for part in problem['loc'])
    if name in infos:
        return f'{name} = {problem["input"]!r}: expected {infos[name].allowed}'
    return problem['msg'].removeprefix('Value error, ')


def _flatten(tree, prefix):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', list(value) if isinstance(value, tuple) else value


def _sections(path, document, node_name):
    layout = f"'{node_name}:' or '/**:' with 'ros__parameters:' below it"
    if not isinstance(document, dict) or not any(
        isinstance(section, dict) and 'ros__parameters' in section for section in document.values()
    ):
        raise ParameterError(f'{path} is not a ROS parameter file; it needs {layout}')
    names = ('/**', '/*', node_name, f'/{node_name}', f'/**/{node_name}')
    for name in document:
        if name not in names:
            continue
        section = document[name]
        values = section.get('ros__parameters') if isinstance(section, dict) else None
        if not isinstance(values, dict):
            raise ParameterError(f'{path}: section {name} needs ros__parameters with names below')
        yield values


if __name__ == '__main__':
    print(markdown_page(), end='')
