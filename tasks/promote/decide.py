"""The promotion gate: a pure function that fails closed.

U test users
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.ranking.bootstrap import Interval, paired_bootstrap
from tasks.promote.config import GateConfig

SEED = 20_090_618  # of the bootstrap: equal scores must always get an equal decision


@dataclass(frozen=True)
class Scores:
    """One model's NDCG@10 on the test users."""

    name: str
    test_fingerprint: str
    ndcg_U: npt.NDArray[np.float64]

    @property
    def mean(self) -> float:
        return float(self.ndcg_U.mean()) if len(self.ndcg_U) else float("nan")


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


def decide(
    new: Scores,
    floor: Scores | None,
    champion: Scores | None,
    same_configuration: bool,
    gate: GateConfig,
    on_champion_rows: Scores | None = None,
) -> Decision:
    """Promotes only where every check passes; a comparison with NaN never does.

    `floor` is None only for the floor itself. `on_champion_rows` are the new model's scores on the rows that the
    champion may be judged by, where these are not all. Raises ValueError for scores of different tests.
    """
    beside_champion = on_champion_rows or new
    for one, other in ((new, floor), (beside_champion, champion)):
        if other is not None and (one.test_fingerprint, len(one.ndcg_U)) != (other.test_fingerprint, len(other.ndcg_U)):
            raise ValueError(f"scores of {one.name} and {other.name} come from different test sets")
    checks = [_is_a_number(new), _enough(new, gate)]
    if floor is not None:
        checks.append(_beats("beats popularity", new, floor, gate))
    if champion is not None:
        checks += [_is_a_number(champion, "champion has a score"), _enough(champion, gate, "champion: ")]
        if same_configuration:
            checks.append(_no_worse(beside_champion, champion, gate))
        else:
            checks.append(_beats("beats the champion", beside_champion, champion, gate))
    return Decision(all(check.passed for check in checks), tuple(checks))


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
    detail = f"{_figures(new, champion, by, gate)}; tolerance {gate.tolerance:g}"
    return Check("no worse than the champion", by.mean >= -gate.tolerance, detail)


def _figures(new: Scores, other: Scores, by: Interval, gate: GateConfig) -> str:
    return (
        f"NDCG@10 {new.mean:.4f} against {other.mean:.4f}: "
        f"{by.mean:+.4f}, {gate.level:.0%} interval {by.low:+.4f} to {by.high:+.4f}"
    )
