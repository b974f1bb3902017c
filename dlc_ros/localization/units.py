"""Millimetres where metres are expected, told by what no sensor of this kind can see."""

# Half of what a range sensor sees lies nearer than this [m]; a depth camera's millimetres do not.
_FARTHEST_MEDIAN = 300.0
# As many times as half of the points are away a reference is at most large: a model on a table,
# a map of a town seen from a narrow street.
LARGEST_OBJECT, LARGEST_MAP = 100.0, 3000.0
# How the unit of the reference's file is told, to be followed by a number.
UNIT_OPTION = 'set reference_unit to'


def unit_doubt(median_range, diameter, largest, unit):
    """
    Sentence that names a likely mix of millimetres and metres, or '' when sizes are plausible.

    :param median_range: of a cloud's points from the sensor [m].
    :param diameter: of the reference [m].
    :param largest: :data:`LARGEST_OBJECT` or :data:`LARGEST_MAP`.
    :param unit: that was told of the reference's file [m].
    """
    if median_range > _FARTHEST_MEDIAN:
        return (
            f'half of the points are farther than {median_range:.0f} m: the cloud looks like '
            'millimetres; publish metres (REP-103)'
        )
    if diameter > largest * median_range:
        return (
            f'the reference is {diameter:.0f} m large and half of the points nearer than '
            f'{median_range:.2g} m: the reference looks like millimetres; '
            f'{UNIT_OPTION} {0.001 * unit:g}'
        )
    return ''
