"""
The processes that ``torchrun`` started, or this one alone.

Gradients are averaged by one call after each backward pass, not while it runs: they are small,
and so a process that has to split its batch (:mod:`dlc_training.engine.memory`) or an objective
that takes two gradients a step leaves the others waiting instead of out of step.
"""

import os

import torch
from torch import distributed


class Processes:
    """
    This process among those that train together.

    :param device: of this process, ``cuda`` without an index takes the one of its rank.
    """

    def __init__(self, device):
        self.rank = int(os.environ.get('RANK', 0))
        self.world = int(os.environ.get('WORLD_SIZE', 1))
        self.device = device
        if self.world > 1:
            if device.type == 'cuda':
                self.device = torch.device('cuda', int(os.environ.get('LOCAL_RANK', 0)))
                torch.cuda.set_device(self.device)
            if not distributed.is_initialized():
                distributed.init_process_group('nccl' if device.type == 'cuda' else 'gloo')

    @property
    def writes(self):
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def mean(self, values):
        """Mean of a tensor over the processes."""
        if self.world > 1:
            values = values.clone()
            distributed.all_reduce(values)
            values /= self.world
        return values

    def average_gradients(self, parameters):
        """Give every process the mean of all gradients."""
        if self.world == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, value in zip(
            gradients, flat.split([g.numel() for g in gradients]), strict=True
        ):
            gradient.copy_(value.view_as(gradient))

    def any(self, flag):
        """Whether the flag is up in any process."""
        if self.world == 1:
            return flag
        return bool(self.mean(torch.tensor(float(flag), device=self.device)) > 0)

    def close(self):
        """Leave the group."""
        if self.world > 1 and distributed.is_initialized():
            distributed.destroy_process_group()
