"""Random streams, negatives and batches.

U users, I items, R rows, B rows in a batch
"""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numpy.random import Generator
from torch import Tensor

from ..base import BoolArray, IntArray, Ragged, TrainingData

BITMAP_BYTES = 2**27
"""Up to this size, users × items are kept as bits, four times as fast as searching in sorted lists."""


def stream(seed: int, *purpose: str | int) -> Generator:
    """A generator of its own for each purpose, for example `stream(seed, "train", epoch, "negatives")`.

    Nothing random has to survive a crash: the same words give the same stream."""
    words = [int.from_bytes(hashlib.sha256(repr(word).encode()).digest()[:8], "big") for word in purpose]
    return np.random.default_rng([seed, *words])


class SeenItems:
    """Answers which items a user has in the fitted rows."""

    def __init__(self, histories: Ragged, n_items: int) -> None:
        sets = histories.as_sets()
        self.n_items = n_items
        self.saw_all_U: BoolArray = sets.lengths_U >= n_items
        # Ascending, because users ascend and so do the items of each.
        self._key_R = sets.users_R.astype(np.int64) * n_items + sets.items_R
        self._bits: npt.NDArray[np.uint8] | None = None
        if len(sets) * n_items <= 8 * BITMAP_BYTES:
            self._bits = np.zeros(len(sets) * n_items // 8 + 1, dtype=np.uint8)
            np.bitwise_or.at(self._bits, self._key_R >> 3, (1 << (self._key_R & 7)).astype(np.uint8))

    def contains(self, users_B: IntArray, items_B: IntArray) -> BoolArray:
        """[B] whether each user has seen the item beside it."""
        key_B = users_B.astype(np.int64) * self.n_items + items_B
        if self._bits is not None:
            bit_B: BoolArray = ((self._bits[key_B >> 3] >> (key_B & 7).astype(np.uint8)) & 1).astype(bool)
            return bit_B
        if len(self._key_R) == 0:
            return np.zeros(len(key_B), dtype=bool)
        at_B = np.minimum(np.searchsorted(self._key_R, key_B), len(self._key_R) - 1)
        found_B: BoolArray = self._key_R[at_B] == key_B
        return found_B


def uniform_negatives(users_B: IntArray, seen: SeenItems, n_items: int, rng: Generator) -> npt.NDArray[np.int64]:
    """[B] for each user an item that they have not seen, every such item equally likely.

    Raises ValueError if a user has seen them all."""
    if seen.saw_all_U[users_B].any():
        raise ValueError("a user has seen every item: there is no negative to draw; leave their rows out")
    draw_B = rng.integers(n_items, size=len(users_B))
    bad_B = np.flatnonzero(seen.contains(users_B, draw_B))
    while len(bad_B):
        draw_B[bad_B] = rng.integers(n_items, size=len(bad_B))
        bad_B = bad_B[seen.contains(users_B[bad_B], draw_B[bad_B])]
    return draw_B


class Pairs:
    """Fitted rows as pairs with what it takes to draw negatives. Rows of users who saw everything are left out."""

    def __init__(self, data: TrainingData) -> None:
        self.n_items = data.n_items
        self.seen = SeenItems(data.histories, data.n_items)
        usable_R = ~self.seen.saw_all_U[data.histories.users_R]
        self.users_R = data.histories.users_R[usable_R]
        self.items_R = data.histories.items_R[usable_R]


class PairBatch(NamedTuple):
    """Users, an item of each, and an item that each has not seen: [B] int64."""

    users_B: Tensor
    positives_B: Tensor
    negatives_B: Tensor

    def __len__(self) -> int:
        return len(self.users_B)


def pair_batches(pairs: Pairs, batch_size: int, seed: int, epoch: int) -> Iterator[PairBatch]:
    """Every row once, in an order of the epoch's own, with fresh negatives."""
    order_R = stream(seed, "train", epoch, "order").permutation(len(pairs.users_R))
    negatives = stream(seed, "train", epoch, "negatives")
    for start in range(0, len(order_R), batch_size):
        rows_B = order_R[start : start + batch_size]
        users_B = pairs.users_R[rows_B].astype(np.int64)
        negatives_B = uniform_negatives(users_B, pairs.seen, pairs.n_items, negatives)
        yield PairBatch(
            torch.from_numpy(users_B),
            torch.from_numpy(pairs.items_R[rows_B].astype(np.int64)),
            torch.from_numpy(negatives_B),
        )
