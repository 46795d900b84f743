"""The ranking that judges: each user's list, and where every relevant item stands, from one pass over the scores.

U users, I items, K places, R relevant items of all users in one array; B users of a block, V their relevant items
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from numba import prange
from torch import Tensor

from ..base import Query, Ragged
from ..compiled import compiled, holds
from .ranks import Ranks, ranks_of
from .top_k import Scorer, recommend

Counts = npt.NDArray[np.int64]
Items = npt.NDArray[np.int32]
Scores = npt.NDArray[np.float32]

NOWHERE = -1
"""The place of an item that is never shown: it is masked, or its score is -inf."""


@dataclass(frozen=True)
class FullRanking:
    """Every user's ranking of the items that the user has not seen."""

    items_UK: Items
    """The best of them, as `recommend` gives them."""
    ranks: Ranks
    """What stands before and level with each relevant item. One that is never shown stands behind every negative."""
    place_R: Counts
    """The place of each relevant item, from 0, ties by item order as in the lists; NOWHERE for what is never shown."""


class _Watched:
    """A model whose scores are looked at on their way to the lists, so that they are made once."""

    def __init__(self, model: Scorer, seen: Ragged | None, relevant: Ragged) -> None:
        self.model, self.seen, self.relevant = model, seen, relevant
        self.n_asked = 0
        self.found: list[tuple[Ranks, Counts]] = []

    def score(self, query: Query) -> Tensor:
        """The model's scores. Asked for in the order of the users, each user once."""
        score_BI = np.ascontiguousarray(self.model.score(query).detach().cpu().numpy(), dtype=np.float32)
        rows_B = np.arange(self.n_asked, self.n_asked + len(query))
        self.n_asked += len(query)
        seen = self.seen.take(rows_B) if self.seen else Ragged.empty(len(query))
        self.found.append(_stand(score_BI, seen, self.relevant.take(rows_B)))
        return torch.from_numpy(score_BI)


def rank_fully(
    model: Scorer, query: Query, seen: Ragged | None, relevant: Ragged, k: int, block: int | None = None
) -> FullRanking:
    """Ranks every unseen item for each user of the query, `block` users at a time as `recommend` does.

    `seen` has one list for each user, in any order, and None masks nothing; `relevant` ascending sets (`as_sets`) of
    items that the model knows. Raises ValueError for NaN among the scores."""
    if len(relevant) != len(query):
        raise ValueError(f"{len(query)} users, but relevant items of {len(relevant)}")
    sets = seen.as_sets() if seen else None
    watched = _Watched(model, sets, relevant)
    items_UK, _ = recommend(watched, query, sets, k, block)
    nobody = np.empty(0, dtype=np.int64)
    ranks = [np.concatenate([nobody, *(one[at] for one, _ in watched.found)]) for at in range(3)]
    return FullRanking(items_UK, Ranks(*ranks), np.concatenate([nobody, *(place_V for _, place_V in watched.found)]))


def _stand(score_BI: Scores, seen: Ragged, relevant: Ragged) -> tuple[Ranks, Counts]:
    """Where the relevant items of a block stand."""
    ranks = ranks_of(score_BI, seen, relevant)
    sets = seen.offsets_U1, seen.items_R, relevant.offsets_U1, relevant.items_R
    place_V = _places(score_BI, *sets, ranks.above_R, ranks.equal_R)
    never_V = place_V == NOWHERE
    above_V = np.where(never_V, ranks.negatives_U[relevant.users_R], ranks.above_R)
    return Ranks(above_V, np.where(never_V, 0, ranks.equal_R), ranks.negatives_U), place_V


@compiled()
def _level_before(score_I: Scores, item: int, seen_E: Items) -> int:
    """How many unseen items before this one in the catalogue have its score."""
    own, level = score_I[item], 0
    for other in range(item):
        level += score_I[other] == own
    for other in seen_E:
        level -= other < item and score_I[other] == own
    return level


@compiled(parallel=True)
def _places(
    score_BI: Scores,
    seen_B1: Counts,
    seen_items: Items,
    relevant_B1: Counts,
    relevant_V: Items,
    above_V: Counts,
    equal_V: Counts,
) -> Counts:
    """[V] the place of each relevant item: the negatives above it, what is level and earlier, and what is relevant too
    and above."""
    place_V = np.full(len(relevant_V), NOWHERE, dtype=np.int64)
    for user in prange(len(score_BI)):
        score_I, start, end = score_BI[user], seen_B1[user], seen_B1[user + 1]
        for v in range(relevant_B1[user], relevant_B1[user + 1]):
            item, own = relevant_V[v], score_BI[user, relevant_V[v]]
            if own == -np.inf or holds(seen_items, start, end, item):
                continue
            higher, level = 0, 0
            for w in range(relevant_B1[user], relevant_B1[user + 1]):
                other = relevant_V[w]
                ahead = score_I[other] > own or (score_I[other] == own and other < item)
                if ahead and not holds(seen_items, start, end, other):
                    higher += score_I[other] > own
                    level += score_I[other] == own
            if equal_V[v] > 0:  # then negatives are among those that are level
                level = _level_before(score_I, item, seen_items[start:end])
            place_V[v] = above_V[v] + higher + level
    return place_V
