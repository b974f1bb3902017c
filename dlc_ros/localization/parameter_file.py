"""ROS 2 parameter files: which of their sections apply to a node, as flat dotted names."""

import itertools
import re

import yaml

from dlc_ros.errors import ParameterError

# A file may name each parameter of each section once; a few lines of YAML can name more than fit
# into memory.
_MOST_NAMES = 10_000


def read_yaml(path, node_name='localizer', namespace='/'):
    """
    Flat values of a ROS 2 parameter file as they stand there, ROS's own ones among them.

    A section applies if its name is the node's full one, with ``*`` for one part and ``**`` for
    any number of parts; of several the later one wins.

    :param path: YAML file.
    :param node_name: name of the node.
    :param namespace: of the node.
    :raises ParameterError: it cannot be read, is not such a file, or none of it is for the node.
    """
    full_name = '/' + '/'.join(filter(None, [*namespace.split('/'), node_name]))
    try:
        with open(path, encoding='utf-8') as stream:
            document = yaml.safe_load(stream)
        return _values(path, document, full_name)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, 'strerror', None) or 'it is not text'
        raise ParameterError(f'cannot read parameter file {path}: {reason}') from None
    except yaml.YAMLError as error:
        where = getattr(error, 'problem_mark', None)
        line = f' line {where.line + 1}' if where else ''
        raise ParameterError(f'{path}{line} is not valid YAML') from None
    except RecursionError:
        raise ParameterError(f'{path} is nested too deeply for a parameter file') from None


def flatten(tree, prefix=''):
    """Yield dotted names and values of nested dicts; tuples become lists."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', list(value) if isinstance(value, tuple) else value


def _values(path, document, full_name):
    sections = list(itertools.islice(_sections(document, ''), _MOST_NAMES))
    if not any('ros__parameters' in section for _, section in sections):
        raise ParameterError(
            f"{path} is not a ROS parameter file; it needs '/**:' or '{full_name}:' with "
            "'ros__parameters:' below it"
        )
    applying = [(name, section) for name, section in sections if _applies(name, full_name)]
    flat = {}
    for name, section in applying:
        values = section.get('ros__parameters')
        if not isinstance(values, dict):
            raise ParameterError(f'{path}: section {name} needs ros__parameters with names below')
        flat.update(itertools.islice(flatten(values), _MOST_NAMES))
    if not applying:
        names = ', '.join(name for name, section in sections if 'ros__parameters' in section)
        raise ParameterError(
            f'{path} has parameters of {names[:100]} and none of {full_name}: rename the section '
            'or the node, or use /**'
        )
    if len(flat) >= _MOST_NAMES:
        raise ParameterError(f'{path} names more than {_MOST_NAMES} parameters')
    return flat


def _sections(tree, prefix):
    """
    Yield the full name of every section of a file, and the section.

    What has no ``ros__parameters`` is a namespace with sections below it.
    """
    for key, section in tree.items() if isinstance(tree, dict) else ():
        name = f'{prefix}/{str(key).strip("/")}'
        if isinstance(section, dict):
            yield name, section
            if 'ros__parameters' not in section:
                yield from _sections(section, name)


def _applies(pattern, full_name):
    parts = (re.escape(part) for part in pattern.split('/')[1:])
    wild = {r'\*\*': '(/[^/]+)*', r'\*': '/[^/]+'}
    return re.fullmatch(''.join(wild.get(part, f'/{part}') for part in parts), full_name)
