"""The predictor's device: one that fails is left for the CPU, and that is said."""

import pytest
import torch
from oracle import LOADED, Oracle
from registrations import NEAR, errors

from dlc_ros import Registrar, RegistrationOptions


class OutOfMemory(Oracle):
    """A predictor whose device runs out of memory at the call of that number."""

    fails_at, calls = 1, 0

    def __init__(self, loaded, device='cpu'):
        super().__init__(LOADED, device)

    def describe(self, points, scale=None):
        OutOfMemory.calls += 1
        if self.device.type == 'cuda' and OutOfMemory.calls >= self.fails_at:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory.\nTried to allocate 2 GiB')
        return super().describe(points, scale)


@pytest.mark.parametrize('call', [1, 2, 3], ids=['reference', 'first cloud', 'second cloud'])
def test_a_device_that_fails_is_left_for_the_cpu_and_that_is_said(
    bracket, propose, monkeypatch, call
):
    source, target = bracket
    propose(source, target, NEAR)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(OutOfMemory, 'fails_at', call)
    monkeypatch.setattr(OutOfMemory, 'calls', 0)
    monkeypatch.setattr('dlc_ros.registration.predictor.Predictor', OutOfMemory)
    registrar = Registrar(target)
    assert (registrar.provenance['device'] == 'cuda') == (call > 1)
    for _ in range(2):
        result = registrar.register(source)
        assert result.accepted and errors(result.transform)[0] < 0.2
    assert registrar.provenance['device'] == 'cpu'
    assert registrar.provenance['fallback'] == (
        'cuda failed: CUDA out of memory. Tried to allocate 2 GiB'
    )


def test_a_mistake_on_the_cpu_is_not_taken_for_a_failing_device(bracket, propose, monkeypatch):
    propose(*bracket, NEAR)

    def broken(self, points, scale=None):
        raise RuntimeError('a mistake')

    monkeypatch.setattr(Oracle, 'describe', broken)
    with pytest.raises(RuntimeError, match='a mistake'):
        Registrar(bracket[1])


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a CUDA device to be had')
def test_without_a_cuda_device_the_cpu_does_it_and_that_is_said(bracket):
    source, target = bracket
    asked = Registrar(target, options=RegistrationOptions(device='cuda'))
    assert asked.provenance['device'] == 'cpu'
    assert asked.provenance['fallback'] == 'torch finds no CUDA device'
    assert asked.register(source).stages['predict'] > 0.0
    assert Registrar(target).provenance['fallback'] == ''
