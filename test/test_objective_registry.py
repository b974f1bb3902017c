"""Objectives by name on one model: SAM and AWP against their closed forms on a quadratic."""

import numpy as np
import pytest
import torch

from dlc_ros.errors import ParameterError
from dlc_training.objective import OBJECTIVES, Euclidean, make_objective

RNG = np.random.default_rng(0)
ROOT = RNG.normal(size=(6, 6))
HESSIAN = ROOT @ ROOT.T
SHIFT = RNG.normal(size=6)


class Quadratic(torch.nn.Module):
    """L = w' A w / 2 + b'w of a (2, 2) matrix and two biases, 6 weights in all."""

    def __init__(self):
        super().__init__()
        start = torch.from_numpy(np.random.default_rng(1).normal(size=6))
        self.matrix = torch.nn.Parameter(start[:4].reshape(2, 2).clone())
        self.bias = torch.nn.Parameter(start[4:].clone())

    def forward(self):
        w = torch.cat([self.matrix.flatten(), self.bias])
        return 0.5 * w @ torch.from_numpy(HESSIAN) @ w + torch.from_numpy(SHIFT) @ w


def vector(model):
    return np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])


def gradient_of(model, name, options, step=None):
    """What the objective leaves in ``.grad``, the loss it returns and how often it was asked."""
    calls = []

    def gradients():
        calls.append(1)
        model.zero_grad()
        loss = model()
        loss.backward()
        return loss.item()

    loss = make_objective(name, options).descend(list(model.parameters()), gradients, step)
    return np.concatenate([p.grad.numpy().ravel() for p in model.parameters()]), loss, len(calls)


@pytest.mark.parametrize('radius', [1e-3, 0.05, 2.0])
def test_sam_on_a_quadratic_is_the_closed_form(radius):
    model = Quadratic()
    w = vector(model)
    slope = HESSIAN @ w + SHIFT
    expected = HESSIAN @ (w + radius * slope / np.linalg.norm(slope)) + SHIFT
    found, loss, calls = gradient_of(model, 'sam', {'sam': {'radius': radius}})
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert loss == pytest.approx(0.5 * w @ HESSIAN @ w + SHIFT @ w)
    assert calls == 2
    np.testing.assert_array_equal(vector(model), w)


@pytest.mark.parametrize('gamma', [1e-3, 0.01, 1.0])
def test_awp_on_a_quadratic_is_the_closed_form(gamma):
    """Only the matrix moves, by gamma of its own norm along its own gradient."""
    model = Quadratic()
    w = vector(model)
    slope = (HESSIAN @ w + SHIFT)[:4]
    move = np.zeros(6)
    move[:4] = gamma * np.linalg.norm(w[:4]) * slope / np.linalg.norm(slope)
    found, _, calls = gradient_of(model, 'awp', {'awp': {'gamma': gamma}})
    np.testing.assert_allclose(found, HESSIAN @ (w + move) + SHIFT, rtol=1e-10)
    assert calls == 2
    np.testing.assert_array_equal(vector(model), w)


@pytest.mark.parametrize('name', ['none', 'dlc', 'dlc-adversarial'])
def test_the_others_take_the_gradient_as_it_is(name):
    model = Quadratic()
    found, _, calls = gradient_of(model, name, None)
    np.testing.assert_allclose(found, HESSIAN @ vector(model) + SHIFT, rtol=1e-12)
    assert calls == 1


@pytest.mark.parametrize('name', ['awp', 'sam'])
def test_warm_up_and_ramp_of_the_weights_moves(name):
    options = {'warm_up': 10, 'ramp': 4, 'sam': {'radius': 0.4}, 'awp': {'gamma': 0.4}}
    half = {'sam': {'radius': 0.2}, 'awp': {'gamma': 0.2}}
    plain = gradient_of(Quadratic(), 'none', None)[0]
    np.testing.assert_array_equal(gradient_of(Quadratic(), name, options, 10)[0], plain)
    np.testing.assert_allclose(
        gradient_of(Quadratic(), name, options, 12)[0], gradient_of(Quadratic(), name, half)[0]
    )
    np.testing.assert_allclose(
        gradient_of(Quadratic(), name, options, 99)[0],
        gradient_of(Quadratic(), name, options)[0],
    )


def test_a_gradient_that_is_no_number_moves_no_weight():
    """The loss that caused it is the caller's to see; the weights stay finite."""
    model = Quadratic()
    before = vector(model)

    def gradients():
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, torch.nan)
        return float('nan')

    loss = make_objective('sam').descend(list(model.parameters()), gradients)
    assert np.isnan(loss)
    np.testing.assert_array_equal(vector(model), before)


