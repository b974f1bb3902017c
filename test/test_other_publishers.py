"""Two publishers of one transform: told apart by what this node has sent."""

import pytest
from rig import Rig, at, object_rig, odom_from_base, seen


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map'})
    rig.scan(0.0)
    return rig


def problem(rig):
    return rig.status('output').values['other publisher']


def test_what_this_node_sent_is_heard_without_a_word(rig):
    sent = [*rig.scan(0.1).transforms, *rig.localizer.on_timer(at(0.5)).transforms]
    assert len(sent) == 2
    for transform in sent:
        rig.localizer.on_transform(transform.parent, transform.child, transform.stamp_ns)
    rig.localizer.on_transform('odom', 'base_link', at(0.3))
    rig.localizer.on_transform('site', 'map', at(0.3))
    assert problem(rig) == '' and rig.status('output').level == 0


@pytest.mark.parametrize(('parent', 'static'), [('map', False), ('world', False), ('map', True)])
def test_another_parent_or_pose_of_the_same_frame_is_an_error_said_once(rig, parent, static):
    for seconds in (0.31, 0.32, 0.33):
        rig.localizer.on_transform(
            parent, 'odom', at(seconds), static, lambda: ['/ekf', '/robot1/amcl']
        )
    entry = rig.status('output')
    assert entry.level == 2
    assert f'{parent} -> odom' in entry.message
    assert 'one of /ekf, /robot1/amcl' in entry.message
    assert ('static' in entry.message) == static
    assert sum('/robot1/amcl' in text for text in rig.messages) == 1


def test_odometry_that_is_not_named_is_no_second_publisher(tmp_path):
    """The base has its parent there, which the output says; nothing is published beside it."""
    settings = {'mode': 'map', 'reference': 'map', 'frames.odom': '', 'publish_map_to_base': True}
    rig = Rig(tmp_path, settings)
    rig.tree.insert('odom', 'base_link', at(0), odom_from_base(0))
    rig.localizer.on_transform('odom', 'base_link', at(0))
    assert rig.localizer.on_cloud(at(0), 'lidar', rig.lidar_points(0)).transforms == ()
    entry = rig.status('output')
    assert 'already has the parent odom; name the odometry in frames.odom' in entry.message
    assert problem(rig) == '' and not [text for text in rig.messages if 'stop one of' in text]
    rig.localizer.on_transform('map', 'base_link', at(0.1))
    assert 'map -> base_link is published by another node too' in problem(rig)

    alone = Rig(tmp_path, settings)
    assert alone.localizer.on_cloud(at(0), 'lidar', alone.lidar_points(0)).transforms
    alone.localizer.on_transform('odom', 'base_link', at(0.3))  # now there are two
    assert 'odom -> base_link is published by another node too' in problem(alone)


def test_it_is_over_when_nobody_else_is_heard(rig, monkeypatch):
    others, now = rig.localizer._belief.others, [0.0]
    monkeypatch.setattr(others, '_clock', lambda: now[0])
    rig.localizer.on_transform('map', 'odom', at(0.31))
    now[0] = 4.0
    assert 'another node' in problem(rig)
    now[0] = 6.0
    assert problem(rig) == ''


def test_a_static_one_holds_until_its_publisher_has_gone(rig, monkeypatch):
    others, now = rig.localizer._belief.others, [0.0]
    monkeypatch.setattr(others, '_clock', lambda: now[0])
    there = {'/robot_description', '/placeholder'}

    def hear():
        rig.localizer.on_transform('map', 'odom', 0, True, lambda: set(there))

    def after(seconds):
        now[0] += seconds
        return problem(rig)

    hear()
    there.add('/late')
    assert 'one of /late, /placeholder, /robot_description too' in after(86_400.0)
    there.remove('/late')  # perhaps it was that one
    assert 'static' in after(1.0)
    hear()  # it was not: what is still there was sent again
    assert 'one of /placeholder, /robot_description too' in after(86_400.0)
    there.remove('/placeholder')
    assert 'published by /robot_description too' in after(1.0)
    assert after(6.0) == ''
    assert sum('published by' in text for text in rig.messages) == 1


def test_objects_that_somebody_else_places_are_named(tmp_path):
    rig = object_rig(tmp_path, names=('mug', 'box'))
    seen(rig, 0)
    rig.localizer.on_transform('camera', 'box', at(0.5))
    assert 'camera -> box' in problem(rig)
