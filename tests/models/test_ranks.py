"""The counts behind AUC against slow loops and numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import Ragged
from models.ranking.ranks import TILE, ranks_of
from tests.factories import random_log


def lists(*rows: list[int]) -> Ragged:
    offsets_U1 = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Ragged(offsets_U1, np.array([item for row in rows for item in row], dtype=np.int32))


def test_by_hand() -> None:
    score_UI = np.array([[5, 3, 3, 9, 1, 3], [0, 1, 2, 3, 4, 5]], dtype=np.float32)
    # The first user has seen 3, so the negatives of 1 and 4 are 0, 2 and 5. The second user has no relevant item.
    ranks = ranks_of(score_UI, lists([3], [0, 5]), lists([1, 4], []))
    assert ranks.above_R.tolist() == [1, 3]
    assert ranks.equal_R.tolist() == [2, 0]
    assert ranks.negatives_U.tolist() == [3, 4]


def test_a_relevant_item_that_is_seen_leaves_once() -> None:
    ranks = ranks_of(np.array([[2, 2, 1, 3]], dtype=np.float32), lists([0, 3]), lists([0, 2]))
    assert ranks.above_R.tolist() == [0, 1]
    assert ranks.equal_R.tolist() == [1, 0]
    assert ranks.negatives_U.tolist() == [1]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 4), st.integers(1, 20))
def test_agrees_with_loops(seed: int, n_items: int, n_values: int, n_users: int) -> None:
    rng = np.random.default_rng(seed)
    score_UI = rng.integers(-n_values, n_values, size=(n_users, n_items)).astype(np.float32)
    score_UI[rng.random(score_UI.shape) < 0.1] = -np.inf
    most = n_users * n_items + 1
    seen, relevant = (random_log(n_users, n_items, int(rng.integers(most)), seed + i).histories for i in (0, 1))
    seen, relevant = seen.as_sets(), relevant.as_sets()
    ranks = ranks_of(score_UI, seen, relevant)
    expected = []
    for user in range(n_users):
        negatives = sorted(set(range(n_items)) - set(seen.row(user).tolist()) - set(relevant.row(user).tolist()))
        assert ranks.negatives_U[user] == len(negatives)
        others = score_UI[user, negatives]
        expected += [((others > own).sum(), (others == own).sum()) for own in score_UI[user, relevant.row(user)]]
    assert list(zip(ranks.above_R, ranks.equal_R, strict=True)) == expected


@pytest.mark.parametrize("n_items", [TILE - 1, TILE, TILE + 1, 2 * TILE + 5])
def test_tiles_are_counted_once_each(n_items: int) -> None:
    score_UI = np.random.default_rng(0).permutation(n_items).astype(np.float32)[None, :]
    best, worst = int(score_UI.argmax()), int(score_UI.argmin())
    relevant = lists(sorted([best, worst]))
    ranks = ranks_of(score_UI, None, relevant)
    assert dict(zip(relevant.items_R.tolist(), ranks.above_R, strict=True)) == {best: 0, worst: n_items - 2}
    assert ranks.equal_R.tolist() == [0, 0]


@pytest.mark.parametrize("at", [0, 3, TILE + 2])
def test_nan_of_an_unseen_item_is_an_error_and_of_a_seen_one_is_not(at: int) -> None:
    score_UI = np.arange(2 * (TILE + 3), dtype=np.float32).reshape(2, -1)
    score_UI[1, at] = np.nan
    relevant = lists([1], [0, 3])
    with pytest.raises(ValueError, match="1 of 2 users have NaN"):
        ranks_of(score_UI, None, relevant)
    if at > 3:
        assert ranks_of(score_UI, lists([], [at]), relevant).above_R.tolist() == [TILE + 1, TILE, TILE - 2]
    elif at == 0:  # seen, but what others are compared with
        with pytest.raises(ValueError, match="1 of 2 users have NaN"):
            ranks_of(score_UI, lists([], [at]), relevant)


def test_wrong_arguments_are_named() -> None:
    score_UI = np.zeros((2, 3), dtype=np.float32)
    with pytest.raises(ValueError, match="relevant items of 1"):
        ranks_of(score_UI, None, lists([0]))
    with pytest.raises(ValueError, match="seen items of 1"):
        ranks_of(score_UI, lists([0]), lists([0], [1]))
    with pytest.raises(ValueError, match=r"relevant items outside of 0\.\.2"):
        ranks_of(score_UI, None, lists([3], []))
    with pytest.raises(ValueError, match=r"seen items outside of 0\.\.2"):
        ranks_of(score_UI, lists([-1], []), lists([1], []))
