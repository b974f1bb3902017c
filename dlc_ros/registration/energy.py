r"""
The energy of a pose, and the expectation-maximisation step that descends it.

With a source point :math:`x_i`, target points :math:`y_j`, affinities :math:`\pi_{ij}` that sum
to one over j, and an outlier probability :math:`w_i`, the energy of a pose T at the inverse
variance :math:`\beta` is

.. math:: E = -\frac1N \sum_i \log\Big[(1 - w_i) \sum_j \pi_{ij}
          e^{-\beta |T x_i - y_j|^2 / 2} + w_i c_\beta\Big]

averaged with the same sum taken from the target's side (affinities normalised over i). The
outlier level is :math:`c_\beta = 1 / (2\sqrt\beta)`, so that a sharper Gaussian tolerates less.
One step assigns softly and solves the weighted Procrustes problem (Kabsch) for both sides
together; by the usual majorisation argument no step can raise E (Myronenko and Song, "Point Set
Registration: Coherent Point Drift", 2010).
"""

from dataclasses import dataclass, replace

import torch

# The one set of inverse variances [1 / network units^2], coarse to sharp: for training,
# descent, ranking, the gate and every measurement of the landscape.
BETAS = (4.0, 16.0, 64.0, 256.0)


@dataclass(frozen=True)
class MixtureEnergy:
    """
    The energy landscape of B pairs of clouds, over poses of the source.

    Shape letters: B pairs, N source points, M target points, P poses per pair.

    :param source: (B, N, 3) points, network units.
    :param target: (B, M, 3) points, network units.
    :param forward_affinity: (B, N, M), rows sum to one.
    :param backward_affinity: (B, N, M), columns sum to one.
    :param source_outlier: (B, N) in 0..1.
    :param target_outlier: (B, M) in 0..1.
    """

    source: torch.Tensor
    target: torch.Tensor
    forward_affinity: torch.Tensor
    backward_affinity: torch.Tensor
    source_outlier: torch.Tensor
    target_outlier: torch.Tensor

    def square_distances(self, rotation, translation):
        """Squared distances (B, P, N, M) after moving the source by the poses (B, P, ...)."""
        moved = self.source[:, None] @ rotation.transpose(-1, -2) + translation[:, :, None]
        target = self.target[:, None]
        cross = moved @ target.transpose(-1, -2)
        square = moved.square().sum(-1)[..., None] + target.square().sum(-1)[..., None, :]
        return (square - 2 * cross).clamp_min(0)

    def _mixtures(self, square, beta):
        """Numerators (B, P, N, M) of both sides and their mixture values (B, P, N), (B, P, M)."""
        kernel = torch.exp(-0.5 * beta * square)
        level = 0.5 / beta**0.5
        forward = kernel * ((1 - self.source_outlier)[..., None] * self.forward_affinity)[:, None]
        backward = kernel * ((1 - self.target_outlier)[:, None] * self.backward_affinity)[:, None]
        source_value = forward.sum(-1) + (level * self.source_outlier)[:, None]
        target_value = backward.sum(-2) + (level * self.target_outlier)[:, None]
        return forward, backward, source_value, target_value

    def value(self, rotation, translation, beta):
        """
        Energy of poses.

        :param rotation: (B, P, 3, 3).
        :param translation: (B, P, 3), network units.
        :param beta: inverse variance, a number or a tensor that broadcasts to (B, P, 1, 1).
        :return: (B, P), nats per point; lower is better.
        """
        return self.value_at(self.square_distances(rotation, translation), beta)

    def value_at(self, square, beta):
        """:meth:`value` for squared distances that are known already, (B, P, N, M)."""
        kernel = torch.exp(-0.5 * beta * square)
        level = 0.5 / beta**0.5
        if torch.is_tensor(level):
            level = level[..., 0]
        inlier = (1 - self.source_outlier)[:, None]
        forward = (kernel * self.forward_affinity[:, None]).sum(-1)
        source_value = inlier * forward + level * self.source_outlier[:, None]
        inlier = (1 - self.target_outlier)[:, None]
        backward = (kernel * self.backward_affinity[:, None]).sum(-2)
        target_value = inlier * backward + level * self.target_outlier[:, None]
        tiny = 1e-12
        sides = source_value.clamp_min(tiny).log().mean(-1)
        return -0.5 * (sides + target_value.clamp_min(tiny).log().mean(-1))

    def support(self, rotation, translation, beta):
        r"""
        How much of what is expected to match does match, where it is expected.

        Of the points of both clouds that are not taken for outliers, the mean of
        :math:`\sum_j \pi_{ij} e^{-\beta d_{ij}^2 / 2}`: one when every such point lies on the
        points that its descriptor names, near zero for a pose that only the geometry likes.

        :return: (B, P), 0..1.
        """
        square = self.square_distances(rotation, translation)
        kernel = torch.exp(-0.5 * beta * square)
        sides = []
        for axis, affinity, outlier in (
            (-1, self.forward_affinity, self.source_outlier),
            (-2, self.backward_affinity, self.target_outlier),
        ):
            inlier = (1 - outlier)[:, None]
            met = (kernel * affinity[:, None]).sum(axis)
            sides.append((inlier * met).sum(-1) / inlier.sum(-1).clamp_min(1e-6))
        return 0.5 * (sides[0] + sides[1])

    def step(self, rotation, translation, beta):
        """
        One expectation-maximisation step at a fixed beta; never raises the energy.

        That holds while no mixture falls below the floor of its logarithm (1e-12), which outlier
        probabilities above 1e-9 see to.

        :return: new (rotation, translation), shapes as given.
        """
        square = self.square_distances(rotation, translation)
        forward, backward, source_value, target_value = self._mixtures(square, beta)
        tiny = 1e-12
        weights = forward / (source_value.clamp_min(tiny)[..., None] * square.shape[-2])
        weights = weights + backward / (
            target_value.clamp_min(tiny)[..., None, :] * square.shape[-1]
        )
        return weighted_procrustes(self.source[:, None], self.target[:, None], weights)

    def from_affinities(self):
        """
        Pose (B, 1, ...) by the affinities alone: the beta = 0 stage, used only without a prior.

        Products of both sides' affinities, so that only mutual preference counts.
        """
        weights = self.mutual_affinity()
        return weighted_procrustes(self.source[:, None], self.target[:, None], weights[:, None])

    def undecided(self):
        """The same landscape without descriptors: every affinity alike, outliers as they are."""
        one = torch.ones_like(self.forward_affinity)
        return replace(
            self,
            forward_affinity=one / one.shape[-1],
            backward_affinity=one / one.shape[-2],
        )

    def mutual_affinity(self):
        """How much i and j prefer each other and are taken for inliers, (B, N, M)."""
        weights = self.forward_affinity * self.backward_affinity
        return weights * (
            (1 - self.source_outlier)[..., None] * (1 - self.target_outlier)[:, None]
        )


