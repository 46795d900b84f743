"""From a column as it came to ids and ratings: whole columns at a time, never cell by cell.

A cell that cannot be read is described in `problems`, null where all is well, so that its row is refused with a reason.
"""

from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

NUMBER = r"^[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,2})?$"
LONGEST_SHOWN = 80  # characters of a bad cell
WORDS = pa.dictionary(pa.int32(), pa.string())

Column: TypeAlias = pa.ChunkedArray


class UnsupportedTypeError(Exception):
    """A column whose type cannot be what it is mapped to."""


def text(column: Column) -> Column:
    """Features: text stays as it came, whole numbers lose no digit, lists are joined, empty becomes null."""
    column = decoded(column)
    kind = column.type
    if pa.types.is_floating(kind):
        column = _float_text(column)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pc.binary_join(column.cast(pa.list_(pa.string())), "|")
    elif pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType) or pa.types.is_fixed_size_binary(kind):
        raise UnsupportedTypeError(str(kind))
    else:
        column = column.cast(pa.string())
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)


def words(column: Column) -> Column:
    """Ids and kinds of event, as `text` but as dictionaries: only what differs is turned into text. A list is none."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_nested(kind) or pa.types.is_duration(kind):
        raise UnsupportedTypeError(str(kind))
    if not column.num_chunks:
        return pa.chunked_array([], WORDS)
    return pa.chunked_array([_words(chunk) for chunk in column.chunks], WORDS)


def _words(chunk: pa.Array) -> pa.DictionaryArray:
    if not pa.types.is_dictionary(chunk.type):
        chunk = chunk.dictionary_encode()
    if pa.types.is_null(chunk.type):
        return pa.nulls(len(chunk), WORDS)
    written = text(pa.chunked_array([chunk.dictionary])).combine_chunks()
    if written.null_count == 0 and (is_text(chunk.dictionary.type) or pa.types.is_integer(chunk.dictionary.type)):
        return pa.DictionaryArray.from_arrays(chunk.indices, written)
    # Two numbers may read the same (0.0 and -0.0) and some as nothing: Parquet's dictionaries can hold neither.
    distinct = written.dictionary_encode()
    return pa.DictionaryArray.from_arrays(distinct.indices.take(chunk.indices), distinct.dictionary)


def ratings(column: Column) -> tuple[Column, Column | None]:
    """[float64, text]: the ratings, and the problems of those that are no finite numbers (None: all could be read)."""
    column = decoded(column)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if is_number(column.type):
        values = column.cast(pa.float64(), safe=False)
        return with_problems("rating", where(pc.is_finite(values), values), column)
    if not is_text(column.type):
        raise UnsupportedTypeError(str(column.type))
    cells = trimmed(column)
    try:
        values = cells.cast(pa.float64())
    except pa.ArrowInvalid:
        values = where(pc.match_substring_regex(cells, NUMBER), cells).cast(pa.float64())
    return with_problems("rating", where(pc.is_finite(values), values), cells)


def with_problems(field: str, values: Column, cells: Column) -> tuple[Column, Column | None]:
    """The values, and `rating='x'` for each cell that is there and gave none."""
    if values.null_count == cells.null_count:
        return values, None
    bad = pc.and_(pc.is_null(values), pc.is_valid(cells))
    return values, described(field, where(bad, cells))


def described(field: str, cells: Column) -> Column:
    shown = pc.utf8_slice_codeunits(cells.cast(pa.string()), 0, LONGEST_SHOWN)
    return pc.binary_join_element_wise(f"{field}='", shown, "'", "")


def joined(problems: list[Column]) -> Column:
    """One description a row; null where every cell was read."""
    if len(problems) == 1:
        return problems[0]
    return pc.coalesce(pc.binary_join_element_wise(*problems, "; "), *problems)  # both, or the one that there is


def decoded(column: Column) -> Column:
    """Plain values; refuses bytes that are not UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        column = column.cast(pa.string())
    return column


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)) or bool(
        pa.types.is_null(kind)
    )


def is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def trimmed(column: Column) -> Column:
    """Text without the space around it; empty becomes null."""
    cells = pc.utf8_trim_whitespace(column.cast(pa.string()))
    return pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells)


def where(mask: Column, column: Column) -> Column:
    """Null where the mask is not true."""
    return pc.if_else(mask, column, pa.scalar(None, column.type))


def _float_text(column: Column) -> Column:
    """7.0 is `7`: where whole numbers have gaps among them, frames hold them as floats."""
    column = column.cast(pa.float64())
    whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), 2.0**53))
    as_integer = pc.if_else(whole, column, 0.0).cast(pa.int64()).cast(pa.string())
    shown = pc.if_else(whole, as_integer, column.cast(pa.string()))
    return pc.if_else(pc.is_nan(column), pa.scalar(None, pa.string()), shown)
