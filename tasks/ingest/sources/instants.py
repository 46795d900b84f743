"""From a column as it came to instants: epochs, ISO 8601 text, dates, Arrow's own timestamps.

A cell that cannot be read is described, so that its row is refused with a reason.

R rows of a block
"""

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.ingest.sources.cells import (
    NUMBER,
    Column,
    UnsupportedTypeError,
    decoded,
    described,
    is_number,
    is_text,
    trimmed,
    where,
    with_problems,
)
from tasks.schema import TIME

Numbers: TypeAlias = npt.NDArray[Any]
Longs: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]

INTEGER = r"^[+-]?\d{1,18}$"
INSTANT = (
    r"^(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?:[T ](?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?"
    r" ?(?:[Zz]|UTC|(?P<sign>[+-])(?P<zone_hour>\d\d):?(?P<zone_minute>\d\d)?)?)?$"
)
FIRST_INSTANT = -62_135_596_800_000_000  # year 1, in microseconds since 1970
LAST_INSTANT = 253_402_300_799_999_999  # year 9999
FIRST_EPOCH = 1e8
"""Seconds: March 1973. A file whose median is smaller counts something else than seconds since 1970."""


@dataclass(frozen=True)
class Unit:
    """What a number since 1970 counts, and the sizes that years from 1973 on have in it and in no other unit."""

    name: str
    microseconds: int  # that one of it lasts; 1 where it is shorter
    per_microsecond: int
    smallest: float
    largest: float


UNITS = (
    Unit("seconds", 10**6, 1, 1e8, 1e11),
    Unit("milliseconds", 1000, 1, 1e11, 1e14),
    Unit("microseconds", 1, 1, 1e14, 1e17),
    Unit("nanoseconds", 1, 1000, 1e17, float("inf")),
)
ORDINALS = Unit("seconds", 10**6, 1, 0, float("inf"))


class Clock:
    """Reads the instants of one file, block after block.

    Numbers are in one unit a file, told by the median size of the first block that has any: below 10^11 they are
    seconds since 1970, below 10^14 milliseconds, below 10^17 microseconds, else nanoseconds. A number of a size that
    only another unit has is a mixed-up row and is not read; smaller ones, zero among them, are instants of the early
    seventies, which the contract judges. Where the median is below 10^8 (seconds: March 1973) the numbers are mere
    ordinals, and keep their order as seconds. Text without an offset is UTC.
    """

    def __init__(self) -> None:
        self._unit: Unit | None = None

    def read(self, column: Column) -> tuple[Column, Column | None]:
        """[instants, text], as `cells.ratings`."""
        column = decoded(column)
        kind = column.type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            return with_problems("timestamp", _instants(column), column)
        if is_number(kind):
            return self._described(*self._from_numbers(column), column)
        if not is_text(kind):
            raise UnsupportedTypeError(str(kind))
        cells = trimmed(column)
        return self._described(*self._from_text(cells), cells)

    def _described(self, values: Column, is_strange: Column | None, cells: Column) -> tuple[Column, Column | None]:
        values, problems = with_problems("timestamp", values, cells)
        if problems is None or is_strange is None or self._unit is None:
            return values, problems
        strange = pc.binary_join_element_wise(
            described("timestamp", cells), f" is not in {self._unit.name}, as the others are", ""
        )
        return values, pc.if_else(is_strange, strange, problems)

    def _from_text(self, cells: Column) -> tuple[Column, Column | None]:
        """Numbers or ISO 8601. Blocks in one way of writing, the usual case, are read by Arrow's own fast casts."""
        sample = next((cell for cell in cells.slice(0, 1000).to_pylist() if cell is not None), None)
        if sample is not None and sample.endswith("UTC"):
            cells = pc.replace_substring_regex(cells, r" ?UTC$", "Z")
        if sample is not None and re.match(NUMBER, sample):
            # The cast knows hexadecimal numbers, too, which nobody means.
            if not pc.any(pc.match_substring(cells, "x", ignore_case=True)).as_py():
                try:
                    return self._from_numbers(cells.cast(pa.int64()))
                except pa.ArrowInvalid:
                    pass
        else:
            for kind in (pa.timestamp("us"), TIME):
                try:
                    return _instants(cells.cast(kind)), None
                except pa.ArrowInvalid:
                    continue
        numbers, is_strange = self._from_written_numbers(cells)
        return pc.coalesce(numbers, _from_iso(cells)), is_strange

    def _from_written_numbers(self, cells: Column) -> tuple[Column, Column | None]:
        """The cells that are numbers; a whole number keeps every digit where all of them are whole."""
        numbers = where(pc.match_substring_regex(cells, NUMBER), cells)
        whole = pc.all(pc.match_substring_regex(numbers, INTEGER)).as_py()
        return self._from_numbers(numbers.cast(pa.int64() if whole else pa.float64()))

    def _from_numbers(self, column: Column) -> tuple[Column, Column | None]:
        """Instants, null where a number is none in the unit of the file; and where it is of another unit's size."""
        exact = pa.types.is_integer(column.type) and column.type != pa.uint64()
        numbers = column.cast(pa.int64() if exact else pa.float64(), safe=False)
        known_R = (pc.is_valid(numbers) if exact else pc.fill_null(pc.is_finite(numbers), False)).to_numpy()
        if not known_R.any():
            return pa.chunked_array([pa.nulls(len(numbers), TIME)]), None
        value_R = pc.fill_null(numbers, 0).to_numpy()
        if self._unit is None:
            self._unit = _unit_of(float(np.median(np.abs(value_R[known_R].astype(float)))))
        strange_R = _strange(value_R, self._unit)
        if strange_R is not None:
            strange_R &= known_R
            known_R = known_R & ~strange_R
        instant_R, fits_R = _microseconds(value_R, self._unit)
        found = pa.array(instant_R, mask=~(known_R & fits_R)).cast(pa.timestamp("us")).cast(TIME)
        return pa.chunked_array([found]), None if strange_R is None else pa.chunked_array([pa.array(strange_R)])


