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
    :ivar fit: :class:`Fit` that the verdict rests on.
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

    def _selection(self, *arguments):
        self._judging = _Remembering(super()._selection(*arguments))
        return self._judging

    @property
    def fits(self):
        return self._judging.fits(self._judging.candidates)

    @property
    def chosen(self):
        return self._judging.chosen

    @property
    def fit(self):
        return self._judging.judged

    def confidence(self, fit):
        """How sure a pose with this :class:`Fit` would be."""
        return self._judging.confidence(fit)

    def _fit(self, refinement):
        return self._judging.fits([refinement])[0]


class _Remembering:
    """A selection, and what it was asked and answered last."""

    def __init__(self, selection):
        self._selection = selection
        self.fits, self.doubts = selection.fits, selection.doubts
        self.confidence = selection.confidence

    def choose(self, candidates):
        winner = self._selection.choose(candidates)
        self.candidates = list(candidates)
        self.chosen = next(i for i, c in enumerate(candidates) if c is winner)
        return winner

    def evidence(self, answer, candidates):
        self.judged = self._selection.judged(answer)
        return self._selection.evidence(answer, candidates)
