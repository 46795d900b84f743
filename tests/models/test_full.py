"""The ranking that judges, against a slow one that sorts every user's items."""

import numpy as np
import pytest
import torch
from torch import Tensor

from models.base import Query, Ragged
from models.ranking.full import NOWHERE, FullRanking, rank_fully
from models.ranking.top_k import recommend

# U users, I items, R relevant items of all users
N_USERS, N_ITEMS = 60, 31


class Given:
    """Scores by a table, and remembers for whom."""

    def __init__(self, score_UI: np.ndarray) -> None:
        self.score_UI = torch.from_numpy(np.asarray(score_UI, dtype=np.float32))
        self.asked: list[int] = []

    def score(self, query: Query) -> Tensor:
        self.asked += query.users_U.tolist()
        return self.score_UI[query.users_U]


def lists(n_rows: int, seed: int) -> Ragged:
    """Random lists with repeats; the last user has none."""
    rng = np.random.default_rng(seed)
    return Ragged.from_pairs(rng.integers(N_USERS - 1, size=n_rows), rng.integers(N_ITEMS, size=n_rows), N_USERS)


def everybody(seen: Ragged) -> Query:
    return Query(np.arange(len(seen)), seen)


def with_ties() -> np.ndarray:
    """Few different scores, some of them -inf."""
    score_UI = np.random.default_rng(0).integers(0, 6, size=(N_USERS, N_ITEMS)).astype(np.float32)
    return np.where(score_UI == 0, -np.inf, score_UI)


SEEN, RELEVANT = lists(300, 1), lists(250, 2).as_sets()


def ranked(block: int | None = None, seen: Ragged | None = SEEN) -> FullRanking:
    return rank_fully(Given(with_ties()), everybody(SEEN), seen, RELEVANT, 7, block)


@pytest.mark.parametrize("masks", [True, False])
def test_every_relevant_item_stands_where_a_sort_puts_it(masks: bool) -> None:
    score_UI, made = with_ties(), ranked(seen=SEEN if masks else None)
    assert (made.place_R == NOWHERE).sum() > 10
    for r, (user, item) in enumerate(zip(RELEVANT.users_R.tolist(), RELEVANT.items_R.tolist(), strict=True)):
        seen = set(SEEN.row(user).tolist()) if masks else set()
        shown = [i for i in range(N_ITEMS) if i not in seen and score_UI[user, i] > -np.inf]
        shown.sort(key=lambda i: (-score_UI[user, i], i))
        negatives = [i for i in range(N_ITEMS) if i not in seen and i not in RELEVANT.row(user)]
        assert made.ranks.negatives_U[user] == len(negatives)
        counts = made.ranks.above_R[r], made.ranks.equal_R[r]
        if item in shown:
            own = score_UI[user, item]
            assert made.place_R[r] == shown.index(item)
            assert counts == tuple(sum(test(score_UI[user, i]) for i in negatives) for test in (own.__lt__, own.__eq__))
        else:
            assert (made.place_R[r], *counts) == (NOWHERE, len(negatives), 0)


def test_lists_are_those_that_are_served() -> None:
    expected, _ = recommend(Given(with_ties()), everybody(SEEN), SEEN, 7)
    assert np.array_equal(ranked().items_UK, expected)


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_blocks_change_nothing(block: int) -> None:
    one, other = ranked(), ranked(block)
    assert np.array_equal(one.items_UK, other.items_UK)
    assert np.array_equal(one.place_R, other.place_R)
    for ours, theirs in zip(one.ranks, other.ranks, strict=True):
        assert np.array_equal(ours, theirs)


def test_scores_are_made_once() -> None:
    model = Given(with_ties())
    rank_fully(model, everybody(SEEN), SEEN, RELEVANT, 7, 16)
    assert model.asked == list(range(N_USERS))


def test_nobody_and_wrong_sizes() -> None:
    nobody = rank_fully(Given(with_ties()), everybody(Ragged.empty(0)), None, Ragged.empty(0), 3)
    assert (nobody.items_UK.shape, len(nobody.place_R), len(nobody.ranks.negatives_U)) == ((0, 3), 0, 0)
    with pytest.raises(ValueError, match="relevant items of 2"):
        rank_fully(Given(with_ties()), everybody(SEEN), SEEN, Ragged.empty(2), 7)


def test_nan_is_refused() -> None:
    score_UI = with_ties()
    score_UI[5, int(RELEVANT.row(5)[0])] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        rank_fully(Given(score_UI), everybody(SEEN), None, RELEVANT, 7)
