"""The promotion gate: a pure function that fails closed.

U test users
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from models.ranking.bootstrap import Interval, paired_bootstrap
from tasks.promote.config import GateConfig

SEED = 20_090_618  # of the bootstrap: equal scores must always get an equal decision


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
    fitted_test_rows: int = 0  # test rows that the new model was fitted on
    frozen: str | None = None  # why nothing may go out at present


@dataclass(frozen=True)
class Check:
    """One condition, whether it holds, and the figures it was judged by."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Decision:
    promote: bool
    checks: tuple[Check, ...]
    gain: float | None = None  # mean NDCG@10 by which the new model is better than the champion; None without one

    @property
    def reason(self) -> str:
        """In one line: what failed, else what passed last."""
        failed = [check for check in self.checks if not check.passed]
        return "; ".join(f"{check.name}: {check.detail}" for check in failed or self.checks[-1:])


def decide(candidacy: Candidacy, gate: GateConfig) -> Decision:
    """Promotes only where every check passes; a comparison with NaN never does.

    Raises ValueError for scores of different tests."""
    new, champion = candidacy.new, candidacy.champion
    pairs = [Pair(new, floor) for floor in candidacy.floors] + ([champion] if champion else [])
    for pair in pairs:
        one, other = pair.new, pair.other
        if (one.test_fingerprint, len(one.ndcg_U)) != (other.test_fingerprint, len(other.ndcg_U)):
            raise ValueError(f"scores of {one.name} and {other.name} come from different test sets")
    checks = [_is_a_number(new), _enough(new, gate)]
    if candidacy.floors:
        checks.append(_beats("beats popularity", new, candidacy.floors[0], gate))
    if champion is not None:
        checks += [_is_a_number(champion.other, "champion has a score"), _enough(champion.other, gate, "champion: ")]
        if candidacy.same_configuration:
            checks.append(_no_worse(champion.new, champion.other, gate))
        else:
            checks.append(_beats("beats the champion", champion.new, champion.other, gate))
    return Decision(all(check.passed for check in checks), tuple(checks))


def wants_seeds(decision: Decision) -> bool:
    """Whether all that is left to show is that the model holds with other seeds too."""
    return False


def difference(one: Scores, other: Scores, gate: GateConfig) -> Interval:
    """Mean NDCG@10 by which `one` is better, with its interval, from a paired bootstrap over users.

    All NaN, which passes no check, where a score is missing."""
    by_U = one.ndcg_U - other.ndcg_U
    if not len(by_U) or not np.isfinite(by_U).all():
        return Interval(float("nan"), float("nan"), float("nan"))
    return paired_bootstrap(by_U, SEED, gate.resamples, gate.level)


def _is_a_number(scores: Scores, name: str = "has a score") -> Check:
    finite = len(scores.ndcg_U) > 0 and bool(np.isfinite(scores.ndcg_U).all())
    return Check(name, finite, f"NDCG@10 {scores.mean:.4f}")


def _enough(scores: Scores, gate: GateConfig, prefix: str = "") -> Check:
    n = len(scores.ndcg_U)
    return Check(f"{prefix}enough test users", n >= gate.min_users, f"{n} users, {gate.min_users} needed")


def _beats(name: str, new: Scores, other: Scores, gate: GateConfig) -> Check:
    by = difference(new, other, gate)
    return Check(name, by.low > 0, _figures(new, other, by, gate))


def _no_worse(new: Scores, champion: Scores, gate: GateConfig) -> Check:
    by = difference(new, champion, gate)
    detail = f"{_figures(new, champion, by, gate)}; margin {gate.margin:g}"
    return Check("no worse than the champion", by.mean >= -gate.margin * champion.mean, detail)


def _figures(new: Scores, other: Scores, by: Interval, gate: GateConfig) -> str:
    return (
        f"NDCG@10 {new.mean:.4f} against {other.mean:.4f}: "
        f"{by.mean:+.4f}, {gate.level:.0%} interval {by.low:+.4f} to {by.high:+.4f}"
    )
