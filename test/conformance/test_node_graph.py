"""Both nodes: their place in the graph, as others see it."""

import contextlib
import os
import time

import numpy as np
import pytest
from adapters import ADAPTERS, both, require
from rigs import (
    BASE_FROM_LIDAR,
    MAP_FROM_ODOM,
    MapRig,
    Rig,
    assert_poses_close,
    seen_from,
)
from robot import CLOCK, CLOUD, DIAGNOSTICS, EMPTY, POSE, POSES, STRING, TF
from wire import LOOPBACK, free_domain, wait_for

from dlc_ros.localization.output import StampedTransform
from dlc_ros.node import convert
from dlc_ros.node.dds import qos
from dlc_ros.node.dds.participant import Participant
from dlc_ros.node.definitions import distro_typestore
from dlc_ros.registration.result import Status

MAP_TOPICS = {
    ('out', '/tf', TF, 'reliable', 'volatile'),
    ('out', '/diagnostics', DIAGNOSTICS, 'reliable', 'volatile'),
    ('out', '/localizer/pose', POSE, 'reliable', 'volatile'),
    ('out', '/localizer/aligned', CLOUD, 'reliable', 'volatile'),
    ('out', '/localizer/hypotheses', POSES, 'reliable', 'volatile'),
    ('out', '/localizer/reference', CLOUD, 'reliable', 'transient local'),
    ('in', '/tf', TF, 'reliable', 'volatile'),
    ('in', '/tf_static', TF, 'reliable', 'transient local'),
    ('in', '/clock', CLOCK, 'best effort', 'volatile'),
    ('in', '/points', CLOUD, 'best effort', 'volatile'),
    ('in', '/initialpose', POSE, 'reliable', 'volatile'),
    ('in', '/localizer/relocalize', EMPTY, 'reliable', 'volatile'),
    ('in', '/localizer/save_pose', EMPTY, 'reliable', 'volatile'),
    ('in', '/localizer/load_reference', STRING, 'reliable', 'volatile'),
    ('in', '/localizer/load_weights', STRING, 'reliable', 'volatile'),
}
OBJECT_TOPICS = {
    topic for topic in MAP_TOPICS if topic[0] == 'in' or topic[1] in ('/tf', '/diagnostics')
} | {
    ('out', f'/localizer/{name}/{what}', kind, 'reliable', 'volatile')
    for name in ('mug', 'box')
    for what, kind in (('pose', POSE), ('aligned', CLOUD), ('hypotheses', POSES))
}
OBJECT_TOPICS |= {
    topic
    for name in ('mug', 'box')
    for topic in (
        ('in', f'/localizer/{name}/initialpose', POSE, 'reliable', 'volatile'),
        ('out', f'/localizer/{name}/reference', CLOUD, 'reliable', 'transient local'),
    )
}
# What every rclpy node has besides, and what only rclpy offers: lifecycle, parameters, services.
OF_RCLPY = {'/rosout', '/parameter_events', '/localizer/transition_event', '/bond'}
# The embedded node takes big clouds reliably where it can; rclpy does where it is told to.
OF_EMBEDDED = {('in', '/points', CLOUD, 'reliable', 'volatile')}


@pytest.mark.parametrize('mode', ['map', 'object'])
@both('topics, types, QoS and type hashes, as discovery announces them')
def test_topics_types_and_qos(adapter, request, mode):
    rig = request.getfixturevalue(f'{mode}_rig')
    wanted = MAP_TOPICS if mode == 'map' else OBJECT_TOPICS
    wanted = wanted | (OF_EMBEDDED if adapter == 'embedded' else set())
    announced = rig.robot.endpoints()
    topics = {
        (direction, name.removeprefix('rt'), as_ros(kind), reliability, durability)
        for direction, name, kind, reliability, durability, _ in announced
        if name.startswith('rt/') and name.removeprefix('rt') not in OF_RCLPY
    }
    assert topics == wanted
    hashes = {as_ros(kind): data for _, name, kind, *_, data in announced if name[:3] == 'rt/'}
    if os.environ.get('ROS_DISTRO') != 'humble':  # which announces none
        store = distro_typestore()
        for kind in {topic[2] for topic in wanted}:
            assert hashes[kind] == f'typehash={store.hash_rihs01(kind)};'.encode()


def as_ros(wire_type):
    """``std_msgs::msg::dds_::Empty_`` -> ``std_msgs/msg/Empty``."""
    return wire_type.replace('::dds_::', '::').removesuffix('_').replace('::', '/')


