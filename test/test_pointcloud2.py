"""PointCloud2 to numpy against struct, field by field; damaged messages are one clear error."""

import array
import struct
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlc_ros.errors import CloudError
from dlc_ros.node.pointcloud2 import MessageCloud, pack_points, points_from_message

FORMATS = {1: 'b', 2: 'B', 3: 'h', 4: 'H', 5: 'i', 6: 'I', 7: 'f', 8: 'd'}
BUFFERS = {
    'bytes': bytes,
    'bytearray': bytearray,
    'memoryview': memoryview,
    'array': lambda data: array.array('B', data),
    'numpy': lambda data: np.frombuffer(data, np.uint8),
}


def field(name, offset, datatype=7, count=1):
    return SimpleNamespace(name=name, offset=offset, datatype=datatype, count=count)


def message(points=((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)), **changes):
    """Unorganised float32 x, y, z, 16 bytes a point, as depth cameras send them."""
    points = np.asarray(points, dtype='<f4').reshape(-1, 3)
    data = np.zeros((len(points), 4), '<f4')
    data[:, :3] = points
    values = {
        'height': 1,
        'width': len(points),
        'fields': [field(name, 4 * i) for i, name in enumerate('xyz')],
        'is_bigendian': False,
        'point_step': 16,
        'row_step': 16 * len(points),
        'data': data.tobytes(),
        'is_dense': True,
    }
    return SimpleNamespace(**{**values, **changes})


def struct_reference(cloud):
    """Every coordinate unpacked one by one."""
    order = '>' if cloud.is_bigendian else '<'
    where = {f.name: (f.offset, order + FORMATS[f.datatype]) for f in cloud.fields}
    rows = []
    for row in range(cloud.height):
        for column in range(cloud.width):
            start = row * cloud.row_step + column * cloud.point_step
            rows.append(
                [
                    struct.unpack_from(where[name][1], cloud.data, start + where[name][0])[0]
                    for name in 'xyz'
                ]
            )
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


@st.composite
def layouts(draw):
    """Messages with x, y, z among other fields, in any order, at any offset, with padding."""
    kinds = draw(st.sampled_from([(7, 7, 7), (8, 8, 8), (7, 8, 7)]))
    extras = draw(st.lists(st.sampled_from(sorted(FORMATS)), max_size=3))
    wanted = list(zip('xyz', kinds, strict=True))
    wanted += [(f'extra{i}', kind) for i, kind in enumerate(extras)]
    fields, offset = [], 0
    for name, kind in draw(st.permutations(wanted)):
        offset += draw(st.integers(0, 5))
        fields.append(field(name, offset, kind))
        offset += struct.calcsize('=' + FORMATS[kind])
    height, width = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    point_step = offset + draw(st.integers(0, 7))
    row_step = width * point_step + draw(st.integers(0, 9))
    size = height * row_step + draw(st.integers(0, 3))
    seed = draw(st.integers(0, 2**32 - 1))
    bigendian = draw(st.booleans())
    data = bytearray(np.random.default_rng(seed).bytes(size))
    order = '>' if bigendian else '<'
    values = np.random.default_rng(seed).normal(size=(height * width, 3))
    for i, xyz in enumerate(values):
        start = (i // width) * row_step + (i % width) * point_step
        for value, name in zip(xyz, 'xyz', strict=True):
            f = next(f for f in fields if f.name == name)
            struct.pack_into(order + FORMATS[f.datatype], data, start + f.offset, value)
    return SimpleNamespace(
        height=height,
        width=width,
        fields=fields,
        is_bigendian=bigendian,
        point_step=point_step,
        row_step=row_step,
        data=bytes(data),
        is_dense=True,
    )


@given(layouts(), st.sampled_from(sorted(BUFFERS)))
def test_every_layout_reads_as_struct_does(cloud, buffer):
    expected = struct_reference(cloud)
    cloud.data = BUFFERS[buffer](cloud.data)
    points = points_from_message(cloud)
    np.testing.assert_array_equal(points, expected)
    assert points.dtype.isnative and points.flags.aligned
    assert points.dtype in (np.float32, np.float64)


@given(layouts())
def test_every_layout_reads_as_ros_does(cloud):
    library = pytest.importorskip('sensor_msgs_py.point_cloud2')
    messages = pytest.importorskip('sensor_msgs.msg')
    ros = messages.PointCloud2(
        height=cloud.height,
        width=cloud.width,
        fields=[messages.PointField(**vars(f)) for f in cloud.fields],
        is_bigendian=cloud.is_bigendian,
        point_step=cloud.point_step,
        row_step=cloud.row_step,
        data=array.array('B', cloud.data[: cloud.height * cloud.row_step]),
        is_dense=True,
    )
    if cloud.row_step != cloud.width * cloud.point_step:
        return  # sensor_msgs_py does not know padded rows
    expected = library.read_points(ros, ['x', 'y', 'z']).reshape(-1)
    points = points_from_message(ros)
    for i, name in enumerate('xyz'):
        np.testing.assert_array_equal(points[:, i], expected[name])


def test_coordinates_of_a_common_cloud_are_a_view_of_its_data():
    data = np.arange(4 * 100, dtype='<f4').tobytes()
    cloud = message(np.zeros((100, 3)), data=data)
    points = points_from_message(cloud)
    assert np.shares_memory(points, np.frombuffer(data, np.uint8))
    assert not points.flags.writeable


def test_holes_of_an_organised_cloud_are_kept():
    xyz = np.full((6, 3), np.nan, np.float32)
    xyz[2] = 1.0, np.inf, 3.0
    points = points_from_message(message(xyz, height=2, width=3, row_step=48, is_dense=False))
    np.testing.assert_array_equal(points, xyz)


def test_last_row_needs_no_padding():
    xyz = np.arange(12.0).reshape(4, 3)
    packed = message(xyz).data
    data = packed[:32] + b'padding!' + packed[32:]
    cloud = message(xyz, height=2, width=2, row_step=40, data=data)
    np.testing.assert_array_equal(points_from_message(cloud), xyz)


@pytest.mark.parametrize('row_step', [0, 7])
def test_row_step_of_an_unorganised_cloud_does_not_matter(row_step):
    assert points_from_message(message(row_step=row_step)).shape == (2, 3)


@pytest.mark.parametrize('shape', [{'width': 0}, {'height': 0}])
def test_a_cloud_without_points_is_empty(shape):
    assert points_from_message(message(data=b'', **shape)).shape == (0, 3)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'fields': [field('x', 0), field('y', 4)]}, "no field 'z' .it has: x, y"),
        ({'fields': []}, "no field 'x' .it has: none"),
        ({'fields': [field(n, 4 * i, 5) for i, n in enumerate('xyz')]}, "'x' is INT32"),
        ({'fields': [field(n, 4 * i, 99) for i, n in enumerate('xyz')]}, 'unknown type 99'),
        ({'fields': [field(n, 4 * i, 7, 3) for i, n in enumerate('xyz')]}, 'count 3'),
        ({'fields': [field(n, 8 * i) for i, n in enumerate('xyz')]}, "'z' at offset 16"),
        ({'point_step': 0}, 'does not fit in point_step 0'),
        ({'data': b'\0' * 20}, 'has 20 bytes but 1 x 2 points need 32'),
        ({'width': 2**32 - 1, 'height': 2**32 - 1, 'row_step': 2**32 - 1}, 'row_step'),
        ({'width': 2**32 - 1}, 'cut off or its sizes are wrong'),
        ({'height': 2, 'width': 1, 'row_step': 3}, 'row_step 3 is less than'),
        ({'width': -1}, 'width is -1'),
        ({'width': None}, 'Not a PointCloud2'),
        ({'data': 'text'}, 'Not a PointCloud2'),
        ({'data': None}, 'Not a PointCloud2'),
        ({'fields': None}, 'Not a PointCloud2'),
        ({'point_step': float('nan')}, 'Not a PointCloud2'),
    ],
)
def test_malformed_message_is_one_line(changes, words):
    with pytest.raises(CloudError, match=words) as caught:
        points_from_message(message(**changes))
    assert '\n' not in str(caught.value)


