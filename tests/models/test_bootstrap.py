"""Intervals that hold the truth as often as they say."""

import numpy as np
import pytest

from models.ranking.bootstrap import STEPS, _in_steps, bootstrap_mean, paired_bootstrap, resampled_means


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


def test_a_mean_of_equal_values_does_not_move() -> None:
    interval = bootstrap_mean(np.full(500, 0.25), seed=0)
    assert (interval.low, interval.mean, interval.high) == (0.25, 0.25, 0.25)


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


def test_many_users_with_many_values_are_drawn_in_steps() -> None:
    value_U = np.random.default_rng(0).normal(0.3, 1, 50_000)
    mean_S = resampled_means(value_U, 0, 3000)
    assert mean_S.mean() == pytest.approx(value_U.mean(), abs=4 / np.sqrt(50_000 * 3000))
    assert mean_S.std() == pytest.approx(value_U.std() / np.sqrt(50_000), rel=0.05)
    value_V, count_V = _in_steps(*np.unique(value_U, return_counts=True))
    assert len(value_V) <= STEPS
    assert count_V.sum() == 50_000
    assert value_V @ count_V / 50_000 == pytest.approx(value_U.mean(), rel=1e-12)
    width = np.ptp(value_U) / STEPS
    assert (np.diff(value_V) > 0).all()
    variance = ((value_V - value_U.mean()) ** 2 @ count_V) / 50_000
    assert 0 <= value_U.var() - variance < width**2 / 12 * 1.05


def test_few_values_are_kept_as_they_are() -> None:
    value_V, count_V = np.array([0.0, 0.5, 1.0]), np.array([50_000, 10, 1])
    for kept, given in zip(_in_steps(value_V, count_V), (value_V, count_V), strict=True):
        assert kept is given
