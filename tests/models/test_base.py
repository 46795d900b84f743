"""Lists of items by user: the one data structure that everything stands on."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import Ragged

LISTS = st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=8)


def ragged(lists: list[list[int]]) -> Ragged:
    offsets_U1 = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return Ragged(offsets_U1, np.array([item for one in lists for item in one], dtype=np.int32))


def lists_of(one: Ragged) -> list[list[int]]:
    return [one.row(user).tolist() for user in range(len(one))]


def test_pairs_are_grouped_by_user_and_keep_their_order() -> None:
    one = Ragged.from_pairs(np.array([2, 0, 2, 0, 2]), np.array([7, 5, 1, 9, 7]), 4)
    assert lists_of(one) == [[5, 9], [], [7, 1, 7], []]
    assert one.users_R.tolist() == [0, 0, 2, 2, 2]
    assert one.lengths_U.tolist() == [2, 0, 3, 0]
    assert one.offsets_U1.dtype == np.int64
    assert one.items_R.dtype == np.int32


def test_an_empty_one_has_users_without_items() -> None:
    assert lists_of(Ragged.empty(3)) == [[], [], []]
    assert lists_of(Ragged.from_pairs(np.array([], dtype=np.int64), np.array([], dtype=np.int64), 2)) == [[], []]


def test_an_unknown_user_takes_an_empty_list() -> None:
    assert lists_of(ragged([[1, 2], [3]]).take(np.array([1, -1, 0, 0]))) == [[3], [], [1, 2], [1, 2]]
    assert lists_of(ragged([[1]]).take(np.array([], dtype=np.int64))) == []


@settings(max_examples=60, deadline=None)
@given(LISTS, st.data())
def test_agrees_with_plain_lists(lists: list[list[int]], data: st.DataObject) -> None:
    one = ragged(lists)
    users = data.draw(st.lists(st.integers(-1, len(lists) - 1), max_size=10))
    n = data.draw(st.integers(1, 7))
    assert lists_of(one.take(np.array(users, dtype=np.int64))) == [lists[user] if user >= 0 else [] for user in users]
    assert lists_of(one.latest(n)) == [one[-n:] for one in lists]
    assert lists_of(one.as_sets()) == [sorted(set(one)) for one in lists]
    assert lists_of(Ragged.from_pairs(one.users_R, one.items_R, len(one))) == lists
