"""Rules on rows: SQL, Great Expectations and a slow loop over the cells find the same rows."""

import math
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import ConfigError
from tasks.expect import suite
from tasks.expect.agree import frame_of, judge_counted
from tasks.expect.contract import (
    Absent,
    AsOf,
    Between,
    Check,
    HasRows,
    Matches,
    NotBlank,
    OneOf,
    Present,
    Rule,
    Unique,
    resolved,
)
from tasks.expect.sql import predicate
from tasks.expect.words import FINITE
from tasks.schema import INTERACTIONS
from tasks.store.engine import Engine, engine
from tasks.store.store import Store

END = 2**63
AS_OF = datetime(2024, 6, 1, 3, 0, tzinfo=UTC)

text = st.one_of(
    st.none(),
    st.text(" \t\r\n\f\v\x00\x1c\x85\u00a0\u2003u1é🙂'\"\\%", max_size=3),
    st.sampled_from(["u1", "u1\n", "u12", "view", "cart", "'; DROP TABLE t; --"]),
)
ratings = st.one_of(
    st.none(), st.floats(), st.sampled_from([0.0, -0.0, 0.5, 5.0, 5.000000000000001, math.nan, math.inf])
)
times = st.one_of(
    st.none(),
    st.integers(-END + 1, END - 1),
    st.sampled_from([-END + 1, -END + 2, -1, 0, 1, 999, 1000, 1001, END - 2, END - 1]),
)
rows = st.lists(st.tuples(text, ratings, times), max_size=12)
number_limits = st.one_of(st.none(), st.floats(-10, 10), st.sampled_from([0, 5, 0.5, 5.0]))
# Great Expectations compares as floats: exact for limits up to the year 2255.
time_limits = st.one_of(st.none(), st.integers(-(2**53), 2**53), st.sampled_from([0, 1000]))
patterns = st.sampled_from(["u[0-9]+", ".*", "[^ ]*", "(view|cart)", "", "u1|x"])
values = st.lists(st.sampled_from(["u1", "view", "it's", "", "🙂"]), max_size=3).map(tuple)
rules = st.one_of(
    st.sampled_from(["user_id", "rating", "timestamp"]).flatmap(
        lambda column: st.sampled_from([Rule("", column, Present()), Rule("", column, Absent())])
    ),
    st.just(Rule("", "user_id", NotBlank())),
    st.just(Rule("", "rating", FINITE)),
    patterns.map(lambda pattern: Rule("", "user_id", Matches(pattern))),
    values.map(lambda some: Rule("", "user_id", OneOf(some))),
    st.lists(st.sampled_from([0.0, 0.5, 5.0]), max_size=3).map(lambda v: Rule("", "rating", OneOf(tuple(v)))),
    st.tuples(number_limits, number_limits).map(lambda ends: Rule("", "rating", Between(*ends))),
    st.tuples(time_limits, time_limits).map(lambda ends: Rule("", "timestamp", Between(*ends))),
)


@pytest.fixture(scope="module")
def duck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine(Store(tmp_path_factory.mktemp("rules") / "data")) as opened:
        yield opened


def table_of(content: list[tuple[str | None, float | None, int | None]]) -> pa.Table:
    users, ratings, times = zip(*content, strict=True) if content else ((), (), ())
    return pa.table(
        {
            "user_id": pa.array(users, pa.string()),
            "rating": pa.array(ratings, pa.float64(), from_pandas=False),
            "timestamp": pa.array(times, pa.int64()).cast(INTERACTIONS.field("timestamp").type),
        }
    )


def is_broken(check: Check, cell: Any) -> bool:
    """The oracle: what the docstrings of the checks say, cell by cell."""
    match check:
        case Present():
            return cell is None
        case Absent():
            return cell is not None
    if cell is None:
        return False
    match check:
        case NotBlank():
            return not set(cell) - set(" \t\r\n\f\v")
        case Matches(pattern):
            return re.fullmatch(pattern, cell) is None
        case OneOf(values):
            return cell not in values
        case Between(low, high):
            is_number = not isinstance(cell, float) or math.isfinite(cell)
            return not is_number or (low is not None and cell < low) or (high is not None and cell > high)
    raise AssertionError(check)


