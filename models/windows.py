"""Rows with what preceded them: the samples of models that see a user's latest items.

R rows, W windows, B windows in a batch, U users, L the longest history that is shown, N stored negatives
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt
from numba import prange

from .compiled import compiled
from .ragged import IntArray, Ragged

Longs = npt.NDArray[np.int64]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Windows:
    """Each window is a row, its target, and the items before it: `items_R[starts_W[w]:ends_W[w]]`, oldest first.

    Windows may share their items: made from histories they need two numbers each, however long they are."""

    users_W: Ints
    targets_W: Ints
    starts_W: Longs
    ends_W: Longs
    items_R: Ints
    features: Mapping[str, IntArray] = field(default_factory=dict)
    """By name, the code of each window's user, [W]."""
    negatives_WN: Ints | None = None
    """Items beside each target that were drawn once and stored; None: every epoch draws its own."""

    def __len__(self) -> int:
        return len(self.users_W)

    @property
    def lengths_W(self) -> Longs:
        return self.ends_W - self.starts_W

    @classmethod
    def of(cls, histories: Ragged, length: int, features: Mapping[str, IntArray] | None = None) -> Self:
        """Every row once, in the order of `histories`, with at most the latest `length` items before it.

        A user's first row has an empty history: it says what to show when nothing is known. `features` has one code
        per user."""
        users_R = histories.users_R
        ends_R = np.arange(len(users_R), dtype=np.int64)
        starts_R = np.maximum(histories.offsets_U1[users_R], ends_R - length)
        codes = {name: codes_U[users_R] for name, codes_U in (features or {}).items()}
        return cls(users_R, histories.items_R, starts_R, ends_R, histories.items_R, codes)

    def histories(self, rows_B: Longs, length: int, padding: int) -> Longs:
        """[B, L] the latest items of these windows, the newest last; `padding` stands before shorter ones."""
        return padded(self.items_R, self.starts_W[rows_B], self.ends_W[rows_B], length, padding, True)


def latest(histories: Ragged, length: int, padding: int, left: bool = True) -> Longs:
    """[U, L] each user's latest items, oldest first; shorter lists have `padding` before them, or with `left` false
    behind them."""
    return padded(histories.items_R, histories.offsets_U1[:-1], histories.offsets_U1[1:], length, padding, left)


@compiled(parallel=True)
def padded(items_R: Ints, starts_B: Longs, ends_B: Longs, length: int, padding: int, left: bool) -> Longs:
    """[B, L] the last items of each `items_R[starts_B[b]:ends_B[b]]`, padded on the left or on the right."""
    padded_BL = np.full((len(starts_B), length), padding, dtype=np.int64)
    for b in prange(len(starts_B)):
        n = min(ends_B[b] - starts_B[b], length)
        first = length - n if left else 0
        for at in range(n):
            padded_BL[b, first + at] = items_R[ends_B[b] - n + at]
    return padded_BL
