"""The examples of docs/objective.md: their iterations are right, and they learn, in small."""

import json

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from dlc_training.examples import feature_metric, lucas_kanade, study
from dlc_training.objective import make_objective

EXAMPLES = {
    'lucas_kanade': (lucas_kanade, lucas_kanade.LucasKanade),
    'feature_metric': (feature_metric, feature_metric.FeatureMetric),
}
SEED = 3


def generator(seed=SEED):
    return torch.Generator().manual_seed(seed)


def as_complex(warp):
    a, b, x, y = warp.double().numpy().T
    return 1 + a + 1j * b, x + 1j * y


def test_warps_are_maps_of_the_complex_plane():
    first, second = torch.randn(2, 6, 4, generator=generator()) * 0.3
    point = torch.tensor([[0.3, -0.7]])
    z = 0.3 - 0.7j
    (a, b), (c, d) = as_complex(first), as_complex(second)
    for warp, expected in (
        (first, a * z + b),
        (lucas_kanade.compose(first, second), a * (c * z + d) + b),
        (lucas_kanade.inverse(first), (z - b) / a),
    ):
        moved = lucas_kanade.moved(warp, point)[:, 0].numpy()
        np.testing.assert_allclose(moved[:, 0] + 1j * moved[:, 1], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', EXAMPLES)
def test_iteration_descends_its_energy_and_rests_at_its_minimum(name):
    """Untrained, on an image or cloud and itself: the truth is the minimum, and is found."""
    module, make_model = EXAMPLES[name]
    torch.manual_seed(0)
    model = make_model()
    batch = module.make_batch(4, generator())
    if name == 'lucas_kanade':
        # Waves that repeat after 16 pixels: the same mean and spread over 32 as over 48 of them.
        phase = 2 * torch.pi * torch.rand(4, 4, 1, 1, generator=generator())
        angle = 2 * torch.pi * torch.arange(48) / 16
        x, y = angle[None, None], angle[None, :, None]
        smooth = (
            (x + phase[:, 0]).sin() + (y + phase[:, 1]).sin()
            + 0.5 * (x + y + phase[:, 2]).sin() + 0.5 * (2 * x - y + phase[:, 3]).sin()
        )[:, None]  # fmt: skip
        still = torch.zeros(4, 4)
        inner = smooth[:, :, 8:40, 8:40]  # what the template sees under the identity
        batch = lucas_kanade.Images(inner, smooth, still, still)
        model.features = torch.nn.Identity()
    else:
        turn, shift = batch.truth
        source = (batch.target - shift[:, None]) @ turn  # the target's own points
        batch = feature_metric.Clouds(source, batch.target, batch.truth, batch.start)
    start = module.perturbed(batch.truth, 0.2, generator())
    path = model.align(batch, start, 25)

    def energies(pose):
        poses = (pose[0][:, None], pose[1][:, None]) if isinstance(pose, tuple) else pose[:, None]
        with torch.no_grad():
            return model.energy(batch)(poses)[:, 0]

    before, after = energies(start), energies(path[-1])
    assert (after < 0.3 * before).all()
    assert (model.evaluate(batch, batch.truth) < 0.3).all()
    assert (model.evaluate(batch, start) < 0.3).all()


def test_true_pose_lays_the_clouds_on_each_other():
    batch = feature_metric.make_batch(5, generator())
    turn, shift = (value.double().numpy() for value in batch.truth)
    np.testing.assert_allclose(np.linalg.det(turn), 1, rtol=1e-5)
    moved = np.einsum('bij,bnj->bni', turn, batch.source.double().numpy()) + shift[:, None]
    for source, target in zip(moved, batch.target.double().numpy(), strict=True):
        nearest = np.linalg.norm(source[:, None] - target, axis=-1).min(1)
        assert np.median(nearest) < 0.2  # 128 points each, none in both
    np.testing.assert_allclose(batch.source.mean(1), 0, atol=1e-5)
    angle = Rotation.from_matrix(
        np.einsum('bij,bkj->bik', batch.start[0].double().numpy(), turn)
    ).magnitude()
    assert (angle > 0.01).all()
    assert (angle < 0.6 * feature_metric.MANIFOLD.angle).all()


@pytest.mark.parametrize('name', EXAMPLES)
def test_hinges_shape_its_landscape(name):
    """A few steps on the hinges alone leave fewer violated, on other batches too."""
    module, make_model = EXAMPLES[name]
    torch.manual_seed(0)
    model = make_model()
    objective = make_objective('dlc', {'dlc': study.DLC})

    def violated():
        batch = module.make_batch(16, generator(99))
        with torch.no_grad():
            hinges, _ = objective.shape(
                model.energy(batch), module.MANIFOLD, batch.truth, generator=generator(1)
            )
        return float(hinges)

    before = violated()
    model.task_loss = lambda batch: 0.0 * sum(p.sum() for p in model.parameters())
    study.train(model, objective, module.make_batch, module.MANIFOLD, 25, SEED, batch=8)
    assert violated() < 0.8 * before


@pytest.mark.parametrize('name', EXAMPLES)
def test_command_prints_a_table_and_writes_its_result(name, tmp_path, capsys):
    module, make_model = EXAMPLES[name]
    results = study.main(
        name, make_model, module.make_batch, module.perturbed, module.MANIFOLD, 'error', 1.0,
        ['--steps', '3', '--seeds', '1', '--pairs', '8', '--json', str(tmp_path / 'r.json')],
    )  # fmt: skip
    assert list(results) == ['none', 'dlc']
    assert json.loads((tmp_path / 'r.json').read_text()).keys() == results.keys()
    printed = capsys.readouterr().out.splitlines()
    assert [line.split('|')[1].strip() for line in printed[2:4]] == ['none', 'dlc']
    for result in results.values():
        assert [row['of'] for row in result['rows']] == [8] * len(study.LENGTHS)


@pytest.mark.parametrize(
    'wrong',
    [['--steps', '0'], ['--seeds', '0'], ['--pairs', '0'], ['--json', '.']],
    ids=lambda words: words[0],
)
def test_wrong_arguments_are_one_line_before_anything_is_trained(wrong, capsys):
    module, make_model = EXAMPLES['feature_metric']
    with pytest.raises(SystemExit) as refused:
        study.main(
            'name', make_model, module.make_batch, module.perturbed, module.MANIFOLD, 'error', 1.0,
            wrong,
        )  # fmt: skip
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert wrong[0] in error and error.count('\n') == 1
