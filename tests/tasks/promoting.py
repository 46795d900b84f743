"""Nights for the gate, of which everything is known."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from tasks.promote.candidacy import Candidacy, Pair, Scores
from tasks.promote.config import GateConfig
from tasks.promote.decide import Decision, decide

GATE = GateConfig(resamples=200)
N = 200
BASE = np.random.default_rng(0).uniform(0.2, 0.6, N)
BASE += 0.4 - BASE.mean()
NOISE = np.random.default_rng(1).normal(0, 0.01, N)
NOISE -= NOISE.mean()
ERROR = float(np.std(NOISE, ddof=1)) / math.sqrt(N)  # of a mean difference between two models, at noise 1
LISTS = {"coverage_at_10": 0.5, "popularity_at_10": 0.1}


def scores(by: float = 0.0, noise: float = 0.0, name: str = "new", test: str = "t", n: int = N) -> Scores:
    """Everyone's base score and `by` more, give or take the noise. A quarter of the users are cold."""
    return Scores(name, test, (BASE + by + noise * NOISE)[:n], np.arange(n) % 20, LISTS)


FLOOR = scores(-0.1, name="popularity")
CHAMPION = scores(name="the champion")


def beside(by: float = 0.0, noise: float = 1.0, other: Scores = CHAMPION, **changes: Any) -> Pair:
    return replace(Pair(scores(by, noise), other, overlap=0.6), **changes)


def night(by: float = 0.0, noise: float = 1.0, same: bool = True, **changes: Any) -> Candidacy:
    """A new model that is better than the champion by so much."""
    pair = beside(by, noise)
    return replace(Candidacy(pair.new, (FLOOR,), pair, same_configuration=same), **changes)


def passed(decision: Decision) -> dict[str, bool]:
    assert decision.promote == all(check.passed for check in decision.checks)
    assert len({check.name for check in decision.checks}) == len(decision.checks)
    return {check.name: check.passed for check in decision.checks}


def failed(candidacy: Candidacy, gate: GateConfig = GATE) -> set[str]:
    return {name for name, well in passed(decide(candidacy, gate)).items() if not well}


def seeds(*by: float) -> tuple[Pair, ...]:
    return tuple(beside(one, (-1) ** number) for number, one in enumerate(by))


def by_chance(*by: float, **changes: Any) -> Candidacy:
    """Another configuration, whose fits with several seeds are better by so much."""
    return night(by[0], same=False, by_chance=True, seeds=seeds(*by[1:]), **changes)
