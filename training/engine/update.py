"""From gradients to weights: rate, clipping, AdamW, running mean."""

import torch


def schedule(step, config):
    """Share of the peak learning rate at a step: linear rise, flat, linear decay to 0."""
    rise = min(1.0, (step + 1) / config.rise)
    decay = config.decay_share * config.steps
    return rise * min(1.0, (config.steps - step) / decay if decay else 1.0)


class Update:
    """
    The optimiser of a network, and the running mean of its weights.

    :param net: whose weights are updated in place.
    :param config: :class:`dlc_training.config.OptimiserConfig`.
    """

    def __init__(self, net, config):
        self.net, self.config = net, config
        self.optimiser = torch.optim.AdamW(
            net.parameters(), lr=config.rate, weight_decay=config.weight_decay
        )
        self.mean = {k: v.detach().clone() for k, v in net.state_dict().items()}

    def clip(self):
        """Shorten the gradient to its largest norm; returns the norm it had, a scalar tensor."""
        return torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip)

    def apply(self, step):
        """Move the weights along the gradients they hold."""
        for group in self.optimiser.param_groups:
            group['lr'] = self.config.rate * schedule(step, self.config)
        self.optimiser.step()
        keep = min(self.config.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in self.net.state_dict().items():
                self.mean[name].lerp_(value, 1 - keep)

    def state(self):
        """Everything that a continued run needs, as a dict."""
        return {
            'net': self.net.state_dict(),
            'mean': self.mean,
            'optimiser': self.optimiser.state_dict(),
        }

    def load(self, state):
        """Take over the dict of :meth:`state`."""
        self.net.load_state_dict(state['net'])
        self.optimiser.load_state_dict(state['optimiser'])
        self.mean = state['mean']
