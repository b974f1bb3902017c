"""What ``output`` tells of several objects, and once nothing is published any more."""

from rig import CAMERA_FROM_BOX, REJECTED, Rig, at, object_rig, seen


def test_why_an_object_is_not_published_stands_beside_those_that_are(tmp_path):
    rig = object_rig(tmp_path, names=('mug', 'box'))
    for seconds in (0.0, 0.1):  # the box is accepted last, the mug is refused each time
        output = seen(rig, seconds, frame='mug')
        assert [transform.child for transform in output.transforms] == ['box']
        entry = rig.status('output')
        assert (entry.level, 'mug is not published' in entry.message) == (2, True)
    output = seen(rig, 0.2, CAMERA_FROM_BOX)
    assert [transform.child for transform in output.transforms] == ['mug', 'box']
    assert rig.status('output').level == 0


def test_output_says_when_nothing_is_published_any_more(tmp_path):
    rig = Rig(tmp_path, {'mode': 'map', 'reference': 'map'})
    assert rig.status('output').message == 'nothing published yet'
    rig.localizer.on_published(rig.scan(0.0), at(0.1))
    assert rig.status('output', 0.2).message == 'publishing'
    rig.registrar.verdicts.extend([REJECTED] * 49)
    for i in range(1, 50):
        rig.localizer.on_published(rig.scan(0.1 * i), at(0.1 * i))
    assert rig.state(seconds=5.0) == 'SEARCHING'
    entry = rig.status('output', 5.0)
    assert entry.message == 'nothing published now: no pose is confirmed'
    assert entry.values['silent for [s]'] == '4.9'
    rig.localizer.on_time_jump(at(-100.0))
    assert rig.status('output', -100.0).values['silent for [s]'] == ''


def test_output_names_the_objects_that_are_published(tmp_path):
    rig = object_rig(tmp_path, names=('mug', 'box'))
    rig.registrars[1].verdicts.extend([REJECTED] * 2)
    rig.localizer.on_published(seen(rig, 0.0), at(0.0))
    assert rig.status('output').message == 'publishing only mug'