def _unit_of(typical: float) -> Unit:
    if typical < FIRST_EPOCH:
        return ORDINALS
    return next(unit for unit in UNITS if typical < unit.largest or unit is UNITS[-1])


def _strange(value_R: Numbers, unit: Unit) -> Flags | None:
    """Where a number is of the size that another unit's have. None: nowhere, and the usual case is quick."""
    if unit is ORDINALS:
        return None
    if value_R.min() >= unit.smallest and value_R.max() < unit.largest:
        return None
    size_R = np.abs(value_R)
    strange_R: Flags = (size_R >= unit.largest) | ((size_R < unit.smallest) & (size_R >= FIRST_EPOCH))
    return strange_R


def _microseconds(value_R: Numbers, unit: Unit) -> tuple[Longs, Flags]:
    """Microseconds since 1970, and whether they are of the years 1 to 9999 (elsewhere they are 0)."""
    first, last = (limit * unit.per_microsecond / unit.microseconds for limit in (FIRST_INSTANT, LAST_INSTANT))
    fits_R = (value_R >= first) & (value_R <= last)
    value_R = np.where(fits_R, value_R, 0)
    if value_R.dtype == np.int64:
        return value_R // unit.per_microsecond * unit.microseconds, fits_R
    return np.rint(value_R / unit.per_microsecond * unit.microseconds).astype(np.int64), fits_R


def _instants(column: Column) -> Column:
    """Arrow's own dates and timestamps; those without a zone are UTC."""
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("ms"))
    if column.type.unit != "ns":  # of which 64 bits hold no year beyond 2262
        unit = {"s": 10**6, "ms": 10**3, "us": 1}[column.type.unit]
        counts = column.cast(pa.int64())
        fits = pc.and_(pc.greater_equal(counts, FIRST_INSTANT // unit), pc.less_equal(counts, LAST_INSTANT // unit))
        column = where(fits, column)
    return column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(TIME)


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
