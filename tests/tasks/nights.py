"""Nights of validation on small logs, for several test files."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa

from tasks.expect.contract import Between, NotBlank, OneOf, Present, Rule, Unique, Verdict
from tasks.schema import INTERACTIONS, UNREAD
from tasks.store.refs import DatasetRef, StagedRef, Validated
from tasks.store.store import Store, Writer
from tasks.store.tables import fingerprint
from tasks.validate.config import ChecksConfig
from tasks.validate.task import validate

AS_OF = datetime(2024, 6, 1, 3, 0, tzinfo=UTC)
START = datetime(2024, 1, 1, tzinfo=UTC)
CHECKS = ChecksConfig(min_rating=1, max_rating=5, max_quarantine_share=1)
INFINITE = float("inf")
LAX = ChecksConfig(min_rows=1, min_users=1, min_items=1, max_duplicate_share=1, max_quarantine_share=1, min_volume=0)
Row = dict[str, Any]


def log(n: int = 20, first: int = 0) -> list[Row]:
    """n good interactions that differ from each other, an hour apart, of 4 users and 5 items."""
    return [
        {
            "user_id": f"u{row % 4}",
            "item_id": f"i{row % 5}",
            "rating": 3.0,
            "timestamp": START + timedelta(hours=row),
            "event": None,
            "source_row": row - first + 1,
        }
        for row in range(first, first + n)
    ]


def numbered(rows: Sequence[Row]) -> list[Row]:
    """The rows as those of one file."""
    return [{**row, "source_row": number} for number, row in enumerate(rows, 1)]


def changed(row: int, **cells: Any) -> list[Row]:
    """A good log with other cells in the row of this number."""
    return [{**content, **cells} if content["source_row"] == row else content for content in log()]


def interactions(rows: Sequence[Row]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), INTERACTIONS)


def features(column: str, ids: Sequence[str | None]) -> pa.Table:
    return pa.table({column: pa.array(ids, pa.string()), "title": pa.array(["t"] * len(ids), pa.string())})


def kind(name: str) -> str:
    """The table that a file of this name stands for: what precedes `__` if that is users or items."""
    return name.split("__")[0] if name.startswith(("users", "items")) else "interactions"


def stage(
    store: Store, name: str, content: pa.Table | Sequence[Row], unread: Sequence[tuple[int, str, str]] = ()
) -> StagedRef:
    """A staged file `<name>.csv`; `unread`: row, problem and text of lines that could not be read."""
    table = content if isinstance(content, pa.Table) else interactions(content)
    problems = pa.Table.from_pylist(
        [dict(zip(UNREAD.names, one, strict=True)) for one in unread],
        UNREAD,
    )
    sha256 = fingerprint(table)[:32] + fingerprint(problems)[:32]

    def write(writer: Writer) -> dict[str, Any]:
        written = {"data": asdict(writer.table("rows", table))}
        return {**written, "unread": asdict(writer.table("unread", problems))} if unread else written

    built = store.build(f"staging/d/{sha256}", write).manifest
    refs = {part: DatasetRef(**ref) for part, ref in built.items()}
    return StagedRef(kind(name), f"{name}.csv", sha256, refs["data"], refs.get("unread"))


def run(
    store: Store, *staged: StagedRef, checks: ChecksConfig = CHECKS, appends: bool = True, day: float = 0
) -> Validated:
    """One night, so many days after the first."""
    return validate.fn(store, staged, "d", checks, AS_OF + timedelta(days=day), appends)


def rows_of(store: Store, result: Validated) -> list[list[Row]]:
    """The snapshot's interactions, file by file."""
    return [store.read(part).to_pylist() for part in result.snapshot.interactions]


def plain_judge(name: str, frame: pd.DataFrame, rules: tuple[Rule, ...]) -> tuple[Verdict, ...]:
    """A judge in plain Python, a thousand times faster on small logs than the one in use, and as honest."""
    return tuple(_verdict(frame[rule.column].tolist(), rule) for rule in rules)


def _verdict(cells: list[Any], rule: Rule) -> Verdict:
    present = [cell for cell in cells if cell is not None and cell is not pd.NA]
    good: Callable[[Any], bool]
    match rule.check:
        case Present():
            return Verdict(len(present) == len(cells), len(cells) - len(present))
        case NotBlank():
            good = lambda cell: bool(cell.strip(" \t\r\n\f\v"))  # noqa: E731
        case Unique():
            good = lambda cell: present.count(cell) == 1  # noqa: E731
        case OneOf(values):
            good = lambda cell: cell in values  # noqa: E731
        case Between(low, high):
            good = lambda cell: abs(cell) < INFINITE and (low is None or cell >= low) and (high is None or cell <= high)  # noqa: E731
        case _:
            raise NotImplementedError(rule)
    n_failing = sum(not good(cell) for cell in present)
    return Verdict(n_failing == 0, n_failing)
