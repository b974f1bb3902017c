"""The candidates for a cloud at one site: where they start, how they end, which one wins."""

import numpy as np

from dlc_ros.registration.selection import Selection

# First correspondence distance of a start that nobody predicted, at most, in radii of the
# smaller cloud: about 15 degrees of turn.
_COARSE_RADII = 0.25
# How many times as many hypotheses are looked at when the first ones do not convince.
_SECOND_LOOK = 4


class Contest:
    """
    One cloud at one :class:`~dlc_ros.registration.atlas.Site`.

    :ivar refiner: of the site.
    :ivar selection: :class:`Selection` among the candidates.
    :ivar candidates: list of :class:`Refinement`.
    :ivar chosen: the one that wins.
    :ivar fit: :class:`~dlc_ros.registration.confidence.Fit` of the answer that came of it.
    """

    def __init__(self, site, source, prior, learned, options):
        """
        Let the predictor see the cloud at the site.

        :param site: see above.
        :param source: what :meth:`Refiner.prepare` made.
        :param prior: :class:`PosePrior` or None.
        :param learned: the weights' :class:`~dlc_ros.registration.confidence.Model`, or None.
        :param options: :class:`RegistrationOptions`.
        """
        self.refiner = site.refiner
        self._source, self._prior, self._options = source, prior, options
        self._landscape = site.landscape(source)
        # Descriptors tell look-alikes apart where nothing else does. A narrow prior rules those
        # out better, and near it a scene in which things moved must not count as another one.
        reach = np.inf if prior is None else prior.reach(source.full.radius)
        self._witness = self._landscape if reach > _COARSE_RADII * source.full.radius else None
        self.selection = Selection(
            self.refiner, source, prior, self._witness, learned, options.min_confidence
        )
        self._starts = []
        self.candidates, self.chosen, self.fit = [], None, None

    def enter(self, transforms):
        """Let poses (4, 4) that somebody proposed compete."""
        self._starts += [(transform, None) for transform in transforms]

    def predict(self):
        """Let compete what the predictor proposes, and the prior itself."""
        source, prior = self._source, self._prior
        starts = []
        if self._landscape is not None:
            found = self._landscape.propose(prior, self._options.hypotheses)
            starts = [(hypothesis.transform, None) for hypothesis in found]
            if prior is not None:
                starts = [start for start in starts if prior.plausible(start[0])]
        if prior is not None or self._landscape is None:
            guess = np.eye(4) if prior is None else prior.transform
            near = 0.5 * self.refiner.start_distance(source)
            if not any(_apart(guess, start, source.full) < near for start, _ in starts):
                starts.append((guess, None))
            radius = min(self.refiner.radius, source.full.radius)
            reach = radius if prior is None else prior.reach(radius)
            wide = min(reach, _COARSE_RADII * radius)
            if wide > 2.0 * self.refiner.start_distance(source):
                starts.append((guess, wide))
        self._starts += starts

    def compete(self):
        """Refine all that entered on thinned clouds, and choose."""
        self.candidates += [self.refiner.compete(self._source, *start) for start in self._starts]
        self._starts = []
        self.chosen = self.selection.choose(self.candidates)

    @property
    def rank(self):
        """What contests at several sites are compared by; the higher wins."""
        return self.selection.rank(self.chosen)

    @property
    def doubtful(self):
        """Whether the chosen one would be rejected."""
        return self.selection.doubts(self.chosen)

    def evidence(self, answer, elsewhere):
        """
        What the gate wants to know about an answer.

        :param answer: :class:`Answer` that became of the chosen one.
        :param elsewhere: :class:`Refinement` that won at other sites.
        :returns: :class:`Evidence`.
        """
        self.fit = self.selection.judged(answer)
        return self.selection.evidence(answer, self.candidates, elsewhere)

    def refined(self, transform):
        """:class:`Refinement` of a pose (4, 4) as candidates are refined."""
        return self.refiner.compete(self._source, transform)

    def energies(self, transforms):
        """Energies (P,) of poses (P, 4, 4) in the landscape of the predictor."""
        return self._landscape.energies(transforms)

    def look_again(self):
        """Let more that the predictor proposes compete, where its descriptors are heard."""
        if self._witness is None:
            return
        more = self._landscape.propose(self._prior, _SECOND_LOOK * self._options.hypotheses)
        self.enter(hypothesis.transform for hypothesis in more)
        self.compete()


def _apart(one, other, source):
    """Root mean square distance of a source's points between two poses (4, 4) [m], about."""
    turn = np.linalg.norm(one[:3, :3] - other[:3, :3]) / np.sqrt(3.0)
    return np.hypot(np.linalg.norm(one[:3, 3] - other[:3, 3]), turn * source.radius)
