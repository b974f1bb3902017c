"""Files: what is written reads back, other libraries agree, and bad files are one clear error."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlc_ros.errors import FileError
from dlc_ros.files import read_cloud, read_transform, write_cloud, write_transform
from dlc_ros.registration.se3 import exp_so3, make_transform

open3d = pytest.importorskip('open3d', reason='open3d is the independent reader and writer')

SUFFIXES = ['ply', 'pcd', 'xyz', 'txt', 'csv', 'npy', 'npz', 'bin']
DATA = Path(__file__).resolve().parents[2] / 'shared' / 'data'


@pytest.fixture
def points():
    return np.random.default_rng(3).normal(size=(200, 3)) * [10.0, 3.0, 0.1]


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_a_written_cloud_reads_back(tmp_path, points, suffix):
    path = tmp_path / 'made' / 'on demand' / f'cloud.{suffix}'
    write_cloud(path, points)
    back = read_cloud(path)
    assert back.dtype == np.float64
    np.testing.assert_allclose(back, points, atol=3e-6)


@pytest.mark.parametrize('suffix', ['ply', 'npy', 'npz', 'xyz', 'csv'])
def test_utm_coordinates_keep_their_millimetres(tmp_path, points, suffix):
    far = points + [500_000.0, 5_400_000.0, 300.0]
    write_cloud(tmp_path / f'far.{suffix}', far)
    np.testing.assert_allclose(read_cloud(tmp_path / f'far.{suffix}'), far, atol=1e-4, rtol=0)


@pytest.mark.parametrize('name', ['scan', 'scan.ply', 'scan.plyy'])
def test_a_file_that_is_not_there_is_missing_whatever_its_name(tmp_path, name):
    with pytest.raises(FileError, match='cannot be read: No such file') as caught:
        read_cloud(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value) and 'suffix' not in str(caught.value)


@pytest.mark.parametrize('suffix', ['ply', 'pcd', 'xyz'])
def test_open3d_reads_what_is_written(tmp_path, points, suffix):
    path = tmp_path / f'cloud.{suffix}'
    write_cloud(path, points)
    cloud = open3d.io.read_point_cloud(str(path))
    np.testing.assert_allclose(np.asarray(cloud.points), points, atol=3e-6)


@pytest.mark.parametrize('suffix', ['ply', 'pcd', 'xyz', 'pts'])
@pytest.mark.parametrize('ascii_text', [False, True])
@pytest.mark.parametrize('compressed', [False, True])
def test_what_open3d_writes_reads(tmp_path, points, suffix, ascii_text, compressed):
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    cloud.colors = open3d.utility.Vector3dVector(np.full(points.shape, 0.5))
    cloud.normals = open3d.utility.Vector3dVector(np.tile([0.0, 0.0, 1.0], (len(points), 1)))
    path = tmp_path / f'cloud.{suffix}'
    assert open3d.io.write_point_cloud(
        str(path), cloud, write_ascii=ascii_text, compressed=compressed
    )
    # open3d writes six digits into an ascii ply.
    np.testing.assert_allclose(read_cloud(path), points, atol=1e-4 if ascii_text else 3e-6)


@pytest.mark.parametrize('suffix', ['stl', 'obj', 'ply', 'off'])
def test_a_mesh_is_sampled_over_its_surface(tmp_path, suffix):
    sphere = open3d.geometry.TriangleMesh.create_sphere(radius=2.0, resolution=60)
    sphere.compute_triangle_normals()
    path = tmp_path / f'ball.{suffix}'
    assert open3d.io.write_triangle_mesh(str(path), sphere)
    sampled = read_cloud(path)
    np.testing.assert_allclose(np.linalg.norm(sampled, axis=1), 2.0, atol=5e-3)
    # By area (Archimedes: equal heights of a sphere have equal areas), not by vertex.
    share = np.histogram(sampled[:, 2], np.linspace(-2.0, 2.0, 5))[0] / len(sampled)
    np.testing.assert_allclose(share, 0.25, atol=0.02)
    np.testing.assert_array_equal(sampled, read_cloud(path))


def test_big_endian_ply_with_other_fields(tmp_path, points):
    layout = [('nx', '>f4'), ('x', '>f8'), ('y', '>f4'), ('flag', '>u1'), ('z', '>f4')]
    records = np.zeros(len(points), layout)
    for axis, column in zip('xyz', points.T, strict=True):
        records[axis] = column
    header = (
        f'ply\nformat binary_big_endian 1.0\ncomment made by hand\nelement vertex {len(points)}\n'
        'property float nx\nproperty double x\nproperty float y\nproperty uchar flag\n'
        'property float z\nelement face 0\nproperty list uchar int vertex_indices\nend_header\n'
    )
    (tmp_path / 'c.ply').write_bytes(header.encode() + records.tobytes())
    np.testing.assert_allclose(read_cloud(tmp_path / 'c.ply'), points, atol=1e-5)


def test_pcd_with_padding_and_multiple_counts(tmp_path):
    layout = [('_', 'f4', (2,)), ('y', '<f4'), ('x', '<f8'), ('h', '<u2', (3,)), ('z', '<f4')]
    records = np.zeros(4, layout)
    records['x'], records['y'], records['z'] = [1, 2, 3, 4], 5, [np.nan, 7, 8, 9]
    header = (
        '# .PCD v0.7\nVERSION 0.7\nFIELDS _ y x h z\nSIZE 4 4 8 2 4\nTYPE F F F U F\n'
        'COUNT 2 1 1 3 1\nWIDTH 2\nHEIGHT 2\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 4\nDATA binary\n'
    )
    (tmp_path / 'c.pcd').write_bytes(header.encode() + records.tobytes())
    np.testing.assert_array_equal(
        read_cloud(tmp_path / 'c.pcd'), [[1, 5, np.nan], [2, 5, 7], [3, 5, 8], [4, 5, 9]]
    )


@pytest.mark.parametrize(
    'text',
    [
        '1 2 3\n4 5 6\n',
        '1,2,3,0.5\n4,5,6,0.5\n',
        '1; 2; 3\n4; 5; 6\n',
        '# x y z\n\n1\t2\t3\n4\t5\t6\n',
        'intensity,z,X,"y"\n9,3,1,2\n9,6,4,5\n',
        '//X Y Z R\n1 2 3 255\n4 5 6 255\n',
        '2\n1 2 3 10 0 0 0\n4 5 6 10 0 0 0\n',
        '\ufeffx,y,z\n1,2,3\n4,5,6\n',
        '\ufeff1 2 3\n4 5 6\n',
    ],
)
def test_text_tables_as_people_write_them(tmp_path, text):
    (tmp_path / 'c.txt').write_text(text, encoding='utf-8')
    np.testing.assert_array_equal(read_cloud(tmp_path / 'c.txt'), [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize('dtype', ['f4', 'f8', 'f2', 'i4', 'u1', '>f4'])
def test_numpy_arrays_of_any_number_type(tmp_path, dtype):
    array = np.array([[1, 2, 3, 9], [4, 5, 6, 9]], dtype)
    np.save(tmp_path / 'c.npy', array)
    np.savez(tmp_path / 'c.npz', names=np.array(['a']), points=array)
    np.testing.assert_array_equal(read_cloud(tmp_path / 'c.npy'), [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(read_cloud(tmp_path / 'c.npz'), [[1, 2, 3], [4, 5, 6]])


def test_structured_numpy_array(tmp_path):
    array = np.zeros(2, [('z', 'f4'), ('x', 'f4'), ('y', 'f8'), ('ring', 'u2')])
    array['x'], array['y'], array['z'] = [1, 4], [2, 5], [3, 6]
    np.save(tmp_path / 'c.npy', array)
    np.testing.assert_array_equal(read_cloud(tmp_path / 'c.npy'), [[1, 2, 3], [4, 5, 6]])


def _bad_files(folder):
    """Files that no one can read, by name, and what the message must say."""
    good = np.random.default_rng(0).normal(size=(50, 3))
    for suffix in ('ply', 'pcd', 'npy', 'npz', 'bin'):
        path = folder / f'cut.{suffix}'
        write_cloud(path, good)
        path.write_bytes(path.read_bytes()[:-7])
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(good))
    open3d.io.write_point_cloud(str(folder / 'lzf.pcd'), cloud, compressed=True)
    (folder / 'lzf.pcd').write_bytes((folder / 'lzf.pcd').read_bytes()[:300])
    open3d.io.write_point_cloud(str(folder / 'short.ply'), cloud, write_ascii=True)
    (folder / 'short.ply').write_bytes((folder / 'short.ply').read_bytes()[:1000])
    for name in ('foreign.ply', 'foreign.pcd', 'foreign.npy', 'foreign.npz', 'foreign.stl'):
        (folder / name).write_bytes(b'\x7fELF\x00\x01' * 99)
    (folder / 'foreign.csv').write_bytes(bytes(range(256)))
    (folder / 'words.txt').write_text('once upon a time\nthere was a cloud\n')
    (folder / 'ragged.txt').write_text('1 2 3\n4 5\n')
    (folder / 'header only.csv').write_text('x,y,z\n')
    (folder / 'nothing.xyz').write_text('')
    (folder / 'huge.ply').write_text(
        'ply\nformat ascii 1.0\nelement vertex 99999999999\nproperty float x\nproperty float y\n'
        'property float z\nend_header\n1 2 3\n'
    )
    (folder / 'negative.ply').write_text(
        'ply\nformat binary_little_endian 1.0\nelement vertex -5\nproperty float x\n'
        'property float y\nproperty float z\nend_header\n'
    )
    (folder / 'flat.ply').write_text(
        'ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\n'
        'end_header\n1 2\n'
    )
    np.save(folder / 'pickled.npy', np.array([{'a': 1}]), allow_pickle=True)
    np.save(folder / 'column.npy', np.arange(9.0))
    np.save(folder / 'transposed.npy', good.T)
    np.save(folder / 'complex.npy', np.ones((5, 3)) * 1j)
    np.savez(folder / 'two.npz', a=good, b=good)
    (folder / 'model.step').write_text('ISO-10303-21;')
    (folder / 'folder.ply').mkdir()
    return sorted(folder.iterdir())


def test_a_bad_file_is_one_line_that_names_it(tmp_path, capfd):
    bad = [*_bad_files(tmp_path), tmp_path / 'missing.ply', tmp_path / 'missing.stl']
    assert len(bad) > 25
    for path in bad:
        with pytest.raises(FileError) as caught, warnings.catch_warnings():
            warnings.simplefilter('error')
            read_cloud(path)
        message = str(caught.value)
        assert message.startswith(str(path)), message
        assert '\n' not in message and len(message) < len(str(path)) + 200, message
        assert 'allow_pickle' not in message, 'no advice to run what a foreign file brings'
    assert capfd.readouterr() == ('', '')


def test_bytes_that_are_no_floats_read_without_a_warning(tmp_path):
    """Signalling NaN among them: another format under this name, or a damaged disk."""
    (tmp_path / 'c.bin').write_bytes(b'\x01\x00\xa0\x7f' * 8)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert np.isnan(read_cloud(tmp_path / 'c.bin')).all()


PLY = (
    'ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\n'
    'property float z\nend_header\n1 2 3\n'
)
PCD = 'FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nPOINTS 1\nDATA ascii\n1 2 3\n'


@pytest.mark.parametrize(
    ('name', 'old', 'new', 'says'),
    [
        ('c.ply', 'vertex 1', 'vertex 0', 'it holds 0 points'),
        ('c.ply', 'vertex 1', 'vertex -1', 'it holds -1 points'),
        ('c.ply', 'vertex 1', 'vertex one', 'the header has a damaged line: element vertex one'),
        ('c.ply', 'element vertex 1\n', '', 'the header has a damaged line: property float x'),
        ('c.ply', 'property float z\n', '', 'no field z among x y'),
        ('c.ply', 'format ascii 1.0\n', '', "its format is ''; known are ascii, binary_little"),
        ('c.ply', 'float x', 'half x', 'a property of an unknown type'),
        ('c.pcd', 'FIELDS x y z\n', '', 'the header has no FIELDS'),
        ('c.pcd', 'POINTS 1\n', '', 'the header has no POINTS'),
        ('c.pcd', 'POINTS 1', 'POINTS one', 'the header is damaged'),
        ('c.pcd', 'FIELDS x y z', 'FIELDS u v w', 'no field x y z among u v w'),
        ('c.pcd', 'ascii', 'zipped', "its DATA is 'zipped'; known are ascii, binary"),
        ('c.pcd', 'SIZE 4 4 4\n', 'SIZE 4 4\n', 'TYPE and SIZE of the header differ in length'),
        ('c.pcd', 'COUNT 1 1 1', 'COUNT 1', 'COUNT of the header is not one number'),
        ('c.pcd', 'COUNT 1 1 1', 'COUNT 1 1 -1', 'COUNT of the header is not one number'),
        ('c.pcd', 'POINTS 1', 'POINTS 1' + 30 * '0', '0 points announced, 6 bytes are left'),
        ('c.ply', 'vertex 1', 'vertex 1' + 30 * '0', '0 points announced, 6 bytes are left'),
        ('c.pcd', 'TYPE F', 'TYPE Q', 'a field of an unknown TYPE or SIZE'),
    ],
)
def test_a_damaged_header_is_named(tmp_path, name, old, new, says):
    text = {'c.ply': PLY, 'c.pcd': PCD}[name]
    (tmp_path / name).write_text(text)
    np.testing.assert_array_equal(read_cloud(tmp_path / name), [[1, 2, 3]])
    text = text.replace(old, new)
    if old.startswith(('SIZE', 'TYPE')):
        text = text.replace('ascii', 'binary')
    (tmp_path / name).write_text(text)
    with pytest.raises(FileError, match=re.escape(says)):
        read_cloud(tmp_path / name)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    suffix=st.sampled_from(SUFFIXES),
    place=st.floats(0, 1),
    junk=st.binary(max_size=12),
    cut=st.booleans(),
)
def test_a_damaged_file_reads_or_is_a_file_error(tmp_path, suffix, place, junk, cut):
    path = tmp_path / f'damaged.{suffix}'
    write_cloud(path, np.arange(60.0).reshape(20, 3))
    data = path.read_bytes()
    at = int(place * len(data))
    path.write_bytes(data[:at] + junk + (b'' if cut else data[at + len(junk) :]))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            read = read_cloud(path)
        except FileError:
            return
    assert read.ndim == 2 and read.shape[1] == 3


def test_writing_where_nothing_can_be_written(tmp_path, points):
    (tmp_path / 'file').write_text('')
    with pytest.raises(FileError, match='cannot be written'):
        write_cloud(tmp_path / 'file' / 'cloud.ply', points)
    with pytest.raises(FileError, match='cannot be written'):
        write_transform(tmp_path / 'file' / 'T.txt', np.eye(4))
    with pytest.raises(FileError, match='known are'):
        write_cloud(tmp_path / 'cloud.step', points)


def test_a_transform_reads_back_exactly(tmp_path):
    transform = make_transform(exp_so3([0.3, -2.0, 1.0]), [1e6, 1e-9, -3.3])
    write_transform(tmp_path / 'T.txt', transform)
    np.testing.assert_allclose(read_transform(tmp_path / 'T.txt'), transform, rtol=1e-15)


@pytest.mark.parametrize(
    'text',
    [
        '0 -1 0 1\n1 0 0 2\n0 0 1 3\n0 0 0 1\n',
        '# T_target_source\n0,-1,0,1\n1,0,0,2\n0,0,1,3  # last\n',
        '0 -1 0 1 1 0 0 2 0 0 1 3',
    ],
)
def test_transforms_as_people_write_them(tmp_path, text):
    (tmp_path / 'T.txt').write_text(text)
    expected = [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]
    np.testing.assert_allclose(read_transform(tmp_path / 'T.txt'), expected, atol=1e-12)


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('', '0 numbers'),
        ('1 2 3', '3 numbers'),
        ('one two', 'not a transform'),
        ('2 0 0 0 0 2 0 0 0 0 2 0 0 0 0 1', 'not a rigid'),
        ('-1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1', 'not a rigid'),
        ('nan 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1', 'not a rigid'),
        ('1 0 0 0 0 1 0 0 0 0 1 0 5 5 5 1', 'not a rigid'),
    ],
)
def test_a_bad_transform_is_one_line_that_names_it(tmp_path, text, says):
    path = tmp_path / 'T.txt'
    path.write_text(text)
    with pytest.raises(FileError, match=says) as caught:
        read_transform(path)
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)


def test_a_transform_file_that_is_not_text(tmp_path):
    (tmp_path / 'T.txt').write_bytes(b'\xff\xfe\x00' * 9)
    with pytest.raises(FileError):
        read_transform(tmp_path / 'T.txt')
    with pytest.raises(FileError, match='cannot be read'):
        read_transform(tmp_path / 'missing.txt')


@pytest.mark.skipif(not DATA.is_dir(), reason='no recorded data beside the checkout')
def test_recorded_files_read_as_open3d_reads_them():
    for path in [DATA / 'lidar_pair' / 'source.ply', DATA / 'rgbd_pair' / 'cloud_bin_0.ply']:
        expected = np.asarray(open3d.io.read_point_cloud(str(path)).points)
        np.testing.assert_array_equal(read_cloud(path), expected)
