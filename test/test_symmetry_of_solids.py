"""Symmetries of solids: those of textbooks, and every one found maps the surface onto itself."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dlc_training.data.blend import Blend
from dlc_training.data.blocks import ball, box, pillar, rod
from dlc_training.data.primitives import Torus
from dlc_training.data.solid import Solid
from dlc_training.data.solids import make_solid
from dlc_training.data.symmetry import symmetry_of

TURN = Rotation.from_rotvec([0.4, -0.8, 1.3]).as_matrix()
SHIFT = np.array([0.3, -2.0, 1.1])
TABLE = (
    box((0, 0, 1), (0.5, 0.5, 0.05)),
    *(pillar((x, y, 0), 0.04, 1.0) for x in (-0.4, 0.4) for y in (-0.4, 0.4)),
)
LONG_TABLE = (
    box((0, 0, 1), (0.5, 0.9, 0.05)),
    *(pillar((x, y, 0), 0.04, 1.0) for x in (-0.4, 0.4) for y in (-0.7, 0.7)),
)
STAR = tuple(
    rod((0, 0, 0), (np.cos(a), np.sin(a), 0), 0.1, 0.05) for a in 2 * np.pi * np.arange(5) / 5
)
FINITE = {
    'cube': ((box((0, 0, 0), (1, 1, 1)),), (), 24),
    'block': ((box((0, 0, 0), (1, 2, 3)),), (), 4),
    'square plate': ((box((0, 0, 0), (1, 1, 0.1)),), (), 8),
    'ellipsoid': ((ball((0, 0, 0), (1, 2, 3)),), (), 4),
    'table': (TABLE, (), 4),
    'long table': (LONG_TABLE, (), 2),
    'table with a drawer': ((*LONG_TABLE, box((0, 0.7, 0.8), (0.4, 0.1, 0.1))), (), 1),
    'five-pointed star': (STAR, (), 10),
    'cube with a hole': ((box((0, 0, 0), (1, 1, 1)),), (pillar((0, 0, -2), 0.3, 4),), 8),
    'cube with a blind hole': ((box((0, 0, 0), (1, 1, 1)),), (pillar((0, 0, 0), 0.3, 4),), 4),
    'cube with a hole aside': ((box((0, 0, 0), (1, 1, 1)),), (pillar((0.3, 0.1, 0), 0.3, 4),), 1),
    'limbs': ((Blend(),), (), 1),
}
ROUND = {
    'cone': ((pillar((0, 0, 0), 1.0, 1.0, 0.2),), (), 1),
    'cylinder': ((pillar((0, 0, 0), 1.0, 3.0),), (), 2),
    'torus on a rod': ((Torus(), rod((0, 0, -1), (0, 0, 1), 0.2)), (), 2),
    'bottle': ((pillar((0, 0, 0), 1, 2), pillar((0, 0, 2), 1, 1, 0.3)), (), 1),
    'bowl': ((pillar((0, 0, 0), 1, 1),), (ball((0, 0, 1), (0.9, 0.9, 0.9)),), 1),
}


@pytest.mark.parametrize('name', [*FINITE, *ROUND])
def test_groups_of_the_textbook(name):
    parts, cuts, order = (FINITE | ROUND)[name]
    solid = Solid(parts, cuts)
    for moved in (solid, solid.placed(TURN, SHIFT).scaled(0.7)):
        symmetry = symmetry_of(moved)
        assert len(symmetry.elements) == order
        assert (symmetry.axis is not None) == (name in ROUND)
        assert symmetry.trivial == (order == 1 and name in FINITE)
        np.testing.assert_array_equal(symmetry.elements[0], np.eye(3))
        if symmetry.axis is not None:
            upright = np.eye(3)[2] if moved is solid else TURN[:, 2]
            assert abs(symmetry.axis @ upright) == pytest.approx(1)


def test_what_is_found_carries_the_surface_onto_itself_and_is_a_group():
    found = 0
    for seed in range(130):
        solid = make_solid(seed)
        symmetry = symmetry_of(solid)
        if symmetry.trivial:
            continue
        found += 1
        points, _ = solid.sample(300, np.random.default_rng(seed))
        turns = list(symmetry.elements)
        if symmetry.axis is not None:
            turns += [Rotation.from_rotvec(a * symmetry.axis).as_matrix() for a in (0.3, 2.0)]
        for turn in turns:
            moved = (points - symmetry.centre) @ turn.T + symmetry.centre
            if solid.inner_faces:
                onto = np.min(
                    [np.abs(p.distance(moved)) for p in solid.parts + solid.cuts], axis=0
                )
            else:
                onto = np.abs(solid.distance(moved))
            assert onto.max() < 1e-5, seed
        for a in symmetry.elements:
            assert np.linalg.det(a) == pytest.approx(1)
            for b in symmetry.elements:
                apart = np.abs(symmetry.elements - a @ b).max((1, 2)).min()
                assert apart < 1e-5 or symmetry.axis is not None, seed
    assert 3 <= found <= 40
