"""How far a mean over users would move with other users: percentile bootstrap (Efron & Tibshirani, 1993, chapter 13).

U users, S bootstrap samples, V distinct values
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..base import FloatArray
from ..fitting.samplers import stream

BLOCK_DRAWS = 2**22
STEPS = 2048


@dataclass(frozen=True)
class Interval:
    """A mean and the interval that holds it with the given level."""

    mean: float
    low: float
    high: float


def bootstrap_mean(value_U: FloatArray, seed: int, samples: int = 2000, level: float = 0.95) -> Interval:
    """The mean over users with its interval. Equal seeds give equal intervals.

    Raises ValueError for no users or NaN: leave out users without test rows first."""
    mean_S = resampled_means(value_U, seed, samples)
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    low, high = np.quantile(mean_S, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(np.mean(value_U, dtype=np.float64)), float(low), float(high))


def paired_bootstrap(difference_U: FloatArray, seed: int, samples: int = 2000, level: float = 0.95) -> Interval:
    """Interval of a mean difference between two models on the same users: `new_U - old_U`, one number a user.

    Pairing removes what makes users differ, so it sees smaller differences than two separate intervals."""
    return bootstrap_mean(difference_U, seed, samples, level)


def resampled_means(value_U: FloatArray, seed: int, samples: int) -> npt.NDArray[np.float64]:
    """[S] means of U users drawn with replacement. Raises ValueError for no users or values that are not finite."""
    if len(value_U) == 0:
        raise ValueError("no users to average over")
    if not np.isfinite(value_U).all():
        raise ValueError("a value is not finite: leave out users without relevant items first")
    rng, n_users = stream(seed, "bootstrap"), len(value_U)
    value_V, count_V = np.unique(np.asarray(value_U, dtype=np.float64), return_counts=True)
    if n_users > 20 * STEPS:
        value_V, count_V = _in_steps(value_V, count_V)
    # Metrics take few values. How often each is drawn is multinomial: the same law without drawing every user.
    if 20 * len(value_V) < n_users:
        count_SV = rng.multinomial(n_users, count_V / n_users, size=samples)
        means_S: npt.NDArray[np.float64] = count_SV @ value_V / n_users
        return means_S
    return _drawn_one_by_one(np.asarray(value_U, dtype=np.float64), samples, rng)


def _in_steps(
    value_V: npt.NDArray[np.float64], count_V: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """At most STEPS values: each step of the range is replaced by its users' mean. The mean stays as it is.

    What is lost of the variance is below 1 / (12 STEPS²) of the squared range; of a metric that spreads over a
    hundredth of its range still less than a thousandth."""
    if len(value_V) <= STEPS:
        return value_V, count_V
    width = (value_V[-1] - value_V[0]) / STEPS
    step_V = np.minimum(((value_V - value_V[0]) / width).astype(np.int64), STEPS - 1)
    count = np.bincount(step_V, count_V, STEPS)
    total = np.bincount(step_V, value_V * count_V, STEPS)
    return total[count > 0] / count[count > 0], count[count > 0].astype(np.int64)


def _drawn_one_by_one(
    value_U: npt.NDArray[np.float64], samples: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    n_users, mean_S = len(value_U), np.empty(samples)
    block = max(1, BLOCK_DRAWS // n_users)
    for start in range(0, samples, block):
        draws = mean_S[start : start + block]
        draws[:] = value_U[rng.integers(n_users, size=(len(draws), n_users))].mean(axis=1)
    return mean_S
