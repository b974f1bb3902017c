"""A registrar that knows which point is which, and whose verdicts a test can dictate."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from dlc_ros.errors import CloudError
from dlc_ros.registration.result import Registration, Status


@dataclass
class Call:
    """What the registrar was asked."""

    points: np.ndarray
    init: np.ndarray
    init_covariance: np.ndarray
    viewpoint: np.ndarray
    min_confidence: float
    thorough: bool


class FakeRegistrar:
    """
    Registers clouds that hold the reference's points in their order, exactly.

    ``verdicts`` are used up one a call; each is a dict of fields of Registration that replace
    those of an accepted answer, or an exception to raise.
    """

    def __init__(self, points, weights, options):
        self.points = points
        self.weights = weights
        self.options = options
        self.calls = []
        self.verdicts = deque()
        self.before_answer = lambda: None
        self.provenance = {
            'device': 'cpu',
            'fallback': '',
            'weights': weights or 'default',
            'weights_sha256': '0' * 64,
            'trained_on': 'nothing',
        }

    def register(self, points, init, init_covariance, viewpoint, min_confidence, thorough):
        call = Call(points, init, init_covariance, viewpoint, min_confidence, thorough)
        self.calls.append(call)
        self.before_answer()
        verdict = self.verdicts.popleft() if self.verdicts else {}
        if isinstance(verdict, Exception):
            # A test keeps the verdict, and with its traceback all that it went through.
            raise type(verdict)(*verdict.args)
        if len(points) != len(self.points):
            raise CloudError(f'source: {len(points)} points of {len(self.points)}')
        center, reference_center = points.mean(axis=0), self.points.mean(axis=0)
        rotation, _ = Rotation.align_vectors(self.points - reference_center, points - center)
        transform = np.eye(4)
        transform[:3, :3] = rotation.as_matrix()
        transform[:3, 3] = reference_center - rotation.apply(center)
        answer = {
            'transform': transform,
            'covariance': np.diag([1e-4, 1e-4, 1e-4, 1e-5, 1e-5, 1e-5]),
            'confidence': 0.9,
            'status': Status.ACCEPTED,
            'reason': 'all points match',
            'stages': {'align': 0.1},
            'inlier_fraction': 1.0,
            'residual': 0.0,
        }
        return Registration(**{**answer, **verdict})
