"""Lists for users: the model's where it knows the user, the most popular items where it does not.

U users, K places, I items
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .base import Query, Ragged, Recommender
from .ranking.top_k import BLOCK_SCORES, recommend, top_k


@dataclass(frozen=True)
class Lists:
    """Each user's best items, best first."""

    items_UK: npt.NDArray[np.int32]
    """Item indices; -1 where fewer than K items were left for the user."""
    score_UK: npt.NDArray[np.float32]
    fallback_U: npt.NDArray[np.bool_]
    """Users whom the model does not know: their list is by popularity."""


def popularity(fitted: Ragged, n_items: int) -> npt.NDArray[np.float32]:
    """[I] rows of each item among the fitted ones: the fallback's score."""
    return np.bincount(fitted.items_R, minlength=n_items).astype(np.float32)


def make_lists(
    model: Recommender, popularity_I: npt.NDArray[np.float32], query: Query, seen: Ragged | None, k: int
) -> Lists:
    """Ranks all items for every user of the query and leaves out what each has `seen` (lists in the query's order)."""
    k = min(k, len(popularity_I))
    items_UK = np.full((len(query), k), -1, dtype=np.int32)
    score_UK = np.full((len(query), k), -np.inf, dtype=np.float32)
    unknown_U = query.users_U < 0
    for fallback in (False, True):
        index_V = np.flatnonzero(unknown_U == fallback)
        if not len(index_V):
            continue
        seen_V = seen.take(index_V) if seen is not None else None
        if fallback:
            size = max(1, BLOCK_SCORES // len(popularity_I))
            for start in range(0, len(index_V), size):
                rows_B = np.arange(start, min(start + size, len(index_V)))
                seen_B = seen_V.take(rows_B).as_sets() if seen_V is not None else None
                score_BI = np.broadcast_to(popularity_I, (len(rows_B), len(popularity_I)))
                items_UK[index_V[rows_B]], score_UK[index_V[rows_B]] = top_k(score_BI, seen_B, k)
        else:
            known = Query(query.users_U[index_V], query.histories.take(index_V))
            items_UK[index_V], score_UK[index_V] = recommend(model, known, seen_V, k)
    return Lists(items_UK, score_UK, unknown_U)
