"""Organic blends: limbs that flow into each other, sampled uniformly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from surfaces import SHIFT, TURN, shares, uniform

from dlc_training.data.blend import Blend


def random_blend(rng, limbs=4):
    starts, ends = rng.uniform(-0.6, 0.6, (2, limbs, 3))
    return Blend(
        starts=starts, ends=ends, radii=rng.uniform(0.08, 0.3, limbs), softness=0.2
    ).placed(TURN, SHIFT)


def test_a_single_limb_is_a_capsule():
    start, end = np.array([0.1, -0.2, -0.5]), np.array([0.1, -0.2, 0.7])
    limb = Blend(starts=start[None], ends=end[None], radii=np.array([0.3]), softness=0.1)
    side, caps = 2 * np.pi * 0.3 * 1.2, 4 * np.pi * 0.3**2
    assert limb.area == pytest.approx(side + caps, rel=0.08)
    points, normals = limb.sample(6000, np.random.default_rng(20))
    axis = np.clip(points[:, 2:], -0.5, 0.7) * (0, 0, 1) + (0.1, -0.2, 0)
    np.testing.assert_allclose(np.linalg.norm(points - axis, axis=1), 0.3, atol=1e-9)
    np.testing.assert_allclose(normals, (points - axis) / 0.3, atol=1e-3)
    on_side = (points[:, 2] > -0.5) & (points[:, 2] < 0.7)
    assert shares([on_side.sum(), (~on_side).sum()], [side, caps])
    assert uniform((points[on_side, 2] + 0.5) / 1.2)


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_limbs_flow_into_each_other_and_the_distance_never_exceeds_the_true_one(seed):
    rng = np.random.default_rng(seed)
    blend = random_blend(rng)
    points, normals = blend.sample(500, rng)
    assert np.abs(blend.distance(points)).max() < 1e-9
    assert (blend.distance(points + 1e-4 * normals) > 0).all()
    assert (blend.distance(points - 1e-4 * normals) < 0).all()
    away = SHIFT + rng.uniform(-1.5, 1.5, (300, 3))
    assert (np.abs(blend.distance(away)) < cKDTree(points).query(away)[0] + 1e-9).all()
    # Never less than the limbs themselves, and more only near where two of them meet.
    limbs = [
        Blend(starts=a[None], ends=b[None], radii=r[None], softness=1e-9).placed(TURN, SHIFT)
        for a, b, r in zip(blend.starts, blend.ends, blend.radii, strict=True)
    ]
    apart = np.sort([limb.distance(away) for limb in limbs], axis=0)
    assert (blend.distance(away) <= apart[0] + 1e-12).all()
    alone = apart[1] - apart[0] > 0.2 + 0.15
    np.testing.assert_allclose(blend.distance(away)[alone], apart[0][alone], atol=1e-12)
    assert np.linalg.norm(points - SHIFT, axis=1).max() <= blend.radius


def test_area_of_a_blend_is_that_of_its_level_set():
    """The volume of a thin layer about the surface, over its thickness, by counting a grid."""
    blend = random_blend(np.random.default_rng(21))
    low, high = SHIFT - blend.radius, SHIFT + blend.radius
    grid = np.stack(np.meshgrid(*np.linspace(low, high, 110).T, indexing='ij'), -1).reshape(-1, 3)
    cell = np.prod((high - low) / 109)
    step = 1e-4
    near = grid[np.abs(blend.distance(grid)) < 0.06]
    ahead = [
        (blend.distance(near + step * e) - blend.distance(near - step * e)) for e in np.eye(3)
    ]
    slope = np.linalg.norm(ahead, axis=0) / (2 * step)
    # Coarea formula: the integral of |grad d| over the layer |d| < h is 2 h times a mean area.
    inside = np.abs(blend.distance(near)) < 0.05
    assert slope[inside].sum() * cell / 0.1 == pytest.approx(blend.area, rel=0.08)
