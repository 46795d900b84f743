"""Who is scored by what: the model, the user's like, or everyone's favourites."""

import numpy as np
import pytest
import torch

from models.base import Feature, Query, Ragged
from models.ranking import top_k
from models.segments import Segments
from models.serving import REASONS, Lists, Reason, Served, make_lists, popularity
from tests.factories import FixedScores

SCORE = np.array([[1, 2, 3, 4], [4, 3, 2, 1]])
COUNT = np.array([2, 5, 5, 0], dtype=np.float32)
PLAIN = Served(FixedScores(SCORE), COUNT)


def query(*users: int) -> Query:
    return Query(np.array(users, dtype=np.int64), Ragged.empty(len(users)))


def ragged(*lists: list[int]) -> Ragged:
    offsets_U1 = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return Ragged(offsets_U1, np.array([item for one in lists for item in one], dtype=np.int32))


def reasons(made: Lists) -> list[str]:
    return [REASONS[code] for code in made.reason_U]


def test_popularity_counts_rows_and_repeats() -> None:
    assert popularity(ragged([0, 2, 2], [2]), 4).tolist() == [1, 0, 3, 0]


def test_known_and_unknown_users_may_be_mixed() -> None:
    made = make_lists(PLAIN, query(1, -1, 0, -1), None, 3)
    assert made.items_UK.tolist() == [[0, 1, 2], [1, 2, 0], [3, 2, 1], [1, 2, 0]]
    assert made.score_UK.tolist() == [[4, 3, 2], [5, 5, 2], [4, 3, 2], [5, 5, 2]]
    assert reasons(made) == ["model", "fallback", "model", "fallback"]


@pytest.mark.parametrize("block", [1, 8, 10_000])
def test_each_user_is_spared_their_own_items(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top_k, "BLOCK_SCORES", block)
    seen = ragged([2, 0], [1], [], [2, 1, 2], [0, 1, 2, 3])
    made = make_lists(PLAIN, query(1, -1, 0, -1, -1), seen, 3)
    assert made.items_UK.tolist() == [[1, 3, -1], [2, 0, 3], [3, 2, 1], [0, 3, -1], [-1, -1, -1]]
    assert np.isneginf(made.score_UK).tolist() == [
        [False, False, True],
        [False] * 3,
        [False] * 3,
        [False, False, True],
        [True] * 3,
    ]


def test_lists_are_no_longer_than_the_catalogue() -> None:
    assert make_lists(PLAIN, query(0, -1), None, 99).items_UK.shape == (2, 4)


def test_nobody_gets_nothing() -> None:
    made = make_lists(PLAIN, query(), None, 3)
    assert made.items_UK.shape == (0, 3)


class Knowing(FixedScores):
    """Scores unknown users by its first row backwards, and says that it knows why."""

    def __init__(self, folds_in: bool, features_used: tuple[str, ...]) -> None:
        super().__init__(SCORE)
        self._folds_in, self._features_used = folds_in, features_used
        self.asked: list[Query] = []

    @property
    def folds_in(self) -> bool:
        return self._folds_in

    @property
    def features_used(self) -> tuple[str, ...]:
        return self._features_used

    def score(self, query: Query) -> torch.Tensor:
        self.asked.append(query)
        return super().score(query)


# Rows of four items; the first user is of age 1 and took item 3, the second of age 2 and took items 2 and 3.
SEGMENTS = Segments(ragged([3], [2, 3]), 4, {"age": Feature(np.array([1, 2]), 4)})
BY_GUESS, BY_SEGMENT, BY_COUNT = [0, 1, 2, 3], [3, 2, 0, 1], [1, 2, 0, 3]  # 1 2 3 4 backwards; p is 0 0 1/3 2/3

# a known user with nothing; strangers: with both, with a history, with an age, with a size, with nothing
MIXED = Query(
    np.array([0, -1, -1, -1, -1, -1]),
    ragged([], [0], [0], [], [], []),
    {"age": np.array([0, 1, 0, 1, 0, 0]), "size": np.array([0, 0, 0, 0, 7, 0])},
)
FULL, OWN = ["model", "fold-in", "fold-in", "features", "features", "fallback"], [3, 2, 1, 0]


@pytest.mark.parametrize(
    ("folds_in", "features_used", "expected"),
    [
        (True, ("age", "size", "shoe"), FULL),
        (True, (), ["model", "fold-in", "fold-in", "segment", "fallback", "fallback"]),
        (False, ("size",), ["model", "segment", "fallback", "segment", "features", "fallback"]),
        (False, (), ["model", "segment", "fallback", "segment", "fallback", "fallback"]),
    ],
)
@pytest.mark.parametrize("block", [1, 12, 10_000])
def test_each_user_is_scored_by_the_best_that_is_known(
    folds_in: bool,
    features_used: tuple[str, ...],
    expected: list[str],
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(top_k, "BLOCK_SCORES", block)
    model = Knowing(folds_in, features_used)
    made = make_lists(Served(model, COUNT, SEGMENTS), MIXED, None, 4)
    assert reasons(made) == expected
    lists = {"model": OWN, "fold-in": BY_GUESS, "features": BY_GUESS, "segment": BY_SEGMENT, "fallback": BY_COUNT}
    assert made.items_UK.tolist() == [lists[reason] for reason in expected]
    codes = [code for query in model.asked for code in query.features["age"].tolist()]
    by_model = [one in ("model", "fold-in", "features") for one in expected]
    assert codes == [code for code, asked in zip([0, 1, 0, 1, 0, 0], by_model, strict=True) if asked]
    assert sum(len(query.histories.items_R) for query in model.asked) == 2 * folds_in


def test_without_segments_features_tell_nothing() -> None:
    assert reasons(make_lists(Served(Knowing(False, ()), COUNT), MIXED, None, 4)) == ["model"] + ["fallback"] * 5


def test_the_reasons_are_written_in_the_order_of_their_codes() -> None:
    assert [reason.name.lower().replace("_", "-") for reason in Reason] == list(REASONS)
