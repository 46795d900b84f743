"""What every registered model promises, on data whose right answer is known."""

from functools import cache

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from models.base import FitSession, Query, Ragged, Recommender, TrainingData
from models.fitting.config import TrainerConfig
from models.ranking.metrics import hit_rate_at_k, hits
from models.ranking.top_k import recommend
from models.registry import MODELS, build, make_config, model_class
from tests.factories import query_of, two_communities

DATA, HIDDEN = two_communities()
PERSONALISED = [name for name in MODELS if model_class(name).personalised]


def fit(name: str, data: TrainingData = DATA, **trainer: object) -> Recommender:
    """Fits one model, for at most 30 epochs."""
    session = FitSession(trainer=TrainerConfig(**{"epochs": 30, "seed": 0, "device": "cpu", **trainer}))
    return build(name, make_config(name), data).fit(data, session)


@cache
def fitted(name: str) -> Recommender:
    """The same for all tests that only look at it."""
    return fit(name)


@pytest.mark.parametrize("name", MODELS)
def test_scores_every_item_with_a_finite_number(name: str) -> None:
    score_UI = fitted(name).score(query_of(DATA))
    assert score_UI.shape == (DATA.n_users, DATA.n_items)
    assert score_UI.dtype == torch.float32
    assert torch.isfinite(score_UI).all()


@pytest.mark.parametrize("name", PERSONALISED)
def test_finds_the_hidden_like(name: str) -> None:
    items_UK, _ = recommend(fitted(name), query_of(DATA), DATA.histories, k=1)
    assert hit_rate_at_k(hits(items_UK, HIDDEN), HIDDEN.lengths_U, k=1).mean() > 0.9


@pytest.mark.parametrize("name", MODELS)
def test_equal_seeds_give_equal_weights(name: str) -> None:
    first, second = fit(name, seed=3, epochs=3).weights(), fit(name, seed=3, epochs=3).weights()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", [name for name in MODELS if build(name, make_config(name), DATA).n_parameters])
def test_another_seed_gives_other_weights(name: str) -> None:
    first, second = fit(name, seed=3, epochs=1).weights(), fit(name, seed=4, epochs=1).weights()
    assert any(not torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", MODELS)
def test_weights_survive_the_round_trip_into_a_model_built_without_rows(name: str) -> None:
    model = fitted(name)
    no_rows = TrainingData(DATA.n_items, Ragged.empty(DATA.n_users))
    other = build(name, make_config(name), no_rows).load_weights(model.weights())
    assert torch.equal(model.score(query_of(DATA)), other.score(query_of(DATA)))


@pytest.mark.parametrize("name", MODELS)
def test_unknown_users_get_a_finite_guess_and_change_nothing_for_others(name: str) -> None:
    model = fitted(name)
    mixed = Query(np.array([-1, 5]), Ragged.empty(2))
    alone = Query(np.array([5]), Ragged.empty(1))
    score_UI = model.score(mixed)
    assert torch.isfinite(score_UI).all()
    torch.testing.assert_close(score_UI[1:], model.score(alone))


@pytest.mark.parametrize("name", MODELS)
def test_a_stranger_with_the_history_of_a_known_user_is_shown_the_same_where_the_model_folds_in(name: str) -> None:
    model, known = fitted(name), query_of(DATA)
    score_UI = model.score(known)
    stranger_UI = model.score(Query(np.full(DATA.n_users, -1), DATA.histories))
    if not model.folds_in:
        # the rows of a matrix product may differ in their last bits
        torch.testing.assert_close(stranger_UI, stranger_UI[:1].expand_as(stranger_UI))
    elif name in ("item_knn", "ease", "graph_filter"):  # by the history alone
        assert torch.equal(stranger_UI, score_UI)
    else:
        items_UK, _ = recommend(model, Query(np.full(DATA.n_users, -1), DATA.histories), DATA.histories, k=1)
        assert hit_rate_at_k(hits(items_UK, HIDDEN), HIDDEN.lengths_U, k=1).mean() > 0.9


@pytest.mark.parametrize("name", MODELS)
def test_a_user_without_rows_does_not_disturb_the_fit(name: str) -> None:
    histories = Ragged.from_pairs(DATA.histories.users_R, DATA.histories.items_R, DATA.n_users + 1)
    data = TrainingData(DATA.n_items, histories)
    assert torch.isfinite(fit(name, data, epochs=2).score(query_of(data))).all()


@pytest.mark.parametrize("name", MODELS)
def test_a_misspelt_field_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        make_config(name, no_such_field=1)


def test_popularity_counts_rows() -> None:
    data = TrainingData(3, Ragged.from_pairs(np.array([0, 1, 1, 2]), np.array([2, 2, 0, 2]), 3))
    score_UI = fit("popularity", data).score(query_of(data))
    assert score_UI.tolist() == [[1.0, 0.0, 3.0]] * 3


@pytest.mark.parametrize("name", MODELS)
def test_nobody_asked_for_gives_no_scores(name: str) -> None:
    assert fitted(name).score(Query(np.empty(0, dtype=np.int64), Ragged.empty(0))).shape == (0, DATA.n_items)
