"""Similarities and scores by hand."""

from collections.abc import Mapping

import numpy as np
import pytest

from models import sparse
from models.base import FitSession, Query, Ragged, Recommender, TrainingData
from models.item_knn import ItemKNN, ItemKNNConfig, nearest
from models.sparse import Pairs
from tests.factories import random_log

# Items 0, 1, 2 stand in 3, 2, 1 histories; 0 and 1 together in two, 0 and 2 in one, 1 and 2 in one. Item 3 in none.
HISTORIES = Ragged.from_pairs(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 2, 1, 0, 0]), 3)
DATA = TrainingData(4, HISTORIES)


def fit(data: TrainingData = DATA, **fields: object) -> ItemKNN:
    return ItemKNN.build(ItemKNNConfig(**fields), data).fit(data, FitSession())


def shown(*items: int) -> Query:
    return Query(np.array([-1]), Ragged.from_pairs(np.zeros(len(items), dtype=int), np.array(items, dtype=int), 1))


def test_similarity_is_the_shrunk_cosine() -> None:
    together = {(0, 1): 2 / np.sqrt(6), (0, 2): 1 / np.sqrt(3), (1, 2): 1 / np.sqrt(2)}
    count = {(0, 1): 2, (0, 2): 1, (1, 2): 1}
    for shrink in (0.0, 10.0):
        expected_II = np.zeros((4, 4))
        for (i, j), cosine in together.items():
            expected_II[i, j] = expected_II[j, i] = cosine * count[i, j] / (count[i, j] + shrink)
        np.testing.assert_allclose(nearest(Pairs.of(HISTORIES, 4), 10, shrink).dense(4), expected_II, rtol=1e-6)


def test_a_repeated_row_counts_once() -> None:
    repeated = Ragged.from_pairs(np.array([0, 0, 0, 0, 1, 1, 2, 2]), np.array([0, 1, 2, 0, 1, 0, 0, 0]), 3)
    assert np.array_equal(fit(TrainingData(4, repeated)).similarity.values_Z, fit().similarity.values_Z)


def test_each_item_keeps_its_most_similar_and_of_equal_ones_the_first() -> None:
    # Item 2 is alone with each of 0, 1, 3, 4: four equal similarities.
    users, items = np.array([0, 0, 1, 1, 2, 2, 3, 3]), np.array([2, 4, 2, 3, 2, 1, 2, 0])
    kept = nearest(Pairs.of(Ragged.from_pairs(users, items, 4), 5), 2, 0.0)
    assert np.flatnonzero(kept.dense(5)[2]).tolist() == [0, 1]
    assert np.flatnonzero(kept.dense(5)[4]).tolist() == [2]
    strongest = nearest(Pairs.of(HISTORIES, 4), 1, 0.0).dense(4)
    assert [np.flatnonzero(row).tolist() for row in strongest] == [[1], [0], [1], []]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = Pairs.of(random_log(40, 30, 300, seed=2).histories, 30)
    whole = nearest(pairs, 5, 3.0)
    monkeypatch.setattr(sparse, "BLOCK_NONZEROS", 50)
    parts = nearest(pairs, 5, 3.0)
    assert np.array_equal(whole.offsets, parts.offsets)
    assert np.array_equal(whole.columns_Z, parts.columns_Z)
    assert np.array_equal(whole.values_Z, parts.values_Z)


def test_score_sums_over_the_history_newest_first() -> None:
    model = fit(neighbours=10, shrink=0.0, decay=0.5)
    # item 1 is the newest, item 0 one step back
    expected = [2 / np.sqrt(6), 0.5 * 2 / np.sqrt(6), 1 / np.sqrt(2) + 0.5 / np.sqrt(3), 0]
    assert model.score(shown(0, 1))[0].tolist() == pytest.approx(expected)
    even = fit(neighbours=10, shrink=0.0, decay=1.0)
    assert even.score(shown(0, 1))[0, 2] == pytest.approx(1 / np.sqrt(2) + 1 / np.sqrt(3))
    assert even.score(shown(0, 1)).equal(even.score(shown(1, 0)))


def test_who_has_no_history_gets_the_most_popular() -> None:
    assert fit().score(shown())[0].tolist() == [3, 2, 1, 0]


def test_defaults_stand_in_the_configuration_after_the_fit() -> None:
    assert fit().config == ItemKNNConfig(neighbours=200, shrink=10.0, decay=1.0)


def test_validation_rows_choose_and_the_chosen_model_is_kept() -> None:
    def validate(model: Recommender) -> Mapping[str, float]:
        assert isinstance(model, ItemKNN)
        config = model.config
        assert config.neighbours and config.decay and config.shrink is not None  # noqa: PT018
        return {"ndcg_at_10": -abs(config.neighbours - 50) / 1000 - abs(config.decay - 0.8) - config.shrink / 100}

    model = ItemKNN.build(ItemKNNConfig(), DATA).fit(DATA, FitSession(validate=validate))
    assert model.config == ItemKNNConfig(neighbours=50, shrink=0.0, decay=0.8)
    told = fit(neighbours=50, shrink=0.0, decay=0.8)
    assert model.score(shown(0, 1)).equal(told.score(shown(0, 1)))
