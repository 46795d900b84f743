"""The judge: results are complete, errors are no pass, and two programs that differ stop the run."""

import math
import subprocess
import sys
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from tasks.errors import RunFailed
from tasks.expect import suite
from tasks.expect.agree import breaks, frame_of, judge_counted, judge_facts
from tasks.expect.contract import Between, Check, HasRows, OneOf, Present, Rule, Similar, Unique, Verdict

PRESENT = Rule("every a is there", "a", Present())
ONE_NULL = pd.DataFrame({"a": ["x", None, "y"]})


def says(*verdicts: Verdict) -> Any:
    return lambda name, frame, rules: verdicts


def test_verdicts_come_in_the_order_of_the_rules() -> None:
    rules = (PRESENT, Rule("", "a", HasRows(4)), Rule("", "a", OneOf(("x",))), Rule("", "a", HasRows(3)))
    assert suite.judge("t", ONE_NULL, rules) == (
        Verdict(False, 1),
        Verdict(False, None, 3.0),
        Verdict(False, 1),
        Verdict(True, None, 3.0),
    )


def test_frames_of_the_same_name_do_not_collapse() -> None:
    """Several validations on one asset of Great Expectations collapse to the last, and a bad file among good passes."""
    good = pd.DataFrame({"a": ["x"]})
    assert [suite.judge("t", frame, (PRESENT,))[0].passed for frame in (good, ONE_NULL, good)] == [True, False, True]


def test_a_repeated_value_fails_with_its_twin() -> None:
    frame = pd.DataFrame({"a": ["x", "y", "x", None, None]})
    assert suite.judge("t", frame, (Rule("", "a", Unique()),)) == (Verdict(False, 2),)


def test_the_divergence_by_hand() -> None:
    frame = pd.DataFrame({"a": ["x", "y", "y", "y", None]})
    shares = (("x", 0.5), ("y", 0.25), ("z", 0.25))
    divergence = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.25)
    at_most, less = Similar(shares, divergence + 1e-9), Similar(shares, divergence - 1e-9)
    verdicts = suite.judge("t", frame, (Rule("", "a", at_most), Rule("", "a", less)))
    assert [verdict.passed for verdict in verdicts] == [True, False]
    assert [verdict.observed for verdict in verdicts] == pytest.approx([divergence] * 2)


def test_fewer_results_than_expectations_stop_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = suite._run
    monkeypatch.setattr(suite, "_run", lambda *args: honest(*args)[:-1])
    with pytest.raises(RunFailed, match="2 expectations were asked for, 1 results came back"):
        suite.judge("t", ONE_NULL, (PRESENT, PRESENT))


def test_a_doubled_result_does_not_stand_for_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = suite._run
    monkeypatch.setattr(suite, "_run", lambda *args: [honest(*args)[0]] * 2)
    with pytest.raises(RunFailed, match="2 expectations were asked for"):
        suite.judge("t", ONE_NULL, (PRESENT, PRESENT))


def test_an_expectation_that_raises_is_no_pass() -> None:
    with pytest.raises(RunFailed, match="could not be judged"):
        suite.judge("x", pd.DataFrame({"here": [1]}), (Rule("absent column", "absent", Between(0)),))


@pytest.mark.parametrize(
    ("counted", "verdict", "whole"),
    [
        (1, Verdict(True, 0), True),
        (1, Verdict(True, 0), False),
        (0, Verdict(False, 1), False),
        (2, Verdict(False, 1), True),
        (1, Verdict(True, None), True),
    ],
)
def test_two_programs_that_differ_stop_the_run(counted: int, verdict: Verdict, whole: bool) -> None:
    with pytest.raises(RunFailed, match=f'on "every a is there", {counted} failing rows were counted and the judge'):
        judge_counted("t", ONE_NULL, (PRESENT,), [counted], says(verdict), whole)


@pytest.mark.parametrize(
    ("counted", "verdict", "whole"),
    [(0, Verdict(True, 0), True), (2, Verdict(False, 1), False), (1, Verdict(False, None, 3.0), True)],
)
def test_two_programs_that_agree(counted: int, verdict: Verdict, whole: bool) -> None:
    """A sample need not show as many failing rows as there are."""
    assert judge_counted("t", ONE_NULL, (PRESENT,), [counted], says(verdict), whole) == (verdict,)


def test_a_judge_that_says_nothing_stops_the_run() -> None:
    with pytest.raises(RunFailed, match="1 expectations were asked for, 0 were judged"):
        judge_counted("t", ONE_NULL, (PRESENT,), [0], says(), True)


FACTS: list[tuple[Check, float, bool]] = [
    (Between(1), 1, True),
    (Between(1), 0.999, False),
    (Between(None, 0.05), 0.05, True),
    (Between(None, 0.05), 0.0501, False),
    (Between(1), math.nan, False),
    (Between(None, 1), math.nan, False),
    (Between(1), math.inf, False),
    (Between(None, 1), -math.inf, False),
    (Between(None, 1), math.inf, False),
    (OneOf((0.0, 1.0)), 1, True),
    (OneOf((0.0, 1.0)), 0.5, False),
    (OneOf((0.0, 1.0)), -0.0, True),
    (OneOf((0.0, 1.0)), math.nan, False),
]


@pytest.mark.parametrize(("check", "value", "holds"), FACTS)
def test_a_fact_is_judged_by_both_programs(check: Check, value: float, holds: bool) -> None:
    """NaN above all: pandas takes it for a missing value, so the judge alone would let it pass."""
    assert breaks(check, value) is not holds
    (verdict,) = judge_facts("facts", {"f": value}, (Rule("f is so", "f", check),), suite.judge)
    assert verdict.passed is holds


def test_facts_are_judged_each_by_its_own_rule() -> None:
    rules = tuple(Rule("", name, Between(None, 1)) for name in ("b", "a", "b"))
    verdicts = judge_facts("facts", {"a": 1, "b": 2, "unasked": 3}, rules, suite.judge)
    assert [verdict.passed for verdict in verdicts] == [False, True, False]


def test_what_is_about_rows_is_about_no_number() -> None:
    with pytest.raises(ValueError, match="no single number"):
        breaks(Present(), 1)


def test_a_frame_holds_what_the_rules_look_at_as_numbers_that_compare() -> None:
    table = pa.table(
        {
            "time": pa.array([1, None], pa.timestamp("us", tz="UTC")),
            "rating": pa.array([math.nan, None], from_pandas=False),
            "id": pa.array(["x", None]).dictionary_encode(),
            "other": [1, 2],
        }
    )
    frame = frame_of(table, [Rule("", column, Present()) for column in ("time", "rating", "id", "time")])
    assert list(frame) == ["time", "rating", "id"]
    assert frame["time"].tolist()[0] == 1
    assert frame["rating"].tolist()[0] == math.inf
    assert frame["id"].tolist()[0] == "x"
    assert frame.isna().to_numpy().tolist() == [[False] * 3, [True] * 3]


def test_only_the_judge_imports_great_expectations() -> None:
    code = (
        "import sys, tasks.expect.agree, tasks.expect.files, tasks.expect.sql, tasks.validate.contract, "
        "tasks.validate.drift, tasks.validate.report\n"
        "assert 'great_expectations' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
