"""The files of `encore inspect` before the contract: which rows would be refused, and whether the night would be."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from tasks.expect.contract import Rule, Unique
from tasks.inspect.log import Log, facts_of, profile_log
from tasks.inspect.refusals import Reason, accepted, broken_row_rules, failed_facts, is_broken, merged, unread_reasons
from tasks.schema import ID
from tasks.store.engine import Engine, quoted
from tasks.store.refs import StagedRef
from tasks.validate.config import ChecksConfig
from tasks.validate.contract import dataset_rules, rows_of
from tasks.validate.facts import silence
from tasks.validate.incoming import FIRST_DATE_US
from tasks.validate.vocabulary import ID_COLUMN


@dataclass(frozen=True)
class Judged:
    """What a night would find, the first of its dataset."""

    read: int
    reasons: tuple[Reason, ...]  # for rows that are refused, or that refuse the night
    log: Log  # of the accepted rows
    facts: dict[str, float]
    failed: tuple[Rule, ...]  # rules about the whole dataset, and about the users and items tables

    @property
    def quarantined(self) -> int:
        return sum(reason.rows for reason in self.reasons if reason.severity == "row")

    @property
    def is_refused(self) -> bool:
        severities = [rule.severity for rule in self.failed] + [reason.severity for reason in self.reasons]
        return "night" in severities

    def as_result(self, staged: Sequence[StagedRef]) -> dict[str, Any]:
        logs = [ref for ref in staged if ref.table == "interactions"]
        return {
            "rows": self.read,
            "rows_of_files": [
                {"path": ref.source, "rows": ref.rows, "unread": ref.rows - ref.data.rows} for ref in logs
            ],
            "accepted": self.read - self.quarantined - self.log.duplicates,
            "quarantined": self.quarantined,
            "duplicates": self.log.duplicates,
            "reasons": [asdict(reason) for reason in self.reasons],
            "failed": [
                {
                    "expectation": rule.sentence,
                    "severity": rule.severity,
                    "setting": rule.setting,
                    "found": self.facts.get(rule.column),
                }
                for rule in self.failed
            ],
            "would_be_refused": self.is_refused,
            "log": asdict(self.log) | {"repeat_share": self.log.repeat_share},
        }


def judge(
    engine: Engine, staged: Sequence[StagedRef], checks: ChecksConfig, as_of: datetime, n_repeated: int = 0
) -> Judged:
    """By the rules that the night would go by; what needs an earlier night is not judged. `n_repeated` files have the
    content of another, and are not among the staged."""
    logs = [ref for ref in staged if ref.table == "interactions"]
    reasons: list[Reason] = []
    views = []
    for is_dated, refs in _by_calendar(engine, logs):
        rows, rules = engine.rows([ref.data for ref in refs]), rows_of("interactions", checks, as_of, is_dated)
        found = broken_row_rules(engine, rows, rules)
        refuses = any(reason.severity == "row" for reason in found)  # else no query need look for such rows
        views.append(f"SELECT * FROM {rows}" + (f" WHERE {accepted(rules)}" if refuses else ""))
        reasons += found
    if unread := [ref.unread for ref in logs if ref.unread]:
        reasons += unread_reasons(engine, engine.rows(unread))
    engine.run(f"CREATE VIEW accepted AS {' UNION ALL '.join(views)}")
    log, read = profile_log(engine, "accepted"), sum(ref.rows for ref in logs)
    quarantined = sum(reason.rows for reason in reasons if reason.severity == "row")
    facts = facts_of(log, quarantined, read) | {"repeated_files": n_repeated}
    (newest,) = engine.one("SELECT epoch_us(max(timestamp)) FROM accepted")
    facts |= {name: figure.value for name, figure in silence(newest, (), as_of).items()}
    failed: list[Rule] = []
    tables = [table for table in ID_COLUMN if any(ref.table == table for ref in staged)]
    for table in tables:
        refs = [ref for ref in staged if ref.table == table]
        facts |= _facts_of_table(engine, refs, table)
        failed += _broken(engine, refs, rows_of(table, checks, as_of))
    failed += failed_facts(dataset_rules(checks, frozenset(tables), frozenset(facts)), facts)
    return Judged(read, merged(reasons), log, facts, tuple(failed))


def _by_calendar(engine: Engine, logs: Sequence[StagedRef]) -> list[tuple[bool, list[StagedRef]]]:
    """The files whose times are dates, and those whose times are ordinals, where there are such."""
    newest = engine.table(
        f"SELECT file_index, epoch_us(max(timestamp)) AS at FROM {engine.rows([ref.data for ref in logs])} GROUP BY 1"
    ).to_pylist()
    ordinal = {row["file_index"] for row in newest if row["at"] is not None and row["at"] < FIRST_DATE_US}
    groups = [(dated, [ref for n, ref in enumerate(logs) if (n not in ordinal) == dated]) for dated in (True, False)]
    return [(dated, refs) for dated, refs in groups if refs]


def _facts_of_table(engine: Engine, refs: Sequence[StagedRef], table: str) -> dict[str, float]:
    column = quoted(ID_COLUMN[table])
    rows = engine.rows([ref.data for ref in refs])
    (unknown,) = engine.one(
        f"SELECT coalesce(avg(({column} NOT IN (SELECT {column} FROM {rows} WHERE {column} IS NOT NULL))::INT), 0) "
        "FROM accepted"
    )
    (twice,) = engine.one(
        f"SELECT count(*) FROM (SELECT {column} FROM {rows} GROUP BY 1 HAVING count(DISTINCT file_index) > 1)"
    )
    return {f"unknown_{table}_share": float(unknown), f"{table}_in_two_files": float(twice)}


def _broken(engine: Engine, refs: Sequence[StagedRef], rules: Sequence[Rule]) -> list[Rule]:
    """The rules on the rows of a users or items table that a file of it breaks."""
    broken = []
    for rule in rules:
        schema, column = pa.schema([(rule.column, ID)]), quoted(rule.column)
        for ref in refs:
            rows = engine.rows([ref.data])
            if isinstance(rule.check, Unique):
                (wrong,) = engine.one(f"SELECT count({column}) > count(DISTINCT {column}) FROM {rows}")
            else:
                wrong = is_broken(engine, rows, rule, schema)
            if wrong:
                broken.append(rule)
                break
    return broken
