"""The training loop: steps that are the same wherever and in however many parts they run."""

import math
import os
import shutil
import time
from pathlib import Path

import torch

from dlc_ros.errors import DlcError, FileError
from dlc_ros.registration.descriptor import DescriptorNet, NetOptions
from dlc_ros.registration.weights import load_weights
from dlc_training.data.batches import batches
from dlc_training.engine.checkpoint import CHECKPOINT, damaged, read_checkpoint, write_checkpoint
from dlc_training.engine.distributed import Processes
from dlc_training.engine.interruption import Interruption
from dlc_training.engine.memory import MicroBatches
from dlc_training.engine.reporting import Report, Silence
from dlc_training.engine.update import Update
from dlc_training.registration_loss import Part, RegistrationLoss, overlap_mass


class TrainingStopped(DlcError):
    """Training cannot go on; the last good checkpoint is kept."""


class Interrupted(DlcError):
    """Somebody ended the run; its checkpoint was written."""


class Trainer:
    """
    One training run in one folder.

    Under ``torchrun`` each process reads and computes its share of every batch; losses and
    weights are those of one process with the whole batch.

    :param config: :class:`dlc_training.config.TrainingConfig`.
    :param folder: where the checkpoint and the log are kept; continued when a checkpoint of the
        same configuration is there.
    :raises DlcError: for a device that is not there, or a checkpoint that cannot be continued.
    """

    def __init__(self, config, folder):
        self.config, self.folder = config, Path(folder)
        self.processes = Processes(_device(config.device))
        self.device = self.processes.device
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.net = DescriptorNet(NetOptions(**config.net.model_dump())).to(self.device)
        if config.initial_weights:
            self._start_from(config.initial_weights)
        self.loss = RegistrationLoss(config.objective)
        self.update = Update(self.net, config.optimiser)
        self.step, self.seconds = 0, 0.0
        # Seconds of so many steps alone, without the making of pairs.
        self._busy, self._timed, self._warm = 0.0, 0, False
        self._saved = None
        self._resume(self.folder, config)
        self._forward = _compiled(self.net, self.device) if config.compile else self.net

    def run(self, progress=True, observe=None):
        """
        Train to the last step of the configuration.

        :param observe: called with this trainer after each step; what it raises ends the run.
        :return: the network with the running mean of the weights.
        :raises TrainingStopped: when the loss is not finite.
        :raises Interrupted: after Ctrl-C or SIGTERM, when the checkpoint was written.
        :raises FileError: when the folder cannot be written.
        """
        steps, started = self.config.optimiser.steps, time.monotonic() - self.seconds
        with self._report(progress) as report, Interruption() as interruption:
            if self.config.idle:
                report.say(self.config.idle)
            self._micro = MicroBatches(
                self.config.optimiser.batch // self.processes.world, report.say
            )
            for batch in self._batches(interruption):
                self._unless(interruption)
                values = self._one_step(batch)
                self.step += 1
                self.seconds = time.monotonic() - started
                if self.step % self.config.log_every == 0 or self.step == steps:
                    report.record(self.step, self.seconds, self._mean(values))
                report.advance()
                if self.step % self.config.save_every == 0 or self.step == steps:
                    self.save()
                if observe is not None:
                    observe(self)
            self._unless(interruption)
        return self.averaged()

    @property
    def step_seconds(self):
        """
        Mean seconds of a step, pairs not included; NaN where less than two were taken.

        CPU seconds of this process, on a GPU seconds on the clock.
        """
        return self._busy / self._timed if self._timed else math.nan

    def averaged(self):
        """Return a copy of the network with the running mean of the weights, on the CPU."""
        net = DescriptorNet(self.net.options)
        net.load_state_dict({k: v.cpu() for k, v in self.update.mean.items()})
        return net.eval()

    def save(self, folder=None):
        """
        Write the checkpoint; the old one stays until the new one is whole.

        :param folder: where, beside the run's own, which is meant by None.
        :raises FileError: when it cannot be written.
        """
        if self.processes.writes:
            times = {'step': self.step, 'seconds': self.seconds}
            times.update(busy=self._busy, timed=self._timed)
            write_checkpoint(folder or self.folder, {**times, **self.update.state()}, self.config)
        if folder is None:
            self._saved = self.step

    def _one_step(self, batch):
        """Loss, gradient and update of one batch; scalars of it as a dict of tensors."""
        started = _work_clock(self.device)
        batch = _to(batch, self.device)
        parameters, values = list(self.net.parameters()), {}
        overlap = self._overlap(batch) if self.processes.world > 1 else None

        def gradients():
            try:
                found = self._micro.run(lambda slices: self._gradients(batch, slices, overlap))
            except torch.linalg.LinAlgError:  # a singular value decomposition of NaN
                found = {'loss': torch.tensor(math.nan, device=self.device)}
                for parameter in parameters:
                    parameter.grad = torch.full_like(parameter, math.nan)
            self.processes.average_gradients(parameters)
            # An objective that asks twice is logged where the weights are, not where it looked.
            values.update({**found, **values})
            return found['loss']

        self.loss.objective.descend(parameters, gradients, self.step)
        loss = self.processes.mean(values['loss'])
        norm = self.update.clip()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise self._stopped(float(loss), float(norm))
        self.update.apply(self.step)
        if self._warm:  # the first step of a process compiles and allocates
            self._busy += _work_clock(self.device) - started
            self._timed += 1
        self._warm = True
        return values

    def _gradients(self, batch, slices, overlap):
        """Put the gradient of this process's batch in place, slice by slice; returns scalars."""
        self.update.optimiser.zero_grad(set_to_none=True)
        size = len(batch['rotation'])
        first = self.processes.rank * size
        whole = self.processes.world == len(slices) == 1
        if overlap is None and not whole:
            overlap = self._overlap(batch)
        strength = self.loss.objective.strength(self.step)
        total = {}
        for piece in slices:
            own = _to(batch, piece)
            part = None
            if not whole:
                count = piece.stop - piece.start
                part = Part(first + piece.start, size * self.processes.world, overlap, count)
            # Perturbations depend on seed and step alone, so that a resumed run repeats them.
            generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.half):
                energy = self._forward(own['source'], own['target'])
            loss, values = self.loss(
                energy, own['rotation'], own['translation'], strength, generator, part
            )
            share = (piece.stop - piece.start) / size
            (loss if whole else share * loss).backward()
            for name, value in {'loss': loss.detach(), **values}.items():
                total[name] = total.get(name, 0.0) + share * value
        return total

    def _overlap(self, batch):
        """Mean of what the correspondence loss is normalised by, over all processes."""
        source, target = batch['source']['points'], batch['target']['points']
        moved = source @ batch['rotation'].transpose(-1, -2) + batch['translation'][:, None]
        mass = overlap_mass(torch.cdist(moved, target).square())
        return self.processes.mean(mass.mean(-1))

    def _batches(self, interruption):
        """Batches of this process from the step on; always the first one to overfit it."""
        share = self.processes.rank, self.processes.world
        try:
            if not self.config.one_batch:
                yield from batches(self.config, self.step, *share)
                return
            batch = next(iter(batches(self.config, 0, *share)))
        except DlcError as error:
            raise type(error)(_own_words(error)) from None
        except (RuntimeError, OSError, EOFError):
            # The signal ended the workers as well, maybe while a batch came over.
            if interruption.asked:
                return
            raise
        while self.step < self.config.optimiser.steps:
            yield batch

    def _mean(self, values):
        names = sorted(values)
        means = self.processes.mean(torch.stack([torch.as_tensor(values[n]) for n in names]))
        means = dict(zip(names, means.tolist(), strict=True))
        return {name: means[name] for name in values}

    def _report(self, progress):
        if not self.processes.writes:
            return Silence()
        config = self.config
        return Report(self.folder, self.step, config.optimiser.steps, progress, config.tensorboard)

    def _unless(self, interruption):
        if self.processes.any(interruption.asked):
            self.save()
            raise Interrupted(f'interrupted after step {self.step}')

    def _start_from(self, path):
        loaded = load_weights(path)
        try:
            self.net.load_state_dict(loaded.net.state_dict())
        except RuntimeError:
            raise FileError(
                f'initial weights {path} have another architecture ({loaded.net.description()}); '
                'give the configuration the same net section'
            ) from None

    def begin_from(self, folder, config):
        """
        Take over what another run has learned: weights, their mean, optimiser and step.

        The time of a step is measured anew.

        :param folder: where :meth:`save` of that run wrote; ``config``: its configuration.
        :raises FileError: for a checkpoint that is damaged or of another configuration.
        """
        self._resume(folder, config)
        self._busy, self._timed, self._saved = 0.0, 0, None

    def _resume(self, folder, config):
        state = read_checkpoint(folder, config, self.device)
        if state is None:
            return
        try:
            self.update.load(state)
            self.step, self.seconds = state['step'], state['seconds']
            self._busy, self._timed = state.get('busy', 0.0), state.get('timed', 0)
        except Exception as error:
            raise damaged(folder / CHECKPOINT, error) from None
        self._saved = self.step

    def _stopped(self, loss, norm):
        kept = 'no checkpoint was written yet'
        if self._saved is not None:
            kept = f'the checkpoint of step {self._saved} is kept in {self.folder}'
        first = self.step * self.config.optimiser.batch
        last = first + self.config.optimiser.batch - 1
        return TrainingStopped(
            f'loss {loss:g}, gradient {norm:g} in step {self.step + 1} (pairs {first} to {last} '
            f'of seed {self.config.seed}); {kept}: lower optimiser.rate and start again in '
            'another folder'
        )


def _own_words(error):
    """Message of an error without the traceback that a worker process puts around it."""
    text = str(error)
    if 'Original Traceback' not in text:
        return text
    return text.strip().splitlines()[-1].partition(': ')[2]


def _compiled(net, device):
    """The same network, compiled for the shapes of the first batch."""
    compiler = os.environ.get('CXX', 'g++')
    if device.type == 'cpu' and shutil.which(compiler) is None:
        raise DlcError(f'compile=true needs the C++ compiler {compiler}; use compile=false')
    return torch.compile(net, dynamic=False)


def _work_clock(device):
    """CPU seconds of this process; on a GPU, seconds until it has done what it was given."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def _device(name):
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    if name == 'cuda' and not torch.cuda.is_available():
        raise DlcError('device cuda was asked for but torch sees no CUDA device; use device=auto')
    return torch.device(name)


def _to(value, place):
    """Nested tensors on a device, or a slice of each."""
    if isinstance(value, dict):
        return {k: _to(v, place) for k, v in value.items()}
    return value[place] if isinstance(place, slice) else value.to(place, non_blocking=True)
