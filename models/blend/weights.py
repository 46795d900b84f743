"""How the validation rows choose a blend's weights.

U users in the query, I items, T weights that are tried
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import psutil

from ..base import Query, Recommender
from .scores import Floats, add, scored

Weights = tuple[float, ...]

STEPS = (1.0, 0.5, 0.25, 0.125)
"""By these shares a weight is moved towards all or nothing, one size after the other."""
MOST_TRIES = 80
"""Weights that are tried at most: four members took 25 to 65."""
# Measured with the members above: the difference of two weights in validation NDCG@10 has a standard error of .1 to .5
# of the root of NDCG over users. On test rows 0, .1 and .2 give .117, .120, .120 (MovieLens 100K), .0846, .0871, .0871
# (Gowalla without ease) and .6141, .6135, .6115 (MovieLens 1M).
NOISE = 0.1
"""What validation may lose for weights nearer to equal ones, as a share of the root of NDCG over users."""
KEPT_SCORES = 2**28
"""Standardised scores that are kept while weights are tried (1 GB). Where the members' are more, only a part of the
users, told by their index, is asked; the last word has a validation of all."""
SHARE = 0.5
"""Of the memory that is available, what kept scores may take; beyond it they are made anew each time."""


def climb(measure: Callable[[Weights], float], n_members: int) -> dict[Weights, float]:
    """All weights that were tried, in order, and their values: equal ones, each member alone, and from the best of
    these on every change of one member's share that helps, by ever smaller STEPS. Weights add up to 1."""
    value_T: dict[Weights, float] = {}

    def value(weights: Weights) -> float:
        if weights not in value_T and len(value_T) < max(MOST_TRIES, n_members + 1):
            value_T[weights] = measure(weights)
        return value_T.get(weights, -math.inf)

    best = (1 / n_members,) * n_members
    for start in (best, *alone(n_members)):
        best = start if value(start) > value(best) else best
    for step in STEPS:
        moved = True
        while moved:
            moved = False
            for member in range(n_members):
                for point in (_moved(best, member, 1.0, step), _moved(best, member, 0.0, step)):
                    if point is not None and value(point) > value(best):
                        best, moved = point, True
    return value_T


def nearest_to_equal(value_T: Mapping[Weights, float], noise: float, n_users: int) -> Weights:
    """Of the weights that are no worse than any member alone, and worse than the best by no more than noise, those
    nearest to equal ones: they do better on other users. After the rule of one standard error (Breiman et al.,
    Classification and Regression Trees, 1984, section 3.4.3)."""
    n_members = len(next(iter(value_T)))
    best = max(value_T.values())
    least = max(best - noise * math.sqrt(max(best, 0.0) / max(n_users, 1)), *(value_T[w] for w in alone(n_members)))

    def distance(weights: Weights) -> float:
        return sum((weight - 1 / n_members) ** 2 for weight in weights)

    return min((w for w, value in value_T.items() if value >= least), key=lambda w: (distance(w), -value_T[w]))


def alone(n_members: int) -> list[Weights]:
    """The weights with which a single member decides."""
    return [tuple(float(other == member) for other in range(n_members)) for member in range(n_members)]


def _moved(weights: Weights, member: int, goal: float, step: float) -> Weights | None:
    """The member's share moved towards `goal` (0 or 1) by `step`, the others' scaled; None where it has all."""
    own = weights[member] + (goal - weights[member]) * step
    others = 1 - weights[member]
    if not others:
        return None
    # Few digits, so that equal points are met as such; what is left of rounding changes no ranking.
    return tuple(
        round(own if other == member else weight * (1 - own) / others, 6) for other, weight in enumerate(weights)
    )


class KeptScores:
    """The members' standardised scores for the queries of a validation, so that weights after weights can be tried.

    Users beyond the `share` are scored zero throughout: whatever they add is the same for all weights. At first that is
    everybody: the first validation only shows how many there are."""

    def __init__(self, members: Sequence[Recommender], n_items: int) -> None:
        self.share = 0.0
        self.n_users = 0
        """Users that the validation asks for."""
        self._members, self._n_items = members, n_items
        self._users: dict[bytes, npt.NDArray[np.int64]] = {}
        self._scores: dict[tuple[bytes, int], Floats] = {}
        self._room = min(KEPT_SCORES, int(SHARE * psutil.virtual_memory().available / 4))

    def choose_share(self) -> None:
        """From now on as many users are scored as there is room for."""
        self.share = min(1.0, KEPT_SCORES / max(1, self.n_users * self._n_items * len(self._members)))
        self._users.clear()
        self.n_users = 0

    def score(self, query: Query, weights: Weights) -> Floats:
        """[U, I] as `Blend.score`, for the users of the share."""
        key = hashlib.blake2b(query.users_U.tobytes() + query.histories.offsets_U1.tobytes())
        key.update(query.histories.items_R.tobytes())
        if key.digest() not in self._users:
            self.n_users += len(query)
            self._users[key.digest()] = np.flatnonzero(_fraction(query.users_U) < self.share)
        rows_V = self._users[key.digest()]
        total_UI = np.zeros((len(query), self._n_items), dtype=np.float32)
        if not len(rows_V):
            return total_UI
        everybody = len(rows_V) == len(query)
        total_VI = total_UI if everybody else np.zeros((len(rows_V), self._n_items), dtype=np.float32)
        part = query.take(rows_V)
        for member, weight in enumerate(weights):
            if weight:
                add(total_VI, self._standardised(key.digest(), member, part), np.float32(weight))
        if not everybody:
            total_UI[rows_V] = total_VI
        return total_UI

    def _standardised(self, key: bytes, member: int, query: Query) -> Floats:
        found = self._scores.get((key, member))
        if found is None:
            found = scored(self._members[member], query)
            if found.size <= self._room:
                self._room -= found.size
                self._scores[key, member] = found
        return found


def _fraction(users_U: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """[U] a number from 0 up to 1 for each user, spread evenly (Knuth's multiplicative hashing)."""
    spread_U: npt.NDArray[np.float64] = (users_U * 2654435761 % 2**32) / 2**32
    return spread_U