def is_possible(check: Check) -> bool:
    """Great Expectations refuses a range that is empty."""
    match check:
        case Between(float() | int() as low, float() | int() as high):
            return low <= high
        case _:
            return check != OneOf(())


def broken_by_hand(content: list[tuple[Any, ...]], rule: Rule) -> list[bool]:
    place = ["user_id", "rating", "timestamp"].index(rule.column)
    return [is_broken(rule.check, row[place]) for row in content]


@given(rows, rules)
@settings(max_examples=300, deadline=None)
def test_sql_finds_the_rows_that_the_loop_finds(duck: Engine, content: list[Any], rule: Rule) -> None:
    duck.put("t", table_of(content).append_column("place", pa.array(range(len(content)), pa.int64())))
    found = duck.table(f"SELECT {predicate(rule)} AS broken FROM t ORDER BY place")["broken"].to_pylist()
    assert found == broken_by_hand(content, rule)  # never NULL


@given(rows.filter(bool), st.lists(rules, min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_great_expectations_counts_the_rows_that_the_loop_finds(content: list[Any], some: list[Rule]) -> None:
    asked = tuple(rule for rule in some if is_possible(rule.check))
    n_failing = [sum(broken_by_hand(content, rule)) for rule in asked]
    verdicts = judge_counted("t", frame_of(table_of(content), asked), asked, n_failing, suite.judge, whole=True)
    assert [verdict.n_failing for verdict in verdicts] == n_failing


def test_a_column_of_another_table_is_read_by_its_own_type(duck: Engine) -> None:
    duck.put("t", pa.table({'a"b': pa.array([2**53 + 1, 2**53, None])}))
    kind = pa.schema([('a"b', pa.int64())])
    broken = predicate(Rule("", 'a"b', Between(None, 2**53)), kind)
    assert duck.table(f"SELECT {broken} FROM t")[0].to_pylist() == [True, False, False]


@pytest.mark.parametrize("check", [Unique(), HasRows()])
def test_what_no_row_breaks_alone_is_no_predicate(check: Check) -> None:
    with pytest.raises(ValueError, match="no single row breaks"):
        predicate(Rule("", "user_id", check))


@pytest.mark.parametrize("limit", [date(2024, 1, 1), AsOf(1)])
def test_a_moment_must_be_a_number_before_it_is_sql(limit: date | AsOf) -> None:
    with pytest.raises(ValueError, match="not resolved"):
        predicate(Rule("", "timestamp", Between(limit)))


MOMENTS: list[tuple[date | AsOf, int]] = [
    (date(1970, 1, 2), 86_400_000_000),
    (date(1969, 12, 31), -86_400_000_000),
    (datetime(1970, 1, 1, 0, 0, 1, 5), 1_000_005),
    (datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))), -3_600_000_000),
    (AsOf(0), 1_717_210_800_000_000),
    (AsOf(1.5), 1_717_210_800_000_000 + 129_600_000_000),
    (AsOf(-1), 1_717_210_800_000_000 - 86_400_000_000),
    (AsOf(1e12), END - 2),
]


@pytest.mark.parametrize(("limit", "number"), MOMENTS)
def test_moments_become_microseconds(limit: date | AsOf, number: int) -> None:
    assert resolved(Rule("", "timestamp", Between(limit)), AS_OF).check == Between(number)
    assert resolved(Rule("", "timestamp", Between(None, limit)), AS_OF).check == Between(None, number)


def test_a_range_that_nothing_can_lie_in_is_a_wrong_configuration() -> None:
    with pytest.raises(ConfigError, match='"no time": nothing lies between'):
        resolved(Rule("no time", "timestamp", Between(date(2025, 1, 1), AsOf(0))), AS_OF)
    assert resolved(Rule("", "rating", Between(1, 1)), AS_OF).check == Between(1, 1)


def test_an_instant_at_a_limit_is_within_it(duck: Engine) -> None:
    """On a boundary of a microsecond beyond what a double holds."""
    latest = 2**60 + 1
    duck.put("t", table_of([("u", 1.0, latest), ("u", 1.0, latest + 1), ("u", 1.0, latest - 1)]))
    sql = f"SELECT {predicate(Rule('', 'timestamp', Between(None, latest)))} FROM t"
    assert duck.table(sql)[0].to_pylist() == [False, True, False]
