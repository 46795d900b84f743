"""Dropout whose mask comes from a counter: on all cores, and the same on any number of them.

R rows, H width of a layer
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import prange
from torch import Tensor
from torch.nn import functional

from ..compiled import GOLDEN, compiled, mixed

Numbers = npt.NDArray[Any]

LANE = 2**12
"""Numbers that one thread works on at a time."""
STEPS = 2**16
"""The probability is rounded to a multiple of one over this: four draws come from one random number."""


def dropout(layer_RH: Tensor, probability: float, training: bool = True) -> Tensor:
    """Each number zero with this probability, else divided by what is left of it; as it is outside of training.

    Follows torch's global stream, as its own dropout does, which takes twice the time on two cores.
    Source: Srivastava et al., JMLR 2014."""
    if layer_RH.device.type != "cpu":
        return functional.dropout(layer_RH, probability, training)
    if not training or not probability:
        return layer_RH
    dropped: Tensor = _Dropout.apply(layer_RH, probability)  # type: ignore[no-untyped-call]
    return dropped


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layer_RH: Tensor, probability: float) -> Tensor:
        ctx.seed = np.uint64(int(torch.randint(2**62, (1,)).item()))
        ctx.probability = probability
        return _masked(layer_RH, probability, ctx.seed)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, None]:
        return _masked(gradient[0], ctx.probability, ctx.seed), None  # the same seed gives the same mask


def _masked(layer_RH: Tensor, probability: float, seed: np.uint64) -> Tensor:
    shape, threshold = layer_RH.shape, round(probability * STEPS)
    scale = STEPS / (STEPS - threshold)  # of what is really kept
    made = _mask(layer_RH.detach().contiguous().numpy().reshape(-1), np.uint64(threshold), scale, seed)
    return torch.from_numpy(made).view(shape)


@compiled(parallel=True)
def _mask(values: Numbers, threshold: np.uint64, scale: float, seed: np.uint64) -> Numbers:
    made = np.empty_like(values)
    factor = values.dtype.type(scale)
    low = np.uint64(STEPS - 1)
    for lane in prange((len(values) + LANE - 1) // LANE):
        for start in range(lane * LANE, min(lane * LANE + LANE, len(values)), 4):
            bits = mixed(seed + GOLDEN * np.uint64(start))
            for at in range(start, min(start + 4, len(values))):
                keep = (bits & low) >= threshold
                made[at] = values[at] * factor if keep else values.dtype.type(0)
                bits >>= np.uint64(16)
    return made
