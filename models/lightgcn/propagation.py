"""The graph of users and items, and the mean over the layers of what flows along it.

U users, I items, N rows of a side (users or items), D vector length, R pairs, P parts of a side
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ..base import BoolArray, Ragged
from ..compiled import compiled
from ..nn.gather import deal
from ..sparse import Csr, Floats, Ints, Longs

PARTS = 64
"""Each side's rows are cut into so many runs with about as many pairs, which the threads share."""


class Side:
    """One half of the normalised adjacency matrix: the rows of the users, or those of the items."""

    def __init__(self, rows: Csr, n_columns: int) -> None:
        self.rows = rows
        self.n_columns = n_columns
        even_P1 = np.linspace(0, rows.offsets[-1], PARTS + 1)
        self._parts_P1 = np.searchsorted(rows.offsets, even_P1).astype(np.int64)
        self._parts_P1[0], self._parts_P1[-1] = 0, len(rows)  # rows without pairs at either end count too
        self._on_device: Tensor | None = None

    def step(self, other: Tensor, own_ND: Tensor, scale: float) -> Tensor:
        """[N, D] (the product with the other side's vectors + own) · scale."""
        if own_ND.device.type != "cpu":
            return self.torch_step(other, own_ND, scale)
        out_ND = np.empty(own_ND.shape, dtype=np.float32)
        rows = self.rows
        _step(
            self._parts_P1, rows.offsets, rows.columns_Z, rows.values_Z,
            other.contiguous().numpy(), own_ND.contiguous().numpy(), np.float32(scale), out_ND,
        )  # fmt: skip
        return torch.from_numpy(out_ND)

    def torch_step(self, other: Tensor, own_ND: Tensor, scale: float) -> Tensor:
        """The same by torch's sparse product."""
        if self._on_device is None or self._on_device.device != own_ND.device:
            rows, device = self.rows, own_ND.device
            self._on_device = torch.sparse_csr_tensor(
                torch.from_numpy(rows.offsets).to(device),
                torch.from_numpy(rows.columns_Z.astype(np.int64)).to(device),
                torch.from_numpy(rows.values_Z).to(device),
                size=(len(rows), self.n_columns),
                check_invariants=False,
            )
        return torch.addmm(own_ND, self._on_device, other, beta=scale, alpha=scale)


@dataclass(frozen=True)
class Graph:
    """D^-1/2 A D^-1/2, where A has a one for each pair of user and item, both ways, and D the numbers of pairs."""

    by_user: Csr
    by_item: Csr
    order_R: Longs
    """For each pair by item, its place by user."""

    @classmethod
    def of(cls, histories: Ragged, n_items: int) -> Self:
        """A pair that repeats counts once; users and items without pairs stand alone."""
        pairs = histories.as_sets()
        users_R = pairs.users_R
        offsets_I1, order_R = deal(pairs.items_R.astype(np.int64), n_items)
        degree_U, degree_I = pairs.lengths_U, np.diff(offsets_I1)
        value_R = (1 / np.sqrt(degree_U[users_R] * degree_I[pairs.items_R])).astype(np.float32)
        return cls(
            Csr(pairs.offsets_U1, pairs.items_R, value_R),
            Csr(offsets_I1, users_R[order_R], value_R[order_R]),
            order_R,
        )

    @property
    def pairs(self) -> Ragged:
        return Ragged(self.by_user.offsets, self.by_user.columns_Z)

    @cached_property
    def sides(self) -> tuple[Side, Side]:
        """The rows of the users and those of the items."""
        return Side(self.by_user, len(self.by_item)), Side(self.by_item, len(self.by_user))

    def thinned(self, kept_R: BoolArray, share: float) -> "Graph":
        """The kept pairs (given by user), over the share that is kept on average: so no mean changes.

        A pair is dropped in both directions at once, so the matrix stays symmetric. Its degrees stay those of all
        pairs, as in the authors' code."""

        def cut(rows: Csr, kept_R: BoolArray) -> Csr:
            before_R1 = np.concatenate([[0], np.cumsum(kept_R)]).astype(np.int64)
            return Csr(before_R1[rows.offsets], rows.columns_Z[kept_R], rows.values_Z[kept_R] / np.float32(share))

        return Graph(cut(self.by_user, kept_R), cut(self.by_item, kept_R[self.order_R]), self.order_R)


def propagate(graph: Graph, user_UD: Tensor, item_ID: Tensor, layers: int) -> tuple[Tensor, Tensor]:
    """The mean of the vectors and of their 1, 2, .. `layers` steps over the graph: ([U, D], [I, D]).

    Its matrix is symmetric, so the gradient is the same of the gradient, and nothing is kept for it."""
    propagated: tuple[Tensor, Tensor] = _Propagate.apply(graph, layers, user_UD, item_ID)  # type: ignore[no-untyped-call]
    return propagated


def layer_sums(graph: Graph, user_UD: Tensor, item_ID: Tensor, layers: int, scale: float) -> tuple[Tensor, Tensor]:
    """The sum over the layers times `scale`. By Horner's rule, x + A (x + A (x + ..)): two tables, however many layers.

    For both sides a row is summed by one thread in a fixed order: the number of threads changes no bit."""
    by_user, by_item = graph.sides
    user_sum_UD, item_sum_ID = user_UD, item_ID
    for layer in range(layers):
        at_end = scale if layer == layers - 1 else 1.0
        user_sum_UD, item_sum_ID = (
            by_user.step(item_sum_ID, user_UD, at_end),
            by_item.step(user_sum_UD, item_ID, at_end),
        )
    return user_sum_UD, item_sum_ID


class _Propagate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: Graph, layers: int, user_UD: Tensor, item_ID: Tensor) -> tuple[Tensor, Tensor]:
        ctx.graph, ctx.layers = graph, layers
        return layer_sums(graph, user_UD, item_ID, layers, 1 / (layers + 1))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, Tensor, Tensor]:
        user_UD, item_ID = layer_sums(ctx.graph, gradients[0], gradients[1], ctx.layers, 1 / (ctx.layers + 1))
        return None, None, user_UD, item_ID


@compiled(parallel=True)
def _step(
    parts_P1: Longs, offsets_N1: Longs, columns_R: Ints, values_R: Floats, other: Floats, own_ND: Floats,
    scale: np.float32, out_ND: Floats,
) -> None:  # fmt: skip
    n_dim = own_ND.shape[1]
    for part in prange(len(parts_P1) - 1):
        for row in range(parts_P1[part], parts_P1[part + 1]):
            out_D = out_ND[row]
            out_D[:] = own_ND[row]
            r, end = offsets_N1[row], offsets_N1[row + 1]
            while r + 4 <= end:  # four at once: the sum is read and written a quarter as often
                w0, w1, w2, w3 = values_R[r], values_R[r + 1], values_R[r + 2], values_R[r + 3]
                a_D, b_D = other[columns_R[r]], other[columns_R[r + 1]]
                c_D, d_D = other[columns_R[r + 2]], other[columns_R[r + 3]]
                for d in range(n_dim):
                    out_D[d] += w0 * a_D[d] + w1 * b_D[d] + w2 * c_D[d] + w3 * d_D[d]
                r += 4
            while r < end:
                weight, a_D = values_R[r], other[columns_R[r]]
                for d in range(n_dim):
                    out_D[d] += weight * a_D[d]
                r += 1
            for d in range(n_dim):
                out_D[d] *= scale
