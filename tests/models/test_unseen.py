"""The kernels that draw unseen items: against a slow program in Python's own numbers, and as random as they must be.

U users, I items, B rows in a batch
"""

import bisect
import itertools

import numba
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from models.base import Ragged
from models.fitting.samplers import NO_WEIGHTS, AliasTable, SeenItems
from models.fitting.unseen import BLOCK, FILTER_BITS, MAX_TRIES, Key, Weights, draw_unseen, number, place, scaled

Ints = npt.NDArray[np.int64]
WORD = 2**64
KEY = Key(np.uint64(3), np.uint64(2**63 + 11))


def splitmix(state: int) -> int:
    """Steele et al., OOPSLA 2014, figure 17's `mix64variant13`."""
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % WORD
    return state ^ (state >> 31)


def random_number(key: Key, row: int, t: int) -> int:
    golden = 0x9E3779B97F4A7C15
    return splitmix((splitmix((int(key.rows) + golden * row) % WORD) + int(key.tries) + golden * t) % WORD)


def slow_draw(row: int, seen: set[int], n_items: int, weights: Weights, key: Key) -> int:
    """What row `row` of a batch gets, by the definitions."""
    for t in range(MAX_TRIES):
        item, rest = divmod(random_number(key, row, t) * n_items, WORD)
        if len(weights.slots_I2) and rest >> 32 >= weights.slots_I2[item, 0]:
            item = int(weights.slots_I2[item, 1])
        if item not in seen:
            return item
    unseen = [item for item in range(n_items) if item not in seen]
    random = random_number(key, row, MAX_TRIES)
    if not len(weights.slots_I2):
        return unseen[random * len(unseen) // WORD] if unseen else -1
    ends = list(itertools.accumulate(weights.probability_I[item] for item in unseen))
    return unseen[bisect.bisect_right(ends, ends[-1] * random / WORD)] if unseen and ends[-1] else -1


def weights_of(weight_I: npt.NDArray[np.float64]) -> Weights:
    table = AliasTable(weight_I)
    return Weights(table.slots_I2, table.probability_I)


def some_users(n_items: int, lengths: list[int], seed: int = 0) -> SeenItems:
    """Users who have seen so many of the items; popular ones, which come first, more often."""
    rng = np.random.default_rng(seed)
    popularity_I = 1 / np.arange(1.0, n_items + 1)
    lists = [rng.choice(n_items, size, replace=False, p=popularity_I / popularity_I.sum()) for size in lengths]
    return SeenItems(
        Ragged.from_pairs(np.repeat(np.arange(len(lists)), lengths), np.concatenate(lists), len(lists)), n_items
    )


USERS = {
    "bitmaps": some_users(90, [0, 1, 30, 80, 88, 89, 90]),
    "both": some_users(2_000, [0, 1, 5, 60, 166, 167, 200, 1_000, 1_990, 1_999, 2_000]),
    "filters": some_users(60_000, [0, 1, 6, 40, 300, 5_000]),
}
"""By what answers for most of them; in every second case someone has seen all."""


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", USERS)
def test_each_row_gets_what_the_definitions_say(name: str, weighted: bool) -> None:
    seen = USERS[name]
    users_B = np.random.default_rng(1).integers(len(seen.sets), size=2 * BLOCK + 77)
    weights = weights_of(1 / np.arange(1.0, seen.n_items + 1)) if weighted else NO_WEIGHTS
    draw_B, n_without = draw_unseen(users_B, seen.filtered, weights, KEY)
    sets = [set(seen.sets.row(user).tolist()) for user in range(len(seen.sets))]
    expected = [slow_draw(row, sets[user], seen.n_items, weights, KEY) for row, user in enumerate(users_B.tolist())]
    assert draw_B.tolist() == expected
    assert n_without == expected.count(-1)


def test_items_of_weight_0_are_not_among_the_rest() -> None:
    # Nearly all the weight is on item 1, which was seen: the list of the rest is what is drawn from.
    seen = SeenItems(Ragged.from_pairs(np.array([0]), np.array([1]), 1), 5)
    draw_B, _ = draw_unseen(np.zeros(900, dtype=np.int64), seen.filtered, weights_of(np.array([0, 1e12, 1, 3, 0])), KEY)
    assert set(draw_B.tolist()) == {2, 3}


def test_a_slot_gives_away_what_lies_at_its_share_or_above() -> None:
    # so that an item of weight 0, whose share is 0, is never drawn
    slot, rest = divmod(random_number(KEY, 0, 0) * 2, WORD)
    seen = SeenItems(Ragged.empty(1), 2)
    for share, expected in ((rest >> 32, 1 - slot), ((rest >> 32) + 1, slot)):
        weights = Weights(np.array([[share, 1], [share, 0]], dtype=np.uint32), np.full(2, 0.5))
        assert draw_unseen(np.array([0]), seen.filtered, weights, KEY)[0].tolist() == [expected]


@pytest.mark.parametrize("weighted", [False, True])
def test_neither_threads_nor_the_rest_of_the_batch_change_a_row(weighted: bool) -> None:
    seen = USERS["both"]
    users_B = np.random.default_rng(2).integers(len(seen.sets) - 1, size=20 * BLOCK)
    weights = weights_of(np.arange(1.0, 2_001)) if weighted else NO_WEIGHTS
    before = numba.get_num_threads()
    try:
        draws = []
        for threads in {1, before}:
            numba.set_num_threads(threads)
            draws.append(draw_unseen(users_B, seen.filtered, weights, KEY)[0])
            for n in (1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 3):
                assert (draw_unseen(users_B[:n], seen.filtered, weights, KEY)[0] == draws[0][:n]).all()
    finally:
        numba.set_num_threads(before)
    assert all((draw_B == draws[0]).all() for draw_B in draws)


@given(random=st.integers(0, WORD - 1), n=st.integers(1, 2**32 - 1))
@settings(deadline=None)
def test_scaled_numbers_are_exact(random: int, n: int) -> None:
    assert int(scaled(np.uint64(random), n)) == random * n // WORD


@given(rows=st.integers(0, WORD - 1), tries=st.integers(0, WORD - 1), row=st.integers(0, 2**40), t=st.integers(0, 64))
@settings(deadline=None)
def test_numbers_are_those_of_the_source(rows: int, tries: int, row: int, t: int) -> None:
    key = Key(np.uint64(rows), np.uint64(tries))
    assert int(number(key, row, t)) == random_number(key, row, t)


def test_splitmix_is_the_published_one() -> None:
    # The first numbers of the generator with seed 1234567, as listed with its reference implementation.
    golden = 0x9E3779B97F4A7C15
    assert [splitmix((1234567 + golden * n) % WORD) for n in (1, 2)] == [6457827717110365317, 3203168211198807973]


def independent(first_B: Ints, second_B: Ints, n: int) -> bool:
    """Whether pairs of uniform draws below n come as often as each other."""
    return bool(chisquare(np.bincount(first_B * n + second_B, minlength=n * n)).pvalue > 0.001)


def draws(key: Key, n_rows: int = 200_000) -> Ints:
    """Of someone who has seen nothing, from 16 items."""
    seen = SeenItems(Ragged.empty(1), 16)
    return draw_unseen(np.zeros(n_rows, dtype=np.int64), seen.filtered, NO_WEIGHTS, key)[0]


@pytest.mark.parametrize("lag", [1, 2, 16, BLOCK])
def test_rows_do_not_know_of_each_other(lag: int) -> None:
    draw_B = draws(KEY)
    assert independent(draw_B[:-lag], draw_B[lag:], 16)


@pytest.mark.parametrize(
    "other", [Key(np.uint64(4), KEY.tries), Key(KEY.rows, np.uint64(2**63 + 12)), Key(KEY.tries, KEY.rows)]
)
def test_keys_do_not_know_of_each_other(other: Key) -> None:
    assert independent(draws(KEY), draws(other), 16)


def test_tries_do_not_know_of_each_other() -> None:
    numbers = np.array(
        [[scaled(np.uint64(number(KEY, row, t)), 16) for t in (0, 1)] for row in range(20_000)], dtype=np.int64
    )
    assert independent(numbers[:, 0], numbers[:, 1], 16)


def test_the_filter_is_small_and_suspects_few_unseen_items() -> None:
    seen = some_users(60_000, [40, 300, 3_000])
    filtered = seen.filtered
    assert len(filtered.filter_W) * 64 <= FILTER_BITS * len(filtered.items_R) + 64 * len(seen.sets)
    for user in range(3):
        suspected = np.zeros(seen.n_items, dtype=bool)
        for item in range(seen.n_items):
            word, bits = place(filtered, user, np.uint64(item))
            suspected[item] = filtered.filter_W[word] & bits == bits
        assert suspected[seen.sets.row(user)].all()
        assert 0 < np.delete(suspected, seen.sets.row(user)).mean() < 0.06


def test_a_bitmap_takes_the_place_of_a_filter_that_would_be_larger() -> None:
    filtered = some_users(700, [1, 10, 600]).filtered
    assert np.diff(filtered.words_U1).tolist() == [1, 2, 11]
    in_bitmap = np.unpackbits(filtered.filter_W[3:].view(np.uint8), bitorder="little")
    assert np.flatnonzero(in_bitmap).tolist() == filtered.items_R[11:].tolist()
