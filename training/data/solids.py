"""Generated solids by number: the same seed, the same solid."""

import numpy as np

from dlc_training.data.families import FAMILIES, SHARES
from dlc_training.data.solid import Solid

__all__ = ['FIRST_EVALUATION_SEED', 'Solid', 'make_solid']

# Seeds from here on are for evaluation, those below 1,000,000 for training: no shape is ever on
# both sides.
FIRST_EVALUATION_SEED = 10_000_000


def make_solid(seed):
    """
    Make the solid of this seed, scaled into the unit sphere and centred.

    Below 1,000,000 lie the seeds of training, from :data:`FIRST_EVALUATION_SEED` on those of
    evaluation.

    :param seed: integer >= 0; the same seed gives the same solid.
    """
    rng = np.random.default_rng([seed, 7])
    family = rng.choice(len(FAMILIES), p=SHARES)
    solid = FAMILIES[family](rng)
    points, _ = solid.sample(600, rng)
    low, high = points.min(0), points.max(0)
    centre = (low + high) / 2
    radius = np.linalg.norm(points - centre, axis=1).max()
    return solid.placed(np.eye(3), -centre).scaled(1 / radius)
