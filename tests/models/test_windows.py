"""Rows with what preceded them, against slow loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.base import Ragged, Windows
from models.windows import latest, padded

LISTS = st.lists(st.lists(st.integers(0, 5), max_size=7), min_size=1, max_size=5)


def ragged(lists: list[list[int]]) -> Ragged:
    offsets_U1 = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return Ragged(offsets_U1, np.array([item for items in lists for item in items], dtype=np.int32))


@given(LISTS, st.integers(1, 8))
def test_every_row_is_a_window_with_the_items_before_it(lists: list[list[int]], length: int) -> None:
    town_U = np.arange(len(lists)) + 10
    made = Windows.of(ragged(lists), length, {"town": town_U})
    expected = [
        (user, item, items[max(0, at - length) : at], user + 10)
        for user, items in enumerate(lists)
        for at, item in enumerate(items)
    ]
    found = [
        (user, target, made.items_R[start:end].tolist(), town)
        for user, target, start, end, town in zip(
            made.users_W.tolist(), made.targets_W.tolist(), made.starts_W, made.ends_W, made.features["town"].tolist(),
            strict=True,
        )
    ]  # fmt: skip
    assert found == expected
    assert made.lengths_W.tolist() == [len(shown) for _, _, shown, _ in expected]
    assert len(made) == len(expected)
    assert made.negatives_WN is None


def test_windows_share_the_histories_items() -> None:
    histories = ragged([[1, 2, 3], [4]])
    assert Windows.of(histories, 2).items_R is histories.items_R


def test_histories_of_some_windows_by_hand() -> None:
    made = Windows.of(ragged([[5, 6, 7, 8], [9]]), 3)
    shown = made.histories(np.array([3, 0, 2, 4]), 3, 99)
    assert shown.tolist() == [[5, 6, 7], [99, 99, 99], [99, 5, 6], [99, 99, 99]]
    assert shown.dtype == np.int64
    assert made.histories(np.array([3]), 2, 99).tolist() == [[6, 7]]  # a shorter one shows the newest


@given(LISTS, st.integers(1, 8), st.booleans())
def test_the_latest_items_by_a_slow_loop(lists: list[list[int]], length: int, left: bool) -> None:
    expected = []
    for items in lists:
        cut, gap = items[-length:], [7] * (length - len(items[-length:]))
        expected.append(gap + cut if left else cut + gap)
    assert latest(ragged(lists), length, 7, left).tolist() == expected


@pytest.mark.parametrize("left", [True, False])
def test_nobody_has_no_latest_items(left: bool) -> None:
    assert latest(Ragged.empty(0), 3, 7, left).shape == (0, 3)
    assert padded(np.array([1], dtype=np.int32), np.array([1]), np.array([1]), 2, 7, left).tolist() == [[7, 7]]
