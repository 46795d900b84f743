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


def compiled(parallel: bool = False) -> Callable[[Function], Function]:
    """Compiles a function at its first call and keeps the machine code beside the source for later processes.

    The GIL is free while it runs, so heartbeats go on. `parallel` lets `prange` use numba's threads."""

    def decorate(function: Function) -> Function:
        make = njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST_MATH, parallel=parallel)
        return cast(Function, make(function))

    return decorate


@compiled()
def holds(values: npt.NDArray[np.int32], start: int, end: int, value: int) -> bool:
    """Whether the ascending values[start:end] hold this one. Halves without branches: they could not be predicted."""
    length = end - start
    while length > 1:
        half = length >> 1
        start += half if values[start + half - 1] < value else 0
        length -= half
    return length == 1 and values[start] == value