# ----------------------------------------------------------------- one loop for all objectives


class Waves(torch.nn.Module):
    """An energy over a plane, with many minima, that its weights can bend."""

    def __init__(self):
        super().__init__()
        self.bowl = torch.nn.Parameter(torch.tensor(0.3))
        self.waves = torch.nn.Parameter(torch.tensor([[1.0, 0.7]]))

    def energy(self, truth, omega):
        offset = omega - truth[:, None]
        ripples = (self.waves[0] * (1 - torch.cos(5 * offset))).sum(-1)
        return self.bowl * offset.square().sum(-1) + ripples


def train(name, steps=150, **options):
    model, truth = Waves(), torch.zeros(8, 2)
    objective = make_objective(name, {'dlc': {'rho': 1.0, 'samples': 4, **options}})
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(0)

    def descend(omega):
        return omega - 0.05 * torch.sin(5 * omega)

    for step in range(steps):

        def gradients(step=step):
            optimiser.zero_grad()
            hinges, _ = objective.shape(
                lambda omega: model.energy(truth, omega), Euclidean(1.5), truth, step, generator,
                descend,
            )  # fmt: skip
            task = 0.01 * (model.waves - 1).square().sum()  # has reasons to keep its ripples
            (task + hinges).backward()
            return task

        objective.descend(model.parameters(), gradients, step)
        optimiser.step()
    return model


def strays(model):
    """Share of descents from a circle of radius 1.2 that miss the truth."""
    angle = torch.linspace(0, 2 * torch.pi, 41)[:-1]
    omega = (1.2 * torch.stack([angle.cos(), angle.sin()], -1))[None]
    truth = torch.zeros(1, 2)
    for _ in range(300):
        omega = omega.detach().requires_grad_()
        (slope,) = torch.autograd.grad(model.energy(truth, omega).sum(), omega)
        omega = omega - 0.02 * slope
    return (omega.norm(dim=-1) > 0.05).float().mean().item()


@pytest.mark.parametrize('name', OBJECTIVES)
def test_only_the_landscape_objectives_widen_the_basin(name):
    missed = strays(train(name))
    assert missed == 0 if name.startswith('dlc') else missed > 0.5


@pytest.mark.parametrize(
    'options',
    [
        {'distribution': 'gaussian'}, {'distribution': 'mined', 'samples': 8}, {'lam': 0.5},
        {'mirrored': True}, {'reduction': 'max'}, {'hinges': ('growth', 'star')},
    ],
)  # fmt: skip
def test_every_option_of_dlc_widens_the_basin(options):
    assert strays(train('dlc', **options)) < 0.3


def test_hinges_wait_for_the_warm_up_and_grow():
    truth = torch.zeros(2, 2)
    objective = make_objective('dlc', {'warm_up': 3, 'ramp': 2})

    def shaped(step):
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            return objective.shape(
                lambda omega: -omega.square().sum(-1), Euclidean(), truth, step, generator
            )[0]

    full = shaped(None)
    assert full > 0
    assert [float(shaped(step) / full) for step in (0, 3, 4, 5, 9)] == [0, 0, 0.5, 1, 1]


def test_mined_needs_a_descent():
    objective = make_objective('dlc', {'dlc': {'distribution': 'mined'}})
    with pytest.raises(ParameterError, match='descend='):
        objective.shape(lambda omega: omega.sum(-1), Euclidean(), torch.zeros(1, 2))


def test_unknown_names_and_options_are_refused():
    with pytest.raises(ParameterError, match="'dcl'; known are none, dlc"):
        make_objective('dcl')
    for options, parts in (
        ({'sam': {'radius': 0}}, 'sam.radius: .* greater than 0'),
        ({'awp': {'gamma': -1}}, 'awp.gamma: .* greater than 0'),
        ({'rho': 1}, 'rho: unknown key; known are dlc, .*warm_up'),
        ({'dlc': {'rh': 1}}, 'dlc.rh: unknown key; known are rho, mu'),
        ({'dlc': {'rho': float('inf')}}, 'dlc.rho: .* finite'),
        ({'ramp': 0}, 'ramp: '),
        ('dlc', 'dictionary'),
    ):
        with pytest.raises(ParameterError, match=parts) as refused:
            make_objective('dlc', options)
        assert '\n' not in str(refused.value)


