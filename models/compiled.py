"""One way of compiling loops with numba, so that every kernel is cached, frees the GIL and keeps NaN honest."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

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
