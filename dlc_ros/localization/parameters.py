"""
Parameters as ROS sees them: flat names, descriptions, YAML files, the documentation's table.

All of it comes from the one place where parameters are declared,
:mod:`dlc_ros.localization.declarations`.
"""

import difflib
import reprlib
from dataclasses import dataclass
from typing import Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from dlc_ros.errors import ParameterError
from dlc_ros.localization.declarations import Parameters
from dlc_ros.localization.parameter_file import flatten, read_yaml

__all__ = [
    'ParameterInfo',
    'Parameters',
    'describe',
    'from_flat',
    'load_yaml',
    'markdown_page',
    'markdown_table',
    'read_only_changes',
    'read_yaml',
    'to_flat',
]

# What may change while the node runs; everything else is read-only.
_CHANGEABLE = (
    'transform_tolerance',
    'hold_timeout',
    'objects.search_budget',
    'segmentation.',
    'deskew.',
    'tracking.',
    'prior.',
    'registration.min_confidence',
)

# Parameters that every ROS 2 node has; they are ROS's to check.
ROS_OWN = ('use_sim_time', 'start_type_description_service', 'qos_overrides.')


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
        if self.type == 'string_array':
            return 'string_array, written [first, second]'
        if self.low is None:
            return self.type
        return f'{self.type}, {self.low:g} to {self.high:g} {self.unit}'.rstrip()


def describe():
    """Every parameter, in the order of declaration, as a list of :class:`ParameterInfo`."""
    return list(_infos(Parameters, ''))


def to_flat(parameters):
    """Flat dotted names -> plain values; arrays are lists, as ROS clients want them."""
    return dict(flatten(parameters.model_dump()))


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
            raise ParameterError(_unknown(name, infos), name)
        *groups, leaf = name.split('.')
        node = nested
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = _as_declared(infos[name], value)
    try:
        return Parameters.model_validate(nested)
    except ValidationError as error:
        raise _first_problem(error, infos) from None


def read_only_changes(old, new):
    """Names of the read-only parameters in which two :class:`Parameters` differ."""
    before, after = to_flat(old), to_flat(new)
    return [
        info.name
        for info in describe()
        if info.read_only and before[info.name] != after[info.name]
    ]


def load_yaml(path, overrides=None, node_name='localizer', namespace='/'):
    """
    Read a ROS 2 parameter file.

    Parameters that every ROS node has (``use_sim_time``, ``qos_overrides``) are left to ROS.
    Relative file names in it stay relative to the working directory, as they do under
    ``ros2 launch``.

    :param path: YAML file; see :func:`~dlc_ros.localization.parameter_file.read_yaml`.
    :param overrides: dict of flat names that win over the file.
    :param node_name: name of the node that the file is for.
    :param namespace: of that node.
    :raises ParameterError: see :func:`from_flat`; also for a file that is not such a file. It
        names the file, unless one of the overrides is wrong.
    """
    flat = read_yaml(path, node_name, namespace)
    flat = {name: value for name, value in flat.items() if not name.startswith(ROS_OWN)}
    overrides = overrides or {}
    try:
        return from_flat({**flat, **overrides})
    except ParameterError as error:
        if error.parameter in overrides:
            raise
        raise ParameterError(f'{path}: {error}', error.parameter) from None


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
        'declarations in\n`dlc_ros/localization/declarations.py` and '
        '`dlc_ros/registration/options.py`. Both nodes and the YAML check use\nthe same '
        'declarations. "live" parameters may be set while the node runs. Beside these each node '
        'has `use_sim_time`\n(bool, default `false`): take the time from `/clock`.\n\n'
        + markdown_table()
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
    raise _not_allowed(info, value)


def _not_allowed(info, value):
    return ParameterError(f'{info.name} = {_shown(value)}: expected {info.allowed}', info.name)


def _shown(value):
    """A value from outside, short enough for one line."""
    text = _REPR.repr(value)
    return text if len(text) <= 100 else f'{text[:100]}...'


_REPR = reprlib.Repr()
_REPR.maxlevel = 2
_REPR.maxstring = _REPR.maxother = 80


def _unknown(name, infos):
    name = str(name)[:100]
    near = difflib.get_close_matches(name, infos, n=1, cutoff=0.5)
    if not near:
        return f'unknown parameter {name!r}; the known ones are listed in docs/parameters.md'
    info = infos[near[0]]
    return f'unknown parameter {name!r}; did you mean {info.name} ({info.allowed})?'


def _first_problem(error, infos):
    problem = error.errors(include_url=False)[0]
    name = '.'.join(str(part) for part in problem['loc'])
    if name in infos:
        return _not_allowed(infos[name], problem['input'])
    return ParameterError(problem['msg'].removeprefix('Value error, '))


if __name__ == '__main__':
    print(markdown_page(), end='')
