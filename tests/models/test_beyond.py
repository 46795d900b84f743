"""What lists are like, by numbers worked out by hand and by slow formulas."""

from math import log, log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.base import Ragged
from models.ranking.beyond import coverage, exposure, gini, novelty, overlap, owners, popularity
from models.ranking.genres import Genres, diversity, miscalibration

# U users, K places, I items


def ragged(*rows: list[int]) -> Ragged:
    offsets_U1 = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Ragged(offsets_U1, np.array([item for row in rows for item in row], dtype=np.int32))


# Six items, four users; item 0 is had by all, 1 by two (one of them twice), 2 by one, and nobody has the others.
HISTORIES = ragged([0, 1, 1], [0, 1], [0, 2], [0])
OWNERS_I = owners(HISTORIES, 6)
# Three lists: two of the catalogue, one of them short; one with an item that the catalogue does not have; an empty one.
LISTS_UK = np.array([[0, 1, 2], [0, 1, -1], [0, 3, 9], [-1, -1, -1]])


def test_who_has_an_item_counts_once() -> None:
    assert OWNERS_I.tolist() == [4, 2, 1, 0, 0, 0]


def test_what_is_shown_by_hand() -> None:
    assert exposure(LISTS_UK, 6).tolist() == [3, 2, 1, 1, 0, 0]
    assert coverage(LISTS_UK, 6) == pytest.approx(4 / 6)
    # sum over ranks 1..6 of (2 * rank - 7) * shown for 0 0 1 1 2 3, over 6 * 7 shown
    assert gini(LISTS_UK, 6) == pytest.approx((-1 * 1 + 1 * 1 + 3 * 2 + 5 * 3) / 42)
    assert np.isnan(gini(LISTS_UK[3:], 6))
    assert coverage(LISTS_UK[3:], 6) == 0


def test_popularity_and_novelty_by_hand() -> None:
    found_U = popularity(LISTS_UK, OWNERS_I, 4)
    assert found_U[:3] == pytest.approx([(1 + 1 / 2 + 1 / 4) / 3, (1 + 1 / 2) / 2, 1 / 3])
    # 0, 1 and 2 bits; what nobody has is told like what one of four has
    bits_U = novelty(LISTS_UK, OWNERS_I, 4)
    assert bits_U[:3] == pytest.approx([(0 + 1 + 2) / 3, 1 / 2, (0 + log2(4) + log2(4)) / 3])
    assert np.isnan(found_U[3])
    assert np.isnan(bits_U[3])


def test_overlap_by_hand() -> None:
    other_UK = np.array([[5, 2, 0, 1], [1, -1, -1, -1], [9, 8, 7, 6], [0, 1, 2, 3]])
    found_U = overlap(LISTS_UK, other_UK)
    assert found_U[:3] == pytest.approx([1, 1 / 2, 1 / 3])
    assert np.isnan(found_U[3])
    assert overlap(other_UK, LISTS_UK) == pytest.approx([3 / 4, 1, 1 / 4, 0])
    with pytest.raises(ValueError, match="lists of 4 and of 2"):
        overlap(LISTS_UK, other_UK[:2])


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(10, 14))
def test_gini_is_half_the_relative_mean_difference(shown: list[int], n_items: int) -> None:
    shown_I = np.bincount(shown, minlength=n_items)
    expected = np.abs(shown_I[:, None] - shown_I).mean() / 2 / shown_I.mean()
    assert gini(np.array(shown)[:, None], n_items) == pytest.approx(expected)


@given(st.permutations(range(8)), st.integers(1, 8))
def test_what_is_shown_alike_has_no_inequality(order: list[int], times: int) -> None:
    assert gini(np.tile(order, (times, 1)), 8) == pytest.approx(0)
    assert coverage(np.array(order)[:times, None], 8) == times / 8


# Genres of six items: A, A B, B, C, none, A B C.
GENRES = Genres(ragged([0], [0, 1], [1], [2], [], [0, 1, 2]), 3)


def test_diversity_by_hand() -> None:
    lists_UK = np.array([[0, 1, 2, 3], [0, 0, 4, -1], [1, 5, 4, 99], [4, 3, -1, -1], [-1, -1, -1, -1]])
    # pairs: A-AB 1/2 in common, A-B 0, A-C 0, AB-B 1/2, AB-C 0, B-C 0; one item twice; AB-ABC 2/3
    found_U = diversity(lists_UK, GENRES)
    assert found_U[:3] == pytest.approx([1 - (1 / 2 + 1 / 2) / 6, 0, 1 - 2 / 3])
    assert np.isnan(found_U[3:]).all()


def test_miscalibration_by_hand() -> None:
    had = ragged([0, 0, 1, 4], [3], [4], [], [0, 3])
    lists_UK = np.array([[2, 4, 99], [5, -1, -1], [0, 1, 2], [0, 1, 2], [4, -1, -1]])
    found_U = miscalibration(lists_UK, had, GENRES)
    # had: A 1, A 1, A and B halves: 5/6 and 1/6. Shown: B alone, so that of A there is but the smoothing.
    a, b = 5 / 6, 1 / 6
    assert found_U[0] == pytest.approx(a * log(a / (0.01 * a)) + b * log(b / (0.99 * 1 + 0.01 * b)))
    assert found_U[1] == pytest.approx(log(1 / (0.99 / 3 + 0.01)))  # had C alone, is shown a third of it
    assert np.isnan(found_U[2:]).all()  # nothing is told of the history, or of the list
    with pytest.raises(ValueError, match="histories of 5"):
        miscalibration(lists_UK[:2], had, GENRES)


def test_lists_like_the_history_are_calibrated() -> None:
    assert miscalibration(np.array([[3, 2, 1, 0]]), ragged([0, 1, 2, 3]), GENRES) == pytest.approx([0])


@given(st.integers(0, 2**32 - 1))
def test_genres_agree_with_sets_and_a_dense_table(seed: int) -> None:
    rng = np.random.default_rng(seed)
    has_IG = rng.random((12, 5)) < 0.3
    genres = Genres(ragged(*(np.flatnonzero(has_G).tolist() for has_G in has_IG)), 5)
    lists_UK, had_UL = rng.integers(-1, 14, size=(6, 4)), rng.integers(0, 12, size=(6, 7))
    found = diversity(lists_UK, genres), miscalibration(lists_UK, ragged(*had_UL.tolist()), genres)
    share_IG = has_IG / np.maximum(has_IG.sum(axis=1, keepdims=True), 1)
    for user in range(6):
        shown = [item for item in lists_UK[user] if 0 <= item < 12 and has_IG[item].any()]
        pairs = [(has_IG[one], has_IG[other]) for n, one in enumerate(shown) for other in shown[:n]]
        unlike = [1 - (one & other).sum() / (one | other).sum() for one, other in pairs]
        assert found[0][user] == pytest.approx(np.mean(unlike) if unlike else np.nan, nan_ok=True)
        had = [item for item in had_UL[user] if has_IG[item].any()]
        if shown and had:
            p_G, q_G = share_IG[had].mean(axis=0), share_IG[shown].mean(axis=0)
            terms = [p * log(p / (0.99 * q + 0.01 * p)) for p, q in zip(p_G, q_G, strict=True) if p > 0]
            assert found[1][user] == pytest.approx(sum(terms))
        else:
            assert np.isnan(found[1][user])
