"""Batches that do not fit a GPU's memory: halved, one after the other, with the same result."""

import torch

from dlc_ros.errors import DlcError


class MicroBatches:
    """
    How many samples go through the network at once.

    :param size: samples of the whole batch.
    :param say: is told, in one sentence, when the size is halved.
    """

    def __init__(self, size, say):
        self.size, self._whole, self._say = size, size, say

    def run(self, compute):
        """
        Return ``compute(slices)``; again with slices of half the size when memory runs out.

        :param compute: takes slices that cover the batch in order; what it did before running
            out of memory must not matter when it is called again.
        :raises DlcError: when a single sample does not fit.
        """
        while True:
            try:
                return compute(self._slices())
            except torch.cuda.OutOfMemoryError:
                if self.size == 1:
                    raise DlcError(
                        'the GPU has not enough memory for a single pair; lower net.keypoints '
                        'or net.width, or use device=cpu'
                    ) from None
            # Out of the except block, which holds on to the tensors of the failed attempt.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.size = (self.size + 1) // 2
            self._say(
                f'out of GPU memory: from now on {self.size} of the {self._whole} pairs at a '
                'time, their gradients added up; the result is the same, a step takes longer'
            )

    def _slices(self):
        return [
            slice(first, min(first + self.size, self._whole))
            for first in range(0, self._whole, self.size)
        ]
