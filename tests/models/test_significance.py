"""Bounds and p-values beside SciPy's, tables and a slow simulation."""

import math

import numpy as np
import pytest
from scipy.stats import wilcoxon

from models.ranking.bootstrap import paired_bootstrap
from models.ranking.significance import (
    compare,
    lower_bound,
    lower_bound_over_seeds,
    signed_rank_p,
    standard_error,
    student,
)


def test_a_difference_has_its_interval_and_its_p_value() -> None:
    rng = np.random.default_rng(0)
    old_U, new_U = rng.random((2, 300))
    found, interval = compare(new_U, old_U, 3, 500, 0.9), paired_bootstrap(new_U - old_U, 3, 500, 0.9)
    assert (found.mean, found.low, found.high) == (interval.mean, interval.low, interval.high)
    assert found.mean == pytest.approx(new_U.mean() - old_U.mean())
    assert found.p_value == pytest.approx(wilcoxon(new_U, old_U, method="asymptotic").pvalue)
    with pytest.raises(ValueError, match="300 users cannot be paired with 299"):
        compare(new_U, old_U[1:], 0)
    with pytest.raises(ValueError, match="not finite"):
        compare(np.append(new_U, np.nan), np.append(old_U, 0), 0)


@pytest.mark.parametrize("n", [3, 30, 300])
@pytest.mark.parametrize("steps", [1, 4, 10**6])  # how many sizes a difference can have: many ties, some, none
def test_the_signed_rank_test_is_scipys(n: int, steps: int) -> None:
    rng = np.random.default_rng(n)
    by_U = np.ceil(rng.random(n) * steps) / steps * rng.choice([-1, 0, 1], n, p=[0.2, 0.3, 0.5])
    expected = wilcoxon(by_U, zero_method="wilcox", method="asymptotic", correction=False).pvalue
    assert signed_rank_p(by_U) == pytest.approx(expected, rel=1e-9)
    assert signed_rank_p(-by_U) == pytest.approx(expected, rel=1e-9)


def test_who_does_not_differ_says_nothing() -> None:
    assert signed_rank_p(np.zeros(9)) == 1
    by_U = np.random.default_rng(0).normal(0.5, 1, 40)
    assert signed_rank_p(np.append(by_U, np.zeros(500))) == signed_rank_p(by_U)


def test_what_only_rounding_parts_is_a_tie() -> None:
    """The same scores in another order of seeds have another mean, in the last bit; so have 2 / 3 and -2 / 3."""
    rng = np.random.default_rng(0)
    by_SU = rng.integers(-4, 7, (3, 200)) / 10
    exact_U = np.round(by_SU.sum(axis=0) * 10)  # 3 x 10 x the mean, in whole numbers
    noisy_U = np.array([rng.permutation(by_S).mean() for by_S in by_SU.T])
    assert len(np.unique(noisy_U)) > len(np.unique(exact_U))  # else nothing is tested
    assert (noisy_U[exact_U == 0] != 0).any()
    expected = wilcoxon(exact_U, zero_method="wilcox", method="asymptotic", correction=False).pvalue
    assert signed_rank_p(noisy_U) == pytest.approx(expected, rel=1e-9)
    assert signed_rank_p(np.full(50, 0.1 + 0.2 - 0.3)) == 1  # equal models
    small_U = rng.normal(2, 1, 60) * 1e-9  # what is no noise is told
    expected = wilcoxon(small_U, zero_method="wilcox", method="asymptotic", correction=False).pvalue
    assert signed_rank_p(small_U) == pytest.approx(expected, rel=1e-6)


def test_students_quantiles_are_those_of_the_table() -> None:
    assert student(0.95, 2) == pytest.approx(2.920, abs=5e-4)
    assert student(0.975, 9) == pytest.approx(2.262, abs=5e-4)
    assert student(0.95, 1e9) == pytest.approx(1.645, abs=5e-4)
    assert student(0.95, 0) == student(1.0, 5) == math.inf


