"""From a column as it came to ids, ratings and instants: whole columns at a time, never cell by cell.

A cell that cannot be read becomes null and is described, so that it can be refused with its reason later.
"""

import re
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.schema import TIME

NUMBER = r"^[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,2})?$"
INTEGER = r"^[+-]?\d{1,18}$"
INSTANT = (
    r"^(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?:[T ](?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?"
    r" ?(?:[Zz]|UTC|(?P<sign>[+-])(?P<zone_hour>\d\d):?(?P<zone_minute>\d\d)?)?)?$"
)
FIRST_INSTANT = -62_135_596_800_000_000  # year 1, in microseconds since 1970
LAST_INSTANT = 253_402_300_799_999_999  # year 9999
LONGEST_SHOWN = 80  # characters of a bad cell

Column: TypeAlias = pa.ChunkedArray


class UnsupportedTypeError(Exception):
    """A column whose type cannot be what it is mapped to."""


def text(column: Column) -> Column:
    """Ids and features: text stays as it came, whole numbers lose no digit, empty becomes null."""
    column = _decoded(column)
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


def id_text(column: Column) -> Column:
    """As `text`, but a list is no id."""
    kind = _decoded(column).type
    if pa.types.is_nested(kind) or pa.types.is_duration(kind):
        raise UnsupportedTypeError(str(kind))
    return text(column)


def ratings(column: Column) -> tuple[Column, Column]:
    """[float64, text]: the ratings, and what could not be read (null where all is well)."""
    column = _decoded(column)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if _is_number(column.type):
        values = column.cast(pa.float64(), safe=False)
        return _with_bad(values, pc.is_finite(values), column)
    if not _is_text(column.type):
        raise UnsupportedTypeError(str(column.type))
    cells = _trimmed(column)
    try:
        values = cells.cast(pa.float64())
    except pa.ArrowInvalid:
        values = _where(pc.match_substring_regex(cells, NUMBER), cells).cast(pa.float64())
    return _with_bad(values, pc.is_finite(values), cells)


def timestamps(column: Column) -> tuple[Column, Column]:
    """[instants, text]: epoch seconds, milli-, micro- or nanoseconds, ISO 8601 text, dates or Arrow timestamps.

    Numbers are in one unit per file, told by the size of their median; small ones are seconds since 1970, so that
    mere ordinals keep their order. Text without an offset is UTC.
    """
    column = _decoded(column)
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _with_bad(_instants(column), None, column)
    if _is_number(kind):
        return _with_bad(_from_epoch(column), None, column)
    if not _is_text(kind):
        raise UnsupportedTypeError(str(kind))
    cells = _trimmed(column)
    return _with_bad(_from_text(cells), None, cells)


def unparsed(rating: Column | None, timestamp: Column | None, n_rows: int) -> Column:
    """One description per row, such as `timestamp='yesterday'`; null where every cell was read."""
    parts = []
    for field, bad in (("rating", rating), ("timestamp", timestamp)):
        if bad is not None and bad.null_count < n_rows:
            shown = pc.utf8_slice_codeunits(bad, 0, LONGEST_SHOWN)
            parts.append(pc.binary_join_element_wise(f"{field}='", shown, "'", ""))
    if not parts:
        return pa.chunked_array([pa.nulls(n_rows, pa.string())])
    if len(parts) == 1:
        return parts[0]
    return pc.coalesce(pc.binary_join_element_wise(*parts, "; "), *parts)  # both, or the one that there is


def _decoded(column: Column) -> Column:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        column = column.cast(pa.string())  # refuses what is not UTF-8
    return column


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)) or bool(
        pa.types.is_null(kind)
    )


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _trimmed(column: Column) -> Column:
    """Text without the space around it; empty becomes null."""
    cells = pc.utf8_trim_whitespace(column.cast(pa.string()))
    return pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells)


def _where(mask: Column, column: Column) -> Column:
    return pc.if_else(mask, column, pa.scalar(None, column.type))


def _with_bad(values: Column, good: Column | None, cells: Column) -> tuple[Column, Column]:
    """Values with null where they are not `good`, and the cells that were there and gave no value."""
    if good is not None:
        values = _where(good, values)
    if values.null_count == cells.null_count:
        return values, pa.chunked_array([pa.nulls(len(cells), pa.string())])
    bad = pc.and_(pc.is_null(values), pc.is_valid(cells))
    return values, _where(bad, cells.cast(pa.string()))


def _float_text(column: Column) -> Column:
    """7.0 is `7`: where whole numbers have gaps among them, frames hold them as floats."""
    column = column.cast(pa.float64())
    whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), 2.0**53))
    as_integer = pc.if_else(whole, column, 0.0).cast(pa.int64()).cast(pa.string())
    shown = pc.if_else(whole, as_integer, column.cast(pa.string()))
    return pc.if_else(pc.is_nan(column), pa.scalar(None, pa.string()), shown)


