"""Judging a night's files by the contract: what a rule says, what Arrow counts and what the judge finds must agree."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

import pandas as pd
import pyarrow as pa

from tasks.errors import RunFailed
from tasks.store.refs import StagedRef
from tasks.validate.config import ChecksConfig
from tasks.validate.contract import Rule, columns_of, dataset_rules, rows_of
from tasks.validate.figures import CompactLog, Figures, Ids, compact, figures, ids_of
from tasks.validate.result import Counts, Finding, Validation
from tasks.validate.rows import BoolArray, Count, comparable, count, judged_rows, one_line

ALL_FILES = "all files"


@dataclass(frozen=True)
class Verdict:
    """What the judge found on one rule; `n_failing` is None where it did not count rows."""

    passed: bool
    n_failing: int | None = None


Judge = Callable[[str, pd.DataFrame, tuple[Rule, ...]], tuple[Verdict, ...]]
"""Judges a frame by rules, one verdict a rule and in their order. The name tells the frames of a night apart."""


@dataclass(frozen=True)
class Judged:
    """The validation, and which rows of each interactions file are kept (empty where a file lacks a column)."""

    validation: Validation
    kept: tuple[BoolArray, ...]


def judge_files(
    files: Iterable[tuple[StagedRef, pa.Table]], checks: ChecksConfig, as_of: datetime, judge: Judge
) -> Judged:
    """Judges each file, then all together. Give the files lazily: only one is held in memory at a time.

    A file whose columns are wrong is judged no further, and then neither are the facts of the dataset.
    Raises RunFailed where the judge answers less than it was asked, or not what Arrow counted.
    """
    findings: list[Finding] = []
    logs: list[CompactLog] = []
    ids: list[Ids] = []
    sound = True
    for number, (ref, table) in enumerate(files):
        source, name = one_line(ref.source, 200), f"{number}: {ref.source}"
        columns = _judge_columns(name, ref.table, source, table, judge)
        findings += columns
        if not all(finding.passed for finding in columns):
            sound = False
            continue
        compared = comparable(table)
        rules = rows_of(ref.table, checks, as_of)
        findings += _judge_table(f"{name}: rows", ref.table, source, table, compared, rules, judge)
        if ref.table == "interactions":
            logs.append(compact(source, table, compared))
        else:
            ids.append(ids_of(ref.table, source, table))
    facts = figures(logs, ids)
    if sound:
        findings += _judge_facts(facts, dataset_rules(checks, frozenset(file.table for file in ids)), judge)
    n_read, n_kept = sum(len(kept) for kept in facts.kept), sum(int(kept.sum()) for kept in facts.kept)
    counts = Counts(read=n_read, accepted=n_kept, duplicates=n_read - n_kept)
    return Judged(Validation(tuple(findings), counts), facts.kept if sound else ())


def _judge_columns(name: str, kind: str, source: str, table: pa.Table, judge: Judge) -> list[Finding]:
    """A table of one row that holds the type of each column is judged like any other."""
    rules = columns_of(kind)
    present = {field.name: str(field.type) for field in table.schema}
    types = {rule.column: present.get(rule.column, "missing") for rule in rules}
    content = pa.table({column: pa.array([found]) for column, found in types.items()})
    found = _judge_table(f"{name}: columns", kind, source, content, content, rules, judge)
    return [
        replace(finding, n_total=0, examples=(), observed=types[rule.column])
        for finding, rule in zip(found, rules, strict=True)
    ]


def _judge_facts(facts: Figures, rules: tuple[Rule, ...], judge: Judge) -> list[Finding]:
    table = facts.table()
    found = _judge_table("dataset", "dataset", ALL_FILES, table, table, rules, judge)
    figure = [facts.facts[rule.column] for rule in rules]
    return [
        replace(
            finding,
            n_failing=fact.n_failing if fact.n_total else finding.n_failing,
            n_total=fact.n_total,
            examples=fact.examples,
            observed=fact.shown,
        )
        for finding, fact in zip(found, figure, strict=True)
    ]


def _judge_table(
    name: str, kind: str, source: str, shown: pa.Table, compared: pa.Table, rules: tuple[Rule, ...], judge: Judge
) -> list[Finding]:
    counts = [count(shown, compared, rule) for rule in rules]
    frame = judged_rows(compared, rules, counts)
    verdicts = judge(name, frame, rules)
    if len(verdicts) != len(rules):
        raise RunFailed(f"{source}: {len(rules)} expectations were asked for, {len(verdicts)} were judged")
    whole = len(frame) == compared.num_rows
    for rule, counted, verdict in zip(rules, counts, verdicts, strict=True):
        _agree(source, rule, counted, verdict, whole)
    return [
        Finding(
            kind,
            source,
            rule.sentence,
            verdict.passed,
            counted.n_failing,
            compared.num_rows,
            counted.examples,
            counted.observed,
            rule.setting,
        )
        for rule, counted, verdict in zip(rules, counts, verdicts, strict=True)
    ]


def _agree(source: str, rule: Rule, counted: Count, verdict: Verdict, whole: bool) -> None:
    """Two programs looked at the rows. Where they differ one of them is wrong, and then nothing may pass."""
    agreed = verdict.passed == (counted.n_failing == 0)
    if agreed and whole and verdict.n_failing is not None:
        agreed = verdict.n_failing == counted.n_failing
    if not agreed:
        raise RunFailed(
            f'{source}: on "{rule.sentence}", {counted.n_failing:,} failing rows were counted and the judge said '
            f"{'passed' if verdict.passed else 'failed'} ({verdict.n_failing} rows)",
            "this is a bug in the contract: please report it",
        )
