"""The gate fails closed: whatever is missing or wrong by itself refuses, and a worse score never helps."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.promote.candidacy import Candidacy, Pair, Scores
from tasks.promote.config import GateConfig
from tasks.promote.decide import decide
from tests.tasks.promoting import GATE, LISTS, beside, by_chance, failed, night, scores, seeds


def holed(of: Scores, value: float) -> Scores:
    ndcg_U = of.ndcg_U.copy()
    ndcg_U[3] = value
    return replace(of, ndcg_U=ndcg_U)


def in_pair(name: str, change: Callable[[Scores], Scores], of: str) -> Callable[[Candidacy], Candidacy]:
    """The candidacy with one side of one of its pairs changed."""

    def changed(candidacy: Candidacy) -> Candidacy:
        pair = getattr(candidacy, name)
        pairs = pair if isinstance(pair, tuple) else (pair,)
        first = replace(pairs[0], **{of: change(getattr(pairs[0], of))})
        changes: dict[str, Any] = {name: (first, *pairs[1:]) if isinstance(pair, tuple) else first}
        return replace(candidacy, **changes)

    return changed


CHANGES: dict[str, Callable[[Scores], Scores]] = {
    "nan": partial(holed, value=math.nan),
    "inf": partial(holed, value=math.inf),
    "-inf": partial(holed, value=-math.inf),
    "other test": partial(replace, test_fingerprint="u"),
    "unnamed test": partial(replace, test_fingerprint=""),
    "fewer users": lambda of: replace(of, ndcg_U=of.ndcg_U[1:]),
    "nobody": lambda of: replace(of, ndcg_U=of.ndcg_U[:0]),
}
SPOILT: dict[str, Callable[[Candidacy], Candidacy]] = {
    "uncounted": partial(replace, fitted_test_rows=None),
    "leak": partial(replace, fitted_test_rows=1),
    "frozen": partial(replace, frozen=""),
    "no lengths": in_pair("champion", partial(replace, lengths_U=None), "new"),
}
"""Every single input of the gate, missing or wrong, by itself."""


def in_new(one: Candidacy, change: Callable[[Scores], Scores]) -> Candidacy:
    return replace(one, new=change(one.new))


def in_floor(one: Candidacy, change: Callable[[Scores], Scores]) -> Candidacy:
    return replace(one, floors=(change(one.floors[0]),))


for what, change in CHANGES.items():
    SPOILT[f"new: {what}"] = partial(in_new, change=change)
    SPOILT[f"floor: {what}"] = partial(in_floor, change=change)
    for whose, side in product(("champion", "anchor", "seeds"), ("new", "other")):
        SPOILT[f"{whose} {side}: {what}"] = in_pair(whose, change, side)
for figure, side in product(LISTS, ("new", "other")):
    without = {name: value for name, value in LISTS.items() if name != figure}
    for label, lists in (("missing", without), ("nan", LISTS | {figure: math.nan})):
        SPOILT[f"champion {side}: {figure} {label}"] = in_pair("champion", partial(replace, beyond=lists), side)


NIGHTS = [
    (what, same)
    for what, same in product(SPOILT, (True, False))
    if what.split()[0] != ("seeds" if same else "anchor")  # such a night has none
]


@pytest.mark.parametrize(("what", "same"), NIGHTS)
def test_every_single_failing_input_refuses(what: str, same: bool) -> None:
    whole = night(0.02, same=same, by_chance=not same, seeds=() if same else seeds(0.02, 0.02))
    whole = replace(whole, anchor=beside(0.02) if same else None)
    assert decide(whole, GATE).promote
    decision = decide(SPOILT[what](whole), GATE)
    assert not decision.promote
    assert all(check.detail for check in decision.checks)
    assert decision.gain is None or math.isfinite(decision.gain)


@pytest.mark.parametrize("what", ["other test", "fewer users"])
def test_seeds_that_were_all_judged_on_another_test_are_refused(what: str) -> None:
    first, second = seeds(0.02, 0.02)
    elsewhere = Pair(CHANGES[what](first.new), CHANGES[what](first.other), first.overlap)
    assert elsewhere.same_test
    assert failed(replace(by_chance(0.02), seeds=(elsewhere, second))) == {"holds with other seeds"}
    assert failed(replace(by_chance(0.02), seeds=(elsewhere, elsewhere))) == {"holds with other seeds"}


def test_who_was_scored_wrongly_is_named() -> None:
    other = in_pair("champion", CHANGES["nan"], "other")(night())
    assert "champion has a score" in failed(other)
    for name, one in (("anchor", night(anchor=beside())), ("seeds", by_chance(0.02, 0.02, 0.02))):
        assert "same test" in failed(in_pair(name, CHANGES["other test"], "other")(one))


def test_no_users_and_too_few_promote_nothing() -> None:
    for n in (0, 19):
        few = Candidacy(scores(0.1, n=n), (scores(-0.1, n=n),))
        assert "enough test users" in failed(few)
        pair = Pair(scores(0.1, n=n), scores(n=n), 1.0)  # enough for the test, too few that may judge the champion
        assert "champion: enough test users" in failed(night(champion=pair))
        assert "anchor: enough test users" in failed(night(anchor=pair))
    assert failed(Candidacy(scores(0.1, n=20), (scores(-0.1, n=20),))) == set()
    assert "not too good to be true" in failed(Candidacy(scores(0.1, n=0), (scores(-0.1, n=0),)))


def test_two_tests_that_nobody_named_are_not_the_same() -> None:
    decision = decide(Candidacy(scores(test=""), (scores(-0.1, name="popularity", test=""),)), GATE)
    assert {"same test", "beats popularity"} <= {check.name for check in decision.failed}


shifts = st.floats(-0.03, 0.03)


@given(by=shifts, less=st.floats(0, 0.05), noise=st.floats(0, 30), same=st.booleans(), anchor=shifts)
def test_a_worse_score_never_turns_refused_into_promoted(
    by: float, less: float, noise: float, same: bool, anchor: float
) -> None:
    gate = GateConfig(resamples=100)
    best = scores(anchor, name="the anchor")
    better, worse = (night(shift, noise, same, anchor=beside(shift, noise, best)) for shift in (by, by - less))
    assert decide(better, gate).promote >= decide(worse, gate).promote


@given(by=st.lists(shifts, min_size=3, max_size=3), less=st.floats(0, 0.05))
def test_worse_seeds_never_turn_refused_into_promoted(by: list[float], less: float) -> None:
    gate = GateConfig(resamples=100)
    better, worse = by_chance(*by), by_chance(*(one - less for one in by))
    assert decide(better, gate).promote >= decide(worse, gate).promote
