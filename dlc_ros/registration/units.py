"""The unit of a file, and a mix of millimetres and metres, told by the sizes of two clouds."""

# Length of a file's unit at least and at most [m]: a micrometre, a kilometre.
LEAST_UNIT, LARGEST_UNIT = 1e-6, 1e3
# What those do about a mix who have the clouds as arrays.
_MULTIPLY = 'multiply the {} by 0.001'


def unit_mismatch(source_radius, target_radius):
    """
    Sentence that names a likely mix of millimetres and metres, or '' when sizes are plausible.

    :param source_radius: :func:`~dlc_ros.registration.cloud.cloud_radius` of the source.
    :param target_radius: the same of the target.
    """
    ratio = source_radius / target_radius
    if 300.0 < ratio < 3000.0:
        return (
            f'source is {ratio:.0f} times as large as the target: it looks like millimetres'
            f' against metres; {_MULTIPLY.format("source")}'
        )
    if 300.0 < 1.0 / ratio < 3000.0:
        return (
            f'target is {1.0 / ratio:.0f} times as large as the source: it looks like'
            f' millimetres against metres; {_MULTIPLY.format("target")}'
        )
    return ''


def with_unit_option(reason, option, unit):
    """
    A registration's reason as those need it who read the target from a file.

    They multiply nothing, but can tell the unit of that file.

    :param reason: of a :class:`~dlc_ros.registration.result.Registration`.
    :param option: how the unit is told, to be followed by a number: ``give --target-unit``.
    :param unit: that was told [m].
    """
    if unit <= 0.001:  # told of a file in metres, perhaps
        reason = reason.replace(_MULTIPLY.format('source'), f'{option} {1000.0 * unit:g}')
    return reason.replace(_MULTIPLY.format('target'), f'{option} {0.001 * unit:g}')
