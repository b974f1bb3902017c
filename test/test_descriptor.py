"""What the network reads of a cloud, and what may not change its answer: motion, order, signs."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from dlc_ros.registration.descriptor import DescriptorNet, NetOptions
from dlc_ros.registration.patches import NORMALISED_RADIUS, extract_patches, network_scale

FIELDS = ('points', 'normals', 'sides', 'near', 'wide')
OPTIONS = NetOptions(width=32, heads=2, layers=2, keypoints=32, neighbours=8, affinity_width=16)


def surface_cloud(seed, count=900):
    """Points on three faces of a slanted block and on a half cylinder: no symmetry, chiral."""
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(0, 1, (2, count))
    face = rng.integers(4, size=count)
    flat = np.stack([u, v, 0.3 * u], -1)
    wall = np.stack([u, 0 * u, 0.7 * v], -1)
    end = np.stack([0 * u, 0.8 * u, 0.5 * v + 0.2 * u], -1)
    round_ = np.stack([0.3 + 0.2 * np.cos(np.pi * u), 0.2 + 0.6 * v, 0.2 * np.sin(np.pi * u)], -1)
    return np.choose(face[:, None], [flat, wall, end, round_])


def patches_of(points, scale=0.7, options=OPTIONS):
    return extract_patches(points, scale, options.keypoints, options.neighbours)


def tensors(patches, dtype=torch.float64):
    return {name: torch.from_numpy(getattr(patches, name)[None]).to(dtype) for name in FIELDS}


def moved(fields, matrix, shift=(0.0, 0.0, 0.0)):
    """The same patches after ``p -> matrix @ p + shift``; ``matrix`` may mirror."""
    matrix = torch.as_tensor(matrix)
    out = {name: value @ matrix.T for name, value in fields.items()}
    return {**out, 'points': out['points'] + torch.as_tensor(shift)}


@pytest.fixture(scope='module')
def net():
    torch.manual_seed(0)
    return DescriptorNet(OPTIONS).double().eval()


@pytest.fixture(scope='module')
def clouds():
    """Patches of two samplings, as (1, ...) float64 tensors."""
    return tensors(patches_of(surface_cloud(1))), tensors(patches_of(surface_cloud(2)))


@pytest.fixture(scope='module')
def energy(net, clouds):
    with torch.no_grad():
        return net(*clouds)


def poses(count=5):
    rng = np.random.default_rng(7)
    rotation = torch.from_numpy(Rotation.random(count, random_state=rng).as_matrix())[None]
    return rotation, torch.from_numpy(rng.normal(size=(1, count, 3)) * 0.3)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_energy_turns_with_the_source_and_with_the_target(net, clouds, energy, seed):
    rng = np.random.default_rng(seed)
    turn = torch.from_numpy(Rotation.random(random_state=rng).as_matrix())
    shift = torch.from_numpy(rng.normal(size=3) * 10)
    rotation, translation = poses()
    expected = energy.value(rotation, translation, 64.0)
    with torch.no_grad():
        of_source = net(moved(clouds[0], turn, shift), clouds[1])
        of_target = net(clouds[0], moved(clouds[1], turn, shift))
    # R x + t of the old source is (R turn^T) x' + t - R turn^T shift of the moved one.
    back = rotation @ turn.T
    torch.testing.assert_close(
        of_source.value(back, translation - back @ shift, 64.0), expected, rtol=1e-6, atol=1e-7
    )
    torch.testing.assert_close(
        of_target.value(turn @ rotation, translation @ turn.T + shift, 64.0),
        expected, rtol=1e-6, atol=1e-7,
    )  # fmt: skip


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_signs_of_normals_do_not_matter(net, clouds, energy, seed):
    generator = torch.Generator().manual_seed(seed)
    flipped = []
    for cloud in clouds:
        sign = torch.randint(0, 2, (OPTIONS.keypoints, 1), generator=generator) * 2 - 1
        flipped.append({**cloud, 'normals': cloud['normals'] * sign})
    with torch.no_grad():
        again = net(*flipped)
    for field in dataclasses.fields(energy):
        torch.testing.assert_close(
            getattr(again, field.name), getattr(energy, field.name), rtol=1e-6, atol=1e-8
        )


def test_order_of_keypoints_and_of_neighbours_does_not_matter(net, clouds, energy):
    generator = torch.Generator().manual_seed(3)
    order = torch.randperm(OPTIONS.keypoints, generator=generator)
    inner = torch.randperm(OPTIONS.neighbours, generator=generator)
    source = {name: value[:, order] for name, value in clouds[0].items()}
    source.update(near=source['near'][:, :, inner], wide=source['wide'][:, :, inner])
    with torch.no_grad():
        again = net(source, clouds[1])
    torch.testing.assert_close(again.forward_affinity, energy.forward_affinity[:, order])
    torch.testing.assert_close(again.source_outlier, energy.source_outlier[:, order])
    rotation, translation = poses()
    torch.testing.assert_close(
        again.value(rotation, translation, 16.0), energy.value(rotation, translation, 16.0)
    )


def test_a_mirrored_cloud_is_another_cloud(net, clouds, energy):
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0]).double())
    with torch.no_grad():
        other = net(moved(clouds[0], mirror), clouds[1])
        both = net(moved(clouds[0], mirror), moved(clouds[1], mirror))
    for mirrored in (other, both):
        difference = (mirrored.forward_affinity - energy.forward_affinity).abs()
        assert difference.max() > 1e-3 * energy.forward_affinity.max()


def test_pairs_of_a_batch_do_not_see_each_other(net, clouds, energy):
    source, target = clouds
    batch = [{k: torch.cat([a[k], b[k]]) for k in FIELDS} for a, b in ((source, target),) * 2]
    batch[1] = {k: torch.cat([target[k], source[k]]) for k in FIELDS}
    with torch.no_grad():
        both = net(*batch)
    torch.testing.assert_close(both.forward_affinity[:1], energy.forward_affinity)
    torch.testing.assert_close(both.target_outlier[:1], energy.target_outlier)


def test_output_is_a_mixture(energy):
    ones = torch.ones(1, OPTIONS.keypoints, dtype=torch.float64)
    torch.testing.assert_close(energy.forward_affinity.sum(-1).double(), ones, rtol=0, atol=1e-5)
    torch.testing.assert_close(energy.backward_affinity.sum(-2).double(), ones, rtol=0, atol=1e-5)
    for outlier in (energy.source_outlier, energy.target_outlier):
        assert ((outlier > 0) & (outlier < 1)).all()


def test_half_precision_is_for_the_network_alone(net, clouds):
    single = DescriptorNet(OPTIONS).eval()
    single.load_state_dict(net.state_dict())
    inputs = [{k: v.float() for k, v in cloud.items()} for cloud in clouds]
    with torch.no_grad():
        full = single(*inputs)
        with torch.autocast('cpu', torch.bfloat16):
            half = single(*inputs)
    for field in dataclasses.fields(half):
        value = getattr(half, field.name)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, getattr(full, field.name), rtol=0.2, atol=0.02)


def test_description_rebuilds_the_network(net):
    again = DescriptorNet.from_description(net.description())
    assert again.options == OPTIONS
    again.load_state_dict(net.state_dict())


@pytest.mark.parametrize(
    'change',
    [
        {'width': 33}, {'width': 32, 'heads': 3}, {'width': 1 << 40}, {'width': -32},
        {'heads': 0}, {'layers': 10**9}, {'keypoints': 10**12}, {'neighbours': 0},
        {'affinity_width': '64'}, {'layers': True}, {'width': 96.0}, {'keypoints': None},
    ],
)  # fmt: skip
def test_impossible_architecture_is_refused_before_anything_is_allocated(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        NetOptions(**change)


# ---------------------------------------------------------------------------- patches


@pytest.mark.parametrize('offset', [1.0, 5e6])
def test_patches_turn_with_the_cloud(offset):
    points = surface_cloud(4, 1500)
    rng = np.random.default_rng(1)
    turn = Rotation.random(random_state=rng).as_matrix()
    shift = offset * rng.normal(size=3)
    before, after = patches_of(points), patches_of(points @ turn.T + shift)
    tight = {'rtol': 0, 'atol': 2e-6 if offset == 1 else 2e-5}
    for name in ('points', 'sides', 'near', 'wide'):
        expected = getattr(before, name) @ turn.T
        np.testing.assert_allclose(getattr(after, name), expected, err_msg=name, **tight)
    cosine = np.einsum('ki,ki->k', after.normals, before.normals @ turn.T)
    np.testing.assert_allclose(np.abs(cosine), 1, atol=1e-4)
    np.testing.assert_allclose(after.centre, before.centre @ turn.T + shift, rtol=1e-12)


def test_patches_know_their_units():
    points = surface_cloud(5)
    scale = network_scale(points)
    assert scale * NORMALISED_RADIUS == pytest.approx(np.sqrt(np.trace(np.cov(points.T, ddof=0))))
    small, large = patches_of(points, scale), patches_of(1000 * points, 1000 * scale)
    for name in ('points', 'sides', 'near', 'wide'):
        np.testing.assert_allclose(getattr(small, name), getattr(large, name), atol=1e-5)
    # Keypoints are points of the cloud.
    in_metres = small.points.astype(float) * small.scale + small.centre
    assert cdist(in_metres, points).min(1).max() < 1e-6


@pytest.mark.parametrize('count', [8, 20, 31, 32, 33, 200])
def test_clouds_of_any_size_give_full_neighbourhoods(count):
    points = surface_cloud(6, count)
    patches = patches_of(points)
    keys, neighbours = min(count, OPTIONS.keypoints), OPTIONS.neighbours
    assert patches.points.shape == patches.normals.shape == patches.sides.shape == (keys, 3)
    assert patches.near.shape == patches.wide.shape == (keys, neighbours, 3)
    local = (points - points.mean(0)) / 0.7
    distance = np.sort(cdist(patches.points, local), axis=1)
    ranks = {'near': np.arange(neighbours), 'wide': 3 * np.arange(neighbours)}
    for name, rank in ranks.items():
        expected = distance[:, np.minimum(rank, count - 1)]
        found = np.linalg.norm(getattr(patches, name), axis=-1)
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=name)
    for name in FIELDS:
        assert getattr(patches, name).dtype == np.float32
        assert np.isfinite(getattr(patches, name)).all()


def test_keypoints_are_spread():
    points = surface_cloud(7, 800)
    patches = patches_of(points)
    between = cdist(patches.points, patches.points) + 10 * np.eye(len(patches.points))
    to_keys = cdist((points - points.mean(0)) / 0.7, patches.points).min(1)
    # Farthest point sampling: none is left out farther than the closest two chosen ones lie.
    assert to_keys.max() <= between.min() + 1e-6


def test_equal_clouds_give_equal_patches_and_a_generator_thins_anew():
    points = surface_cloud(8, 3000)
    first, again = patches_of(points), patches_of(points.copy())
    other = extract_patches(points, 0.7, 32, 8, rng=np.random.default_rng(9))
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.points, other.points)


def test_normals_and_sides_of_a_sphere_point_outwards():
    rng = np.random.default_rng(10)
    radial = rng.normal(size=(1000, 3))
    radial /= np.linalg.norm(radial, axis=1, keepdims=True)
    patches = extract_patches(radial + [3, 4, 5], 1.0, 64, 16)
    outwards = patches.points / np.linalg.norm(patches.points, axis=1, keepdims=True)
    assert np.abs(np.einsum('ki,ki->k', patches.normals, outwards)).min() > 0.95
    np.testing.assert_allclose(np.linalg.norm(patches.normals, axis=1), 1, atol=1e-5)
    assert np.einsum('ki,ki->k', patches.sides, outwards).min() > 0
