"""The candidates for a cloud at one site: where they start, how they end, which one wins."""

from dataclasses import replace
from functools import cached_property
from itertools import islice

import numpy as np

from dlc_ros.registration.se3 import make_transform
from dlc_ros.registration.selection import Selection
from dlc_ros.registration.shifts import ShiftSearch
from dlc_ros.registration.turns import likely_turns

# First correspondence distance of a start that nobody predicted, at most, in radii of the
# smaller cloud: about 15 degrees of turn.
_COARSE_RADII = 0.25
# When the first candidates do not convince: shifts of each turn, the poses among all of these that
# are glanced at, and the candidates among those. They lie apart from each other and from those
# there are, in start distances.
_SHIFTS = 6
_GLANCES = 6
_SECOND_LOOK = 4
_ANEW = 0.7
# Candidates of a view that are refined once more onto what could be seen of them, at most.
_TURNED = 2
# Ends of glances that lie nearer to each other than this share of their reach are the same one.
_SAME = 0.5
# Logarithm of the odds that the whole score of a search is worth beside the confidence.
_ODDS = 20.0
# Share of the best score that a pose has which the search did not propose.
_UNPROPOSED = 0.7
# A place that scores nearly as high has the same walls; then so much of the agreement may be what
# the map lacks of it: never seen, or moved since.
_ALIKE = 0.85
_UNMAPPED = 0.15


