"""A profile of a file's own columns, whatever they are called."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from tasks.inspect.kinds import Kind, kind_of, one_line, unit_of
from tasks.store.engine import Engine, quoted

SAMPLE_ROWS = 20_000
"""Cells that tell what a column holds; drawn evenly from all rows."""
EXACT_ROWS = 2_000_000
"""Up to here, and where values are few, they are counted exactly; else by HyperLogLog, within some percent."""
FEW = 1_000
N_EXAMPLES = 3
_LONGEST = 200  # characters of a text that are compared and shown


@dataclass(frozen=True)
class Column:
    """One column of the file. Its name is as it came, and not safe to print; its values are."""

    name: str
    type: str  # as stored; `string` for CSV
    kind: Kind
    unit: str  # see `kinds.unit_of`
    rows: int
    empty: int  # null, or text that is blank
    distinct: int  # different values
    is_exact: bool  # else `distinct` is an estimate
    low: str | None
    high: str | None
    examples: tuple[str, ...]

    @property
    def empty_share(self) -> float:
        return self.empty / self.rows if self.rows else 0.0

    @property
    def is_unique(self) -> bool:
        """Hardly a value comes twice: no user and no item, but the row's own number."""
        return self.distinct > 0.9 * max(self.rows - self.empty, 1)

    @property
    def is_whole(self) -> bool:
        return self.kind == "whole numbers"


def profile_columns(engine: Engine, source: str, names: Sequence[str]) -> tuple[Column, ...]:
    """One pass over all rows for the counts, one over a sample for what the cells mean. `source` stands behind FROM."""
    sample = engine.table(
        f"SELECT {_list(names)} FROM {source} USING SAMPLE reservoir({SAMPLE_ROWS} ROWS) REPEATABLE (0)"
    )
    (rows,) = engine.one(f"SELECT count(*) FROM {source}")
    kinds = [kind_of(sample[name]) for name in names]
    exact = rows <= EXACT_ROWS
    asked = [part for name, kind in zip(names, kinds, strict=True) for part in _aggregates(name, sample, kind, exact)]
    found = engine.one(f"SELECT {', '.join(asked)} FROM {source}")
    columns = [
        Column(
            name,
            _type(sample[name].type),
            kind,
            unit_of(sample[name], kind),
            rows,
            empty,
            distinct,
            exact,
            _text(low),
            _text(high),
            _examples(sample[name]),
        )
        for name, kind, (empty, distinct, low, high) in zip(
            names, kinds, zip(*[iter(found)] * 4, strict=True), strict=True
        )
    ]
    return _recounted(engine, source, columns)


def commonest_share(engine: Engine, source: str, name: str) -> float:
    """Share of the rows that the commonest value of a column has."""
    (share,) = engine.one(f"SELECT max(n) / sum(n) FROM (SELECT count(*) AS n FROM {source} GROUP BY {quoted(name)})")
    return float(share)


def _recounted(engine: Engine, source: str, columns: Sequence[Column]) -> tuple[Column, ...]:
    """Exactly, where an estimate says that the values are few: then they may be ratings or events."""
    few = [column for column in columns if not column.is_exact and column.distinct <= FEW and column.kind != "nested"]
    if not few:
        return tuple(columns)
    counts = engine.one(f"SELECT {', '.join(f'count(DISTINCT {quoted(column.name)})' for column in few)} FROM {source}")
    exact = {column.name: int(count) for column, count in zip(few, counts, strict=True)}
    return tuple(
        replace(column, distinct=exact[column.name], is_exact=True) if column.name in exact else column
        for column in columns
    )


def _aggregates(name: str, sample: pa.Table, kind: Kind, exact: bool) -> tuple[str, str, str, str]:
    """Empty cells, different values, lowest, highest."""
    column = quoted(name)
    if kind == "nested":
        return f"count(*) - count({column})", "0", "NULL", "NULL"
    stored = sample[name].type
    is_text = pa.types.is_string(stored) or pa.types.is_large_string(stored)
    empty = f"{column} IS NULL" + (f" OR trim({column}) = ''" if is_text else "")
    distinct = f"count(DISTINCT {column})" if exact else f"approx_count_distinct({column})"
    value = _comparable(column, stored, kind, is_text)
    return f"count(*) FILTER ({empty})", distinct, f"min({value})", f"max({value})"


def _comparable(column: str, stored: pa.DataType, kind: Kind, is_text: bool) -> str:
    """Numbers by their size, also where they are text; neither NaN nor infinity is the highest of anything."""
    if is_text and kind == "whole numbers":
        return f"TRY_CAST({column} AS BIGINT)"
    if kind == "numbers" or pa.types.is_floating(stored):
        number = f"TRY_CAST({column} AS DOUBLE)"
        return f"CASE WHEN isfinite({number}) THEN {number} END"
    if pa.types.is_integer(stored) or pa.types.is_boolean(stored):
        return column
    return f"left(nullif(CAST({column} AS VARCHAR), ''), {_LONGEST})"


def _examples(column: pa.ChunkedArray) -> tuple[str, ...]:
    """The first different values of the sample."""
    texts = [text for value in column.slice(0, FEW).to_pylist() if (text := _text(value)) and text.strip()]
    return tuple(list(dict.fromkeys(texts))[:N_EXAMPLES])


def _type(kind: pa.DataType) -> str:
    return str(kind.value_type if pa.types.is_dictionary(kind) else kind)


def _text(value: object) -> str | None:
    """Safe to print."""
    if value is None:
        return None
    return f"{value:.8g}" if isinstance(value, float) else one_line(str(value), _LONGEST)


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(quoted, names))


def nested_column(name: str) -> Column:
    """A column of lists or objects, which is not looked into."""
    return Column(name, "nested", "nested", "", 0, 0, 0, True, None, None, ())
