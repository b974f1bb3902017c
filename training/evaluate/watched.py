"""A registrar that keeps what it decided by: the candidates of its latest call, their evidence."""

from dlc_ros.registration.cloud import LocalFrame, validate_cloud
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
    :ivar fit: :class:`Fit` that the verdict rests on; None where the cloud was refused without a
        search, so that there are no candidates.
    """

    def __init__(self, reference, weights=None, **options):
        super().__init__(reference, weights, RegistrationOptions(device='cpu', **options))
        self._won = None

    def register(self, cloud, init=None, init_covariance=None):
        """As :meth:`Registrar.register`."""
        self._won = None
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
        refinement = self._won.refined(local)
        pose = compose(self._frame.transform, refinement.transform, self._from_source)
        return pose, self._won.selection.candidates([refinement], [None])[0].fit

    def energies(self, transforms):
        """Energies (P,) at the ranking beta of poses (P, 4, 4), frames of the given clouds."""
        before, after = inverse(self._frame.transform), inverse(self._from_source)
        return self._won.energies(before @ transforms @ after)

    def _winner(self, contests):
        self._won = super()._winner(contests)
        return self._won

    @property
    def candidates(self):
        """Poses (4, 4) that competed where the answer was found, frames of the given clouds."""
        before, after = self._frame.transform, self._from_source
        return [compose(before, c.refined.transform, after) for c in self._won.candidates]

    @property
    def fits(self):
        return [candidate.fit for candidate in self._won.candidates]

    @property
    def chosen(self):
        return next(i for i, c in enumerate(self._won.candidates) if c is self._won.chosen)

    @property
    def fit(self):
        return None if self._won is None else self._won.fit

    def confidence(self, fit):
        """How sure a pose with this :class:`Fit` would be."""
        return self._won.selection.confidence(fit)
