"""Random streams and negatives.

I items, R rows, B rows in a batch, C candidates
"""

import hashlib
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from numpy.random import Generator
from torch import Tensor

from ..base import BoolArray, FloatArray, IntArray, Ragged
from .unseen import Key, Seen, Weights, draw_unseen, with_filter

NO_WEIGHTS = Weights(np.empty((0, 2), dtype=np.uint32), np.empty(0))


def stream(seed: int, *purpose: str | int) -> Generator:
    """A generator of its own for each purpose, for example `stream(seed, "train", epoch, "negatives")`.

    Nothing random has to survive a crash: the same words give the same stream."""
    words = [int.from_bytes(hashlib.sha256(repr(word).encode()).digest()[:8], "big") for word in purpose]
    return np.random.default_rng([seed, *words])


@torch.no_grad()
def fill_normal(tensor: Tensor, std: float, seed: int, *purpose: str | int) -> None:
    """Fills it with normal numbers from a stream of their own: a model's first vectors."""
    draw = stream(seed, *purpose).standard_normal(tensor.shape, dtype=np.float32)
    tensor.copy_(torch.from_numpy(draw * np.float32(std)))


class SeenItems:
    """Knows which items a user has in the fitted rows."""

    def __init__(self, histories: Ragged, n_items: int) -> None:
        self.sets = histories.as_sets()
        self.n_items = n_items
        self.saw_all_U: BoolArray = self.sets.lengths_U >= n_items

    @cached_property
    def filtered(self) -> Seen:
        """As the kernels read it: made when they first do, as not every kind of sampling needs them."""
        return with_filter(self.sets, self.n_items)


def uniform_negatives(users_B: IntArray, seen: SeenItems, n_items: int, rng: Generator) -> npt.NDArray[np.int64]:
    """[B] for each user an item that they have not seen, every such item equally likely.

    Raises ValueError if a user has seen them all."""
    return _negatives(users_B, seen, n_items, NO_WEIGHTS, rng)


class AliasTable:
    """Draws from any distribution over 0..I-1 in constant time: one number picks a slot and its owner or its alias.

    Slot i belongs to item i, who keeps `slots_I2[i, 0]` of its 2**32 parts; the rest belongs to item `slots_I2[i, 1]`.
    Source: Walker, ACM TOMS 1977; filled in one sweep by prefix sums, Hübschle-Schneider and Sanders, ACM TOMS 2022.
    """

    def __init__(self, weight_I: FloatArray) -> None:
        weight_I = np.asarray(weight_I, dtype=np.float64)
        if not (np.isfinite(weight_I).all() and (weight_I >= 0).all() and weight_I.sum() > 0):
            raise ValueError("weights must be finite and not negative, and one of them above 0")
        self.probability_I = weight_I / weight_I.sum()
        share_I = self.probability_I * len(weight_I)  # of slots: 1 on average
        keep_I, alias_I = np.minimum(share_I, 1.0), np.arange(len(weight_I))
        light, heavy = np.flatnonzero(share_I < 1), np.flatnonzero(share_I >= 1)
        if len(light) and len(heavy):  # equal weights may all be rounded to just below 1
            # Light slots are filled up in order, each by the heavy item whose turn it is. A heavy item that has given
            # more than it had over gets its own slot filled by the next one.
            lacking, spare = np.cumsum(1 - share_I[light]), np.cumsum(share_I[heavy] - 1)
            before = np.concatenate([[0.0], lacking[:-1]])
            alias_I[light] = heavy[np.minimum(np.searchsorted(spare, before, side="right"), len(heavy) - 1)]
            given = np.concatenate([[0.0], lacking])  # by all heavy items: nothing while they have nothing over
            emptied_by = np.minimum(np.searchsorted(given, spare, side="left"), len(light))
            # The last heavy item ends with exactly its own slot, but for rounding.
            keep_I[heavy[:-1]] = np.clip(1 + spare[:-1] - given[emptied_by[:-1]], 0, 1)
            alias_I[heavy[:-1]] = heavy[1:]
        self.slots_I2 = np.stack([np.minimum(np.rint(keep_I * 2**32), 2**32 - 1), alias_I], axis=1).astype(np.uint32)

    def draw(self, size: int, rng: Generator) -> npt.NDArray[np.int64]:
        """[size] items."""
        place = rng.random(size)
        place *= len(self.slots_I2)
        slot = place.astype(np.int64)  # below I: a random number is at most 1 - 2**-53
        place -= slot
        place *= 2**32
        return np.where(place < self.slots_I2[slot, 0], slot, self.slots_I2[slot, 1])


