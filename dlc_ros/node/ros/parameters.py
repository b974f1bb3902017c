"""The localizer's parameters as ROS 2 parameters: declared with descriptors, checked as one."""

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    ParameterType,
)

from dlc_ros.localization.parameters import ROS_OWN, describe, from_flat, to_flat

_TYPES = {
    'bool': ParameterType.PARAMETER_BOOL,
    'integer': ParameterType.PARAMETER_INTEGER,
    'double': ParameterType.PARAMETER_DOUBLE,
    'string': ParameterType.PARAMETER_STRING,
    'string_array': ParameterType.PARAMETER_STRING_ARRAY,
}


def declare(node):
    """
    Declare every parameter of the localizer, with what the user gave as its value.

    :param node: created with ``automatically_declare_parameters_from_overrides=True``: that makes
        the names known which nobody will ever declare, so that a misspelt one is an error here.
    :raises ParameterError: an unknown name, or a value that is not allowed.
    """
    given = _plain(node.get_parameters_by_prefix('').values())
    for name, value in to_flat(from_flat(given)).items():
        if name in given:
            node.undeclare_parameter(name)
        node.declare_parameter(name, _as_ros(value), DESCRIPTORS[name], ignore_override=True)


def read(node):
    """
    Values of the declared parameters.

    :returns: :class:`~dlc_ros.localization.parameters.Parameters`.
    :raises ParameterError: values that contradict each other.
    """
    return from_flat(_plain(node.get_parameters(list(DESCRIPTORS))))


def with_changes(node, changes):
    """
    What the parameters would be after a change; the node's stay as they are.

    :param changes: list of :class:`rclpy.parameter.Parameter`.
    :returns: :class:`~dlc_ros.localization.parameters.Parameters`, or None when the change is
        about none of them.
    :raises ParameterError: the change is not allowed.
    """
    changed = _plain(changes)
    if not changed:
        return None
    return from_flat({**_plain(node.get_parameters(list(DESCRIPTORS))), **changed})


def descriptor(info):
    """Describe a parameter to ROS: text, unit, type and range."""
    text = f'{info.description} [{info.unit}]' if info.unit else info.description
    constraints = [f'One of {", ".join(info.choices)}.'] if info.choices else []
    if info.read_only:
        constraints.append('Takes effect when the node is configured.')
    made = ParameterDescriptor(
        name=info.name,
        type=_TYPES[info.type],
        description=text,
        additional_constraints=' '.join(constraints),
    )
    if info.low is not None and info.type == 'integer':
        made.integer_range = [IntegerRange(from_value=info.low, to_value=info.high)]
    elif info.low is not None:
        made.floating_point_range = [
            FloatingPointRange(from_value=float(info.low), to_value=float(info.high))
        ]
    return made


DESCRIPTORS = {info.name: descriptor(info) for info in describe()}


def _plain(parameters):
    """Dict name -> plain value, without the parameters that every ROS node has."""
    return {
        parameter.name: _from_ros(parameter.value)
        for parameter in parameters
        if not parameter.name.startswith(ROS_OWN)
    }


def _from_ros(value):
    return value if isinstance(value, (bool, int, float, str)) else list(value or ())


def _as_ros(value):
    # rclpy takes [] for a list of bytes; the declared models drop blank entries again.
    return [''] if value == [] else value
