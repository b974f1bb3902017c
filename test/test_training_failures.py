"""What goes wrong in a run: it stops in one line, and nothing that was learned is lost."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from multiprocessing import get_context

import pytest
import torch
from training_runs import (
    QUICK,
    checkpoint,
    log,
    one_line,
    same_tensors,
    ten_steps,
    train,
    training_state,
)

from dlc_ros.errors import DlcError
from dlc_ros.registration.descriptor import DescriptorNet
from dlc_training.config import load_config
from dlc_training.engine import Trainer, TrainingStopped
from dlc_training.engine.interruption import Interruption
from dlc_training.engine.reporting import Report

__all__ = ['ten_steps']


def test_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(ten, tmp_path, capsys):
    arguments = (*QUICK, 'save_every=1', 'optimiser.rate=1e25', 'optimiser.rise=1')
    assert train(tmp_path, *arguments) == 2
    line = one_line(capsys.readouterr(), 'seed 1', tmp_path, 'optimiser.rate')
    first, last = map(int, re.search(r'pairs (\d+) to (\d+) of seed 1', line).groups())
    stopped = int(re.search(r'in step (\d+)', line).group(1))
    kept = int(re.search(r'checkpoint of step (\d+) is kept', line).group(1))
    assert kept == checkpoint(tmp_path)['step'] == stopped - 1
    assert (first, last) == (2 * kept, 2 * kept + 1)  # two pairs a step
    for value in checkpoint(tmp_path)['net'].values():
        assert value.isfinite().all()
    assert not (tmp_path / 'weights.safetensors').exists()
    before = (tmp_path / 'checkpoint.pt').read_bytes()
    assert train(tmp_path, *arguments) == 2  # the same again, from the checkpoint
    assert f'in step {stopped}' in one_line(capsys.readouterr())
    assert (tmp_path / 'checkpoint.pt').read_bytes() == before


def test_stopping_before_the_first_checkpoint_claims_none(tmp_path, capsys):
    assert train(tmp_path, *QUICK, 'optimiser.rate=1e25', 'optimiser.rise=1') == 2
    one_line(capsys.readouterr(), 'no checkpoint was written')
    assert not (tmp_path / 'checkpoint.pt').exists()


def test_gradient_that_is_no_number_changes_no_weight(tmp_path):
    trainer = Trainer(load_config('smoke', QUICK), tmp_path)
    trainer.net.affinity.weight.register_hook(lambda gradient: gradient * float('nan'))
    before = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    with pytest.raises(TrainingStopped, match='gradient nan in step 1'):
        trainer.run(progress=False)
    assert same_tensors(before, dict(trainer.net.state_dict()))


def test_folder_that_cannot_be_written(tmp_path, capsys):
    file = tmp_path / 'file'
    file.write_text('')
    assert train(file / 'run', *QUICK) == 2
    one_line(capsys.readouterr(), file, 'another --out')


@pytest.mark.parametrize('workers', (0, 1))
def test_batches_that_have_no_place(tmp_path, capsys, workers):
    (tmp_path / 'file').touch()
    keep = tmp_path / 'file' / 'batches'
    assert train(tmp_path / 'run', *QUICK, f'data.keep={keep}', f'data.workers={workers}') == 2
    said = capsys.readouterr()
    one_line(said, 'cannot write', keep, 'another data.keep')
    assert '--out' not in said.err


def test_weights_that_will_not_be_written_are_told_before_training(tmp_path, capsys):
    """Not after the hours that a run takes."""
    (tmp_path / 'file').touch()
    for weights in (tmp_path, tmp_path / 'file' / 'my.safetensors'):
        with pytest.raises(SystemExit) as refused:
            train(tmp_path / 'run', *QUICK, '--weights', weights)
        assert refused.value.code == 2
        one_line(capsys.readouterr(), '--weights', weights)
    assert not (tmp_path / 'run').exists()


def test_a_folder_without_a_name_is_not_the_one_we_are_in(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as refused:
        train('', *QUICK)
    assert refused.value.code == 2
    one_line(capsys.readouterr(), '--out')
    assert not any(tmp_path.iterdir())


def test_cuda_that_is_not_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert train(tmp_path, 'device=cuda') == 2
    one_line(capsys.readouterr(), 'device=auto')


@contextmanager
def files_no_larger_than(size):
    """The kernel refuses to let any file grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_keeps_the_checkpoint_before(tmp_path, capsys):
    arguments = (*QUICK, 'save_every=2', 'optimiser.steps=4')
    assert train(tmp_path, *arguments, 'optimiser.steps=2') == 0
    before = (tmp_path / 'checkpoint.pt').read_bytes()
    with files_no_larger_than(len(before) // 2):
        assert train(tmp_path, *arguments) == 2
    one_line(capsys.readouterr(), 'cannot write checkpoint', tmp_path, 'the one before', 'room')
    assert (tmp_path / 'checkpoint.pt').read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {
        'checkpoint.pt', 'log.jsonl', 'weights.safetensors'
    }  # fmt: skip
    assert train(tmp_path, *arguments) == 0
    assert checkpoint(tmp_path)['step'] == 4


def test_full_disk_under_the_log(ten, tmp_path, capsys):
    for name in ('checkpoint.pt', 'log.jsonl'):
        (tmp_path / name).write_bytes((ten / name).read_bytes())
    with files_no_larger_than((tmp_path / 'log.jsonl').stat().st_size + 10):
        assert train(tmp_path, *QUICK, 'log_every=1', 'optimiser.steps=20') == 2
    one_line(capsys.readouterr(), 'cannot write the log', 'too large', tmp_path)
    assert checkpoint(tmp_path)['step'] == 10


def test_tensorboard_that_has_no_place(tmp_path, capsys):
    (tmp_path / 'tensorboard').write_text('')
    assert train(tmp_path, *QUICK, 'tensorboard=true') == 2
    one_line(capsys.readouterr(), 'cannot write the log', 'File exists', tmp_path)


def _report_until_told(folder, begun, end):
    with Report(folder, 0, 10, progress=False):
        begun.set()
        end.wait(60)


def test_a_folder_in_which_another_process_trains(tmp_path, capsys):
    context = get_context('fork')
    begun, end = context.Event(), context.Event()
    other = context.Process(target=_report_until_told, args=(tmp_path, begun, end))
    other.start()
    try:
        assert begun.wait(60)
        assert train(tmp_path, *QUICK) == 2
        one_line(capsys.readouterr(), 'another process trains in', tmp_path, 'another --out')
        assert not (tmp_path / 'checkpoint.pt').exists()
        other.kill()  # as a machine that runs out of memory does: the folder is free again
        other.join(60)
        assert train(tmp_path, *QUICK) == 0
    finally:
        other.kill()
        other.join(60)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_keeps_its_last_step(tmp_path, number):
    """A process as Ctrl-C and a scheduler end it; the worker that generates pairs too."""
    command = [
        sys.executable, '-m', 'dlc_training.train_cli', '--config', 'smoke',
        '--out', str(tmp_path),
        *QUICK, 'data.workers=1', 'save_every=100000', 'log_every=1', 'optimiser.steps=100000',
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not ((tmp_path / 'log.jsonl').exists() and log_lines(tmp_path) >= 3):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, number)  # as a terminal does: every process of the group
        _, said = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert 'Traceback' not in said
    steps = int(re.search(r'interrupted after step (\d+); the same command continues', said)[1])
    assert steps == checkpoint(tmp_path)['step'] == log(tmp_path)[-1]['step'] >= 3
    # And it is a checkpoint like any other.
    arguments = (*QUICK, f'optimiser.steps={steps}')
    assert train(tmp_path / 'whole', *arguments) == 0
    assert same_tensors(training_state(tmp_path), training_state(tmp_path / 'whole'))


def test_signal_that_a_launcher_repeats_is_one_request():
    with Interruption() as interruption:
        assert not interruption.asked
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        assert interruption.asked


def test_impatient_user_is_heard(monkeypatch):
    monkeypatch.setattr('dlc_training.engine.interruption.ECHO', -1.0)
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def log_lines(out):
    return len((out / 'log.jsonl').read_text().splitlines())


@pytest.fixture
def small_gpu(monkeypatch):
    """A network that has memory for so many pairs; returns the sizes that it was given."""
    seen, forward = [], DescriptorNet.forward

    def limit(pairs):
        def limited(self, source, target):
            seen.append(len(source['points']))
            if len(source['points']) > pairs:
                raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')
            return forward(self, source, target)

        monkeypatch.setattr(DescriptorNet, 'forward', limited)
        return seen

    return limit


def test_batch_that_does_not_fit_is_halved_and_the_result_is_the_same(tmp_path, capsys, small_gpu):
    arguments = (*QUICK, 'optimiser.batch=5', 'log_every=1', 'optimiser.steps=5')
    assert train(tmp_path / 'large', *arguments) == 0
    capsys.readouterr()
    sizes = small_gpu(2)
    assert train(tmp_path / 'small', *arguments) == 0
    said = capsys.readouterr().err
    assert re.findall(r'now on (\d) of the 5 pairs', said) == ['3', '2']
    assert sizes[:6] == [5, 3, 2, 2, 1, 2]  # twice too many, then 2 + 2 + 1, and so on
    large, small = ([line['loss'] for line in log(tmp_path / n)] for n in ('large', 'small'))
    assert small == pytest.approx(large, rel=1e-4)
    first, second = (checkpoint(tmp_path / n)['mean'] for n in ('large', 'small'))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=2e-4)


def test_gpu_too_small_for_a_single_pair(ten, tmp_path, capsys, small_gpu):
    (tmp_path / 'checkpoint.pt').write_bytes((ten / 'checkpoint.pt').read_bytes())
    small_gpu(0)
    assert train(tmp_path, *QUICK, 'optimiser.steps=20') == 2
    one_line(capsys.readouterr(), 'single pair', 'net.keypoints', 'device=cpu')
    assert checkpoint(tmp_path)['step'] == 10


def test_mistake_in_a_worker_process_is_one_line(tmp_path, capsys, monkeypatch):
    """A damaged recording is found where pairs are read, which may be another process."""

    def broken(*_):
        raise DlcError('shard 3 of garage.npz is damaged; make it again')

    monkeypatch.setattr('dlc_training.data.batches.make_pair', broken)
    for workers in (0, 1):
        assert train(tmp_path / str(workers), *QUICK, f'data.workers={workers}') == 2
        one_line(capsys.readouterr(), 'shard 3 of garage.npz is damaged; make it again')


def test_compile_without_a_compiler(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    assert train(tmp_path, 'compile=true') == 2
    one_line(capsys.readouterr(), 'no-such-compiler', 'compile=false')
