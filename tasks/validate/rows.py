"""Counting in Arrow, over all rows, what breaks a rule: fast, and in bounded memory whatever the file's size."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.validate.contract import Absent, Between, HasRows, NotBlank, OneOf, Present, Rule, Unique

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

N_EXAMPLES = 5
N_SAMPLED = 200_000
N_WITNESSES = 1_000
# Written out, because the two regular expression engines disagree on what `\S` is outside ASCII.
INK = r"[^ \t\r\n\f\v]"


@dataclass(frozen=True)
class Count:
    """How many rows break a rule, and which to look at."""

    n_failing: int
    examples: tuple[str, ...]
    witnesses: IntArray  # some failing rows, enough of them that each still fails among the others
    observed: str


def comparable(table: pa.Table) -> pa.Table:
    """The table with times as microseconds since 1970, and NaN as infinity.

    pandas and Great Expectations take NaN for a missing value and would let it pass; infinity breaks every range.
    """
    columns = [_comparable(column) for column in table.columns]
    return pa.table(columns, names=table.column_names)


def _comparable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.int64())
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.is_nan(column), float("inf"), column)
    return column


def count(shown: pa.Table, compared: pa.Table, rule: Rule) -> Count:
    """Counts on `compared`, and takes the examples from `shown`, the table as it came."""
    broken = _broken(compared, rule)
    failing = np.flatnonzero(broken).astype(np.int64)
    witnesses = failing[:N_WITNESSES]
    if isinstance(rule.check, Unique) and len(failing):
        # A repeated value only fails beside its twin, so equal values are taken together.
        values = compared[rule.column].take(pa.array(failing))
        witnesses = failing[pc.array_sort_indices(values.combine_chunks()).to_numpy()[:N_WITNESSES]]
    examples = tuple(_example(shown, rule, int(row)) for row in failing[:N_EXAMPLES] if row < shown.num_rows)
    return Count(len(failing), examples, witnesses, _observed(shown, rule))


def _broken(table: pa.Table, rule: Rule) -> BoolArray:
    """[rows] True where the rule is broken. For HasRows, one True for the row that is missing."""
    column, check = table[rule.column], rule.check
    match check:
        case HasRows():
            return np.ones(int(table.num_rows == 0), dtype=bool)
        case Present():
            mask = pc.is_null(column)
        case Absent():
            mask = pc.is_valid(column)
        case NotBlank():
            mask = pc.invert(pc.match_substring_regex(column, INK))
        case Unique():
            return _repeated(column)
        case OneOf(values):
            mask = pc.invert(pc.is_in(column, value_set=pa.array(values, type=column.type)))
        case Between(low, high):
            below = pc.less(column, pa.scalar(low)) if low is not None else pa.scalar(False)
            above = pc.greater(column, pa.scalar(high)) if high is not None else pa.scalar(False)
            mask = pc.or_(below, above)
    return np.asarray(pc.fill_null(mask, False).to_numpy(), dtype=bool)


def _repeated(column: pa.ChunkedArray) -> BoolArray:
    codes, n_values = dictionary_codes([column])
    n_rows = np.bincount(codes[0] + 1, minlength=n_values + 1)
    n_rows[0] = 0  # null is not a value
    return np.asarray(n_rows[codes[0] + 1] > 1)


def dictionary_codes(columns: list[pa.ChunkedArray]) -> tuple[list[npt.NDArray[np.int32]], int]:
    """Each column's values as numbers from 0 that mean the same in all of them (-1: null), and how many there are."""
    codes, values = encode([column.dictionary_encode() for column in columns])
    return codes, len(values)


def encode(columns: list[pa.ChunkedArray]) -> tuple[list[npt.NDArray[np.int32]], pa.Array]:
    """As `dictionary_codes`, from columns that are dictionaries already, with the values that the numbers stand for."""
    chunks = [chunk for column in columns for chunk in column.chunks]
    if not chunks:
        return [np.empty(0, dtype=np.int32) for _ in columns], pa.array([], pa.string())
    unified = pa.chunked_array(chunks).unify_dictionaries()
    numbers = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in unified.chunks]
    ends = np.cumsum([len(column) for column in columns])[:-1]
    return np.split(np.concatenate(numbers), ends), unified.chunk(0).dictionary


def judged_rows(compared: pa.Table, rules: tuple[Rule, ...], counts: list[Count]) -> pd.DataFrame:
    """The rows that Great Expectations sees: all of a small table; of a large one, an even sample and the witnesses.

    One path for every size: Arrow has looked at all rows, and each row that it found broken is represented here. Only
    the columns that a rule looks at are converted, and they stay Arrow's memory.
    """
    columns = list(dict.fromkeys(rule.column for rule in rules))
    table = compared.select(columns)
    if table.num_rows > N_SAMPLED:
        sample = np.linspace(0, table.num_rows - 1, N_SAMPLED).astype(np.int64)
        table = table.take(np.unique(np.concatenate([sample, *(found.witnesses for found in counts)])))
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype)
    return frame


def source_rows(table: pa.Table, first: int = 1) -> IntArray:
    """Each row's number in its source file, from 1. Users and items have none of ours: there it is the position."""
    if "source_row" in table.column_names and pa.types.is_integer(table["source_row"].type):
        return np.asarray(table["source_row"].to_numpy(), dtype=np.int64)
    return np.arange(first, first + table.num_rows, dtype=np.int64)


def one_line(text: str, length: int = 80) -> str:
    """Safe to print: data may hold line breaks, escape sequences for the terminal, or a megabyte."""
    clean = "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text[: length + 1])
    return clean if len(text) <= length else clean[:length] + "…"


def _example(table: pa.Table, rule: Rule, row: int) -> str:
    number = source_rows(table.slice(row, 1), first=row + 1)[0]
    value = _shown(table[rule.column].slice(row, 1))
    if isinstance(rule.check, Absent):
        return f"row {number}: {one_line(value)}"  # `unparsed` names the column itself
    quoted = f"'{value}'" if value != "null" and pa.types.is_string(table.schema.field(rule.column).type) else value
    return f"row {number}: {rule.column}={one_line(quoted)}"


def _observed(table: pa.Table, rule: Rule) -> str:
    column = table[rule.column]
    if isinstance(rule.check, HasRows):
        return f"{table.num_rows:,} rows"
    if not isinstance(rule.check, Between) or column.null_count == len(column):
        return ""
    return " to ".join(bounds(column))


def bounds(column: pa.ChunkedArray) -> tuple[str, str]:
    """The lowest and the highest value as text; "null" where there is none."""
    ends = pc.min_max(column)
    return _shown(pa.array([ends["min"]], column.type)), _shown(pa.array([ends["max"]], column.type))


def _shown(cell: pa.Array | pa.ChunkedArray) -> str:
    """The first value as text. By Arrow, since Python's datetime ends with the year 9999 and bad data does not."""
    if cell[0].is_valid is False:
        return "null"
    if not pa.types.is_timestamp(cell.type):
        value = cell[0].as_py()
        return f"{value:g}" if isinstance(value, float) else str(value)
    return str(cell.cast(pa.timestamp("us")).cast(pa.string())[0].as_py()).partition(".")[0]
