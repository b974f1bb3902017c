"""
Refits what the gate knows of a scan that is searched for in a place (map mode, start unknown).

Right poses and wrong ones are those that compete for scans in the map of their own place, after
things have moved there, and in that of another place of the same kind, where nothing is right. In
their own place they are also registered from starts beside the truth, lest the other side of a
wall be taken for it. All in places of seeds that no protocol uses.
"""

import numpy as np

from dlc_training.data import furniture, interiors, outdoors, scene_pairs, sensors
from dlc_training.evaluate import building, scan_to_map
from dlc_training.evaluate.building import make_building
from dlc_training.evaluate.calibration import CALIBRATION_SEED, examples_of, features_of
from dlc_training.evaluate.methods import digest_of_answers
from dlc_training.evaluate.metrics import is_within, rotation_error_deg, translation_error
from dlc_training.evaluate.scan_to_map import KINDS, PAIRS_PER_MAP, Maps, scan_to_map_pair
from dlc_training.evaluate.shapes import open_shapes
from dlc_training.evaluate.watched import Watched

BUILDING = 'building'
PLACES = (*KINDS, BUILDING)
# Terms of the model. Of those that were tried these tell right from wrong; the others, descriptors
# among them, add nothing.
TERMS = ('log_typical', 'log_systematic', 'hovering', 'coverage', 'log_hold', 'crossed')
# Kind of the examples whose map is of another place.
FOREIGN = 'another place'
_RIGHT = (1.0, 0.2)  # deg, m
# Starts beside the truth for each scan, how far off they are [m], and their covariance.
_BESIDE, _OFF = 3, (0.2, 1.0)
_STARTS = np.diag(np.square([0.5, 0.5, 0.1, 0.05, 0.05, 0.1]))
_DRAWN_BY = (building, scan_to_map, scene_pairs, sensors, interiors, outdoors, furniture)


def visits(kind, number):
    """
    Draw a place, and scans of a later visit.

    :param kind: one of :data:`PLACES`.
    :param number: of the place among those of its kind.
    :return: map (M, 3) float32, list of (T_map_lidar (4, 4), scan (N, 3) float32).
    """
    if kind == BUILDING:
        drawn = make_building(CALIBRATION_SEED + number, rooms=0)
        return drawn.map, drawn.places
    maps = Maps(CALIBRATION_SEED)
    first = (number * len(KINDS) + KINDS.index(kind)) * PAIRS_PER_MAP
    pairs = [
        scan_to_map_pair(maps, first + n, CALIBRATION_SEED, first + PAIRS_PER_MAP)
        for n in range(PAIRS_PER_MAP)
    ]
    return pairs[0].target, [(pair.truth, pair.source) for pair in pairs]


def watch_places(kind, number, weights):
    """
    Search for scans of two places, each in the map of both.

    :return: list of (whether it is the scan's own place, rows), rows as those of
        :func:`~dlc_training.evaluate.calibration.watch_pair`, empty where the registrar refused.
    """
    both = [visits(kind, 2 * number + n) for n in range(2)]
    rng = np.random.default_rng([CALIBRATION_SEED, number])
    seen = []
    for place, (target, _) in enumerate(both):
        registrar = Watched(target, weights, threads=1, upright=True)
        for home, (_, scans) in enumerate(both):
            for truth, scan in scans:
                own = home == place
                starts = [(None, None)]
                if own:
                    starts += [(_beside(truth, rng), _STARTS) for _ in range(_BESIDE)]
                seen += [(own, _rows(registrar, scan, start, truth, own)) for start in starts]
    return seen


def _beside(truth, rng):
    """A pose (4, 4) as far off as an operator's, on the floor."""
    start, angle = truth.copy(), rng.uniform(0.0, 2.0 * np.pi)
    start[:2, 3] += rng.uniform(*_OFF) * np.array([np.cos(angle), np.sin(angle)])
    return start


def _rows(registrar, scan, start, truth, own):
    """(features, right, answer) of all poses that competed, the answer last."""
    found = registrar.register(scan, *start)
    if registrar.fit is None or registrar.fit.crossed is None:
        return []

    def right(transform):
        errors = rotation_error_deg(transform, truth), translation_error(transform, truth)
        return own and is_within(*errors, _RIGHT)

    competed = zip(registrar.candidates, registrar.fits, strict=True)
    rows = [(features_of(fit), right(transform), False) for transform, fit in competed]
    return [*rows, (features_of(registrar.fit), right(found.transform), True)]


def collect(runner, weights, count):
    """
    All examples.

    :param runner: :class:`~dlc_training.evaluate.runner.Runner`.
    :param count: pairs of places of each kind.
    :return: list of :class:`~dlc_training.evaluate.calibration.Example`, their kinds those of the
        places, or :data:`FOREIGN`; the scans of every other pair of places have odd groups.
    """
    shapes = open_shapes('generated', CALIBRATION_SEED)
    key = digest_of_answers(weights, shapes, CALIBRATION_SEED, _DRAWN_BY)
    examples, group = [], 0
    for kind in PLACES:
        tasks = [(kind, number, weights) for number in range(count)]
        for number, seen in enumerate(runner.resume(kind, watch_places, tasks, key)):
            for own, rows in seen:
                group += 1
                name = kind if own else FOREIGN
                examples += examples_of(2 * group + number % 2, name, rows)
    return examples
