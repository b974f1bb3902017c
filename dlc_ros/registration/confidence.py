"""How sure a pose is: what is seen of it, and the model that makes a probability of that."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.special import expit


@dataclass(frozen=True)
class Fit:
    """
    How well two clouds agree at a pose, measured on the thinned ones that candidates compete on.

    That is one resolution for all clouds, at which a slightly bent map does not look like a
    wrong pose.

    :param contrast: points on the other surface as a share of those near it, 0..1.
    :param residual_ratio: plane distance of the inliers in units of what roughness explains.
    :param coverage: share of the source on the target, or of the target on the source within
        the source's reach, whichever is larger, 0..1.
    :param normal_agreement: mean |cosine| between normals of matched points, 0..1.
    :param typical_ratio: as ``residual_ratio``, of most inliers: what moved does not count.
    :param systematic_ratio: by how much whole regions lie off the surface, in the same units.
    :param hovering: share of the source beside the other surface though near it, 0..1.
    :param hold: smallest share of a motion that the matched points resist, 0..1.
    :param support: share of the keypoints expected to match that do, at the sharpest beta,
        :meth:`dlc_ros.registration.energy.MixtureEnergy.support`; None without a predictor.
    :param crossed: share of the reference that stands where the sensor looked through,
        :meth:`dlc_ros.registration.sight.Sight.crossed`; None where that was not asked.
    """

    contrast: float
    residual_ratio: float
    coverage: float
    normal_agreement: float
    typical_ratio: float
    systematic_ratio: float
    hovering: float
    hold: float
    support: float | None = None
    crossed: float | None = None

    @classmethod
    def of(cls, agreement, support=None, crossed=None):
        """Take the evidence from an :class:`Agreement`."""
        return cls(
            contrast=agreement.contrast,
            residual_ratio=agreement.residual_ratio,
            coverage=max(agreement.inlier_fraction, agreement.reverse_fraction),
            normal_agreement=agreement.normal_agreement,
            typical_ratio=agreement.typical_residual / agreement.expected_residual,
            systematic_ratio=agreement.systematic / agreement.expected_residual,
            hovering=agreement.hovering,
            hold=agreement.hold,
            support=support,
            crossed=crossed,
        )


class Term(NamedTuple):
    """One kind of evidence: +1 if more of it speaks for a pose, else -1; its number of a fit."""

    sign: int
    value: object


TERMS = {
    'contrast': Term(1, lambda fit: fit.contrast),
    # Below 1 the residual only says that the clouds share samples.
    'log_residual': Term(-1, lambda fit: np.log(max(fit.residual_ratio, 0.5))),
    'coverage': Term(1, lambda fit: fit.coverage),
    'normals': Term(1, lambda fit: fit.normal_agreement),
    'log_typical': Term(-1, lambda fit: np.log(max(fit.typical_ratio, 0.1))),
    'log_systematic': Term(-1, lambda fit: np.log(fit.systematic_ratio + 0.02)),
    'hovering': Term(-1, lambda fit: fit.hovering),
    # What slides altogether is no worse than what hardly holds: it is DEGENERATE, not wrong.
    'log_hold': Term(1, lambda fit: np.log(max(fit.hold, 0.01))),
    'log_support': Term(1, lambda fit: np.log((fit.support or 0.0) + 0.02)),
    # What came since the map was made crosses a little as well.
    'crossed': Term(-1, lambda fit: fit.crossed or 0.0),
}
# Where nothing speaks for a pose.
_NONE = Fit(
    contrast=0.0,
    residual_ratio=3.0,
    coverage=0.0,
    normal_agreement=0.0,
    typical_ratio=3.0,
    systematic_ratio=3.0,
    hovering=0.5,
    hold=0.0,
    crossed=0.5,
)
# Weight of what stands where the sensor looked through, of a thing that is seen from one side: of
# right poses 2 in 100 cross 3 % of what is visible, of wrong ones more than half.
_CROSSED = -40.0


@dataclass(frozen=True)
class Model:
    """
    Logistic model of "this pose is right".

    :param bias: its logit without any evidence.
    :param weights: weight by name of :data:`TERMS`; what is not named weighs nothing.
    :raises ValueError: an unknown name, no finite number, evidence that counts the wrong way
        round; one line.
    """

    bias: float
    weights: dict = field(default_factory=dict)

    def __post_init__(self):
        for name, value in {'bias': self.bias, **self.weights}.items():
            if name != 'bias' and name not in TERMS:
                raise ValueError(f'unknown evidence {name!r:.40}, known is {", ".join(TERMS)}')
            if type(value) not in (int, float) or not np.isfinite(value):
                raise ValueError(f'{name} is {value!r:.40}, no finite number')
            if name != 'bias' and value * TERMS[name].sign < 0:
                raise ValueError(f'{name} is {value:g}: better evidence counts against a pose')

    @classmethod
    def from_card(cls, entry):
        """
        Read what :meth:`as_card` wrote.

        :raises ValueError: it is something else, it would accept any pose, or see above.
        """
        if not isinstance(entry, dict) or 'bias' not in entry:
            raise ValueError('no mapping of numbers with a bias')
        model = cls(entry['bias'], {name: entry[name] for name in entry if name != 'bias'})
        if model.logit(_NONE) >= 0:
            raise ValueError('a pose for which nothing speaks would be accepted')
        return model

    def with_view(self):
        """The same where it is known what the sensor looked through, for things."""
        return Model(self.bias, {**self.weights, 'crossed': _CROSSED})

    def as_card(self):
        """JSON-able dict: numbers by name, for a model card."""
        return {'bias': self.bias, **self.weights}

    def logit(self, fit):
        """Log odds that a :class:`Fit` is of a right pose."""
        seen = (weight * TERMS[name].value(fit) for name, weight in self.weights.items())
        return float(self.bias + sum(seen))

    def confidence(self, fit):
        """
        Estimated probability that a pose is right, free directions and rivals aside.

        :param fit: :class:`Fit`.
        :returns: float, 0..1; 0 without inliers.
        """
        if fit.coverage <= 0.0 or not np.isfinite(fit.residual_ratio):
            return 0.0
        return float(expit(self.logit(fit)))


# Without descriptors, and near a prior: fitted to right poses and to the best wrong ones (other
# solids, other rooms, look-alike poses) of generated pairs. It is older than what `dlc-eval
# calibrate` fits to objects, which distrusts a scene in which something moves.
GEOMETRIC = Model(
    -14.72, {'contrast': 6.78, 'log_residual': -5.49, 'coverage': 3.99, 'normals': 7.20}
)
# Of a scan that is searched for in a place: walls repeat, and what tells places apart is what
# stands where the sensor looked through. Descriptors add nothing to that. Fitted by `dlc-eval
# calibrate-places --pairs 5 --false-rejects 7`.
PLACES = Model(
    -3.94,
    {
        'coverage': 3.68,
        'log_typical': -0.46,
        'log_systematic': -1.70,
        'hovering': -15.49,
        'log_hold': 0.22,
        'crossed': -17.66,
    },
)
# For weights whose model card has no constants, so that nobody knows what their descriptors are
# worth: fitted like those of a card to the same poses, without descriptors, and to reject 15 % of
# the right answers at a confidence of one half.
UNFITTED = Model(
    2.65,
    {
        'log_typical': -1.31,
        'log_systematic': -1.28,
        'hovering': -20.8,
        'log_hold': 1.18,
    },
)
