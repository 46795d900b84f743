"""Rows of a table by index, with a gradient that is quick on a CPU and the same on any number of threads.

N rows in the table, D vector length, B indices
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import prange
from torch import Tensor
from torch.nn.functional import embedding

from ..compiled import compiled

LANES = 64
"""Rows are dealt to this many lanes: popular items, which often lie together, then do not wait for one thread."""


def gather(table_ND: Tensor, index: Tensor) -> Tensor:
    """`table_ND[index]` for an index of any shape: [..., D].

    Torch's own gradient of it sorts, or with deterministic algorithms adds up one row after the other; this one deals
    the indices by row and lets every row be summed by one thread, in the order of the indices."""
    if table_ND.device.type != "cpu":
        return embedding(index, table_ND) if table_ND.ndim > 1 else embedding(index, table_ND[:, None])[..., 0]
    gathered: Tensor = _Gather.apply(table_ND, index)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table_ND: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.n_rows = len(table_ND)
        return table_ND.index_select(0, index.reshape(-1)).view(*index.shape, *table_ND.shape[1:])

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        row_shape = gradient[0].shape[index.ndim :]
        rows_BD = gradient[0].reshape(index.numel(), row_shape.numel())
        summed_ND = sum_rows(index.reshape(-1).numpy(), rows_BD.numpy(), ctx.n_rows)
        return torch.from_numpy(summed_ND).view(ctx.n_rows, *row_shape), None


def sum_rows(index_B: npt.NDArray[np.int64], rows_BD: npt.NDArray[Any], n: int) -> npt.NDArray[Any]:
    """[N, D] for each of `n` rows the sum of the `rows_BD` whose index it is."""
    starts_N1, order_B = deal(index_B, n)
    return _sum_dealt(starts_N1, order_B, rows_BD)


@compiled()
def deal(index_B: npt.NDArray[np.int64], n: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where in `order_B` the positions of each of `n` values begin [N + 1], and the positions by value, ascending."""
    next_N1 = np.zeros(n + 1, dtype=np.int64)
    for b in range(len(index_B)):
        next_N1[index_B[b] + 1] += 1
    for row in range(n):
        next_N1[row + 1] += next_N1[row]
    starts_N1 = next_N1.copy()
    order_B = np.empty(len(index_B), dtype=np.int64)
    for b in range(len(index_B)):
        order_B[next_N1[index_B[b]]] = b
        next_N1[index_B[b]] += 1
    return starts_N1, order_B


@compiled(parallel=True)
def _sum_dealt(
    starts_N1: npt.NDArray[np.int64], order_B: npt.NDArray[np.int64], rows_BD: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    n, n_dim = len(starts_N1) - 1, rows_BD.shape[1]
    sum_ND = np.zeros((n, n_dim), dtype=rows_BD.dtype)
    for lane in prange(LANES):
        for row in range(lane, n, LANES):
            for at in range(starts_N1[row], starts_N1[row + 1]):
                b = order_B[at]
                for d in range(n_dim):
                    sum_ND[row, d] += rows_BD[b, d]
    return sum_ND
