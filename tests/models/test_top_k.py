"""The ranking against a slow and obviously right one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import FitSession, Query, Ragged, Recommender, TrainingData
from models.config import ModelConfig
from models.ranking import top_k as ranking
from models.ranking.top_k import rank_candidates, recommend, top_k
from tests.factories import random_log


class Fixed(Recommender):
    """A model that scores by a given table."""

    Config = ModelConfig

    def __init__(self, score_UI: np.ndarray) -> None:
        self.score_UI = torch.from_numpy(np.asarray(score_UI, dtype=np.float32))
        self.largest_block = 0

    @classmethod
    def build(cls, config: object, data: TrainingData) -> "Fixed":
        raise NotImplementedError

    def fit(self, data: TrainingData, session: FitSession) -> "Fixed":
        return self

    def score(self, query: Query) -> torch.Tensor:
        self.largest_block = max(self.largest_block, len(query))
        return self.score_UI[torch.from_numpy(query.users_U)]

    def weights(self) -> dict[str, torch.Tensor]:
        return {}

    def load_weights(self, weights: object) -> "Fixed":
        return self


def oracle(scores: list[float], allowed: list[int], k: int) -> list[int]:
    best = sorted((item for item in allowed if scores[item] > -np.inf), key=lambda item: (-scores[item], item))[:k]
    return best + [-1] * (k - len(best))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 3000), st.integers(1, 5), st.booleans())
def test_agrees_with_sorting(seed: int, k: int, n_items: int, n_values: int, few: bool) -> None:
    rng, n_users = np.random.default_rng(seed), 8
    score_UI = rng.standard_normal((n_users, n_items)).astype(np.float32)
    if few:  # most comparisons are ties, and a zero may have either sign
        score_UI = rng.integers(-n_values, n_values, size=(n_users, n_items)) * np.float32(-0.5)
    score_UI[rng.random(score_UI.shape) < 0.05] = -np.inf
    score_UI[rng.random(score_UI.shape) < 0.001] = np.inf
    score_UI[: n_users // 2].sort()  # the worst order for a list that is filled from the front
    seen = random_log(n_users, n_items, int(rng.integers(0, n_users * n_items + 1)), seed).histories
    if n_values == 1:  # they have seen what they would like best
        seen = Ragged(np.arange(n_users + 1) * k, np.argsort(-score_UI)[:, :k].astype(np.int32).ravel())
        seen = seen if n_items >= k else Ragged.empty(n_users)
    seen = seen.as_sets()
    items_UK, top_UK = top_k(score_UI, seen, k)
    for user in range(n_users):
        allowed = sorted(set(range(n_items)) - set(seen.row(user).tolist()))
        expected = oracle(score_UI[user].tolist(), allowed, k)
        assert items_UK[user].tolist() == expected
        assert top_UK[user].tolist() == [score_UI[user, item] if item >= 0 else -np.inf for item in expected]


def test_what_is_seen_is_no_measure_for_the_rest() -> None:
    score_UI = np.zeros((1, 1000), dtype=np.float32)
    score_UI[0, [0, 1, 70, 999]] = 8, 9, 5, 4
    seen = Ragged(np.array([0, 2]), np.array([0, 1], dtype=np.int32))
    assert top_k(score_UI, seen, 3)[0].tolist() == [[70, 999, 2]]


def test_a_zero_with_a_sign_is_as_good_as_one_without() -> None:
    score_UI = np.zeros((1, 1280), dtype=np.float32)
    score_UI[0, :64] = -0.0
    assert top_k(score_UI, None, 3)[0].tolist() == [[0, 1, 2]]


def test_seen_items_that_the_scores_do_not_have_mask_nothing() -> None:
    seen = Ragged(np.array([0, 4]), np.array([-70, -1, 130, 2**31 - 1], dtype=np.int32))
    assert top_k(np.arange(130, dtype=np.float32)[None, :], seen, 2)[0].tolist() == [[129, 128]]


def test_ties_go_to_the_lower_index_and_missing_places_are_marked() -> None:
    items_UK, top_UK = top_k(
        np.array([[1, 2, 2, 1]], dtype=np.float32), Ragged(np.array([0, 1]), np.array([1], np.int32)), 4
    )
    assert items_UK.tolist() == [[2, 0, 3, -1]]
    assert top_UK.tolist() == [[2, 1, 1, -np.inf]]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("at", [0, 63, 64, 150])
def test_nan_is_an_error_but_of_a_seen_item(at: int, sign: int) -> None:
    score_UI = np.zeros((3, 151), dtype=np.float32)
    score_UI[:, 1] = 9  # the list is full of better ones when the NaN comes
    score_UI[1, at] = np.copysign(np.float32(np.nan), sign)
    with pytest.raises(ValueError, match="1 of 3 users have NaN"):
        top_k(score_UI, None, 1)
    seen = Ragged(np.array([0, 0, 1, 1]), np.array([at], dtype=np.int32))
    assert top_k(score_UI, seen, 1)[0].tolist() == [[1]] * 3
    score_UI[1, 2] = score_UI[1, at]
    with pytest.raises(ValueError, match="1 of 3 users have NaN"):
        top_k(score_UI, seen, 1)


def test_wrong_arguments_are_named() -> None:
    score_UI = np.zeros((2, 3), dtype=np.float32)
    with pytest.raises(ValueError, match="at least 1"):
        top_k(score_UI, None, 0)
    with pytest.raises(ValueError, match="seen items of 5"):
        top_k(score_UI, Ragged.empty(5), 1)


@pytest.mark.parametrize("block", [None, 1, 7, 1000])
def test_blocks_change_nothing(block: int | None) -> None:
    score_UI = np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32)
    histories = random_log(50, 20, 300, seed=0).histories
    users_U = np.random.default_rng(1).permutation(50)
    model = Fixed(score_UI)
    items_UK, top_UK = recommend(model, Query(users_U, histories.take(users_U)), histories.take(users_U), 5, block)
    expected = top_k(score_UI[users_U], histories.take(users_U).as_sets(), 5)
    assert np.array_equal(items_UK, expected[0])
    assert np.array_equal(top_UK, expected[1])
    assert block is None or model.largest_block <= block


@pytest.mark.parametrize(("n_items", "largest"), [(10, 100), (333, 3), (2000, 1), (3000, 2)])
def test_scores_of_all_users_never_stand_in_memory(n_items: int, largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, small in (("BLOCK_SCORES", 1000), ("MANY_ITEMS", 2500), ("BLOCK_USERS", 2)):
        monkeypatch.setattr(ranking, name, small)
    model = Fixed(np.zeros((1, n_items)))
    users_U = np.zeros(205, dtype=np.int64)
    items_UK, _ = recommend(model, Query(users_U, Ragged.empty(205)), None, 1)
    assert items_UK.tolist() == [[0]] * 205
    assert model.largest_block == largest


def test_candidates_are_ranked_by_score_then_index_and_unknown_ones_last() -> None:
    model = Fixed(np.array([[0, 5, 5, 1], [3, 2, 1, 0]]))
    candidates = Ragged(np.array([0, 5, 7]), np.array([2, -1, 3, 1, 1, 3, 2], dtype=np.int32))
    items_UK, top_UK = rank_candidates(model, Query(np.array([0, 1]), Ragged.empty(2)), candidates, 4)
    assert items_UK.tolist() == [[1, 2, 3, -1], [2, 3, -1, -1]]
    assert top_UK[0].tolist() == [5, 5, 1, -np.inf]


def test_candidates_agree_with_masking_all_others() -> None:
    rng = np.random.default_rng(0)
    score_UI = rng.integers(0, 4, size=(40, 30)).astype(np.float32)
    candidates = random_log(40, 30, 400, seed=1).histories
    items_UK, _ = rank_candidates(Fixed(score_UI), Query(np.arange(40), Ragged.empty(40)), candidates, 6, block=9)
    for user in range(40):
        allowed = sorted(set(candidates.row(user).tolist()))
        assert items_UK[user].tolist() == oracle(score_UI[user].tolist(), allowed, 6)
