"""What a batch of pairs costs most, in one pass over memory each: products of vectors, and sums of rows through a relu.

Both read the rows of two tables where they lie, instead of copying them first, and their gradients go straight into
gradients of the tables. Every row of a gradient is summed by one thread, in the order of the batch: the bits do not
depend on the number of threads.

U users, I items, D vector length, H width of a layer, B rows in a batch, N items of a row, R = B · N pairs
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import prange
from torch import Tensor

from ..compiled import compiled
from ..nn.gather import LANES, deal

Floats = npt.NDArray[Any]
Index = npt.NDArray[np.int64]


def products(user_UD: Tensor, item_ID: Tensor, users_B: Tensor, items_BN: Tensor) -> Tensor:
    """[B, N] `user_UD[users_B] · item_ID[items_BN]`."""
    if user_UD.device.type != "cpu":
        return torch.einsum("bd,bnd->bn", user_UD[users_B], item_ID[items_BN])
    made: Tensor = _Products.apply(user_UD, item_ID, users_B, items_BN)  # type: ignore[no-untyped-call]
    return made


def row_sums(user_UH: Tensor, item_IH: Tensor, users_B: Tensor, items_BN: Tensor, relu: bool) -> Tensor:
    """[R, H] `user_UH[users_B] + item_IH[items_BN]`, and 0 instead of what is below if `relu`."""
    if user_UH.device.type != "cpu":
        sum_RH = (user_UH[users_B][:, None] + item_IH[items_BN]).flatten(0, 1)
        return sum_RH.relu() if relu else sum_RH
    made: Tensor = _RowSums.apply(user_UH, item_IH, users_B, items_BN, relu)  # type: ignore[no-untyped-call]
    return made


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, user_UD: Tensor, item_ID: Tensor, users_B: Tensor, items_BN: Tensor) -> Tensor:
        ctx.save_for_backward(user_UD, item_ID, users_B, items_BN)
        return torch.from_numpy(_products(*(tensor.numpy() for tensor in (user_UD, item_ID, users_B, items_BN))))

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        user_UD, item_ID, users_B, items_BN = (tensor.numpy() for tensor in ctx.saved_tensors)
        gradient_BN = gradient[0].contiguous().numpy()
        by_user, by_item = deal(users_B, len(user_UD)), deal(items_BN.reshape(-1), len(item_ID))
        d_user_UD = _products_to_users(*by_user, gradient_BN, item_ID, items_BN)
        d_item_ID = _products_to_items(*by_item, gradient_BN, user_UD, users_B)
        return torch.from_numpy(d_user_UD), torch.from_numpy(d_item_ID), None, None


class _RowSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, user_UH: Tensor, item_IH: Tensor, users_B: Tensor, items_BN: Tensor, relu: bool) -> Tensor:
        sum_RH = torch.from_numpy(_row_sums(user_UH.numpy(), item_IH.numpy(), users_B.numpy(), items_BN.numpy(), relu))
        ctx.sizes, ctx.relu = (len(user_UH), len(item_IH)), relu
        ctx.save_for_backward(users_B, items_BN, sum_RH)
        return sum_RH

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        users_B, items_BN, sum_RH = (tensor.numpy() for tensor in ctx.saved_tensors)
        gradient_RH = gradient[0].contiguous().numpy()
        n_users, n_items = ctx.sizes
        d_user_UH = _sum_by_row(*deal(users_B, n_users), gradient_RH, sum_RH, items_BN.shape[1], ctx.relu)
        d_item_IH = _sum_by_row(*deal(items_BN.reshape(-1), n_items), gradient_RH, sum_RH, 1, ctx.relu)
        return torch.from_numpy(d_user_UH), torch.from_numpy(d_item_IH), None, None, None


@compiled(parallel=True)
def _products(user_UD: Floats, item_ID: Floats, users_B: Index, items_BN: Index) -> Floats:
    n_rows, n_items = items_BN.shape
    product_BN = np.empty((n_rows, n_items), dtype=user_UD.dtype)
    for b in prange(n_rows):
        user = users_B[b]
        for n in range(n_items):
            item, total = items_BN[b, n], user_UD.dtype.type(0)
            for d in range(user_UD.shape[1]):
                total += user_UD[user, d] * item_ID[item, d]
            product_BN[b, n] = total
    return product_BN


@compiled(parallel=True)
def _products_to_users(
    starts_U1: Index, order_B: Index, gradient_BN: Floats, item_ID: Floats, items_BN: Index
) -> Floats:
    n_users, n_dim = len(starts_U1) - 1, item_ID.shape[1]
    d_user_UD = np.zeros((n_users, n_dim), dtype=item_ID.dtype)
    for lane in prange(LANES):
        for user in range(lane, n_users, LANES):
            for at in range(starts_U1[user], starts_U1[user + 1]):
                b = order_B[at]
                for n in range(items_BN.shape[1]):
                    gradient, item = gradient_BN[b, n], items_BN[b, n]
                    for d in range(n_dim):
                        d_user_UD[user, d] += gradient * item_ID[item, d]
    return d_user_UD


@compiled(parallel=True)
def _products_to_items(
    starts_I1: Index, order_R: Index, gradient_BN: Floats, user_UD: Floats, users_B: Index
) -> Floats:
    n_items, n_dim, n_each = len(starts_I1) - 1, user_UD.shape[1], gradient_BN.shape[1]
    d_item_ID = np.zeros((n_items, n_dim), dtype=user_UD.dtype)
    for lane in prange(LANES):
        for item in range(lane, n_items, LANES):
            for at in range(starts_I1[item], starts_I1[item + 1]):
                b, n = divmod(order_R[at], n_each)
                gradient, user = gradient_BN[b, n], users_B[b]
                for d in range(n_dim):
                    d_item_ID[item, d] += gradient * user_UD[user, d]
    return d_item_ID


@compiled(parallel=True)
def _row_sums(user_UH: Floats, item_IH: Floats, users_B: Index, items_BN: Index, relu: bool) -> Floats:
    n_rows, n_items = items_BN.shape
    n_width = user_UH.shape[1]
    sum_RH = np.empty((n_rows * n_items, n_width), dtype=user_UH.dtype)
    for b in prange(n_rows):
        user = users_B[b]
        for n in range(n_items):
            item, r = items_BN[b, n], b * n_items + n
            if relu:
                for h in range(n_width):
                    value = user_UH[user, h] + item_IH[item, h]
                    sum_RH[r, h] = user_UH.dtype.type(0) if value < 0 else value  # NaN stays NaN
            else:
                for h in range(n_width):
                    sum_RH[r, h] = user_UH[user, h] + item_IH[item, h]
    return sum_RH


@compiled(parallel=True)
def _sum_by_row(
    starts_N1: Index, order_B: Index, gradient_RH: Floats, sum_RH: Floats, n_each: int, relu: bool
) -> Floats:
    """[N, H] for each of N table rows the sum of the gradients of its pairs, `n_each` of them in a row of the batch."""
    n, n_width = len(starts_N1) - 1, gradient_RH.shape[1]
    total_NH = np.zeros((n, n_width), dtype=gradient_RH.dtype)
    for lane in prange(LANES):
        for row in range(lane, n, LANES):
            for at in range(starts_N1[row], starts_N1[row + 1]):
                first = order_B[at] * n_each
                for r in range(first, first + n_each):
                    if relu:
                        for h in range(n_width):
                            total_NH[row, h] += gradient_RH[r, h] if sum_RH[r, h] > 0 else gradient_RH.dtype.type(0)
                    else:
                        for h in range(n_width):
                            total_NH[row, h] += gradient_RH[r, h]
    return total_NH
