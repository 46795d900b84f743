"""The graph filter against dense linear algebra."""

from collections.abc import Mapping

import numpy as np
import pytest

from models import graph_filter
from models.base import FitSession, Query, Ragged, Recommender, TrainingData
from models.fitting.config import TrainerConfig
from models.graph_filter import Graph, GraphFilter, GraphFilterConfig, smoothest
from tests.factories import random_log, two_communities


def fit(data: TrainingData, seed: int = 0, **fields: object) -> GraphFilter:
    session = FitSession(TrainerConfig(seed=seed))
    return GraphFilter.build(GraphFilterConfig(**fields), data).fit(data, session)


def shown(*items: int) -> Query:
    return Query(np.array([-1]), Ragged.from_pairs(np.zeros(len(items), dtype=int), np.array(items, dtype=int), 1))


def dense_scores(data: TrainingData, factors: int, alpha: float) -> np.ndarray:
    """As the authors' code: x R'R + alpha x D^-1/2 V V' D^1/2, with an exact singular value decomposition."""
    x_UI = np.zeros((data.n_users, data.n_items))
    x_UI[data.histories.users_R, data.histories.items_R] = 1
    degree_U, degree_I = (np.maximum(x_UI.sum(axis=axis), 1) for axis in (1, 0))
    r_UI = x_UI / np.sqrt(degree_U[:, None] * degree_I)
    v_IF = np.linalg.svd(r_UI)[2][:factors].T
    smooth_UI = (x_UI / np.sqrt(degree_I)) @ v_IF @ v_IF.T * np.sqrt(degree_I)
    score_UI: np.ndarray = x_UI @ r_UI.T @ r_UI + alpha * smooth_UI
    return score_UI


def skewed_log() -> TrainingData:
    """Users of four tastes with some noise, repeats included: the first four singular vectors stand out."""
    rng = np.random.default_rng(0)
    users_R = rng.integers(200, size=4000)
    taste_R = (users_R % 4) * 12 + rng.integers(12, size=4000)
    items_R = np.where(rng.random(4000) < 0.2, (rng.random(4000) ** 2 * 50).astype(int), taste_R)
    return TrainingData(50, Ragged.from_pairs(users_R, items_R, 200))


@pytest.mark.parametrize("share", [0.25, 0.0])  # with the Gram matrix kept, and by two products
def test_scores_are_those_of_the_dense_filter(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_filter, "SHARE", share)
    data = skewed_log()
    model = fit(data, factors=4, alpha=0.5, decay=1.0)
    score_UI = model.score(Query(np.arange(200), data.histories)).numpy()
    np.testing.assert_allclose(score_UI, dense_scores(data, 4, 0.5), atol=2e-3)
    assert (model._gram is None) == (share == 0)


def test_a_sparse_gram_matrix_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data = skewed_log()
    dense = fit(data, factors=4, alpha=0.0, decay=1.0).score(Query(np.arange(200), data.histories)).numpy()
    monkeypatch.setattr(graph_filter, "dense_if_full", lambda matrix: matrix)
    sparse = fit(data, factors=4, alpha=0.0, decay=1.0).score(Query(np.arange(200), data.histories)).numpy()
    np.testing.assert_allclose(sparse, dense, rtol=1e-5)
    np.testing.assert_allclose(sparse, dense_scores(data, 4, 0.0), rtol=1e-4, atol=1e-6)


def test_linear_filter_by_hand() -> None:
    # Users {0, 1} and {1}: R = [[1/√2, 1/2], [0, 1/√2]], R'R = [[1/2, 1/√8], [1/√8, 3/4]]
    data = TrainingData(2, Ragged.from_pairs(np.array([0, 0, 1]), np.array([0, 1, 1]), 2))
    model = fit(data, factors=1, alpha=0.0, decay=0.5)
    assert model.score(shown(0))[0].tolist() == pytest.approx([1 / 2, 1 / np.sqrt(8)])
    # item 0 is the newest, item 1 one step back
    assert model.score(shown(1, 0))[0].tolist() == pytest.approx(
        [1 / 2 + 0.5 / np.sqrt(8), 1 / np.sqrt(8) + 0.5 * 3 / 4]
    )


def test_vectors_span_what_the_exact_decomposition_spans() -> None:
    graph = Graph.of(skewed_log().histories, 50)
    v_IF = smoothest(graph, 4, np.random.default_rng(3))
    exact_FI = np.linalg.svd(graph.by_user.dense(50))[2]
    np.testing.assert_allclose(v_IF.T @ v_IF, np.eye(4), atol=1e-5)
    np.testing.assert_allclose(v_IF @ v_IF.T, exact_FI[:4].T @ exact_FI[:4], atol=2e-3)
    assert abs(v_IF[:, 0] @ exact_FI[0]) == pytest.approx(1, abs=1e-4)  # the smoothest comes first


def test_another_seed_starts_elsewhere_and_ends_at_the_same_scores() -> None:
    data = skewed_log()
    query = Query(np.arange(200), data.histories)
    one, other = (fit(data, seed=seed, factors=4, alpha=0.5, decay=1.0).score(query).numpy() for seed in (1, 2))
    assert not np.array_equal(one, other)
    np.testing.assert_allclose(one, other, atol=2e-3)


def test_more_factors_than_items_are_all_there_are() -> None:
    data = random_log(20, 10, 80, seed=0)
    assert fit(data, factors=500).vectors_IF.shape == (10, 10)


def test_who_has_no_history_gets_the_most_popular() -> None:
    data = TrainingData(3, Ragged.from_pairs(np.array([0, 0, 1]), np.array([2, 1, 2]), 2))
    assert fit(data).score(shown())[0].tolist() == [0, 1, 2]


def test_weights_of_another_catalogue_are_refused() -> None:
    model = fit(random_log(20, 10, 80, seed=0))
    other = GraphFilter.build(GraphFilterConfig(), TrainingData(11, Ragged.empty(3)))
    with pytest.raises(ValueError, match="10 items for a catalogue of 11"):
        other.load_weights(model.weights())


def test_validation_rows_choose_and_the_chosen_model_is_kept() -> None:
    data, _ = two_communities(200, 160)

    def validate(model: Recommender) -> Mapping[str, float]:
        assert isinstance(model, GraphFilter)
        config = model.config
        assert config.factors == model.vectors_IF.shape[1]
        assert config.alpha is not None
        assert config.decay is not None
        return {"ndcg_at_10": -abs(config.alpha - 0.8) - abs(config.decay - 1)}

    model = GraphFilter.build(GraphFilterConfig(), data).fit(data, FitSession(validate=validate))
    assert model.config == GraphFilterConfig(factors=32, alpha=0.8, decay=1.0)  # 40 are a quarter of the items
    told = fit(data, factors=32, alpha=0.8, decay=1.0)
    query = Query(np.arange(200), data.histories)
    assert model.score(query).equal(told.score(query))
