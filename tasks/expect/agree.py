"""Judging where two programs must agree: one has counted what breaks each rule, Great Expectations judges the rows."""

from collections.abc import Mapping, Sequence
from math import isfinite

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import RunFailed
from tasks.expect.contract import Between, Judge, OneOf, Rule, Verdict, resolved_end


def frame_of(table: pa.Table, rules: Sequence[Rule]) -> pd.DataFrame:
    """The columns that the rules look at, as Great Expectations takes them; they stay Arrow's memory.

    Times become microseconds since 1970, and NaN infinity: pandas and Great Expectations take NaN for a missing value
    and would let it pass; infinity is out of every range. -0 becomes 0: as a member of a set it is not 0 to Arrow.
    """
    columns = {rule.column: _comparable(table[rule.column]) for rule in rules}
    frame: pd.DataFrame = pa.table(columns).to_pandas(types_mapper=pd.ArrowDtype)
    return frame


def _comparable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.int64())
    if pa.types.is_floating(column.type):
        return pc.add(pc.if_else(pc.is_nan(column), float("inf"), column), 0.0)
    return column


def judge_counted(
    name: str, frame: pd.DataFrame, rules: tuple[Rule, ...], n_failing: Sequence[int], judge: Judge, whole: bool
) -> tuple[Verdict, ...]:
    """One verdict a rule, where as many rows were counted that break it.

    `frame` holds all rows (`whole`), or a sample and beside it some rows that break each rule that is broken. Raises
    RunFailed where the judge answers less than it was asked, or not what was counted: one of the two programs is wrong
    then, and nothing may pass.
    """
    verdicts = judge(name, frame, rules)
    if len(verdicts) != len(rules):
        raise RunFailed(f"{name}: {len(rules)} expectations were asked for, {len(verdicts)} were judged")
    for rule, counted, verdict in zip(rules, n_failing, verdicts, strict=True):
        _agree(name, rule, counted, verdict, whole)
    return verdicts


def _agree(name: str, rule: Rule, counted: int, verdict: Verdict, whole: bool) -> None:
    agreed = verdict.passed == (counted == 0)
    if agreed and whole and verdict.n_failing is not None:
        agreed = verdict.n_failing == counted
    if not agreed:
        raise RunFailed(
            f'{name}: on "{rule.sentence}", {counted:,} failing rows were counted and the judge said '
            f"{'passed' if verdict.passed else 'failed'} ({verdict.n_failing} rows)",
            "this is a bug in the contract: please report it",
        )


def judge_facts(name: str, facts: Mapping[str, float], rules: tuple[Rule, ...], judge: Judge) -> tuple[Verdict, ...]:
    """Facts, each one number, as a table of one row. The rules are Between and OneOf; NaN breaks them."""
    table = pa.table({column: pa.array([float(value)]) for column, value in facts.items()})
    n_failing = [int(breaks(rule.check, facts[rule.column])) for rule in rules]
    return judge_counted(name, frame_of(table, rules), rules, n_failing, judge, whole=True)


def breaks(check: object, value: float) -> bool:
    """Whether one number breaks a check, in plain Python."""
    match check:
        case Between(low, high):
            low, high = resolved_end(low), resolved_end(high)
            return not isfinite(value) or (low is not None and value < low) or (high is not None and value > high)
        case OneOf(values):
            return value not in values
        case _:
            raise ValueError(f"no single number breaks {check}")
