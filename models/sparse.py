"""Sparse rows and the four products that the closed-form models need, in float32 on all cores.

A row of a result is computed by one thread in a fixed order, so the number of threads changes no bit.

U users, I items, R rows (user-item pairs), N columns of a result, Z non-zeros, B items in a block
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from numba import prange

from .base import Ragged
from .compiled import compiled

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

NEGLIGIBLE = 1e-7
"""Weights below this are left out: a sum in float32 does not notice them beside a weight of 1."""
BLOCK_NONZEROS = 2**24
"""Room for the non-zeros of one block of a Gram matrix (128 MB)."""
LANES = 16
"""Rows are dealt to this many lanes, which share the scratch memory of one thread each."""


@dataclass(frozen=True)
class Csr:
    """A sparse matrix by rows: row r has `values_Z[s:e]` in `columns_Z[s:e]`, s and e from `offsets[r:r + 2]`."""

    offsets: Longs
    columns_Z: Ints
    values_Z: Floats

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def dense(self, n_columns: int) -> Floats:
        dense = np.zeros((len(self), n_columns), dtype=np.float32)
        self.write_to(dense)
        return dense

    def write_to(self, zeros: Floats) -> None:
        """Writes the non-zeros into a dense matrix of this shape that holds zeros."""
        _fill(self.offsets, self.columns_Z, self.values_Z, zeros)

    @classmethod
    def joined(cls, blocks: list[Self]) -> Self:
        """The rows of all blocks, one below the other."""
        lengths = [np.diff(block.offsets) for block in blocks]
        return cls(
            np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64),
            np.concatenate([block.columns_Z for block in blocks]),
            np.concatenate([block.values_Z for block in blocks]),
        )


@dataclass(frozen=True)
class Pairs:
    """Which user has which item, each pair once, in both directions and ascending."""

    by_user: Ragged
    by_item: Ragged

    @classmethod
    def of(cls, histories: Ragged, n_items: int) -> Self:
        by_user = histories.as_sets()
        return cls(by_user, Ragged.from_pairs(by_user.items_R, by_user.users_R, n_items))

    @property
    def n_users(self) -> int:
        return len(self.by_user)

    @property
    def n_items(self) -> int:
        return len(self.by_item)


def weigh(histories: Ragged, decay: float, n_items: int) -> Csr:
    """[U, I] each user's items with weight decay^(steps back from the newest). An item that repeats counts once, by
    its newest place; weights below NEGLIGIBLE are left out."""
    return Csr(*_weigh(histories.offsets_U1, histories.items_R, decay, n_items, NEGLIGIBLE))


def gram_blocks(pairs: Pairs, weight_U: Floats) -> Iterator[tuple[int, Csr]]:
    """The rows of X'WX [I, I] a block at a time, each with the number of its first item; W has `weight_U` on its
    diagonal. With weights of one: in how many histories two items stand together."""
    lengths_U = pairs.by_user.lengths_U
    most_I = _most_neighbours(pairs.by_item.offsets_U1, pairs.by_item.items_R, lengths_U)  # an upper bound
    before_I1 = np.concatenate([[0], np.cumsum(most_I)])
    start = 0
    while start < pairs.n_items:
        stop = int(np.searchsorted(before_I1, before_I1[start] + BLOCK_NONZEROS, side="right")) - 1
        stop = min(max(stop, start + 1), pairs.n_items)
        room_B1 = before_I1[start : stop + 1] - before_I1[start]
        by_user, by_item = pairs.by_user, pairs.by_item
        made = _gram(
            by_user.offsets_U1, by_user.items_R, by_item.offsets_U1, by_item.items_R, weight_U, start, room_B1, LANES
        )
        yield start, Csr(*made)
        start = stop


def gram_bound(pairs: Pairs) -> int:
    """A bound on the non-zeros of a Gram matrix."""
    return int(min(np.square(pairs.by_user.lengths_U).sum(), pairs.n_items**2))


def times_sparse(left: Csr, right: Csr, n_columns: int) -> Floats:
    """[U, N] product of two sparse matrices, dense."""
    return _times_sparse(
        left.offsets, left.columns_Z, left.values_Z, right.offsets, right.columns_Z, right.values_Z, n_columns
    )


def times_sparse_twice(left: Csr, middle: Csr, right: Csr, n_columns: int) -> Floats:
    """[U, N] product of three sparse matrices, dense: for a `middle` times `right` that would be too large."""
    return _times_sparse_twice(
        left.offsets, left.columns_Z, left.values_Z, middle.offsets, middle.columns_Z, middle.values_Z,
        right.offsets, right.columns_Z, right.values_Z, n_columns, LANES,
    )  # fmt: skip


def times_dense(left: Csr, right_IN: Floats) -> Floats:
    """[U, N] product of a sparse and a dense matrix."""
    return _times_dense(left.offsets, left.columns_Z, left.values_Z, right_IN)


@compiled()
def _weigh(
    offsets_U1: Longs, items_R: Ints, decay: float, n_items: int, negligible: float
) -> tuple[Longs, Ints, Floats]:
    n_users = len(offsets_U1) - 1
    weighted_U1 = np.zeros(n_users + 1, dtype=np.int64)
    columns_Z = np.empty(len(items_R), dtype=np.int32)
    values_Z = np.empty(len(items_R), dtype=np.float32)
    last_user_I = np.full(n_items, -1, dtype=np.int64)
    at = 0
    for user in range(n_users):
        weight = 1.0
        for r in range(offsets_U1[user + 1] - 1, offsets_U1[user] - 1, -1):  # newest first
            if weight < negligible:
                break
            if last_user_I[items_R[r]] != user:
                last_user_I[items_R[r]] = user
                columns_Z[at] = items_R[r]
                values_Z[at] = weight
                at += 1
            weight *= decay
        weighted_U1[user + 1] = at
    return weighted_U1, columns_Z[:at].copy(), values_Z[:at].copy()


@compiled()
def _fill(offsets: Longs, columns_Z: Ints, values_Z: Floats, dense: Floats) -> None:
    for row in range(len(dense)):
        for z in range(offsets[row], offsets[row + 1]):
            dense[row, columns_Z[z]] = values_Z[z]


@compiled()
def _most_neighbours(by_item_I1: Longs, users_R: Ints, lengths_U: Longs) -> Longs:
    n_items = len(by_item_I1) - 1
    most_I = np.zeros(n_items, dtype=np.int64)
    for item in range(n_items):
        for r in range(by_item_I1[item], by_item_I1[item + 1]):
            most_I[item] += lengths_U[users_R[r]]
        most_I[item] = min(most_I[item], n_items)
    return most_I


@compiled(parallel=True)
def _gram(
    by_user_U1: Longs, items_R: Ints, by_item_I1: Longs, users_R: Ints, weight_U: Floats, start: int, room_B1: Longs,
    n_lanes: int,
) -> tuple[Longs, Ints, Floats]:  # fmt: skip
    """Rows start.. of the Gram matrix, columns ascending. Row b has room for `room_B1[b + 1] - room_B1[b]` columns."""
    n_items, n_rows = len(by_item_I1) - 1, len(room_B1) - 1
    wide_columns = np.empty(room_B1[-1], dtype=np.int32)
    wide_values = np.empty(room_B1[-1], dtype=np.float32)
    length_B = np.zeros(n_rows, dtype=np.int64)
    for lane in prange(n_lanes):
        sum_I = np.zeros(n_items, dtype=np.float32)
        for b in range(lane, n_rows, n_lanes):
            columns = wide_columns[room_B1[b] : room_B1[b + 1]]
            n = 0
            for r in range(by_item_I1[start + b], by_item_I1[start + b + 1]):
                user = users_R[r]
                for s in range(by_user_U1[user], by_user_U1[user + 1]):
                    item = items_R[s]
                    if sum_I[item] == 0:
                        columns[n] = item
                        n += 1
                    sum_I[item] += weight_U[user]
            if 16 * n > n_items:  # looking through all items is then cheaper than sorting
                n = 0
                for item in range(n_items):
                    if sum_I[item] != 0:
                        columns[n] = item
                        n += 1
            else:
                columns[:n].sort()
            for z in range(n):
                wide_values[room_B1[b] + z] = sum_I[columns[z]]
                sum_I[columns[z]] = 0
            length_B[b] = n
    offsets_B1 = np.zeros(n_rows + 1, dtype=np.int64)
    offsets_B1[1:] = np.cumsum(length_B)
    columns_Z = np.empty(offsets_B1[-1], dtype=np.int32)
    values_Z = np.empty(offsets_B1[-1], dtype=np.float32)
    for b in range(n_rows):
        columns_Z[offsets_B1[b] : offsets_B1[b + 1]] = wide_columns[room_B1[b] : room_B1[b] + length_B[b]]
        values_Z[offsets_B1[b] : offsets_B1[b + 1]] = wide_values[room_B1[b] : room_B1[b] + length_B[b]]
    return offsets_B1, columns_Z, values_Z


@compiled(parallel=True)
def _times_sparse(
    left_U1: Longs, left_columns_Z: Ints, left_Z: Floats, right_I1: Longs, right_columns_Z: Ints, right_Z: Floats,
    n_columns: int,
) -> Floats:  # fmt: skip
    n_users = len(left_U1) - 1
    out_UN = np.zeros((n_users, n_columns), dtype=np.float32)
    for user in prange(n_users):
        out_N = out_UN[user]
        for z in range(left_U1[user], left_U1[user + 1]):
            weight, item = left_Z[z], left_columns_Z[z]
            for y in range(right_I1[item], right_I1[item + 1]):
                out_N[right_columns_Z[y]] += weight * right_Z[y]
    return out_UN


@compiled(parallel=True)
def _times_sparse_twice(
    left_U1: Longs, left_columns_Z: Ints, left_Z: Floats, middle_I1: Longs, middle_columns_Z: Ints, middle_Z: Floats,
    right_V1: Longs, right_columns_Z: Ints, right_Z: Floats, n_columns: int, n_lanes: int,
) -> Floats:  # fmt: skip
    n_users, n_between = len(left_U1) - 1, len(right_V1) - 1
    out_UN = np.zeros((n_users, n_columns), dtype=np.float32)
    for lane in prange(n_lanes):
        between_V = np.zeros(n_between, dtype=np.float32)
        for user in range(lane, n_users, n_lanes):
            between_V[:] = 0
            for z in range(left_U1[user], left_U1[user + 1]):
                for y in range(middle_I1[left_columns_Z[z]], middle_I1[left_columns_Z[z] + 1]):
                    between_V[middle_columns_Z[y]] += left_Z[z] * middle_Z[y]
            out_N = out_UN[user]
            for v in range(n_between):
                if between_V[v] != 0:
                    for y in range(right_V1[v], right_V1[v + 1]):
                        out_N[right_columns_Z[y]] += between_V[v] * right_Z[y]
    return out_UN


@compiled(parallel=True)
def _times_dense(left_U1: Longs, left_columns_Z: Ints, left_Z: Floats, right_IN: Floats) -> Floats:
    n_users, n_columns = len(left_U1) - 1, right_IN.shape[1]
    out_UN = np.zeros((n_users, n_columns), dtype=np.float32)
    for user in prange(n_users):
        out_N = out_UN[user]
        z, end = left_U1[user], left_U1[user + 1]
        while z + 4 <= end:  # four rows at once: the sum is read and written a quarter as often
            w0, w1, w2, w3 = left_Z[z], left_Z[z + 1], left_Z[z + 2], left_Z[z + 3]
            a_N, b_N = right_IN[left_columns_Z[z]], right_IN[left_columns_Z[z + 1]]
            c_N, d_N = right_IN[left_columns_Z[z + 2]], right_IN[left_columns_Z[z + 3]]
            for n in range(n_columns):
                out_N[n] += w0 * a_N[n] + w1 * b_N[n] + w2 * c_N[n] + w3 * d_N[n]
            z += 4
        while z < end:
            weight, a_N = left_Z[z], right_IN[left_columns_Z[z]]
            for n in range(n_columns):
                out_N[n] += weight * a_N[n]
            z += 1
    return out_UN
