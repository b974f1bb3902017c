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
