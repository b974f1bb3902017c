"""Damaged messages: conversion and the whole pipeline survive them and make nothing up."""

import struct
from collections import Counter
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from mutations import CLOUD, FORMATS, as_message, layout, mutate_bytes, mutate_values, serialized
from wire import room

pytest.importorskip('rosbags')
from rosbags.serde import SerdeError  # noqa: E402

from dlc_ros.errors import CloudError  # noqa: E402
from dlc_ros.files import write_cloud  # noqa: E402
from dlc_ros.localization.localizer import Localizer  # noqa: E402
from dlc_ros.localization.parameters import from_flat  # noqa: E402
from dlc_ros.node.definitions import distro_typestore  # noqa: E402
from dlc_ros.node.pointcloud2 import MessageCloud, points_from_message  # noqa: E402
from dlc_ros.registration.se3 import exp_so3, rotation_angle_deg  # noqa: E402

SECOND = 10**9
# Resident memory in steady state moves by pages that allocators keep; a leak does not stop here.
FLAT = 0.02


def resident():
    """Resident memory of this process in bytes."""
    return psutil.Process().memory_info().rss


def check_points(message, points, rng):
    """Compare some coordinates with what ``struct`` reads where the message says they are."""
    assert points.shape == (message.height * message.width, 3)
    assert points.dtype in (np.float32, np.float64) and points.dtype.isnative
    # Three columns may share the same bytes, but nothing may grow beyond what came in.
    assert points.nbytes <= 3 * len(message.data)
    order = '>' if message.is_bigendian else '<'
    fields = {f.name: f for f in reversed(message.fields)}  # the first of a name counts
    padded = message.height > 1 and message.row_step
    row_step = message.row_step if padded else message.width * message.point_step
    for index in rng.integers(0, len(points), 3) if len(points) else ():
        row, column = divmod(int(index), message.width)
        for axis, name in enumerate('xyz'):
            field = fields[name]
            at = row * row_step + column * message.point_step + field.offset
            (value,) = struct.unpack_from(order + FORMATS[field.datatype], message.data, at)
            np.testing.assert_equal(float(points[index, axis]), value)


def convert_or_refuse(message, rng):
    """Whether a message gave points; else it was refused in one line of bounded length."""
    try:
        points = points_from_message(message)
    except CloudError as error:
        assert '\n' not in str(error) and len(str(error)) < 500, error
        return False
    check_points(message, points, rng)
    return True


@pytest.mark.scenario('faults', 'mutated PointCloud2: points or one clear error, never more')
def test_every_damaged_message_gives_its_points_or_one_line(scenario):
    rng = np.random.default_rng(1)
    store = distro_typestore()
    count = scenario.size(small=3000, full=100_000)
    seen = {'read': 0, 'refused': 0, 'no message': 0}
    flat_after, before = count // 4, None
    for number in range(count):
        if number == flat_after:
            before = resident()
        values = layout(rng, rng.normal(size=(int(rng.integers(0, 40)), 3)))
        if number % 2:
            message = as_message(mutate_values(rng, values))
        else:
            try:
                message = store.deserialize_cdr(mutate_bytes(rng, serialized(values)), CLOUD)
            except SerdeError:
                seen['no message'] += 1
                continue
        seen['read' if convert_or_refuse(message, rng) else 'refused'] += 1
    growth = resident() / before - 1.0
    assert growth < FLAT
    # Else the mutations were too mild or too wild to test anything.
    assert min(seen.values()) > 0.05 * count, seen
    scenario.saw(
        f'{count} messages: {seen["read"]} read, {seen["refused"]} refused in one line, '
        f'{seen["no message"]} not even a message; memory {100 * growth:+.1f} %'
    )


