"""Lists for known users by the model, for others by popularity."""

import numpy as np
import pytest

from models import serving
from models.base import Query, Ragged
from models.serving import make_lists, popularity
from tests.factories import FixedScores

SCORE = np.array([[1, 2, 3, 4], [4, 3, 2, 1]])
COUNT = np.array([2, 5, 5, 0], dtype=np.float32)


def query(*users: int) -> Query:
    return Query(np.array(users, dtype=np.int64), Ragged.empty(len(users)))


def ragged(*lists: list[int]) -> Ragged:
    offsets_U1 = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return Ragged(offsets_U1, np.array([item for one in lists for item in one], dtype=np.int32))


def test_popularity_counts_rows_and_repeats() -> None:
    assert popularity(ragged([0, 2, 2], [2]), 4).tolist() == [1, 0, 3, 0]


def test_known_and_unknown_users_may_be_mixed() -> None:
    made = make_lists(FixedScores(SCORE), COUNT, query(1, -1, 0, -1), None, 3)
    assert made.items_UK.tolist() == [[0, 1, 2], [1, 2, 0], [3, 2, 1], [1, 2, 0]]
    assert made.score_UK.tolist() == [[4, 3, 2], [5, 5, 2], [4, 3, 2], [5, 5, 2]]
    assert made.fallback_U.tolist() == [False, True, False, True]


@pytest.mark.parametrize("block", [1, 8, 10_000])
def test_each_user_is_spared_their_own_items(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "BLOCK_SCORES", block)
    seen = ragged([2, 0], [1], [], [2, 1, 2], [0, 1, 2, 3])
    made = make_lists(FixedScores(SCORE), COUNT, query(1, -1, 0, -1, -1), seen, 3)
    assert made.items_UK.tolist() == [[1, 3, -1], [2, 0, 3], [3, 2, 1], [0, 3, -1], [-1, -1, -1]]
    assert np.isneginf(made.score_UK).tolist() == [
        [False, False, True],
        [False] * 3,
        [False] * 3,
        [False, False, True],
        [True] * 3,
    ]


def test_lists_are_no_longer_than_the_catalogue() -> None:
    assert make_lists(FixedScores(SCORE), COUNT, query(0, -1), None, 99).items_UK.shape == (2, 4)


def test_nobody_gets_nothing() -> None:
    made = make_lists(FixedScores(SCORE), COUNT, query(), None, 3)
    assert made.items_UK.shape == (0, 3)
