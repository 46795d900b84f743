"""Whether one model is better than another on the same users, or luck explains it.

U users, N users whose two scores differ, V distinct sizes of a difference, S fits with different seeds
"""

from dataclasses import dataclass
from math import erfc, inf, sqrt

import numpy as np
from scipy.special import stdtrit

from ..base import FloatArray
from .bootstrap import paired_bootstrap, resampled_means

GRAIN = 2.0**-40
"""Differences are told apart by twelve digits: scores are at most 1, and the last bits of means over seeds are noise.
A power of two, so that no fraction with a small denominator lies between two grains."""


@dataclass(frozen=True)
class Difference:
    """By how much a model is better than another, on average over the users of both."""

    mean: float
    low: float  # two-sided interval, paired bootstrap over users
    high: float
    p_value: float  # Wilcoxon signed-rank test, two-sided; shown as a check, decides nothing


@dataclass(frozen=True)
class Bound:
    """A mean difference, and what it is at least, at a one-sided level."""

    mean: float
    low: float  # -inf where one user tells nothing
    error: float  # standard error of the mean


def compare(new_U: FloatArray, old_U: FloatArray, seed: int, samples: int = 2000, level: float = 0.95) -> Difference:
    """`new - old`, user by user. What every difference that is shown is shown with. Equal seeds, equal intervals.

    Raises ValueError for unequal lengths, no users or NaN: leave out users without test rows first."""
    if np.shape(new_U) != np.shape(old_U):
        raise ValueError(f"{np.size(new_U)} users cannot be paired with {np.size(old_U)}")
    by_U = np.asarray(new_U, dtype=np.float64) - np.asarray(old_U, dtype=np.float64)
    interval = paired_bootstrap(by_U, seed, samples, level)
    return Difference(interval.mean, interval.low, interval.high, signed_rank_p(by_U))


def lower_bound(by_U: FloatArray, seed: int, samples: int, level: float) -> Bound:
    """What the mean difference is at least: the lower of the bootstrap's percentile and Student's t.

    The percentile sees that values are skewed; t sees few users, and levels too high for that many resamples.
    Raises ValueError for no users or NaN."""
    percentile = np.quantile(resampled_means(by_U, seed, samples), 1 - level)
    error = standard_error(by_U)
    mean = float(np.mean(by_U))
    return Bound(mean, min(float(percentile), mean - student(level, len(by_U) - 1) * error), error)


def lower_bound_over_seeds(by_SU: FloatArray, seed: int, samples: int, level: float) -> Bound:
    """What the mean difference is at least, with other users and with other seeds.

    The two errors add up in squares: of the users, whom all fits share, and of the fits' means; degrees of freedom
    after Satterthwaite (Biometrics Bulletin 2, 1946). Raises ValueError for one fit, no users or NaN."""
    if len(by_SU) < 2:
        raise ValueError("one fit says nothing about other seeds")
    of_users = lower_bound(np.mean(by_SU, axis=0), seed, samples, level)
    of_seeds = standard_error(np.mean(by_SU, axis=1))
    error = sqrt(of_users.error**2 + of_seeds**2)
    n_seeds, n_users = np.shape(by_SU)
    if not of_seeds or n_users < 2:
        return of_users
    degrees = error**4 / (of_users.error**4 / (n_users - 1) + of_seeds**4 / (n_seeds - 1))
    return Bound(of_users.mean, min(of_users.low, of_users.mean - student(level, degrees) * error), error)


def standard_error(value_U: FloatArray) -> float:
    """Of a mean; infinite where there is only one value."""
    return float(np.std(value_U, ddof=1)) / sqrt(len(value_U)) if len(value_U) > 1 else inf


def student(level: float, degrees: float) -> float:
    """The quantile of Student's t; infinite at level 1, or without degrees of freedom."""
    return float(stdtrit(degrees, level)) if degrees > 0 else inf


def signed_rank_p(by_U: FloatArray) -> float:
    """Two-sided p-value that differences are as often, and as far, above zero as below.

    Users with no difference are left out (scipy's zero_method="wilcox"), ties, which `GRAIN` tells, share their mean
    rank, and the normal approximation is used throughout, with its correction for ties: it needs some 20 users that
    differ. 1 where none does. Source: Wilcoxon, Individual comparisons by ranking methods, 1945."""
    step_U = np.round(np.asarray(by_U, dtype=np.float64) / GRAIN)  # whole numbers: what noise parts is a tie
    by_N = step_U[step_U != 0]
    if (n := len(by_N)) == 0:
        return 1.0
    _, place_N, count_V = np.unique(np.abs(by_N), return_inverse=True, return_counts=True)
    rank_V = np.cumsum(count_V) - (count_V - 1) / 2
    above = float(rank_V[place_N[by_N > 0]].sum())
    ties = float((count_V.astype(np.float64) ** 3 - count_V).sum())
    variance = n * (n + 1) * (2 * n + 1) / 24 - ties / 48
    return erfc(abs(above - n * (n + 1) / 4) / sqrt(2 * variance))
