"""Streams, seen items and negatives.

I items, B rows in a batch
"""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
from models.fitting.unseen import BLOCK

SEEN_1_4 = SeenItems(Ragged.from_pairs(np.array([0, 0, 0]), np.array([1, 4, 4]), 1), 10)
"""User 0 has seen items 1 and 4 of ten."""
USER_0 = np.zeros(80_000, dtype=np.int64)


def negatives(
    users_B: npt.NDArray[np.int64], seen: SeenItems, table: AliasTable | None, rng: np.random.Generator | None = None
) -> npt.NDArray[np.int64]:
    """By the table, or all as likely."""
    rng = rng or stream(0, "test")
    return (
        uniform_negatives(users_B, seen, seen.n_items, rng)
        if table is None
        else table_negatives(users_B, seen, table, rng)
    )


@st.composite
def ragged_histories(draw: st.DrawFn) -> tuple[Ragged, int]:
    """Lists in any order with repeats, and the number of items: few for bitmaps, many for Bloom filters."""
    n_items = draw(st.sampled_from([1, 2, 7, 63, 64, 65, 1_000, 100_000]))
    lists = draw(st.lists(st.lists(st.integers(0, n_items - 1), max_size=40), min_size=1, max_size=8))
    pairs = [(user, item) for user, items in enumerate(lists) for item in items]
    users_R, items_R = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return Ragged.from_pairs(users_R, items_R, len(lists)), n_items


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


def test_negatives_are_uniform_over_the_unseen_items() -> None:
    draw_B = uniform_negatives(USER_0, SEEN_1_4, 10, stream(0, "test"))
    assert drawn_by(draw_B, np.array([1, 0, 1, 1, 0, 1, 1, 1, 1, 1.0]))


WEIGHTS = {
    "one": np.array([3.0]),
    "equal": np.ones(7),
    "equal, and 49 / 49 is rounded to less than 1": np.ones(49),
    "average first": np.array([2, 1, 3, 2.0]),
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
    keep_I, alias_I = table.slots_I2[:, 0] / 2**32, table.slots_I2[:, 1]
    share_I = keep_I + np.bincount(alias_I, weights=1 - keep_I, minlength=len(keep_I))
    np.testing.assert_allclose(share_I / len(share_I), WEIGHTS[name] / WEIGHTS[name].sum(), rtol=0, atol=2**-32)


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


@pytest.mark.parametrize("place", [0, BLOCK, 3 * BLOCK - 1])
@pytest.mark.parametrize("table", [None, AliasTable(np.array([1.0, 2.0]))])
def test_a_user_who_saw_everything_is_refused_wherever_in_the_batch(place: int, table: AliasTable | None) -> None:
    seen = SeenItems(Ragged.from_pairs(np.array([0, 0, 1]), np.array([0, 1, 1]), 2), 2)
    users_B = np.ones(3 * BLOCK, dtype=np.int64)
    assert not negatives(users_B, seen, table).any()
    users_B[place] = 0
    with pytest.raises(ValueError, match="seen every item"):
        negatives(users_B, seen, table)


def test_a_user_whose_unseen_items_have_no_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="seen every item that can be drawn"):
        negatives(USER_0[:1], SEEN_1_4, AliasTable(np.array([0, 1, 0, 0, 1, 0, 0, 0, 0, 0.0])))


def test_nothing_can_be_drawn_from_no_items() -> None:
    nothing = SeenItems(Ragged.empty(1), 0)
    with pytest.raises(ValueError, match="seen every item"):
        negatives(USER_0[:1], nothing, None)
    assert len(negatives(USER_0[:0], nothing, None)) == 0


@pytest.mark.parametrize("user", [-1, 1])
def test_unknown_users_are_refused(user: int) -> None:
    with pytest.raises(IndexError, match=r"users must be in 0\.\.0"):
        negatives(np.array([0, user]), SEEN_1_4, None)


@pytest.mark.parametrize("n_items", [9, 11])
def test_another_number_of_items_is_refused(n_items: int) -> None:
    with pytest.raises(ValueError, match="but 10 are known"):
        uniform_negatives(USER_0, SEEN_1_4, n_items, stream(0))
    with pytest.raises(ValueError, match="but 10 are known"):
        negatives(USER_0, SEEN_1_4, AliasTable(np.ones(n_items)))


@pytest.mark.parametrize("table", [None, AliasTable(np.arange(1, 11.0))])
def test_negatives_are_of_the_generator_alone(table: AliasTable | None) -> None:
    rng = stream(5, "test")
    first_B, second_B = negatives(USER_0, SEEN_1_4, table, rng), negatives(USER_0, SEEN_1_4, table, rng)
    assert (negatives(USER_0, SEEN_1_4, table, stream(5, "test")) == first_B).all()
    # Twice by chance: the sum of the squared probabilities
    weight_I = np.ones(10) if table is None else table.probability_I.copy()
    weight_I[[1, 4]] = 0
    chance = ((weight_I / weight_I.sum()) ** 2).sum()
    assert (first_B == second_B).mean() == pytest.approx(chance, abs=0.01)


@given(histories=ragged_histories(), exponent=st.sampled_from([None, 0.0, 0.75, 1.0]), seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_negatives_of_any_histories_are_unseen(
    histories: tuple[Ragged, int], exponent: float | None, seed: int
) -> None:
    lists, n_items = histories
    seen = SeenItems(lists, n_items)
    assert seen.saw_all_U.tolist() == [len(set(lists.row(user))) == n_items for user in range(len(lists))]
    users_B = np.repeat(np.flatnonzero(~seen.saw_all_U), 20)
    table = None if exponent is None else popularity_table(lists.items_R, n_items, exponent)
    draw_B = negatives(users_B, seen, table, stream(seed))
    assert len(draw_B) == len(users_B)
    assert ((draw_B >= 0) & (draw_B < n_items)).all()
    assert not any(item in lists.row(user) for user, item in zip(users_B.tolist(), draw_B.tolist(), strict=True))


@given(n_items=st.integers(1, 300), data=st.data(), weighted=st.booleans())
@settings(max_examples=60, deadline=None)
def test_who_has_seen_all_but_one_item_gets_that_one(n_items: int, data: st.DataObject, weighted: bool) -> None:
    missing = data.draw(st.integers(0, n_items - 1))
    items_R = np.delete(np.arange(n_items), missing)
    seen = SeenItems(Ragged.from_pairs(np.zeros(n_items - 1, dtype=np.int64), items_R, 1), n_items)
    table = popularity_table(np.repeat(items_R, 50), n_items, 1.0) if weighted else None
    assert negatives(USER_0[:30], seen, table).tolist() == [missing] * 30


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
