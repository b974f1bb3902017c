"""Launch files and views, without ROS 2: what they declare and what they show."""

import json

import pytest
import yaml
from launch_arguments import FILES, ROOT, arguments_of

from dlc_ros.node import convert

VIEWS = sorted([*(ROOT / 'rviz').glob('*.rviz'), *(ROOT / 'foxglove').glob('*.json')])
COMMON = {'node_name', 'params_file', 'log_level'}
OF_A_ROBOT = COMMON | {'namespace', 'use_sim_time', 'autostart'}
ARGUMENTS = {
    'localizer.launch.py': OF_A_ROBOT,
    'object_pose.launch.py': OF_A_ROBOT | {'points'},
    'replay.launch.py': COMMON
    | {'bag', 'points', 'rate', 'loop', 'map_frame', 'rviz', 'rviz_config'},
}


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_every_argument_is_declared_and_described(path):
    declared, used = arguments_of(path)
    assert set(declared) == ARGUMENTS[path.name]
    assert used <= set(declared)
    for name, description in declared.items():
        assert len(description) > 10 and description.endswith('.'), name


def topics_shown(path):
    """Topics that a view of RViz or Foxglove names."""
    text = path.read_text(encoding='utf-8')
    if path.suffix == '.rviz':
        manager = yaml.safe_load(text)['Visualization Manager']
        shown = [*manager['Displays'], *manager['Tools']]
        return {part['Topic']['Value'] for part in shown if 'Topic' in part}
    panels = json.loads(text)['configById']
    topics = {panel['topicToRender'] for panel in panels.values() if 'topicToRender' in panel}
    for panel in panels.values():
        topics |= set(panel.get('topics', ()))
        topics |= {entry['value'].partition('.')[0] for entry in panel.get('paths', ())}
        topics |= {panel['publish']['poseEstimateTopic']} if 'publish' in panel else set()
    return topics


@pytest.mark.parametrize('path', VIEWS, ids=lambda path: f'{path.parent.name}/{path.name}')
def test_views_show_topics_that_the_nodes_have(path):
    mode, name = ('map', 'map') if 'localizer' in path.name else ('object', 'part')
    own = {
        topic(mode, name).replace('~', '/localizer')
        for topic in (
            convert.pose_topic,
            convert.aligned_topic,
            convert.hypotheses_topic,
            convert.reference_topic,
        )
    }
    known = own | {'/points', '/camera/points', '/initialpose', '/diagnostics', '/tf'}
    shown = topics_shown(path)
    assert shown <= known
    assert '/points' in shown or '/camera/points' in shown


def test_layouts_have_every_panel_that_they_place():
    for path in (ROOT / 'foxglove').glob('*.json'):
        layout = json.loads(path.read_text(encoding='utf-8'))

        def placed(part):
            if isinstance(part, str):
                return {part}
            return placed(part['first']) | placed(part['second'])

        assert placed(layout['layout']) == set(layout['configById'])
