"""Drift: histograms compared by hand and by Great Expectations; no alarm within a log, an alarm where it changed."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.expect import suite
from tasks.expect.contract import Rule, Similar
from tasks.validate.config import ChecksConfig
from tasks.validate.contract import drift_rules
from tasks.validate.drift import (
    LEAST_RATINGS,
    LEAST_ROWS,
    divergence,
    hour,
    judge_drift,
    popularity,
    rating,
    shares,
    shown,
)
from tasks.validate.result import Distribution, Finding

RULES = drift_rules(ChecksConfig())
column_of = {rule.sentence: rule.column for rule in RULES}
counts = st.lists(st.integers(0, 10**9), min_size=1, max_size=24).filter(any)


def judged(*distributions: Distribution, rules: tuple[Rule, ...] = RULES) -> dict[str, Finding]:
    found = judge_drift(distributions, rules, "all files", suite.judge)
    return {column_of[one.expectation]: one for one in found}


def test_the_divergence_by_hand() -> None:
    assert divergence(np.array([1, 3, 0]), [0.5, 0.25, 0.25]) == pytest.approx(
        0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.25)
    )
    assert divergence(np.array([2, 2]), [0.5, 0.5]) == 0


def test_popularity_by_hand() -> None:
    """Of 20 rows: items with 8, 4 and 4, 2, 1 and 1 fall in the middle of rows 4, 12, 17 and 19."""
    found = popularity(np.array([1, 4, 8, 2, 4, 1]), np.array([5, 10, 20, 40, 80, 160]), 7)
    assert found.labels == (*(f"{at}-{at + 10}%" for at in range(0, 100, 10)), "new")
    assert found.before == (0, 0, 8, 0, 0, 0, 8, 0, 2, 2, 0)
    assert found.today == (0, 0, 20, 0, 0, 0, 90, 0, 40, 165, 7)


def test_popularity_is_the_same_whatever_the_order_of_the_items() -> None:
    rng = np.random.default_rng(0)
    before_I, today_I = rng.zipf(1.5, 300).clip(max=1000), rng.integers(0, 50, 300)
    order = rng.permutation(300)
    assert popularity(before_I, today_I, 3) == popularity(before_I[order], today_I[order], 3)


def test_popularity_of_no_item() -> None:
    none = np.array([], dtype=np.int64)
    assert sum(popularity(none, none, 5).today) == 5


def test_ratings_by_value_and_others() -> None:
    found = rating({"4.5": 3, "10": 4, "1.0": 5, "0.2": 6}, {"5.0": 1, "4.5": 2, "1.0": 7})
    assert found == Distribution("rating", ("1", "4.5", "5", "other"), (5, 3, 0, 10), (7, 2, 1, 0))


def test_many_ratings_fall_into_ranges_of_about_equal_rows() -> None:
    before = {str(value): 10 for value in range(1, 101)}
    same = rating(before, before)
    assert same.labels[:2] == ("below", "1 to 5")
    assert same.labels[-2:] == ("96 to 100", "above")
    assert same.today == same.before == (0, *[50] * 20, 0)
    other = rating({"0.5": 1, "1": 2, "5": 3, "5.5": 4, "6": 5, "100": 6, "100.5": 7}, before)
    assert (other.today[0], other.today[1], other.today[2], other.today[-2], other.today[-1]) == (1, 5, 9, 6, 7)


@pytest.mark.parametrize(("n_values", "last"), [(20, "other"), (21, "above")])
def test_up_to_twenty_ratings_are_values(n_values: int, last: str) -> None:
    before = {str(value): 1 for value in range(n_values)}
    assert rating(before, before).labels[-1] == last


@given(st.dictionaries(st.integers(-500, 500), st.integers(1, 1000), min_size=1, max_size=60))
def test_each_rating_falls_where_it_fell_before(histogram: dict[int, int]) -> None:
    before = {str(value): rows for value, rows in histogram.items()}
    found = rating(before, before)
    assert found.today == found.before
    assert sum(found.before) == sum(histogram.values())
    assert len(found.labels) <= 22


def test_hours_are_all_there_and_in_their_order() -> None:
    found = hour({"23": 5}, {"0": 2, "9": 3})
    assert (found.today[23], found.before[0], found.before[9]) == (5, 2, 3)
    assert (len(found.labels), sum(found.today), sum(found.before)) == (24, 5, 5)


def test_expected_shares_by_hand() -> None:
    """One hundredth is spread evenly; items that were not known are expected to have a twentieth."""
    expected = dict(shares(hour({"0": 1}, {"0": 3, "1": 1})))
    assert (expected["0"], expected["1"], expected["2"]) == pytest.approx(
        (0.99 * 0.75 + 0.01 / 24, 0.99 * 0.25 + 0.01 / 24, 0.01 / 24)
    )
    known = dict(shares(popularity(np.array([5, 5]), np.array([1, 1]), 0)))
    assert known["new"] == pytest.approx(0.05)
    assert known["50-60%"] == pytest.approx(0.95 * (0.99 + 0.01 / 11) / (0.99 + 0.01 * 10 / 11))
    assert sum(known.values()) == pytest.approx(1)


@given(counts)
def test_shown_rows_have_the_shares_of_all(rows: list[int]) -> None:
    found = shown(rows, 1000)
    assert found.sum() == min(sum(rows), 1000)
    assert np.abs(found - np.array(rows) / sum(rows) * found.sum()).max() < 1


def test_the_largest_remainders_are_rounded_up() -> None:
    assert shown([5, 5, 11], 10).tolist() == [3, 2, 5]
    assert shown([5, 5, 11], 21).tolist() == [5, 5, 11]


hours = st.lists(st.integers(0, 10**9), min_size=24, max_size=24).filter(lambda rows: sum(rows) >= LEAST_ROWS)


@given(hours, hours)
@settings(max_examples=20, deadline=None)
def test_great_expectations_finds_the_same_divergence(today: list[int], before: list[int]) -> None:
    """Else `judge_drift` raises; and its finding says what both found."""
    labels = [str(hour) for hour in range(24)]
    one = hour(dict(zip(labels, today, strict=True)), dict(zip(labels, before, strict=True)))
    expected = divergence(shown(one.today), [share for _, share in shares(one)])
    found = judged(one)["hour"]
    assert (found.observed, found.passed) == (f"{expected:.3g}", expected <= 0.25)


def test_with_few_rows_nothing_is_said() -> None:
    few, enough = {"5": LEAST_ROWS - 1}, {"17": LEAST_ROWS}
    assert judged(hour(few, enough)) == {}
    assert judged(hour(enough, few)) == {}
    assert not judged(hour(enough, {"5": LEAST_ROWS}))["hour"].passed


def test_ratings_are_judged_from_fewer_rows() -> None:
    few, enough = {"5": LEAST_RATINGS - 1}, {"100": LEAST_RATINGS}
    assert LEAST_RATINGS < LEAST_ROWS
    assert judged(rating(few, enough)) == judged(rating(enough, few)) == {}
    assert not judged(rating({"5": LEAST_RATINGS}, enough))["rating"].passed


def test_columns_of_different_length_are_judged_together() -> None:
    found = judged(hour({"5": 10**9}, {"5": 10**9}), rating({"5": LEAST_ROWS}, {"1": LEAST_ROWS}))
    assert {column: one.passed for column, one in found.items()} == {"hour": True, "rating": False}
    assert (found["rating"].n_failing, found["rating"].n_total, found["rating"].severity) == (1, 0, "warning")
    assert found["rating"].setting == "checks.max_rating_drift"


def test_a_rule_on_a_distribution_that_nobody_made_is_not_judged() -> None:
    rules = tuple(replace(rule, check=Similar((), 1.0)) for rule in RULES)
    assert list(judged(hour({"5": LEAST_ROWS}, {"5": LEAST_ROWS}), rules=rules)) == ["hour"]


# A log: sessions of 20 rows, items by Zipf's law, ratings of 1 to 5, a busy evening. R rows, I items


def draw(
    seed: int, zipf: float = 0.9, clock: int = 0, scale: int = 1, n_sessions: int = 2_000
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    weight_I = 1 / np.arange(1, 3001) ** zipf
    busy = 1 + 0.8 * np.sin((np.arange(24) - 13) / 24 * 2 * np.pi)
    return {
        "item": rng.choice(3000, size=20 * n_sessions, p=weight_I / weight_I.sum()),
        "rating": scale * rng.choice(np.arange(1, 6), size=20 * n_sessions, p=[0.06, 0.11, 0.27, 0.34, 0.22]),
        "hour": (np.repeat(rng.choice(24, size=n_sessions, p=busy / busy.sum()), 20) + clock) % 24,
    }


def compared(today: dict[str, np.ndarray], before: dict[str, np.ndarray]) -> list[Distribution]:
    today_I, before_I = (np.bincount(log["item"], minlength=3000) for log in (today, before))
    known_I = before_I > 0

    def histogram(values: np.ndarray) -> dict[str, int]:
        return {str(value): int(n) for value, n in zip(*np.unique(values, return_counts=True), strict=True)}

    return [
        popularity(before_I[known_I], today_I[known_I], int(today_I[~known_I].sum())),
        rating(histogram(today["rating"]), histogram(before["rating"])),
        hour(histogram(today["hour"]), histogram(before["hour"])),
    ]


CHANGES: dict[str, tuple[dict[str, float], set[str]]] = {
    "none": ({}, set()),
    "fewer rows": ({"n_sessions": 1_000}, set()),
    "flat popularity": ({"zipf": 0.0}, {"popularity"}),
    "clocks": ({"clock": 6}, {"hour"}),
    "ratings of ten": ({"scale": 2}, {"rating"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_alarm_for_what_changed_and_for_nothing_else(change: str) -> None:
    arguments, expected = CHANGES[change]
    found = judged(*compared(draw(2, **arguments), draw(1)))  # type: ignore[arg-type]
    assert set(found) == {"popularity", "rating", "hour"}
    assert {column for column, one in found.items() if not one.passed} == expected


def test_new_ids_for_every_item_are_an_alarm() -> None:
    today, before = draw(2), draw(1)
    permuted = {**today, "item": np.random.default_rng(0).permutation(3000)[today["item"]]}
    assert not judged(*compared(permuted, before))["popularity"].passed
