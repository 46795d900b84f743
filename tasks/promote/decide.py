"""The promotion gate: a pure function that fails closed."""

from dataclasses import dataclass, replace

from tasks.promote import guards
from tasks.promote.against import beats, difference, figures, holds, level_of, no_worse, power_of
from tasks.promote.candidacy import Candidacy, Check, Pair
from tasks.promote.config import GateConfig

SEEDS = "holds with other seeds"
UNTRIED = "no other seed was tried"
APPROVED = "approved by a person"
DECIDING = ("beats ", "no worse than the champion", SEEDS)
"""How the checks begin that say why a model may go out; all others say why one may not."""


@dataclass(frozen=True)
class Decision:
    promote: bool
    checks: tuple[Check, ...]
    gain: float | None = None  # mean NDCG@10 by which the new model is better than the champion; None without one

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)

    @property
    def reason(self) -> str:
        """In one line: what failed, else the comparison that let it out."""
        compared = [check for check in self.checks if check.name.startswith(DECIDING)] or self.checks
        return "; ".join(f"{check.name}: {check.detail}" for check in self.failed or compared[-1:])

    @property
    def awaits_approval(self) -> bool:
        """Whether all that is missing is somebody who says yes."""
        return [check.name for check in self.failed] == [APPROVED]


def decide(candidacy: Candidacy, gate: GateConfig) -> Decision:
    """Promotes only where every check passes; a comparison with NaN never does."""
    checks, champion = [*_sound(candidacy, gate), *_against_floors(candidacy, gate)], candidacy.champion
    if champion is not None:
        checks += [
            guards.has_a_score(champion.other, "champion "),
            guards.enough_users(champion.new, gate, "champion: "),
        ]
        better = _refit if candidacy.same_configuration else _another
        checks += [*better(candidacy, champion, gate), *_lists(candidacy, champion, gate)]
    checks.append(guards.not_frozen(candidacy.frozen))
    if gate.approval == "manual":
        checks.append(Check(APPROVED, False, "waits for `encore promote VERSION --reason=...`"))
    return Decision(all(check.passed for check in checks), tuple(checks), champion.gain if champion else None)


def wants_seeds(decision: Decision) -> bool:
    """Whether all that is left to show is that the model holds with other seeds too."""
    return [(check.name, check.detail) for check in decision.failed if check.name != APPROVED] == [(SEEDS, UNTRIED)]


def _sound(candidacy: Candidacy, gate: GateConfig) -> list[Check]:
    """Whether there is anything to decide by."""
    new = candidacy.new
    checks = [guards.has_a_score(new), guards.enough_users(new, gate), guards.unseen(candidacy.fitted_test_rows)]
    pairs = _floors(candidacy) + [pair for pair in (candidacy.champion,) if pair is not None]
    more = [candidacy.anchor] if candidacy.anchor is not None else []
    if pairs:
        checks += [guards.same_test([*pairs, *more, *candidacy.seeds]), guards.not_too_good(pairs, gate)]
    return checks


def _floors(candidacy: Candidacy) -> list[Pair]:
    return [Pair(candidacy.new, floor) for floor in candidacy.floors]


def _against_floors(candidacy: Candidacy, gate: GateConfig) -> list[Check]:
    """The first must be beaten; how the model does beside the others is told with it."""
    if not candidacy.floors:
        return []
    first, *others = _floors(candidacy)
    check = beats(f"beats {first.other.name}", first, gate, gate.level)
    beside = [f"{pair.other.name}: {figures(pair, difference(pair, gate, gate.level), gate.level)}" for pair in others]
    return [Check(check.name, check.passed, "; ".join([check.detail, *beside]))]


def _refit(candidacy: Candidacy, champion: Pair, gate: GateConfig) -> list[Check]:
    """The champion's configuration on fresher data."""
    anchor = candidacy.anchor
    power = power_of(gate, 1 if anchor is None else 2)
    checks = [no_worse("no worse than the champion", champion, gate, power)]
    if anchor is not None:
        checks += [
            guards.enough_users(anchor.new, gate, "anchor: "),
            no_worse("no worse than the anchor", anchor, gate, power),
        ]
    return checks


def _another(candidacy: Candidacy, champion: Pair, gate: GateConfig) -> list[Check]:
    """Another configuration than the champion's."""
    level, pairs = level_of(gate, candidacy.tries), (champion, *candidacy.seeds)
    better = beats("beats the champion", champion, gate, level, gate.min_gain)
    if candidacy.tries > 1:
        better = replace(better, detail=f"{better.detail}; try {candidacy.tries} beside this champion")
    if not candidacy.by_chance or gate.seeds == 1 or not better.passed:
        return [better]
    if len(pairs) < gate.seeds:
        return [better, Check(SEEDS, False, UNTRIED)]
    return [better, holds(SEEDS, pairs, gate, level)]


def _lists(candidacy: Candidacy, champion: Pair, gate: GateConfig) -> list[Check]:
    """Guardrails on what users are shown."""
    checks = [guard(champion, gate) for guard in (guards.coverage, guards.popularity_bias, guards.cold_users)]
    return [*checks, guards.overlap(champion, gate)] if candidacy.same_configuration else checks
