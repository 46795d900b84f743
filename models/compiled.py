"""One way of compiling loops with numba, so that every kernel is cached, frees the GIL and keeps NaN honest."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])

# Sums may be reordered and multiplications fused: that is what lets a dot product use vector registers.
# NaN and infinity keep their meaning, or a diverging run could not be noticed.
FAST_MATH = {"reassoc", "contract"}


GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""What a counter for `mixed` is raised by from one number to the next."""
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)


def compiled(parallel: bool = False) -> Callable[[Function], Function]:
    """Compiles a function at its first call and keeps the machine code beside the source for later processes.

    The GIL is free while it runs, so heartbeats go on. `parallel` lets `prange` use numba's threads."""

    def decorate(function: Function) -> Function:
        make = njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST_MATH, parallel=parallel)
        return cast(Function, make(function))

    return decorate


@compiled()
def mixed(state: np.uint64) -> np.uint64:
    """A random 64-bit number from a counter: splitmix64, Steele et al., OOPSLA 2014."""
    z = state
    z = (z ^ (z >> np.uint64(30))) * MIX_1
    z = (z ^ (z >> np.uint64(27))) * MIX_2
    return z ^ (z >> np.uint64(31))


@compiled()
def holds(values: npt.NDArray[np.int32], start: int, end: int, value: int) -> bool:
    """Whether the ascending values[start:end] hold this one. Halves without branches: they could not be predicted."""
    length = end - start
    while length > 1:
        half = length >> 1
        start += half if values[start + half - 1] < value else 0
        length -= half
    return length == 1 and values[start] == value