class Contest:
    """
    One cloud at one :class:`~dlc_ros.registration.atlas.Site`.

    :ivar refiner: of the site.
    :ivar selection: :class:`Selection` among the candidates.
    :ivar candidates: list of :class:`~dlc_ros.registration.selection.Candidate`.
    :ivar chosen: the one that wins.
    :ivar fit: :class:`~dlc_ros.registration.confidence.Fit` of the answer that came of it.
    """

    def __init__(self, site, source, prior, sight, place, learned, min_confidence, hypotheses):
        """
        Take what competes.

        :param site: see above.
        :param source: what :meth:`Refiner.prepare` made.
        :param prior: :class:`PosePrior` or None.
        :param sight: what the sensor saw, :class:`~dlc_ros.registration.sight.Sight` of a place or
            :class:`~dlc_ros.registration.sight.View` of a thing, or None.
        :param place: whether it is a scan that is searched for in a place.
        :param learned: the weights' :class:`~dlc_ros.registration.confidence.Model`, or None.
        :param min_confidence: below which a candidate does not convince.
        :param hypotheses: how many the predictor is asked for.
        """
        self.refiner = site.refiner
        self._site, self._source, self._prior = site, source, prior
        self._hypotheses = hypotheses
        # Descriptors tell look-alikes apart where nothing else does. A narrow prior rules those
        # out better, and near it a scene in which things moved must not count as another one.
        reach = np.inf if prior is None else prior.reach(source.full.radius)
        self._in_place = place
        open_to = not self._in_place and reach > _COARSE_RADII * source.full.radius
        self._witness = self._landscape if open_to else None
        if not place and self._witness is None:
            sight = None
        self._view = None if place else sight
        self.selection = Selection(
            self.refiner, source, prior, self._witness, sight, place, learned, min_confidence
        )
        self._starts, self._predicted = [], []
        self._roomy = None  # see begin; None where a search has chosen what competes
        self.candidates, self.chosen, self.fit = [], None, None

    @cached_property
    def _landscape(self):
        """The predictor's, made when it is asked for: in windows of a map it seldom is."""
        return self._site.landscape(self._source)

    def enter(self, proposals):
        """Let compete what a search proposed: list of :class:`Proposal`."""
        self._starts += [(p.transform, None, _ODDS * p.score) for p in proposals]

    def begin(self, roomy):
        """
        Let compete what the predictor proposes, and the prior itself.

        :param roomy: whether the prior leaves room for another place than the one that ICP finds
            from it; else the predictor is asked only if that one does not convince.
        """
        if roomy:
            self._predict()
        self._believe()
        self._roomy = roomy

    def _predict(self):
        """Enter what the predictor proposes."""
        if self._landscape is not None:
            self._propose(self._landscape.propose(self._prior, self._hypotheses))

    def _predict_undecided(self):
        """Enter what geometry alone proposes under a wide prior."""
        if self._landscape is not None and self._prior is not None:
            self._propose(self._landscape.propose_undecided(self._prior, self._hypotheses))

    def _propose(self, hypotheses):
        poses = [hypothesis.transform for hypothesis in hypotheses]
        if self._prior is not None:
            poses = [pose for pose in poses if self._prior.plausible(pose)]
        self._predicted += poses
        self._starts += [(pose, None, None) for pose in poses]

    def _believe(self):
        """Enter the prior; with neither prior nor predictor, the clouds as they were given."""
        source, prior = self._source, self._prior
        if prior is None and self._landscape is not None:
            return
        guess = np.eye(4) if prior is None else prior.transform
        # Also beside a predicted one: of a thin plate the two may be on different sides.
        self._starts.append((guess, None, None))
        radius = min(self.refiner.radius, source.full.radius)
        reach = radius if prior is None else prior.reach(radius)
        wide = min(reach, _COARSE_RADII * radius)
        if wide > 2.0 * self.refiner.start_distance(source):
            self._starts.append((guess, wide, None))
        if prior is not None and self._in_place:
            self._starts += [(beside, None, None) for beside in prior.beside()]

    def compete(self):
        """Refine all that entered on thinned clouds, and choose."""
        refined = [
            self.refiner.compete(self._source, transform, distance)
            for transform, distance, _ in self._starts
        ]
        odds = [odds for _, _, odds in self._starts]
        entered = [*odds, *(candidate.odds for candidate in self.candidates)]
        known = [o for o in entered if o is not None]
        if known:
            odds = [_UNPROPOSED * max(known) if o is None else o for o in odds]
        self._starts = []
        entered = self.selection.candidates(refined, odds)
        self.candidates += entered
        if self._view is not None:
            self.candidates += self._turned(entered)
        self.chosen = self.selection.choose(self.candidates)

    def _turned(self, entered):
        """
        List of :class:`Candidate` that the likeliest of those become once they face the sensor.

        One that lies on the hidden side of a sheet has it stand before what was seen: asked of
        those that would win, and convince, if they had not.
        """
        confidence, doubts = self.selection.confidence, self.selection.doubts
        best = max(confidence(candidate.fit) for candidate in self.candidates)
        aside = [c._replace(fit=replace(c.fit, crossed=0.0)) for c in entered]
        aside = [c for c in aside if confidence(c.fit) > best and not doubts(c)]
        aside.sort(key=lambda candidate: -confidence(candidate.fit))
        viewpoint = self._view.viewpoint
        likely = (candidate.refined for candidate in aside[:_TURNED])
        turned = [self.refiner.turn(self._source, end, viewpoint) for end in likely]
        turned = [refined for refined in turned if refined is not None]
        return self.selection.candidates(turned, [None] * len(turned))

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
        :param elsewhere: list of :class:`Contest` at other sites that are not doubtful.
        :returns: :class:`Evidence`.
        """
        self.fit = self.selection.judged(answer)
        alike = _ALIKE * (self.chosen.odds or 0.0)
        rivals = [
            (other.chosen.refined, _UNMAPPED if (other.chosen.odds or 0.0) > alike else 0.0)
            for other in elsewhere
        ]
        return self.selection.evidence(answer, self.fit, self.candidates, rivals)

    def refined(self, transform):
        """:class:`Refinement` of a pose (4, 4) as candidates are refined."""
        return self.refiner.compete(self._source, transform)

    def energies(self, transforms):
        """Energies (P,) of poses (P, 4, 4) in the landscape of the predictor."""
        return self._landscape.energies(transforms)

    def reconsider(self):
        """Let more compete, step by step, while the chosen one is doubtful."""
        if self._roomy is None:
            return
        predict = [] if self._roomy else [self._predict]
        for enter_more in (*predict, self._predict_undecided, self._look_again):
            if not self.doubtful:
                return
            enter_more()
            self.compete()

    def _look_again(self):
        """
        Enter where a cloud may lie instead.

        That is at every shift of a few turns, and where the predictor said, both but for what
        lies farther off: clouds that overlap little are drawn away by what lies beside the
        overlap. Not near a narrow prior, which leaves no room for it.
        """
        if self._witness is None:
            return
        near = self.refiner.near_distance(self._source)
        glances = self.refiner.glance(self._source, self._elsewhere())
        seen = self.selection.candidates(glances, [None] * len(glances))
        seen.sort(key=self.selection.rank, reverse=True)
        likely = self._apart((c.refined.transform for c in seen), [], _SAME * near)
        poses = self._predicted + list(islice(likely, _SECOND_LOOK))
        self._starts += [(pose, near, None) for pose in poses]

    def _elsewhere(self):
        """List of poses (4, 4) that differ from the candidates, the likeliest shifts first."""
        source, prior = self._source.coarse, self._prior
        search = ShiftSearch(self.refiner.coarse_target, min(self.refiner.radius, source.radius))
        found = []
        for turn in likely_turns(self.chosen.refined.transform[:3, :3], source, prior):
            points, normals = source.points @ turn.T, source.normals @ turn.T
            shifts, scores = search.best(points, normals, _SHIFTS)
            poses = (make_transform(turn, shift) for shift in shifts)
            found += zip(scores, poses, strict=True)
        found.sort(key=lambda item: -item[0])
        near = _ANEW * self.refiner.start_distance(self._source)
        known = [candidate.refined.transform for candidate in self.candidates]
        poses = (pose for _, pose in found if prior is None or prior.plausible(pose))
        return list(islice(self._apart(poses, known, near), _GLANCES))

    def _apart(self, poses, known, near):
        """Those of poses (4, 4) that lie ``near`` [m] or more from known ones and each other."""
        known = list(known)
        for pose in poses:
            if all(_distance(pose, other, self._source.coarse) >= near for other in known):
                known.append(pose)
                yield pose


def _distance(one, other, source):
    """Root mean square distance of a source's points between two poses (4, 4) [m], about."""
    turn = np.linalg.norm(one[:3, :3] - other[:3, :3]) / np.sqrt(3.0)
    return np.hypot(np.linalg.norm(one[:3, 3] - other[:3, 3]), turn * source.radius)
