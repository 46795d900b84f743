"""The comparisons that decide: one-sided tests of the mean NDCG@10, user by user.

U test users, S fits with different seeds
"""

from math import nan

import numpy as np
import numpy.typing as npt

from models.ranking.significance import Bound, lower_bound, lower_bound_over_seeds, signed_rank_p, student
from tasks.promote.candidacy import Check, Pair
from tasks.promote.config import GateConfig

SEED = 20_090_618  # of the bootstrap: equal scores must always get an equal decision
UNKNOWN = Bound(nan, nan, nan)  # no comparison with it is true, so that it passes nothing

Values = npt.NDArray[np.float64]


def difference(pair: Pair, gate: GateConfig, level: float) -> Bound:
    """By how much the new model is better; unknown where a score is missing, or the tests are not the same."""
    return bound(pair.new.ndcg_U - pair.other.ndcg_U, gate, level) if pair.same_test else UNKNOWN


def bound(by_U: Values, gate: GateConfig, level: float) -> Bound:
    known = len(by_U) > 0 and bool(np.isfinite(by_U).all())
    return lower_bound(by_U, SEED, gate.resamples, level) if known else UNKNOWN


def beats(name: str, pair: Pair, gate: GateConfig, level: float, least: float = 0.0) -> Check:
    """Superiority: better by more than the share `least` of the other's NDCG@10."""
    found = difference(pair, gate, level)
    needed = least * pair.other.mean
    return Check(name, found.low > needed, f"{figures(pair, found, level)}; must be above {needed:+.4f}")


def level_of(gate: GateConfig, tries: int) -> float:
    """The level of the k-th try: errors of 1 / (k (k + 1)) of what one decision may have add up to just that.

    Else a configuration that is no better would go out some night, given enough of them."""
    return 1 - (1 - gate.level) / (tries * (tries + 1)) if tries > 0 else 1.0


def power_of(gate: GateConfig, comparisons: int) -> float:
    """Of each comparison of a refit, so that one that is as good passes all of them as often as `gate.power` says: the
    ways to fail share what it leaves, a tenth of which is for the guardrails."""
    return 1 - 0.9 * (1 - gate.power) / comparisons


def no_worse(name: str, pair: Pair, gate: GateConfig, power: float) -> Check:
    """Non-inferiority: not worse by as much as the margin. One that is as good passes with that power, unless so few
    users are there that the margin, which is widened to what they can tell, reaches its limit."""
    found = difference(pair, gate, gate.level)
    degrees = len(pair.new.ndcg_U) - 1
    visible = (student(gate.level, degrees) + student(power, degrees)) * found.error
    asked, limit = gate.margin * pair.other.mean, max(gate.margin, gate.max_margin) * pair.other.mean
    margin = min(max(asked, visible), limit)
    passed = found.low > -margin
    words = f"{figures(pair, found, gate.level)}; must be above {-margin:+.4f}"
    if margin > asked:
        words += f" ({margin / pair.other.mean:.0%}: {len(pair.new.ndcg_U)} users cannot tell {gate.margin:.0%})"
    if not passed and visible > limit and found.mean > -margin:
        words += "; they cannot tell that either: inconclusive"
    return Check(name, passed, words)


def holds(name: str, pairs: tuple[Pair, ...], gate: GateConfig, level: float) -> Check:
    """Superiority over fits with several seeds: of their mean, with the error that seeds add to that of users."""
    tests = {(pair.new.test_fingerprint, len(pair.new.ndcg_U)) for pair in pairs}
    if len(tests) != 1 or not all(pair.same_test for pair in pairs):
        return Check(name, False, "the fits were scored on different test rows")
    by_SU = np.stack([pair.new.ndcg_U - pair.other.ndcg_U for pair in pairs])
    known = by_SU.size > 0 and bool(np.isfinite(by_SU).all())
    found = lower_bound_over_seeds(by_SU, SEED, gate.resamples, level) if known else UNKNOWN
    needed = gate.min_gain * pairs[0].other.mean
    each = ", ".join(f"{mean:+.4f}" for mean in by_SU.mean(axis=1))
    detail = f"{len(pairs)} seeds: {each}; mean {found.mean:+.4f}, at least {found.low:+.4f} ({100 * level:.4g}%)"
    return Check(name, found.low > needed, f"{detail}; must be above {needed:+.4f}")


def figures(pair: Pair, found: Bound, level: float) -> str:
    """Both scores, their difference with its bound, and the rank test's p-value as a second opinion."""
    p_value = signed_rank_p(pair.new.ndcg_U - pair.other.ndcg_U) if np.isfinite(found.mean) else nan
    return (
        f"NDCG@10 {pair.new.mean:.4f} against {pair.other.mean:.4f}: {found.mean:+.4f}, "
        f"at least {found.low:+.4f} ({100 * level:.4g}%, one-sided; Wilcoxon p {p_value:.2g})"
    )
