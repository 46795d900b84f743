"""The log of the sum of the exponentials of a product's rows, as a softmax over many candidates needs it.

B rows, C candidates, D vector length
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import prange
from torch import Tensor

from ..compiled import compiled

Floats = npt.NDArray[np.float32]

LOWEST = np.float32(-87.0)
"""The exponential of less is no normal number in float32; this far below the highest, nothing is lost."""


def log_sum_exp(left_BD: Tensor, right_CD: Tensor, offset_C: Tensor, masked_BC: Tensor | None = None) -> Tensor:
    """[B] log sum over c of exp(left · right_c + offset_c), without the masked; minus infinity where all are masked.

    The offsets get no gradient. On a CPU the product is held once, where torch's own operations hold it five times and
    read it from memory a dozen times; and NumPy's OpenBLAS is faster than torch's MKL on AMD processors."""
    if left_BD.device.type != "cpu":
        logit_BC = torch.addmm(offset_C, left_BD, right_CD.T)
        return (logit_BC if masked_BC is None else logit_BC.masked_fill(masked_BC, -torch.inf)).logsumexp(dim=1)
    if masked_BC is None:
        masked_BC = torch.zeros(1, len(right_CD), dtype=torch.bool)  # one row for all
    summed_B: Tensor = _LogSumExp.apply(left_BD, right_CD, offset_C, masked_BC)  # type: ignore[no-untyped-call]
    return summed_B


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left_BD: Tensor, right_CD: Tensor, offset_C: Tensor, masked_BC: Tensor) -> Tensor:
        n, n_candidates = len(left_BD), len(right_CD)
        share_BC = np.empty((n, n_candidates), dtype=np.float32)
        highest_B, sum_B = np.empty(n, dtype=np.float32), np.empty(n, dtype=np.float32)
        # One product and one pass: a block that fits the cache would be quicker on a quiet machine, but on a busy one
        # the threads would wait for each other at the end of every block.
        np.matmul(left_BD.numpy(), right_CD.numpy().T, out=share_BC)
        _exponentials(share_BC, offset_C.numpy(), masked_BC.numpy(), highest_B, sum_B)
        ctx.save_for_backward(left_BD, right_CD)
        ctx.share_BC, ctx.sum_B = share_BC, sum_B
        with np.errstate(divide="ignore"):  # the log of zero is what it should be
            return torch.from_numpy(highest_B + np.log(sum_B))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        left_BD, right_CD = (tensor.numpy() for tensor in ctx.saved_tensors)
        sum_B: Floats = ctx.sum_B
        weight_B1 = np.divide(gradients[0].numpy(), sum_B, out=np.zeros_like(sum_B), where=sum_B > 0)[:, None]
        left_gradient_BD = (ctx.share_BC @ right_CD) * weight_B1
        right_gradient_CD = ctx.share_BC.T @ (left_BD * weight_B1)
        return torch.from_numpy(left_gradient_BD), torch.from_numpy(right_gradient_CD), None, None


@compiled(parallel=True)
def _exponentials(
    logit_BC: Floats, offset_C: Floats, masked_BC: npt.NDArray[np.bool_], highest_B: Floats, sum_B: Floats
) -> None:
    """Replaces the products by exp(product + offset - the row's highest), and the masked by zero.

    The exponential is written out so that the compiler can use vector registers: 2^whole · 2^part, the latter by
    its series around zero up to the sixth power. Within 2e-7 of the true one."""
    n_candidates = len(offset_C)
    for b in prange(len(logit_BC)):
        logit_C = logit_BC[b]
        masked_C = masked_BC[0] if len(masked_BC) == 1 else masked_BC[b]
        scale_C = np.empty(n_candidates, dtype=np.int32)  # the bits of 2^whole
        highest, trace = np.float32(-np.inf), np.float32(0)
        for c in range(n_candidates):
            trace += np.float32(0) * logit_C[c]  # NaN from then on if there is one, or infinity: `max` would forget it
            logit_C[c] = np.float32(-np.inf) if masked_C[c] else logit_C[c] + offset_C[c]
            highest = max(highest, logit_C[c])
        if trace != 0:
            logit_C[:] = np.nan
            highest_B[b], sum_B[b] = np.nan, np.nan
            continue
        if highest == -np.inf:
            logit_C[:] = 0
            highest_B[b], sum_B[b] = 0, 0
            continue
        for c in range(n_candidates):
            power = max(logit_C[c] - highest, LOWEST) * np.float32(1.4426950408889634)
            whole = np.floor(power + np.float32(0.5))
            x = power - whole
            series = np.float32(0.00133335581) + x * np.float32(0.000154035304)
            series = np.float32(0.00961812911) + x * series
            series = np.float32(0.0555041087) + x * series
            series = np.float32(0.240226507) + x * series
            series = np.float32(0.693147181) + x * series
            logit_C[c] = np.float32(1) + x * series
            scale_C[c] = (np.int32(whole) + np.int32(127)) << np.int32(23)
        two_C = scale_C.view(np.float32)
        total = np.float32(0)
        for c in range(n_candidates):
            logit_C[c] = np.float32(0) if masked_C[c] else logit_C[c] * two_C[c]
            total += logit_C[c]
        highest_B[b], sum_B[b] = highest, total
