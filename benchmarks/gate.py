"""How often the gate errs, by simulation: what it states beside what `decide()` does.

Users' NDCG@10 comes from one held-out item each: most have none of it, those who do depend on its rank. A user who is
easy for one model is easy for the other: both read a common part of the user, and one of their own.

U users, S seeds, R ranks from 1 to 10
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import sqrt

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from tasks.promote.against import level_of, power_of
from tasks.promote.candidacy import Candidacy, Pair, Scores
from tasks.promote.config import GateConfig
from tasks.promote.decide import decide

GATE = GateConfig(resamples=300)
MEAN, FLOOR = 0.12, 0.04  # NDCG@10 of the champion and of popularity, much as on MovieLens 100K
REFIT, ANOTHER = 0.9, 0.7  # how much of what makes a user easy is common to two fits of a configuration, and of two
OVER_SEEDS = 0.05  # standard deviation of NDCG@10 over seeds, as a share of it: twice that of bpr_mf there
AT_MOST = "at most {:.1%}"
LISTS = {"coverage_at_10": 0.5, "popularity_at_10": 0.1}
GAIN_R = 1 / np.log2(np.arange(2, 12))

Values = npt.NDArray[np.float64]
Nights = Callable[[np.random.Generator], bool]


@dataclass(frozen=True)
class Case:
    """A kind of night: what the gate states of it, and one such night, which says whether a model went out."""

    name: str
    stated: str
    n_users: int
    night: Nights
    part: float = 1.0  # of the trials that are asked for: one may be many nights


def thresholds() -> Values:
    """[R] above which a user's normal number gets each rank: of those with a hit, a share like 1 / rank^.6."""
    share_R = np.arange(1, 11) ** -0.6
    share_R *= MEAN / (share_R @ GAIN_R)
    found: Values = ndtri(1 - np.cumsum(share_R))
    return found


THRESHOLD_R = thresholds()


def mean_of(shift: float) -> float:
    """The true NDCG@10 of a model whose normal numbers are higher by this much."""
    return float(np.diff(ndtr(shift - THRESHOLD_R), prepend=0) @ GAIN_R)


@cache
def shift_of(mean: float) -> float:
    return float(brentq(lambda shift: mean_of(shift) - mean, -6, 6))


def scores(name: str, mean: float, common_U: Values, share: float, rng: np.random.Generator) -> Scores:
    """Of a model with this true mean, on users of whose ease a share is common to all models."""
    own_U = rng.standard_normal(len(common_U))
    normal_U = sqrt(share) * common_U + sqrt(1 - share) * own_U + shift_of(mean)
    ndcg_U = np.append(GAIN_R, 0.0)[np.searchsorted(-THRESHOLD_R, -normal_U)]
    lengths_U = np.arange(len(common_U)) % 40  # one in seven is cold
    return Scores(name, "test", ndcg_U, lengths_U, LISTS)


def candidacy(
    rng: np.random.Generator, n_users: int, means_S: Sequence[float], share: float, anchor: float | None = None
) -> Candidacy:
    """The new model with its seeds, by their true means, beside a champion with MEAN."""
    common_U = rng.standard_normal(n_users)
    champion = scores("the champion", MEAN, common_U, share, rng)
    pairs = [Pair(scores("new", mean, common_U, share, rng), champion, 0.5) for mean in means_S]
    floor = scores("popularity", FLOOR, common_U, share / 2, rng)
    third = None if anchor is None else Pair(pairs[0].new, scores("the anchor", anchor, common_U, share, rng))
    return Candidacy(pairs[0].new, (floor,), pairs[0], third, tuple(pairs[1:]), share == REFIT, len(means_S) > 1)


def refit(n_users: int, mean: float, anchor: float | None = None) -> Nights:
    return lambda rng: decide(candidacy(rng, n_users, [mean], REFIT, anchor), GATE).promote


def another(n_users: int, mean: float) -> Nights:
    return lambda rng: decide(candidacy(rng, n_users, [mean], ANOTHER), GATE).promote


def every_night(n_users: int, nights: int, counted: bool) -> Nights:
    """A configuration that is no better is tried night after night, on other users: whether it ever goes out."""

    def tried(rng: np.random.Generator) -> bool:
        made = (candidacy(rng, n_users, [MEAN], ANOTHER) for _ in range(nights))
        return any(
            decide(replace(one, tries=number if counted else 1), GATE).promote for number, one in enumerate(made, 1)
        )

    return tried


