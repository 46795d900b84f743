"""Where each relevant item stands among all that competes with it: what AUC and its curves are made of.

U users, I items, R relevant items of all users in one array
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import prange

from ..base import Ragged
from ..compiled import compiled, holds

Counts = npt.NDArray[np.int64]
Items = npt.NDArray[np.int32]
Scores = npt.NDArray[np.float32]

TILE = 4096
"""Scores compared with every relevant one before the next: 16 KB, which stay in the first cache."""


class Ranks(NamedTuple):
    """What competes with a relevant item is its user's negatives: the items neither seen nor relevant."""

    above_R: Counts
    """Negatives with a higher score than this relevant item."""
    equal_R: Counts
    """Negatives with the same score."""
    negatives_U: Counts
    """How many negatives there are."""


def ranks_of(score_UI: Scores, seen: Ragged | None, relevant: Ragged) -> Ranks:
    """Counts for each relevant item, in the order of `relevant.items_R`, the negatives that are ahead and level.

    `seen` and `relevant` hold these users' items as ascending sets (`as_sets`); None masks nothing. A relevant item
    that is seen is no negative, and is counted for all the same. Raises ValueError for NaN among the scores of unseen
    or relevant items, and for items that the scores do not have."""
    n_users, n_items = score_UI.shape
    seen = seen or Ragged.empty(n_users)
    for name, lists in (("seen", seen), ("relevant", relevant)):
        if len(lists) != n_users:
            raise ValueError(f"scores of {n_users} users, but {name} items of {len(lists)}")
        if len(lists.items_R) and not 0 <= lists.items_R.min() <= lists.items_R.max() < n_items:
            raise ValueError(f"scores of {n_items} items, but {name} items outside of 0..{n_items - 1}")
    score_UI = np.ascontiguousarray(score_UI, dtype=np.float32)
    *ranks, nan_U = _count(score_UI, seen.offsets_U1, seen.items_R, relevant.offsets_U1, relevant.items_R)
    if nan_U.any():
        raise ValueError(f"{int(nan_U.sum())} of {n_users} users have NaN among their scores")
    return Ranks(*ranks)


@compiled()
def _compare(score_T: Scores, own: np.float32) -> tuple[np.int64, np.int64]:
    """How many of these scores are higher, and how many are the same. NaN is neither."""
    above, equal = np.int32(0), np.int32(0)  # as wide as the scores, so that the compiler uses whole vector registers
    for t in range(len(score_T)):
        above = np.int32(above + np.int32(score_T[t] > own))
        equal = np.int32(equal + np.int32(score_T[t] == own))
    return np.int64(above), np.int64(equal)


@compiled()
def _outside(items_E: Items, seen_items_R: Items, start: int, end: int) -> Items:
    """Those of the items that the ascending seen_items_R[start:end] do not hold."""
    kept_E = np.empty_like(items_E)
    n_kept = 0
    for item in items_E:
        if not holds(seen_items_R, start, end, item):
            kept_E[n_kept] = item
            n_kept += 1
    return kept_E[:n_kept]


@compiled(parallel=True)
def _count(
    score_UI: Scores, seen_U1: Counts, seen_items_R: Items, relevant_U1: Counts, relevant_items_R: Items
) -> tuple[Counts, Counts, Counts, npt.NDArray[np.bool_]]:
    """The three fields of `Ranks`, and [U] whether there was a NaN: counts all items, then takes the others off."""
    n_users, n_items = score_UI.shape
    above_R, equal_R = np.zeros_like(relevant_items_R, np.int64), np.zeros_like(relevant_items_R, np.int64)
    negatives_U = np.empty(n_users, np.int64)
    nan_U = np.zeros(n_users, np.bool_)
    for user in prange(n_users):
        score_I, first, last = score_UI[user], relevant_U1[user], relevant_U1[user + 1]
        n_nan = 0
        for start in range(0, n_items, TILE):
            score_T = score_I[start : start + TILE]
            for t in range(len(score_T)):
                n_nan += score_T[t] != score_T[t]
            for r in range(first, last):
                above, equal = _compare(score_T, score_I[relevant_items_R[r]])
                above_R[r] += above
                equal_R[r] += equal
        seen_E = seen_items_R[seen_U1[user] : seen_U1[user + 1]]
        more_E = _outside(relevant_items_R[first:last], seen_items_R, seen_U1[user], seen_U1[user + 1])
        for r in range(first, last):
            own = score_I[relevant_items_R[r]]
            nan_U[user] |= own != own
            for others_E in (seen_E, more_E):
                for item in others_E:
                    above_R[r] -= score_I[item] > own
                    equal_R[r] -= score_I[item] == own
        for item in seen_E:
            n_nan -= score_I[item] != score_I[item]
        nan_U[user] |= n_nan > 0
        negatives_U[user] = n_items - len(seen_E) - len(more_E)
    return above_R, equal_R, negatives_U, nan_U
