"""Judging a night's new files by the contract: what a rule says, what DuckDB counts and what the judge finds agree.

The judge sees the files that share their rules together, and what holds for one of them is what was counted in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from tasks.expect.agree import frame_of, judge_counted, judge_facts
from tasks.expect.contract import Absent, Between, HasRows, Judge, OneOf, Rule, Verdict
from tasks.store.engine import Engine, quoted
from tasks.validate.config import ChecksConfig
from tasks.validate.contract import columns_of, dataset_rules, suite_of
from tasks.validate.counting import Counted, among, count
from tasks.validate.incoming import Batch, Incoming
from tasks.validate.result import Count, Figure, Finding, finding, finding_of_fact
from tasks.validate.text import one_line

ALL_FILES = "all files"
N_SAMPLED = 200_000
"""Rows that Great Expectations sees of files that are judged together: it holds them in memory."""
UNREAD = Rule("every row could be read", "unread", Absent(), severity="row")


def judge_columns(files: Sequence[Incoming], judge: Judge) -> list[Finding]:
    """A table with a row a file, which holds the type of each column, is judged like any other."""
    findings = []
    for table, ours in _by_table(files).items():
        rules = columns_of(table)
        types = {rule.column: [_type(file, rule.column) for file in ours] for rule in rules}
        counts = {
            rule: [Count(int(not _is(rule, found)), 0, (), found) for found in types[rule.column]] for rule in rules
        }
        findings += _judge_each(
            f"{table}: columns", ours, pa.table(types), {rule: rule for rule in rules}, counts, judge
        )
    return findings


def judge_whole(files: Sequence[Incoming], checks: ChecksConfig, judge: Judge) -> list[Finding]:
    """How many rows each file has, and how many of them could not be read: again a table with a row a file."""
    findings = []
    for table, ours in _by_table(files).items():
        rows = [file.ref.rows for file in ours]
        unread = [file.ref.unread.rows if file.ref.unread else 0 for file in ours]
        asked, counts = {UNREAD: replace(UNREAD, check=Between(None, 0))}, {UNREAD: list(map(Count, unread, rows))}
        for rule in suite_of(checks)[table]:
            if isinstance(rule.check, HasRows):
                least = rule.check.least
                asked[rule] = replace(rule, column="rows", check=Between(least))
                counts[rule] = [Count(int(n < least), 0, (), f"{n:,} rows") for n in rows]
        found = pa.table({"rows": rows, "unread": unread})
        findings += _judge_each(f"{table}: files", ours, found, asked, counts, judge)
    return findings


def judge_rows(engine: Engine, batch: Batch, judge: Judge) -> tuple[list[Finding], dict[int, Counted]]:
    """The findings, and what was counted by the files' numbers."""
    counted = count(engine, batch)
    n_failing = [sum(found.broken[place].n_failing for found in counted.values()) for place in range(len(batch.rules))]
    whole, rows = _seen(engine, batch, counted)
    name = f"{batch.table} {batch.files[0].number}: rows"
    judge_counted(name, frame_of(rows, batch.rules), batch.rules, n_failing, judge, whole)
    findings = [
        finding(batch.table, _source(file), rule, found, Verdict(found.n_failing == 0))
        for file in batch.files
        for rule, found in zip(batch.rules, counted[file.number].broken, strict=True)
    ]
    return findings, counted


def judge_all(facts: Mapping[str, Figure], tables: frozenset[str], checks: ChecksConfig, judge: Judge) -> list[Finding]:
    """What is expected of all files together, as far as the facts are known."""
    rules = dataset_rules(checks, tables, frozenset(facts))
    verdicts = judge_facts("dataset", {name: fact.value for name, fact in facts.items()}, rules, judge)
    found = zip(rules, verdicts, strict=True)
    return [finding_of_fact(ALL_FILES, rule, facts[rule.column], verdict) for rule, verdict in found]


def _judge_each(
    name: str,
    files: Sequence[Incoming],
    table: pa.Table,
    asked: Mapping[Rule, Rule],
    counts: Mapping[Rule, Sequence[Count]],
    judge: Judge,
) -> list[Finding]:
    """Judges a table that has a row a file. `asked` says of each rule what it comes to in the columns of this table."""
    rules = tuple(asked.values())
    n_failing = [sum(found.n_failing > 0 for found in counts[rule]) for rule in asked]
    judge_counted(name, frame_of(table, rules), rules, n_failing, judge, whole=True)
    return [
        finding(file.table, _source(file), rule, counts[rule][place], Verdict(counts[rule][place].n_failing == 0))
        for place, file in enumerate(files)
        for rule in asked
    ]


def _seen(engine: Engine, batch: Batch, counted: Mapping[int, Counted]) -> tuple[bool, pa.Table]:
    """What the judge sees: all rows, or an even sample and some of the rows that were found to break a rule."""
    columns = ", ".join(dict.fromkeys(quoted(rule.column) for rule in batch.rules))
    step = -(-sum(found.n_rows for found in counted.values()) // N_SAMPLED)
    sampled = f"SELECT {columns} FROM ({batch.rows(engine)})"
    if step <= 1:
        return True, engine.table(sampled)
    witnesses = among({file: sorted(found.witnesses) for file, found in counted.items()})
    return False, engine.table(f"{sampled} WHERE file_row_number % {step} = 0 OR {witnesses}")


def _by_table(files: Sequence[Incoming]) -> dict[str, list[Incoming]]:
    return {name: [file for file in files if file.table == name] for name in dict.fromkeys(f.table for f in files)}


def _type(file: Incoming, column: str) -> str:
    return str(file.schema.field(column).type) if column in file.schema.names else "missing"


def _is(rule: Rule, found: str) -> bool:
    return isinstance(rule.check, OneOf) and found in rule.check.values


def _source(file: Incoming) -> str:
    return one_line(file.ref.source, 200)
