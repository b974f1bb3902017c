"""Old and new weights on the held-out part and on generated shapes: the same problems for both."""

import hashlib
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dlc_ros.errors import CloudError
from dlc_ros.registration.options import RegistrationOptions
from dlc_ros.registration.registrar import Registrar
from dlc_ros.registration.se3 import inverse, rotation_angle_deg, transform_points
from dlc_ros.registration.weights import load_weights
from dlc_ros.registration.windows import window, window_radius
from dlc_training.recordings.files import read_json, write_json

# A scan is placed right within these (protocol `scan-to-map`), or, where scans are smaller than
# that, within this share of their median range.
SUCCESS_DEG, SUCCESS_M, _SUCCESS_SHARE = 1.0, 0.2, 0.1

# How far the middle of a window is off the scan's, at most, in its own radii.
_AWAY = 1 / 3
# Of the files of answers: those of another layout are not read.
_LAYOUT = 2
# What stands for a status where a cloud was refused before it was registered.
REFUSED = 'REFUSED'


def success_limits(median_range):
    """Rotation [deg] and translation [m] within which a scan is placed right."""
    return SUCCESS_DEG, min(SUCCESS_M, _SUCCESS_SHARE * median_range)


def spread(numbers, most):
    """At most so many of the numbers (N,), evenly spread over them."""
    return numbers[np.unique(np.linspace(0, len(numbers) - 1, most).round().astype(int))]


def judge_held_out(
    folder, index, poses, numbers, reference, weights, median_range, upright, quiet=False
):
    """
    Register held-out scans against the whole reference, nothing known of their places.

    Every answer is kept in ``folder`` as it comes, so an interrupted judgement goes on.

    :param poses: (N, 4, 4) ``T_reference_sensor`` of all scans; those of ``numbers`` are judged.
    :param weights: :class:`~dlc_ros.registration.weights.LoadedWeights`.
    :param upright: whether the sensor is known to stand upright, as it is to a node in map mode.
    :return: dict of lists, one entry a scan: ``number``, ``rotation_deg``, ``translation_m``,
        ``success``, ``accepted``, ``status``, ``cpu_ms``.
    """
    options = RegistrationOptions(device='cpu', upright=upright)
    registrars = []  # one, made when the first scan has no answer yet

    def registrar_for(_number):
        if not registrars:
            registrars.append(Registrar(reference, str(weights.path), options))
        return registrars[0]

    path = _answers(folder, 'held_out', index, reference, weights, upright)
    return _judge(path, index, poses, numbers, registrar_for, success_limits(median_range), quiet)


def judge_in_windows(folder, index, poses, numbers, reference, weights, median_range, quiet=False):
    """
    Register held-out scans, turned in any way, to the part of the reference around them.

    The part is a window as large as the scan, whose middle is a little off. This is what the
    network has to answer without the help of gravity; arguments and answer are those of
    :func:`judge_held_out`.
    """
    options = RegistrationOptions(device='cpu')

    def registrar_for(number):
        scan = transform_points(poses[number], index.scan(number).astype(np.float64))
        radius = window_radius(scan)
        rng = np.random.default_rng([number, 47])
        aside = rng.normal(size=3) * (1, 1, 0.1)
        aside *= rng.uniform(0, _AWAY) * radius / np.linalg.norm(aside)
        part = reference[window(reference, scan.mean(0) + aside, radius)]
        return Registrar(part, str(weights.path), options)

    # The windows lie where the poses say.
    path = _answers(folder, 'windows', index, reference, weights, poses.tobytes())
    return _judge(path, index, poses, numbers, registrar_for, success_limits(median_range), quiet)


def _answers(folder, name, index, reference, weights, *more):
    """File of the answers to one set of problems by one weights file."""
    digest = hashlib.sha256(index.facts['key'].encode() + answering(weights).encode())
    digest.update(np.ascontiguousarray(reference).tobytes() + repr((_LAYOUT, *more)).encode())
    return Path(folder) / f'{name}_{digest.hexdigest()[:16]}.json'


def answering(weights):
    """
    Digest of what the answers of weights come from: the network, the gate, and the code.

    Not the whole file: date and command line in its card are others when a run is continued.

    :param weights: :class:`~dlc_ros.registration.weights.LoadedWeights`.
    """
    from dlc_training.evaluate.methods import OURS, code_digest

    network = weights.card.get('tensors_sha256', weights.sha256), weights.net.description()
    facts = *network, weights.confidence.as_card(), weights.basin_deg, code_digest(OURS)
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _judge(path, index, poses, numbers, registrar_for, limits, quiet):
    answers = read_json(path) or {}
    rows = []
    for n in tqdm(
        numbers, 'held-out scans', unit='scan', disable=quiet or None, leave=False, mininterval=1
    ):
        key = str(int(n))
        if key not in answers:
            answers[key] = _answer(registrar_for, int(n), index.scan(n))
            if len(answers) % 20 == 0:
                write_json(path, answers)
        rows.append((int(n), *_errors(answers[key], poses[n]), answers[key]))
    write_json(path, answers)
    return {
        'number': [row[0] for row in rows],
        'rotation_deg': [row[1] for row in rows],
        'translation_m': [row[2] for row in rows],
        'success': [bool(row[1] < limits[0] and row[2] < limits[1]) for row in rows],
        **{name: [row[3][name] for row in rows] for name in ('accepted', 'status', 'cpu_ms')},
    }


def _answer(registrar_for, number, scan):
    start = time.process_time()
    try:
        registrar = registrar_for(number)
        start = time.process_time()
        found = registrar.register(scan)
        transform, status = found.transform.tolist(), found.status.value
        accepted = bool(found.accepted)
    except CloudError:
        transform, status, accepted = None, REFUSED, False
    spent = 1e3 * (time.process_time() - start)
    return {
        'transform': transform,
        'accepted': accepted,
        'status': status,
        'cpu_ms': round(spent, 1),
    }


def _errors(answer, truth):
    if answer['transform'] is None:
        return 180.0, float('inf')
    error = inverse(truth) @ np.array(answer['transform'])
    return float(rotation_angle_deg(error[:3, :3])), float(np.linalg.norm(error[:3, 3]))


def judge_benchmark(folder, weights, pairs_per_bin, quiet=False):
    """
    ``so3-crop`` on generated solids that were never trained on: whether something was forgotten.

    :param weights: dict name -> weights file or None for those of the package.
    :return: dict name -> list of bool, success of each pair with a clear truth; same pairs.
    """
    from dlc_training.evaluate import report
    from dlc_training.evaluate.methods import DlcRos
    from dlc_training.evaluate.protocols import PROTOCOLS
    from dlc_training.evaluate.runner import Runner, digest_of
    from dlc_training.evaluate.shapes import open_shapes

    shapes = open_shapes('generated', 0)
    protocol = PROTOCOLS['so3-crop']
    pairs = list(protocol.pairs(shapes, pairs_per_bin, 0))
    digest = digest_of(pairs)
    folder = Path(folder)
    out = {}
    with Runner(1, folder, quiet) as runner:
        groups, ambiguous = runner.judge(protocol, shapes, pairs, digest)
        for name, path in weights.items():
            key = f'{answering(load_weights(path))[:12]}{digest[:12]}'
            answers = runner.run(name, DlcRos(path), pairs, key)
            scores = report.score(protocol, pairs, groups, answers)
            out[name] = [
                bool(hit)
                for hit, open_ in zip(scores['success'], ambiguous, strict=True)
                if not open_
            ]
    return out
