"""Why pairs fail: the watched registrar answers as registrars do and tells what it weighed."""

import numpy as np
import pytest

for module in ('torch', 'small_gicp'):
    pytest.importorskip(module, reason=f'{module} is not installed')

from dlc_ros.registration.options import RegistrationOptions  # noqa: E402
from dlc_ros.registration.registrar import Registrar  # noqa: E402
from dlc_training.evaluate.explain import OUTCOMES, explain, explanation  # noqa: E402
from dlc_training.evaluate.protocols import PROTOCOLS  # noqa: E402
from dlc_training.evaluate.shapes import GeneratedShapes  # noqa: E402
from dlc_training.evaluate.symmetry import SymmetryGroup  # noqa: E402
from dlc_training.evaluate.watched import Watched  # noqa: E402

NO_SYMMETRY = SymmetryGroup(np.zeros(3))


@pytest.fixture(scope='module')
def pair():
    return PROTOCOLS['so3-crop'].draw(GeneratedShapes(3), 2, 3, 1)


def test_watching_changes_nothing(pair):
    plain = Registrar(pair.target, options=RegistrationOptions(device='cpu', threads=1))
    watched = Watched(pair.target, threads=1)
    expected, found = plain.register(pair.source), watched.register(pair.source)
    np.testing.assert_array_equal(found.transform, expected.transform)
    assert (found.status, found.confidence) == (expected.status, expected.confidence)
    assert len(watched.fits) == len(found.candidates)
    sure = [watched.confidence(fit) for fit in watched.fits]
    assert sure[watched.chosen] == pytest.approx(max(sure), abs=1e-3)


def test_a_start_at_the_truth_stays_there(pair):
    watched = Watched(pair.target, threads=1)
    watched.register(pair.source)
    pose, fit = watched.refined(pair.truth)
    np.testing.assert_allclose(pose, pair.truth, atol=0.05)
    # The same pose as one that was proposed is judged the same.
    again, same = watched.refined(watched.found.candidates[watched.chosen])
    sure = [watched.confidence(one) for one in (same, watched.fits[watched.chosen])]
    assert sure[0] == pytest.approx(sure[1], abs=0.05)
    energies = watched.energies(np.array([pose, again]))
    assert energies.shape == (2,) and np.isfinite(energies).all()


def test_outcomes_follow_from_the_limits(pair):
    row = explain(pair, NO_SYMMETRY, (180.1, 1e9))
    assert row['outcome'] == 'right'
    impossible = explain(pair, NO_SYMMETRY, (0.0, 0.0))
    assert impossible['outcome'] == 'refinement' and impossible['rank'] is None
    assert impossible['chosen'].keys() == impossible['truth'].keys()
    text = explanation([impossible])
    assert text.startswith('1 failures') and OUTCOMES['refinement'] in text
    assert 'at the truth' in text


def test_a_cloud_that_is_refused_without_a_search_has_no_fit(pair):
    watched = Watched(pair.target, threads=1)
    assert watched.fit is None
    assert 'millimetres' in watched.register(1000.0 * pair.source).reason
    assert watched.fit is None
