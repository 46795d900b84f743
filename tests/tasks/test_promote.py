"""The gate: what may go out, and that nothing does by accident."""

import math

import numpy as np
import pytest

from tasks.promote.config import GateConfig
from tasks.promote.decide import Decision, Scores, decide, difference

GATE = GateConfig(tolerance=0.01, min_users=20)
N = 200
BASE = np.random.default_rng(0).uniform(0.2, 0.6, N)
NOISE = np.random.default_rng(1).normal(0, 0.01, N)
NOISE -= NOISE.mean()


def scores(by: float = 0.0, noise: float = 0.0, name: str = "one", test: str = "t", n: int = N) -> Scores:
    """Everyone's base score and `by` more, give or take the noise."""
    return Scores(name, test, (BASE + by + noise * NOISE)[:n])


FLOOR = scores(-0.1, name="popularity")
NEW = scores(name="new")


def passed(decision: Decision) -> dict[str, bool]:
    assert decision.promote == all(check.passed for check in decision.checks)
    return {check.name: check.passed for check in decision.checks}


def test_the_first_night_needs_only_to_beat_popularity() -> None:
    decision = decide(NEW, FLOOR, None, False, GATE)
    assert decision.promote
    assert passed(decision) == {"has a score": True, "enough test users": True, "beats popularity": True}
    assert "+0.1000" in decision.checks[2].detail


@pytest.mark.parametrize(("by", "promotes"), [(0.1, True), (0.0, False), (-0.1, False)])
def test_popularity_must_be_beaten(by: float, promotes: bool) -> None:
    assert decide(scores(by), scores(name="popularity"), None, False, GATE).promote is promotes


def test_a_lead_that_chance_explains_does_not_beat_popularity() -> None:
    # the mean lead is 0.005; one standard error is about 0.1 / sqrt(200) = 0.007
    lead = scores(0.005, noise=10)
    by = difference(lead, scores(name="popularity"), GATE)
    assert by.mean == pytest.approx(0.005)
    assert by.low < 0 < by.high
    assert not decide(lead, scores(name="popularity"), None, False, GATE).promote


def test_popularity_itself_is_exempt_from_the_floor() -> None:
    assert passed(decide(FLOOR, None, None, False, GATE)).keys() == {"has a score", "enough test users"}
    assert decide(FLOOR, None, None, False, GATE).promote


@pytest.mark.parametrize(
    ("by", "promotes"), [(0.05, True), (0.0, True), (-0.009, True), (-0.011, False), (-0.05, False)]
)
def test_a_refit_of_the_same_may_be_worse_within_the_tolerance(by: float, promotes: bool) -> None:
    champion = scores(name="the champion")
    assert decide(scores(by, noise=1), FLOOR, champion, True, GATE).promote is promotes


@pytest.mark.parametrize(
    ("by", "noise", "promotes"), [(0.02, 1, True), (0.0, 0, False), (0.005, 10, False), (-0.1, 1, False)]
)
def test_another_configuration_must_be_better(by: float, noise: float, promotes: bool) -> None:
    decision = decide(scores(by, noise), FLOOR, scores(name="the champion"), False, GATE)
    assert decision.promote is promotes
    assert passed(decision)["beats the champion"] is promotes


def holed(value: float) -> Scores:
    ndcg_U = BASE.copy()
    ndcg_U[3] = value
    return Scores("holed", "t", ndcg_U)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("same", [True, False])
def test_a_score_that_is_no_number_promotes_nothing(value: float, same: bool) -> None:
    cases = [
        decide(holed(value), FLOOR, None, same, GATE),
        decide(NEW, holed(value), None, same, GATE),
        decide(NEW, FLOOR, holed(value), same, GATE),
        decide(NEW, FLOOR, scores(-0.1), same, GATE, on_champion_rows=holed(value)),
        decide(holed(value), None, None, same, GATE),
    ]
    assert [decision.promote for decision in cases] == [False] * 5
    assert all(check.detail for decision in cases for check in decision.checks)


def test_no_users_and_too_few_promote_nothing() -> None:
    for n in (0, 19):
        few = (scores(0.1, n=n), scores(-0.1, n=n))
        assert not passed(decide(*few, None, False, GATE))["enough test users"]
        # enough for the test, too few that may judge the champion
        decision = decide(NEW, FLOOR, scores(-0.1, n=n), True, GATE, on_champion_rows=scores(0.1, n=n))
        assert not decision.promote
        assert not passed(decision)["champion: enough test users"]
    assert decide(scores(0.1, n=20), scores(-0.1, n=20), None, False, GATE).promote


def test_scores_of_different_tests_are_never_compared() -> None:
    for floor, champion in (
        (scores(-0.1, test="other"), None),
        (FLOOR, scores(-0.1, test="other")),
        (scores(-0.1, n=100), None),
        (FLOOR, scores(-0.1, n=100)),
    ):
        with pytest.raises(ValueError, match="different test sets"):
            decide(NEW, floor, champion, True, GATE)
    with pytest.raises(ValueError, match="different test sets"):
        decide(NEW, FLOOR, scores(-0.1, test="fair"), True, GATE, on_champion_rows=scores(test="unfair"))


def test_beside_the_champion_the_rows_that_may_judge_both_count() -> None:
    champion = scores(name="the champion", test="fair", n=50)
    worse, better = scores(-0.05, test="fair", n=50), scores(0.05, noise=1, test="fair", n=50)
    assert not decide(NEW, FLOOR, champion, True, GATE, on_champion_rows=worse).promote
    assert decide(NEW, FLOOR, champion, False, GATE, on_champion_rows=better).promote


def test_equal_scores_get_an_equal_decision() -> None:
    one, other = (decide(scores(0.004, 5), FLOOR, scores(name="c"), False, GATE) for _ in range(2))
    assert one == other
