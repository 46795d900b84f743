"""Streams, seen items and negatives.

I items, B rows in a batch
"""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import chisquare

from models.base import Ragged
from models.fitting.samplers import (
    AliasTable,
    SeenItems,
    item_table,
    log_frequency,
    log_uniform_table,
    popularity_table,
    shared_candidates,
    stream,
    table_negatives,
    uniform_negatives,
)
from tests.factories import random_log

SEEN_1_4 = SeenItems(Ragged.from_pairs(np.array([0, 0, 0]), np.array([1, 4, 4]), 1), 10)
"""User 0 has seen items 1 and 4 of ten."""
USER_0 = np.zeros(80_000, dtype=np.int64)


def drawn_by(draw_B: npt.NDArray[np.int64], probability_I: npt.NDArray[np.float64]) -> bool:
    """Whether the draws agree with the distribution by a chi-square test, and none has probability 0."""
    count_I = np.bincount(draw_B, minlength=len(probability_I))
    possible = probability_I > 0
    if count_I[~possible].any():
        return False
    expected = probability_I[possible] / probability_I[possible].sum() * len(draw_B)
    return len(expected) == 1 or bool(chisquare(count_I[possible], expected).pvalue > 0.001)


def test_streams_differ_by_purpose_and_repeat() -> None:
    def draw(seed: int, *purpose: str | int) -> int:
        return int(stream(seed, *purpose).integers(2**62))

    draws = [draw(0), draw(0, "a"), draw(0, "a", 1), draw(0, "a", 2), draw(0, "b", 1), draw(1, "a", 1)]
    assert len(set(draws)) == len(draws)
    assert draws[2] == draw(0, "a", 1)


def test_seen_items_agree_with_sets() -> None:
    data = random_log(20, 30, 200, seed=0)
    seen = SeenItems(data.histories, data.n_items)
    users, items = (grid.ravel() for grid in np.meshgrid(np.arange(20), np.arange(30), indexing="ij"))
    expected = [item in set(data.histories.row(int(user)).tolist()) for user, item in zip(users, items, strict=True)]
    assert seen.contains(users, items).tolist() == expected


def test_negatives_are_uniform_over_the_unseen_items() -> None:
    draw_B = uniform_negatives(USER_0, SEEN_1_4, 10, stream(0, "test"))
    assert drawn_by(draw_B, np.array([1, 0, 1, 1, 0, 1, 1, 1, 1, 1.0]))