def weighted_procrustes(source, target, weights):
    """
    Rigid transform that minimises ``sum_ij weights_ij |R x_i + t - y_j|^2``.

    Kabsch's solution by the singular value decomposition; always a proper rotation. Without any
    weight the answer is the identity rotation about the centroids.

    :param source: (..., N, 3).
    :param target: (..., M, 3).
    :param weights: (..., N, M), not negative.
    :return: rotation (..., 3, 3) and translation (..., 3).
    """
    mass_source = weights.sum(-1)
    mass_target = weights.sum(-2)
    total = mass_source.sum(-1).clamp_min(1e-12)[..., None]
    mean_source = (mass_source[..., None] * source).sum(-2) / total
    mean_target = (mass_target[..., None] * target).sum(-2) / total
    spread = source.transpose(-1, -2) @ (weights @ target) / total[..., None]
    spread = spread - mean_source[..., :, None] * mean_target[..., None, :]
    rotation = _NearestRotation.apply(spread)
    translation = mean_target - (rotation @ mean_source[..., None]).squeeze(-1)
    return rotation, translation


class _NearestRotation(torch.autograd.Function):
    """
    Proper rotation R that maximises ``trace(R @ spread)``, (..., 3, 3).

    The gradient of a singular value decomposition has poles where two singular values agree,
    the rotation's own has not: with ``R @ spread = V diag(l) V^T`` a change of ``spread`` turns
    R by K in the basis V, where ``K_ij (l_i + l_j)`` balances the asymmetry that it causes.
    """

    @staticmethod
    def forward(ctx, spread):
        u, values, vh = torch.linalg.svd(spread)
        v = vh.transpose(-1, -2)
        last = torch.linalg.det(v @ u.transpose(-1, -2)).sign()
        sign = torch.ones_like(values)
        sign[..., 2] = torch.where(last == 0, torch.ones_like(last), last)
        rotation = (v * sign[..., None, :]) @ u.transpose(-1, -2)
        ctx.save_for_backward(u, values, v, sign, rotation)
        return rotation

    @staticmethod
    def backward(ctx, gradient):
        u, values, v, sign, rotation = ctx.saved_tensors
        signed = values * sign
        pair = signed[..., :, None] + signed[..., None, :]
        pair = torch.where(pair.abs() < 1e-4, torch.full_like(pair, 1e-4), pair)
        turned = v.transpose(-1, -2) @ rotation @ gradient.transpose(-1, -2) @ v
        asymmetry = (turned - turned.transpose(-1, -2)) / pair
        return u @ (sign[..., :, None] * asymmetry) @ v.transpose(-1, -2)
