"""What a model must show beside its score: that it was judged on what it had not seen, and that its lists are sane."""

import numpy as np

from tasks.promote.against import bound
from tasks.promote.candidacy import Check, Pair, Scores
from tasks.promote.config import GateConfig

CLEARLY = 0.99  # a guardrail is looked at every night, and should seldom stop one for nothing


def has_a_score(scores: Scores, prefix: str = "") -> Check:
    finite = len(scores.ndcg_U) > 0 and bool(np.isfinite(scores.ndcg_U).all())
    return Check(f"{prefix}has a score", finite, f"NDCG@10 {scores.mean:.4f}")


def enough_users(scores: Scores, gate: GateConfig, prefix: str = "") -> Check:
    n = len(scores.ndcg_U)
    who = "users with test rows that neither has learned from" if prefix else "users"
    return Check(f"{prefix}enough test users", n >= gate.min_users, f"{n} {who}, {gate.min_users} needed")


def same_test(pairs: list[Pair]) -> Check:
    """Each comparison is between scores of the same rows."""
    wrong = [pair.other.name for pair in pairs if not pair.same_test]
    detail = f"scored on other rows: {', '.join(wrong)}" if wrong else "every comparison is on the same rows"
    return Check("same test", not wrong, detail)


def unseen(fitted: int | None) -> Check:
    """None of the test rows was fitted. Where nobody counted, nobody knows."""
    return Check("no test row was fitted", fitted == 0, "not counted" if fitted is None else f"{fitted} rows")


def not_too_good(pairs: list[Pair], gate: GateConfig) -> Check:
    """Not clearly more than `too_good` times the best of those beside it: so large a lead is a leak until shown not
    to be."""
    beaten_by_far = []
    for pair in pairs:
        by = bound(pair.new.ndcg_U - gate.too_good * pair.other.ndcg_U, gate, CLEARLY) if pair.same_test else None
        beaten_by_far.append(by is None or not by.low <= 0)
    nearest = max(pairs, key=lambda pair: pair.other.mean)
    detail = (
        f"NDCG@10 {nearest.new.mean:.4f}; {nearest.other.name} {nearest.other.mean:.4f}, "
        f"{gate.too_good:g} times as much is taken for a leak"
    )
    return Check("not too good to be true", not all(beaten_by_far), detail)


def coverage(pair: Pair, gate: GateConfig) -> Check:
    new, old = _both(pair, "coverage_at_10")
    least = (1 - gate.max_coverage_loss) * old
    return Check("coverage", new >= least, f"{new:.1%} of the catalogue against {old:.1%}; at least {least:.1%}")


def popularity_bias(pair: Pair, gate: GateConfig) -> Check:
    new, old = _both(pair, "popularity_at_10")
    most = (1 + gate.max_popularity_rise) * old
    detail = f"mean popularity of what is shown {new:.4g} against {old:.4g}; at most {most:.4g}"
    return Check("popularity bias", new <= most, detail)


def cold_users(pair: Pair, gate: GateConfig) -> Check:
    """Users with little before the test do not clearly lose more than their share; few of them seldom show that."""
    name, lengths_U = "cold users", pair.new.lengths_U
    if lengths_U is None or len(lengths_U) != len(pair.new.ndcg_U) or not pair.same_test:
        return Check(name, False, "not known who they are")
    cold_U = lengths_U <= gate.cold_rows
    if not cold_U.any():
        return Check(name, True, f"none with at most {gate.cold_rows} items before the test")
    new_U, old_U = pair.new.ndcg_U[cold_U], pair.other.ndcg_U[cold_U]
    kept = 1 - gate.max_cold_loss
    lost = bound(kept * old_U - new_U, gate, CLEARLY)
    detail = f"NDCG@10 of {cold_U.sum()} users {new_U.mean():.4f} against {old_U.mean():.4f}"
    return Check(name, lost.low <= 0, f"{detail}; must not be clearly below {kept * old_U.mean():.4f}")


def overlap(pair: Pair, gate: GateConfig) -> Check:
    detail = f"{pair.overlap:.1%} of the champion's lists are shown too; at least {gate.min_overlap:.1%}"
    return Check("overlap with the champion", pair.overlap >= gate.min_overlap, detail)


def not_frozen(reason: str | None) -> Check:
    return Check("not frozen", reason is None, "nobody has frozen it" if reason is None else f"frozen: {reason}")


def _both(pair: Pair, figure: str) -> tuple[float, float]:
    """NaN, which passes nothing, where a figure is missing: both models' lists are judged tonight, so it is there
    unless something is broken."""
    return pair.new.beyond.get(figure, np.nan), pair.other.beyond.get(figure, np.nan)
