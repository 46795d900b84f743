"""From the parts of a file, under our names, to our tables.

R rows of a part
"""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import ConfigError, DataRefused, RunFailed
from tasks.ingest.sources import cells
from tasks.ingest.sources.base import Block, Part, unread_table
from tasks.ingest.sources.instants import Clock
from tasks.schema import INTERACTIONS

T = TypeVar("T")
STREAMED = pa.schema(
    [field.with_type(cells.WORDS) if pa.types.is_string(field.type) else field for field in INTERACTIONS]
)
"""INTERACTIONS as they are handed on: text as dictionaries."""


def interactions(parts: Iterable[Part], label: str) -> Iterator[Block]:
    """The log, block by block; the unit of its instants is found in the first one.

    Raises ConfigError where a column's type cannot be what it is mapped to."""
    clock = Clock()
    for part in parts:
        yield _block(part, clock, label)


def features(parts: Iterable[Part], label: str, most_bytes: int) -> pa.Table:
    """A table of users or items, all as text, null where empty; the first column is the id.

    It is held whole, as all who read it do: RunFailed where that takes more than `most_bytes`. Raises DataRefused at
    the first row that cannot be read."""
    tables: list[pa.Table] = []
    n_bytes = 0
    for part in parts:
        for bad in part.unread.slice(0, 1).to_pylist():
            raise DataRefused(f"{label} is damaged or cut short, row {bad['source_row']}: {bad['problem']}")
        tables.append(_features(part.cells, label))
        n_bytes += tables[-1].nbytes
        if n_bytes > most_bytes:
            raise RunFailed(
                f"{label} takes more than {most_bytes >> 20} MB, too much for a table of users or items",
                "raise --memory_gb, or leave out the columns that no model reads",
            )
    return pa.concat_tables(tables, promote_options="default") if tables else pa.table({})


def _features(raw: pa.Table, label: str) -> pa.Table:
    id_name, *others = raw.column_names
    ids = _as(cells.words, raw[id_name], id_name, label).cast(pa.string())
    return pa.table({id_name: ids, **{name: _as(cells.text, raw[name], name, label) for name in others}})


def _block(part: Part, clock: Clock, label: str) -> Block:
    raw, n_rows = part.cells, part.cells.num_rows
    problems = []
    columns = {}
    readers: dict[str, Callable[[pa.ChunkedArray], tuple[pa.ChunkedArray, pa.ChunkedArray | None]]] = {
        "user_id": _words,
        "item_id": _words,
        "rating": cells.ratings,
        "timestamp": clock.read,
        "event": _words,
    }
    for field, read in readers.items():
        if field not in raw.column_names:
            columns[field] = pa.chunked_array([pa.nulls(n_rows, STREAMED.field(field).type)])
            continue
        columns[field], bad = _as(read, raw[field], field, label)
        if bad is not None:
            problems.append(bad)
    rows = pa.table({**columns, "source_row": pa.array(part.numbers_R)}, schema=STREAMED)
    if not problems:
        return Block(rows, part.unread)
    return _parted(rows, part, cells.joined(problems))


def _words(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, None]:
    return cells.words(column), None


def _parted(rows: pa.Table, part: Part, problem_R: pa.ChunkedArray) -> Block:
    """Without the rows that have a problem: they go among the unread, with the cells as they came."""
    is_bad = pc.is_valid(problem_R)
    bad, raw = rows.filter(is_bad), part.cells.filter(is_bad)
    shown = {
        # Ids as they would be staged, so that a person is found by the same id everywhere.
        name: (bad if pa.types.is_dictionary(bad[name].type) else raw)[name].cast(pa.string()).to_pylist()
        for name in bad.column_names
        if name in raw.column_names
    }
    written = [
        json.dumps(dict(zip(shown, row, strict=True)), ensure_ascii=False) for row in zip(*shown.values(), strict=True)
    ]
    unread = unread_table(bad["source_row"].to_pylist(), problem_R.filter(is_bad).to_pylist(), written)
    both = pa.concat_tables([part.unread, unread])
    return Block(rows.filter(pc.invert(is_bad)), both.sort_by("source_row") if part.unread.num_rows else unread)


def _as(convert: Callable[[pa.ChunkedArray], T], column: pa.ChunkedArray, field: str, label: str) -> T:
    try:
        return convert(column)
    except (cells.UnsupportedTypeError, pa.ArrowNotImplementedError) as error:
        raise ConfigError(
            f"the column for {field} in {label} holds {column.type}, which cannot be a {field}",
            "map another column with ingest.columns, or write this one as text or numbers",
        ) from error
    except pa.ArrowInvalid as error:
        raise DataRefused(f"the column for {field} in {label} cannot be read: {str(error).splitlines()[0]}") from error