class Pipeline:
    """From message bytes to the node's output, without the wire."""

    def __init__(self, folder, points, **changes):
        reference = folder / 'room.npy'
        write_cloud(reference, points)
        values = {
            'mode': 'object',
            'objects.names': ['room'],
            'objects.references': [str(reference)],
            'segmentation.remove_plane': False,
            'registration.threads': 1,
            **changes,
        }
        self.localizer = Localizer(from_flat(values), lambda *_: np.eye(4))
        self.store = distro_typestore()
        assert self.localizer.problems == ()

    def feed(self, message, stamp_ns):
        """Transforms that follow from a message."""
        cloud = MessageCloud(message)
        output = self.localizer.on_cloud(stamp_ns, message.header.frame_id, cloud, stamp_ns)
        return output.transforms

    def counts(self, task='input'):
        """Diagnostics of a task as a dict."""
        for status in self.localizer.diagnostics(0):
            if status.name.endswith(f': {task}'):
                return status.values
        raise KeyError(task)


def is_room(transform):
    """Whether a transform says that the camera stands where it took the good clouds: at zero."""
    return (
        rotation_angle_deg(transform.matrix, np.eye(4)) < 1.0
        and np.linalg.norm(transform.matrix[:3, 3]) < 0.02
    )


def garbage(rng, points):
    """Clouds that are well-formed messages of no room: noise, shapes, scales, constants."""
    n = len(points)
    shapes = (
        lambda: rng.normal(size=(n, 3)),
        lambda: rng.uniform(-3.0, 3.0, (n, 3)),
        lambda: rng.normal(size=(n, 3)) * [3.0, 2.0, 0.0],
        lambda: rng.normal(size=(n, 1)) * rng.normal(size=3),
        # Turned: as it is, it lies on three planes through the origin, and so do floor and walls.
        lambda: np.exp(rng.normal(size=(n, 3)) * 8.0) @ exp_so3(rng.normal(size=3) + 1.0),
        lambda: np.full((n, 3), rng.normal()),
        # Not shrunk to centimetres: that is a patch of a wall to a node that knows where it is.
        lambda: points * 10.0 ** rng.choice([-6, 2, 3, 6]),
        lambda: np.where(rng.random((n, 3)) < rng.random(), np.nan, rng.normal(size=(n, 3))),
    )
    which = int(rng.integers(len(shapes)))
    return which, shapes[which]()


@pytest.mark.scenario(
    'faults',
    'damaged and nonsensical clouds through the whole pipeline: no transform from garbage',
)
def test_no_transform_comes_from_garbage(scenario, tmp_path):
    """
    Garbage between good clouds, so that there is a state that garbage could spoil.

    Half of the clouds are garbage in themselves, half are good clouds whose message was damaged;
    of these some are harmless (a coordinate changed), and then the answer must be the true one.
    """
    rng = np.random.default_rng(2)
    pipeline = Pipeline(tmp_path, room(2400))
    count = scenario.size(small=60, full=5000)
    good = room(900, seed=5)
    sent, placed, wrong = Counter(), Counter(), []
    stamp_ns, before = 1_700_000_000 * SECOND, None
    for number in range(count):
        if number == count // 4:
            before = resident()
        stamp_ns += SECOND // 10
        kind = 'good' if number % 10 == 0 else ('garbage', 'damaged')[number % 2]
        message, note = _make(kind, pipeline.store, rng, good)
        transforms = pipeline.feed(message, stamp_ns) if message is not None else ()
        sent[kind] += 1
        placed[kind] += len(transforms)
        if kind == 'garbage' and transforms or not all(map(is_room, transforms)):
            wrong.append((number, kind, note))
    growth = resident() / before - 1.0
    scenario.saw(
        f'{count} clouds: {placed["good"]} of {sent["good"]} good ones placed right, '
        f'{placed["garbage"]} of {sent["garbage"]} of garbage gave a transform, '
        f'{placed["damaged"]} of {sent["damaged"]} damaged ones could still be used; '
        f'{len(wrong)} wrong transforms; memory {100 * growth:+.1f} %'
    )
    assert not wrong
    assert placed['good'] == sent['good'] and placed['damaged'] > 0
    assert growth < FLAT


