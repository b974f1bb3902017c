"""A registrar that keeps what it decided by: the candidates of its latest call, their evidence."""

from dlc_ros.registration.cloud import LocalFrame, validate_cloud
from dlc_ros.registration.gate import Fit
from dlc_ros.registration.options import RegistrationOptions
from dlc_ros.registration.registrar import Registrar
from dlc_ros.registration.se3 import compose, inverse


class Watched(Registrar):
    """
    The registrar of the package, watched; it answers as the package's does.

    After :meth:`register`:

    :ivar found: its :class:`Registration`; ``found.candidates`` are the poses that competed.
    :ivar fits: :class:`Fit` of each candidate, in the same order.
    :ivar chosen: index of the candidate that won.
    :ivar evidence: :class:`Evidence` that the verdict rests on.
    """

    def __init__(self, reference, weights=None, **options):
        super().__init__(reference, weights, RegistrationOptions(device='cpu', **options))

    def register(self, cloud, init=None, init_covariance=None):
        """As :meth:`Registrar.register`."""
        self.found = super().register(cloud, init, init_covariance)
        cloud_frame = LocalFrame.of(validate_cloud(cloud, self.options.min_points))
        self._from_source = inverse(cloud_frame.transform)
        return self.found

    def refined(self, transform):
        """
        What the competing refinement makes of a start of one's own.

        :param transform: (4, 4) ``T_target_source``, frames of the given clouds.
        :return: the refined pose (4, 4) likewise, and its :class:`Fit`.
        """
        local = compose(inverse(self._frame.transform), transform, inverse(self._from_source))
        refinement = self._refiner.compete(self._source, local)
        pose = compose(self._frame.transform, refinement.transform, self._from_source)
        return pose, self._fit(refinement)

    def energies(self, transforms):
        """Energies (P,) at the ranking beta of poses (P, 4, 4), frames of the given clouds."""
        before, after = inverse(self._frame.transform), inverse(self._from_source)
        return self._seen.energies(before @ transforms @ after)

    def _landscape(self, source):
        self._source, self._seen = source, super()._landscape(source)
        return self._seen

    def _choose(self, candidates, prior, witness):
        winner = super()._choose(candidates, prior, witness)
        self._witness = witness
        self.fits = [self._fit(candidate) for candidate in candidates]
        self.chosen = next(i for i, c in enumerate(candidates) if c is winner)
        return winner

    def _evidence(self, *arguments):
        self.evidence = super()._evidence(*arguments)
        return self.evidence

    def _fit(self, refinement):
        support = None
        if self._witness is not None:
            support = float(self._witness.support(refinement.transform[None])[0])
        return Fit.of(refinement.agreement, support)
