"""How well a network's landscape leads to the truth, on pairs of shapes it was not trained on."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from dlc_ros.registration.energy import BETAS
from dlc_ros.registration.predictor import RANKING_BETA, Predictor
from dlc_ros.registration.registrar import Registrar
from dlc_training.evaluate.crops import so3_crop_pair
from dlc_training.evaluate.landscape import measure_rays
from dlc_training.evaluate.metrics import rotation_error_deg, translation_error
from dlc_training.evaluate.pair import apply, pose
from dlc_training.evaluate.shapes import GeneratedShapes

# Starts of the descent: this far turned, and this far away [network units].
ANGLES, LENGTH = (30, 60, 90, 135, 180), 0.25
SCHEDULE = tuple(beta for beta in BETAS for _ in range(3))
# Of an end of the descent, which the refinement takes to the truth; of a registration.
REACHED = (15.0, 0.15)
SUCCESS = (5.0, 0.1)
# Held-out shapes of tuning and of comparing: not each other's, nor the default of dlc-eval.
TUNING, COMPARISON = 1, 2


class Validation:
    """
    Pairs of ``so3-crop``, drawn once, and what a network makes of them.

    Symmetries of the shapes are not taken into account: what they cost, they cost every network
    on the same pairs. For results to publish there is ``dlc-eval``.

    :param pairs: how many.
    :param split: :data:`TUNING` or :data:`COMPARISON`.
    """

    def __init__(self, pairs, split):
        shapes = GeneratedShapes(split)
        per_bin = -(-pairs // 8)
        self._pairs = [so3_crop_pair(shapes, k, split, per_bin) for k in range(pairs)]
        self._split = split

    def __len__(self):
        return len(self._pairs)

    def descent(self, weights):
        """
        Descend the energy alone, from known distances; no features-only stage.

        :param weights: weights file.
        :return: dict of lists, one entry a pair and start: ``angle``, ``reached`` (bool), and of
            those reached ``steps`` (until it stays within the limits), ``rotation`` [deg] and
            ``translation`` [network units] at the end, of the others ``margin``: how much higher
            the energy is there than at the truth [nats, ranking beta]; ``bias_rotation`` and
            ``bias_translation``, one a pair: from the truth to where a descent from it ends.
        """
        predictor = Predictor.load(weights)
        found = {
            name: []
            for name in (
                'angle', 'reached', 'steps', 'rotation', 'translation', 'margin', 'bias_rotation',
                'bias_translation',
            )
        }  # fmt: skip
        for index, pair in enumerate(self._pairs):
            target = predictor.describe(pair.target)
            source = predictor.describe(pair.source, target.scale)
            truth = pose(pair.truth[:3, :3])
            truth[:3, 3] = (apply(pair.truth, source.centre) - target.centre) / target.scale
            rng = np.random.default_rng([self._split, index])
            poses = np.stack([truth, *(_start(truth, angle, rng) for angle in ANGLES)])
            landscape = predictor.landscape(source, target)
            path = []
            for beta in SCHEDULE:
                poses = landscape.descend_network(poses, (beta,))
                path.append([_errors(end, truth) for end in poses])
            path = np.array(path)  # (steps, 1 + starts, 2)
            found['bias_rotation'].append(float(path[-1, 0, 0]))
            found['bias_translation'].append(float(path[-1, 0, 1]))
            within = (path[:, 1:] < REACHED).all(-1)
            compared = np.concatenate([truth[None], poses[1:]])
            tensors = torch.tensor(compared[None, :, :3]).float()
            values = landscape.value_network(tensors[..., :3], tensors[..., 3], RANKING_BETA)[0]
            for angle, inside, (rotation, translation), value in zip(
                ANGLES, within.T, path[-1, 1:], values[1:], strict=True
            ):
                found['angle'].append(angle)
                found['reached'].append(bool(inside[-1]))
                if inside[-1]:
                    outside = np.flatnonzero(~inside)
                    found['steps'].append(int(outside[-1]) + 2 if len(outside) else 1)
                    found['rotation'].append(float(rotation))
                    found['translation'].append(float(translation))
                else:
                    found['margin'].append(float(value - values[0]))
        return found

    def rays(self, weights):
        """
        Shape of the landscape about the truth; see :func:`measure_rays`.

        :return: dict of lists, one entry a beta: shares ``satisfied``, ``rising`` and
            ``rising_settled``.
        """
        found = measure_rays(weights, GeneratedShapes(self._split), len(self._pairs), self._split)
        names = ('satisfied', 'rising', 'rising_settled')
        return {name: [row[name] for row in found] for name in names}

    def registration(self, weights):
        """
        Register every pair as a user does.

        :return: dict of lists, one entry a pair: ``success`` (bool), ``rotation`` [deg],
            ``translation`` [1 is the radius of the shape].
        """
        found = {'success': [], 'rotation': [], 'translation': []}
        for pair in self._pairs:
            answer = Registrar(pair.target, weights).register(pair.source).transform
            rotation = float(rotation_error_deg(answer, pair.truth))
            translation = float(translation_error(answer, pair.truth))
            found['success'].append(rotation < SUCCESS[0] and translation < SUCCESS[1])
            found['rotation'].append(rotation)
            found['translation'].append(translation)
        return found


def _start(truth, angle, rng):
    axis, shift = rng.normal(size=(2, 3))
    turn = Rotation.from_rotvec(np.radians(angle) * axis / np.linalg.norm(axis)).as_matrix()
    away = LENGTH * shift / np.linalg.norm(shift)
    return pose(turn @ truth[:3, :3], truth[:3, 3] + away)


def _errors(end, truth):
    turn = Rotation.from_matrix(end[:3, :3] @ truth[:3, :3].T).magnitude()
    return np.degrees(turn), np.linalg.norm(end[:3, 3] - truth[:3, 3])
