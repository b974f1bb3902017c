"""Where the predictor runs: on the device that was asked for, on the CPU once that fails."""

from pathlib import Path

# Predictor of a file, its time and size, and a device: the registrars of a process share it.
_LOADED = {}


class Host:
    """
    A predictor that knows the reference, and goes on on the CPU when its device fails.

    :ivar predictor: :class:`dlc_ros.registration.predictor.Predictor`.
    :ivar reference: :class:`dlc_ros.registration.predictor.Described`.
    :ivar fallback: why ``predictor`` is not on the device asked for; else empty.
    """

    def __init__(self, weights, device, points):
        """
        Load the predictor and describe the reference.

        :param weights: file; None for that of the package.
        :param device: ``auto``, ``cpu`` or ``cuda``.
        :param points: (N, 3) of the reference in its local frame [m].
        :raises WeightsError: the weights cannot be loaded.
        """
        # torch is imported here, and only for a registrar that predicts.
        import torch

        self._weights, self._points = weights, points
        self._device, self.fallback = 'cpu', ''
        if device != 'cpu' and torch.cuda.is_available():
            self._device = 'cuda'
        elif device == 'cuda':
            self.fallback = 'torch finds no CUDA device'
        self.run(self._prepare)

    def run(self, act):
        """
        Call a function that uses the predictor; again, on the CPU, if its device fails it.

        :param act: function without arguments.
        :returns: what it returns.
        """
        device = self._device  # another thread may leave it meanwhile
        try:
            return act()
        except RuntimeError as error:  # torch's OutOfMemoryError is one
            if device == 'cpu':
                raise
            said = ' '.join(str(error).split())[:200]
            self.fallback = f'{device} failed: {said or type(error).__name__}'
        # After the handler, whose traceback holds the memory that ran out.
        self._device = 'cpu'
        self._prepare()
        _free_memory()
        return act()

    def _prepare(self):
        self.predictor = _load(self._weights, self._device)
        self.reference = self.predictor.describe(self._points)


def _load(weights, device):
    from dlc_ros.registration.predictor import Predictor
    from dlc_ros.registration.weights import default_weights_path

    path = Path(weights or default_weights_path())
    try:
        stat = path.stat()
    except OSError:
        return Predictor.load(weights, device)  # which says what is wrong with it
    key = Predictor, path.absolute(), stat.st_mtime_ns, stat.st_size, device
    loaded = _LOADED.get(key)  # another thread may clear it
    if loaded is None:
        loaded = Predictor.load(weights, device)
        _LOADED.clear()
        _LOADED[key] = loaded
    return loaded


def _free_memory():
    """Give the memory that torch keeps on the device back to others."""
    import torch

    torch.cuda.empty_cache()
