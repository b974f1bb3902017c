"""The training loop: steps, checkpoints that continue where they stopped, running mean."""

import json
import math
import time
from pathlib import Path

import torch
from tqdm import tqdm

from dlc_ros.errors import DlcError, FileError
from dlc_ros.registration.descriptor import DescriptorNet, NetOptions
from dlc_ros.registration.weights import load_weights
from dlc_training.data.batches import batches
from dlc_training.registration_loss import RegistrationLoss

CHECKPOINT, LOG = 'checkpoint.pt', 'log.jsonl'


class TrainingStopped(DlcError):
    """Training cannot go on; the last good checkpoint is kept."""


class Trainer:
    """
    One training run in one folder.

    :param config: :class:`dlc_training.config.TrainingConfig`.
    :param folder: where the checkpoint and the log (JSON lines) are kept; continued when a
        checkpoint of the same configuration is there.
    """

    def __init__(self, config, folder):
        self.config, self.folder = config, Path(folder)
        self.device = _device(config.device)
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.net = DescriptorNet(NetOptions(**config.net.model_dump())).to(self.device)
        if config.initial_weights:
            self._start_from(config.initial_weights)
        self.mean = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        self.loss = RegistrationLoss(config.objective)
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(),
            lr=config.optimiser.rate,
            weight_decay=config.optimiser.weight_decay,
        )
        self.step, self.seconds, self._saved = 0, 0.0, None
        self._resume()

    def run(self, progress=True):
        """
        Train to the last step of the configuration.

        :return: the network with the running mean of the weights.
        :raises TrainingStopped: when the loss is not finite.
        :raises FileError: when the folder cannot be written.
        """
        steps = self.config.optimiser.steps
        with (
            self._log() as log,
            tqdm(
                total=steps, initial=self.step, unit='step', disable=not progress, mininterval=2
            ) as bar,
        ):
            started = time.monotonic() - self.seconds
            for batch in batches(self.config, self.step):
                record = self._one_step(batch)
                self.step += 1
                self.seconds = time.monotonic() - started
                if self.step % 20 == 0 or self.step == steps:
                    record = {'step': self.step, 'seconds': round(self.seconds, 1), **record}
                    log.write(json.dumps(record) + '\n')
                    log.flush()
                    bar.set_postfix(loss=f'{record["loss"]:.3f}', refresh=False)
                bar.update()
                if self.step % self.config.save_every == 0 or self.step == steps:
                    self.save()
        return self.averaged()

    def averaged(self):
        """Return a copy of the network with the running mean of the weights, on the CPU."""
        net = DescriptorNet(self.net.options)
        net.load_state_dict({k: v.cpu() for k, v in self.mean.items()})
        return net.eval()

    def save(self):
        """Write the checkpoint; the old one stays until the new one is whole."""
        partial = self.folder / (CHECKPOINT + '.partial')
        state = {
            'config': self.config.model_dump_json(),
            'step': self.step,
            'seconds': self.seconds,
            'net': self.net.state_dict(),
            'mean': self.mean,
            'optimiser': self.optimiser.state_dict(),
        }
        try:
            torch.save(state, partial)
            partial.replace(self.folder / CHECKPOINT)
        except (OSError, RuntimeError) as error:
            partial.unlink(missing_ok=True)
            raise FileError(
                f'cannot write checkpoint in {self.folder}: {_one_line(error)}'
            ) from None
        self._saved = self.step

    def _start_from(self, path):
        loaded = load_weights(path)
        try:
            self.net.load_state_dict(loaded.net.state_dict())
        except RuntimeError:
            raise FileError(
                f'initial weights {path} have another architecture ({loaded.net.description()}); '
                'give the configuration the same net section'
            ) from None

    def _log(self):
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return (self.folder / LOG).open('a')
        except OSError as error:
            raise FileError(
                f'cannot write the log in {self.folder}: {error.strerror}; use another --out'
            ) from None

    def _resume(self):
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            same = _same_run(json.loads(state['config']), self.config)
            if same:
                self.net.load_state_dict(state['net'])
                self.optimiser.load_state_dict(state['optimiser'])
                self.mean, self.step, self.seconds = (
                    state['mean'], state['step'], state['seconds']
                )  # fmt: skip
        # A damaged file can fail in any way: in zip, in pickle, in a missing key.
        except Exception as error:
            raise FileError(
                f'checkpoint {path} is damaged ({_one_line(error)}); '
                'remove it to start again, or use another --out'
            ) from None
        if not same:
            raise FileError(
                f'checkpoint {path} belongs to another configuration; '
                'use another --out or remove it'
            )
        self._saved = self.step

    def _one_step(self, batch):
        config = self.config.optimiser
        for group in self.optimiser.param_groups:
            group['lr'] = config.rate * schedule(self.step, config)
        batch = _to(batch, self.device)
        # Perturbations depend on seed and step alone, so that a resumed run repeats them.
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.half):
            energy = self.net(batch['source'], batch['target'])
        try:
            loss, record = self.loss(
                energy, batch['rotation'], batch['translation'], self._strength(), generator
            )
        except torch.linalg.LinAlgError:  # a singular value decomposition of NaN
            raise self._stopped(math.nan, math.nan) from None
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self.net.parameters(), config.clip))
        if not (math.isfinite(float(loss.detach())) and math.isfinite(norm)):
            raise self._stopped(float(loss.detach()), norm)
        self.optimiser.step()
        keep = min(config.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.net.state_dict().items():
                self.mean[name].lerp_(value, 1 - keep)
        return {
            'loss': float(loss.detach()),
            **{name: float(value) for name, value in record.items()},
        }

    def _stopped(self, loss, norm):
        kept = 'no checkpoint was written yet'
        if self._saved is not None:
            kept = f'the checkpoint of step {self._saved} is kept in {self.folder}'
        return TrainingStopped(
            f'loss {loss:g}, gradient {norm:g} in step {self.step + 1} (seed '
            f'{self.config.seed}); {kept}: lower optimiser.rate and start again in another folder'
        )

    def _strength(self):
        objective = self.config.objective
        return min(max((self.step - objective.warm_up) / objective.ramp, 0.0), 1.0)


def schedule(step, config):
    """Share of the peak learning rate at a step: linear rise, flat, linear decay to 0."""
    rise = min(1.0, (step + 1) / config.rise)
    decay = config.decay_share * config.steps
    return rise * min(1.0, (config.steps - step) / decay if decay else 1.0)


def _same_run(stored, config):
    """Whether a checkpoint may be continued: all but length, device and pace must agree."""
    mine = json.loads(config.model_dump_json())
    for values in (stored, mine):
        for key in ('device', 'threads', 'save_every'):
            values.pop(key, None)
        values['data'].pop('workers', None)
        for key in ('steps', 'decay_share'):
            values['optimiser'].pop(key, None)
    return stored == mine


def _one_line(error):
    return ' '.join(str(error).split())[:120]


def _device(name):
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    if name == 'cuda' and not torch.cuda.is_available():
        raise DlcError('device cuda was asked for but torch sees no CUDA device; use device=auto')
    return torch.device(name)


def _to(value, device):
    if isinstance(value, dict):
        return {k: _to(v, device) for k, v in value.items()}
    return value.to(device, non_blocking=True)
