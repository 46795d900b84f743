"""As many threads as the night had: sums over matrices are split by them, and another split rounds otherwise."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numba
import torch
from threadpoolctl import threadpool_limits


@contextmanager
def threads_as(then: Mapping[str, int]) -> Iterator[None]:
    """`then`: by library (torch, numba, blas), as the night's environment has it. More than there are cores are slower,
    not other; numba's are at most those that it began with, which changes none of its results."""
    before = torch.get_num_threads(), numba.get_num_threads()
    with threadpool_limits(limits=then["blas"], user_api="blas"):
        torch.set_num_threads(then["torch"])
        numba.set_num_threads(min(then["numba"], numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            numba.set_num_threads(before[1])
