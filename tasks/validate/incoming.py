"""Files that are new tonight, as DuckDB sees them: their rows, which of them are refused, and how many break each rule.

Many small files cost as little as one large file: those that are held against the same rules are read together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.expect.contract import HasRows, Rule, Unique
from tasks.expect.sql import predicate
from tasks.schema import INTERACTIONS
from tasks.store.engine import Engine, quoted
from tasks.store.refs import StagedRef
from tasks.store.store import Store
from tasks.validate.config import ChecksConfig
from tasks.validate.contract import rows_of
from tasks.validate.vocabulary import ID_COLUMN

FIRST_DATE_US = 10**8 * 10**6
"""A log whose newest time lies before this, in 1973, holds no times but mere ordinals: no calendar applies to it,
unless another file of the dataset has times."""


@dataclass(frozen=True)
class Incoming:
    """A file that is new tonight, and its place among tonight's contents, from 0."""

    number: int
    ref: StagedRef
    schema: pa.Schema
    is_dated: bool

    @property
    def table(self) -> str:
        return self.ref.table


@dataclass(frozen=True)
class Batch:
    """New files of one table that are held against the same rules."""

    table: str
    files: tuple[Incoming, ...]
    rules: tuple[Rule, ...]  # on their rows: those on a file as a whole are judged apart
    is_clean: bool = False  # no row of them is refused: nothing need be asked of them any more

    def rows(self, engine: Engine) -> str:
        """A query: every row that could be read, with the number of its file and its row in there."""
        columns, place = ", ".join(map(quoted, INTERACTIONS.names)), ""
        if self.table != "interactions":  # any columns beside the id, and no row number of ours
            columns, place = quoted(ID_COLUMN[self.table]), ", file_row_number + 1 AS source_row"
        numbers = ", ".join(str(file.number) for file in self.files)
        source = engine.rows([file.ref.data for file in self.files])
        return f"SELECT [{numbers}][file_index::BIGINT + 1] AS file, file_row_number{place}, {columns} FROM {source}"

    def accepted(self, engine: Engine) -> str:
        """A query: the rows that no rule refuses."""
        return self.rows(engine) if self.is_clean else f"SELECT * FROM ({self.rows(engine)}) WHERE NOT ({self.refused})"

    @property
    def refused(self) -> str:
        """The condition that a row goes to quarantine."""
        return " OR ".join(self.condition(rule) for rule in self.refusing) or "FALSE"

    @property
    def refusing(self) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if rule.severity == "row")

    @property
    def reason(self) -> str:
        """The number of the first rule that a refused row breaks, among `refusing`."""
        cases = " ".join(f"WHEN {self.condition(rule)} THEN {number}" for number, rule in enumerate(self.refusing))
        return f"CASE {cases} END"

    def condition(self, rule: Rule) -> str:
        return predicate(rule, self.files[0].schema)


def incoming(
    store: Store, numbered: Iterable[tuple[int, StagedRef]], newest_before: int | None = None
) -> list[Incoming]:
    """Looks at the files' footers only. Where one file has times, or the last good night had (`newest_before`), mere
    ordinals in another one stand for no time: they would all come first."""
    found: list[tuple[int, StagedRef, pa.Schema, int | None]] = []
    for number, ref in numbered:
        with pq.ParquetFile(store.path(ref.data.path)) as file:
            newest = _newest(file) if ref.table == "interactions" else None  # elsewhere it may be any text
            found.append((number, ref, file.schema_arrow, newest))
    has_dates = any(_is_date(newest) for newest in (newest_before, *(newest for *_, newest in found)))
    return [
        Incoming(number, ref, schema, newest is None or has_dates)  # the rules are the same without times
        for number, ref, schema, newest in found
    ]


def _is_date(time: int | None) -> bool:
    return time is not None and time >= FIRST_DATE_US


def _newest(file: pq.ParquetFile) -> int | None:
    """The largest time, by the statistics of the row groups, in microseconds; None where there is none."""
    names = file.schema_arrow.names
    if "timestamp" not in names:
        return None
    column, newest = names.index("timestamp"), []
    for number in range(file.metadata.num_row_groups):
        found = file.metadata.row_group(number).column(column).statistics
        if found is not None and found.has_min_max:
            newest.append(int(found.max_raw))
    return max(newest, default=None)


def batches(files: Sequence[Incoming], checks: ChecksConfig, as_of: datetime) -> list[Batch]:
    """Together what shares its rules; a rule on the whole of a file's values keeps files apart."""
    found: dict[tuple[str, tuple[Rule, ...], int | None], list[Incoming]] = {}
    for file in files:
        rules = tuple(r for r in rows_of(file.table, checks, as_of, file.is_dated) if not isinstance(r.check, HasRows))
        alone = file.number if any(isinstance(rule.check, Unique) for rule in rules) else None
        found.setdefault((file.table, rules, alone), []).append(file)
    return [Batch(table, tuple(members), rules) for (table, rules, _), members in found.items()]