def seeds(n_users: int, mean: float, gate: GateConfig, luck: float | None = None) -> Nights:
    """Fits of one configuration differ by their seeds; `luck`: by how many standard deviations the first is better."""

    def tried(rng: np.random.Generator) -> bool:
        by_S = rng.standard_normal(3)
        by_S[0] = by_S[0] if luck is None else luck
        means_S = [float(mean * (1 + OVER_SEEDS * by)) for by in by_S]
        return decide(candidacy(rng, n_users, means_S, ANOTHER), gate).promote

    return tried


def visible_margin(n_users: int) -> float:
    """The margin that the gate states for so many users, as a share of MEAN: from the true error of a difference."""
    made = candidacy(np.random.default_rng(0), 400_000, [MEAN], REFIT).champion
    assert made is not None
    error = float(np.std(made.new.ndcg_U - made.other.ndcg_U)) / sqrt(n_users)
    return min(max(GATE.margin, float(ndtri(GATE.level) + ndtri(power_of(GATE, 1))) * error / MEAN), GATE.max_margin)


def refits() -> list[Case]:
    found = []
    for n_users in (100, 300, 1000, 10_000):
        margin = visible_margin(n_users)
        power = f"at least {GATE.power:.0%}" if margin < GATE.max_margin else "margin at its limit"
        worse = f"worse by the margin, {margin:.0%}"
        found += [
            Case("refit, as good as the champion", power, n_users, refit(n_users, MEAN)),
            Case("the same, and an anchor that is as good", power, n_users, refit(n_users, MEAN, MEAN)),
            Case(f"refit, {worse}", AT_MOST.format(1 - GATE.level), n_users, refit(n_users, MEAN * (1 - margin))),
        ]
    return found


def others() -> list[Case]:
    found = []
    for n_users in (100, 1000, 10_000):
        first_try = 1 - level_of(GATE, 1)
        equal = another(n_users, MEAN)
        found.append(Case("other configuration, no better", AT_MOST.format(first_try), n_users, equal, 4))
        for gain in (0.05, 0.1, 0.2):
            better = another(n_users, MEAN * (1 + gain))
            found.append(Case(f"other configuration, better by {gain:.0%}", "", n_users, better))
    return found


def retried() -> list[Case]:
    limit = AT_MOST.format(1 - GATE.level)
    return [
        Case("no better, tried on 20 nights: ever out", limit, 1000, every_night(1000, 20, counted=True), 0.8),
        Case("the same, were tries not counted", "", 1000, every_night(1000, 20, counted=False), 0.2),
    ]


def by_chance() -> list[Case]:
    one, limit = GATE.model_copy(update={"seeds": 1}), AT_MOST.format(1 - level_of(GATE, 1))
    found = []
    for n_users in (1000, 10_000):
        found += [
            Case("no better over seeds", limit, n_users, seeds(n_users, MEAN, GATE)),
            Case("the same, with one seed alone", "", n_users, seeds(n_users, MEAN, one)),
            Case("no better, with a lucky seed (+10%)", "", n_users, seeds(n_users, MEAN, GATE, 2)),
            Case("the same, with that seed alone", "", n_users, seeds(n_users, MEAN, one, 2)),
            Case("better by 20% over seeds", "", n_users, seeds(n_users, MEAN * 1.2, GATE)),
        ]
    return found


def rate(case: Case, trials: int) -> str:
    """The share of trials with its Monte Carlo error."""
    nights = max(1, round(trials * case.part * min(1, 3000 / case.n_users)))
    out = sum(case.night(np.random.default_rng([case.n_users, number])) for number in range(nights))
    share = (out + 1) / (nights + 2)  # so that a rate of nothing has an error too
    return f"{out / nights:.1%} ± {sqrt(share * (1 - share) / nights):.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks gate", description=__doc__)
    parser.add_argument("--trials", type=int, default=1000, help="for each line; fewer where they cost more")
    asked, _ = parser.parse_known_args()
    table = Table(title="nights on which the model goes out")
    for column in ("night", "test users", "stated", "found"):
        table.add_column(column, justify="left" if column == "night" else "right")
    for case in [*refits(), *others(), *by_chance(), *retried()]:
        table.add_row(case.name, str(case.n_users), case.stated, found := rate(case, asked.trials))
        print(case.name, case.n_users, found, file=sys.stderr, flush=True)
    Console().print(table)