def test_something_else_is_no_cloud():
    with pytest.raises(CloudError, match="no attribute 'height'"):
        points_from_message(object())


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**63, -1]),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=40),
)


@settings(max_examples=500)
@given(
    st.dictionaries(
        st.sampled_from(
            ['height', 'width', 'point_step', 'row_step', 'is_bigendian', 'data', 'fields']
        ),
        ANYTHING,
    ),
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from(['name', 'offset', 'datatype', 'count']),
            ANYTHING,
        ),
        max_size=3,
    ),
)
def test_arbitrary_values_give_points_or_one_error(changes, field_changes):
    cloud = message()
    for index, name, value in field_changes:
        setattr(cloud.fields[index], name, value)
    vars(cloud).update(changes)
    try:
        points = points_from_message(cloud)
    except CloudError:
        return
    assert points.ndim == 2 and points.shape[1] == 3


def test_mutated_wire_bytes_give_points_or_one_error():
    serde = pytest.importorskip('rosbags.serde')
    from dlc_ros.node.convert import cloud_values
    from dlc_ros.node.definitions import build_message, distro_typestore

    rng = np.random.default_rng(7)
    store, kind = distro_typestore(), 'sensor_msgs/msg/PointCloud2'
    values = cloud_values(123, 'camera', rng.normal(size=(4, 3)))
    good = bytes(store.serialize_cdr(build_message(store, kind, values), kind))
    read = 0
    for _ in range(3000):
        mutated = bytearray(good)
        for position in rng.integers(4, len(good), rng.integers(1, 4)):
            mutated[position] = rng.integers(256)
        if rng.random() < 0.2:
            mutated = mutated[: rng.integers(4, len(good))]
        try:
            cloud = store.deserialize_cdr(bytes(mutated), kind)
        except serde.SerdeError:
            continue
        try:
            assert points_from_message(cloud).shape[1] == 3
        except CloudError:
            continue
        read += 1
    assert read > 500  # most single bytes are coordinates: else nothing was tested


@pytest.mark.parametrize('dtype', [np.float32, np.float64, np.int32])
def test_packed_points_read_back(dtype):
    points = (100 * np.random.default_rng(1).normal(size=(50, 3))).astype(dtype)
    packed = pack_points(points[::2])
    assert packed.data.dtype == np.uint8 and packed.data.ndim == 1
    np.testing.assert_array_equal(points_from_message(packed), points[::2].astype(np.float32))


def test_packed_points_are_dense_only_when_all_are_finite():
    assert pack_points(np.zeros((2, 3))).is_dense
    assert not pack_points([[0.0, np.nan, 0.0]]).is_dense


@pytest.mark.parametrize('shape', [(3,), (4, 2), (2, 2, 3)])
def test_only_rows_of_three_can_be_packed(shape):
    with pytest.raises(CloudError, match='N, 3'):
        pack_points(np.zeros(shape))


def test_lazy_cloud_is_read_when_asked_for():
    np.testing.assert_array_equal(
        np.asarray(MessageCloud(message())), [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    )
    assert np.asarray(MessageCloud(message()), dtype=np.float64).dtype == np.float64
    with pytest.raises(CloudError, match="no field 'x'"):
        np.asarray(MessageCloud(message(fields=[])))
