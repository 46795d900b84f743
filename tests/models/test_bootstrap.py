"""Intervals that hold the truth as often as they say."""

import numpy as np
import pytest

from models.ranking.bootstrap import bootstrap_mean, paired_bootstrap


@pytest.mark.parametrize("kind", ["few values", "many values"])
def test_the_interval_covers_the_true_mean_19_times_in_20(kind: str) -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        value_U = rng.random(200) < 0.3 if kind == "few values" else rng.normal(0.3, 1, 200)
        interval = bootstrap_mean(value_U.astype(float), seed=trial, samples=400)
        covered += interval.low <= 0.3 <= interval.high
    assert 0.91 <= covered / 300 <= 0.98


def test_both_ways_of_drawing_have_the_same_law() -> None:
    value_U = (np.arange(1000) % 4 == 0).astype(float)
    barely_distinct_U = value_U + np.arange(1000) * 1e-9
    few, many = bootstrap_mean(value_U, seed=0), bootstrap_mean(barely_distinct_U, seed=0)
    standard_error = np.sqrt(0.25 * 0.75 / 1000)
    assert few.low == pytest.approx(0.25 - 1.96 * standard_error, abs=0.003)
    assert many.low == pytest.approx(few.low, abs=0.003)
    assert many.high == pytest.approx(few.high, abs=0.003)


def test_pairing_sees_what_two_intervals_would_not() -> None:
    rng = np.random.default_rng(0)
    old_U = rng.normal(0, 1, 500)
    new_U = old_U + 0.05 + rng.normal(0, 0.1, 500)
    assert paired_bootstrap(new_U - old_U, seed=0).low > 0
    assert bootstrap_mean(new_U, seed=0).low < old_U.mean()


def test_equal_seeds_give_equal_intervals_and_bad_values_are_refused() -> None:
    value_U = np.random.default_rng(0).normal(size=50)
    assert bootstrap_mean(value_U, seed=1) == bootstrap_mean(value_U, seed=1)
    assert bootstrap_mean(value_U, seed=1) != bootstrap_mean(value_U, seed=2)
    for bad_U in (np.array([]), np.array([1.0, np.nan])):
        with pytest.raises(ValueError, match=r"no users|not finite"):
            bootstrap_mean(bad_U, seed=0)
