"""Objectives by name, on any torch model: what is added to the loss, how gradients are taken."""

from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dlc_ros.errors import ParameterError
from dlc_training.objective.adversarial import AscentOptions, in_unit_ball, worst_perturbations
from dlc_training.objective.dlc import DlcOptions, convexification_loss
from dlc_training.objective.mistakes import first_mistake
from dlc_training.objective.perturbations import draw_perturbations, mined_perturbations
from dlc_training.objective.sharpness import AwpOptions, SamOptions, awp_move, moved, sam_move

OBJECTIVES = ('none', 'dlc', 'dlc-adversarial', 'awp', 'sam')


class ObjectiveOptions(BaseModel):
    """Options of all objectives; each reads its own."""

    model_config = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)

    dlc: DlcOptions = Field(DlcOptions(), description='Hinges of Deep Loss Convexification.')
    adversarial: AscentOptions = Field(
        AscentOptions(), description='Search for the worst perturbation (dlc-adversarial).'
    )
    awp: AwpOptions = Field(AwpOptions(), description='Adversarial weight perturbation.')
    sam: SamOptions = Field(SamOptions(), description='Sharpness-aware minimisation.')
    warm_up: int = Field(0, ge=0, description='Steps before the objective acts.')
    ramp: int = Field(1, ge=1, description='Steps over which it then grows to full strength.')


@dataclass(frozen=True)
class Objective:
    """
    One objective; a training loop that uses it serves all of them.

    ::

        objective = make_objective('dlc')           # or none, dlc-adversarial, awp, sam
        manifold = Euclidean(radius=0.3)
        for step, (x, truth) in enumerate(data):
            def gradients():
                optimiser.zero_grad()
                loss = task(model, x, truth)
                hinges, _ = objective.shape(
                    lambda omega: model.energy(x, omega), manifold, truth, step)
                (loss + hinges).backward()
                return loss
            objective.descend(model.parameters(), gradients, step)
            optimiser.step()

    :param name: one of :data:`OBJECTIVES`.
    :param options: :class:`ObjectiveOptions`.
    """

    name: str
    options: ObjectiveOptions

    @property
    def shapes(self):
        """Whether it adds hinges to the loss."""
        return self.name in ('dlc', 'dlc-adversarial')

    def strength(self, step):
        """Share of full strength, 0..1, at a step (counted from 0); after ramp: 1."""
        return min(max((step - self.options.warm_up) / self.options.ramp, 0.0), 1.0)

    def shape(self, energy, manifold, truth, step=None, generator=None, descend=None):
        """
        Hinges on an energy at perturbations of the truth, to be added to the task loss.

        :param energy: maps predictions of the manifold, P per sample, to energies (B, P) that
            depend on the weights. It must be what the iteration descends.
        :param manifold: :class:`Euclidean` or :class:`RigidTransforms`, which hold the radius.
        :param truth: true predictions of B samples, as ``manifold.move`` takes them.
        :param step: for warm-up and ramp; None for full strength.
        :param generator: torch Generator on the CPU; None for torch's own. Where ``shape`` is
            called twice in one step (``descend`` of awp and sam), nothing is drawn.
        :param descend: maps predictions to those that the iteration reaches from there; needed
            by the distribution ``mined`` alone.
        :return: scalar, and dict of the hinges' (B, P) values by name; 0.0 and an empty dict
            where the objective shapes nothing.
        :raises ParameterError: for ``mined`` without ``descend``; an energy of another shape, one
            that is no number, or one without a gradient where gradients are taken.
        """
        strength = 1.0 if step is None else self.strength(step)
        if not self.shapes or strength == 0:
            return 0.0, {}
        dlc = self.options.dlc
        batch, dimension = manifold.size(truth)
        device = (truth[0] if isinstance(truth, tuple) else truth).device
        xi, lam, _ = draw_perturbations(batch, 1, dimension, dlc, generator, device)
        if dlc.distribution == 'mined':
            if descend is None:
                raise ParameterError(
                    "distribution 'mined' needs descend=: a function from predictions to where "
                    'the iteration ends; or use uniform or gaussian'
                )
            xi = mined_perturbations(manifold, truth, xi, descend)
        xi = self.hardest(energy, manifold, truth, xi, lam)
        loss, terms = convexification_loss(energy, manifold, truth, xi, lam, dlc)
        _check_hinges(loss, terms, truth)
        return strength * loss, terms

    def hardest(
        self, energy, manifold, truth, xi, lam, at_truth=None, weigh=None, project=in_unit_ball
    ):
        """
        Perturbations to put the hinges at: ``xi`` itself, or the worst (``dlc-adversarial``).

        For parameters see :func:`worst_perturbations`.
        """
        if self.name != 'dlc-adversarial':
            return xi
        return worst_perturbations(
            energy, manifold, truth, xi, lam, self.options.dlc, self.options.adversarial,
            at_truth, weigh, project,
        )  # fmt: skip

    def descend(self, parameters, gradients, step=None):
        """
        Leave in ``.grad`` the gradient that the objective descends.

        :param parameters: weights of the model.
        :param gradients: clears the gradients, computes the loss, calls ``backward`` and returns
            the loss; the same each time it is called (awp and sam call it twice).
        :param step: for warm-up and ramp; None for full strength.
        :return: the loss at the weights themselves.
        :raises ParameterError: awp and sam find no weight with a gradient to move.
        """
        loss = gradients()
        strength = 1.0 if step is None else self.strength(step)
        if self.name not in ('awp', 'sam') or strength == 0:
            return loss
        parameters = self._with_gradients(parameters)
        if self.name == 'sam':
            moves = sam_move(parameters, strength * self.options.sam.radius)
        else:
            moves = awp_move(parameters, strength * self.options.awp.gamma)
        if all(torch.isfinite(move).all() for move in moves):
            with moved(parameters, moves):
                gradients()
        return loss

    def _with_gradients(self, parameters):
        """The weights that may be moved, as a list."""
        try:
            found = [p for p in parameters if p.requires_grad]
        except (TypeError, AttributeError):  # the model itself, or its named_parameters()
            raise ParameterError(
                f'{self.name} moves weights; give descend the tensors: model.parameters()'
            ) from None
        if all(p.grad is None for p in found):
            raise ParameterError(
                f'{self.name}: no weight has a gradient after gradients(), which has to call '
                'backward() on a loss of these weights'
            )
        return found


