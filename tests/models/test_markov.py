"""Transitions and scores by hand, and against the definition written as loops."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from models.base import FitSession, Query, Ragged, Recommender, TrainingData
from models.markov import DEFAULTS, GRID, Markov, MarkovConfig, transitions
from tests.factories import random_log

# Users take 0 1 2, then 0 2, then nothing, then 3. Items 0 to 3 are taken 2, 1, 2 and 1 times, item 4 never.
HISTORIES = Ragged(np.array([0, 3, 5, 5, 6]), np.array([0, 1, 2, 0, 2, 3], dtype=np.int32))
DATA = TrainingData(5, HISTORIES)
PLAIN: dict[str, Any] = {"window": 2, "decay": 0.5, "backwards": 0.0, "shrink": 0.0, "discount": 0.0, "recency": 0.5}
BASE = MarkovConfig(**PLAIN)


def fit(data: TrainingData = DATA, **fields: object) -> Markov:
    return Markov.build(MarkovConfig(**fields), data).fit(data, FitSession())


def shown(*items: int, user: int = -1) -> Query:
    return Query(np.array([user]), Ragged(np.array([0, len(items)]), np.array(items, dtype=np.int32)))


def made(config: MarkovConfig = BASE, data: TrainingData = DATA, **fields: object) -> np.ndarray:
    return transitions(data.histories, data.n_items, config.model_copy(update=fields)).dense(data.n_items)


def by_loops(data: TrainingData, config: MarkovConfig) -> np.ndarray:
    """Every pair of places of every history, as the definition has it."""
    assert config.window is not None
    assert config.decay is not None
    assert config.backwards is not None
    assert config.shrink is not None
    assert config.discount is not None
    sum_II = np.zeros((data.n_items, data.n_items))
    count_I = np.zeros(data.n_items)
    for user in range(data.n_users):
        history = data.histories.row(user).tolist()
        for p, item in enumerate(history):
            count_I[item] += 1
            for q, other in enumerate(history):
                if 1 <= abs(q - p) <= config.window:
                    sum_II[item, other] += config.decay ** (abs(q - p) - 1) * (1 if q > p else config.backwards)
    return sum_II / (np.maximum(count_I, 1)[:, None] + config.shrink) / np.maximum(count_I, 1) ** config.discount


def test_transitions_by_hand() -> None:
    expected_II = np.zeros((5, 5))
    expected_II[0, 1], expected_II[0, 2] = 1 / 2, (0.5 + 1) / 2  # item 0 is taken twice
    expected_II[1, 2] = 1
    assert made() == pytest.approx(expected_II)
    expected_II[0, 2] = 1 / 2
    assert made(window=1) == pytest.approx(expected_II)


def test_backwards_shrink_and_discount_by_hand() -> None:
    expected_II = np.zeros((5, 5))
    expected_II[1, 0], expected_II[2, 1], expected_II[2, 0] = 0.4 / 1, 0.4 / 2, 0.4 * 1.5 / 2
    assert made(backwards=0.4) - made() == pytest.approx(expected_II)
    assert made(shrink=3.0)[0, 1:3] == pytest.approx([1 / 5, 1.5 / 5])
    assert made(shrink=3.0)[1, 2] == pytest.approx(1 / 4)
    assert made(discount=0.5)[0, 1:3] == pytest.approx([1 / 2, 1.5 / 2 / np.sqrt(2)])


@pytest.mark.parametrize("seed", range(4))
def test_transitions_of_random_histories_are_those_of_the_definition(seed: int) -> None:
    data = random_log(30, 12, 200, seed)  # every history has repeats
    rng = np.random.default_rng(seed)
    config = MarkovConfig(
        window=int(rng.integers(1, 12)), decay=rng.uniform(0.3, 1), backwards=rng.uniform(),
        shrink=rng.uniform(0, 5), discount=rng.uniform(), recency=0.5,
    )  # fmt: skip
    expected_II = by_loops(data, config)
    assert np.diag(expected_II).any()
    np.testing.assert_allclose(made(config, data), expected_II, rtol=1e-5)


def test_an_item_that_follows_itself_leads_to_itself() -> None:
    data = TrainingData(2, Ragged(np.array([0, 3]), np.array([1, 1, 1], dtype=np.int32)))
    assert made(data=data, backwards=0.25).tolist() == [[0, 0], [0, pytest.approx((1 + 0.25) * (2 + 0.5) / 3)]]


def test_nothing_leads_from_one_history_to_the_next() -> None:
    joined = Ragged(np.array([0, 6]), HISTORIES.items_R)
    assert made(data=TrainingData(5, joined), window=1)[2, 0] > 0
    assert not made(window=20, backwards=1.0)[2, 3]
    assert not made(window=20, backwards=1.0)[3].any()


def test_order_of_users_changes_nothing() -> None:
    data = random_log(30, 12, 200, seed=1)
    turned = TrainingData(12, data.histories.take(np.arange(30)[::-1]))
    assert made(data=turned, backwards=0.3) == pytest.approx(made(data=data, backwards=0.3))


def test_without_direction_the_sums_are_symmetric_and_with_it_they_are_the_transpose_of_the_reverse() -> None:
    data = random_log(30, 12, 200, seed=1)
    count_I1 = np.bincount(data.histories.items_R, minlength=12)[:, None]
    even_II = made(data=data, backwards=1.0) * count_I1
    assert even_II == pytest.approx(even_II.T, rel=1e-5)
    mirrored = Ragged.from_pairs(data.histories.users_R[::-1], data.histories.items_R[::-1], 30)
    other_II = made(data=TrainingData(12, mirrored)) * count_I1
    assert other_II == pytest.approx((made(data=data) * count_I1).T, rel=1e-5)


def test_limits_of_decay() -> None:
    # Nothing fades: only the number of pairs counts. All fades: only the next item counts, however wide the window.
    assert made(decay=1.0)[0, 1:3].tolist() == [1 / 2, 2 / 2]
    line = TrainingData(5, Ragged(np.array([0, 5]), np.arange(5, dtype=np.int32)))
    assert np.array_equal(made(data=line, decay=1e-9, window=20), np.eye(5, k=1))
    assert np.array_equal(made(backwards=1e-9), made())


def test_each_item_keeps_its_strongest_transitions_and_of_equal_ones_the_first() -> None:
    # After 0 come 4, 3, 2, 1, and 2 once more: 2 is the strongest, the other three are equal.
    users, items = np.repeat(np.arange(5), 2), np.array([0, 4, 0, 3, 0, 2, 0, 1, 0, 2])
    data = TrainingData(5, Ragged.from_pairs(users, items, 5))
    assert [np.flatnonzero(made(data=data, neighbours=k)[0]).tolist() for k in (1, 2, 3, 4)] == [
        [2], [1, 2], [1, 2, 3], [1, 2, 3, 4],
    ]  # fmt: skip
    assert made(data=data, neighbours=2)[0, 1:3] == pytest.approx([1 / 5, 2 / 5])
    # Strength is what is left after the discount: 2 is taken twice, so a strong one makes it the weakest.
    assert np.flatnonzero(made(data=data, neighbours=1, discount=2.0)[0]).tolist() == [1]


def test_what_is_kept_is_the_top_of_what_there_is() -> None:
    data = random_log(40, 30, 400, seed=2)
    whole_II, kept_II = (made(data=data, backwards=0.3, window=10, neighbours=n) for n in (1000, 7))
    assert ((kept_II > 0).sum(axis=1) == 7).all()
    for whole_I, kept_I in zip(whole_II, kept_II, strict=True):
        assert np.array_equal(whole_I[kept_I > 0], kept_I[kept_I > 0])
        assert kept_I[kept_I > 0].min() >= whole_I[kept_I == 0].max()


def test_columns_ascend() -> None:
    matrix = transitions(random_log(40, 30, 400, seed=2).histories, 30, BASE.model_copy(update={"neighbours": 7}))
    for item in range(30):
        assert (np.diff(matrix.columns_Z[matrix.offsets[item] : matrix.offsets[item + 1]]) > 0).all()


def test_score_sums_over_the_history_newest_first() -> None:
    model = fit(**PLAIN)
    # item 0 leads to 1 by 1/2 and to 2 by 3/4, item 1 to 2 by 1
    assert model.score(shown(0))[0].tolist() == pytest.approx([0, 1 / 2, 3 / 4, 0, 0])
    assert model.score(shown(0, 1))[0].tolist() == pytest.approx([0, 1 / 4, 1 + 3 / 8, 0, 0])
    assert model.score(shown(1, 0))[0].tolist() == pytest.approx([0, 1 / 2, 3 / 4 + 1 / 2, 0, 0])
    assert model.score(shown(0, 3, 1))[0].tolist() == pytest.approx([0, 1 / 8, 1 + 3 / 16, 0, 0])
    # 0 stands twice, and counts as the newest
    assert model.score(shown(0, 1, 0)).equal(model.score(shown(1, 0)))


def test_scores_of_random_histories_are_those_of_the_definition() -> None:
    data = random_log(30, 12, 200, seed=5)
    config = MarkovConfig(window=4, decay=0.7, backwards=0.2, shrink=2.0, discount=0.3, recency=0.8)
    step_II = by_loops(data, config)
    expected_UI = np.zeros((30, 12))
    for user in range(30):
        newest_first = list(dict.fromkeys(data.histories.row(user)[::-1].tolist()))
        place = {item: data.histories.row(user)[::-1].tolist().index(item) for item in newest_first}
        expected_UI[user] = sum(0.8 ** place[item] * step_II[item] for item in newest_first)
    score_UI = Markov.build(config, data).fit(data, FitSession()).score(Query(np.arange(30), data.histories))
    np.testing.assert_allclose(score_UI.numpy(), expected_UI, rtol=1e-5)


def test_only_the_history_says_who_somebody_is() -> None:
    model = fit()
    assert model.folds_in
    assert model.score(shown(0, 1)).equal(model.score(shown(0, 1, user=1)))


def test_who_leads_nowhere_gets_the_most_popular() -> None:
    model = fit(**PLAIN)
    histories = Ragged(np.array([0, 0, 1, 2, 4, 5]), np.array([2, 0, 3, 4, 4], dtype=np.int32))
    score_UI = model.score(Query(np.full(5, -1), histories))
    popular = [2, 1, 2, 1, 0]
    assert score_UI[[0, 1, 3, 4]].tolist() == [popular] * 4
    assert score_UI[2].tolist() == [0, 1 / 2, 3 / 4, 0, 0]


def test_a_log_without_transitions_is_popularity() -> None:
    data = TrainingData(3, Ragged.from_pairs(np.arange(4), np.array([1, 1, 2, 0]), 4))
    model = fit(data)
    assert len(model.transitions.values_Z) == 0
    assert model.score(shown(1))[0].tolist() == [1, 2, 1]
    assert fit(TrainingData(3, Ragged.empty(2))).score(shown(1))[0].tolist() == [0, 0, 0]


def test_weights_make_the_same_model_again() -> None:
    model = fit(**PLAIN | {"recency": 0.9})
    other = Markov.build(MarkovConfig(), DATA).load_weights(model.weights())
    assert other.score(shown(0, 1)).equal(model.score(shown(0, 1)))
    assert other.score(shown()).equal(model.score(shown()))
    assert list(other.weights()) == list(model.weights())
    with pytest.raises(ValueError, match="5 items for a catalogue of 3"):
        Markov.build(MarkovConfig(), TrainingData(3, Ragged.empty(0))).load_weights(model.weights())


def test_defaults_are_on_the_grid_and_stand_in_the_configuration_after_the_fit() -> None:
    assert all(DEFAULTS[name] in values for name, values in GRID.items())
    model = fit()
    assert model.config == MarkovConfig(**DEFAULTS)
    assert model.score(shown(0, 1)).equal(fit(**DEFAULTS).score(shown(0, 1)))


def test_validation_rows_choose_and_the_chosen_model_is_kept() -> None:
    wish: dict[str, Any] = {
        "recency": 0.4,
        "discount": 0.2,
        "shrink": 100.0,
        "backwards": 0.7,
        "decay": 0.6,
        "window": 1,
    }

    def validate(model: Recommender) -> Mapping[str, float]:
        assert isinstance(model, Markov)
        chosen = model.config.model_dump()
        assert model.recency == chosen["recency"]
        assert np.array_equal(model.transitions.dense(5), made(model.config))
        return {"ndcg_at_10": -float(sum(abs(GRID[n].index(chosen[n]) - GRID[n].index(wish[n])) for n in wish))}

    model = Markov.build(MarkovConfig(), DATA).fit(DATA, FitSession(validate=validate))
    assert model.config == MarkovConfig(**wish)
    assert model.score(shown(0, 1)).equal(fit(**wish).score(shown(0, 1)))
    told = Markov.build(MarkovConfig(window=2, recency=0.9), DATA).fit(DATA, FitSession(validate=validate))
    assert told.config == MarkovConfig(**wish | {"window": 2, "recency": 0.9})
