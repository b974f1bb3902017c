"""Training learns: one batch by heart, hinges by their strength, any split of the batch alike."""

from dataclasses import fields

import pytest
import torch
from training_runs import log

from dlc_ros.registration.descriptor import DescriptorNet, NetOptions
from dlc_ros.registration.energy import MixtureEnergy
from dlc_training.config import load_config
from dlc_training.data.batches import batches
from dlc_training.engine import schedule
from dlc_training.registration_loss import Part, RegistrationLoss, overlap_mass
from dlc_training.train_cli import main


def test_overfit_configuration_learns_its_one_batch(tmp_path):
    """Network, loss and optimiser can learn at all; with hinges, wrong poses rise above it."""
    assert main(['--config', 'overfit', '--out', str(tmp_path)]) == 0
    lines = log(tmp_path)
    first, last = lines[0], lines[-1]
    assert last['loss'] < 0.6 * first['loss']
    for part in ('match', 'overlap', 'pose', 'at_truth'):
        assert last[part] < first[part]
    hinges = [line for line in lines if 'hinge_mined' in line]
    assert min(line['hinge_mined'] for line in hinges[-3:]) < 0.5 * hinges[0]['hinge_mined']


def test_hinges_count_by_their_strength():
    config = load_config('overfit')
    torch.manual_seed(0)
    net = DescriptorNet(NetOptions(**config.net.model_dump()))
    batch = next(iter(batches(config, 0)))
    with torch.no_grad():
        energy = net(batch['source'], batch['target'])
        task, half, full = (
            RegistrationLoss(config.objective)(
                energy, batch['rotation'], batch['translation'], strength,
                torch.Generator().manual_seed(1),
            )[0].item()
            for strength in (0.0, 0.5, 1.0)
        )  # fmt: skip
    assert full > task
    assert half == pytest.approx((task + full) / 2, rel=1e-5)


def test_rate_rises_stays_and_falls_to_zero():
    options = load_config(
        overrides=['optimiser.steps=100', 'optimiser.rise=10', 'optimiser.decay_share=0.4']
    ).optimiser
    rate = [schedule(step, options) for step in range(101)]
    assert rate[:10] == pytest.approx([k / 10 for k in range(1, 11)])
    assert rate[10:60] == pytest.approx([1.0] * 50)
    assert rate[60:] == pytest.approx([(100 - k) / 40 for k in range(60, 101)])


@pytest.mark.parametrize('objective', ['none', 'dlc', 'dlc-adversarial'])
def test_losses_of_the_parts_sum_to_the_loss_of_the_batch(objective):
    """What a split by memory or processes rests on, gradients included."""
    config = load_config(
        'smoke',
        [f'objective.name={objective}', 'optimiser.batch=4', 'data.kinds={crop: 1}', 'seed=8'],
    )
    torch.manual_seed(0)
    net = DescriptorNet(NetOptions(**config.net.model_dump()))
    batch = next(iter(batches(config, 0)))
    loss_of = RegistrationLoss(config.objective)

    def loss(piece, part):
        source, target = ({k: v[piece] for k, v in batch[n].items()} for n in ('source', 'target'))
        generator = torch.Generator().manual_seed(1)
        truth = batch['rotation'][piece], batch['translation'][piece]
        return loss_of(net(source, target), *truth, 1.0, generator, part)[0]

    def gradient(value):
        return torch.cat([g.flatten() for g in torch.autograd.grad(value, net.parameters())])

    whole = loss(slice(0, 4), None)
    moved = batch['source']['points'] @ batch['rotation'].mT + batch['translation'][:, None]
    mass = overlap_mass(torch.cdist(moved, batch['target']['points']).square()).mean(-1)
    parts = sum(
        (piece.stop - piece.start)
        / 4
        * loss(piece, Part(piece.start, 4, mass, len(range(4)[piece])))
        for piece in (slice(0, 3), slice(3, 4))
    )
    assert parts.item() == pytest.approx(whole.item(), rel=1e-5)
    expected = gradient(whole)
    torch.testing.assert_close(
        gradient(parts), expected, rtol=0, atol=1e-4 * float(expected.abs().max())
    )


@pytest.mark.parametrize('distribution', ['uniform', 'gaussian', 'mined'])
def test_hinges_act_wherever_perturbations_come_from(distribution):
    config = load_config('smoke', [f'objective.dlc.distribution={distribution}', 'seed=8'])
    torch.manual_seed(0)
    net = DescriptorNet(NetOptions(**config.net.model_dump()))
    batch = next(iter(batches(config, 0)))
    _, values = RegistrationLoss(config.objective)(
        net(batch['source'], batch['target']), batch['rotation'], batch['translation'], 1.0,
        torch.Generator().manual_seed(1),
    )  # fmt: skip
    assert values['hinge_growth'] > 0


@pytest.mark.parametrize('distribution', ['uniform', 'gaussian'])
def test_mirrored_perturbations_lie_about_the_truth(distribution):
    """Whatever is drawn, the middle of all poses is the true one."""
    config = load_config('smoke', [
        'objective.dlc.mirrored=true', f'objective.dlc.distribution={distribution}', 'seed=8',
    ])  # fmt: skip
    batch, asked = next(iter(batches(config, 0))), []

    class Watched(MixtureEnergy):
        def value(self, rotation, translation, beta):
            asked.append(translation)
            return super().value(rotation, translation, beta)

    energy = DescriptorNet(NetOptions(**config.net.model_dump()))(batch['source'], batch['target'])
    RegistrationLoss(config.objective)(
        Watched(**{field.name: getattr(energy, field.name) for field in fields(energy)}),
        batch['rotation'], batch['translation'], 1.0, torch.Generator().manual_seed(1),
    )  # fmt: skip
    outer = asked[0]
    assert (outer - batch['translation'][:, None]).norm(dim=-1).amin() > 0
    torch.testing.assert_close(outer.mean(1), batch['translation'], rtol=0, atol=1e-6)