def _check_hinges(loss, terms, truth):
    """Raise ParameterError for hinges that teach nothing, or that would spoil every weight."""
    if torch.is_grad_enabled() and not loss.requires_grad:
        raise ParameterError(
            'the energy has no gradient, so its hinges change no weight: nothing it returned '
            'comes from weights that require one; look for detach(), no_grad() or frozen weights '
            '(only to measure, call shape under torch.no_grad())'
        )
    if torch.isfinite(loss):
        return
    parts = truth if isinstance(truth, tuple) else (truth,)
    if all(bool(torch.isfinite(part).all()) for part in parts):
        wrong = ~torch.isfinite(sum(terms.values())).all(-1)
        what = f'the energy is no number about the truth of {int(wrong.sum())} of {len(wrong)}'
    else:
        what = f'the truth holds NaN or infinity in a batch of {len(parts[0])}'
    raise ParameterError(f'{what} samples; nothing was added to the loss')


def make_objective(name, options=None):
    """
    Return an objective by name.

    :param options: :class:`ObjectiveOptions`, or a dict of them; None for the defaults.
    :raises ParameterError: for an unknown name, an unknown option or one out of range.
    """
    if name not in OBJECTIVES:
        raise ParameterError(f"unknown objective '{name}'; known are {', '.join(OBJECTIVES)}")
    if not isinstance(options, ObjectiveOptions):
        try:
            options = ObjectiveOptions.model_validate(options or {})
        except ValidationError as error:
            mistake = first_mistake(error, ObjectiveOptions)
            raise ParameterError(f"options of objective '{name}': {mistake}") from None
    return Objective(name, options)
