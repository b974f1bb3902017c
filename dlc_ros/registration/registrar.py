"""The one entry of registration: a reference, then clouds in and :class:`Registration` out."""

import time

import numpy as np

from dlc_ros.errors import CloudError, ParameterError
from dlc_ros.registration.cloud import LocalFrame, cloud_radius, validate_cloud
from dlc_ros.registration.options import RegistrationOptions
from dlc_ros.registration.refine import Refiner
from dlc_ros.registration.result import Registration, Status
from dlc_ros.registration.se3 import (
    compose,
    covariance_from_hessian,
    covariance_of_compose,
    inverse,
    is_rigid,
    nearest_rigid,
)


class Registrar:
    """Registers clouds against one reference; built once, used for any number of clouds."""

    def __init__(self, reference, weights=None, options=None):
        self.options = options or RegistrationOptions()
        points = validate_cloud(reference, self.options.min_points, 'reference')
        self._frame = LocalFrame.of(points)
        local = self._frame.localize(points)
        self.radius = cloud_radius(local)
        self._refiner = Refiner(local, self.options)

    def register(self, cloud, init=None, init_covariance=None):
        clock = _Stopwatch()
        points = validate_cloud(cloud, self.options.min_points, 'source')
        frame = LocalFrame.of(points)
        start = np.eye(4)
        if init is not None:
            if not is_rigid(init):
                raise ParameterError('init: not a rigid (4, 4) transform')
            start = compose(inverse(self._frame.transform), nearest_rigid(init), frame.transform)
        clock.lap('validate')
        source = self._refiner.prepare(frame.localize(points))
        clock.lap('reduce')
        best = self._refiner.refine(source, start)
        clock.lap('refine')
        limits = np.array([self.radius] * 3 + [np.pi] * 3)
        covariance = covariance_from_hessian(best.hessian, max(best.residual, 1e-9) ** 2, limits)
        out = inverse(frame.transform)
        good = best.inlier_fraction > 0.4
        clock.lap('judge')
        return Registration(
            transform=compose(self._frame.transform, best.transform, out),
            covariance=covariance_of_compose(best.transform, covariance, out),
            confidence=best.inlier_fraction,
            status=Status.ACCEPTED if good else Status.REJECTED,
            reason=f'{best.inlier_fraction:.0%} of the source lies on the target',
            stages=clock.stages,
            inlier_fraction=best.inlier_fraction,
            residual=best.residual,
        )


class _Stopwatch:
    """Wall time of successive stages, in milliseconds by name."""

    def __init__(self):
        self.stages = {}
        self._last = time.perf_counter()

    def lap(self, name):
        now = time.perf_counter()
        self.stages[name] = 1e3 * (now - self._last)
        self._last = now


def register(source, target, init=None):
    """Register two clouds with the default options and weights."""
    return Registrar(target).register(source, init)
