"""Shapes as collections of CAD models hold them: sheets, open shells, parts that overlap."""

import numpy as np

from dlc_training.data import furniture, household, vehicles
from dlc_training.data.solid import Solid


def cad_model(rng):
    """
    Draw something as a collection of CAD models holds it: furniture, vehicles, household.

    Half of the models keep the faces inside, where parts overlap; a part may be missing, and
    another thing may have come along.
    """
    solid = _MAKERS[rng.choice(len(_MAKERS), p=_SHARES)](rng)
    parts = list(solid.parts)
    if rng.uniform() < 0.3 and len(parts) > 4:
        del parts[rng.integers(len(parts))]
    if rng.uniform() < 0.15:  # something else that came with it
        other = _MAKERS[rng.integers(len(_MAKERS))](rng)
        centre, radius = solid.sphere
        shift = centre + rng.uniform(-0.5, 0.5, 3) * radius
        parts += other.scaled(0.4 * radius / other.sphere[1]).placed(np.eye(3), shift).parts
    return Solid(tuple(parts), solid.cuts, inner_faces=bool(rng.uniform() < 0.5))


_WEIGHTS = {
    furniture.chair: 3,
    furniture.shell_chair: 2,
    furniture.table: 2,
    furniture.sofa: 2,
    furniture.bed: 2,
    furniture.cabinet: 2,
    furniture.shelf: 2,
    furniture.lamp: 1,
    furniture.stairs: 1,
    furniture.bathtub: 1,
    furniture.toilet: 1,
    household.bottle: 0.5,
    household.vessel: 1.2,
    household.plant: 2,
    household.screen: 1,
    household.keyboard: 0.7,
    household.radio: 1,
    household.guitar: 1.3,
    household.curtain: 0.7,
    household.tent: 0.7,
    household.person: 0.5,
    household.carton: 0.3,
    vehicles.airplane: 2.5,
    vehicles.car: 1,
}
_MAKERS = tuple(_WEIGHTS)
_SHARES = np.array(list(_WEIGHTS.values())) / sum(_WEIGHTS.values())