def _instants(column: Column) -> Column:
    """Arrow's own dates and timestamps; those without a zone are UTC."""
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("ms"))
    unit = {"s": 10**6, "ms": 10**3, "us": 1, "ns": 1}[column.type.unit]
    counts = column.cast(pa.int64())
    fits = pc.and_(pc.greater_equal(counts, FIRST_INSTANT // unit), pc.less_equal(counts, LAST_INSTANT // unit))
    return _where(fits, column).cast(pa.timestamp("us", column.type.tz), safe=False).cast(TIME)


def _from_epoch(column: Column) -> Column:
    """Numbers since 1970 in the unit that the size of their median tells."""
    exact = pa.types.is_integer(column.type) and column.type != pa.uint64()
    numbers = column.cast(pa.int64() if exact else pa.float64(), safe=False)
    known = pc.is_valid(numbers) if exact else pc.fill_null(pc.is_finite(numbers), False)
    if not pc.any(known).as_py():
        return pa.chunked_array([pa.nulls(len(numbers), TIME)])
    value = pc.fill_null(numbers, 0).to_numpy()
    is_known = known.to_numpy()
    typical = float(np.median(np.abs(value[is_known])))
    per_microsecond, microseconds = (1, 10**6)
    if typical >= 1e17:
        per_microsecond, microseconds = (1000, 1)
    elif typical >= 1e14:
        per_microsecond, microseconds = (1, 1)
    elif typical >= 1e11:
        per_microsecond, microseconds = (1, 1000)
    first, last = (limit * per_microsecond / microseconds for limit in (FIRST_INSTANT, LAST_INSTANT))
    is_known = is_known & (value >= first) & (value <= last)
    value = np.where(is_known, value, 0)
    if exact:
        instant = value // per_microsecond * microseconds
    else:
        instant = np.rint(value / per_microsecond * microseconds).astype(np.int64)
    return pa.chunked_array([pa.array(instant, mask=~is_known).cast(pa.timestamp("us")).cast(TIME)])


def _from_text(cells: Column) -> Column:
    """Numbers or ISO 8601. Whole columns in one way of writing, the usual case, are read by Arrow's own fast casts."""
    sample = next((cell for cell in cells.slice(0, 1000).to_pylist() if cell is not None), None)
    if sample is not None and sample.endswith("UTC"):
        cells = pc.replace_substring_regex(cells, r" ?UTC$", "Z")
    if sample is not None and re.match(NUMBER, sample):
        if pc.all(pc.match_substring_regex(cells, INTEGER)).as_py():
            return _from_epoch(cells.cast(pa.int64()))
    else:
        for kind in (pa.timestamp("us"), TIME):
            try:
                return _instants(cells.cast(kind))
            except pa.ArrowInvalid:
                continue
    return pc.coalesce(_from_numbers(cells), _from_iso(cells))


def _from_numbers(cells: Column) -> Column:
    """The cells that are numbers; a whole number keeps every digit where all of them are whole."""
    is_number = pc.match_substring_regex(cells, NUMBER)
    numbers = _where(is_number, cells)
    whole = pc.all(pc.match_substring_regex(numbers, INTEGER)).as_py()
    return _from_epoch(numbers.cast(pa.int64() if whole else pa.float64()))


def _from_iso(cells: Column) -> Column:
    """The cells that are dates or instants, in whatever mixture of precision and offset."""
    # Block by block: the parts of an instant take many times its memory.
    return pa.chunked_array([part for block in cells.chunks for part in _iso_block(pa.chunked_array([block])).chunks])


def _iso_block(cells: Column) -> Column:
    found = pc.extract_regex(cells, INSTANT)
    valid = pc.is_valid(found).to_numpy()
    if not valid.any():
        return pa.chunked_array([pa.nulls(len(cells), TIME)])

    def part(name: str) -> pa.ChunkedArray:
        return pc.fill_null(pc.struct_field(found, name), "")

    def number(name: str, missing: str = "0") -> np.ndarray:
        digits = part(name)
        return np.asarray(pc.if_else(pc.equal(digits, ""), missing, digits).cast(pa.int64()).to_numpy())

    year, month, day = number("year", "1970"), number("month", "1"), number("day", "1")
    hour, minute, second = number("hour"), number("minute"), number("second")
    fraction = pc.utf8_slice_codeunits(pc.utf8_rpad(part("fraction"), 6, "0"), 0, 6).cast(pa.int64()).to_numpy()
    offset = (number("zone_hour") * 60 + number("zone_minute")) * np.where(
        pc.equal(part("sign"), "-").to_numpy(), -1, 1
    )
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (day - 1)
    valid &= (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (days.astype("datetime64[M]") == months)
    valid &= (hour < 24) & (minute < 60) & (second < 60) & (np.abs(offset) < 24 * 60)
    minutes = days.astype(np.int64) * 24 * 60 + hour * 60 + minute - offset
    instant = (minutes * 60 + second) * 10**6 + fraction
    valid &= (instant >= FIRST_INSTANT) & (instant <= LAST_INSTANT)
    return pa.chunked_array([pa.array(instant, mask=~valid).cast(pa.timestamp("us")).cast(TIME)])