def _make(kind, store, rng, good):
    """A message of a kind, or None where its bytes are no message; what was done to it."""
    if kind == 'garbage':
        which, points = garbage(rng, good)
        return _message(store, points), which
    if kind == 'good':
        return _message(store, good), ''
    values = layout(rng, good)
    if rng.random() < 0.5:
        message = as_message(mutate_values(rng, values))
        message.header = SimpleNamespace(frame_id='camera')
        return message, 'values'
    with suppress(SerdeError):
        return store.deserialize_cdr(mutate_bytes(rng, serialized(values)), CLOUD), 'bytes'
    return None, 'bytes'


def _message(store, points, dtype='<f4'):
    """A plain cloud as it comes from the wire."""
    size = np.dtype(dtype).itemsize
    values = {
        'height': 1,
        'width': len(points),
        'fields': [
            {'name': name, 'offset': size * i, 'datatype': {4: 7, 8: 8}[size], 'count': 1}
            for i, name in enumerate('xyz')
        ],
        'is_bigendian': False,
        'point_step': 3 * size,
        'row_step': 3 * size * len(points),
        'data': np.ascontiguousarray(points, dtype).reshape(-1).view(np.uint8),
        'is_dense': False,
    }
    return store.deserialize_cdr(serialized(values), CLOUD)


UTM = np.array([500_000.0, 5_000_000.0, 300.0])


@pytest.mark.parametrize('shifted', ['reference', 'cloud', 'both'])
def test_coordinates_of_a_map_projection_lose_nothing(tmp_path, shifted):
    """Millions of metres from the origin float32 steps by half a metre; float64 fields do not."""
    reference_at = UTM if shifted != 'cloud' else np.zeros(3)
    cloud_at = UTM if shifted != 'reference' else np.zeros(3)
    pipeline = Pipeline(tmp_path, room(2400) + reference_at)
    points = room(900, seed=5).astype(np.float64) + cloud_at
    message = _message(pipeline.store, points, '<f8')
    (transform,) = pipeline.feed(message, SECOND)
    # Where the middle of the room is, in the cloud's frame; far origins have long levers.
    middle = np.array([1.5, 1.0, 0.75, 1.0])
    found = transform.matrix @ (middle + [*reference_at, 0.0])
    np.testing.assert_allclose(found[:3], middle[:3] + cloud_at, atol=0.02)
    assert rotation_angle_deg(transform.matrix, np.eye(4)) < 1.0


def test_a_cloud_of_one_plane_tells_no_more_than_a_plane_can(tmp_path):
    """A floor alone does not say where on the floor: no transform, or the true one."""
    pipeline = Pipeline(tmp_path, room(2400))
    rng = np.random.default_rng(0)
    floor = np.c_[rng.uniform(0.0, 1.0, (900, 2)) * [3.0, 2.0], rng.normal(0.0, 0.002, 900)]
    for number in range(3):
        message = _message(pipeline.store, floor)
        assert all(map(is_room, pipeline.feed(message, SECOND * (1 + number))))
    pose = pipeline.counts('pose of room')
    assert pose['status'] in ('DEGENERATE', 'REJECTED', 'AMBIGUOUS') and pose['verdict']


@pytest.mark.parametrize('axis', range(3))
def test_a_cloud_that_lost_a_coordinate_moves_nothing_within_its_plane(tmp_path, axis):
    """Flattened onto a wall it lies on it anywhere; the room's edges pulled it 6 cm aside."""
    pipeline, good = Pipeline(tmp_path, room(2400)), room(900, seed=5)
    assert pipeline.feed(_message(pipeline.store, good), SECOND)
    flattened = good.copy()
    flattened[:, axis] = 0.0
    transforms = pipeline.feed(_message(pipeline.store, flattened), 2 * SECOND)
    assert all(map(is_room, transforms))
    assert pipeline.counts('pose of room')['status'] != 'ACCEPTED'
