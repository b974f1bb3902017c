"""What the process holds of memory, on the machine and on its GPU."""

import resource
import sys
from pathlib import Path

_MIB = 1 << 20


def process_memory_mib():
    """Resident memory of this process [MiB]; where only the highest so far is known, that."""
    try:
        pages = int(Path('/proc/self/statm').read_text(encoding='ascii').split()[1])
        return pages * resource.getpagesize() / _MIB
    except OSError:  # not Linux
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / _MIB if sys.platform == 'darwin' else most / 1024


def device_memory_mib():
    """Memory of the CUDA device that torch holds now and held at most [MiB]; None without one."""
    # A node without a predictor never loads torch, and asking must not create a CUDA context.
    cuda = getattr(sys.modules.get('torch'), 'cuda', None)
    is_initialized = getattr(cuda, 'is_initialized', None)  # absent while torch is being imported
    if is_initialized is None or not is_initialized():
        return None
    return cuda.memory_allocated() / _MIB, cuda.max_memory_allocated() / _MIB
