"""References: files to registrars, the threads of the process, sharing."""

import threading

import numpy as np
import pytest
from fake_registrar import FakeRegistrar

from dlc_ros.localization.references import ReferenceLoader, make_registrar
from dlc_ros.registration.options import RegistrationOptions

torch = pytest.importorskip('torch')


@pytest.fixture
def cloud():
    return np.random.default_rng(0).uniform(size=(400, 3))


@pytest.mark.parametrize('threads', [1, 2])
def test_torch_is_held_to_the_threads_in_every_thread_of_the_process(cloud, threads):
    """The worker that registers is not the thread that loads."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        make_registrar(cloud, '', RegistrationOptions(threads=threads, device='cpu'))
        counted = []
        worker = threading.Thread(target=lambda: counted.append(torch.get_num_threads()))
        worker.start()
        worker.join()
        assert counted == [threads]
    finally:
        torch.set_num_threads(before)


def test_one_file_is_one_model_until_other_weights_are_loaded(tmp_path, cloud):
    made = []

    def factory(points, weights, options):
        made.append(FakeRegistrar(points, weights, options))
        return made[-1]

    for name in ('a', 'b'):
        np.save(tmp_path / f'{name}.npy', cloud if name == 'a' else 2.0 * cloud)
    loader = ReferenceLoader('', RegistrationOptions(), factory)
    loaded = [loader.load(name, tmp_path / f'{name[0]}.npy') for name in ('a1', 'a2', 'b1')]
    assert loaded[0].registrar is loaded[1].registrar
    assert loaded[0].registrar is not loaded[2].registrar
    reloaded = loader.reload(loaded, 'better')
    assert [reference.registrar.weights for reference in reloaded] == ['better'] * 3
    assert len({id(reference.registrar) for reference in reloaded}) == 2
    assert loader.load('a3', tmp_path / 'a.npy').registrar is reloaded[0].registrar
    assert len(made) == 4


def test_a_model_that_nobody_uses_is_freed(tmp_path, cloud):
    made = []

    def factory(points, weights, options):
        made.append(1)
        return FakeRegistrar(points, weights, options)

    np.save(tmp_path / 'a.npy', cloud)
    loader = ReferenceLoader('', RegistrationOptions(), factory)
    loader.load('a', tmp_path / 'a.npy')
    loader.load('a', tmp_path / 'a.npy')
    assert len(made) == 2, 'the loader itself keeps nothing alive'
