"""What is wrong with settings, in one line."""

# For those of pydantic's sentences that speak of Python.
_IN_YAML = {
    'dict_type': 'expected a dictionary, key: value',
    'model_type': 'expected a dictionary, key: value',
    'tuple_type': 'expected a list, [value, value]',
    'missing': 'a value is missing',
}


def first_mistake(error, section):
    """
    The first of a ``ValidationError``'s mistakes, as ``key: what is wrong``.

    :param error: pydantic's, of a whole section.
    :param section: the model that refused; what is known beside an unknown key is read off it.
    """
    first = error.errors()[0]
    where = '.'.join(str(part) for part in first['loc'])
    what = _IN_YAML.get(first['type'], first['msg'].removeprefix('Value error, '))
    if first['type'] == 'extra_forbidden':
        what = f'unknown key; known are {_known_beside(section, first["loc"])}'
    return f'{where}: {what}' if where else what


def _known_beside(section, location):
    """Keys of the section that an unknown key stands in."""
    for name in location[:-1]:
        section = section.model_fields[name].annotation
    return ', '.join(section.model_fields)