def test_few_users_get_students_bound_by_hand() -> None:
    found = lower_bound(np.array([1.0, 2.0, 3.0]), 0, 500, 0.95)  # s = 1, so the error is 1 / sqrt(3)
    assert found.mean == 2
    assert found.error == pytest.approx(0.57735)
    assert found.low == pytest.approx(2 - 2.920 * 0.57735, abs=1e-3)
    assert lower_bound(np.array([1.0]), 0, 500, 0.95).low == -math.inf
    assert lower_bound(np.full(50, 0.25), 0, 500, 0.95).low == pytest.approx(0.25)


def test_where_values_are_skewed_the_percentile_is_the_lower_one() -> None:
    value_U = np.zeros(400)
    value_U[:4] = -1.0  # few lose much: the means of other users reach further down than t says
    found = lower_bound(value_U, 0, 4000, 0.99)
    assert found.low < found.mean - student(0.99, 399) * found.error - 0.0005
    assert lower_bound(-value_U, 0, 4000, 0.99).low == pytest.approx(0.01 - student(0.99, 399) * found.error)


def test_a_level_that_the_resamples_cannot_resolve_is_still_paid_for() -> None:
    value_U = np.random.default_rng(0).normal(0, 1, 1000)
    found = lower_bound(value_U, 0, 50, 1 - 1e-6)
    assert found.low == pytest.approx(found.mean - 4.7815 * found.error, abs=0.003 * found.error)  # z + (z³ + z) / 4 n


@pytest.mark.parametrize(("n", "hits"), [(40, None), (1000, 0.02)])
def test_the_bound_is_too_high_once_in_twenty_at_most(n: int, hits: float | None) -> None:
    rng, wrong = np.random.default_rng(5), 0
    for trial in range(600):
        value_U = rng.normal(0.2, 1, n) if hits is None else (rng.random(n) < 0.2 + hits) * 1.0 - 0.02
        wrong += lower_bound(value_U, trial, 300, 0.95).low > 0.2
    assert 0.02 < wrong / 600 < 0.07


def test_over_seeds_by_hand() -> None:
    by_U = np.tile([-0.3, 0.3], 50)
    by_SU = by_U + np.array([[0.1], [0.2], [0.3]])  # the means' standard deviation is .1
    found, users = lower_bound_over_seeds(by_SU, 0, 500, 0.95), standard_error(by_U)
    seeds = 0.1 / math.sqrt(3)
    assert found.error == pytest.approx(math.hypot(users, seeds))
    degrees = found.error**4 / (users**4 / 99 + seeds**4 / 2)
    assert 2 < degrees < 99
    assert found.low == pytest.approx(0.2 - student(0.95, degrees) * found.error)
    lone = lower_bound_over_seeds(np.tile([[0.1], [0.2], [0.3]], (1, 60)), 0, 500, 0.95)  # users who all agree
    assert lone.low == pytest.approx(0.2 - 2.920 * seeds, abs=1e-4)
    agreed = lower_bound_over_seeds(np.tile(by_U + 0.2, (3, 1)), 0, 500, 0.95)
    assert agreed == lower_bound(by_U + 0.2, 0, 500, 0.95)
    skewed_SU = np.where(np.arange(400) < 4, -1.0, 0.0) + np.array([[0.0], [1e-9], [2e-9]])
    assert (
        lower_bound_over_seeds(skewed_SU, 0, 4000, 0.99).low == lower_bound(skewed_SU.mean(axis=0), 0, 4000, 0.99).low
    )
    with pytest.raises(ValueError, match="one fit"):
        lower_bound_over_seeds(by_SU[:1], 0, 500, 0.95)


def test_seeds_that_vary_are_rarely_taken_for_a_gain() -> None:
    rng, wrong = np.random.default_rng(1), 0
    for trial in range(600):
        by_SU = rng.normal(0, 0.05, (3, 1)) + rng.normal(0, 0.3, 100) + rng.normal(0, 0.1, (3, 100))
        wrong += lower_bound_over_seeds(by_SU, trial, 100, 0.95).low > 0
    assert 0.01 < wrong / 600 < 0.07