@pytest.mark.parametrize('name', ['dlc', 'dlc-adversarial'])
@pytest.mark.parametrize(
    'energy',
    [
        lambda omega: omega.square().sum((-1, -2)),
        lambda omega: omega.square().sum((0, -1)),
        lambda omega: omega.square().sum(),
        lambda omega: omega.square().sum(-1, keepdim=True),
        lambda omega: omega.square().sum(-1).T,
        lambda omega: 0.0,
    ],
    ids=['samples', 'predictions', 'number', 'column', 'transposed', 'no tensor'],
)
def test_an_energy_of_another_shape_is_no_broadcast(name, energy):
    objective = make_objective(name, {'dlc': {'samples': 3}})
    with pytest.raises(ParameterError, match='the energy returned .* give it a tensor'):
        objective.shape(energy, Euclidean(), torch.zeros(3, 2))


@pytest.mark.parametrize('name', ['dlc', 'dlc-adversarial'])
def test_hinges_are_the_same_without_gradients(name):
    """As in a validation loop: the ascent takes the gradient it needs all the same."""
    objective = make_objective(name)
    weight = torch.ones((), requires_grad=True)

    def shaped():
        generator = torch.Generator().manual_seed(0)
        return objective.shape(
            lambda omega: weight * torch.sin(3 * omega).sum(-1), Euclidean(), torch.ones(2, 2),
            None, generator,
        )[0]  # fmt: skip

    with torch.no_grad():
        found = shaped()
    assert found > 0
    assert found == shaped()


# ------------------------------------------------------------ what would teach nothing, or spoil


@pytest.mark.parametrize('name', ['dlc', 'dlc-adversarial'])
@pytest.mark.parametrize(
    'spoilt',
    [torch.Tensor.detach, torch.Tensor.long, torch.zeros_like, torch.no_grad()(torch.sin)],
    ids=['detached', 'rounded', 'constant', 'without gradients'],
)
def test_an_energy_without_a_gradient_is_refused(name, spoilt):
    """Its hinges would be logged and change nothing."""
    net = torch.nn.Linear(2, 1)

    def energy(omega):
        return spoilt(net(omega)[..., 0])

    with pytest.raises(ParameterError, match='no gradient') as refused:
        make_objective(name).shape(energy, Euclidean(), torch.zeros(3, 2))
    assert '\n' not in str(refused.value)
    with torch.no_grad():  # to measure
        assert torch.isfinite(make_objective(name).shape(energy, Euclidean(), torch.ones(3, 2))[0])


@pytest.mark.parametrize('name', ['dlc', 'dlc-adversarial'])
@pytest.mark.parametrize('value', [float('nan'), float('-inf')])
def test_an_energy_that_is_no_number_is_refused_with_how_many_samples(name, value):
    weight = torch.ones((), requires_grad=True)
    spoilt = torch.tensor([[1.0], [value], [1.0], [value]])

    def energy(omega):
        return weight * spoilt * omega.square().sum(-1)

    with pytest.raises(ParameterError, match='energy is no number .* 2 of 4 samples'):
        make_objective(name).shape(energy, Euclidean(), torch.ones(4, 2))


def test_a_truth_that_is_no_number_is_named():
    weight = torch.ones((), requires_grad=True)
    truth = torch.tensor([[0.0, 1.0], [0.0, torch.nan]])
    with pytest.raises(ParameterError, match='truth holds NaN'):
        make_objective('dlc').shape(lambda omega: weight * omega.sum(-1), Euclidean(), truth)


@pytest.mark.parametrize('ends', [lambda omega: omega[:, :1], lambda omega: None])
def test_a_descent_has_an_end_for_every_start(ends):
    weight = torch.ones((), requires_grad=True)
    objective = make_objective('dlc', {'dlc': {'distribution': 'mined', 'samples': 3}})
    with pytest.raises(ParameterError, match=r'descend= returned .* for predictions \(2, 3\)'):
        objective.shape(
            lambda omega: weight * omega.sum(-1), Euclidean(), torch.zeros(2, 2), descend=ends
        )


@pytest.mark.parametrize('name', ['awp', 'sam'])
@pytest.mark.parametrize(
    ('weights', 'said'),
    [
        (lambda model: model, 'model.parameters'),
        (lambda model: model.named_parameters(), 'model.parameters'),
        (lambda model: [], 'backward'),
        (lambda model: Quadratic().parameters(), 'backward'),
    ],
    ids=['the model', 'with names', 'none', "another model's"],
)
def test_weights_that_cannot_be_moved_are_refused(name, weights, said):
    """Where nothing moved, awp and sam would be plain training under another name."""
    model = Quadratic()

    def gradients():
        model.zero_grad()
        loss = model()
        loss.backward()
        return loss

    with pytest.raises(ParameterError, match=said):
        make_objective(name).descend(weights(model), gradients)