def popularity_table(items_R: IntArray, n_items: int, exponent: float) -> AliasTable:
    """Items as often as in the rows to the power of `exponent`: 0 is uniform, 1 is popularity.

    Items without rows count as one row, so that every item can be drawn: else a user who has seen all the others
    would have no negative. The exponent .75 is that of Mikolov et al., NIPS 2013."""
    return AliasTable(np.maximum(np.bincount(items_R, minlength=n_items), 1).astype(np.float64) ** exponent)


def log_uniform_table(items_R: IntArray, n_items: int) -> AliasTable:
    """Items by their rank in popularity, from 0 and of equals by index: as often as log((rank + 2) / (rank + 1)).

    That is about Zipf's law, and what TensorFlow's `log_uniform_candidate_sampler` draws by."""
    count_I = np.bincount(items_R, minlength=n_items)
    rank_I = np.empty(n_items, dtype=np.int64)
    rank_I[np.argsort(-count_I, kind="stable")] = np.arange(n_items)
    return AliasTable(np.log((rank_I + 2) / (rank_I + 1)))


def item_table(items_R: IntArray, n_items: int, distribution: str | None, exponent: float | None) -> AliasTable | None:
    """What `sample.distribution` draws items by; None where it needs no table."""
    if distribution == "popularity":
        return popularity_table(items_R, n_items, exponent or 0.0)
    return log_uniform_table(items_R, n_items) if distribution == "log_uniform" else None


def table_negatives(users_B: IntArray, seen: SeenItems, table: AliasTable, rng: Generator) -> npt.NDArray[np.int64]:
    """[B] for each user an item that they have not seen, such items as likely as the table says.

    Raises ValueError if a user has seen them all, or all that are not of weight 0."""
    return _negatives(users_B, seen, len(table.slots_I2), Weights(table.slots_I2, table.probability_I), rng)


def shared_candidates(n: int, n_items: int, table: AliasTable | None, rng: Generator) -> npt.NDArray[np.int64]:
    """[C] items for all rows of a batch, seen or not: by the table, or `n` different ones (all if there are fewer)."""
    if table is not None:
        return table.draw(n, rng)
    return rng.choice(n_items, size=min(n, n_items), replace=False).astype(np.int64)


def log_frequency(items_R: IntArray, n_items: int) -> Tensor:
    """[I] the log of each item's share of the rows, and so of the rows of any batch; one row where it has none.

    In-batch negatives are other users' positives: this is what they are drawn by (logQ: Yi et al., RecSys 2019)."""
    count_I = np.maximum(np.bincount(items_R, minlength=n_items), 1)
    return torch.from_numpy(np.log(count_I / max(len(items_R), 1)).astype(np.float32))


def _negatives(
    users_B: IntArray, seen: SeenItems, n_items: int, weights: Weights, rng: Generator
) -> npt.NDArray[np.int64]:
    """The kernels check no bounds, so it is done here."""
    if n_items != seen.n_items:
        raise ValueError(f"{n_items} items are to be drawn from, but {seen.n_items} are known")
    if len(users_B) and not 0 <= users_B.min() <= users_B.max() < len(seen.sets):
        raise IndexError(f"users must be in 0..{len(seen.sets) - 1}")
    key = Key(*rng.integers(2**64, size=2, dtype=np.uint64))
    draw_B, n_without = draw_unseen(np.ascontiguousarray(users_B, dtype=np.int64), seen.filtered, weights, key)
    if n_without or (len(users_B) and not n_items):
        raise ValueError("a user has seen every item that can be drawn: there is no negative; leave their rows out")
    return draw_B
