"""The one ranking, for validation, evaluation and serving. Of equal scores, the item first in the catalogue wins.

U users, I items, K places, R candidates of all users in one array
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ..base import Query, Ragged
from .selection import Indices, Scores, select

BLOCK_SCORES = 7 * 2**20
"""Scores held at once (28 MB): users × items never stands in memory. Above 32 MB the C library fetches every block
anew from the system: blocks three times as large did half as many users a second."""
BLOCK_USERS = 64
"""Users scored at once where that many do not fit: every block reads all items' vectors. Of a million items, blocks of
7, 16, 32, 64 and 128 users did 280, 325, 420, 460 and 370 users a second; 64 hold as much as the vectors (256 MB)."""
MANY_ITEMS = BLOCK_SCORES // BLOCK_USERS


class Scorer(Protocol):
    """What can be ranked: a model, or one with what stands in for it."""

    def score(self, query: Query) -> Tensor:
        """[U, I] float32, higher is better."""
        ...


def top_k(score_UI: Scores, seen: Ragged | None, k: int) -> tuple[Indices, Scores]:
    """Each user's k best items that they have not seen, best first, and their scores: [U, K] each.

    `seen` holds these users' items as ascending sets (`as_sets`); one that the scores do not have masks nothing. Ties
    go to the lower item index. Where fewer than k items are left, the rest is -1 with score -inf; an item with score
    -inf is never shown. Raises ValueError for NaN among the scores of unseen items."""
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    seen = seen or Ragged.empty(len(score_UI))
    if len(seen) != len(score_UI):
        raise ValueError(f"scores of {len(score_UI)} users, but seen items of {len(seen)}")
    score_UI = np.ascontiguousarray(score_UI, dtype=np.float32)
    items_UK, top_UK, nan_U = select(score_UI, seen.offsets_U1, seen.items_R, k)
    if nan_U.any():
        raise ValueError(f"{int(nan_U.sum())} of {len(nan_U)} users have NaN among their scores")
    return items_UK, top_UK


def recommend(
    model: Scorer, query: Query, seen: Ragged | None, k: int, block: int | None = None
) -> tuple[Indices, Scores]:
    """As `top_k`, for a model: scores and ranks `block` users at a time (by default as many as fit in 28 MB,
    but no fewer than 64).

    `seen` has one list for each user of the query, in any order; None masks nothing."""
    items_UK = np.full((len(query), k), -1, dtype=np.int32)
    top_UK = np.full((len(query), k), -np.inf, dtype=np.float32)
    sets = seen.as_sets() if seen else None
    for rows, score_UI in _score_blocks(model, query, block):
        block_seen = sets.take(rows) if sets else None
        items_UK[rows], top_UK[rows] = top_k(score_UI, block_seen, k)
        del score_UI  # before the next block is made: see `_score_blocks`
    return items_UK, top_UK


def rank_candidates(
    model: Scorer, query: Query, candidates: Ragged, k: int, block: int | None = None
) -> tuple[Indices, Scores]:
    """Each user's k best items among their own candidates, as `top_k` returns them.

    A candidate that the model does not know (-1) ranks last, which here means: it is left out, and the places at the
    end stay -1. A candidate that is given twice counts once."""
    if len(candidates) != len(query):
        raise ValueError(f"{len(query)} users, but candidates of {len(candidates)}")
    items_UK = np.full((len(query), k), -1, dtype=np.int32)
    top_UK = np.full((len(query), k), -np.inf, dtype=np.float32)
    sets = candidates.as_sets()
    for rows, score_UI in _score_blocks(model, query, block):
        chosen = sets.take(rows)
        known_R = chosen.items_R >= 0
        users_R, items_R = chosen.users_R[known_R], chosen.items_R[known_R]
        score_R = score_UI[users_R, items_R]
        if np.isnan(score_R).any():
            raise ValueError("NaN among the scores of candidates")
        order_R = np.lexsort((items_R, -score_R, users_R))
        users_R, items_R, score_R = users_R[order_R], items_R[order_R], score_R[order_R]
        place_R = np.arange(len(users_R)) - np.searchsorted(users_R, users_R)
        shown_R = place_R < k
        at = rows[users_R[shown_R]], place_R[shown_R]
        items_UK[at], top_UK[at] = items_R[shown_R], score_R[shown_R]
        del score_UI
    return items_UK, top_UK


def _score_blocks(model: Scorer, query: Query, block: int | None) -> Iterator[tuple[npt.NDArray[np.int64], Scores]]:
    """The query's row numbers and their scores, a block of users at a time.

    Whoever takes a block has to let go of it before asking for the next: then that one gets the same memory. With two
    at a time the C library may give the upper one back to the system, and fetch it anew, page by page, for every block:
    this doubled the time of a whole ranking."""
    size = block or 1  # the first user tells how many items there are
    start = 0
    while start < len(query):
        rows = np.arange(start, min(start + size, len(query)))
        score_UI = model.score(query.take(rows)).detach().cpu().numpy()
        if score_UI.shape[0] != len(rows):
            raise ValueError(f"{type(model).__name__}.score gave {score_UI.shape[0]} rows for {len(rows)} users")
        n_items = score_UI.shape[1]
        yield rows, score_UI
        del score_UI
        start += size
        size = block or (BLOCK_USERS if n_items >= MANY_ITEMS else max(1, BLOCK_SCORES // max(1, n_items)))