WEIGHTS = {
    "one": np.array([3.0]),
    "equal": np.ones(7),
    "one in all": np.array([0, 0, 5.0, 0]),
    "heavy first": np.array([90, 5, 3, 1, 1.0]),
    "heavy last": np.array([1, 1, 3, 5, 90.0]),
    "zipf": 1 / np.arange(1, 1001),
    "pareto": np.random.default_rng(0).pareto(0.5, 1_000),
    "exact slots": np.array([2, 2, 0, 0, 1, 1.0]),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_slots_of_the_alias_table_add_up_to_the_weights(name: str) -> None:
    table = AliasTable(WEIGHTS[name])
    assert ((table.keep_I >= 0) & (table.keep_I <= 1)).all()
    share_I = table.keep_I + np.bincount(table.alias_I, weights=1 - table.keep_I, minlength=len(table.keep_I))
    np.testing.assert_allclose(share_I / len(share_I), WEIGHTS[name] / WEIGHTS[name].sum(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_alias_table_draws_by_the_weights(name: str) -> None:
    common = WEIGHTS[name] / WEIGHTS[name].sum() > 1e-4  # chi-square needs some draws of each
    draw_B = AliasTable(WEIGHTS[name]).draw(200_000, stream(1, "alias"))
    assert set(np.unique(draw_B)) <= set(np.flatnonzero(WEIGHTS[name]))
    assert drawn_by(draw_B[common[draw_B]], np.where(common, WEIGHTS[name], 0))


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [1.0, -1.0], [1.0, np.nan]])
def test_weights_that_are_no_distribution_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights must be"):
        AliasTable(np.array(weights))


@pytest.mark.parametrize("exponent", [0.0, 0.75, 1.0])
def test_table_negatives_follow_the_power_of_the_count_over_the_unseen_items(exponent: float) -> None:
    count_I = np.array([50, 900, 20, 0, 400, 7, 1, 30, 200, 3])
    table = popularity_table(np.repeat(np.arange(10), count_I), 10, exponent)
    draw_B = table_negatives(USER_0, SEEN_1_4, table, stream(1, "test"))
    expected_I = np.maximum(count_I, 1.0) ** exponent  # an item without rows counts as one
    expected_I[[1, 4]] = 0
    assert drawn_by(draw_B, expected_I)


def test_who_has_seen_nearly_everything_waits_no_longer_and_draws_by_the_same_distribution() -> None:
    # All but a ten-millionth of the weight is on item 0, which was seen: only the list can give the others.
    table, seen = AliasTable(np.array([1e8, 1, 3])), SeenItems(Ragged.from_pairs(np.array([0]), np.array([0]), 1), 3)
    draw_B = table_negatives(USER_0[:2_000], seen, table, stream(0, "test"))
    assert drawn_by(draw_B, np.array([0.0, 1, 3]))
    histories = Ragged.from_pairs(np.zeros(49_998, dtype=np.int64), np.arange(49_998), 1)
    draw_B = uniform_negatives(USER_0[:300], SeenItems(histories, 50_000), 50_000, stream(0, "test"))
    assert drawn_by(draw_B - 49_998, np.array([1.0, 1.0]))


@pytest.mark.parametrize("exponent", [None, 0.75])
def test_shared_candidates_are_different_items_or_follow_the_table(exponent: float | None) -> None:
    count_I = np.array([50, 900, 20, 3, 400])
    table = None if exponent is None else popularity_table(np.repeat(np.arange(5), count_I), 5, exponent)
    draws = [shared_candidates(2, 5, table, stream(0, "test", number)) for number in range(20_000)]
    expected_I = np.ones(5) if exponent is None else count_I**exponent
    for place in range(2):
        assert drawn_by(np.array([draw[place] for draw in draws]), expected_I)
    assert all(draw[0] != draw[1] for draw in draws) == (exponent is None)
    assert sorted(shared_candidates(9, 5, None, stream(0))) == [0, 1, 2, 3, 4]


def test_the_frequency_of_items_is_their_share_of_the_rows() -> None:
    log_q_I = log_frequency(np.array([0, 0, 0, 2]), 3)
    assert log_q_I.exp().tolist() == pytest.approx([3 / 4, 1 / 4, 1 / 4])  # an item without rows counts as one


def test_a_user_who_saw_everything_is_refused() -> None:
    histories = Ragged.from_pairs(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    with pytest.raises(ValueError, match="seen every item"):
        uniform_negatives(np.array([0]), SeenItems(histories, 2), 2, stream(0))


def test_items_by_the_logarithm_of_their_rank_by_hand() -> None:
    # rows: item 3 three times, 0 and 4 once each (equals by index), 1 and 2 never: ranks 1, 3, 4, 0, 2
    table = log_uniform_table(np.array([3, 0, 3, 4, 3]), 5)
    rank_I = np.array([1, 3, 4, 0, 2])
    expected_I = np.log((rank_I + 2) / (rank_I + 1)) / np.log(6)  # they telescope: log 2/1 + log 3/2 + ... = log 6
    np.testing.assert_allclose(table.probability_I, expected_I, rtol=1e-12)
    assert drawn_by(table.draw(80_000, stream(0, "zipf")), expected_I)


def test_each_distribution_has_its_table() -> None:
    items_R = np.array([3, 0, 3, 4, 3])
    assert item_table(items_R, 5, "uniform", None) is None
    assert item_table(items_R, 5, "in_batch", None) is None
    assert item_table(items_R, 5, None, None) is None
    popular, zipf = item_table(items_R, 5, "popularity", 2.0), item_table(items_R, 5, "log_uniform", None)
    assert popular is not None
    assert zipf is not None
    np.testing.assert_allclose(popular.probability_I, np.array([1, 1, 1, 9, 1]) / 13)
    np.testing.assert_allclose(zipf.probability_I, log_uniform_table(items_R, 5).probability_I)
