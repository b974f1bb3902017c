"""``dlc-eval files``: two recorded clouds, the source rotated at random, no start."""

import numpy as np
from scipy.spatial.transform import Rotation

from dlc_ros.errors import ParameterError
from dlc_ros.files import read_cloud, read_transform
from dlc_training.evaluate.pair import EVERYTHING, Pair, apply, pose
from dlc_training.evaluate.protocols import Protocol

# Peers' options take half the root mean square radius of a scene for the radius of an object.
_UNIT = 0.5


class Recorded:
    """
    Two clouds of files and the pose between them.

    :param source: file of the source.
    :param target: file of the reference.
    :param truth: file of ``T_target_source``.
    """

    label = 'recorded'

    def __init__(self, source, target, truth):
        self.source, self.target = (read_cloud(path) for path in (source, target))
        self.truth = read_transform(truth)
        for name, cloud in (('source', self.source), ('target', self.target)):
            if not np.isfinite(cloud).all():
                raise ParameterError(f'{name}: holds NaN or Inf; remove these points first')

    def name(self, index):
        """Name for people."""
        return 'recorded'

    def draw(self, _shapes, index, seed, _pairs_per_bin):
        """The pair with the source turned about its own centroid, and shifted."""
        rng = np.random.default_rng([seed, 7, index])
        turn = Rotation.random(random_state=rng).as_matrix()
        centre = self.source.mean(0)
        spread = np.ptp(self.source, axis=0).max()
        motion = pose(turn, centre - turn @ centre + rng.uniform(-0.2, 0.2, 3) * spread)
        return Pair(
            index=index,
            bin=0.0,
            shape=0,
            source=apply(motion, self.source).astype(np.float32),
            target=self.target.astype(np.float32),
            truth=self.truth @ np.linalg.inv(motion),
            shape_pose=np.eye(4),
            clean=self.target,
            source_plane=EVERYTHING,
            target_plane=EVERYTHING,
        )

    def protocol(self, rotations, limits, unit=None):
        """
        These clouds as a protocol.

        :param rotations: how many random rotations.
        :param limits: of success (degrees, metres); None takes 5 deg and 5 % of the reference's
            diameter.
        :param unit: length that peers' options take for the radius of an object [m]; None takes
            half the root mean square radius of the reference.
        """
        away = np.linalg.norm(self.target - self.target.mean(0), axis=1)
        radius = float(np.sqrt(np.mean(away**2)))
        limits = limits or (5.0, round(0.1 * float(np.quantile(away, 0.99)), 3))
        return Protocol(
            'Two recorded clouds, the source rotated at random, no start.',
            self.draw,
            rotations,
            'all rotations',
            success=limits,
            strict=(limits[0] / 2, limits[1] / 2),
            length_unit='m',
            is_ambiguous=None,
            unit=unit or _UNIT * radius,
        )
