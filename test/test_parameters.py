"""Parameters: one declaration, checked values, ROS's file layout, a table that is current."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlc_ros.errors import ParameterError
from dlc_ros.localization.parameters import (
    Parameters,
    describe,
    from_flat,
    load_yaml,
    markdown_page,
    read_only_changes,
    to_flat,
)

ROOT = Path(__file__).resolve().parent.parent
INFOS = {info.name: info for info in describe()}


def file(tmp_path, text):
    path = tmp_path / 'params.yaml'
    path.write_text(text, encoding='utf-8')
    return path


def test_every_parameter_has_what_ros_describes():
    for info in INFOS.values():
        assert info.description.endswith('.'), info.name
        assert info.type in ('bool', 'integer', 'double', 'string', 'string_array'), info.name
        if info.type in ('integer', 'double'):
            assert info.low <= info.default <= info.high, info.name
        if info.choices:
            assert info.default in info.choices, info.name
    assert INFOS['hold_timeout'].unit == 's'
    assert not INFOS['hold_timeout'].read_only
    assert INFOS['mode'].read_only
    assert INFOS['registration.min_confidence'].high == 1.0


def test_defaults_go_around_through_flat_names():
    flat = to_flat(Parameters())
    assert list(flat) == list(INFOS)
    assert flat == {name: info.default for name, info in INFOS.items()}
    assert from_flat(flat) == Parameters()


def values_of(info):
    if info.choices:
        return st.sampled_from(info.choices)
    return {
        'bool': lambda: st.booleans(),
        'integer': lambda: st.integers(info.low, info.high),
        'double': lambda: st.floats(info.low, info.high),
    }[info.type]()


FREE = [info for info in INFOS.values() if info.type in ('integer', 'double')]


@settings(deadline=None)
@given(st.data())
def test_every_value_in_its_range_is_taken_and_kept(data):
    info = data.draw(st.sampled_from(FREE))
    value = data.draw(values_of(info))
    assert to_flat(from_flat({info.name: value}))[info.name] == value


@settings(deadline=None)
@given(st.data())
def test_every_value_outside_its_range_names_key_and_range(data):
    info = data.draw(st.sampled_from(FREE))
    step = 1 if info.type == 'integer' else max(1e-6, 1e-6 * abs(info.high))
    value = data.draw(st.sampled_from([info.low - step, info.high + step]))
    with pytest.raises(ParameterError) as caught:
        from_flat({info.name: value})
    message = str(caught.value)
    assert info.name in message and f'{info.low:g} to {info.high:g}' in message


_OBJECT = {'mode': 'object', 'objects.names': ['a'], 'objects.references': ['x']}


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'hold_timout': 1.0}, "unknown parameter 'hold_timout'; did you mean hold_timeout"),
        ({'hold_timout': 1.0}, 'double, 0 to 3600 s'),
        ({'frame.map': 'x'}, 'did you mean frames.map'),
        ({'qqqqqq': 1}, "unknown parameter 'qqqqqq'"),
        ({'hold_timeout': float('nan')}, 'hold_timeout = nan: expected double, 0 to 3600 s'),
        ({'hold_timeout': '2'}, "hold_timeout = '2': expected double"),
        ({'tracking.lost_after': 2.5}, 'tracking.lost_after = 2.5: expected integer, 1 to 1000'),
        ({'registration.threads': True}, 'registration.threads = True: expected integer'),
        ({'segmentation.remove_plane': 1}, 'segmentation.remove_plane = 1: expected bool'),
        ({'mode': 'slam'}, "mode = 'slam': expected one of map, object"),
        ({'frames.map': 3}, 'frames.map = 3: expected string'),
        (
            {'objects.names': 'part'},
            "objects.names = 'part': expected string_array, written [first, second]",
        ),
        ({'objects.names': ['a']}, 'objects.names has 1 entries and objects.references 0'),
        (
            {'objects.names': ['a', '/a'], 'objects.references': ['x', 'y']},
            'objects.names must differ',
        ),
        (
            {**_OBJECT, 'objects.names': ['a.b', 'a_b'], 'objects.references': ['x', 'y']},
            'they name topics',
        ),
        *(
            ({**_OBJECT, frame: '/a'}, f"{frame} 'a' is also in objects.names")
            for frame in ('frames.parent', 'frames.cloud', 'objects.fixed_frame')
        ),
        ({**_OBJECT, 'mode': 'map'}, 'objects.names are looked for in mode: object'),
        ({**_OBJECT, 'initial_pose.set': True}, "initial_pose is the robot's"),
        ({**_OBJECT, 'reference': 'map.pcd'}, 'reference is for mode: map'),
        ({'frames.map': ''}, 'must not be empty'),
        ({'frames.odom': 'map'}, 'must differ'),
        ({'publish_map_to_base': True}, 'publish_map_to_base needs frames.odom empty'),
    ],
)
def test_a_mistake_is_one_line_that_says_what_is_allowed(values, message):
    with pytest.raises(ParameterError) as caught:
        from_flat(values)
    assert message in str(caught.value)
    assert '\n' not in str(caught.value)


def test_whole_numbers_stand_for_doubles_and_blank_strings_for_nothing():
    parameters = from_flat({'hold_timeout': 3, 'objects.names': [''], 'frames.odom': '/odom'})
    assert parameters.hold_timeout == 3.0
    assert parameters.objects.names == ()
    assert parameters.frames.odom == 'odom'
    objects = from_flat({**_OBJECT, 'objects.names': ['/a'], 'objects.fixed_frame': '/b'}).objects
    assert (objects.names, objects.fixed_frame) == (('a',), 'b')


def test_yaml_nested_or_dotted_for_all_nodes_or_this_one(tmp_path):
    path = file(
        tmp_path,
        """
        /**:
          ros__parameters:
            mode: object
            use_sim_time: true
            qos_overrides: {/tf: {publisher: {depth: 5}}}
            objects: {names: [part], references: [part.ply]}
            hold_timeout: 1.0
        other_node:
          ros__parameters: {anything: 1}
        robot1:
          localizer:
            ros__parameters: {hold_timeout: 5.0}
        localizer:
          ros__parameters:
            registration.threads: 2
            hold_timeout: 4
        """,
    )
    parameters = load_yaml(path, {'registration.threads': 3})
    assert parameters.mode == 'object'
    assert parameters.objects.references == ('part.ply',)
    assert parameters.hold_timeout == 4.0
    assert parameters.registration.threads == 3
    assert load_yaml(path, node_name='another').hold_timeout == 1.0
    assert load_yaml(path, namespace='/robot1').hold_timeout == 5.0
    assert load_yaml(path, namespace='/robot2').hold_timeout == 1.0


@pytest.mark.parametrize(
    ('section', 'applies'),
    [
        ('/**', True),
        ('/*/localizer', True),
        ('/**/localizer', True),
        ('/robot1/**', True),
        ('/robot1/*', True),
        ('robot1/localizer', True),
        ('/*', False),
        ('localizer', False),
        ('/robot1', False),
        ('/robot1/localizer/x', False),
        ('/robot./localizer', False),
    ],
)
def test_sections_apply_as_in_ros(tmp_path, section, applies):
    """As rcl 9.2 gave them to a node /robot1/localizer."""
    path = file(tmp_path, f'"{section}": {{ros__parameters: {{hold_timeout: 9.0}}}}')
    if applies:
        assert load_yaml(path, namespace='/robot1').hold_timeout == 9.0
    else:
        with pytest.raises(ParameterError, match='none of /robot1/localizer'):
            load_yaml(path, namespace='/robot1')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('/**: {ros__parameters: {hold_timout: 1.0}}', 'did you mean hold_timeout'),
        ('/**: {ros__parameters: {hold_timeout: -1.0}}', '0 to 3600 s'),
        ('/**: {ros__parameters: {frames: {mapp: x}}}', 'did you mean frames.map'),
        ('/**: {ros__parameters: {hold_timeout: {a: 1}}}', 'hold_timeout.a'),
        ('hold_timeout: 1.0', "needs '/**:' or '/localizer:' with 'ros__parameters:' below it"),
        (
            '{lokalizer: {ros__parameters: {hold_timeout: 1.0}}, a: {b: {ros__parameters: {}}}}',
            'has parameters of /lokalizer, /a/b and none of /localizer: rename the section',
        ),
        ('/**: {ros__parameters: 3}', 'needs ros__parameters with names below'),
        ('', 'not a ROS parameter file'),
        ('a: [', 'not valid YAML'),
        ('\x00', 'not valid YAML'),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(tmp_path, text, message):
    path = file(tmp_path, text)
    with pytest.raises(ParameterError) as caught:
        load_yaml(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('hold_timout', 1.0, 'did you mean hold_timeout'),
        ('hold_timeout', 'soon', 'expected double'),
        ('hold_timeout', -1.0, '0 to 3600 s'),
    ],
)
def test_what_is_wrong_beside_the_file_is_not_blamed_on_it(tmp_path, name, value, message):
    path = file(tmp_path, '/**: {ros__parameters: {publish_rate: 5.0}}')
    with pytest.raises(ParameterError, match=message) as caught:
        load_yaml(path, {name: value})
    assert str(path) not in str(caught.value)
    path = file(tmp_path, '/**: {ros__parameters: {publish_rate: -5.0}}')
    with pytest.raises(ParameterError, match='publish_rate') as caught:
        load_yaml(path, {'hold_timeout': 1.0})
    assert str(caught.value).startswith(str(path))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ParameterError, match='No such file'):
        load_yaml(tmp_path / 'missing.yaml')
    (tmp_path / 'binary.yaml').write_bytes(b'\xff\xfe\xfa\xff\x00\x01')
    with pytest.raises(ParameterError, match='binary.yaml'):
        load_yaml(tmp_path / 'binary.yaml')


def test_what_may_change_while_the_node_runs():
    old = Parameters()
    assert (
        read_only_changes(old, from_flat({'hold_timeout': 9.0, 'prior.linear_speed': 2.0})) == []
    )
    changed = from_flat({'mode': 'object', 'registration.threads': 4, 'hold_timeout': 9.0})
    assert read_only_changes(old, changed) == ['mode', 'registration.threads']


def test_the_documented_table_is_current():
    page = (ROOT / 'docs' / 'parameters.md').read_text(encoding='utf-8')
    assert page == markdown_page(), (
        'run: python -m dlc_ros.localization.parameters > docs/parameters.md'
    )
