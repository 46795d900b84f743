"""Sparse products against dense ones, history weights by hand, and the search that fills in what is unset."""

from collections.abc import Mapping
from typing import Literal

import numba
import numpy as np
import pytest

from models import sparse
from models.base import FitSession, Query, Ragged, Recommender, TrainingData
from models.choosing import choose
from models.config import ModelConfig
from models.fitting.config import TrainerConfig
from models.sparse import Csr, Pairs, gram_blocks, times_dense, times_sparse, times_sparse_twice, weigh
from tests.factories import FixedScores, random_log

DATA = random_log(30, 40, 500, seed=1)
EMPTY_USER = Ragged.from_pairs(DATA.histories.users_R, DATA.histories.items_R, 31)


def dense_of(histories: Ragged, n_items: int) -> np.ndarray:
    x_UI = np.zeros((len(histories), n_items), dtype=np.float32)
    x_UI[histories.users_R, histories.items_R] = 1
    return x_UI


def test_newest_item_weighs_one_and_a_repeat_counts_by_its_newest_place() -> None:
    histories = Ragged.from_pairs(np.array([0, 0, 0, 0, 2]), np.array([3, 1, 3, 2, 0]), 3)
    weighted_UI = weigh(histories, 0.5, 4).dense(4)
    # user 0, oldest first: 3, 1, 3, 2
    assert weighted_UI.tolist() == [[0, 0.25, 1, 0.5], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert weigh(histories, 1.0, 4).dense(4).tolist() == dense_of(histories, 4).tolist()


def test_weights_that_float32_does_not_notice_are_left_out() -> None:
    histories = Ragged.from_pairs(np.zeros(100, dtype=int), np.arange(100), 1)
    weighted = weigh(histories, 0.5, 100)
    assert len(weighted.columns_Z) == 24  # 0.5^23 is above 1e-7, 0.5^24 is below
    assert weighted.columns_Z[0] == 99


@pytest.mark.parametrize("room", [60, 2**24])  # many blocks and one
@pytest.mark.parametrize("n_items", [40, 2000])  # columns found by looking through all, and by sorting
def test_gram_matrix_is_that_of_a_dense_product(room: int, n_items: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "BLOCK_NONZEROS", room)
    x_UI, weight_U = dense_of(EMPTY_USER, n_items), np.linspace(0.5, 2, 31).astype(np.float32)
    blocks = list(gram_blocks(Pairs.of(EMPTY_USER, n_items), weight_U))
    assert (len(blocks) > 1) == (room == 60)
    assert [start for start, _ in blocks] == np.cumsum([0, *(len(block) for _, block in blocks[:-1])]).tolist()
    gram = Csr.joined([block for _, block in blocks])
    np.testing.assert_allclose(gram.dense(n_items), x_UI.T @ (weight_U[:, None] * x_UI), rtol=1e-5)
    rows_Z = np.repeat(np.arange(n_items), np.diff(gram.offsets))
    assert (np.diff(rows_Z * n_items + gram.columns_Z) > 0).all()  # ascending, each once
    assert (gram.values_Z != 0).all()


def test_products_are_those_of_dense_matrices() -> None:
    pairs = Pairs.of(EMPTY_USER, 40)
    left = weigh(EMPTY_USER, 0.9, 40)
    by_user, by_item = (weigh(ragged, 1.0, 40) for ragged in (pairs.by_user, pairs.by_item))
    x_UI, left_UI = by_user.dense(40), left.dense(40)
    right_IN = np.random.default_rng(0).standard_normal((40, 7)).astype(np.float32)
    np.testing.assert_allclose(times_dense(left, right_IN), left_UI @ right_IN, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(times_sparse(left, by_item, 31), left_UI @ x_UI.T, rtol=1e-5)
    np.testing.assert_allclose(times_sparse_twice(left, by_item, by_user, 40), left_UI @ x_UI.T @ x_UI, rtol=1e-5)


def test_the_number_of_threads_changes_no_bit() -> None:
    pairs, weight_U = Pairs.of(EMPTY_USER, 40), np.linspace(0.1, 3, 31).astype(np.float32)
    right_IN = np.random.default_rng(0).standard_normal((40, 7)).astype(np.float32)
    before, results = numba.get_num_threads(), []
    for threads in (1, before):
        numba.set_num_threads(threads)
        try:
            gram = Csr.joined([block for _, block in gram_blocks(pairs, weight_U)])
            left = weigh(EMPTY_USER, 0.9, 40)
            results.append((gram.values_Z, times_sparse(left, gram, 40), times_dense(left, right_IN)))
        finally:
            numba.set_num_threads(before)
    assert all(np.array_equal(one, other) for one, other in zip(*results, strict=True))


class HillConfig(ModelConfig):
    name: Literal["hill"] = "hill"
    x: int | None = None
    y: int | None = None


GRID = {"x": (0, 1, 2, 3, 4), "y": (0, 1, 2)}


def climb(config: HillConfig, validated: bool = True) -> tuple[HillConfig, list[tuple[int | None, int | None]]]:
    """Chooses the top of a hill at x 3, y 0. Also returns the points in the order in which they were fitted."""
    fitted: list[tuple[int | None, int | None]] = []
    model = FixedScores(np.zeros((1, 1)))

    def fit(point: HillConfig) -> Recommender:
        fitted.append((point.x, point.y))
        model.config = point
        return model

    def validate(model: Recommender) -> Mapping[str, float]:
        point = model.config
        assert isinstance(point, HillConfig) and point.x is not None and point.y is not None  # noqa: PT018
        return {"ndcg_at_10": -((point.x - 3) ** 2) - point.y**2 - abs(point.x - point.y - 3)}

    session = FitSession(TrainerConfig(), validate if validated else None)
    return choose(config, GRID, {"x": 1, "y": 2}, session, fit), fitted


def test_search_reaches_the_top_and_fits_no_point_twice() -> None:
    chosen, fitted = climb(HillConfig())
    assert (chosen.x, chosen.y) == (3, 0)
    assert len(set(fitted)) == len(fitted)


def test_search_leaves_alone_what_is_set() -> None:
    chosen, fitted = climb(HillConfig(x=0))
    assert (chosen.x, chosen.y) == (0, 0)
    assert {x for x, _ in fitted} == {0}


def test_without_validation_rows_the_defaults_are_taken_and_nothing_is_fitted() -> None:
    chosen, fitted = climb(HillConfig(y=1), validated=False)
    assert (chosen.x, chosen.y, fitted) == (1, 1, [])


def test_nothing_left_open_costs_nothing() -> None:
    assert climb(HillConfig(x=0, y=1))[1] == []


def test_empty_data_gives_empty_matrices() -> None:
    data = TrainingData(3, Ragged.empty(2))
    assert [len(block) for _, block in gram_blocks(Pairs.of(data.histories, 3), np.ones(2, dtype=np.float32))] == [3]
    assert len(Query(np.arange(2), data.histories)) == len(weigh(data.histories, 0.5, 3)) == 2
