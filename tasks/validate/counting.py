"""Counting in DuckDB, over all rows of a batch of files, what breaks each rule, and which rows to look at."""

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from tasks.expect.contract import Between, Rule, Unique
from tasks.store.engine import Engine, quoted
from tasks.validate.incoming import Batch
from tasks.validate.profile import Span
from tasks.validate.result import Count
from tasks.validate.text import cell, number

N_EXAMPLES = 5
N_WITNESSES = 100
"""Rows that break a rule, of each file, which the judge sees beside its sample: two that are equal would do."""


@dataclass
class Counted:
    """What was counted of a file's rows."""

    n_rows: int = 0
    n_refused: int = 0
    span: Span = field(default_factory=Span)  # of the rows that no rule refuses
    broken: list[Count] = field(default_factory=list)  # one a rule of the batch, in their order
    witnesses: set[int] = field(default_factory=set)  # source rows
    reasons: list[tuple[str, int]] = field(default_factory=list)  # the first rule that each refused row breaks


@dataclass(frozen=True)
class _Failing:
    """Rows of a file that break a rule: how many, and source rows of some."""

    n: int
    rows: list[int]  # the lowest
    witnesses: list[int]


def count(engine: Engine, batch: Batch) -> dict[int, Counted]:
    """By the files' numbers. One scan of all rows; only what breaks a rule is looked at once more."""
    totals = {row["file"]: row for row in engine.table(_totals(engine, batch)).to_pylist()}
    found = {file.number: Counted() for file in batch.files}
    for file, row in totals.items():
        found[file] = Counted(
            row["n"],
            row["refused"],
            Span(row["n"] - row["refused"], row["timed"], row["first"], row["last"]),
        )
    for place, rule in enumerate(batch.rules):
        failing = _twins(engine, batch, rule) if isinstance(rule.check, Unique) else _singles(totals, place)
        examples = _examples(engine, batch, rule, failing)
        for file, counted in found.items():
            broken = failing.get(file, _Failing(0, [], []))
            observed = _observed(totals.get(file, {}), place)
            counted.broken.append(Count(broken.n, counted.n_rows, tuple(examples.get(file, ())), observed))
            counted.witnesses.update(broken.witnesses)
    if any(counted.n_refused for counted in found.values()):
        _count_reasons(engine, batch, found)
    return found


def _totals(engine: Engine, batch: Batch) -> str:
    """A query: one row a file. The first rows that break a rule are found on the way, at no cost where none does."""
    wanted = [f"count(*) AS n, count(*) FILTER ({batch.refused}) AS refused"]
    if batch.table == "interactions":
        kept, time = f"FILTER (NOT ({batch.refused}))", "epoch_us(timestamp)"
        wanted.append(f"count(timestamp) {kept} AS timed, min({time}) {kept} AS first, max({time}) {kept} AS last")
    else:
        wanted.append("0 AS timed, NULL AS first, NULL AS last")
    for place, rule in enumerate(batch.rules):
        if isinstance(rule.check, Unique):
            continue
        broken = f"FILTER ({batch.condition(rule)})"
        wanted.append(f"count(*) {broken} AS n{place}, min(source_row, {N_WITNESSES}) {broken} AS rows{place}")
        if isinstance(rule.check, Between):
            low, high = (_readable(batch, rule, f"{end}({quoted(rule.column)})") for end in ("min", "max"))
            wanted.append(f"{low} AS low{place}, {high} AS high{place}")
    return f"SELECT file, {', '.join(wanted)} FROM ({batch.rows(engine)}) GROUP BY file"


def _readable(batch: Batch, rule: Rule, value: str) -> str:
    """Times as text, because Python's datetime ends with the year 9999 and bad data does not."""
    is_time = pa.types.is_timestamp(batch.files[0].schema.field(rule.column).type)
    return f"split_part(CAST({value} AS TIMESTAMP)::VARCHAR, '.', 1)" if is_time else value


def _observed(total: dict[str, Any], place: int) -> str:
    low, high = (total.get(f"{end}{place}") for end in ("low", "high"))
    return "" if low is None else f"{_bare(low)} to {_bare(high)}"


def _bare(value: object) -> str:
    return value if isinstance(value, str) else number(value)


def _singles(totals: dict[int, dict[str, Any]], place: int) -> dict[int, _Failing]:
    return {
        file: _Failing(row[f"n{place}"], row[f"rows{place}"][:N_EXAMPLES], row[f"rows{place}"])
        for file, row in totals.items()
        if row[f"n{place}"]
    }


def _twins(engine: Engine, batch: Batch, rule: Rule) -> dict[int, _Failing]:
    """What breaks Unique. A repeated value only fails beside its twin, so equal values are looked at together."""
    column = quoted(rule.column)
    twins = (
        f"SELECT file, source_row, {column} AS value FROM ({batch.rows(engine)}) WHERE {column} IS NOT NULL "
        f"QUALIFY count(*) OVER (PARTITION BY file, {column}) > 1"
    )
    by_value = engine.table(f"SELECT source_row FROM ({twins}) ORDER BY value, source_row LIMIT {N_WITNESSES}")
    sql = f"SELECT file, count(*) AS n, min(source_row, {N_EXAMPLES}) AS first FROM ({twins}) GROUP BY file"
    return {
        row["file"]: _Failing(row["n"], row["first"], by_value["source_row"].to_pylist())
        for row in engine.table(sql).to_pylist()
    }


def _examples(engine: Engine, batch: Batch, rule: Rule, failing: dict[int, _Failing]) -> dict[int, list[str]]:
    """Such as "row 17: user_id=null", by file."""
    if not failing:
        return {}
    value, wanted = _readable(batch, rule, quoted(rule.column)), among({f: rows.rows for f, rows in failing.items()})
    is_text = pa.types.is_string(batch.files[0].schema.field(rule.column).type)
    sql = f"SELECT file, source_row, {value} AS value FROM ({batch.rows(engine)}) WHERE {wanted} ORDER BY ALL"
    found: dict[int, list[str]] = {}
    for row in engine.table(sql).to_pylist():
        shown = cell(row["value"]) if is_text else _bare(row["value"])
        found.setdefault(row["file"], []).append(f"row {row['source_row']}: {rule.column}={shown}")
    return found


def among(rows: dict[int, list[int]]) -> str:
    """The condition of being one of these source rows of these files."""
    single = [f"(file = {file} AND source_row IN ({', '.join(map(str, some))}))" for file, some in rows.items() if some]
    return " OR ".join(single) or "FALSE"


def _count_reasons(engine: Engine, batch: Batch, found: dict[int, Counted]) -> None:
    refused = f"SELECT file, {batch.reason} AS reason FROM ({batch.rows(engine)}) WHERE {batch.refused}"
    sql = f"SELECT file, reason, count(*) AS n FROM ({refused}) GROUP BY ALL ORDER BY ALL"
    for row in engine.table(sql).to_pylist():
        found[row["file"]].reasons.append((batch.refusing[row["reason"]].sentence, row["n"]))
