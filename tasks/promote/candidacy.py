"""What the gate is told of the new model and of those that it is compared with.

U test users
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Scores:
    """One model's NDCG@10 on the test users, and what its lists are like."""

    name: str
    test_fingerprint: str
    ndcg_U: npt.NDArray[np.float64]
    lengths_U: npt.NDArray[np.int64] | None = None  # items before the test
    beyond: Mapping[str, float] = field(default_factory=dict)  # coverage_at_10, popularity_at_10, ...

    @property
    def mean(self) -> float:
        return float(self.ndcg_U.mean()) if len(self.ndcg_U) else float("nan")


@dataclass(frozen=True)
class Pair:
    """The new model and another one on the rows that may judge both."""

    new: Scores
    other: Scores
    overlap: float = float("nan")  # mean share of the other's lists that the new model shows too

    @property
    def same_test(self) -> bool:
        """Whether both were scored on the same rows. One that does not say which was not."""
        one, other = self.new, self.other
        return one.test_fingerprint == other.test_fingerprint != "" and len(one.ndcg_U) == len(other.ndcg_U)

    @property
    def gain(self) -> float | None:
        """Mean NDCG@10 by which the new model is better; None where that is unknown."""
        mean = self.new.mean - self.other.mean
        return mean if self.same_test and isfinite(mean) else None


@dataclass(frozen=True)
class Candidacy:
    """All that the gate decides on."""

    new: Scores
    floors: tuple[Scores, ...]  # the first must be beaten; none only for that floor itself
    champion: Pair | None = None  # None on the first night
    anchor: Pair | None = None  # the best of the last nights; None where that is the champion
    seeds: tuple[Pair, ...] = ()  # the same model with other seeds, beside the champion
    same_configuration: bool = False
    by_chance: bool = False  # another seed makes another model
    tries: int = 1  # how often this configuration has been judged beside this champion, tonight included
    fitted_test_rows: int | None = 0  # test rows that the new model was fitted on; None: nobody counted
    frozen: str | None = None  # why nothing may go out at present


@dataclass(frozen=True)
class Check:
    """One condition, whether it holds, and the figures it was judged by."""

    name: str
    passed: bool
    detail: str