@both('two robots in namespaces: each its own transform tree')
def test_two_robots_in_namespaces(adapter, reference):
    values = {
        'reference': str(reference),
        'frames.odom': '',
        'publish_map_to_base': True,
        'frames.base': 'base_link',
    }
    domain = free_domain(7)
    with contextlib.ExitStack() as opened:
        rigs = []
        for i in (1, 2):
            rig = Rig(adapter, values, domain, node=f'loc{i}', namespace=f'/robot{i}')
            rigs.append(opened.enter_context(contextlib.closing(rig)))
        for rig, place in zip(rigs, (MAP_FROM_ODOM, BASE_FROM_LIDAR), strict=True):
            rig.robot.send_cloud(rig.now_ns, seen_from(place), 'base_link')
            assert wait_for(lambda rig=rig: rig.heard('map', 'base_link'))
        for rig, place in zip(rigs, (MAP_FROM_ODOM, BASE_FROM_LIDAR), strict=True):
            [(_, found)] = rig.heard('map', 'base_link')
            assert_poses_close(found, place)


@both('somebody else publishes map -> odom too: an error that names it, until it stops')
def test_two_publishers_of_one_transform(robot_in_map):
    rig = robot_in_map
    rig.scan()
    rig.localised()
    rig.advance(0.5)
    assert rig.robot.status('output')[2]['other publisher'] == ''

    def named():
        rig.robot.send_transform('tf', rig.now_ns, 'map', 'odom', np.eye(4))
        return wait_for(lambda: rig.robot.status('output')[0] == 2, 0.5)

    assert wait_for(named)
    _, message, values = rig.robot.status('output')
    assert 'map -> odom is published by' in message and '/robot' in values['other publisher']
    assert wait_for(lambda: rig.robot.status('output')[0] == 0)


@both('somebody else publishes a static map -> odom: an error until that node has gone')
def test_a_static_placeholder(robot_in_map):
    rig = robot_in_map

    def place(name, child):
        """A node of its own that publishes a static transform."""
        node = Participant(name, domain_id=rig.domain_id, interface=LOOPBACK)
        offered = node.publisher('tf_static', TF, qos.TF_STATIC)
        values = convert.transform_values(StampedTransform('map', child, 0, np.eye(4)))
        offered.publish({'transforms': [values]})
        return node

    def problem():
        return rig.robot.status('output')[2]['other publisher']

    bystander = place('bystander', 'office')
    placeholder = place('placeholder', 'odom')
    assert wait_for(lambda: '/placeholder' in problem())
    bystander.close()
    time.sleep(6.0)  # longer than a publisher that is not heard counts
    assert 'map -> odom is static' in problem() and '/bystander' not in problem()
    placeholder.close()
    assert wait_for(lambda: not problem())


TIMES = ('[ms]', '[Hz]', '[s]', '[MB]', '[MiB]')  # what no two runs share


def tell(rig):
    """What a node says about a scan, a rejected one, a bad one, a bad command and a reset."""
    story = []

    def note(condition):
        assert wait_for(condition), rig.robot.reports[-1]
        rig.advance(0.05)  # a report of after it
        for task in ('input', 'pose of map', 'model of map'):
            level, message, values = rig.robot.status(task)
            kept = {key: value for key, value in values.items() if not key.endswith(TIMES)}
            story.append((level, message, kept, sorted(values)))

    note(lambda: rig.robot.status('input')[0] == 3)
    rig.scan()
    note(lambda: rig.state('pose of map') == 'TRACKING')
    rig.registrars.script.append({'status': Status.REJECTED, 'reason': 'too few inliers'})
    rig.scan()
    note(lambda: rig.robot.status('pose of map')[2]['rejected'] == '1')
    rig.scan(points=np.zeros((0, 3)))
    note(lambda: rig.robot.status('input')[2]['unusable: bad cloud'] == '1')
    rig.robot.send('load_reference', {'data': '/nowhere/map.pcd'})
    note(lambda: 'nowhere' in rig.robot.status('input')[2]['last refused command'])
    rig.robot.send('relocalize', {})
    note(lambda: rig.state('pose of map') == 'SEARCHING')
    return story


def test_both_report_the_same_word_for_word(reference):
    require('rclpy')
    stories = []
    for which, adapter in enumerate(ADAPTERS):
        with contextlib.closing(MapRig(adapter, reference, free_domain(8 + which))) as rig:
            rig.mount_lidar()
            rig.advance(1.0)
            stories.append(tell(rig))
    assert stories[0] == stories[1]
