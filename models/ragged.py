"""Lists of items of different lengths in one array: the form that histories have everywhere.

U users, R rows
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from numba import prange

from .compiled import compiled

IntArray = npt.NDArray[np.int64] | npt.NDArray[np.int32]


@dataclass(frozen=True)
class Ragged:
    """A list of items for each user, in one array: user u's are `items_R[offsets_U1[u]:offsets_U1[u + 1]]`."""

    offsets_U1: npt.NDArray[np.int64]
    items_R: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.offsets_U1) - 1

    @property
    def lengths_U(self) -> npt.NDArray[np.int64]:
        return np.diff(self.offsets_U1)

    @property
    def users_R(self) -> npt.NDArray[np.int32]:
        """The user of each row."""
        return np.repeat(np.arange(len(self), dtype=np.int32), self.lengths_U)

    @classmethod
    def from_pairs(cls, users_R: IntArray, items_R: IntArray, n_users: int) -> Self:
        """Groups rows by user and keeps their order within a user: sort by time first."""
        order_R = np.argsort(users_R, kind="stable")
        offsets_U1 = np.concatenate([[0], np.cumsum(np.bincount(users_R, minlength=n_users))]).astype(np.int64)
        return cls(offsets_U1, np.ascontiguousarray(items_R[order_R], dtype=np.int32))

    @classmethod
    def empty(cls, n_users: int) -> Self:
        return cls(np.zeros(n_users + 1, dtype=np.int64), np.empty(0, dtype=np.int32))

    def row(self, user: int) -> npt.NDArray[np.int32]:
        return self.items_R[self.offsets_U1[user] : self.offsets_U1[user + 1]]

    def take(self, users_U: IntArray) -> Self:
        """The lists of these users, in this order; an unknown user (-1) has an empty one."""
        users_U = np.asarray(users_U, dtype=np.int64)
        known_U = users_U >= 0
        safe_U = np.where(known_U, users_U, 0)
        starts_U = self.offsets_U1[safe_U]
        lengths_U = np.where(known_U, self.offsets_U1[safe_U + 1] - starts_U, 0)
        offsets_U1 = np.concatenate([[0], np.cumsum(lengths_U)]).astype(np.int64)
        index_R = np.arange(offsets_U1[-1]) + np.repeat(starts_U - offsets_U1[:-1], lengths_U)
        return type(self)(offsets_U1, self.items_R[index_R])

    def latest(self, n: int) -> Self:
        """Each list cut to its last n items."""
        kept_U = np.minimum(self.lengths_U, n)
        from_end_R = np.repeat(self.offsets_U1[1:], self.lengths_U) - np.arange(len(self.items_R))
        offsets_U1 = np.concatenate([[0], np.cumsum(kept_U)]).astype(np.int64)
        return type(self)(offsets_U1, self.items_R[from_end_R <= n])

    def as_sets(self) -> Self:
        """The same lists, each ascending and without repeats: what masks and look-ups need."""
        items_R = self.items_R.copy()
        sizes_U = _sort_lists(self.offsets_U1, items_R)
        if sizes_U.sum() == len(items_R):
            return type(self)(self.offsets_U1, items_R)
        offsets_U1 = np.concatenate([[0], np.cumsum(sizes_U)]).astype(np.int64)
        return type(self)(offsets_U1, _heads(self.offsets_U1, items_R, offsets_U1))


@compiled(parallel=True)
def _sort_lists(offsets_U1: npt.NDArray[np.int64], items_R: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Sorts each list in its place, its different items first, and returns how many these are [U]."""
    n_users = len(offsets_U1) - 1
    sizes_U = np.zeros(n_users, dtype=np.int64)
    for u in prange(n_users):
        start, end = offsets_U1[u], offsets_U1[u + 1]
        if end == start:
            continue
        one = items_R[start:end]
        one.sort()
        n = 1
        for r in range(1, len(one)):
            if one[r] != one[r - 1]:
                one[n] = one[r]
                n += 1
        sizes_U[u] = n
    return sizes_U


@compiled(parallel=True)
def _heads(
    offsets_U1: npt.NDArray[np.int64], items_R: npt.NDArray[np.int32], new_U1: npt.NDArray[np.int64]
) -> npt.NDArray[np.int32]:
    """The first items of each list: as many as the new offsets leave room for."""
    heads_R = np.empty(new_U1[-1], dtype=np.int32)
    for u in prange(len(offsets_U1) - 1):
        for at in range(new_U1[u + 1] - new_U1[u]):
            heads_R[new_U1[u] + at] = items_R[offsets_U1[u] + at]
    return heads_R
