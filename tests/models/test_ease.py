"""EASE worked out by hand and against a dense inverse."""

from collections.abc import Mapping

import numpy as np
import pytest

from models.base import DoesNotFit, FitSession, Query, Ragged, Recommender, TrainingData, TrainingDiverged
from models.ease import EASE, EASEConfig, refuse_if_too_large, solve
from tests.factories import random_log


def fit(data: TrainingData, **fields: object) -> EASE:
    return EASE.build(EASEConfig(**fields), data).fit(data, FitSession())


def shown(*items: int) -> Query:
    return Query(np.array([-1]), Ragged.from_pairs(np.zeros(len(items), dtype=int), np.array(items, dtype=int), 1))


# Two items: X'X = [[3, 2], [2, 2]]. With l2 1: [[4, 2], [2, 3]], inverse [[3, -2], [-2, 4]] / 8.
TWO = TrainingData(2, Ragged.from_pairs(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 0, 0]), 3))


def test_two_items_by_hand() -> None:
    model = fit(TWO, l2=1.0, decay=1.0)
    assert model.map_II is not None
    # B[i, j] = -P[i, j] / P[j, j]: 2/4 for (0, 1), 2/3 for (1, 0)
    np.testing.assert_allclose(model.map_II, [[0, 1 / 2], [2 / 3, 0]], rtol=1e-6)
    assert model.score(shown(0, 1))[0].tolist() == pytest.approx([2 / 3, 1 / 2])


def test_three_items_by_hand() -> None:
    # Users {0, 1}, {1, 2}: X'X = [[1,1,0],[1,2,1],[0,1,1]]; with l2 1 [[2,1,0],[1,3,1],[0,1,2]], determinant 8,
    # inverse [[5,-2,1],[-2,4,-2],[1,-2,5]] / 8.
    data = TrainingData(3, Ragged.from_pairs(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2]), 2))
    model = fit(data, l2=1.0, decay=0.5)
    assert model.map_II is not None
    np.testing.assert_allclose(
        model.map_II, [[0, 2 / 4, -1 / 5], [2 / 5, 0, 2 / 5], [-1 / 5, 2 / 4, 0]], rtol=1e-5, atol=1e-7
    )
    # item 2 is the newest, item 0 one step back
    assert model.score(shown(0, 2))[0].tolist() == pytest.approx([-1 / 5, 3 / 4, -1 / 10], abs=1e-6)


def test_many_items_agree_with_a_dense_inverse() -> None:
    data = random_log(300, 150, 4000, seed=5)  # more than two tiles, the last one not full
    x_UI = np.zeros((300, 150))
    x_UI[data.histories.users_R, data.histories.items_R] = 1  # repeats count once
    inverse_II = np.linalg.inv(x_UI.T @ x_UI + 20 * np.eye(150))
    expected_II = -inverse_II / np.diag(inverse_II)
    np.fill_diagonal(expected_II, 0)
    model = fit(data, l2=20.0, decay=1.0)
    assert model.map_II is not None
    np.testing.assert_allclose(model.map_II, expected_II, atol=1e-5)
    score_UI = model.score(Query(np.arange(300), data.histories)).numpy()
    np.testing.assert_allclose(score_UI, x_UI @ expected_II, atol=1e-4)


def test_who_has_no_history_gets_the_most_popular() -> None:
    assert fit(TWO).score(shown())[0].tolist() == [3, 2]


def test_validation_rows_choose_and_the_chosen_model_is_kept() -> None:
    def validate(model: Recommender) -> Mapping[str, float]:
        assert isinstance(model, EASE)
        assert model.config.l2
        assert model.config.decay
        return {"ndcg_at_10": -abs(np.log10(model.config.l2) - 2) - abs(model.config.decay - 0.9)}

    model = EASE.build(EASEConfig(), TWO).fit(TWO, FitSession(validate=validate))
    assert model.config == EASEConfig(l2=100.0, decay=0.9)
    assert model.score(shown(0, 1)).equal(fit(TWO, l2=100.0, decay=0.9).score(shown(0, 1)))


def test_too_many_items_are_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_if_too_large(10_000, 2_000_000_000)  # needs 0.8 of 1.2 GB
    with pytest.raises(DoesNotFit, match=r"20,000 items needs 3\.2 GB.*item_knn, ials or graph_filter"):
        refuse_if_too_large(20_000, 2_000_000_000)
    monkeypatch.setattr("models.ease.refuse_if_too_large", lambda n_items, available: refuse_if_too_large(n_items, 8))
    with pytest.raises(DoesNotFit):
        fit(TWO)


def test_an_indefinite_matrix_is_an_error_and_no_nan() -> None:
    gram_II = np.array([[1, 2], [2, 1]], dtype=np.float32)
    with pytest.raises(TrainingDiverged, match=r"larger model\.l2"):
        solve(gram_II, 0.5, np.empty_like(gram_II))
