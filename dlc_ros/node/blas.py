"""How many threads numpy's linear algebra takes in a node: one."""

import os
import sys

_VARIABLES = ('OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')


def one_blas_thread():
    """
    Keep numpy's linear algebra on one thread, unless the environment says how many.

    A node multiplies tall clouds by small matrices. More threads do that no sooner, and between
    two products OpenBLAS's wait busily: at 10 Hz they took a whole core. numpy reads its
    environment when it is imported, so this comes before; afterwards it does nothing.
    """
    if 'numpy' not in sys.modules:
        for name in _VARIABLES:
            os.environ.setdefault(name, '1')
